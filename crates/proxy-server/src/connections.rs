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
use tokio::sync::watch;

use crate::respond::Body;
use crate::shutdown::GRACE;

/// How long a client may take to send the head of a request; idle connections end with it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
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
    loop {
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    tokio::spawn(connection(stream, client, handler.clone(), graceful.watcher()));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: those in use must end before there are more.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("left with requests still under way");
    }
}

async fn connection<H, F>(stream: TcpStream, client: SocketAddr, handler: Arc<H>, watcher: Watcher)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
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
