//! The body of a request: bounded in bytes, and given up where nothing of it comes.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use crate::transport::{Counts, Transport};

/// Why a body was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("nothing came of the request's body for {} s", .0.as_secs())]
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
    patience: Duration,
    /// Runs while the client has its turn.
    waiting: Option<Pin<Box<Sleep>>>,
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
                waiting: None,
                limit,
                left: limit.unwrap_or(u64::MAX),
                fate: Fate::default(),
                counts: transport.counts.clone(),
            }),
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
            let patience = self.patience;
            let sleep = || Box::pin(tokio::time::sleep(patience));
            ready!(self.waiting.get_or_insert_with(sleep).as_mut().poll(context));
            self.counts.stalled_uploads.fetch_add(1, Relaxed);
            let error = self.given_up(UploadError::Stalled(patience));
            return Poll::Ready(Some(Err(BodyError::GivenUp(error))));
        };
        self.waiting = None;
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(BodyError::Broken)?;
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
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
