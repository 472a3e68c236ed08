//! One thumbnail after the other, asked of the proxy; and what to do where it does not answer.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use http::header::{ACCEPT, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use url::Url;
use wadors_client::{Client, UpstreamError};

use super::super::Failure;
use super::given::Accept;
use super::pace::Pace;
use super::tally::{Done, Tally};
use super::{LONGEST, PRIORITY};

/// How often something is asked for in all, where waiting may help.
const TRIES: u32 = 5;

/// The wait before the second time, where nothing longer is asked for. Twice as long before each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The most bytes of an error that are read.
const MAX_PROBLEM: usize = 16 << 10;

/// The most characters of its reason that are shown.
const MAX_REASON: usize = 300;

/// The proxy, and what came of asking it.
pub(super) struct Proxy {
    pub(super) client: Client,
    pub(super) pace: Pace,
    pub(super) tally: Arc<Tally>,
    accept: String,
    /// Whether it has ever answered.
    is_there: AtomicBool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No connection to it.
    Unreachable { reason: String },
    /// It says that it has no time, or no answer.
    Refused { status: StatusCode, problem: Problem, after: Option<Duration> },
    /// It broke off, or took too long, or what came cannot be read.
    NoAnswer { reason: String, may_pass: bool },
    /// It answers, and does not keep what it answers.
    Pointless { reason: &'static str },
}

/// Problem details (RFC 9457), as far as they are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    detail: String,
    stage: String,
}

/// Asks for all thumbnails, so many at once.
///
/// # Errors
/// What ends the whole work.
pub(super) async fn for_all(
    proxy: &Proxy,
    thumbnails: Receiver<Url>,
    jobs: NonZeroUsize,
) -> Result<(), Failure> {
    let next = |mut thumbnails: Receiver<Url>| async move {
        Some((Ok(thumbnails.recv().await?), thumbnails))
    };
    stream::unfold(thumbnails, next)
        .try_for_each_concurrent(jobs.get(), |url| proxy.see_to(url))
        .await
}

impl Proxy {
    pub(super) fn new(client: Client, accept: &Accept, pace: Pace, tally: Arc<Tally>) -> Self {
        // To who takes nothing but pictures errors are pictures too, and say nothing.
        let accept = format!("{}, application/problem+json;q=0.1", accept.0);
        Self { client, pace, tally, accept, is_there: AtomicBool::new(false) }
    }

    /// Asks for a thumbnail, and counts what came of it.
    async fn see_to(&self, url: Url) -> Result<(), Failure> {
        match self.patiently(async || self.thumbnail(&url).await).await {
            Ok(done) => {
                self.tally.done(done);
                Ok(())
            }
            Err(trouble) => self.failed("", trouble),
        }
    }

    async fn thumbnail(&self, url: &Url) -> Result<Done, Trouble> {
        self.pace.turn().await;
        let (name, value) = PRIORITY;
        let request = self.client.http().get(url.clone()).header(name, value);
        let sent = request.header(ACCEPT, &self.accept).timeout(LONGEST).send().await;
        let mut answer = sent.map_err(|error| wadors_client::explain(&error))?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let done = what_was_done(answer.headers())?;
        // To its end: the connection serves for the next.
        while answer.chunk().await.map_err(|_| UpstreamError::BrokeOff)?.is_some() {}
        if done == Done::There {
            self.pace.give_back();
        }
        Ok(done)
    }

    /// Asks, and asks again where that may help, each time after a longer wait.
    pub(super) async fn patiently<T>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut tries = 0;
        loop {
            let trouble = match ask().await {
                Ok(answer) => {
                    self.is_there.store(true, Relaxed);
                    return Ok(answer);
                }
                Err(trouble) => trouble,
            };
            if !matches!(trouble, Trouble::Unreachable { .. }) {
                self.is_there.store(true, Relaxed);
            }
            // One that was never there will not be in a moment either: who typed the URL wants to know.
            let is_there = self.is_there.load(Relaxed);
            tries += 1;
            match trouble.wait(tries) {
                Some(wait) if is_there && tries < TRIES => tokio::time::sleep(wait).await,
                _ => return Err(trouble),
            }
        }
    }

    /// Counts a failure; `list` is what was to be listed, if it was no thumbnail.
    ///
    /// # Errors
    /// That all others would fail as well.
    pub(super) fn failed(&self, list: &str, trouble: Trouble) -> Result<(), Failure> {
        if let Some(end) = trouble.ends_all(&self.client) {
            return Err(end);
        }
        let (kind, reason) = trouble.told();
        let kind = if list.is_empty() { kind } else { format!("{list}: {kind}") };
        self.tally.failed(&kind, reason);
        Ok(())
    }
}

/// What `Cache-Status` (RFC 9211) says: of several caches the last is the nearest.
fn what_was_done(headers: &HeaderMap) -> Result<Done, Trouble> {
    let members = headers.get_all("cache-status").iter().filter_map(|value| value.to_str().ok());
    let ours = members.flat_map(|value| value.split(',')).rfind(|member| {
        member.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("lightbox"))
    });
    let Some(ours) = ours else {
        return Err(Trouble::Pointless {
            reason: "there is an answer at --proxy, but it does not say whether it is kept \
                     (Cache-Status): is Lightbox there, and not the archive?",
        });
    };
    let says = |what: &str| ours.split(';').any(|said| said.trim() == what);
    if says("fwd=bypass") {
        return Err(Trouble::Pointless {
            reason: "the proxy keeps nothing of what it is asked for (Cache-Status: fwd=bypass), so that \
                     warming it has no effect: is its cache off (cache_memory, cache_disk)?",
        });
    }
    // Out of a source that is kept it was drawn just now.
    let is_drawn = ours.contains("detail=source-");
    Ok(match says("hit") {
        true if !is_drawn => Done::There,
        false if says("fwd=stale") => Done::Renewed,
        _ => Done::Made,
    })
}

async fn refusal(mut answer: reqwest::Response) -> Trouble {
    let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PROBLEM {
            break;
        }
    }
    let problem = serde_json::from_slice(&body).unwrap_or_default();
    let said = UpstreamError::Status {
        status: status.as_u16(),
        www_authenticate: Vec::new(),
        retry_after,
    };
    Trouble::Refused { status, problem, after: said.retry_after() }
}

impl Trouble {
    /// How long to wait before it is asked again; `None` where that does not help.
    fn wait(&self, tries: u32) -> Option<Duration> {
        let least = match self {
            Self::Unreachable { .. } | Self::NoAnswer { may_pass: true, .. } => FIRST_WAIT,
            Self::Refused { status, after, .. } if may_pass(*status) => {
                after.unwrap_or(FIRST_WAIT).max(FIRST_WAIT)
            }
            Self::Refused { .. } | Self::NoAnswer { .. } | Self::Pointless { .. } => return None,
        };
        Some(least.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_WAIT))
    }

    /// Why nothing else needs to be asked for, if so.
    fn ends_all(&self, client: &Client) -> Option<Failure> {
        match self {
            Self::Unreachable { reason } => Some(Failure::Work(format!(
                "the proxy cannot be reached at {}: {reason}\n\
                 is `lightbox serve` running there, and is --proxy the URL that viewers use?",
                client.base()
            ))),
            Self::Pointless { reason } => Some(Failure::Work((*reason).to_owned())),
            // What it does not understand of one it does of none: they differ in their UIDs only.
            Self::Refused { status, problem, .. }
                if matches!(status.as_u16(), 400 | 406) && problem.stage == "request" =>
            {
                let detail = shown(&problem.detail);
                Some(Failure::Usage(format!("--query or --accept is refused ({status}): {detail}")))
            }
            Self::Refused { .. } | Self::NoAnswer { .. } => None,
        }
    }

    /// Its kind, and the reason.
    fn told(&self) -> (String, String) {
        match self {
            Self::Refused { status, problem, .. } => {
                let detail = shown(&problem.detail);
                let unsaid = "without a reason".to_owned();
                (status.to_string(), if detail.is_empty() { unsaid } else { detail })
            }
            Self::Unreachable { reason } | Self::NoAnswer { reason, .. } => {
                ("no answer".to_owned(), shown(reason))
            }
            Self::Pointless { reason } => ("not kept".to_owned(), (*reason).to_owned()),
        }
    }
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

/// Of a search, or of a request that did not get an answer.
impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        let after = error.retry_after();
        match error {
            UpstreamError::Unreachable { reason } => Self::Unreachable { reason },
            UpstreamError::Untrusted { reason } => Self::Unreachable { reason: reason.to_owned() },
            UpstreamError::Resting { last, .. } => match Self::from(*last) {
                Self::NoAnswer { reason, .. } => Self::NoAnswer { reason, may_pass: true },
                Self::Refused { status, problem, .. } => Self::Refused { status, problem, after },
                other => other,
            },
            UpstreamError::Status { status, .. } | UpstreamError::Redirected { status } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                Self::Refused { status, problem: Problem::default(), after }
            }
            UpstreamError::Paused { .. } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::Refused { status, problem: Problem::default(), after }
            }
            other => {
                let may_pass = other == UpstreamError::BrokeOff;
                // What the client takes for the archive is the proxy.
                let reason = other.to_string().replace("the archive", "the proxy");
                Self::NoAnswer { reason, may_pass }
            }
        }
    }
}

/// A reason as it is shown: on one line, and without what looks like a UID. The proxy names none, but what
/// stands before it may.
fn shown(reason: &str) -> String {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = reason.chars().take(MAX_REASON).map(one_line).collect();
    let mut safe = String::new();
    for piece in text.split_inclusive(|c: char| !is_part(c)) {
        let rest = piece.trim_start_matches(is_part);
        let number = &piece[..piece.len() - rest.len()];
        let looks_like_one = number.trim_matches('.').matches('.').count() >= 2;
        safe.push_str(if looks_like_one { "…" } else { number });
        safe.push_str(rest);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[&str]) -> Result<Done, Trouble> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("cache-status", value.parse().unwrap());
        }
        what_was_done(&headers)
    }

    #[test]
    fn what_the_proxy_says_of_its_cache_is_read() {
        for there in [
            &["lightbox; hit; ttl=50; detail=disk"][..],
            &["lightbox;hit"],
            &["lightbox; fwd=uri-miss; stored, lightbox; hit"],
            &["lightbox; hit; ttl=-4; detail=memory-archive-down", "nginx; fwd=miss"],
        ] {
            assert_eq!(said(there).unwrap(), Done::There, "{there:?}");
        }
        for made in [
            "lightbox; fwd=uri-miss; stored",
            "lightbox; fwd=uri-miss; stored; collapsed",
            "lightbox; hit; ttl=50; detail=source-memory",
        ] {
            assert_eq!(said(&[made]).unwrap(), Done::Made, "{made}");
        }
        assert_eq!(said(&["lightbox; fwd=stale; stored"]).unwrap(), Done::Renewed);
        for pointless in [&["lightbox; fwd=bypass; collapsed"][..], &[], &["nginx; hit"]] {
            assert!(matches!(said(pointless), Err(Trouble::Pointless { .. })), "{pointless:?}");
        }
    }

    #[test]
    fn waits_grow_from_what_was_asked_for_and_have_an_end() {
        let refused = |status, after| Trouble::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            problem: Problem::default(),
            after: Some(Duration::from_secs(after)),
        };
        let seconds = |trouble: &Trouble, tries| trouble.wait(tries).map(|wait| wait.as_secs());
        assert_eq!(seconds(&refused(503, 2), 1), Some(2));
        assert_eq!(seconds(&refused(503, 2), 3), Some(8));
        assert_eq!(seconds(&refused(429, 0), 1), Some(1));
        assert_eq!(seconds(&refused(429, 3600), 1), Some(60));
        for status in [400, 404, 500, 502, 504] {
            assert_eq!(seconds(&refused(status, 2), 1), None, "{status}");
        }
    }

    #[test]
    fn reasons_are_one_line_without_uids() {
        assert_eq!(shown("no 1.2.840.10008.1.2 here"), "no … here");
        assert_eq!(shown("2.25.1.4"), "…");
        assert_eq!(
            shown("a picture of 4096 × 4096.\nNo more."),
            "a picture of 4096 × 4096. No more."
        );
        assert_eq!(shown("limit of 2.5 s..."), "limit of 2.5 s...");
        assert_eq!(shown(&"ä".repeat(1000)).chars().count(), MAX_REASON);
    }
}
