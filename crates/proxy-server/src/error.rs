//! Why there is no answer, and whose fault it is.

use core_render::RenderError;
use wadors_client::UpstreamError;

use crate::negotiate::NegotiationError;
use crate::params::ParamError;
use crate::passthrough::ForwardError;
use crate::plan::PlanError;
use crate::route::{Resource, RouteError};
use crate::source::SourceError;
use crate::workers::{Overloaded, WorkError};

/// Why a request gets no picture and no answer of the archive. `respond` makes the status of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    // The client's.
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("nothing is served here: DICOMweb lies below the configured base path")]
    Outside,
    #[error("pictures are read with GET or HEAD")]
    Method,
    #[error(transparent)]
    Parameter(#[from] ParamError),
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error(transparent)]
    Plan(#[from] PlanError),

    // The archive's, or its objects'.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("{error}")]
    Render { error: RenderError, level: Level },

    // Ours.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("the picture was not ready within the time a request may take")]
    TimedOut,
    #[error("drawing the picture failed unexpectedly")]
    Broke,
}

/// What kind of resource a picture was asked of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Instance,
    Frame,
}

impl ServerError {
    pub(crate) fn of_source(error: SourceError, resource: &Resource) -> Self {
        match error {
            SourceError::Upstream(error) => Self::Upstream(error),
            SourceError::Render(error) => Self::of_render(error, resource),
        }
    }

    pub(crate) fn of_work(error: WorkError, resource: &Resource) -> Self {
        match error {
            WorkError::Render(error) => Self::of_render(error, resource),
            WorkError::Broke => Self::Broke,
        }
    }

    fn of_render(error: RenderError, resource: &Resource) -> Self {
        let level = if resource.frame.is_some() { Level::Frame } else { Level::Instance };
        Self::Render { error, level }
    }

    /// Whether there is nothing wrong but that no picture can be made as asked: the object holds no
    /// image, or no type of picture is accepted.
    pub(crate) fn is_no_picture(&self) -> bool {
        matches!(
            self,
            Self::Negotiation(NegotiationError::NotAcceptable)
                | Self::Render { error: RenderError::NotAnImage, .. }
        )
    }

    /// The stage that failed, as problem details name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Route(_)
            | Self::Outside
            | Self::Method
            | Self::Parameter(_)
            | Self::Negotiation(_)
            | Self::Plan(_) => "request",
            Self::Upstream(_) | Self::Forward(_) => "upstream",
            Self::Render { error, .. } => stage_of(error),
            Self::Overloaded(_) => "queue",
            Self::TimedOut => "timeout",
            Self::Broke => "render",
        }
    }

    /// The status the archive gave, where it gave one.
    pub(crate) fn upstream_status(&self) -> Option<u16> {
        match self {
            Self::Upstream(error) => error.status(),
            _ => None,
        }
    }
}

fn stage_of(error: &RenderError) -> &'static str {
    match error {
        RenderError::EmptyRegion { .. } | RenderError::ShowsLabel => "render",
        RenderError::Encode { .. } => "encode",
        RenderError::NotDicom { .. }
        | RenderError::Damaged { .. }
        | RenderError::NotAnImage
        | RenderError::FrameOutOfRange { .. }
        | RenderError::Attribute { .. }
        | RenderError::Unsupported { .. }
        | RenderError::Decode { .. }
        | RenderError::TooLarge { .. } => "decode",
    }
}
