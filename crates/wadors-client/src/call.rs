//! One call: in the dialect of the archive, through gate and breaker, again where that may help.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::answer::{Answer, explain};
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;

/// The pause after a 429 that says nothing of its length.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// What is asked for, and for whom.
pub(crate) struct Ask<'a> {
    pub(crate) call: Call,
    pub(crate) url: Url,
    pub(crate) caller: &'a Caller,
    /// Only what has changed is wanted.
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
    /// It has its place already.
    pub(crate) is_admitted: bool,
    /// Whether it waits for its turn with us: no time of the archive's.
    pub(crate) in_line: AtomicBool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(call: Call, url: Url, caller: &'a Caller) -> Self {
        let in_line = AtomicBool::new(false);
        Self { call, url, caller, condition: None, is_admitted: false, in_line }
    }

    async fn in_line<T>(&self, turn: impl Future<Output = T>) -> T {
        self.in_line.store(true, Relaxed);
        let turn = turn.await;
        self.in_line.store(false, Relaxed);
        turn
    }

    /// Why it has not come to its end in time: the archive has an answer to give, or we had no turn for it.
    fn out_of_time(&self) -> UpstreamError {
        if self.in_line.load(Relaxed) { UpstreamError::Crowded } else { UpstreamError::Timeout }
    }
}

impl Client {
    /// Asks, and reads the answer: both are repeated where they broke off or the archive was busy.
    pub(crate) async fn ask<T, R>(
        &self,
        ask: &Ask<'_>,
        read: impl Fn(Answer) -> R,
    ) -> Result<T, UpstreamError>
    where
        R: Future<Output = Result<T, UpstreamError>>,
    {
        let watched = self.shared.breaker.admit().await?;
        let asking = async {
            let mut tries = self.shared.retries.begin();
            loop {
                let error = match self.ask_once(ask, &read).await {
                    Ok(done) => return Ok(done),
                    Err(error) => error,
                };
                let Some(wait) = tries.wait_after(&error) else { return Err(error) };
                tracing::debug!(kind = error.kind(), "the archive is asked again");
                tokio::time::sleep(wait).await;
            }
        };
        let asked = tokio::time::timeout(self.shared.total_timeout, asking).await;
        let asked = asked.unwrap_or_else(|_| Err(ask.out_of_time()));
        if let Err(error) = &asked
            && is_outage(error)
        {
            watched.failed(error, Instant::now());
        }
        asked
    }

    /// Asks in the forms that the archive may take, one after the other.
    async fn ask_once<T, R>(
        &self,
        ask: &Ask<'_>,
        read: &impl Fn(Answer) -> R,
    ) -> Result<T, UpstreamError>
    where
        R: Future<Output = Result<T, UpstreamError>>,
    {
        let ladders = &self.shared.ladders;
        // Until the answer is read.
        let _place = match ask.is_admitted {
            true => None,
            false => ask.in_line(self.shared.gate.place(ask.caller.urgency())).await,
        };
        let (mut refused, mut tried) = (None, 0);
        for rung in ladders.rungs(ask.call) {
            match self.get(ask, ask.call.rungs()[rung]).await {
                Ok(answer) => {
                    ladders.worked(ask.call, rung);
                    return read(answer).await;
                }
                Err(error) if error.is_about_form() => {
                    refused.get_or_insert(error);
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
        ladders.refused(ask.call, tried);
        // There is always a rung.
        Err(refused.unwrap_or(UpstreamError::Empty))
    }

    /// One GET, and another where our token was refused and there may be a better one.
    pub(crate) async fn get(
        &self,
        ask: &Ask<'_>,
        accept: &'static str,
    ) -> Result<Answer, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if ask.call == Call::Json {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.extend(ask.condition.clone());
        let bare = headers.clone();
        self.authorize_ours(&mut headers, ask).await?;
        let sent = headers.get(AUTHORIZATION).cloned();
        let answer = self.send(ask, headers).await;
        if self.forwards_callers() || !is_unauthorized(&answer) {
            return answer;
        }
        if self.shared.authority.rejected(sent.as_ref()) {
            let mut headers = bare;
            self.authorize_ours(&mut headers, ask).await?;
            let answer = self.send(ask, headers).await;
            if !is_unauthorized(&answer) {
                return answer;
            }
        }
        // Not the caller's fault, and nothing he could do about.
        Err(UpstreamError::Credentials { reason: "the archive refuses those it is shown (401)" })
    }

    /// Adds what only the configured origin is to see.
    async fn authorize_ours(
        &self,
        headers: &mut HeaderMap,
        ask: &Ask<'_>,
    ) -> Result<(), UpstreamError> {
        if ask.url.origin() != self.shared.base.origin() {
            return Ok(());
        }
        headers.extend(self.shared.headers.clone());
        self.shared.authority.add_to(headers, ask.caller).await
    }

    /// Sends one GET and returns the answer if it is a success with content.
    async fn send(&self, ask: &Ask<'_>, headers: HeaderMap) -> Result<Answer, UpstreamError> {
        let shared = &self.shared;
        let paused = |retry_after| UpstreamError::Paused { retry_after };
        if !ask.is_admitted {
            ask.in_line(shared.gate.pass()).await.map_err(paused)?;
        }
        let asked = Instant::now();
        let request = shared.http.get(ask.url.clone()).headers(headers).send();
        let response = tokio::time::timeout(shared.timeout, request)
            .await
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|error| explain(&error))?;
        tracing::debug!(
            status = response.status().as_u16(),
            milliseconds = asked.elapsed().as_millis() as u64,
            "the archive answered"
        );
        let answer = Answer::new(response, shared.timeout);
        if !answer.as_ref().is_err_and(is_outage) {
            shared.breaker.answered();
        }
        if let Err(error @ UpstreamError::Status { status: 429, .. }) = &answer {
            shared.gate.pause(error.retry_after().unwrap_or(UNSAID_PAUSE));
        }
        answer
    }
}

fn is_unauthorized(answer: &Result<Answer, UpstreamError>) -> bool {
    matches!(answer, Err(UpstreamError::Status { status: 401, .. }))
}

/// Whether the service as a whole is down. Archives say 503 with a Retry-After of one object too, while
/// they fetch it from elsewhere.
fn is_outage(error: &UpstreamError) -> bool {
    matches!(
        error,
        UpstreamError::Unreachable { .. }
            | UpstreamError::Untrusted { .. }
            | UpstreamError::Timeout
            | UpstreamError::Status { status: 502 | 504, .. }
            | UpstreamError::Status { status: 503, retry_after: None, .. }
    )
}
