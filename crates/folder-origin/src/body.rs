//! Responses: one payload or many, streamed, with their length known beforehand.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use crate::content::{Piece, stream};

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One part of a multipart message.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) content_type: String,
    pub(crate) location: String,
    pub(crate) pieces: Vec<Piece>,
}

/// A body that is at hand.
pub(crate) fn whole(
    status: StatusCode,
    content_type: &str,
    bytes: impl Into<Bytes>,
) -> Response<Body> {
    let bytes = bytes.into();
    let length = bytes.len() as u64;
    let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    with_head(status, content_type, length, body)
}

/// One payload.
pub(crate) fn single(content_type: &str, pieces: Vec<Piece>) -> Response<Body> {
    let length = pieces.iter().map(Piece::len).sum();
    let frames = stream(pieces).map_ok(Frame::data);
    with_head(StatusCode::OK, content_type, length, StreamBody::new(frames).boxed_unsync())
}

/// multipart/related (RFC 2387). `outer` is the media type of the parts, with the transfer syntax
/// where all share one.
pub(crate) fn multipart(outer: &str, syntax: Option<&str>, parts: Vec<Part>) -> Response<Body> {
    let boundary = boundary();
    let mut pieces = Vec::new();
    for part in parts {
        let length: u64 = part.pieces.iter().map(Piece::len).sum();
        let head = format!(
            "--{boundary}\r\nContent-Type: {}\r\nContent-Length: {length}\r\nContent-Location: {}\r\n\r\n",
            part.content_type, part.location
        );
        pieces.push(Piece::Bytes(head.into()));
        pieces.extend(part.pieces);
        pieces.push(Piece::Bytes(Bytes::from_static(b"\r\n")));
    }
    pieces.push(Piece::Bytes(format!("--{boundary}--\r\n").into()));
    let syntax = syntax.map(|uid| format!("; transfer-syntax={uid}")).unwrap_or_default();
    let content_type = format!("multipart/related; type=\"{outer}\"{syntax}; boundary={boundary}");
    single(&content_type, pieces)
}

/// Not to be guessed by whoever made the files, so that no file can hold it.
fn boundary() -> String {
    let random = || RandomState::new().hash_one(0u8);
    format!("{:016x}{:016x}", random(), random())
}

fn with_head(status: StatusCode, content_type: &str, length: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(value) = content_type.parse() {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CONTENT_LENGTH, length.into());
    response
}
