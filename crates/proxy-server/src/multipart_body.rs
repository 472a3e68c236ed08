//! `multipart/related` as it is sent (PS3.18 §8.6.1.2, RFC 2387): parts as they are ready, a trailer that
//! names what is missing.

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use crate::collection::{LeftOut, Part};
use crate::error::ServerError;
use crate::respond::warning_value;

/// The trailer that names what was left out after the body had begun.
pub(crate) const LEFT_OUT: HeaderName = HeaderName::from_static("x-left-out");

/// Names in it; of more it says how many.
const MOST_NAMED: usize = 50;

/// A boundary that no part holds.
pub(crate) fn boundary() -> String {
    // Random by the keys that the standard library draws for its hash maps.
    let random = || RandomState::new().build_hasher().finish();
    format!("lightbox-{:016x}{:016x}", random(), random())
}

/// The frames of the body: `first`, then the others, then the end and the trailer, which names
/// those of `left_out` too.
pub(crate) fn frames(
    boundary: String,
    first: Part,
    rest: BoxStream<'static, Result<Part, LeftOut>>,
    left_out: Vec<LeftOut>,
) -> impl Stream<Item = BodyFrame> + Send {
    let mut body = Body { boundary, missing: Missing::default(), begun: false, broken: false };
    left_out.iter().for_each(|l| body.missing.add(l));
    let parts = stream::iter([Ok(first)]).chain(rest).map(Some).chain(stream::iter([None]));
    parts
        .scan(body, |body, part| std::future::ready((!body.broken).then(|| body.frames_of(part))))
        .flat_map(stream::iter)
}

type BodyFrame = Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>;

/// A body that is being written.
struct Body {
    boundary: String,
    missing: Missing,
    begun: bool,
    broken: bool,
}

impl Body {
    /// What is written of a part, of one that is left out, or at the end.
    fn frames_of(&mut self, part: Option<Result<Part, LeftOut>>) -> Vec<BodyFrame> {
        match part {
            Some(Ok(part)) => vec![Ok(Frame::data(self.head(&part))), Ok(Frame::data(part.bytes))],
            // Cut off, so that nobody takes what came for all there is.
            Some(Err(LeftOut { error: ServerError::ArchiveGone, .. })) => {
                self.broken = true;
                vec![Err(Box::from("the archive stopped answering"))]
            }
            Some(Err(left_out)) => {
                self.missing.add(&left_out);
                Vec::new()
            }
            None => {
                let end = Bytes::from(format!("\r\n--{}--\r\n", self.boundary));
                let trailers = self.missing.trailers().map(|t| Ok(Frame::trailers(t)));
                [Ok(Frame::data(end))].into_iter().chain(trailers).collect()
            }
        }
    }

    fn head(&mut self, part: &Part) -> Bytes {
        let mut head = BytesMut::new();
        let mut put = |text: &str| head.put_slice(text.as_bytes());
        put(if self.begun { "\r\n" } else { "" });
        put(&format!("--{}\r\nContent-Type: {}\r\n", self.boundary, part.content_type));
        put(&format!("Content-Length: {}\r\n", part.bytes.len()));
        put(&format!("Content-Location: {}\r\n", part.content_location));
        for warning in &part.warnings {
            put(&format!("Warning: {}\r\n", warning_value(warning)));
        }
        put("\r\n");
        self.begun = true;
        head.freeze()
    }
}

#[derive(Default)]
struct Missing {
    named: Vec<String>,
    more: usize,
}

impl Missing {
    fn add(&mut self, left_out: &LeftOut) {
        if left_out.has_no_form() {
            return;
        }
        // Without the path: it holds UIDs.
        tracing::warn!(stage = left_out.error.stage(), error = %left_out.error, "a part is left out");
        if self.named.len() < MOST_NAMED {
            self.named.push(format!("{};stage={}", left_out.resource, left_out.error.stage()));
        } else {
            self.more += 1;
        }
    }

    fn trailers(&self) -> Option<HeaderMap> {
        if self.named.is_empty() {
            return None;
        }
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let value: Vec<&str> =
            self.named.iter().map(String::as_str).chain(more.as_deref()).collect();
        let value = HeaderValue::from_str(&value.join(", ")).ok()?;
        Some(HeaderMap::from_iter([(LEFT_OUT, value)]))
    }
}

#[cfg(test)]
mod tests {
    use core_render::RenderError;
    use futures_util::FutureExt;

    use super::*;
    use crate::error::Level;

    fn part(bytes: &'static [u8]) -> Part {
        Part {
            content_type: "image/jpeg".to_owned(),
            content_location: "/studies/1/series/2/instances/3".to_owned(),
            warnings: vec!["a \"rule\"".to_owned()],
            bytes: Bytes::from_static(bytes),
        }
    }

    fn missing() -> LeftOut {
        let error = RenderError::Damaged { reason: "x".to_owned() };
        let error = ServerError::Render { error, level: Level::Instance };
        LeftOut { resource: "/studies/1/series/2/instances/9".to_owned(), error }
    }

    fn body(
        rest: Vec<Result<Part, LeftOut>>,
        left_out: Vec<LeftOut>,
    ) -> (String, Option<HeaderMap>, bool) {
        let frames = frames("b".to_owned(), part(b"one"), stream::iter(rest).boxed(), left_out);
        let (mut text, mut trailers, mut broken) = (Vec::new(), None, false);
        for frame in frames.collect::<Vec<_>>().now_or_never().unwrap() {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => text.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(_) => broken = true,
            }
        }
        (String::from_utf8(text).unwrap(), trailers, broken)
    }

    #[test]
    fn parts_have_their_headers_and_the_body_its_end() {
        let (text, trailers, broken) = body(vec![Ok(part(b"two"))], Vec::new());
        let head = "--b\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\
                    Content-Location: /studies/1/series/2/instances/3\r\n\
                    Warning: 299 lightbox \"a 'rule'\"\r\n\r\n";
        assert_eq!(text, format!("{head}one\r\n{head}two\r\n--b--\r\n"));
        assert!(trailers.is_none() && !broken);
    }

    #[test]
    fn what_is_missing_is_named_in_the_trailer() {
        let (text, trailers, _) = body(vec![Err(missing()), Ok(part(b"two"))], vec![missing()]);
        assert!(text.contains("two") && text.ends_with("--b--\r\n"));
        let named = "/studies/1/series/2/instances/9;stage=decode";
        assert_eq!(trailers.unwrap()[LEFT_OUT], format!("{named}, {named}"));
        let many = (0..200).map(|_| Err(missing())).collect();
        let (_, trailers, _) = body(many, Vec::new());
        assert!(trailers.unwrap()[LEFT_OUT].to_str().unwrap().ends_with(", and 150 more"));
    }

    #[test]
    fn a_body_whose_archive_is_gone_has_no_end() {
        let gone = LeftOut { error: ServerError::ArchiveGone, ..missing() };
        let (text, _, broken) = body(vec![Err(gone)], Vec::new());
        assert!(broken && !text.ends_with("--b--\r\n"));
    }

    #[test]
    fn no_two_boundaries_are_the_same() {
        assert_ne!(boundary(), boundary());
    }
}
