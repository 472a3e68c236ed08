//! What goes on on one connection of HTTP/2, which may be many requests at once.
//!
//! A client decides by its windows what it takes of each stream, and answers pings meanwhile: on the
//! connection it looks alive. So it is noted of each answer whose turn it is, ours or the client's. One that
//! the client leaves is let go, with the call of the archive behind it; a connection on which nothing is to be
//! done by us, and nothing is done by the client, ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::Body;
use crate::stall::Progress;
use crate::transport::Counts;

/// What is given to HTTP/2 at once: what it has, it holds until the client takes it.
const PIECE: usize = 32 << 10;

/// How many times longer one stream may wait than a connection: others may go before it.
const STREAM_FACTOR: u32 = 4;

/// The requests of a connection.
pub(crate) struct Streams {
    /// How long the first request may take to come.
    first: Duration,
    /// A quarter of how long an answer may wait for the client.
    patience: Duration,
    progress: Arc<Progress>,
    counts: Arc<Counts>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    had_any: bool,
    /// Requests of which the answer has not begun.
    answering: usize,
    next: u64,
    answers: HashMap<u64, Arc<Mutex<Answer>>>,
}

/// An answer that is being sent.
struct Answer {
    /// `None` once it was let go.
    body: Option<Body>,
    /// What has been taken out of it, and is not given to HTTP/2 yet.
    rest: Bytes,
    /// Since when it is the client's turn; `None` while it is ours.
    waits_since: Option<Instant>,
}

impl Streams {
    pub(crate) fn new(
        first: Duration,
        patience: Duration,
        progress: Arc<Progress>,
        counts: Arc<Counts>,
    ) -> Self {
        Self { first, patience, progress, counts, state: Mutex::default() }
    }

    /// A request has come.
    pub(crate) fn request(self: &Arc<Self>) -> Request {
        self.progress.made();
        let mut state = lock(&self.state);
        state.had_any = true;
        state.answering += 1;
        Request(self.clone())
    }

    /// Until nothing has gone on for so long, or the first request has not come.
    pub(crate) async fn idle(&self, patience: Duration) {
        let every = (patience / 8).clamp(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            tokio::time::sleep(every).await;
            if self.look_after(patience, Instant::now()) {
                return;
            }
        }
    }

    /// Lets answers go that the client has left; whether nothing has gone on for `patience`.
    fn look_after(&self, patience: Duration, now: Instant) -> bool {
        let mut left = Vec::new();
        let state = lock(&self.state);
        let mut is_ours = state.answering > 0;
        for answer in state.answers.values() {
            let mut answer = lock(answer);
            match answer.waits_since {
                None => is_ours = true,
                Some(since) if now.duration_since(since) >= self.patience * STREAM_FACTOR => {
                    answer.rest = Bytes::new();
                    left.extend(answer.body.take());
                }
                Some(_) => {}
            }
        }
        let patience = if state.had_any { patience } else { patience.min(self.first) };
        drop(state);
        self.counts.stalled_streams.fetch_add(left.len() as u64, Relaxed);
        !is_ours && self.progress.silence() >= patience
    }
}

/// A request that is being answered.
pub(crate) struct Request(Arc<Streams>);

impl Request {
    /// The body of its answer.
    pub(crate) fn answered(self, body: Body) -> Sent {
        let streams = self.0.clone();
        streams.progress.made();
        let waits_since = Some(Instant::now());
        let answer = Answer { body: Some(body), rest: Bytes::new(), waits_since };
        let answer = Arc::new(Mutex::new(answer));
        let mut state = lock(&streams.state);
        let number = state.next;
        state.next += 1;
        state.answers.insert(number, answer.clone());
        drop(state);
        Sent::Watched(Watched { number, answer, streams })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        lock(&self.0.state).answering -= 1;
    }
}

/// The body of an answer on its way.
pub(crate) enum Sent {
    /// Over HTTP/1.1, where the connection is all there is to watch.
    Plain(Body),
    Watched(Watched),
}

pub(crate) struct Watched {
    number: u64,
    answer: Arc<Mutex<Answer>>,
    streams: Arc<Streams>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.streams.state).answers.remove(&self.number);
    }
}

/// The client has left it.
#[derive(Debug, thiserror::Error)]
#[error("the client takes nothing")]
struct Left;

impl Answer {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<FrameOrError>> {
        if self.rest.is_empty() {
            let Some(body) = &mut self.body else { return Poll::Ready(Some(Err(Left.into()))) };
            self.waits_since = None;
            let frame = ready!(Pin::new(body).poll_frame(context));
            self.waits_since = Some(Instant::now());
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        self.waits_since = Some(Instant::now());
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

type FrameOrError = Result<Frame<Bytes>, <Body as HttpBody>::Error>;

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<FrameOrError>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body).poll_frame(context),
            Self::Watched(watched) => {
                let frame = ready!(lock(&watched.answer).poll_frame(context));
                watched.streams.progress.made();
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Watched(watched) => {
                let answer = lock(&watched.answer);
                answer.rest.is_empty() && answer.body.as_ref().is_some_and(HttpBody::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Watched(watched) => {
                let answer = lock(&watched.answer);
                let (hint, rest) = (answer.body.as_ref(), answer.rest.len() as u64);
                let hint = hint.map_or_else(SizeHint::default, HttpBody::size_hint);
                let mut whole = SizeHint::new();
                whole.set_lower(hint.lower() + rest);
                if let Some(upper) = hint.upper() {
                    whole.set_upper(upper + rest);
                }
                whole
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::BodyExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn streams() -> Arc<Streams> {
        let progress = Arc::new(Progress::new());
        Arc::new(Streams::new(PATIENCE / 4, PATIENCE, progress, Arc::default()))
    }

    fn next(sent: &mut Sent) -> Poll<Option<FrameOrError>> {
        Pin::new(sent).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_in_pieces() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        let mut sent = streams().request().answered(Body::whole(bytes.clone()));
        assert_eq!(sent.size_hint().exact(), Some(100_000));
        let Poll::Ready(Some(Ok(first))) = next(&mut sent) else { panic!("there is a frame") };
        assert_eq!(first.data_ref().map(Bytes::len), Some(PIECE));
        assert_eq!(sent.size_hint().exact(), Some(100_000 - PIECE as u64));
        assert!(!sent.is_end_stream());
        let rest = sent.collect().await.unwrap().to_bytes();
        assert!(rest == bytes[PIECE..]);
        assert!(streams().request().answered(Body::empty()).is_end_stream());
    }

    #[test]
    fn what_the_client_leaves_is_let_go_and_what_waits_for_us_is_not() {
        let streams = streams();
        let (feed, wait) = tokio::sync::mpsc::channel::<()>(1);
        let pending = futures_util::stream::poll_fn(move |_| {
            let _held = &wait;
            Poll::Pending
        });
        let mut ours = streams.request().answered(Body::frames(pending));
        let mut theirs = streams.request().answered(Body::whole(vec![0; 100_000]));
        assert!(next(&mut ours).is_pending() && next(&mut theirs).is_ready());
        let later = Instant::now() + PATIENCE * STREAM_FACTOR;
        assert!(!streams.look_after(PATIENCE, later), "it is our turn");
        assert!(matches!(next(&mut theirs), Poll::Ready(Some(Err(_)))));
        assert!(next(&mut ours).is_pending() && !feed.is_closed());
        assert_eq!(streams.counts.stalled_streams.load(Relaxed), 1);
        drop((ours, theirs));
        assert!(lock(&streams.state).answers.is_empty());
    }

    #[test]
    fn a_request_is_ours_until_its_answer_begins() {
        let progress = Arc::new(Progress::new());
        let none = Duration::ZERO;
        let streams = Arc::new(Streams::new(none, none, progress, Arc::default()));
        assert!(streams.look_after(none, Instant::now()));
        let request = streams.request();
        assert!(!streams.look_after(none, Instant::now()));
        drop(request);
        assert!(streams.look_after(none, Instant::now()));
    }
}
