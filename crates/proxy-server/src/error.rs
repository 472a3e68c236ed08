//! Why there is no answer, and whose fault it is.

use std::time::Duration;

use core_render::{RenderError, Stage};
use wadors_client::UpstreamError;

use crate::access::AccessError;
use crate::admin::AdminError;
use crate::head::HeadError;
use crate::negotiate::NegotiationError;
use crate::params::ParamError;
use crate::passthrough::ForwardError;
use crate::plan::PlanError;
use crate::route::RouteError;
use crate::source::SourceError;
use crate::upstream::Upstream;
use crate::workers::{Overloaded, WorkError};

/// Why a request gets no picture and no answer of the archive. `respond` makes the status of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ServerError {
    // The client's.
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("nothing is served here: DICOMweb lies below the configured base path")]
    Outside,
    #[error("pictures are read with GET or HEAD")]
    Method,
    #[error("this is done with {0}")]
    MethodOf(&'static str),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Parameter(#[from] ParamError),
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// R2.11.
    #[error("a presentation state has no frames; ask for the instance itself")]
    StateHasNoFrames,
    #[error("there is no such study, series or image")]
    NothingThere,

    // The archive's, or its objects'.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// Within a collection, when most of it may have been sent.
    #[error("the archive stopped answering")]
    ArchiveGone,
    #[error("{error}")]
    Render { error: RenderError, level: Level },

    // Ours.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("the picture was not ready within the time a request may take")]
    TimedOut,
    /// A worker was lost over it.
    #[error("{error}")]
    WorkerLost { error: render_pool::WorkError, stage: Option<Stage> },
    /// One was, a while ago.
    #[error(
        "drawing this object ended a worker not long ago; it is tried again in {} s",
        .left.as_secs().max(1)
    )]
    Poisonous { left: Duration },
    #[error("{0}")]
    TooLarge(render_pool::WorkError),
    #[error("no worker draws pictures at the moment")]
    NoWorker,
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
    pub(crate) fn of_source(error: SourceError, level: Level) -> Self {
        match error {
            SourceError::Upstream(error) => Self::Upstream(error),
            SourceError::Render(error) => Self::Render { error, level },
            SourceError::StateHasNoFrames => Self::StateHasNoFrames,
            SourceError::Overloaded(error) => Self::Overloaded(error),
            SourceError::Poisonous { left } => Self::Poisonous { left },
        }
    }

    pub(crate) fn of_work(error: WorkError, level: Level) -> Self {
        match error {
            WorkError::Render(error) => Self::Render { error, level },
            WorkError::Broke => Self::Broke,
            WorkError::Overloaded(error) => Self::Overloaded(error),
            WorkError::Pool(error) => match error {
                render_pool::WorkError::Lost { stage, .. } => Self::WorkerLost { error, stage },
                render_pool::WorkError::TooLarge { .. } => Self::TooLarge(error),
                render_pool::WorkError::Late => Self::TimedOut,
                render_pool::WorkError::NoWorker => Self::NoWorker,
                render_pool::WorkError::Render(error) => Self::Render { error, level },
            },
        }
    }

    /// Whether there is nothing wrong but that no rendering can be made as asked: the object has none,
    /// or none that is accepted.
    pub(crate) fn is_no_picture(&self) -> bool {
        matches!(
            self,
            Self::Negotiation(NegotiationError::NotAcceptable { .. })
                | Self::Render { error: RenderError::NotAnImage, .. }
        )
    }

    /// Whether the archive fails, and would for every other object.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_denied() || error.is_transient(),
            Self::TimedOut => true,
            _ => false,
        }
    }

    /// Whether there is no answer that says anything of what was asked for: the archive is down, or we are.
    pub(crate) fn is_for_want_of_an_answer(&self) -> bool {
        match self {
            Self::Upstream(error) => {
                error.is_transient() || error.status().is_some_and(|status| status >= 500)
            }
            Self::TimedOut | Self::ArchiveGone | Self::Overloaded(_) | Self::NoWorker => true,
            _ => false,
        }
    }

    /// Whether the archive says that what was asked for is not there, or not for who asks.
    pub(crate) fn says_that_it_is_gone(&self) -> bool {
        match self {
            Self::Upstream(error) => {
                error.is_absent() || error.is_denied() || *error == UpstreamError::Empty
            }
            Self::NothingThere => true,
            _ => false,
        }
    }

    /// As it is told to who does not ask by his own right: what an archive hides from us is not told from what it
    /// does not have.
    pub(crate) fn hidden_by(self, upstream: &Upstream) -> Self {
        let is_hidden = matches!(&self, Self::Upstream(error)
            if error.status() == Some(403) || error.is_absent() || *error == UpstreamError::Empty);
        if is_hidden && !upstream.client.forwards_callers() { Self::NothingThere } else { self }
    }

    /// Whether the archive refuses who asks.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_denied())
    }

    /// Whether it is about one object, so that another may do.
    pub(crate) fn is_about_one_object(&self) -> bool {
        match self {
            Self::Render { error, .. } => !matches!(error, RenderError::EmptyRegion { .. }),
            Self::WorkerLost { .. } | Self::Poisonous { .. } | Self::TooLarge(_) => true,
            Self::Upstream(error) => !error.is_denied() && !error.is_transient(),
            _ => false,
        }
    }

    /// The stage that failed, as problem details name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Route(_)
            | Self::Outside
            | Self::Method
            | Self::MethodOf(_)
            | Self::Head(_)
            | Self::Access(_)
            | Self::Admin(_)
            | Self::Parameter(_)
            | Self::Negotiation(_)
            | Self::Plan(_)
            | Self::StateHasNoFrames
            | Self::NothingThere => "request",
            Self::Forward(ForwardError::Upload(_)) => "request",
            Self::Upstream(_) | Self::Forward(_) | Self::ArchiveGone => "upstream",
            Self::Render { error, .. } => stage_of(error),
            Self::WorkerLost { stage, .. } => stage.map_or("decode", name_of),
            Self::Poisonous { .. } => "decode",
            Self::Overloaded(_) | Self::TooLarge(_) | Self::NoWorker => "queue",
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

fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Decode => "decode",
        Stage::Render => "render",
        Stage::Encode => "encode",
    }
}

fn stage_of(error: &RenderError) -> &'static str {
    match error {
        RenderError::EmptyRegion { .. } | RenderError::ShowsLabel | RenderError::GivenUp => {
            "render"
        }
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
