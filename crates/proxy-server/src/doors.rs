//! Doors: the threads at which clients are connected, each with a runtime of its own.
//!
//! What is kept is shown there and then. All else is done on the runtime of the process: whatever is read
//! there, large as it may be, keeps nobody from a picture that is ready. A connection stays at its door, so that
//! no other thread is woken for it. Half of the processors have one; the others are for what is fetched and drawn.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// They close with the value.
pub(crate) struct Doors {
    all: Vec<Door>,
    next: usize,
}

struct Door {
    runtime: Handle,
    /// None of the runtime of the process.
    _open: Option<oneshot::Sender<()>>,
}

impl Doors {
    /// Opens one for every other processor.
    ///
    /// # Errors
    /// The system gives no thread, or no means to wait for connections.
    pub(crate) fn open() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let all = (0..processors.div_ceil(2)).map(|_| Door::open()).collect::<io::Result<_>>()?;
        Ok(Self { all, next: 0 })
    }

    /// The runtime of the process as the only one.
    ///
    /// # Panics
    /// Outside a runtime.
    pub(crate) fn of_the_process() -> Self {
        Self { all: vec![Door { runtime: Handle::current(), _open: None }], next: 0 }
    }

    /// Each in its turn.
    pub(crate) fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.all.len();
        &self.all[self.next].runtime
    }
}

impl Door {
    fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel();
        std::thread::Builder::new().name("door".to_owned()).spawn(move || {
            // The sender says nothing, it goes.
            let _ = runtime.block_on(closed);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _open: Some(open) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn connections_are_shared_out_and_end_with_the_doors() {
        let mut doors = Doors { all: vec![Door::open().unwrap(), Door::open().unwrap()], next: 0 };
        let mut threads = HashSet::new();
        for _ in 0..4 {
            let there = doors.next().spawn(async { std::thread::current().id() });
            threads.insert(there.await.unwrap());
        }
        assert_eq!(threads.len(), 2);
        assert!(!threads.contains(&std::thread::current().id()));
        let (held, dropped) = oneshot::channel::<()>();
        doors.next().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(doors);
        let ended = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        assert!(ended.unwrap().is_err(), "what it held is free");
    }
}
