//! What is drawn, and what comes of it.

use std::time::Duration;

use core_render::{Picture, RenderError, RenderJob, Stage};
use serde::{Deserialize, Serialize};

/// A job, and what is wanted of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The job.
    pub job: RenderJob,
    /// What is wanted.
    pub want: Want,
}

/// What is wanted of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Want {
    /// Its picture.
    Picture,
    /// How much its display values differ.
    Contrast,
}

/// What was wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The picture.
    Picture(Picture),
    /// The standard deviation of its display values.
    Contrast(f64),
}

/// An answer, and where its time went.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The answer.
    pub answer: Answer,
    /// How long it waited for a worker.
    pub waited: Duration,
    /// How long each stage took.
    pub times: Times,
}

/// How long each stage took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Times {
    /// Data set and codestream to samples.
    pub decode: Duration,
    /// Samples to display values, framed.
    pub render: Duration,
    /// Display values to bytes.
    pub encode: Duration,
}

/// Why a task came to nothing.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum WorkError {
    /// What is wrong with the source, or with what is asked of it.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Its worker was lost over it, which says something about the file.
    #[error("drawing the picture {loss}")]
    Lost {
        /// How.
        loss: Loss,
        /// The stage that had begun; `None` before the first.
        stage: Option<Stage>,
    },
    /// It would take more memory than there is for one picture.
    #[error(
        "drawing the picture takes {need} bytes of memory, above the {limit} that render_memory leaves for one"
    )]
    TooLarge {
        /// What it would take, in bytes.
        need: u64,
        /// What one may take.
        limit: u64,
    },
    /// Its time was up, or nobody waited for it any more, before it was drawn.
    #[error("the picture came too late for who asked for it")]
    Late,
    /// There is no worker to draw it.
    #[error("no worker draws pictures at the moment")]
    NoWorker,
}

/// How a worker was lost over a task.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Loss {
    /// The process ended.
    #[error(
        "ended the process that drew it ({0}): the file is damaged, or takes more memory than its header says"
    )]
    Ended(String),
    /// It took too long and was ended.
    #[error("took longer than the {} ms that it may", .0.as_millis())]
    OutOfTime(Duration),
    /// A defect of ours.
    #[error("failed unexpectedly")]
    Panicked,
    /// What the process said made no sense.
    #[error("ended in an answer that makes no sense")]
    Garbled,
}

/// What came of a task in a worker that is still there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done(Answer, Times),
    Refused(RenderError),
    Panicked(Option<Stage>),
}
