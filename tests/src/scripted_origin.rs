//! An upstream that does as it is told, on loopback.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A body of a request above this is counted, not kept.
const KEPT_BODY: usize = 1 << 20;

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The raw path, not decoded.
    pub path: String,
    /// The raw query, not decoded, without its question mark.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body; empty when it was longer than 1 MiB.
    pub body: Bytes,
    /// How long the body was.
    pub body_length: u64,
}

impl Received {
    /// One header, or the empty text where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not ASCII)"))
    }
}

/// What the origin answers.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    delay: Duration,
    body: Script,
}

#[derive(Debug)]
enum Script {
    /// Chunks with a pause before each but the first, then a proper end.
    Chunks { chunks: Vec<Bytes>, pause: Duration },
    /// These bytes, then the connection breaks.
    Broken(Bytes),
    /// The same chunk for ever.
    Endless(Bytes),
    /// These bytes, then silence with the connection open.
    Stalled(Bytes),
    /// What the test sends, when it sends it.
    Fed(mpsc::Receiver<Bytes>),
}

impl Answer {
    /// A whole body with its length.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let answer = Self::with(
            status,
            Script::Chunks { chunks: vec![body.clone()], pause: Duration::ZERO },
        )
        .header("content-length", &body.len().to_string());
        if content_type.is_empty() { answer } else { answer.header("content-type", content_type) }
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::with(status, Script::Chunks { chunks: Vec::new(), pause: Duration::ZERO })
    }

    /// 200 with `application/dicom+json`.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, "application/dicom+json", body)
    }

    /// 200 with `multipart/related` of `type`; each part has its own media type.
    pub fn multipart(kind: &str, parts: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (media_type, part) in parts {
            body.extend(format!("--lightbox\r\nContent-Type: {media_type}\r\n\r\n").into_bytes());
            body.extend(*part);
            body.extend(b"\r\n");
        }
        body.extend(b"--lightbox--\r\n");
        Self::new(200, &format!("multipart/related; type=\"{kind}\"; boundary=lightbox"), body)
    }

    /// Chunks of unannounced length with a pause between two.
    pub fn chunks(chunks: Vec<Bytes>, pause: Duration) -> Self {
        Self::with(200, Script::Chunks { chunks, pause })
    }

    /// Announces `length` bytes, sends `body`, and breaks the connection.
    pub fn truncated(content_type: &str, body: impl Into<Bytes>, length: usize) -> Self {
        Self::with(200, Script::Broken(body.into()))
            .header("content-type", content_type)
            .header("content-length", &length.to_string())
    }

    /// Sends the chunk again and again.
    pub fn endless(content_type: &str, chunk: impl Into<Bytes>) -> Self {
        Self::with(200, Script::Endless(chunk.into())).header("content-type", content_type)
    }

    /// Sends `body` and then nothing more, without closing.
    pub fn stalled(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::with(200, Script::Stalled(body.into())).header("content-type", content_type)
    }

    /// A body that the test feeds, chunk by chunk; it ends when the sender is dropped.
    pub fn fed(content_type: &str) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self::with(200, Script::Fed(receiver)).header("content-type", content_type), sender)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, value.parse().expect("a header value"));
        self
    }

    /// Waits before the status line.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn with(status: u16, body: Script) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status code"),
            headers: HeaderMap::new(),
            delay: Duration::ZERO,
            body,
        }
    }
}

#[derive(Clone)]
struct Behaviour {
    script: Arc<dyn Fn(&Received) -> Answer + Send + Sync>,
    /// Answers once the headers of the request are there, while its body still comes in.
    at_headers: bool,
}

/// An HTTP server on a free loopback port whose answers a test scripts, path by path.
///
/// A path nobody scripted is 404. Every request is recorded. The server ends with the value.
#[derive(Debug)]
pub struct ScriptedOrigin {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    otherwise: Mutex<Option<Behaviour>>,
    received: Mutex<Vec<Received>>,
    bytes_in: AtomicU64,
    bytes_out: Arc<AtomicU64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ScriptedOrigin {
    /// Listens; answers 404 to everything until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
        let server = tokio::spawn(serve(listener, state.clone()));
        Self { address, state, server }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers every request for this path (without query) by this closure.
    pub fn on(&self, path: &str, answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        let behaviour = Behaviour { script: Arc::new(answer), at_headers: false };
        self.state.behaviours.lock().unwrap().insert(path.to_owned(), behaviour);
    }

    /// As [`Self::on`], but answers before the body of the request is read.
    pub fn on_headers(
        &self,
        path: &str,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) {
        let behaviour = Behaviour { script: Arc::new(answer), at_headers: true };
        self.state.behaviours.lock().unwrap().insert(path.to_owned(), behaviour);
    }

    /// Answers every path that has no closure of its own.
    pub fn otherwise(&self, answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        let behaviour = Behaviour { script: Arc::new(answer), at_headers: false };
        *self.state.otherwise.lock().unwrap() = Some(behaviour);
    }

    /// All requests so far, those under way included once their headers are read.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub fn requests(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// Bytes of request bodies read so far.
    pub fn bytes_in(&self) -> u64 {
        self.state.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes of answer bodies handed to the connection so far.
    pub fn bytes_out(&self) -> u64 {
        self.state.bytes_out.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Aborting the server drops the set, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // A second piece of an answer must not wait until the first is acknowledged, 40 ms later.
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, state.clone()));
            // The peer may leave when it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<ScriptedBody>, Infallible> {
    let (head, body) = request.into_parts();
    let mut received = Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: Bytes::new(),
        body_length: 0,
    };
    let place = {
        let mut all = state.received.lock().unwrap();
        all.push(received.clone());
        all.len() - 1
    };
    let behaviour = state.behaviours.lock().unwrap().get(&received.path).cloned();
    let behaviour = behaviour.or_else(|| state.otherwise.lock().unwrap().clone());
    let answer = match behaviour {
        None => Answer::status(404),
        Some(behaviour) if behaviour.at_headers => {
            let state = state.clone();
            tokio::spawn(async move { read_body(body, &state).await });
            (behaviour.script)(&received)
        }
        Some(behaviour) => {
            (received.body, received.body_length) = read_body(body, &state).await;
            state.received.lock().unwrap()[place] = received.clone();
            (behaviour.script)(&received)
        }
    };
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::new(ScriptedBody::new(answer.body, state.bytes_out.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

async fn read_body(mut body: Incoming, state: &State) -> (Bytes, u64) {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        length += data.len() as u64;
        state.bytes_in.fetch_add(data.len() as u64, Ordering::Relaxed);
        if kept.len() + data.len() <= KEPT_BODY {
            kept.extend_from_slice(data);
        }
    }
    let whole = kept.len() as u64 == length;
    (if whole { kept.into() } else { Bytes::new() }, length)
}

struct ScriptedBody {
    script: Script,
    sent: usize,
    pause: Pause,
    bytes_out: Arc<AtomicU64>,
}

impl ScriptedBody {
    fn new(script: Script, bytes_out: Arc<AtomicU64>) -> Self {
        Self { script, sent: 0, pause: None, bytes_out }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        let first = self.sent == 0;
        match &mut self.script {
            Script::Chunks { chunks, pause } => {
                let Some(chunk) = chunks.get(self.sent).cloned() else { return Poll::Ready(None) };
                if !first && !pause.is_zero() {
                    std::task::ready!(waited(&mut self.pause, *pause, context));
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Script::Broken(body) if first => Poll::Ready(Some(Ok(body.clone()))),
            Script::Broken(_) => {
                // What was sent before must be on its way.
                std::task::ready!(waited(&mut self.pause, Duration::from_millis(50), context));
                Poll::Ready(Some(Err(std::io::Error::other("scripted break"))))
            }
            Script::Endless(chunk) => Poll::Ready(Some(Ok(chunk.clone()))),
            Script::Stalled(body) if first => Poll::Ready(Some(Ok(body.clone()))),
            Script::Stalled(_) => Poll::Pending,
            Script::Fed(receiver) => receiver.poll_recv(context).map(|chunk| chunk.map(Ok)),
        }
    }
}

type Pause = Option<Pin<Box<tokio::time::Sleep>>>;

fn waited(pause: &mut Pause, length: Duration, context: &mut Context<'_>) -> Poll<()> {
    let sleep = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
    std::task::ready!(sleep.as_mut().poll(context));
    *pause = None;
    Poll::Ready(())
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = std::task::ready!(self.next(context));
        if let Some(Ok(chunk)) = &chunk {
            self.sent += 1;
            self.bytes_out.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, client};

    #[tokio::test]
    async fn scripts_answer_and_what_came_is_recorded() {
        let origin = ScriptedOrigin::start().await;
        origin.on("/a", |request| {
            Answer::new(201, "text/plain", request.body.clone()).header("x", "y")
        });
        let sent =
            client().post(format!("{}/a?q=%2C", origin.url())).body("echo").send().await.unwrap();
        let reply = Reply::read(sent).await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.header("x")), (201, "echo", "y"));
        let missing = client().get(format!("{}/b", origin.url())).send().await.unwrap();
        assert_eq!(missing.status(), 404);
        let seen = origin.received();
        assert_eq!((seen[0].query.as_deref(), seen[0].body_length), (Some("q=%2C"), 4));
        assert_eq!((origin.requests(), origin.bytes_in(), origin.bytes_out()), (2, 4, 4));
    }

    #[tokio::test]
    async fn a_truncated_answer_breaks_off() {
        let origin = ScriptedOrigin::start().await;
        origin.on("/cut", |_| Answer::truncated("text/plain", "half", 8));
        let response = client().get(format!("{}/cut", origin.url())).send().await.unwrap();
        assert_eq!(response.content_length(), Some(8));
        assert!(response.bytes().await.is_err());
    }
}
