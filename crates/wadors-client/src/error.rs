//! What can go wrong between us and the archive, and whose fault it is.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// The client cannot be built from its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The base URL cannot be one of a DICOMweb service.
    #[error("the base URL of the upstream {problem}")]
    Base {
        /// What is wrong with it, and what is expected.
        problem: &'static str,
    },
    /// A file of certificates or keys cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file of certificates or keys holds something else.
    #[error("{}: must hold {expected} (PEM)", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// TLS could not be set up, as where the system has no root certificates.
    #[error("TLS could not be set up: are the system's root certificates installed?")]
    Tls,
}

/// Why the archive gave us nothing to work with.
///
/// Messages carry no URL, UID or header value: those may identify a patient or hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection, or it was lost before an answer came.
    #[error("the archive cannot be reached: {reason}")]
    Unreachable {
        /// What the network said, such as "connection refused".
        reason: String,
    },
    /// There is somebody, but not whom our TLS trusts, or nobody who speaks it.
    #[error("the archive cannot be trusted: {reason}")]
    Untrusted {
        /// What is wrong with its TLS.
        reason: &'static str,
    },
    /// It failed several times in a row, and is not asked for a while.
    #[error("{last}; it has failed several times in a row and is left alone for a moment")]
    Resting {
        /// When it will be asked again.
        retry_after: Duration,
        /// How it failed last.
        last: Box<UpstreamError>,
    },
    /// It wants to be left alone for a while (429).
    #[error("the archive asked for a pause")]
    Paused {
        /// How long.
        retry_after: Duration,
    },
    /// Too many calls wait for their turn: it was not asked.
    #[error("too many calls of the archive wait for their turn")]
    Crowded,
    /// We have nothing to show who we are.
    #[error("there are no credentials for the archive: {reason}")]
    Credentials {
        /// Why.
        reason: &'static str,
    },
    /// The archive did not connect, answer or go on sending within the configured time.
    #[error("the archive did not answer in time")]
    Timeout,
    /// The archive refused, or failed, with a status of 4xx, 5xx or an unexpected 1xx.
    #[error("the archive answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Its `WWW-Authenticate` headers, to be handed on with a 401.
        www_authenticate: Vec<HeaderValue>,
        /// Its `Retry-After`, to be handed on with a 429 or 503.
        retry_after: Option<HeaderValue>,
    },
    /// The archive redirects. We never follow: the target may be another origin, and the caller's
    /// credentials are for this one.
    #[error("the archive answered with a redirect (status {status}), which is not followed")]
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// The archive has nothing there: 204, an empty body, or a multipart without a part.
    #[error("the archive answered without content")]
    Empty,
    /// The answer is larger than we take into memory.
    #[error("the answer of the archive is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The answer cannot be read as what was asked for.
    #[error("the answer of the archive cannot be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The archive names a place that is not below its base URL, which is not asked.
    #[error("the archive names bulk data outside its base URL, which is not asked")]
    Foreign,
    /// The connection was closed in the middle of the body.
    #[error("the archive broke off in the middle of its answer")]
    BrokeOff,
}

impl UpstreamError {
    /// The HTTP status of the archive, where it gave one that explains the failure.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::Redirected { status } => Some(*status),
            Self::Resting { last, .. } => last.status(),
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Paused { .. }
            | Self::Crowded
            | Self::Credentials { .. }
            | Self::Empty
            | Self::Timeout
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Foreign
            | Self::BrokeOff => None,
        }
    }

    /// Whether the archive refuses this caller: 401 or 403.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }

    /// Whether the archive says that there is no such object: 404 or 410.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }

    /// Whether the archive may refuse the form of the request rather than what is asked for.
    pub(crate) fn is_about_form(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 406 | 415, .. })
    }

    /// How long the archive wants to be left alone, in whole or parts of seconds or until a date (RFC 9110
    /// §10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Resting { retry_after, .. } | Self::Paused { retry_after } => Some(*retry_after),
            Self::Status { retry_after: Some(value), .. } => {
                let text = value.to_str().ok()?.trim();
                text.parse().map(Duration::from_secs).ok().or_else(|| {
                    let date = httpdate::parse_http_date(text).ok()?;
                    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
                })
            }
            _ => None,
        }
    }

    /// Whether the archive as a whole, or the way to it, fails: any other object would fare no better.
    ///
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Resting { .. }
            | Self::Paused { .. }
            | Self::Crowded
            | Self::Credentials { .. }
            | Self::Timeout
            | Self::BrokeOff => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 502 | 503 | 504),
            Self::Redirected { .. }
            | Self::Empty
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Foreign => false,
        }
    }

    /// One word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Resting { .. } => "resting",
            Self::Paused { .. } => "paused",
            Self::Crowded => "crowded",
            Self::Credentials { .. } => "credentials",
            Self::Timeout => "timeout",
            Self::Status { .. } => "status",
            Self::Redirected { .. } => "redirected",
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "malformed",
            Self::Foreign => "foreign",
            Self::BrokeOff => "broke-off",
        }
    }

    pub(crate) fn malformed(reason: &'static str) -> Self {
        Self::Malformed { reason }
    }
}
