//! Connections of one listener: accepted, served over HTTP/1.1 or HTTP/2, and drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::respond::Body;
use crate::shutdown::GRACE;

/// How long a client may take to send the head of a request; idle connections end with it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2 lacks it, so clients that vanished are found by asking them.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Answers every request on `listener` with `handler` until `stop` turns true, then waits for those
/// under way, for [`GRACE`] at most.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H, mut stop: watch::Receiver<bool>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(most_connections()));
    loop {
        // Above the number, clients wait in the system's own queue.
        let place = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                let (handler, watcher) = (handler.clone(), graceful.watcher());
                let served = connection(stream, client, handler, watcher, stop.clone());
                tokio::spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: those in use must end before there are more.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("left with requests still under way");
    }
}

/// How many connections one listener serves at once: half of the files that the process may open, so
/// that calls to the archive and the other listener find some.
fn most_connections() -> usize {
    const UNKNOWN: usize = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().next());
    let soft = soft.and_then(|number| number.parse().ok()).unwrap_or(UNKNOWN);
    (soft / 2).clamp(16, 10_000)
}

/// Waits until it is clear what the client speaks: what it has sent is no mere beginning of HTTP/2's
/// preface, or all of it. Until then no other timeout runs.
async fn speaks(stream: &TcpStream) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let told = async {
        let mut start = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut start).await {
                Ok(0) | Err(_) => return false,
                Ok(length) if length < PREFACE.len() && PREFACE.starts_with(&start[..length]) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(_) => return true,
            }
        }
    };
    tokio::time::timeout(HEAD_TIMEOUT, told).await.unwrap_or(false)
}

async fn connection<H, F>(
    stream: TcpStream,
    client: SocketAddr,
    handler: Arc<H>,
    watcher: Watcher,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    tokio::select! {
        speaks = speaks(&stream) => if !speaks { return },
        // Who has said nothing yet has nothing under way.
        _ = stop.wait_for(|&stop| stop) => return,
    }
    // Pictures are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = handler(request, client);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
    let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection ended early");
    }
}
