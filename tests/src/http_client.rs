//! A client that hides nothing: no redirect followed, no body unpacked, no address looked up.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer may take; a test that meets it has found a hang.
const HANG: Duration = Duration::from_secs(60);

/// A client that shows answers as they are.
pub fn client() -> reqwest::Client {
    within(HANG)
}

/// The same where hundreds wait for their turn.
pub fn patient_client() -> reqwest::Client {
    within(HANG * 5)
}

fn within(time: Duration) -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // A second test of the same process finds it installed: nothing to report.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(time)
        .build()
        .expect("a plain HTTP client can be built")
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: StatusCode,
    /// Headers as received.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// Reads an answer to its end. Panics where the connection breaks before it.
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("the answer arrives whole");
        Self { status, headers, body }
    }

    /// The status as a number.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// One header, or the empty text where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not ASCII)"))
    }

    /// How often a header was sent.
    pub fn count(&self, name: &str) -> usize {
        self.headers.get_all(name).iter().count()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends bytes as they stand and returns everything that comes back until the peer closes.
///
/// For requests no well-behaved client would send. Ask for `Connection: close`.
pub async fn raw_exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the listener accepts");
    stream.write_all(request).await.expect("the listener reads");
    let mut answer = Vec::new();
    // A reset after the answer is the peer's way to close: what was read counts.
    let _ = tokio::time::timeout(HANG, stream.read_to_end(&mut answer)).await.expect("no hang");
    answer
}

/// The parts of a `multipart/related` body, each with its headers in lower case, without boundary.
///
/// Reads what Orthanc and folder-origin write; a body that is not multipart is one part.
pub fn parts(reply: &Reply) -> Vec<(String, Bytes)> {
    let content_type = reply.header("content-type");
    let Some(boundary) = dicomweb_types::MediaRange::parse(content_type)
        .filter(|media| media.main == "multipart")
        .and_then(|media| media.parameter("boundary").map(str::to_owned))
    else {
        return vec![(content_type.to_owned(), reply.body.clone())];
    };
    let delimiter = format!("--{boundary}");
    split(&reply.body, delimiter.as_bytes())
        .into_iter()
        .skip(1)
        .take_while(|part| !part.starts_with(b"--"))
        .map(|part| {
            let at = find(part, b"\r\n\r\n").expect("a part has headers and a body");
            let headers = String::from_utf8_lossy(&part[..at]).trim().to_ascii_lowercase();
            let body = part[at + 4..].strip_suffix(b"\r\n").unwrap_or(&part[at + 4..]);
            (headers, Bytes::copy_from_slice(body))
        })
        .collect()
}

fn split<'a>(mut body: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = find(body, delimiter) {
        pieces.push(&body[..at]);
        body = &body[at + delimiter.len()..];
    }
    pieces.push(body);
    pieces
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_the_boundary_of_the_header() {
        let mut headers = HeaderMap::new();
        let kind = r#"multipart/related; type="application/dicom"; boundary="x=y""#;
        headers.insert("content-type", kind.parse().unwrap());
        let body = "--x=y\r\nContent-Type: A/B\r\n\r\none\r\n--x=y\r\n\r\n\r\n\r\n--x=y--\r\n";
        let reply =
            Reply { status: StatusCode::OK, headers, body: Bytes::from_static(body.as_bytes()) };
        let found = parts(&reply);
        assert_eq!(found[0], ("content-type: a/b".into(), Bytes::from_static(b"one")));
        assert_eq!(found.len(), 2);
    }
}
