//! The body of a request: bounded in bytes, and given up where nothing of it comes.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use crate::transport::{Counts, Transport};

/// What has to come within the time that a client has: less is no upload, but a place that is held.
const LEAST: u64 = 16 << 10;

/// Why a body was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("next to nothing came of the request's body for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("the request's body is larger than {0} bytes (max_request_bytes)")]
    TooLarge(u64),
}

/// What became of a body, for who has given it away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<OnceLock<UploadError>>);

impl Fate {
    pub(crate) fn error(&self) -> Option<UploadError> {
        self.0.get().copied()
    }
}

/// A body as it comes.
pub(crate) struct Upload<B> {
    body: B,
    /// How long a client may take for [`LEAST`], while it has its turn.
    patience: Duration,
    /// What it has taken of that in the turns before, and brought.
    taken: Duration,
    brought: u64,
    /// Runs while it has its turn, which began then.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// A place among the uploads of an archive.
    place: Option<OwnedSemaphorePermit>,
    limit: Option<u64>,
    left: u64,
    fate: Fate,
    counts: Arc<Counts>,
}

impl<B: HttpBody> Upload<B> {
    /// # Errors
    /// It says itself that it is larger than `limit`.
    pub(crate) fn new(
        body: B,
        transport: &Transport,
        limit: Option<u64>,
    ) -> Result<Self, UploadError> {
        let declared = body.size_hint().lower();
        match limit {
            Some(limit) if declared > limit => Err(UploadError::TooLarge(limit)),
            _ => Ok(Self {
                body,
                patience: transport.patience,
                taken: Duration::ZERO,
                brought: 0,
                waiting: None,
                place: None,
                limit,
                left: limit.unwrap_or(u64::MAX),
                fate: Fate::default(),
                counts: transport.counts.clone(),
            }),
        }
    }

    /// Holds a place until its end.
    pub(crate) fn holds(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// Counts the time of a turn that has ended, and what came of it.
    fn has_come(&mut self, length: u64) {
        if let Some((since, _)) = self.waiting.take() {
            self.taken += since.elapsed();
        }
        self.brought += length;
        if self.brought >= LEAST {
            (self.taken, self.brought) = (Duration::ZERO, 0);
        }
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate.clone()
    }

    fn given_up(&self, error: UploadError) -> UploadError {
        *self.fate.0.get_or_init(|| error)
    }
}

/// Why there is no more of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError<E> {
    #[error(transparent)]
    GivenUp(UploadError),
    #[error("{0}")]
    Broken(E),
}

impl<B> HttpBody for Upload<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let (patience, left) = (self.patience, self.patience.saturating_sub(self.taken));
            let turn = || (Instant::now(), Box::pin(tokio::time::sleep(left)));
            ready!(self.waiting.get_or_insert_with(turn).1.as_mut().poll(context));
            self.counts.stalled_uploads.fetch_add(1, Relaxed);
            let error = self.given_up(UploadError::Stalled(patience));
            return Poll::Ready(Some(Err(BodyError::GivenUp(error))));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(BodyError::Broken)?;
        // Trailers are headers that nobody has looked at.
        if frame.is_trailers() {
            return Poll::Ready(None);
        }
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.has_come(length);
        match (self.left.checked_sub(length), self.limit) {
            (None, Some(limit)) => {
                let error = self.given_up(UploadError::TooLarge(limit));
                Poll::Ready(Some(Err(BodyError::GivenUp(error))))
            }
            (left, _) => {
                self.left = left.unwrap_or(u64::MAX);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A body of so many pieces with a pause before each, as it comes through, or why it does not.
    async fn sent(pieces: usize, length: usize, pause: Duration) -> Result<usize, String> {
        let body = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; length])))
        });
        let transport = Transport { tls: None, patience: PATIENCE, counts: Arc::default() };
        let upload = Upload::new(Box::pin(StreamBody::new(body)), &transport, None).unwrap();
        let whole = upload.collect().await.map_err(|error| error.to_string())?;
        Ok(whole.to_bytes().len())
    }

    #[tokio::test]
    async fn who_brings_next_to_nothing_is_given_up_and_who_is_slow_is_not() {
        let pause = PATIENCE / 10;
        let trickle = sent(1000, 1, pause).await.unwrap_err();
        assert!(trickle.contains("next to nothing"), "{trickle}");
        assert_eq!(sent(30, LEAST as usize / 4, pause).await, Ok(30 * LEAST as usize / 4));
        assert_eq!(sent(3, 1, pause).await, Ok(3), "short ones end before");
    }

    #[tokio::test]
    async fn trailers_end_here() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-forwarded-user", "root".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"a")), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        let transport = Transport { tls: None, patience: PATIENCE, counts: Arc::default() };
        let whole = Upload::new(body, &transport, None).unwrap().collect().await.unwrap();
        assert!(whole.trailers().is_none());
        assert_eq!(whole.to_bytes(), "a");
    }
}
