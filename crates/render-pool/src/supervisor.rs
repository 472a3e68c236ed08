//! The life of one worker, told by the thread that looks after it.

use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use core_render::RenderError;

use crate::perform::perform;
use crate::pool::{Isolation, Next, Settings, Shared, Waiting};
#[cfg(target_os = "linux")]
use crate::process::Process;
use crate::queue::Lane;
use crate::task::{Drawn, Loss, Outcome, Task, WorkError};

/// Before a worker that could not be started is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Draws what comes for this lane until the pool is closed. Says once whether the worker could be started.
pub(crate) fn supervise(shared: &Shared, lane: Lane, started: Sender<io::Result<()>>) {
    let mut worker = match Worker::start(&shared.settings) {
        Ok(worker) => Some(worker),
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    // Failing means that nobody waits for it.
    let _ = started.send(Ok(()));
    // Who starts the pool waits until no worker has anything to say.
    drop(started);
    loop {
        match shared.next(lane) {
            Next::End => return,
            Next::Look => {}
            Next::Draw { need, waiting, threads } => {
                draw(shared, &mut worker, need, *waiting, threads);
            }
        }
        if !worker.as_mut().is_some_and(Worker::is_well) {
            worker = again(shared);
        }
    }
}

fn draw(shared: &Shared, worker: &mut Option<Worker>, need: u64, waiting: Waiting, threads: u32) {
    // One may have been lost while it had nothing to do, which is no fault of the task's.
    if !worker.as_mut().is_some_and(Worker::is_well) {
        *worker = again(shared);
    }
    let waited = waiting.came.elapsed();
    shared.stats.waited(waited);
    let outcome = if waiting.is_late() {
        Err(WorkError::Late)
    } else if let Some(worker) = worker {
        run(worker, &shared.settings, need, &waiting, threads)
    } else {
        Err(WorkError::NoWorker)
    };
    let outcome = outcome.and_then(|outcome| drawn(outcome, waited));
    count(shared, &outcome);
    // The source, before room for another is made.
    let Waiting { task, done, .. } = waiting;
    drop(task);
    shared.finished(need);
    done(outcome);
}

fn run(
    worker: &mut Worker,
    settings: &Settings,
    need: u64,
    waiting: &Waiting,
    threads: u32,
) -> Result<Outcome, WorkError> {
    let end = Instant::now() + settings.patience;
    let bounds = Bounds { need, end, patience: settings.patience, threads };
    worker.run(&waiting.task, &bounds, &|| waiting.is_late())
}

fn drawn(outcome: Outcome, waited: Duration) -> Result<Drawn, WorkError> {
    match outcome {
        Outcome::Done(answer, times) => Ok(Drawn { answer, waited, times }),
        Outcome::Refused(RenderError::GivenUp) => Err(WorkError::Late),
        Outcome::Refused(error) => Err(WorkError::Render(error)),
        Outcome::Panicked(stage) => Err(WorkError::Lost { loss: Loss::Panicked, stage }),
    }
}

fn count(shared: &Shared, outcome: &Result<Drawn, WorkError>) {
    let stats = &shared.stats;
    match outcome {
        Ok(drawn) => stats.done(drawn.times),
        Err(WorkError::Lost { loss, stage }) => {
            tracing::warn!(%loss, ?stage, "a worker was lost over a picture");
            stats.lost();
        }
        Err(WorkError::Late) => stats.late(),
        Err(WorkError::Render(_) | WorkError::TooLarge { .. } | WorkError::NoWorker) => {
            stats.failed();
        }
    }
}

fn again(shared: &Shared) -> Option<Worker> {
    shared.stats.restarted();
    match Worker::start(&shared.settings) {
        Ok(worker) => Some(worker),
        Err(error) => {
            tracing::error!(%error, "a worker cannot be started");
            std::thread::sleep(PAUSE);
            None
        }
    }
}

/// What one task may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) need: u64,
    /// When it is ended.
    pub(crate) end: Instant,
    /// The time that every task has.
    pub(crate) patience: Duration,
    pub(crate) threads: u32,
}

/// One worker.
enum Worker {
    /// This very thread.
    Thread,
    #[cfg(target_os = "linux")]
    Process(Process),
}

impl Worker {
    fn start(settings: &Settings) -> io::Result<Self> {
        match &settings.isolation {
            Isolation::Thread => Ok(Self::Thread),
            #[cfg(target_os = "linux")]
            Isolation::Process(command) => {
                Process::start(command, settings.memory).map(Self::Process)
            }
            #[cfg(not(target_os = "linux"))]
            Isolation::Process(_) => Err(io::Error::other("worker processes need Linux")),
        }
    }

    fn run(
        &mut self,
        task: &Task,
        bounds: &Bounds,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Outcome, WorkError> {
        match self {
            Self::Thread => {
                let mut task = task.clone();
                task.job.limits.threads = bounds.threads;
                let is_over = || is_late() || Instant::now() >= bounds.end;
                let mut observe = |_| if is_over() { Err(RenderError::GivenUp) } else { Ok(()) };
                Ok(perform(&task, &mut observe))
            }
            #[cfg(target_os = "linux")]
            Self::Process(process) => process.run(task, bounds, is_late),
        }
    }

    /// Whether it can take another task.
    fn is_well(&mut self) -> bool {
        match self {
            Self::Thread => true,
            #[cfg(target_os = "linux")]
            Self::Process(process) => process.is_well(),
        }
    }
}
