//! One archive: where it is, and by whose right it is asked.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;
use wadors_client::{ClientConfig, Credentials, Dialect, OAuth2, Rate, Tls, TlsIdentity};

use super::values::{BasePath, Headers, SecretText};

/// The keys of one archive.
#[derive(Clone, PartialEq, Debug)]
pub struct UpstreamConfig {
    /// Its name; empty for the one of the flat keys.
    pub name: String,
    /// Its DICOMweb base URL; whoever serves needs one.
    pub url: Option<Url>,
    /// The path below which it is served.
    pub base_path: BasePath,
    /// How long connecting, and each read for a picture, may take.
    pub timeout: Duration,
    /// How many calls for pictures are under way at the same time.
    pub concurrency: NonZeroUsize,
    /// How many calls for pictures may begin in a span of time.
    pub rate: Option<Rate>,
    /// By whose right it is asked.
    pub credentials: CredentialsKind,
    /// The user of `basic`.
    pub user: Option<String>,
    /// The password of `basic`.
    pub password: Option<SecretText>,
    /// The token of `bearer`.
    pub token_file: Option<PathBuf>,
    /// The token endpoint of `oauth2`.
    pub token_url: Option<Url>,
    /// The client's id of `oauth2`.
    pub client_id: Option<String>,
    /// The client's secret of `oauth2`.
    pub client_secret: Option<SecretText>,
    /// What tokens are asked for.
    pub scope: Option<String>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who signs the archive's certificate.
    pub ca: Option<PathBuf>,
    /// Headers of every request.
    pub headers: Headers,
    /// Whether our credentials go with requests that change something.
    pub allow_writes: bool,
    /// What kind of archive it is.
    pub dialect: Option<Dialect>,
    /// Whether its own URLs in JSON become ours.
    pub rewrite_urls: bool,
    /// How often Orthanc is asked for its changes; never without it.
    pub orthanc_changes: Option<Duration>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: None,
            base_path: BasePath::default(),
            timeout: Duration::from_secs(5),
            concurrency: const { NonZeroUsize::new(8).unwrap() },
            rate: None,
            credentials: CredentialsKind::Caller,
            user: None,
            password: None,
            token_file: None,
            token_url: None,
            client_id: None,
            client_secret: None,
            scope: None,
            cert: None,
            key: None,
            ca: None,
            headers: Headers::default(),
            allow_writes: false,
            dialect: None,
            rewrite_urls: false,
            orthanc_changes: None,
        }
    }
}

/// By whose right an archive is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialsKind {
    /// The client's, forwarded.
    Caller,
    /// Nobody's.
    None,
    /// Our user and password.
    Basic,
    /// Our token, of a file.
    Bearer,
    /// Our tokens, of an authorization server.
    OAuth2,
    /// Our certificate.
    Mtls,
}

impl CredentialsKind {
    const ALL: [Self; 6] =
        [Self::Caller, Self::None, Self::Basic, Self::Bearer, Self::OAuth2, Self::Mtls];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::None => "none",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::OAuth2 => "oauth2",
            Self::Mtls => "mtls",
        }
    }

    /// Whether they open the archive for whoever reaches this server.
    pub fn are_ours(self) -> bool {
        match self {
            Self::Caller | Self::None => false,
            Self::Basic | Self::Bearer | Self::OAuth2 | Self::Mtls => true,
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| "must be caller, none, basic, bearer, oauth2 or mtls".to_owned())
    }
}

impl UpstreamConfig {
    /// The client's configuration, but for what concerns the whole server.
    ///
    /// # Errors
    /// A secret that cannot be read.
    pub fn client(&self, url: &Url) -> Result<ClientConfig, String> {
        let identity = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(TlsIdentity { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        Ok(ClientConfig {
            timeout: self.timeout,
            concurrency: self.concurrency,
            rate: self.rate,
            credentials: self.read_credentials()?,
            headers: self.headers.0.clone(),
            tls: Tls { ca: self.ca.clone(), identity },
            dialect: self.dialect,
            ..ClientConfig::new(url.clone())
        })
    }

    fn read_credentials(&self) -> Result<Credentials, String> {
        Ok(match self.credentials {
            CredentialsKind::Caller => Credentials::Caller,
            CredentialsKind::None => Credentials::None,
            CredentialsKind::Basic => Credentials::Basic {
                user: needed(&self.user, "upstream_user")?.clone(),
                password: needed(&self.password, "upstream_password")?.read()?,
            },
            CredentialsKind::Bearer => Credentials::Bearer {
                file: needed(&self.token_file, "upstream_token_file")?.clone(),
            },
            CredentialsKind::OAuth2 => Credentials::OAuth2(OAuth2 {
                token_url: needed(&self.token_url, "upstream_token_url")?.clone(),
                client_id: needed(&self.client_id, "upstream_client_id")?.clone(),
                client_secret: needed(&self.client_secret, "upstream_client_secret")?.read()?,
                scope: self.scope.clone(),
            }),
            CredentialsKind::Mtls => Credentials::Certificate,
        })
    }

    /// Whether this server opens it to whoever reaches this server: by credentials of our own, or, where
    /// the client's are not forwarded, by a certificate or by headers that may hold a key.
    pub fn is_opened_by_us(&self) -> bool {
        let shows_something = self.cert.is_some() || !self.headers.0.is_empty();
        self.credentials.are_ours()
            || (self.credentials == CredentialsKind::None && shows_something)
    }

    /// What is wrong with its keys together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let missing: &[(&str, bool)] = match self.credentials {
            CredentialsKind::Caller | CredentialsKind::None => &[],
            CredentialsKind::Basic => &[
                ("upstream_user", self.user.is_none()),
                ("upstream_password", self.password.is_none()),
            ],
            CredentialsKind::Bearer => &[("upstream_token_file", self.token_file.is_none())],
            CredentialsKind::OAuth2 => &[
                ("upstream_token_url", self.token_url.is_none()),
                ("upstream_client_id", self.client_id.is_none()),
                ("upstream_client_secret", self.client_secret.is_none()),
            ],
            CredentialsKind::Mtls => {
                &[("upstream_cert", self.cert.is_none()), ("upstream_key", self.key.is_none())]
            }
        };
        let kind = self.credentials.as_str();
        let mut mistakes: Vec<String> = missing
            .iter()
            .filter(|(_, is_missing)| *is_missing)
            .map(|(key, _)| {
                format!("{}: needed by upstream_credentials = {kind:?}", self.key_name(key))
            })
            .collect();
        if self.cert.is_some() != self.key.is_some() && self.credentials != CredentialsKind::Mtls {
            mistakes.push(format!("{}: upstream_key goes with it", self.key_name("upstream_cert")));
        }
        if self.user.as_deref().is_some_and(|user| user.contains(':')) {
            // RFC 7617 §2.
            mistakes.push(format!("{}: must not hold a colon", self.key_name("upstream_user")));
        }
        mistakes
    }

    fn key_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("upstreams.{}.{key}", self.name) }
    }
}

fn needed<'a, T>(value: &'a Option<T>, key: &str) -> Result<&'a T, String> {
    value.as_ref().ok_or_else(|| format!("{key}: needed"))
}
