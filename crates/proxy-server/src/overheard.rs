//! What passes through teaches what objects hold: answers to searches for instances, and metadata.
//!
//! A copy of an answer of moderate length is read once the client has it. Nothing waits for that.

use std::io::{BufReader, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dicomweb_types::Uid;
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::known::{self, Said};
use crate::upstream::Upstream;

/// Longer answers are not read.
const LONGEST: usize = 8 << 20;

/// The most that a compressed one may inflate to.
const LONGEST_INFLATED: u64 = 64 << 20;

/// What may be kept of all answers that are listened to at the same time, in pieces of [`PIECE`].
static ROOM: Semaphore = Semaphore::const_new((64 << 20) / PIECE);
const PIECE: usize = 64 << 10;

/// Answers that are read at the same time: each may inflate.
static READING: Semaphore = Semaphore::const_new(2);

/// Whether an answer tells of instances.
pub(crate) fn tells(method: &Method, below: &str, answer: &Parts) -> bool {
    let path = below.trim_end_matches('/');
    let json = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    *method == Method::GET
        && answer.status == StatusCode::OK
        && (path.ends_with("/metadata") || path.ends_with("/instances"))
        && json.is_some_and(|json| json.contains("json"))
}

/// The study that a viewer is opening, or of which it shows a preview: it has asked for the study's series,
/// or for metadata.
pub(crate) fn opens(method: &Method, below: &str) -> Option<Uid> {
    let segments: Vec<&str> = below.split('/').filter(|segment| !segment.is_empty()).collect();
    let study = match segments[..] {
        ["studies", study, "series" | "metadata"] | ["studies", study, "series", _, "metadata"] => {
            study
        }
        _ => return None,
    };
    study.parse().ok().filter(|_| *method == Method::GET)
}

/// A body that is listened to as it passes.
pub(crate) struct Overheard<B> {
    body: B,
    kept: Option<Kept>,
    is_gzip: bool,
    upstream: Arc<Upstream>,
}

/// What has passed so far, in its share of the room.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    room: Option<SemaphorePermit<'static>>,
}

impl Kept {
    /// With more of it; `None` where it is too long, or there is no room.
    fn and(mut self, data: &[u8]) -> Option<Self> {
        let length = self.bytes.len() + data.len();
        let has = self.room.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = u32::try_from(length.div_ceil(PIECE).saturating_sub(has)).ok()?;
        if length > LONGEST {
            return None;
        }
        let more = ROOM.try_acquire_many(more).ok()?;
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Some(self)
    }
}

impl<B> Overheard<B> {
    pub(crate) fn new(body: B, answer: &Parts, upstream: Arc<Upstream>) -> Self {
        let coding = answer.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
        let is_gzip = coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"));
        let kept = (coding.is_none() || is_gzip).then(Kept::default);
        Self { body, kept, is_gzip, upstream }
    }

    fn keep(&mut self, data: &[u8]) {
        self.kept = self.kept.take().and_then(|kept| kept.and(data));
    }

    fn ended(&mut self) {
        let Some(kept) = self.kept.take().filter(|kept| !kept.bytes.is_empty()) else { return };
        let (upstream, is_gzip) = (self.upstream.clone(), self.is_gzip);
        tokio::spawn(async move {
            let _turn = READING.acquire().await;
            let reading = tokio::task::spawn_blocking(move || {
                read(&kept.bytes, is_gzip, &mut |said| upstream.known.learn(&said));
            });
            // It teaches something, or it does not.
            let _ = reading.await;
        });
    }
}

/// Hands on what the objects of an answer say, one by one; no more once it cannot be read.
fn read(json: &[u8], is_gzip: bool, learn: &mut dyn FnMut(Said)) {
    // What it teaches stays, whether or not it can be read to its end.
    let _ = if is_gzip {
        let inflated = MultiGzDecoder::new(json).take(LONGEST_INFLATED);
        known::each(&mut serde_json::Deserializer::from_reader(BufReader::new(inflated)), learn)
    } else {
        known::each(&mut serde_json::Deserializer::from_slice(json), learn)
    };
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Overheard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                // Nobody may ask again once the declared length is there.
                if self.body.is_end_stream() {
                    self.ended();
                }
            }
            Some(Err(_)) => self.kept = None,
            None => self.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_study_is_opened_by_its_series_or_metadata() {
        let opened = |path| opens(&Method::GET, path).map(|study| study.to_string());
        let study = Some("1.2".to_owned());
        assert_eq!(opened("/studies/1.2/series"), study);
        assert_eq!(opened("/studies/1.2/metadata"), study);
        assert_eq!(opened("/studies/1.2/series/1.3/metadata"), study);
        assert_eq!(opens(&Method::POST, "/studies/1.2/series"), None);
        for path in ["/studies", "/studies/1.2", "/studies/x/series", "/series/1.2/metadata"] {
            assert_eq!(opened(path), None, "{path}");
        }
    }

    #[test]
    fn an_answer_is_read_compressed_or_not_and_nonsense_tells_nothing() {
        let json = br#"[{"00080018": {"vr": "UI", "Value": ["1.2"]}, "00280008": {"Value": ["7"]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}, "7FE00010": {"BulkDataURI": "x"}}]"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(json).unwrap();
        let all = |json: &[u8], is_gzip| {
            let mut all = Vec::new();
            read(json, is_gzip, &mut |said| all.push(said));
            all
        };
        for (bytes, is_gzip) in [(json.to_vec(), false), (gzip.finish().unwrap(), true)] {
            assert_eq!(all(&bytes, is_gzip).len(), 1, "{is_gzip}");
        }
        for nonsense in [&b"<html>"[..], b"", b"{}", b"[1]", b"[{\"00080018\": 5}]"] {
            assert!(all(nonsense, false).iter().all(|said| said.content().is_none()));
        }
        assert!(all(b"no gzip", true).is_empty());
    }
}
