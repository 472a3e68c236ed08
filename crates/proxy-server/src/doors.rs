//! Threads that look after connections, each after its own.
//!
//! Most requests are answered at the door (`cache/doorstep`), in less time than it takes to hand them to
//! another thread. So a connection stays with one thread and is never handed on; what takes longer than that
//! is done on the runtime that everything else has, and comes back.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads. They end with the value.
#[derive(Debug)]
pub(crate) struct Doors {
    doors: Vec<Door>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Door {
    runtime: Handle,
    /// Its thread runs until this is dropped.
    _open: Option<oneshot::Sender<()>>,
}

impl Doors {
    /// One for each processor.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn open() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let doors = (0..processors).map(|_| Door::open()).collect::<io::Result<_>>()?;
        Ok(Self { doors, next: AtomicUsize::new(0) })
    }

    /// None of its own: the runtime of who calls.
    pub(crate) fn here() -> Self {
        let door = Door { runtime: Handle::current(), _open: None };
        Self { doors: vec![door], next: AtomicUsize::new(0) }
    }

    /// The next in turn.
    pub(crate) fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Relaxed);
        &self.doors[turn % self.doors.len()].runtime
    }
}

impl Door {
    fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("door".to_owned());
        // It says that it is closed by being dropped.
        thread.spawn(move || runtime.block_on(closed))?;
        Ok(Self { runtime: handle, _open: Some(open) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_the_threads() {
        let doors = Doors::open().unwrap();
        let mut threads = HashSet::new();
        for _ in 0..2 * doors.doors.len() {
            threads
                .insert(doors.next().spawn(async { std::thread::current().id() }).await.unwrap());
        }
        assert_eq!(threads.len(), doors.doors.len());
        assert!(!threads.contains(&std::thread::current().id()));
    }

    #[tokio::test]
    async fn what_is_under_way_ends_with_the_threads() {
        let doors = Doors::open().unwrap();
        let waiting = doors.next().spawn(std::future::pending::<()>());
        drop(doors);
        assert!(waiting.await.unwrap_err().is_cancelled());
    }
}
