//! The workers, and the way to hand them work.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::queue::{Class, Lane, Queue, Turn};
use crate::room::Room;
use crate::stats::{Snapshot, Stats};
use crate::supervisor;
use crate::task::{Drawn, Task, WorkError};

/// How often a worker that has nothing to do is looked after.
const ROUND: Duration = Duration::from_millis(250);

/// A pool of workers. They end with it, once what they draw is done.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// How a pool works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pictures drawn at the same time.
    pub workers: NonZeroUsize,
    /// Whether there is one worker more, for small pictures alone.
    pub express: bool,
    /// Bytes that drawing may take.
    pub memory: u64,
    /// How long one picture may take once it has begun.
    pub patience: Duration,
    /// Where drawing happens.
    pub isolation: Isolation,
}

/// Where drawing happens.
#[derive(Clone, Debug)]
pub enum Isolation {
    /// In threads of this process.
    Thread,
    /// In processes that this command starts.
    Process(WorkerCommand),
}

/// A program that serves as a worker: one whose `main` ends in `worker::serve`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The workers could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a worker: {0}")]
pub struct StartError(#[from] io::Error);

/// A task with what is to be known of it.
#[derive(Debug)]
pub struct Submission {
    /// The task.
    pub task: Task,
    /// Bytes that it takes beside its source: [`core_render::memory_needed`].
    pub need: u64,
    /// Who waits for it.
    pub class: Class,
}

/// Called with what came of a task, on a thread of the pool.
pub(crate) type Done = Box<dyn FnOnce(Result<Drawn, WorkError>) + Send>;

pub(crate) struct Waiting {
    pub(crate) task: Task,
    pub(crate) came: Instant,
    pub(crate) is_wanted: Arc<AtomicBool>,
    pub(crate) done: Done,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("came", &self.came).finish_non_exhaustive()
    }
}

impl Waiting {
    pub(crate) fn is_late(&self) -> bool {
        !self.is_wanted.load(Relaxed)
    }
}

/// What the threads of a pool share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    pub(crate) settings: Settings,
    pub(crate) stats: Stats,
}

#[derive(Debug)]
struct State {
    queue: Queue<Waiting>,
    room: Room,
    busy: usize,
    is_closed: bool,
}

/// What a worker's thread does next.
pub(crate) enum Next {
    /// A task, what it takes, and the threads it may use.
    Draw {
        need: u64,
        waiting: Box<Waiting>,
        threads: u32,
    },
    /// Nothing: a good moment to see whether the worker is well.
    Look,
    End,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// That one cannot be started.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let room = Room::new(settings.memory);
        let state = State { queue: Queue::new(), room, busy: 0, is_closed: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            settings,
            stats: Stats::default(),
        });
        let pool = Self { shared: shared.clone() };
        let (started, outcomes) = mpsc::channel();
        let lanes = std::iter::repeat_n(Lane::All, shared.settings.workers.get());
        for (n, lane) in lanes.chain(shared.settings.express.then_some(Lane::LightOnly)).enumerate()
        {
            let (shared, started) = (shared.clone(), started.clone());
            thread::Builder::new()
                .name(format!("worker-{n}"))
                .spawn(move || supervisor::supervise(&shared, lane, started))?;
        }
        drop(started);
        for outcome in outcomes {
            outcome?;
        }
        Ok(pool)
    }

    /// The most that one picture may take, in bytes.
    pub fn largest(&self) -> u64 {
        self.shared.lock().room.largest()
    }

    /// Hands in a task. `done` is called with what came of it, at most once: not where the ticket is
    /// dropped before.
    pub fn submit(
        &self,
        submission: Submission,
        done: impl FnOnce(Result<Drawn, WorkError>) + Send + 'static,
    ) -> Ticket {
        let Submission { task, need, class } = submission;
        let is_wanted = Arc::new(AtomicBool::new(true));
        let shared = Arc::downgrade(&self.shared);
        let mut state = self.shared.lock();
        let limit = state.room.largest();
        if need > limit {
            drop(state);
            self.shared.stats.too_large();
            done(Err(WorkError::TooLarge { need, limit }));
            return Ticket { shared, turn: None, is_wanted, is_kept: false };
        }
        let came = Instant::now();
        let done: Done = Box::new(done);
        let waiting = Waiting { task, came, is_wanted: is_wanted.clone(), done };
        let turn = state.queue.push(waiting, need, class, came);
        drop(state);
        // Not every worker takes every task: all of them look.
        self.shared.work.notify_all();
        Ticket { shared, turn: Some(turn), is_wanted, is_kept: false }
    }

    /// What is done and under way.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.shared.lock();
        let settings = &self.shared.settings;
        Snapshot {
            workers: settings.workers.get() as u64 + u64::from(settings.express),
            busy: state.busy as u64,
            waiting: state.queue.len() as u64,
            bytes_admitted: state.room.taken(),
            bytes_limit: settings.memory,
            ..self.shared.stats.counted()
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let left = state.queue.drain();
        drop(state);
        self.shared.work.notify_all();
        for waiting in left {
            (waiting.done)(Err(WorkError::NoWorker));
        }
    }
}

/// The interest in a task. Dropped, it is withdrawn: what has not begun never will, and what takes long
/// is ended.
#[derive(Debug)]
pub struct Ticket {
    shared: std::sync::Weak<Shared>,
    turn: Option<Turn>,
    is_wanted: Arc<AtomicBool>,
    is_kept: bool,
}

impl Ticket {
    /// Takes the task back, if it still waits: nothing comes of it then.
    pub fn withdraw(&self) -> bool {
        let (Some(turn), Some(shared)) = (self.turn, self.shared.upgrade()) else { return false };
        let left = shared.lock().queue.remove(turn);
        if left.is_some() {
            shared.stats.late();
        }
        left.is_some()
    }

    /// The interest lasts, whatever becomes of the ticket.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        self.is_wanted.store(false, Relaxed);
        self.withdraw();
    }
}

impl Shared {
    /// The next thing to do for a worker of this lane; waits for it, but not for long.
    pub(crate) fn next(&self, lane: Lane) -> Next {
        let mut state = self.lock();
        for is_second in [false, true] {
            if state.is_closed {
                return Next::End;
            }
            let State { queue, room, .. } = &mut *state;
            if let Some((need, waiting)) = queue.pop(lane, room) {
                room.take(need);
                state.busy += 1;
                let threads = self.threads(state.busy);
                return Next::Draw { need, waiting: Box::new(waiting), threads };
            }
            if !is_second {
                let waited = self.work.wait_timeout(state, ROUND);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        Next::Look
    }

    /// A task is over, whatever came of it.
    pub(crate) fn finished(&self, need: u64) {
        let mut state = self.lock();
        state.room.give_back(need);
        state.busy -= 1;
        drop(state);
        // What there was no room for may fit now.
        self.work.notify_all();
    }

    /// Threads for one picture: processors that nobody else draws on would idle.
    fn threads(&self, busy: usize) -> u32 {
        const MOST: usize = 4;
        let idle = self.settings.workers.get().saturating_sub(busy);
        (idle + 1).min(MOST) as u32
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
