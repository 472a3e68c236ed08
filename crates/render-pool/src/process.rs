//! A worker process from the pool's side.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_render::Stage;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::pool::WorkerCommand;
use crate::supervisor::Bounds;
use crate::task::{Answer, Loss, Outcome, Task, WorkError};
use crate::wire::{self, LARGE, Order};

/// How long what nobody waits for any more may go on: most pictures are done by then.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is asked whether anybody waits.
const ROUND: Duration = Duration::from_millis(50);

/// Length of the shared memory between tasks.
const SHARED: u64 = wire::SOURCE_AT + wire::KEPT;

/// What a worker may come to hold beyond what its task should take: stacks of threads, what allocators
/// keep.
const SLACK: u64 = 64 << 20;

/// A worker process. It ends with the value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    link: UnixStream,
    shared: File,
    is_well: bool,
}

impl Process {
    /// Starts one: without environment, with one end of a socket pair for its standard input, the shared
    /// memory for its output, and nothing else. It may never hold more than `memory` bytes.
    pub(crate) fn start(command: &WorkerCommand, memory: u64) -> io::Result<Self> {
        let (link, theirs) = UnixStream::pair()?;
        let shared = File::from(memfd_create("lightbox-source", MemfdFlags::CLOEXEC)?);
        shared.set_len(SHARED)?;
        let child = Command::new(&command.program)
            .args(&command.arguments)
            .arg(format!("--memory={memory}"))
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(shared.try_clone()?)
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the server, which lets its workers finish.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, link, shared, is_well: true })
    }

    pub(crate) fn is_well(&mut self) -> bool {
        self.is_well && matches!(self.child.try_wait(), Ok(None))
    }

    /// Has it do a task. Lost over it, it is not well any more.
    pub(crate) fn run(
        &mut self,
        task: &Task,
        bounds: &Bounds,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Outcome, WorkError> {
        let talk = Talk { bounds, is_late, begun: Instant::now() };
        let outcome = self.order(task, bounds).and_then(|()| self.answer(&talk, task));
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                self.is_well = false;
                Err(self.loss(&talk, error))
            }
        }
    }

    fn order(&mut self, task: &Task, bounds: &Bounds) -> Result<(), Trouble> {
        let mut job = task.job.clone();
        job.limits.threads = bounds.threads;
        let (source, large) = job.source.detach();
        job.source = source;
        let task = wire::packed(&Task { job, want: task.want })?;
        let lengths: Vec<u64> = large.iter().map(|bytes| bytes.len() as u64).collect();
        let is_shared = lengths.iter().sum::<u64>() > LARGE;
        let order = Order {
            task: task.len() as u64,
            large: lengths,
            is_shared,
            memory: bounds.need.saturating_add(bounds.need / 2).saturating_add(SLACK),
            seconds: bounds.patience.as_secs().saturating_mul(u64::from(bounds.threads)) + 1,
        };
        let mut message = wire::order_message(&order)?;
        message.extend(task);
        if is_shared {
            self.share(&large)?;
        } else {
            large.iter().for_each(|bytes| message.extend_from_slice(bytes));
        }
        self.shared.write_all_at(&[wire::note_of(None)], wire::STAGE_AT)?;
        self.link.set_write_timeout(Some(bounds.patience.max(ROUND)))?;
        Ok(self.link.write_all(&message)?)
    }

    /// Puts what a task is drawn from where the worker reads it.
    fn share(&self, large: &[Bytes]) -> io::Result<()> {
        let mut at = wire::SOURCE_AT;
        for bytes in large {
            self.shared.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn answer(&mut self, talk: &Talk<'_>, task: &Task) -> Result<Outcome, Trouble> {
        let mut waiting = Patient { link: &mut self.link, talk };
        let mut length = [0; 8];
        waiting.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > longest_answer(task) {
            return Err(Trouble::Garbled);
        }
        let answer = wire::read_bytes(&mut waiting, length)?;
        if self.shared.metadata()?.len() > SHARED {
            self.shared.set_len(SHARED)?;
        }
        let outcome = wire::unpacked(&answer).map_err(|_| Trouble::Garbled)?;
        if is_sensible(&outcome, task) { Ok(outcome) } else { Err(Trouble::Garbled) }
    }

    /// The stage that has begun.
    fn stage(&self) -> Option<Stage> {
        let mut note = [0];
        self.shared.read_exact_at(&mut note, wire::STAGE_AT).ok()?;
        wire::stage_of(note[0])
    }

    fn loss(&mut self, talk: &Talk<'_>, trouble: Trouble) -> WorkError {
        let stage = self.stage();
        let loss = match trouble {
            Trouble::Garbled => Loss::Garbled,
            Trouble::Io(error) if error.kind() == ErrorKind::TimedOut => {
                // It was still wanted: the task's own time is up.
                let is_out = talk.begun.elapsed() >= talk.bounds.patience;
                if !is_out && (talk.is_late)() {
                    return WorkError::Late;
                }
                Loss::OutOfTime(talk.begun.elapsed())
            }
            Trouble::Io(_) => Loss::Ended(self.end().map_or_else(|| "unknown".to_owned(), said)),
        };
        WorkError::Lost { loss, stage }
    }

    /// Ends it, and says how it ended.
    fn end(&mut self) -> Option<ExitStatus> {
        // One that closed its end is about to leave by itself: how is worth knowing.
        for _ in 0..20 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.child.kill().ok()?;
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// What went wrong between a pool and its worker.
enum Trouble {
    Io(io::Error),
    Garbled,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One task under way.
struct Talk<'a> {
    bounds: &'a Bounds,
    is_late: &'a dyn Fn() -> bool,
    begun: Instant,
}

impl Talk<'_> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.bounds.end || (self.begun.elapsed() >= GRACE && (self.is_late)())
    }
}

/// Reads as long as the task may go on.
struct Patient<'a, 'b> {
    link: &'a mut UnixStream,
    talk: &'a Talk<'b>,
}

impl Read for Patient<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.talk.bounds.end.saturating_duration_since(Instant::now());
            self.link.set_read_timeout(Some(left.clamp(Duration::from_millis(1), ROUND)))?;
            match self.link.read(buffer) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.talk.is_over() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// A worker that broke may say anything, but not make us hold more than a picture is.
fn longest_answer(task: &Task) -> u64 {
    let limits = &task.job.limits;
    limits.animation_bytes.max(limits.output_pixels.saturating_mul(8)).saturating_add(1 << 20)
}

/// Nor pass on what is not what was asked for.
fn is_sensible(outcome: &Outcome, task: &Task) -> bool {
    match outcome {
        Outcome::Done(Answer::Picture(picture), _) => {
            picture.media_type == task.job.spec.output.media_type()
        }
        Outcome::Done(Answer::Contrast(value), _) => value.is_finite() || value.is_nan(),
        Outcome::Refused(_) | Outcome::Panicked(_) => true,
    }
}
