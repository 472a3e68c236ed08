//! Stop accepting, finish what is under way, leave.

use std::time::Duration;

/// How long what is under way may take to finish.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// Listens from now on, and resolves when the process is asked to leave: SIGTERM, or Ctrl-C.
///
/// # Panics
/// Outside a runtime.
pub fn requested() -> impl Future<Output = ()> {
    let (interrupt, terminate) = (listen::interrupt(), listen::terminate());
    async move {
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
        }
    }
}

#[cfg(unix)]
mod listen {
    use tokio::signal::unix::{SignalKind, signal};

    pub(super) fn interrupt() -> impl Future<Output = ()> {
        one(SignalKind::interrupt())
    }

    pub(super) fn terminate() -> impl Future<Output = ()> {
        one(SignalKind::terminate())
    }

    fn one(kind: SignalKind) -> impl Future<Output = ()> {
        let signals = signal(kind);
        async move {
            match signals {
                Ok(mut signals) => {
                    signals.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        }
    }
}

#[cfg(not(unix))]
mod listen {
    pub(super) async fn interrupt() {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn terminate() -> impl Future<Output = ()> {
        std::future::pending()
    }
}
