//! The body of an answer.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use tokio::runtime::Handle;

/// The body of an answer: whole, or streamed.
pub(crate) struct Body(Kind);

enum Kind {
    /// Once; most answers are, and need no box.
    Whole(Option<Bytes>),
    Streamed(Streamed),
}

type Failed = Box<dyn Error + Send + Sync>;

impl Body {
    pub(crate) fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }

    pub(crate) fn frames<S>(frames: S) -> Self
    where
        S: Stream<Item = Result<Frame<Bytes>, Failed>> + Send + 'static,
    {
        Self(Kind::Streamed(Streamed::new(StreamBody::new(frames).boxed_unsync())))
    }

    pub(crate) fn streamed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Failed>,
    {
        Self(Kind::Streamed(Streamed::new(body.map_err(Into::into).boxed_unsync())))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Streamed(body) => body.size_hint(),
        }
    }
}

/// What goes on while it is sent. Work that it begins goes on where it was made, and not at the door.
struct Streamed {
    /// None once this is being dropped.
    body: Option<UnsyncBoxBody<Bytes, Failed>>,
    runtime: Option<Handle>,
}

impl Streamed {
    fn new(body: UnsyncBoxBody<Bytes, Failed>) -> Self {
        Self { body: Some(body), runtime: Handle::try_current().ok() }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let _there = self.runtime.as_ref().map(Handle::enter);
        drop(self.body.take());
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let Self { body: Some(body), runtime } = &mut *self else { return Poll::Ready(None) };
        let _there = runtime.as_ref().map(Handle::enter);
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that begins a task with each piece, and says where it ran.
    fn with_tasks() -> impl Stream<Item = Result<Frame<Bytes>, Failed>> + Send {
        let pieces = futures_util::stream::iter(0..2);
        futures_util::StreamExt::then(pieces, |_| {
            let begun = tokio::spawn(async { format!("{:?}", std::thread::current().id()) });
            async { Ok(Frame::data(begun.await?.into())) }
        })
    }

    #[test]
    fn what_it_begins_goes_on_where_it_was_made() {
        let its_own = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let body = {
            let _there = its_own.enter();
            Body::frames(with_tasks())
        };
        let door = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = door.block_on(body.collect()).unwrap().to_bytes();
        let here = format!("{:?}", std::thread::current().id());
        assert!(!told.is_empty() && !String::from_utf8_lossy(&told).contains(&here));
    }
}
