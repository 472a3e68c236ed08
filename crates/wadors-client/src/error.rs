//! What can go wrong between us and the archive, and whose fault it is.

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
    /// The archive names a place of another origin, which is not asked.
    #[error("the archive names bulk data at another origin, which is not asked")]
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
            Self::Unreachable { .. }
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

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout | Self::BrokeOff => true,
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
