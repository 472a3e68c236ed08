//! Why there is no answer, and whose fault it is.

use crate::passthrough::ForwardError;
use crate::route::RouteError;

/// Why a request gets no picture and no answer of the archive. `respond` makes the status of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("nothing is served here: DICOMweb lies below the configured base path")]
    Outside,
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl ServerError {
    /// The stage that failed, as problem details name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Route(_) | Self::Outside => "request",
            Self::Forward(ForwardError::Url) => "request",
            Self::Forward(ForwardError::NoAnswer(_)) => "upstream",
        }
    }
}
