//! Drawing, bounded: a fixed number of workers, one picture at a time each, admitted by the memory that
//! they will take. A worker is a process of its own, or a thread: who hands in work does not know which.
//!
//! [`Pool::submit`] takes a [`Task`] and calls back with what came of it. What waits is ordered in
//! `queue`, what it may take in memory is in `room`, the life of one worker is told in `supervisor`. A
//! process is driven by `process`, and is `worker` from its own side; they speak `wire`.
#![deny(missing_docs)]

mod perform;
mod pool;
#[cfg(target_os = "linux")]
mod process;
mod queue;
mod room;
mod stats;
mod supervisor;
mod task;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
pub mod worker;

pub use pool::{Isolation, Pool, Settings, StartError, Submission, Ticket, WorkerCommand};
pub use queue::Class;
pub use stats::{Snapshot, Spent, Stats};
pub use task::{Answer, Drawn, Loss, Task, Times, Want, WorkError};
