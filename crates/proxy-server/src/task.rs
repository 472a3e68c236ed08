//! Work that goes on whether or not somebody polls it, and ends when nobody waits for it any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

/// A task of the runtime, aborted when this is dropped.
///
/// A body is only polled as fast as its client reads. Work within it that holds a turn at the archive
/// would hold it for as long as a client pauses; as a task it comes to its end and gives it back.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// The same on this runtime, wherever it is begun.
    pub(crate) fn spawn_on(
        runtime: &Handle,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self(runtime.spawn(work))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_unpolled_and_ends_with_its_owner() {
        let (done, ended) = oneshot::channel();
        let task = Task::spawn(async { done.send(()).is_ok() });
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
        assert!(task.await.unwrap());

        let (held, dropped) = oneshot::channel::<()>();
        let task = Task::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(task);
        let outcome = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        assert!(outcome.unwrap().is_err(), "what it held is free");
    }
}
