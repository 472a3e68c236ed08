//! An answer of the archive: whether it is one, and its body.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::TryStreamExt;
use http::header::{CONTENT_ENCODING, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use crate::body::Body;
use crate::error::UpstreamError;

/// A successful answer, its body unread.
#[derive(Debug)]
pub(crate) struct Answer {
    response: reqwest::Response,
    timeout: Duration,
    is_gzip: bool,
}

impl Answer {
    /// The answer, if it is a success with content.
    pub(crate) fn new(
        response: reqwest::Response,
        timeout: Duration,
    ) -> Result<Self, UpstreamError> {
        check_status(&response)?;
        let coding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes());
        let is_gzip = match coding {
            None | Some(b"identity" | b"Identity" | b"") => false,
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
            Some(_) => {
                let reason = "it is compressed in a way that was not asked for";
                return Err(UpstreamError::malformed(reason));
            }
        };
        Ok(Self { response, timeout, is_gzip })
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(crate) fn version(&self) -> http::Version {
        self.response.version()
    }

    /// The body as it comes, of which at most `limit` bytes will be read; refused at once if it declares
    /// more.
    pub(crate) fn into_body(self, limit: u64) -> Result<Body, UpstreamError> {
        if self.is_gzip {
            return Err(UpstreamError::malformed(
                "it is compressed, though that was not asked for",
            ));
        }
        self.into_raw_body(limit)
    }

    /// The whole of a text, at most `limit` bytes of it once it is inflated.
    pub(crate) async fn into_text(self, limit: u64) -> Result<Bytes, UpstreamError> {
        let is_gzip = self.is_gzip;
        let bytes = self.into_raw_body(limit)?.collect().await?;
        if is_gzip { inflate(&bytes, limit) } else { Ok(bytes) }
    }

    fn into_raw_body(self, limit: u64) -> Result<Body, UpstreamError> {
        let declared = self.response.content_length();
        if declared.is_some_and(|length| length > limit) {
            return Err(UpstreamError::TooLarge { limit });
        }
        let delimited = is_delimited(&self.response);
        let chunks = self.response.bytes_stream().map_err(|error| read_error(&error));
        Ok(Body::new(chunks, self.timeout, limit, declared, delimited))
    }
}

fn inflate(bytes: &[u8], limit: u64) -> Result<Bytes, UpstreamError> {
    let mut inflated = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit.saturating_add(1)).read_to_end(&mut inflated);
    if read.is_err() {
        return Err(UpstreamError::malformed("its compression is broken"));
    }
    if inflated.len() as u64 > limit {
        return Err(UpstreamError::TooLarge { limit });
    }
    Ok(inflated.into())
}

fn check_status(response: &reqwest::Response) -> Result<(), UpstreamError> {
    let status = response.status();
    if status == StatusCode::NO_CONTENT {
        return Err(UpstreamError::Empty);
    }
    if status.is_redirection() {
        return Err(UpstreamError::Redirected { status: status.as_u16() });
    }
    let headers = response.headers();
    if !status.is_success() {
        return Err(UpstreamError::Status {
            status: status.as_u16(),
            www_authenticate: headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect(),
            retry_after: headers.get(RETRY_AFTER).cloned(),
        });
    }
    Ok(())
}

/// Whether the end of the body can be told from a lost connection: by its length, by chunks or by
/// HTTP/2. Only then does an end without a closing delimiter count as one.
fn is_delimited(response: &reqwest::Response) -> bool {
    response.version() >= http::Version::HTTP_2
        || response.headers().contains_key(http::header::CONTENT_LENGTH)
        || response.headers().contains_key(http::header::TRANSFER_ENCODING)
}

fn read_error(error: &reqwest::Error) -> UpstreamError {
    if error.is_timeout() { UpstreamError::Timeout } else { UpstreamError::BrokeOff }
}

/// What went wrong before an answer came, without the URL, names and addresses in it.
pub fn explain(error: &reqwest::Error) -> UpstreamError {
    if error.is_timeout() {
        return UpstreamError::Timeout;
    }
    if let Some(reason) = tls_reason(error) {
        return UpstreamError::Untrusted { reason };
    }
    let ended = |cause: Cause<'_>| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof)
    };
    // While a connection is made, there is only a handshake to break off.
    if error.is_connect() && causes(error).any(ended) {
        let reason = "it ended the TLS handshake; does it speak TLS there?";
        return UpstreamError::Untrusted { reason };
    }
    UpstreamError::Unreachable { reason: network_reason(error) }
}

/// What is wrong with the archive's TLS, if that is it.
fn tls_reason(error: &reqwest::Error) -> Option<&'static str> {
    use rustls::CertificateError as Certificate;
    let error = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())?;
    Some(match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Certificate::UnknownIssuer => {
                "its certificate is signed by nobody who is trusted here; name the file of that CA"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another host name"
            }
            _ => "its certificate is not accepted",
        },
        rustls::Error::AlertReceived(_) => {
            "it refused the TLS handshake; does it ask for a certificate of ours?"
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS; is the URL right?",
        _ => "the TLS handshake failed",
    })
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// An error and what caused it, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(error as Cause<'_>), |&cause| {
        inside(cause).or_else(|| cause.source())
    })
}

/// What an error of I/O wraps, which `source` passes over: that of a handshake, in two layers.
fn inside(cause: Cause<'_>) -> Option<Cause<'_>> {
    let inside = cause.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inside as Cause<'_>)
}

/// What the operating system said, without the addresses and names that errors above it mention.
fn network_reason(error: &reqwest::Error) -> String {
    let told = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find(|error| is_telling(error.kind()));
    match told {
        Some(error) => error.kind().to_string(),
        None if error.is_connect() => "no connection; is the host name right?".to_owned(),
        None => "the connection was closed without an answer".to_owned(),
    }
}

fn is_telling(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::AddrNotAvailable
            | Kind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_text_is_inflated_up_to_the_limit() {
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert_eq!(inflate(&gzip(b"[]"), 100), Ok(Bytes::from_static(b"[]")));
        assert_eq!(inflate(&bomb, 1 << 20).map(|text| text.len()), Ok(1 << 20));
        let limit = (1 << 20) - 1;
        assert_eq!(inflate(&bomb, limit), Err(UpstreamError::TooLarge { limit }));
        assert!(inflate(&bomb[..bomb.len() / 2], 1 << 20).is_err());
        assert!(inflate(b"[]", 100).is_err());
    }
}
