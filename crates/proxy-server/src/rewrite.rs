//! URLs of the archive within JSON, made ones of this server (opt-in: `rewrite_urls`).
//!
//! Archives write the scheme, host and port that they see of themselves into RetrieveURL and BulkDataURI. A
//! text of JSON that is a whole URL below the archive's base path is given the address of this server; all
//! else passes byte for byte, streamed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use memchr::{memchr, memchr2};
use url::Url;

/// A longer text is no URL that is looked at.
const LONGEST: usize = 8 << 10;

/// What becomes what.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    /// The archive's base URL.
    archive: Url,
    /// Its path without a slash at the end.
    prefix: String,
    /// Where clients reach the same: without a slash at the end.
    public: String,
}

impl Rewrite {
    /// `public` is the scheme and authority of this server, `base_path` where the archive is served.
    /// `None` where that makes no URL: a client may name any host.
    pub(crate) fn new(archive: &Url, prefix: &str, public: &str, base_path: &str) -> Option<Self> {
        let public = format!("{}{base_path}", public.trim_end_matches('/'));
        let url = Url::parse(&public).ok()?;
        let plain =
            public.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>".contains(&byte));
        if !plain || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty()
        {
            return None;
        }
        Some(Self { archive: archive.clone(), prefix: prefix.to_owned(), public })
    }

    /// The text of a JSON string, without its quotes, as one of ours; `None` where it stays.
    fn of(&self, text: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(text).ok()?.replace("\\/", "/");
        if text.contains('\\') {
            return None;
        }
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let path = &rest[rest.find('/')?..];
        let below = path.strip_prefix(&*self.prefix)?;
        // At another host a base without a path would have everything below it.
        let needed =
            if self.prefix.is_empty() && !self.is_archive(&text) { "/studies/" } else { "/" };
        below.starts_with(needed).then(|| format!("{}{below}", self.public))
    }

    fn is_archive(&self, text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| url.origin() == self.archive.origin())
    }
}

/// Makes headers those of a body whose length and bytes are not known ahead.
pub(crate) fn adapt(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    for name in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(name);
    }
    // Equal in meaning, not in bytes (RFC 9110 §8.8.1).
    let strong = headers.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/"));
    let weak = strong.map(|etag| [b"W/", etag.as_bytes()].concat());
    if let Some(Ok(weak)) = weak.map(|weak| HeaderValue::from_bytes(&weak)) {
        headers.insert(header::ETAG, weak);
    }
}

/// Keeps an answer with URLs of the host that one client names from being kept for others, who have named
/// another. What the archive said of it beside that no longer holds.
pub(crate) fn keep_private(headers: &mut HeaderMap) {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    if !said.is_some_and(|said| said.contains("no-store")) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}

/// Where the scan of a JSON text is.
#[derive(Debug)]
enum State {
    /// Between texts.
    Outside,
    /// In a text that may be a URL, and is held back.
    Held { text: Vec<u8>, escaped: bool },
    /// In a text that passes.
    Inside { escaped: bool },
}

#[derive(Debug)]
struct Scanner {
    rewrite: Rewrite,
    state: State,
}

impl Scanner {
    fn new(rewrite: Rewrite) -> Self {
        Self { rewrite, state: State::Outside }
    }

    fn push(&mut self, mut chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len() + 64);
        while !chunk.is_empty() {
            chunk = match &mut self.state {
                State::Outside => self.between(chunk, &mut out),
                State::Held { .. } => self.held(chunk, &mut out),
                State::Inside { .. } => self.inside(chunk, &mut out),
            };
        }
        out
    }

    /// What is held back when the body ends within a text.
    fn finish(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Held { text, .. } => text,
            State::Outside | State::Inside { .. } => Vec::new(),
        }
    }

    fn between<'a>(&mut self, chunk: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let Some(quote) = memchr(b'"', chunk) else {
            out.extend_from_slice(chunk);
            return &[];
        };
        out.extend_from_slice(&chunk[..=quote]);
        self.state = State::Held { text: Vec::new(), escaped: false };
        &chunk[quote + 1..]
    }

    fn held<'a>(&mut self, chunk: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let State::Held { text, escaped } = &mut self.state else { return chunk };
        for (place, &byte) in chunk.iter().enumerate() {
            if byte == b'"' && !*escaped {
                match self.rewrite.of(text) {
                    Some(ours) => out.extend_from_slice(ours.as_bytes()),
                    None => out.extend_from_slice(text),
                }
                self.state = State::Outside;
                out.push(b'"');
                return &chunk[place + 1..];
            }
            text.push(byte);
            *escaped = byte == b'\\' && !*escaped;
            let start = &text[..text.len().min(4)];
            if !b"http".starts_with(start) || text.len() > LONGEST {
                out.append(text);
                self.state = State::Inside { escaped: *escaped };
                return &chunk[place + 1..];
            }
        }
        &[]
    }

    fn inside<'a>(&mut self, chunk: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let State::Inside { escaped } = &mut self.state else { return chunk };
        if std::mem::take(escaped) {
            out.push(chunk[0]);
            return &chunk[1..];
        }
        let Some(place) = memchr2(b'"', b'\\', chunk) else {
            out.extend_from_slice(chunk);
            return &[];
        };
        out.extend_from_slice(&chunk[..=place]);
        if chunk[place] == b'\\' {
            *escaped = true;
        } else {
            self.state = State::Outside;
        }
        &chunk[place + 1..]
    }
}

/// A body whose URLs become ours as it passes.
#[derive(Debug)]
pub(crate) struct Rewritten<B> {
    body: B,
    scanner: Scanner,
    ended: bool,
}

impl<B> Rewritten<B> {
    pub(crate) fn new(body: B, rewrite: Rewrite) -> Self {
        Self { body, scanner: Scanner::new(rewrite), ended: false }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Rewritten<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Frame::data(self.scanner.push(&data).into()),
                Err(trailers) => trailers,
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                self.ended = true;
                let rest = self.scanner.finish();
                return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest.into()))));
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(archive: &str) -> Rewrite {
        let archive: Url = archive.parse().unwrap();
        let prefix = archive.path().trim_end_matches('/').to_owned();
        Rewrite::new(&archive, &prefix, "https://images.example", "/pacs").unwrap()
    }

    fn rewritten(archive: &str, json: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut scanner = Scanner::new(rewrite(archive));
        let (mut out, mut rest, mut sizes) = (Vec::new(), json, sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            out.extend(scanner.push(chunk));
            rest = after;
        }
        out.extend(scanner.finish());
        out
    }

    fn text(archive: &str, json: &str) -> String {
        String::from_utf8(rewritten(archive, json.as_bytes(), &[json.len().max(1)])).unwrap()
    }

    const ARCHIVE: &str = "http://10.0.0.5:8042/dicom-web";

    #[test]
    fn urls_below_the_base_become_ours_whatever_host_they_name() {
        for (theirs, ours) in [
            ("http://10.0.0.5:8042/dicom-web/studies/1?a=b", "/pacs/studies/1?a=b"),
            ("https://orthanc/dicom-web/studies/1/bulk/2", "/pacs/studies/1/bulk/2"),
            ("http:\\/\\/orthanc\\/dicom-web\\/studies\\/1", "/pacs/studies/1"),
        ] {
            let json = format!("[{{\"BulkDataURI\" : \"{theirs}\"}}]");
            let expected = format!("[{{\"BulkDataURI\" : \"https://images.example{ours}\"}}]");
            assert_eq!(text(ARCHIVE, &json), expected);
        }
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let json = r#"{"a":"http://x/other/1","b":"see http://10.0.0.5:8042/dicom-web/studies","c":"\"http://h/dicom-web/1","http":1,
            "d":"http://h/dicom-webx/1","e":"ftp://h/dicom-web/1","f":"http://h","g":"","h":"http\\","i":"http://h/dicom-web/\u00e4"}"#;
        assert_eq!(text(ARCHIVE, json), json);
    }

    #[test]
    fn at_another_host_a_base_without_a_path_takes_studies_only() {
        let root = "http://archive";
        assert_eq!(
            text(root, r#""http://h/studies/1""#),
            r#""https://images.example/pacs/studies/1""#
        );
        assert_eq!(text(root, r#""http://h/other/1""#), r#""http://h/other/1""#);
        assert_eq!(text(root, r#""http://archive/b/1""#), r#""https://images.example/pacs/b/1""#);
    }

    #[test]
    fn a_host_that_would_break_out_of_the_text_is_not_written() {
        let archive: Url = ARCHIVE.parse().unwrap();
        for public in
            ["http://a\"b", "http://a\\b", "not a url", "http://u@h", "http://h/?x", "http://h/#"]
        {
            assert!(Rewrite::new(&archive, "/dicom-web", public, "").is_none(), "{public}");
        }
    }

    #[test]
    fn lengths_and_digests_go_and_etags_are_weak() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(3));
        headers.insert("digest", HeaderValue::from_static("x"));
        headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        adapt(&mut headers);
        assert_eq!(
            (headers.len(), &headers[header::ETAG]),
            (1, &HeaderValue::from_static("W/\"a\""))
        );
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            texts in prop::collection::vec("(http://h/dicom-web/[a-z/]{0,8}|[a-z\\\\\"/]{0,6})", 0..6),
            sizes in prop::collection::vec(1usize..12, 1..5),
        ) {
            let json = serde_json::to_vec(&texts).unwrap();
            let whole = rewritten(ARCHIVE, &json, &[json.len()]);
            prop_assert_eq!(rewritten(ARCHIVE, &json, &sizes), whole.clone());
            let ours: Vec<String> = serde_json::from_slice(&whole).unwrap();
            for (theirs, ours) in texts.iter().zip(&ours) {
                prop_assert_eq!(ours, &theirs.replace("http://h/dicom-web/", "https://images.example/pacs/"));
            }
        }

        #[test]
        fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..200), sizes in prop::collection::vec(1usize..20, 1..4)) {
            let out = rewritten(ARCHIVE, &bytes, &sizes);
            if !bytes.windows(4).any(|window| window == b"http") {
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
