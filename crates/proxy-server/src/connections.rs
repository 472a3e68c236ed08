//! Connections of one listener: accepted, served over HTTP/1.1 or HTTP/2, with TLS or without, and drained
//! at the end.
//!
//! A client has its turn for so long: for the handshake and the head of a request [`HEAD_TIMEOUT`], for
//! each next piece of a body, and to take what it is sent, `client_timeout`. Whatever it holds meanwhile
//! (a place among the connections, memory, a call of the archive) is let go then.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::body::Body;
use crate::doors::Doors;
use crate::head;
use crate::shutdown::GRACE;
use crate::stall::{Progress, Watched};
use crate::streams::{Sent, Streams};
use crate::tls::{self, Tls};
use crate::transport::{OverTls, Transport};

/// How long a client may take to send the head of a request; idle connections of HTTP/1.1 end with it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2 lacks it, so clients that vanished are found by asking them.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long nothing may go on over HTTP/2 once a client was told that the connection ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Requests of one connection at once.
const STREAMS: u32 = 100;
/// Streams that a client began and took back before we came to them; with more the connection ends (rapid
/// reset, CVE-2023-44487).
const RESET_UNSEEN: usize = 20;
/// Streams that we reset for a fault of the client's; with more the connection ends (CVE-2025-8671).
const RESET_BY_US: usize = 100;
/// What may be read ahead of HTTP/1.1: more than [`head::check`] lets through, so that this can say what
/// is wrong.
const READ_AHEAD: usize = 128 << 10;

/// Answers every request on `listener`, at one of the doors, with `handler` until `stop` turns true, then waits for those
/// under way, for [`GRACE`] at most.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    mut doors: Doors,
    transport: Arc<Transport>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let most = most_connections();
    let places = Arc::new(Semaphore::new(most as usize));
    let handler = Arc::new(handler);
    let accepting = accept(&listener, &mut doors, &transport, handler, &places, &mut stop);
    tokio::select! {
        () = accepting => {}
        never = follow(transport.tls.clone()) => match never {},
    }
    drop(listener);
    // Each connection has one.
    if tokio::time::timeout(GRACE, places.acquire_many(most)).await.is_err() {
        tracing::warn!("left with requests still under way");
    }
}

async fn follow(tls: Option<Arc<Tls>>) -> Infallible {
    match tls {
        Some(tls) => tls.follow().await,
        None => std::future::pending().await,
    }
}

async fn accept<H, F>(
    listener: &TcpListener,
    doors: &mut Doors,
    transport: &Arc<Transport>,
    handler: Arc<H>,
    places: &Arc<Semaphore>,
    stop: &mut watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stopped = stop.clone();
    loop {
        // Above the number, clients wait in the system's own queue.
        let place = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return,
            accepted = listener.accept() => accepted,
        };
        // It waits for more at its door, no longer here.
        match accepted.and_then(|(stream, client)| Ok((stream.into_std()?, client))) {
            Ok((stream, client)) => {
                let open = transport.counts.opened();
                let connection = Connection {
                    client,
                    handler: handler.clone(),
                    transport: transport.clone(),
                    stop: stopped.clone(),
                };
                doors.next().spawn(async move {
                    let _held = (place, open);
                    match TcpStream::from_std(stream) {
                        Ok(stream) => connection.serve(stream).await,
                        Err(error) => tracing::warn!(%error, "a connection could not be served"),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: those in use must end before there are more.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// How many connections one listener serves at once: half of the files that the process may open, so
/// that calls to the archive and the other listener find some.
fn most_connections() -> u32 {
    const UNKNOWN: u32 = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().next());
    let soft = soft.and_then(|number| number.parse().ok()).unwrap_or(UNKNOWN);
    (soft / 2).clamp(16, 10_000)
}

/// One connection.
struct Connection<H> {
    client: SocketAddr,
    handler: Arc<H>,
    transport: Arc<Transport>,
    stop: watch::Receiver<bool>,
}

/// What is spoken on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Http1,
    Http2,
}

impl<H, F> Connection<H>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    async fn serve(self, stream: TcpStream) {
        // Pictures are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.head_timeout(), self.open(stream)) => opened,
            // Who has said nothing yet has nothing under way.
            _ = stop.wait_for(|&stop| stop) => return,
        };
        match opened {
            Ok(Some(Opened::Plain(stream, protocol, progress))) => {
                self.http(stream, protocol, progress).await;
            }
            Ok(Some(Opened::Tls(stream, progress))) => {
                let is_http2 = tls::is_http2(&stream);
                let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
                self.http(*stream, protocol, progress).await;
            }
            Ok(None) => {}
            Err(_) if self.transport.tls.is_some() => self.no_handshake(),
            Err(_) => {}
        }
    }

    /// Waits until it is clear what is spoken. Until then no other timeout runs.
    async fn open(&self, stream: TcpStream) -> Option<Opened> {
        let progress = Arc::new(Progress::new());
        let watched = |stream| {
            let Transport { patience, counts, .. } = &*self.transport;
            Watched::new(stream, *patience, progress.clone(), counts.clone())
        };
        let Some(tls) = &self.transport.tls else {
            let protocol = spoken(&stream).await?;
            return Some(Opened::Plain(watched(stream), protocol, progress));
        };
        if !tls::speaks_tls(&stream).await? {
            self.no_handshake();
            tls::explain(stream).await;
            return None;
        }
        match tls.handshake(watched(stream)).await {
            Some(stream) => Some(Opened::Tls(Box::new(stream), progress)),
            None => {
                self.no_handshake();
                None
            }
        }
    }

    fn no_handshake(&self) {
        let count = &self.transport.counts.failed_handshakes;
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn head_timeout(&self) -> Duration {
        HEAD_TIMEOUT.min(self.transport.patience)
    }

    async fn http<S>(mut self, stream: S, protocol: Protocol, progress: Arc<Progress>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (handler, client) = (self.handler.clone(), self.client);
        let Transport { patience, counts, tls } = &*self.transport;
        let is_tls = tls.is_some();
        let streams = Streams::new(self.head_timeout(), *patience, progress, counts.clone());
        let streams = (protocol == Protocol::Http2).then(|| Arc::new(streams));
        let watching = streams.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            if is_tls {
                request.extensions_mut().insert(OverTls);
            }
            let watched = watching.as_ref().map(Streams::request);
            let answer = handler(request, client);
            async move {
                let answer = answer.await;
                Ok::<_, Infallible>(match watched {
                    Some(request) => answer.map(|body| request.answered(body)),
                    None => answer.map(Sent::Plain),
                })
            }
        });
        let stream = TokioIo::new(stream);
        let connection = self.builder(protocol).serve_connection(stream, service).into_owned();
        let mut connection = std::pin::pin!(connection);
        let patience = *patience;
        tokio::select! {
            ended = connection.as_mut() => return said(ended),
            () = idle(streams.as_deref(), patience) => {}
            _ = self.stop.wait_for(|&stop| stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => said(ended),
            // There may be nobody who hears it.
            () = idle(streams.as_deref(), patience.min(FAREWELL)) => {}
        }
    }

    fn builder(&self, protocol: Protocol) -> auto::Builder<TokioExecutor> {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout())
            .max_buf_size(READ_AHEAD);
        server
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(head::LARGEST as u32)
            .max_pending_accept_reset_streams(RESET_UNSEEN)
            .max_local_error_reset_streams(RESET_BY_US);
        match protocol {
            Protocol::Http1 => server.http1_only(),
            Protocol::Http2 => server.http2_only(),
        }
    }
}

/// Until nothing has gone on for so long; HTTP/1.1 looks after that itself.
async fn idle(streams: Option<&Streams>, patience: Duration) {
    match streams {
        Some(streams) => streams.idle(patience).await,
        None => std::future::pending().await,
    }
}

/// A connection on which HTTP can be spoken.
enum Opened {
    Plain(Watched, Protocol, Arc<Progress>),
    Tls(Box<tokio_rustls::server::TlsStream<Watched>>, Arc<Progress>),
}

/// What is spoken without TLS: HTTP/2 begins with its preface. `None` where the client hangs up.
async fn spoken(stream: &TcpStream) -> Option<Protocol> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut start = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut start).await.ok()?;
        match &start[..length] {
            [] => return None,
            PREFACE => return Some(Protocol::Http2),
            start if PREFACE.starts_with(start) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => return Some(Protocol::Http1),
        }
    }
}

fn said<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
