//! Who has seen what: one line of JSON for each disclosure, as a FHIR R4 AuditEvent (with the codes of
//! DICOM, PS3.15 A.5), so that whatever reads these can read it.
//!
//! Written by a thread of its own, in the order of the answers; a request waits for it only where it is
//! far behind. Nothing is left out.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dicomweb_types::Uid;
use http::{Method, Response};
use ring::hmac;
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::access::Who;
use crate::body::Body;
use crate::config::{AuditStudies, AuditTarget, Config};
use crate::route::Kind;

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// The record.
pub(crate) struct Audit {
    lines: mpsc::Sender<String>,
    studies: AuditStudies,
    salt: hmac::Key,
    lost: Arc<AtomicU64>,
}

/// What an answer discloses to whom, if it succeeds.
#[derive(Clone, Debug)]
pub(crate) struct Disclosure {
    who: Who,
    /// The study, where it is of one.
    study: Option<Uid>,
    what: &'static str,
    action: Action,
}

/// What was done (`http://hl7.org/fhir/audit-event-action`).
#[derive(Clone, Copy, Debug)]
enum Action {
    Read,
    Search,
    Write,
    Delete,
}

impl Disclosure {
    pub(crate) fn of_picture(study: &Uid, kind: Kind, who: Who) -> Self {
        let what = match kind {
            Kind::Rendered => "rendered",
            Kind::Thumbnail => "thumbnail",
        };
        Self { who, study: Some(study.clone()), what, action: Action::Read }
    }

    /// Of a request that passes through, as far as its path tells.
    pub(crate) fn of_passing(method: &Method, below: &str, who: Who) -> Self {
        let below = percent_encoding::percent_decode_str(below).decode_utf8_lossy();
        let mut segments = below.split('/').filter(|segment| !segment.is_empty());
        let study: Option<Uid> = match segments.next() {
            Some("studies") => segments.next().and_then(|uid| uid.parse().ok()),
            _ => None,
        };
        let last = below.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let action = match *method {
            Method::DELETE => Action::Delete,
            Method::GET | Method::HEAD | Method::OPTIONS => match last {
                "studies" | "series" | "instances" => Action::Search,
                _ => Action::Read,
            },
            _ => Action::Write,
        };
        let what = match action {
            Action::Search => "search",
            Action::Write => "stored",
            Action::Delete => "deleted",
            Action::Read if last == "metadata" => "metadata",
            Action::Read if below.contains("/frames/") => "frames",
            Action::Read if below.contains("/bulk") => "bulk data",
            Action::Read => "objects",
        };
        Self { who, study, what, action }
    }
}

impl Audit {
    /// As configured; `None` where nothing is to be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, String> {
        let Some(target) = &config.audit else { return Ok(None) };
        let to: Box<dyn Write + Send> = match target {
            AuditTarget::Stdout => Box::new(std::io::stdout()),
            AuditTarget::File(path) => {
                let mut options = OpenOptions::new();
                options.create(true).append(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(path);
                Box::new(file.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        let salt = match &config.audit_salt {
            Some(secret) => hmac::Key::new(hmac::HMAC_SHA256, secret.read()?.reveal().as_bytes()),
            None => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .map_err(|_| "no random numbers".to_owned())?,
        };
        let lost = Arc::new(AtomicU64::new(0));
        let (lines, waiting) = mpsc::channel(WAITING);
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(to, waiting, &counted))
            .map_err(|error| error.to_string())?;
        Ok(Some(Self { lines, studies: config.audit_studies, salt, lost }))
    }

    /// Writes down what an answer discloses.
    pub(crate) async fn write_down(&self, response: &mut Response<Body>, client: SocketAddr) {
        let Some(disclosure) = response.extensions_mut().remove::<Disclosure>() else { return };
        let status = response.status();
        // 304 shows what the client has: that it may still see it.
        if !(status.is_success() || status == http::StatusCode::NOT_MODIFIED) {
            return;
        }
        let line = self.line(&disclosure, client, SystemTime::now());
        if self.lines.send(line).await.is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn line(&self, disclosure: &Disclosure, client: SocketAddr, now: SystemTime) -> String {
        let Disclosure { who, study, what, action } = disclosure;
        let (code, display) = match action {
            Action::Search => ("110112", "Query"),
            Action::Read => ("110104", "DICOM Instances Transferred"),
            Action::Write => ("110103", "DICOM Instances Accessed"),
            Action::Delete => ("110105", "DICOM Study Deleted"),
        };
        let letter = match action {
            Action::Search => "E",
            Action::Read => "R",
            Action::Write => "C",
            Action::Delete => "D",
        };
        let mut event = json!({
            "resourceType": "AuditEvent",
            "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": code, "display": display},
            "action": letter,
            "recorded": timestamp(now),
            "outcome": "0",
            "agent": [{
                "who": {"identifier": {"value": self.named(who)}},
                "requestor": true,
                "network": {"address": client.ip().to_canonical().to_string(), "type": "2"},
            }],
            "source": {"observer": {"display": "lightbox"}},
        });
        let mut entity = json!({"detail": [{"type": "resource", "valueString": what}]});
        if let Some(study) = study {
            entity["what"] = json!({"identifier": {"value": self.study(study)}});
            entity["type"] = json!({
                "system": "http://hl7.org/fhir/resource-types", "code": "ImagingStudy"
            });
        }
        event["entity"] = Value::Array(vec![entity]);
        format!("{event}\n")
    }

    fn named(&self, who: &Who) -> String {
        match who {
            Who::Anybody => "anonymous".to_owned(),
            Who::Holder(credential) => format!("credential:{}", self.hashed(credential.digest())),
            Who::Named(name) => format!("user:{name}"),
            Who::Signed(key) => format!("signed:{key}"),
        }
    }

    fn study(&self, study: &Uid) -> String {
        match self.studies {
            AuditStudies::Plain => format!("urn:oid:{study}"),
            AuditStudies::Hash => format!("hash:{}", self.hashed(study.to_string().as_bytes())),
        }
    }

    fn hashed(&self, bytes: &[u8]) -> String {
        let tag = hmac::sign(&self.salt, bytes);
        tag.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn write(mut to: Box<dyn Write + Send>, mut waiting: mpsc::Receiver<String>, lost: &AtomicU64) {
    let mut is_failing = false;
    while let Some(line) = waiting.blocking_recv() {
        // Whole lines at once: other processes may write to the same file.
        let written = to.write_all(line.as_bytes()).and_then(|()| to.flush());
        match written {
            Ok(()) => is_failing = false,
            Err(error) => {
                lost.fetch_add(1, Relaxed);
                if !is_failing {
                    tracing::error!(%error, "the audit cannot be written");
                }
                is_failing = true;
            }
        }
    }
}

/// RFC 3339, in UTC.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        since.subsec_millis()
    )
}

/// The date of a day since 1970-01-01 in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(studies: AuditStudies) -> Audit {
        Audit {
            lines: mpsc::channel(1).0,
            studies,
            salt: hmac::Key::new(hmac::HMAC_SHA256, b"salt"),
            lost: Arc::default(),
        }
    }

    fn line(studies: AuditStudies, who: Who) -> Value {
        let study: Uid = "1.2.3".parse().unwrap();
        let disclosure = Disclosure::of_picture(&study, Kind::Thumbnail, who);
        let at = UNIX_EPOCH + Duration::from_millis(1_795_806_245_678);
        let client = "[::ffff:192.0.2.7]:5".parse().unwrap();
        serde_json::from_str(&audit(studies).line(&disclosure, client, at)).unwrap()
    }

    #[test]
    fn a_line_says_who_has_seen_what_and_when() {
        let event = line(AuditStudies::Plain, Who::Named("eva".into()));
        assert_eq!(event["recorded"], "2026-11-27T19:04:05.678Z");
        assert_eq!(event["agent"][0]["who"]["identifier"]["value"], "user:eva");
        assert_eq!(event["agent"][0]["network"]["address"], "192.0.2.7");
        assert_eq!(event["entity"][0]["what"]["identifier"]["value"], "urn:oid:1.2.3");
        assert_eq!(event["entity"][0]["detail"][0]["valueString"], "thumbnail");
        assert_eq!((&event["action"], &event["type"]["code"]), (&json!("R"), &json!("110104")));
    }

    #[test]
    fn by_default_nothing_of_the_study_can_be_read() {
        let event = line(AuditStudies::Hash, Who::Anybody);
        assert!(!event.to_string().contains("1.2.3"));
        assert_eq!(event, line(AuditStudies::Hash, Who::Anybody));
        assert_eq!(event["agent"][0]["who"]["identifier"]["value"], "anonymous");
    }

    #[test]
    fn what_passes_through_is_told_by_its_path() {
        let of = |method: Method, below: &str| {
            let disclosure = Disclosure::of_passing(&method, below, Who::Anybody);
            (disclosure.what, disclosure.study.is_some())
        };
        assert_eq!(of(Method::GET, "/studies"), ("search", false));
        assert_eq!(of(Method::GET, "/studies/1.2/series"), ("search", true));
        assert_eq!(of(Method::GET, "/studies/1.2/metadata"), ("metadata", true));
        assert_eq!(of(Method::GET, "/studies/1.2/series/3/instances/4/frames/1"), ("frames", true));
        assert_eq!(of(Method::GET, "/%73tudies/1%2E2/%6Detadata"), ("metadata", true));
        assert_eq!(of(Method::GET, "/studies/1.2"), ("objects", true));
        assert_eq!(of(Method::POST, "/studies"), ("stored", false));
        assert_eq!(of(Method::DELETE, "/studies/1.2"), ("deleted", true));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
