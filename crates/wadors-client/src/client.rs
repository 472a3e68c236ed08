//! The connection pool, and one GET over it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use dicomweb_types::{InstancePath, MediaRange};
use futures_util::TryStreamExt;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::body::Body;
use crate::caller::Caller;
use crate::error::{ClientError, UpstreamError};

/// Where the archive is, and what one answer may cost.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The DICOMweb base URL, such as `http://127.0.0.1:8042/dicom-web`, with or without a slash at
    /// the end. No credentials, query or fragment in it.
    pub base: Url,
    /// The longest wait: for the connection and the head of an answer, and then for each read of
    /// its body. Not the total.
    pub timeout: Duration,
    /// The most bytes of one answer taken into memory.
    pub max_bytes: u64,
}

/// A DICOMweb client for one upstream. Cheap to clone; clones share the pool.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    base: Url,
    /// Path of the base without a slash at its end; empty at the root.
    prefix: String,
    timeout: Duration,
    max_bytes: u64,
    /// The longest answer to a search, shorter than what was asked for, that turned out to be all there
    /// was: one up to here need not be asked on.
    whole_answers: AtomicUsize,
}

impl Client {
    /// A client with a pool of its own.
    ///
    /// # Errors
    /// The base URL is not one, or TLS cannot be set up.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig { base, timeout, max_bytes } = config;
        check_base(&base)?;
        let prefix = base.path().trim_end_matches('/').to_owned();
        let http = pool(&base, timeout)?;
        let whole_answers = AtomicUsize::new(0);
        let shared = Shared { http, base, prefix, timeout, max_bytes, whole_answers };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The base URL, as configured.
    pub fn base(&self) -> &Url {
        &self.shared.base
    }

    /// The path of the base URL without a slash at its end; empty at the root.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// The pool, for requests that stream through untouched.
    ///
    /// It follows no redirect, decompresses nothing, keeps no cookies, asks no proxy and sends no
    /// `Referer`. It limits the time to connect, but not that to answer: an upload may take long.
    /// `Accept: */*` is added to a request that has no `Accept`, which means the same (RFC 9110
    /// §12.5.1).
    pub fn http(&self) -> &reqwest::Client {
        &self.shared.http
    }

    /// The longest wait for an answer to begin, and for each read of it.
    pub fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// The URL of `path` below the base, with `query` (without its `?`).
    ///
    /// Both are as they stand in a request: what is percent-encoded stays so, byte for byte (`%2C`,
    /// `%FF`), empty segments are kept; only bytes that are illegal in a URL are encoded. A slash
    /// at the start of `path` is not doubled.
    ///
    /// `None` if the path has a segment `.` or `..`, also as `%2e`, or a backslash or line break:
    /// a URL parser would resolve them, and lead out of the base.
    pub fn url(&self, path: &str, query: Option<&str>) -> Option<Url> {
        if changes_when_parsed(path) {
            return None;
        }
        Some(self.join(path, query))
    }

    /// Whether the archive answers: success, or a refusal (401, 403) to searching without
    /// credentials, which shows a server as well.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ready(&self) -> Result<(), UpstreamError> {
        let url = self.join("studies", Some("limit=1"));
        match self.get(url, "application/dicom+json", &Caller::anonymous()).await {
            Ok(answer) if is_json(answer.headers()) => Ok(()),
            Ok(_) => Err(UpstreamError::malformed("it is no DICOM JSON; is the base URL right?")),
            // 204 is how some archives say that no study matches.
            Err(UpstreamError::Empty) => Ok(()),
            Err(refused) if refused.is_denied() => Ok(()),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn whole_answers(&self) -> &AtomicUsize {
        &self.shared.whole_answers
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.shared.max_bytes
    }

    /// The URL of an instance, or of `below` it.
    pub(crate) fn instance_url(&self, path: &InstancePath, below: &str) -> Url {
        self.join(&format!("{path}{below}"), None)
    }

    /// Sends one GET and returns the answer if it is a success with content.
    pub(crate) async fn get(
        &self,
        url: Url,
        accept: &'static str,
        caller: &Caller,
    ) -> Result<Answer, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if url.origin() == self.shared.base.origin() {
            caller.add_to(&mut headers);
        }
        let asked = Instant::now();
        let request = self.shared.http.get(url).headers(headers).send();
        let response = tokio::time::timeout(self.shared.timeout, request)
            .await
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|error| connection_error(&error))?;
        tracing::debug!(
            status = response.status().as_u16(),
            milliseconds = asked.elapsed().as_millis() as u64,
            "the archive answered"
        );
        check_status(&response)?;
        Ok(Answer { response, timeout: self.shared.timeout })
    }

    pub(crate) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.shared.base.clone();
        let slash = if path.starts_with('/') { "" } else { "/" };
        url.set_path(&format!("{}{slash}{path}", self.shared.prefix));
        url.set_query(query);
        url
    }
}

/// A successful answer, its body unread.
#[derive(Debug)]
pub(crate) struct Answer {
    response: reqwest::Response,
    timeout: Duration,
}

impl Answer {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The body, of which at most `limit` bytes will be read; refused at once if it declares more.
    pub(crate) fn into_body(self, limit: u64) -> Result<Body, UpstreamError> {
        let declared = self.response.content_length();
        if declared.is_some_and(|length| length > limit) {
            return Err(UpstreamError::TooLarge { limit });
        }
        let delimited = is_delimited(&self.response);
        let chunks = self.response.bytes_stream().map_err(|error| read_error(&error));
        Ok(Body::new(chunks, self.timeout, limit, declared, delimited))
    }
}

fn check_base(base: &Url) -> Result<(), ClientError> {
    let problem = if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        "must begin with http:// or https://"
    } else if !base.username().is_empty() || base.password().is_some() {
        "must not contain credentials"
    } else if base.query().is_some() || base.fragment().is_some() {
        "must not have a query or a fragment"
    } else {
        return Ok(());
    };
    Err(ClientError::Base { problem })
}

fn pool(base: &Url, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    // reqwest is built without a provider of its own and asks for the one of the process. An error
    // says that there is one already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    if base.scheme() == "http" {
        // Nothing here will speak TLS, so an image without root certificates must do.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|_| ClientError::Tls)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(MediaRange::parse).is_some_and(|range| range.sub.ends_with("json"))
}

/// Whether a URL parser would make another path of this one (WHATWG URL, path state), or a server that
/// decodes `%2f` before it resolves dots.
pub(crate) fn changes_when_parsed(path: &str) -> bool {
    let plain =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.contains(['\\', '\t', '\n', '\r'])
        || plain.split('/').any(|segment| matches!(segment, "." | ".."))
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
    // We never offer to decompress, so what is compressed all the same cannot be read.
    let coding = headers.get(CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(UpstreamError::malformed("it is compressed, though that was not asked for"));
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

fn connection_error(error: &reqwest::Error) -> UpstreamError {
    if error.is_timeout() {
        return UpstreamError::Timeout;
    }
    UpstreamError::Unreachable { reason: network_reason(error) }
}

/// What the operating system said, without the addresses and names that errors above it mention.
fn network_reason(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(here) = cause {
        if let Some(io) = here.downcast_ref::<io::Error>() {
            // The handshake's error is wrapped in one of I/O, which hides it from `source`.
            if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return "the TLS handshake failed".to_owned();
            }
            if is_telling(io.kind()) {
                return io.kind().to_string();
            }
        }
        cause = here.source();
    }
    let reason = if error.is_connect() {
        "no connection; is the host name right?"
    } else {
        "the connection was closed without an answer"
    };
    reason.to_owned()
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
    use super::*;

    fn client(base: &str) -> Client {
        let config = ClientConfig {
            base: base.parse().unwrap(),
            timeout: Duration::from_secs(1),
            max_bytes: 1,
        };
        Client::new(config).unwrap()
    }

    #[test]
    fn a_slash_at_the_end_of_the_base_makes_no_difference() {
        for base in ["http://host:8042/dicom-web", "http://host:8042/dicom-web/"] {
            let url = client(base).url("studies", Some("limit=1")).unwrap();
            assert_eq!(url.as_str(), "http://host:8042/dicom-web/studies?limit=1");
        }
        assert_eq!(
            client("http://host").url("/studies", None).unwrap().as_str(),
            "http://host/studies"
        );
    }

    #[test]
    fn paths_and_queries_pass_byte_for_byte() {
        let client = client("http://host/dicom-web");
        for (path, query) in [
            ("/studies/1.2%2C3/a%20b", Some("00100010=M%C3%BCller&x=%FF+%2f")),
            ("//studies///1/", None),
            ("/a;b=c,d@e:f!$&'()*+~", Some("")),
            ("/%FF%fe%2F..x/...", Some("a=?/&&=")),
        ] {
            let url = client.url(path, query).unwrap();
            assert_eq!(url.path(), format!("/dicom-web{path}"));
            assert_eq!(url.query(), query);
        }
    }

    #[test]
    fn no_path_leads_out_of_the_base() {
        let client = client("http://host/dicom-web");
        for path in [
            "/../instances",
            "..",
            "/studies/./x",
            "/studies/%2e%2E/%2e./x",
            "/a/.%2e",
            "/a\\..\\b",
            "/a/.\t./b",
            "/..\n/",
            "/..%2fsystem",
            "/a/%2e%2E%2Fsystem",
            "/..%5Csystem",
        ] {
            assert_eq!(client.url(path, None), None, "{path:?}");
        }
        assert_eq!(client.url("//other.host/x", None).unwrap().host_str(), Some("host"));
    }

    #[test]
    fn a_base_that_is_none_is_refused_with_the_reason() {
        for (base, word) in [
            ("ftp://host/", "http"),
            ("http://user:secret@host/", "credentials"),
            ("http://host/?a", "query"),
            ("http://host/#a", "fragment"),
        ] {
            let config = ClientConfig {
                base: base.parse().unwrap(),
                timeout: Duration::from_secs(1),
                max_bytes: 1,
            };
            let error = Client::new(config).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{base}: {error}");
        }
    }
}
