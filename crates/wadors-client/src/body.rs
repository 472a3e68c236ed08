//! The body of an answer, bounded in bytes and in time, and the first part in it.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dicomweb_types::MediaRange;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::answer::Answer;
use crate::error::UpstreamError;
use crate::multipart::{self, Headers, Layout, Part};

/// What a declared length may reserve before its bytes are there.
const RESERVE: u64 = 8 << 20;

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

/// A body being read: each wait is bounded by the timeout, the whole by the limit.
pub(crate) struct Body {
    chunks: Chunks,
    /// Bytes to make room for at once.
    reserve: usize,
    /// Whether the end of the body can be told from a lost connection.
    delimited: bool,
    /// Whether its length is known ahead.
    declared: bool,
}

impl Body {
    /// `declared` is the length that the sender announced.
    pub(crate) fn new<S>(
        chunks: S,
        timeout: Duration,
        limit: u64,
        declared: Option<u64>,
        delimited: bool,
    ) -> Self
    where
        S: Stream<Item = Result<Bytes, UpstreamError>> + Send + 'static,
    {
        let reserve = declared.unwrap_or(0).min(limit).min(RESERVE) as usize;
        // Fused, since a short body ends while its head is taken, and is then read on.
        let chunks = Box::pin(bounded(timed(chunks, timeout), limit).fuse());
        Self { chunks, reserve, delimited, declared: declared.is_some() }
    }

    /// The whole body.
    pub(crate) async fn collect(self) -> Result<Bytes, UpstreamError> {
        gather(self.chunks, self.reserve).await
    }

    /// What there is of the body, and why it is not all.
    async fn collect_what_comes(mut self) -> (Bytes, Option<UpstreamError>) {
        let mut all = BytesMut::with_capacity(self.reserve);
        loop {
            match self.chunks.try_next().await {
                Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                Ok(None) => return (all.freeze(), None),
                Err(error) => return (all.freeze(), Some(error)),
            }
        }
    }

    /// The payload of the body, or of the first part in it; what follows that part is not waited
    /// for. `single` says what a body that is no multipart may be.
    pub(crate) async fn first_part(
        mut self,
        content_type: Option<MediaRange>,
        single: fn(&MediaRange) -> bool,
    ) -> Result<Part, UpstreamError> {
        let head = self.take_head().await?;
        let part = match multipart::layout(content_type.as_ref(), &head) {
            Layout::Single => {
                check_single(content_type.as_ref(), single)?;
                let headers = Headers { content_type, content_length: None };
                Part { headers, body: self.put_back(head).collect().await?, ended: false }
            }
            // The part is a slice of a body that is gathered once; multer would copy it twice more.
            Layout::Standard { boundary, .. } if self.declared => {
                self.put_back(head).part_of_all(boundary.as_bytes()).await?
            }
            Layout::Standard { boundary, headers } => {
                let body = self.put_back(head).stream_first_part(boundary).await?;
                Part { headers, body, ended: true }
            }
            Layout::Odd { boundary } => self.put_back(head).part_of_all(&boundary).await?,
        };
        if part.body.is_empty() { Err(UpstreamError::Empty) } else { Ok(part) }
    }

    /// Reads as much as it takes to know the layout.
    async fn take_head(&mut self) -> Result<Bytes, UpstreamError> {
        let Some(first) = self.chunks.try_next().await? else { return Ok(Bytes::new()) };
        if multipart::is_head(&first) {
            return Ok(first);
        }
        let mut head = BytesMut::from(first);
        while !multipart::is_head(&head) {
            let Some(chunk) = self.chunks.try_next().await? else { break };
            head.extend_from_slice(&chunk);
        }
        Ok(head.freeze())
    }

    fn put_back(self, head: Bytes) -> Self {
        let chunks = stream::once(async { Ok(head) }).chain(self.chunks);
        Self { chunks: Box::pin(chunks), ..self }
    }

    /// The first part of a body, once all of it is there.
    async fn part_of_all(self, boundary: &[u8]) -> Result<Part, UpstreamError> {
        let delimited = self.delimited;
        let (body, broken) = self.collect_what_comes().await;
        let part = multipart::first(&body, boundary);
        match (part, broken) {
            // Whole once its delimiter is there, whatever becomes of the rest.
            (Some(part), None | Some(UpstreamError::BrokeOff)) if part.ended => Ok(part),
            (_, Some(error)) => Err(error),
            (Some(part), None) if delimited => Ok(part),
            (Some(_), None) => Err(UpstreamError::BrokeOff),
            (None, None) => Err(no_part(&body)),
        }
    }

    /// The first part of a body that begins by the book, through multer.
    ///
    /// Two traits of multer 3.1 are met here. It gives up if the whole body arrives between its
    /// first two looks at the stream; our stream has the first delimiter ready at the first look.
    /// And it loses the end of a part that no delimiter ends; so one more is sent after the body,
    /// where nothing reads it unless the archive forgot its own. That is done only if the body is
    /// known to be whole.
    async fn stream_first_part(self, boundary: String) -> Result<Bytes, UpstreamError> {
        let close = self.delimited.then(|| Ok(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
        let chunks = self.chunks.chain(stream::iter(close));
        let mut parts = multer::Multipart::new(chunks, boundary);
        let field = parts.next_field().await.map_err(multer_error)?.ok_or(UpstreamError::Empty)?;
        gather(field.map_err(multer_error), self.reserve).await
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("delimited", &self.delimited).finish_non_exhaustive()
    }
}

/// The first part of an answer of at most `limit` bytes.
pub(crate) async fn first_part(
    answer: Answer,
    limit: u64,
    single: fn(&MediaRange) -> bool,
) -> Result<Part, UpstreamError> {
    let content_type = content_type(answer.headers());
    answer.into_body(limit)?.first_part(content_type, single).await
}

/// The readable `Content-Type` of an answer.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<MediaRange> {
    MediaRange::parse(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

fn timed<S>(
    chunks: S,
    timeout: Duration,
) -> impl Stream<Item = Result<Bytes, UpstreamError>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, UpstreamError>> + Send + 'static,
{
    stream::unfold(Box::pin(chunks), move |mut chunks| async move {
        match tokio::time::timeout(timeout, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk, chunks)),
            Err(_) => Some((Err(UpstreamError::Timeout), chunks)),
        }
    })
}

fn bounded<S>(chunks: S, limit: u64) -> impl Stream<Item = Result<Bytes, UpstreamError>> + Send
where
    S: Stream<Item = Result<Bytes, UpstreamError>> + Send,
{
    let mut left = limit;
    chunks.map(move |chunk| {
        let chunk = chunk?;
        left = left.checked_sub(chunk.len() as u64).ok_or(UpstreamError::TooLarge { limit })?;
        Ok(chunk)
    })
}

/// Joins chunks; a single one is handed on without a copy.
async fn gather<S>(chunks: S, reserve: usize) -> Result<Bytes, UpstreamError>
where
    S: Stream<Item = Result<Bytes, UpstreamError>>,
{
    let mut chunks = std::pin::pin!(chunks);
    let Some(first) = chunks.try_next().await? else { return Ok(Bytes::new()) };
    let Some(second) = chunks.try_next().await? else { return Ok(first) };
    let mut all = BytesMut::with_capacity(reserve.max(first.len() + second.len()));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(chunk) = chunks.try_next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn check_single(
    content_type: Option<&MediaRange>,
    single: fn(&MediaRange) -> bool,
) -> Result<(), UpstreamError> {
    // A multipart without any delimiter is a bare payload under the wrong name.
    let expected = content_type.is_none_or(|range| range.main == "multipart" || single(range));
    if expected {
        return Ok(());
    }
    Err(UpstreamError::malformed("its media type is not the one asked for"))
}

fn no_part(body: &Bytes) -> UpstreamError {
    if body.is_empty() {
        return UpstreamError::Empty;
    }
    UpstreamError::malformed("it is a multipart in which the boundary does not appear")
}

fn multer_error(error: multer::Error) -> UpstreamError {
    use multer::Error as E;
    match error {
        E::StreamReadFailed(cause) => match cause.downcast::<UpstreamError>() {
            Ok(ours) => *ours,
            Err(_) => UpstreamError::BrokeOff,
        },
        E::IncompleteStream | E::IncompleteFieldData { .. } | E::IncompleteHeaders => {
            UpstreamError::BrokeOff
        }
        _ => UpstreamError::malformed("its multipart framing is broken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDARY: &str = "a-boundary";
    const FOREVER: Duration = Duration::from_secs(3600);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn cut(body: &[u8], sizes: &[usize]) -> Vec<Result<Bytes, UpstreamError>> {
        let (mut rest, mut sizes) = (Bytes::copy_from_slice(body), sizes.iter().cycle());
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).clamp(1, rest.len());
            chunks.push(Ok(rest.split_to(size)));
        }
        chunks
    }

    fn read(
        chunks: Vec<Result<Bytes, UpstreamError>>,
        delimited: bool,
    ) -> Result<Part, UpstreamError> {
        let content_type = MediaRange::parse(&format!("multipart/related; boundary={BOUNDARY}"));
        // Yields between chunks, so that readers see them one by one.
        let chunks = stream::iter(chunks).then(|chunk| async {
            tokio::task::yield_now().await;
            chunk
        });
        let body = Body::new(chunks, FOREVER, 1 << 20, None, delimited);
        run(body.first_part(content_type, |_| false))
    }

    fn standard(payload: &[u8]) -> Vec<u8> {
        let begin = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n");
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        [begin.as_bytes(), payload, end.as_bytes()].concat()
    }

    #[test]
    fn a_body_that_comes_at_once_after_a_wait_is_read() {
        // multer 3.1 alone calls this an incomplete stream.
        let mut waited = false;
        let body = Bytes::from(standard(b"payload"));
        let mut body = Some(body);
        let chunks = stream::poll_fn(move |cx| {
            if !std::mem::replace(&mut waited, true) {
                cx.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(body.take().map(Ok))
        });
        let content_type = MediaRange::parse(&format!("multipart/related; boundary={BOUNDARY}"));
        let body = Body::new(chunks, FOREVER, 1 << 20, None, true);
        let part = run(body.first_part(content_type, |_| false)).unwrap();
        assert_eq!(&part.body[..], b"payload");
    }

    #[test]
    fn a_forgotten_end_counts_only_where_the_body_is_known_to_be_whole() {
        let whole = standard(b"payload");
        let open = &whole[..whole.len() - BOUNDARY.len() - 8];
        assert_eq!(&read(cut(open, &[7]), true).unwrap().body[..], b"payload");
        assert_eq!(read(cut(open, &[7]), false), Err(UpstreamError::BrokeOff));
        let odd = format!("--{BOUNDARY}\n\npayload");
        assert_eq!(&read(cut(odd.as_bytes(), &[3]), true).unwrap().body[..], b"payload");
        assert_eq!(read(cut(odd.as_bytes(), &[3]), false), Err(UpstreamError::BrokeOff));
    }

    #[test]
    fn errors_of_the_connection_come_through_multer_as_they_are() {
        for error in [UpstreamError::BrokeOff, UpstreamError::Timeout] {
            let mut chunks = cut(&standard(b"payload")[..60], &[20]);
            chunks.push(Err(error.clone()));
            assert_eq!(read(chunks, true), Err(error));
        }
        let large = standard(&vec![0; 1 << 20]);
        let limit = 1 << 20;
        assert_eq!(read(cut(&large, &[4096]), true), Err(UpstreamError::TooLarge { limit }));
    }

    #[test]
    fn a_part_without_content_is_empty() {
        assert_eq!(read(cut(&standard(b""), &[5]), true), Err(UpstreamError::Empty));
        let none = format!("--{BOUNDARY}--\r\n");
        assert_eq!(read(cut(none.as_bytes(), &[5]), true), Err(UpstreamError::Empty));
        assert_eq!(read(Vec::new(), true), Err(UpstreamError::Empty));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_part(
            payload in prop::collection::vec(prop::sample::select(&b"\r\n-a\x00\xff"[..]), 1..300),
            sizes in prop::collection::vec(1usize..40, 1..8),
            bare_lf in prop::bool::ANY,
        ) {
            let mut body = standard(&payload);
            if bare_lf {
                let begin = format!("--{BOUNDARY}\nContent-Type: application/dicom\n\n");
                let end = format!("\n--{BOUNDARY}--\n");
                body = [begin.as_bytes(), &payload, end.as_bytes()].concat();
            }
            let part = read(cut(&body, &sizes), true).unwrap();
            prop_assert_eq!(&part.body[..], &payload[..]);
            // Both readers agree.
            let whole = multipart::first(&Bytes::from(body), BOUNDARY.as_bytes()).unwrap();
            prop_assert_eq!(whole.body, part.body);
            prop_assert_eq!(whole.headers, part.headers);
        }

        #[test]
        fn arbitrary_bodies_never_panic(
            body in prop::collection::vec(prop::sample::select(&b"-\r\n:abondry "[..]), 0..200),
            sizes in prop::collection::vec(1usize..20, 1..4),
        ) {
            let body = [format!("--{BOUNDARY}\r\nA: b\r\n\r\n").as_bytes(), &body].concat();
            let _ = read(cut(&body, &sizes), true);
        }
    }
}
