//! The archive: where it is, what is known of it, and the connections to it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use dicomweb_types::{InstancePath, MediaRange};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::answer::Answer;
use crate::breaker::Breaker;
use crate::call::Ask;
use crate::caller::Caller;
use crate::credentials::{Authority, Credentials};
use crate::dialect::{Call, Dialect, Ladders};
use crate::error::{ClientError, UpstreamError};
use crate::gate::{Gate, ProbePlace, Rate};
use crate::retry::RetryBudget;
use crate::tls::Tls;

/// Where the archive is, how it is asked, and what one answer may cost.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The DICOMweb base URL, such as `http://127.0.0.1:8042/dicom-web`, with or without a slash at
    /// the end. No credentials, query or fragment in it.
    pub base: Url,
    /// The longest wait: for the connection, for the head of an answer, and then for each read of
    /// its body.
    pub timeout: Duration,
    /// The longest time that one call may take as a whole, with what is repeated of it.
    pub total_timeout: Duration,
    /// The most bytes of one answer taken into memory.
    pub max_bytes: u64,
    /// The most calls under way at once.
    pub concurrency: NonZeroUsize,
    /// The most calls in a span of time.
    pub rate: Option<Rate>,
    /// By whose right the archive is asked.
    pub credentials: Credentials,
    /// Headers that every request carries, such as an API key.
    pub headers: HeaderMap,
    /// Whom we trust, and who we are.
    pub tls: Tls,
    /// What kind of archive it is; told by its URL where absent.
    pub dialect: Option<Dialect>,
}

impl ClientConfig {
    /// An archive that is asked with the caller's credentials: 5 s for each wait, 60 s for a call, 2 GiB
    /// for an answer, 8 calls at once.
    pub fn new(base: Url) -> Self {
        Self {
            base,
            timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(60),
            max_bytes: 2 << 30,
            concurrency: const { NonZeroUsize::new(8).unwrap() },
            rate: None,
            credentials: Credentials::Caller,
            headers: HeaderMap::new(),
            tls: Tls::default(),
            dialect: None,
        }
    }
}

/// A DICOMweb client for one archive. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    /// Path of the base without a slash at its end; empty at the root.
    prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) total_timeout: Duration,
    max_bytes: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) authority: Authority,
    dialect: Option<Dialect>,
    pub(crate) ladders: Ladders,
    pub(crate) gate: Gate,
    pub(crate) breaker: Breaker,
    pub(crate) retries: RetryBudget,
    /// The longest answer to a search, shorter than what was asked for, that turned out to be all there
    /// was: one up to here need not be asked on.
    whole_answers: AtomicUsize,
}

impl Client {
    /// A place for [`Client::has_study`]. The wait for it is no time of the archive's.
    ///
    /// # Errors
    /// Too many wait for one, or the archive has asked for a pause.
    pub async fn probe(&self) -> Result<ProbePlace, UpstreamError> {
        self.shared.gate.probe().await
    }

    /// A client with a pool of its own.
    ///
    /// # Errors
    /// The base URL is not one, a file of certificates cannot be used, or TLS cannot be set up.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig { base, timeout, credentials, tls, .. } = config;
        check_base(&base)?;
        let pool = |speaks_tls| pool(speaks_tls, timeout, &tls);
        let speaks_tls = base.scheme() == "https";
        let http = tls.identify(pool(speaks_tls)?)?.build().map_err(|_| ClientError::Tls)?;
        // Another server, which is not to see who we are towards the archive.
        let tokens = match &credentials {
            Credentials::OAuth2(server) => {
                let speaks_tls = server.token_url.scheme() == "https";
                pool(speaks_tls)?.build().map_err(|_| ClientError::Tls)?
            }
            _ => http.clone(),
        };
        let prefix = base.path().trim_end_matches('/').to_owned();
        let shared = Shared {
            http,
            prefix,
            timeout,
            total_timeout: config.total_timeout,
            max_bytes: config.max_bytes,
            headers: config.headers,
            authority: Authority::new(credentials, &tokens, timeout),
            dialect: config.dialect.or_else(|| Dialect::of_url(&base)),
            ladders: Ladders::default(),
            gate: Gate::new(config.concurrency, config.rate),
            breaker: Breaker::new(),
            retries: RetryBudget::new(),
            whole_answers: AtomicUsize::new(0),
            base,
        };
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

    /// What kind of archive it is, where that was configured or its URL tells.
    pub fn dialect(&self) -> Option<Dialect> {
        self.shared.dialect
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

    /// Makes the headers of a request that streams through those of one that the archive may see: with
    /// the configured ones, and with our credentials in place of the caller's, where we have any.
    ///
    /// # Errors
    /// There are no credentials to be had.
    pub async fn authorize(&self, headers: &mut HeaderMap) -> Result<(), UpstreamError> {
        self.add_configured(headers);
        self.shared.authority.replace(headers).await
    }

    /// The same without our credentials: the caller's stay where those are forwarded, else there are none.
    /// The configured headers may hold a key of ours and go with the caller's credentials only.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.forwards_callers() {
            self.add_configured(headers);
        } else {
            Authority::take_off(headers);
        }
    }

    /// Tells that the archive answered 401 to the credentials in `sent`: ours are had anew for the next
    /// request.
    pub fn refused(&self, sent: Option<&HeaderValue>) {
        let _ = self.shared.authority.rejected(sent);
    }

    /// Whether the archive has failed several times in a row and is left alone for a moment.
    pub fn is_resting(&self) -> bool {
        self.shared.breaker.is_open()
    }

    /// Whether the archive is asked with the caller's credentials.
    pub fn forwards_callers(&self) -> bool {
        self.shared.authority.is_the_callers()
    }

    fn add_configured(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.shared.headers {
            headers.insert(name.clone(), value.clone());
        }
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
        let caller = Caller::anonymous();
        let ask = Ask::new(Call::Json, url, &caller);
        match self.ask(&ask, |answer: Answer| async move { Ok(is_json(answer.headers())) }).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(UpstreamError::malformed("it is no DICOM JSON; is the base URL right?"))
            }
            // 204 is how some archives say that no study matches.
            Err(UpstreamError::Empty) => Ok(()),
            Err(refused) if refused.is_denied() && self.forwards_callers() => Ok(()),
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

    pub(crate) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.shared.base.clone();
        let slash = if path.starts_with('/') { "" } else { "/" };
        url.set_path(&format!("{}{slash}{path}", self.shared.prefix));
        url.set_query(query);
        url
    }
}

/// A client for another server than an archive, such as an issuer of tokens: it follows no redirect and asks
/// no proxy. It limits the time to connect, not that to answer.
///
/// # Errors
/// A file of certificates cannot be used, or TLS cannot be set up.
pub fn plain_client(
    speaks_tls: bool,
    timeout: Duration,
    tls: &Tls,
) -> Result<reqwest::Client, ClientError> {
    pool(speaks_tls, timeout, tls)?.build().map_err(|_| ClientError::Tls)
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

fn pool(
    speaks_tls: bool,
    timeout: Duration,
    tls: &Tls,
) -> Result<reqwest::ClientBuilder, ClientError> {
    // reqwest is built without a provider of its own and asks for the one of the process. An error
    // says that there is one already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tcp_keepalive(Duration::from_secs(30))
        // Windows of HTTP/2 that suit objects of megabytes, and an end for connections that are dead.
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(timeout);
    if speaks_tls {
        return tls.trust(builder);
    }
    // Nothing here will speak TLS, so an image without root certificates must do.
    Ok(builder.tls_certs_only([]))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(MediaRange::parse).is_some_and(|range| range.sub.ends_with("json"))
}

/// Whether a URL parser would make another path of this one (WHATWG URL, path state), or a server that
/// decodes `%2f` before it resolves dots, or takes parameters off segments before (`..;a=b`, as servlet
/// containers do).
pub(crate) fn changes_when_parsed(path: &str) -> bool {
    let mut plain = path.to_ascii_lowercase();
    for (encoded, character) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%3b", ";")] {
        plain = plain.replace(encoded, character);
    }
    let name = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.contains(['\\', '\t', '\n', '\r']) || plain.split('/').any(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Client {
        Client::new(ClientConfig::new(base.parse().unwrap())).unwrap()
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
            "/..;/system",
            "/a/..;x=1/..%3B/system",
            "/%2e%2e;/system",
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
            let config = ClientConfig::new(base.parse().unwrap());
            let error = Client::new(config).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{base}: {error}");
        }
    }
}
