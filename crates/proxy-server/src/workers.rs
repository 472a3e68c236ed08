//! Bounded work: how many requests are under way, and the workers that draw for them.
//!
//! A request takes a [`Place`], then what it fetches a share of the memory for sources (`holds`), then what
//! it draws a worker of the pool. Fetching and drawing wait for each other nowhere: a slow archive holds no
//! worker, a heavy picture no call at the archive.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use core_render::{Picture, RenderError, RenderJob, Source, memory_needed};
use render_pool::{
    Answer, Class, Drawn, Isolation, Pool, Settings, Snapshot, StartError, Submission, Task,
    Ticket, Want, WorkerCommand,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::config::{Config, IsolationKind};

/// The pool, and the places before it.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Pool,
    places: Arc<Semaphore>,
    all_places: usize,
    refused: AtomicU64,
    /// How long a picture may wait for a worker.
    patience: Duration,
    /// For work that is none of drawing.
    others: Arc<Semaphore>,
}

/// The right of one request to be under way. Its clones are the same place: a request for many pictures
/// takes one.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _place: Arc<OwnedSemaphorePermit>,
}

/// All places are taken, or there was no turn within the time that a request may wait for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many pictures are being drawn")]
pub(crate) struct Overloaded;

/// A picture, and where its time went.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) picture: Picture,
    pub(crate) queue: Duration,
    pub(crate) decode: Duration,
    pub(crate) render: Duration,
    pub(crate) encode: Duration,
}

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Pool(render_pool::WorkError),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A defect of ours.
    #[error("drawing the picture failed unexpectedly")]
    Broke,
}

impl From<render_pool::WorkError> for WorkError {
    fn from(error: render_pool::WorkError) -> Self {
        match error {
            render_pool::WorkError::Render(error) => Self::Render(error),
            other => Self::Pool(other),
        }
    }
}

impl Workers {
    /// Workers as configured.
    ///
    /// # Errors
    /// That they cannot be started.
    pub(crate) fn start(config: &Config) -> Result<Self, StartError> {
        let slots = config.render_workers.get();
        let all_places = slots.saturating_add(config.queue).min(Semaphore::MAX_PERMITS);
        let pool = Pool::start(Settings {
            workers: config.render_workers,
            express: true,
            memory: drawing_share(config.render_memory),
            // Ended before the request is, so that its answer says where the time went.
            patience: config.request_timeout.mul_f64(0.9),
            isolation: isolation(config)?,
        })?;
        Ok(Self {
            pool,
            places: Arc::new(Semaphore::new(all_places)),
            all_places,
            refused: AtomicU64::new(0),
            patience: patience(config),
            others: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// A place, if there is one.
    pub(crate) fn admit(&self) -> Result<Place, Overloaded> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| self.refuse())?;
        Ok(Place { _place: Arc::new(place) })
    }

    fn refuse(&self) -> Overloaded {
        self.refused.fetch_add(1, Relaxed);
        Overloaded
    }

    /// Draws, once a worker is free. Dropped before that, nothing is drawn.
    pub(crate) async fn draw(&self, job: RenderJob, class: Class) -> Result<Rendered, WorkError> {
        let task = Task { job, want: Want::Picture };
        let Drawn { answer, waited, times } = self.done(task, class).await?;
        let Answer::Picture(picture) = answer else { return Err(WorkError::Broke) };
        let render_pool::Times { decode, render, encode } = times;
        Ok(Rendered { picture, queue: waited, decode, render, encode })
    }

    /// How much the display values of a job's picture differ.
    pub(crate) async fn contrast(&self, job: RenderJob, class: Class) -> Result<f64, WorkError> {
        match self.done(Task { job, want: Want::Contrast }, class).await?.answer {
            Answer::Contrast(contrast) => Ok(contrast),
            Answer::Picture(_) => Err(WorkError::Broke),
        }
    }

    async fn done(&self, task: Task, class: Class) -> Result<Drawn, WorkError> {
        let (task, need) = needed(task).await?;
        let (sender, answer) = oneshot::channel();
        let submission = Submission { task, need, class };
        // Who went away takes no answer. The ticket lives as long as somebody waits.
        let ticket: Ticket =
            self.pool.submit(submission, move |outcome| drop(sender.send(outcome)));
        let mut answer = std::pin::pin!(answer);
        let answer = match tokio::time::timeout(self.patience, &mut answer).await {
            Ok(answer) => answer,
            Err(_) if ticket.withdraw() => return Err(self.refuse().into()),
            // It has begun.
            Err(_) => answer.await,
        };
        Ok(answer.map_err(|_| WorkError::Broke)??)
    }

    /// Does work that is none of drawing, on as many threads as there are workers.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> core_render::Result<T> + Send + 'static,
    ) -> Result<T, WorkError> {
        let slot = self.others.clone().acquire_owned().await.map_err(|_| WorkError::Broke)?;
        let work = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        Ok(work.await.map_err(|_| WorkError::Broke)??)
    }

    /// What the pool does and has done.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.pool.snapshot()
    }

    /// Requests under way, and those that found no place.
    pub(crate) fn requests(&self) -> (usize, u64) {
        (self.all_places - self.places.available_permits(), self.refused.load(Relaxed))
    }
}

/// What a task takes. Headers of files are read aside: they may be long.
async fn needed(task: Task) -> Result<(Task, u64), WorkError> {
    if matches!(task.job.source, Source::Frame { .. } | Source::Card(_)) {
        let need = with_source(&task.job);
        return Ok((task, need));
    }
    let read = tokio::task::spawn_blocking(move || {
        let need = with_source(&task.job);
        (task, need)
    });
    read.await.map_err(|_| WorkError::Broke)
}

/// The source lies in memory twice more: on its way to the worker, and in it.
fn with_source(job: &RenderJob) -> u64 {
    memory_needed(job).saturating_add(job.source.len().saturating_mul(2))
}

/// How long a request may wait for its turn, to fetch and to draw each: as much time again is left for both.
pub(crate) fn patience(config: &Config) -> Duration {
    config.request_timeout / 3
}

/// Of the memory that rendering may take, what drawing may; the rest is for what was fetched.
pub(crate) fn drawing_share(memory: u64) -> u64 {
    memory - source_share(memory)
}

/// What sources may take that were fetched and are not drawn yet.
pub(crate) fn source_share(memory: u64) -> u64 {
    memory / 4
}

/// Where pictures are drawn, as configured.
///
/// # Errors
/// That this program does not know where it is itself.
pub fn isolation(config: &Config) -> Result<Isolation, StartError> {
    if config.isolation == IsolationKind::Thread {
        return Ok(Isolation::Thread);
    }
    let mut words = config.render_worker.iter();
    let mut command = match words.next() {
        Some(program) => {
            WorkerCommand { program: PathBuf::from(program), arguments: words.cloned().collect() }
        }
        None => WorkerCommand {
            program: std::env::current_exe().map_err(StartError::from)?,
            arguments: vec!["render-worker".to_owned()],
        },
    };
    // A worker has no search path to find it in.
    let ffmpeg =
        core_render::ffmpeg().and_then(|program| program.into_os_string().into_string().ok());
    command.arguments.extend(ffmpeg.map(|program| format!("--ffmpeg={program}")));
    Ok(Isolation::Process(command))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use bytes::Bytes;
    use core_render::{FrameChoice, Framing, Limits, Output, Overlays, RenderSpec};

    use super::*;

    fn workers(queue: usize) -> Workers {
        let config = Config {
            render_workers: NonZeroUsize::MIN,
            isolation: IsolationKind::Thread,
            queue,
            ..Config::default()
        };
        Workers::start(&config).unwrap()
    }

    fn nonsense() -> RenderJob {
        RenderJob::new(
            Source::File {
                bytes: Bytes::from_static(b"no DICOM"),
                frame: FrameChoice::Representative,
            },
            RenderSpec {
                overlays: Overlays::Omit,
                ..RenderSpec::new(Framing::Native, Output::Png)
            },
            Limits::default(),
        )
    }

    #[tokio::test]
    async fn beyond_workers_and_queue_nobody_is_admitted() {
        let workers = workers(1);
        let (first, second) = (workers.admit().unwrap(), workers.admit().unwrap());
        assert_eq!(workers.admit().unwrap_err(), Overloaded);
        assert_eq!(workers.requests(), (2, 1));
        drop(first);
        assert!(workers.admit().is_ok());
        drop(second);
    }

    #[tokio::test]
    async fn a_failed_job_leaves_its_worker_free() {
        let workers = workers(0);
        for _ in 0..3 {
            let outcome = workers.draw(nonsense(), Class::Interactive).await;
            assert!(matches!(outcome, Err(WorkError::Render(_))), "{outcome:?}");
        }
        let seen = workers.snapshot();
        assert_eq!((seen.failed, seen.busy, seen.waiting), (3, 0, 0));
    }

    #[tokio::test]
    async fn pictures_larger_than_the_memory_are_refused() {
        let card = core_render::Card {
            kind: core_render::CardKind::Other,
            modality: None,
            series_number: None,
        };
        let workers = Workers::start(&Config {
            isolation: IsolationKind::Thread,
            render_memory: 64 << 20,
            ..Config::default()
        })
        .unwrap();
        let viewport = "20000,20000".parse().unwrap();
        let spec = RenderSpec::new(Framing::Viewport(viewport), Output::Png);
        let job = RenderJob::new(Source::Card(card), spec, Limits::default());
        let outcome = workers.draw(job, Class::Interactive).await;
        let too_large = matches!(
            outcome,
            Err(WorkError::Pool(render_pool::WorkError::TooLarge { need, limit })) if need > limit
        );
        assert!(too_large, "{outcome:?}");
    }
}
