//! `multipart/related` as RFC 2046 and PS3.18 §8.6.1.2 want it: what is only nearly right is refused.

use bytes::Bytes;
use dicomweb_types::MediaRange;

use crate::Reply;

/// Longer than any headers of a part.
const HEADERS: usize = 16 * 1024;

/// One part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Names in lower case, values as they are.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub body: Bytes,
}

impl Part {
    /// One header, or the empty text where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// A body that is read part by part while it arrives. No more than a part is kept.
#[derive(Debug)]
pub struct PartReader {
    response: reqwest::Response,
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    begun: bool,
}

impl PartReader {
    /// Reads the boundary of an answer.
    ///
    /// # Errors
    /// The answer is no `multipart/related` with a boundary.
    pub fn new(response: reqwest::Response) -> Result<Self, String> {
        let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        let delimiter = delimiter(content_type.unwrap_or_default())
            .map_err(|why| format!("{} {why}", response.status()))?;
        Ok(Self { response, delimiter, buffer: Vec::new(), begun: false })
    }

    /// The next part, or `None` after the last.
    ///
    /// # Errors
    /// The body breaks off or is no multipart.
    pub async fn next(&mut self) -> Result<Option<Part>, String> {
        loop {
            match step(&self.buffer, &self.delimiter, self.begun)? {
                Step::Part(part, length) => {
                    self.begun = true;
                    self.buffer.drain(..length);
                    return Ok(Some(part));
                }
                Step::End => return Ok(None),
                Step::More => {
                    let chunk = self.response.chunk().await.map_err(|error| error.to_string())?;
                    let chunk = chunk.ok_or("the body ends before its closing boundary")?;
                    self.buffer.extend_from_slice(&chunk);
                }
            }
        }
    }
}

/// The parts of a whole answer.
///
/// # Errors
/// What is not as the standards want it.
pub fn strict_parts(reply: &Reply) -> Result<Vec<Part>, String> {
    let delimiter = delimiter(reply.header("content-type"))?;
    let mut rest: &[u8] = &reply.body;
    let mut parts = Vec::new();
    loop {
        match step(rest, &delimiter, !parts.is_empty())? {
            Step::Part(part, length) => {
                parts.push(part);
                rest = &rest[length..];
            }
            Step::End => return Ok(parts),
            Step::More => return Err("the body ends before its closing boundary".into()),
        }
    }
}

/// `--boundary`, of a `Content-Type` whose boundary is legal (RFC 2046 §5.1.1).
fn delimiter(content_type: &str) -> Result<Vec<u8>, String> {
    let media = MediaRange::parse(content_type).filter(|media| media.is("multipart/related"));
    let media = media.ok_or_else(|| format!("{content_type:?} is no multipart/related"))?;
    let boundary = media.parameter("boundary").unwrap_or_default();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let fits = (1..=70).contains(&boundary.len()) && !boundary.ends_with(' ');
    if !fits || !boundary.bytes().all(legal) {
        return Err(format!("{boundary:?} is no legal boundary"));
    }
    Ok(format!("--{boundary}").into_bytes())
}

enum Step {
    /// The part, and how many bytes it took.
    Part(Part, usize),
    End,
    More,
}

/// Reads a delimiter and the part after it.
fn step(buffer: &[u8], delimiter: &[u8], begun: bool) -> Result<Step, String> {
    let line = if begun { [b"\r\n", delimiter].concat() } else { delimiter.to_vec() };
    let Some(after) = buffer.get(line.len()..line.len() + 2) else { return Ok(Step::More) };
    if !buffer.starts_with(&line) {
        let found = String::from_utf8_lossy(&buffer[..line.len()]).into_owned();
        return Err(format!("a boundary is due where {found:?} stands"));
    }
    if after == b"--" {
        return Ok(Step::End);
    }
    if after != b"\r\n" {
        return Err("a boundary must end its line".into());
    }
    let start = line.len() + 2;
    let Some(end) = find(&buffer[start..], b"\r\n\r\n") else {
        let endless = buffer.len() - start > HEADERS;
        return if endless { Err("a part's headers have no end".into()) } else { Ok(Step::More) };
    };
    let headers = headers(&buffer[start..start + end])?;
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse::<usize>().ok());
    let length = length.ok_or_else(|| format!("a part has no Content-Length: {headers:?}"))?;
    let body = start + end + 4;
    match buffer.get(body..body + length) {
        None => Ok(Step::More),
        Some(bytes) => {
            let part = Part { headers, body: Bytes::copy_from_slice(bytes) };
            Ok(Step::Part(part, body + length))
        }
    }
}

fn headers(block: &[u8]) -> Result<Vec<(String, String)>, String> {
    let block = std::str::from_utf8(block).map_err(|_| "headers of a part are not UTF-8")?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':').ok_or(format!("{line:?} is no header"))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    block.split("\r\n").map(header).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(content_type: &str, body: &str) -> Reply {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        Reply {
            status: http::StatusCode::OK,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    const KIND: &str = r#"multipart/related; type="image/jpeg"; boundary=b"#;

    #[test]
    fn parts_are_read_by_their_length() {
        let body = "--b\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\na\r\n--bc\r\n--b\r\n\
                    Content-Length: 0\r\n\r\n\r\n--b--\r\n";
        let found = strict_parts(&reply(KIND, body)).unwrap();
        let bodies: Vec<&[u8]> = found.iter().map(|part| part.body.as_ref()).collect();
        assert_eq!(bodies, [&b"a\r\n--bc"[..], b""]);
        assert_eq!(found[0].header("content-type"), "image/jpeg");
        assert_eq!(strict_parts(&reply(KIND, "--b--")).unwrap(), []);
    }

    #[test]
    fn what_is_only_nearly_multipart_is_refused() {
        for (kind, body) in [
            ("image/jpeg", "--b--"),
            ("multipart/related", "----"),
            (KIND, "--b\r\n\r\n\r\n--b--"),
            (KIND, "--b\r\nContent-Length: 2\r\n\r\na\r\n--b--"),
            (KIND, "--b\r\nContent-Length: 1\r\n\r\na\r\n--b\r\n"),
            (KIND, "--c--"),
        ] {
            assert!(strict_parts(&reply(kind, body)).is_err(), "{kind} {body:?}");
        }
    }
}
