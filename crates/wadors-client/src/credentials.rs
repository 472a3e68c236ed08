//! Whose right it is by which the archive is asked.
//!
//! Either the caller's own credentials, forwarded, or ours: then the caller's never reach the archive.
//! They go to the configured origin only. `Debug` and errors hold none of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use crate::caller::Caller;
use crate::error::UpstreamError;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// By whose right the archive is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// The caller's `Authorization` and `Cookie`.
    Caller,
    /// Nobody's: the archive asks for none.
    None,
    /// Ours: a user and a password (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Ours: the token in this file, which is read for each call, so that it may be replaced at any time.
    Bearer {
        /// The file.
        file: PathBuf,
    },
    /// Ours: tokens of an authorization server, by client credentials (RFC 6749 §4.4).
    OAuth2(OAuth2),
    /// Ours: the certificate of [`Tls`](crate::Tls), without any header.
    Certificate,
}

/// How tokens are had from an authorization server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OAuth2 {
    /// Its token endpoint.
    pub token_url: Url,
    /// The client's id there.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// What the token is to be good for; the server's choice where absent.
    pub scope: Option<String>,
}

/// The credentials at work.
#[derive(Debug)]
pub(crate) enum Authority {
    Caller,
    Nobody,
    Fixed(HeaderValue),
    File { path: PathBuf, last: Mutex<Option<HeaderValue>> },
    Tokens(Arc<Tokens>),
}

/// Longer files hold no token.
const LONGEST_TOKEN: usize = 64 << 10;

impl Authority {
    /// `http` is the pool by which tokens are asked for.
    pub(crate) fn new(credentials: Credentials, http: &reqwest::Client, timeout: Duration) -> Self {
        match credentials {
            Credentials::Caller => Self::Caller,
            Credentials::None | Credentials::Certificate => Self::Nobody,
            Credentials::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
                // Base64 is legal in a header.
                header(&format!("Basic {pair}")).map_or(Self::Nobody, Self::Fixed)
            }
            Credentials::Bearer { file } => Self::File { path: file, last: Mutex::new(None) },
            Credentials::OAuth2(server) => {
                Self::Tokens(Arc::new(Tokens::new(server, http.clone(), timeout)))
            }
        }
    }

    /// Whether the caller's credentials are forwarded.
    pub(crate) fn is_the_callers(&self) -> bool {
        matches!(self, Self::Caller)
    }

    /// Adds what the archive is to see.
    pub(crate) async fn add_to(
        &self,
        headers: &mut HeaderMap,
        caller: &Caller,
    ) -> Result<(), UpstreamError> {
        if self.is_the_callers() {
            caller.add_to(headers);
        } else if let Some(own) = self.own().await? {
            headers.insert(AUTHORIZATION, own);
        }
        Ok(())
    }

    /// Replaces a caller's credentials by ours, in a request that is handed on.
    pub(crate) async fn replace(&self, headers: &mut HeaderMap) -> Result<(), UpstreamError> {
        if !self.is_the_callers() {
            Self::take_off(headers);
            if let Some(own) = self.own().await? {
                headers.insert(AUTHORIZATION, own);
            }
        }
        Ok(())
    }

    pub(crate) fn take_off(headers: &mut HeaderMap) {
        headers.remove(AUTHORIZATION);
        headers.remove(COOKIE);
    }

    async fn own(&self) -> Result<Option<HeaderValue>, UpstreamError> {
        match self {
            Self::Caller | Self::Nobody => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File { path, last } => token_of_file(path, last).await.map(Some),
            Self::Tokens(tokens) => tokens.header().await.map(Some),
        }
    }

    /// The archive answered 401 to `sent`; whether another try may go better.
    pub(crate) fn rejected(&self, sent: Option<&HeaderValue>) -> bool {
        match (self, sent) {
            (Self::Tokens(tokens), Some(sent)) => tokens.forget(sent, Instant::now()),
            _ => false,
        }
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    // Keeps it out of debug output and of HTTP/2 header compression tables.
    value.set_sensitive(true);
    Some(value)
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let token = token.trim();
    let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_empty() || token.len() > LONGEST_TOKEN || !printable {
        return None;
    }
    header(&format!("Bearer {token}"))
}

/// The token in the file; the one before while the file is being replaced.
async fn token_of_file(
    path: &PathBuf,
    last: &Mutex<Option<HeaderValue>>,
) -> Result<HeaderValue, UpstreamError> {
    let text = tokio::fs::read_to_string(path).await;
    let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(token) = text.ok().as_deref().and_then(bearer) {
        *last = Some(token);
    }
    last.clone().ok_or(UpstreamError::Credentials { reason: "the token file holds no token" })
}

/// Tokens of an authorization server: asked for ahead of their end, by one call for all.
#[derive(Debug)]
pub(crate) struct Tokens {
    server: OAuth2,
    http: reqwest::Client,
    timeout: Duration,
    held: Mutex<Held>,
    /// Whoever holds it asks for the next token; others who need one wait here.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    /// When asking failed last: a server that refuses is not asked again for each call.
    failed: Option<(Instant, UpstreamError)>,
    /// When the archive last refused a token, and a new one was asked for ahead of its time.
    refused: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Token {
    header: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

/// A new token for one that was refused is asked for no more often.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(5);

/// How long a failure to get a token stands.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// The life of a token whose server does not say it.
const UNSAID_LIFE: u64 = 300;

/// The longest answer of a token endpoint.
const LONGEST_ANSWER: usize = 256 << 10;

impl Tokens {
    fn new(server: OAuth2, http: reqwest::Client, timeout: Duration) -> Self {
        let (held, asking) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Self { server, http, timeout, held, asking }
    }

    async fn header(self: &Arc<Self>) -> Result<HeaderValue, UpstreamError> {
        let now = Instant::now();
        if let Some(token) = self.valid(now) {
            if token.renew_at <= now {
                self.renew_in_background();
            }
            return Ok(token.header);
        }
        let _asking = self.asking.lock().await;
        // Who waited here may find that the one before has it, or has failed just now.
        let now = Instant::now();
        if let Some(token) = self.valid(now) {
            return Ok(token.header);
        }
        if let Some((at, error)) = &self.lock().failed
            && now < *at + FAILURE_STANDS
        {
            return Err(error.clone());
        }
        self.ask().await
    }

    fn renew_in_background(self: &Arc<Self>) {
        let tokens = self.clone();
        tokio::spawn(async move {
            // Somebody is at it: nothing to do.
            let Ok(_asking) = tokens.asking.try_lock() else { return };
            let now = Instant::now();
            let is_done = tokens.valid(now).is_some_and(|token| now < token.renew_at);
            let failed_now =
                matches!(&tokens.lock().failed, Some((at, _)) if now < *at + FAILURE_STANDS);
            if !is_done && !failed_now {
                // The one that is held is good for a while.
                let _ = tokens.ask().await;
            }
        });
    }

    fn valid(&self, now: Instant) -> Option<Token> {
        self.lock().token.clone().filter(|token| now < token.ends_at)
    }

    /// Drops the token that was sent; whether a new one may do better.
    fn forget(&self, sent: &HeaderValue, now: Instant) -> bool {
        let mut held = self.lock();
        if held.token.as_ref().is_none_or(|token| token.header != *sent) {
            // There is another by now.
            return true;
        }
        if held.refused.is_some_and(|at| now < at + BETWEEN_REFUSALS) {
            return false;
        }
        held.token = None;
        held.refused = Some(now);
        true
    }

    /// Asks the server for a token. The caller holds `asking`.
    async fn ask(&self) -> Result<HeaderValue, UpstreamError> {
        let asked = tokio::time::timeout(self.timeout, self.request()).await;
        let token = asked.unwrap_or(Err("the token endpoint did not answer in time"));
        let mut held = self.lock();
        match token {
            Ok(token) => {
                let header = token.header.clone();
                held.token = Some(token);
                held.failed = None;
                Ok(header)
            }
            Err(reason) => {
                tracing::warn!(reason, "no token for the archive");
                let error = UpstreamError::Credentials { reason };
                held.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn request(&self) -> Result<Token, &'static str> {
        let authorization = self.server.authorization().ok_or("the client id cannot be sent")?;
        let asked = Instant::now();
        let request = self
            .http
            .post(self.server.token_url.clone())
            .header(AUTHORIZATION, authorization)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(http::header::ACCEPT, "application/json")
            .body(self.server.form());
        let mut answer =
            request.send().await.map_err(|_| "the token endpoint cannot be reached")?;
        if !answer.status().is_success() {
            return Err("the token endpoint refuses the client");
        }
        let mut json = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| "the token endpoint broke off")? {
            json.extend_from_slice(&chunk);
            if json.len() > LONGEST_ANSWER {
                return Err("the answer of the token endpoint is too long");
            }
        }
        let answer: Value = serde_json::from_slice(&json)
            .map_err(|_| "the answer of the token endpoint is not JSON")?;
        Token::read(&answer, asked).ok_or("the answer of the token endpoint holds no bearer token")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl OAuth2 {
    /// RFC 6749 §2.3.1: every server takes these in a header, each encoded first.
    fn authorization(&self) -> Option<HeaderValue> {
        let encoded =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (id, secret) = (encoded(&self.client_id), encoded(self.client_secret.reveal()));
        header(&format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
    }

    /// RFC 6749 §4.4.2.
    fn form(&self) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        form.finish()
    }
}

impl Token {
    /// RFC 6749 §5.1.
    fn read(answer: &Value, asked: Instant) -> Option<Self> {
        let kind = answer.get("token_type").and_then(Value::as_str).unwrap_or("bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let header = bearer(answer.get("access_token")?.as_str()?)?;
        // Some servers write the number as a text.
        let life = match answer.get("expires_in") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(number) => number.as_u64(),
            None => None,
        };
        let life = Duration::from_secs(life.unwrap_or(UNSAID_LIFE).min(86_400));
        // A fifth of its life ahead, a minute at most.
        let ahead = (life / 5).min(Duration::from_secs(60));
        Some(Self { header, renew_at: asked + life - ahead, ends_at: asked + life })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_renewed_a_fifth_of_its_life_ahead_a_minute_at_most() {
        let now = Instant::now();
        let token = |life: Value| {
            Token::read(&json!({"access_token": "t", "expires_in": life}), now).unwrap()
        };
        assert_eq!(token(json!(10)).renew_at, now + Duration::from_secs(8));
        assert_eq!(token(json!("3600")).renew_at, now + Duration::from_secs(3540));
        assert_eq!(token(Value::Null).ends_at, now + Duration::from_secs(300));
        assert_eq!(token(json!(10)).header, "Bearer t");
    }

    #[test]
    fn what_is_no_bearer_token_is_refused() {
        let read = |answer| Token::read(&answer, Instant::now());
        assert!(read(json!({"access_token": "t", "token_type": "mac"})).is_none());
        assert!(read(json!({"access_token": ""})).is_none());
        assert!(read(json!({"access_token": "a\r\nb: c"})).is_none());
        assert!(read(json!({"error": "invalid_client"})).is_none());
        assert!(read(json!({"access_token": "t", "token_type": "BEARER"})).is_some());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = [
            Credentials::Basic { user: "u".into(), password: Secret::new("hidden") },
            Credentials::OAuth2(OAuth2 {
                token_url: "https://id.example/token".parse().unwrap(),
                client_id: "c".into(),
                client_secret: Secret::new("hidden"),
                scope: None,
            }),
        ];
        let http = reqwest::Client::new;
        let _ = rustls::crypto::ring::default_provider().install_default();
        for credentials in credentials {
            assert!(!format!("{credentials:?}").contains("hidden"));
            let authority = Authority::new(credentials, &http(), Duration::from_secs(1));
            let shown = format!("{authority:?}");
            assert!(!shown.contains("hidden") && !shown.contains("aGlkZGVu"), "{shown}");
        }
    }
}
