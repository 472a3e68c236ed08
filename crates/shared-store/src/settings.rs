//! Where the server is and what is expected of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, TlsCertificates};
use url::Url;

/// Where the server is and what is expected of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The server.
    pub url: SecretUrl,
    /// PEM file of the certificates that sign the server's, trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Bytes of the largest value that is kept, less than 4 GiB. What is longer is not sent. What does not
    /// arrive within the patience is late, so that it depends on the network what is too large.
    pub largest: usize,
    /// How long a get waits for its answer.
    pub patience: Duration,
}

impl Settings {
    /// The server, and what suits most: values up to 1 MiB, 4 ms of patience, the system's certificates.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretUrl::new(url),
            ca: None,
            largest: 1024 * 1024,
            patience: Duration::from_millis(4),
        }
    }

    /// What opens connections.
    pub(crate) fn client(&self) -> Result<Client, SetupError> {
        if u32::try_from(self.largest).is_err() {
            return Err(SetupError::Largest(self.largest));
        }
        let url = self.url.parse()?;
        let uses_tls = is_tls(&url);
        // Its error is a fixed sentence, without what the URL says.
        let info =
            url.into_connection_info().map_err(|error| SetupError::Url(error.to_string()))?;
        // Many small questions share a connection: none shall wait until the one before it is acknowledged.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = match self.certificates()? {
            Some(_) if !uses_tls => return Err(SetupError::NoTls),
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        client.map_err(|error| SetupError::Client(error.to_string()))
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, SetupError> {
        let Some(path) = &self.ca else { return Ok(None) };
        let wrong = |reason: String| SetupError::Ca { path: path.clone(), reason };
        let pem = std::fs::read(path).map_err(|error| wrong(error.kind().to_string()))?;
        // An empty list of those whom we trust would be taken as well, and trust nobody.
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(wrong("it holds no certificate".to_owned()));
        }
        Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
    }
}

/// `redis://[[user]:password@]host[:port][/db]`, `rediss://` the same over TLS, or
/// `redis+unix:///path[?db=…&user=…&pass=…]` (`unix://` too). `valkey` in place of `redis` is the same.
///
/// It may hold a password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Not checked before [`Shared::open`](crate::Shared::open).
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    fn parse(&self) -> Result<Url, SetupError> {
        let url = Url::parse(&self.0).map_err(|error| SetupError::Url(error.to_string()))?;
        if !is_unix(&url) && !is_tcp(&url) {
            return Err(SetupError::Scheme);
        }
        if url.fragment().is_some() {
            return Err(SetupError::Fragment);
        }
        let known: &[&str] = if is_unix(&url) { &["db", "user", "pass"] } else { &[] };
        match url.query_pairs().all(|(name, _)| known.contains(&&*name)) {
            true => Ok(url),
            false => Err(SetupError::Query {
                known: if is_unix(&url) { "db, user and pass" } else { "none" },
            }),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(..)")
    }
}

fn is_tcp(url: &Url) -> bool {
    matches!(url.scheme(), "redis" | "valkey") || is_tls(url)
}

fn is_tls(url: &Url) -> bool {
    matches!(url.scheme(), "rediss" | "valkeys")
}

fn is_unix(url: &Url) -> bool {
    matches!(url.scheme(), "unix" | "redis+unix" | "valkey+unix")
}

/// Why the settings cannot be used. None of these shows the URL: it may hold a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetupError {
    /// No URL, or one without a part that is needed.
    #[error("the URL of the shared store is wrong: {0}")]
    Url(String),
    /// Another kind of URL.
    #[error("the URL of the shared store must begin with redis://, rediss:// or redis+unix://")]
    Scheme,
    /// `#insecure` is what others know: TLS without a look at the certificate.
    #[error("the URL of the shared store has a fragment (#…), which means nothing here")]
    Fragment,
    /// A parameter that nothing reads.
    #[error("the URL of the shared store has an unknown parameter; known are: {known}")]
    Query {
        /// Those that are.
        known: &'static str,
    },
    /// The file of certificates cannot be used.
    #[error("{}: {reason}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates, and nothing to check by them.
    #[error(
        "there are certificates for the shared store, but its URL does not begin with rediss://"
    )]
    NoTls,
    /// A value cannot be so large.
    #[error("values of {0} bytes are too large for the shared store: less than 4 GiB")]
    Largest(usize),
    /// The certificates or the address cannot be used.
    #[error("the shared store cannot be connected to: {0}")]
    Client(String),
    /// Called where no tasks can be started.
    #[error("the shared store must be opened within a tokio runtime")]
    NoRuntime,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> SetupError {
        Settings::new(url).client().err().unwrap_or_else(|| panic!("{url} is taken"))
    }

    #[test]
    fn urls_of_every_kind_are_taken() {
        for url in [
            "redis://localhost",
            "redis://:secret@127.0.0.1:6380/2",
            "redis://lightbox:secret@[::1]:6380/2",
            "rediss://redis.example",
            "valkey://valkey.example",
            "redis+unix:///run/redis.sock",
            "unix:///run/redis.sock?db=3&pass=secret",
        ] {
            assert!(Settings::new(url).client().is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "",
            "hunter2",
            "http://:hunter2@host",
            "redis://:hunter2@",
            "redis://:hunter2@host/hunter2",
            "redis://:hunter2@host:port",
            "redis://:hunter2@host?password=hunter2",
            "redis://:hun#ter2@host",
            "rediss://:hunter2@host#insecure",
            "redis://:%ff@host",
            "redis+unix://?pass=hunter2&db=x",
        ] {
            let said = format!("{} {:?}", refused(url), refused(url));
            assert!(!said.contains("hunter2") && !said.contains("ter2"), "{url}: {said}");
        }
        assert_eq!(refused("http://host"), SetupError::Scheme);
        assert_eq!(refused("rediss://host#insecure"), SetupError::Fragment);
        assert_eq!(refused("redis://host?db=1"), SetupError::Query { known: "none" });
    }

    #[test]
    fn debug_does_not_show_the_url() {
        assert!(!format!("{:?}", Settings::new("redis://:hunter2@host")).contains("hunter2"));
    }

    #[test]
    fn certificates_must_be_some_and_of_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with =
            |url: &str, ca: PathBuf| Settings { ca: Some(ca), ..Settings::new(url) }.client().err();
        let empty = with("rediss://host", file.path().to_owned());
        assert!(matches!(empty, Some(SetupError::Ca { .. })));
        assert!(matches!(with("rediss://host", "/nowhere".into()), Some(SetupError::Ca { .. })));
        let key = rcgen::generate_simple_self_signed(["host".to_owned()]).unwrap();
        std::fs::write(file.path(), key.cert.pem()).unwrap();
        assert_eq!(with("rediss://host", file.path().to_owned()), None);
        assert_eq!(with("redis://host", file.path().to_owned()), Some(SetupError::NoTls));
    }

    #[test]
    fn a_limit_that_no_length_can_say_is_refused() {
        let settings = Settings { largest: usize::MAX, ..Settings::new("redis://host") };
        assert_eq!(settings.client().err(), Some(SetupError::Largest(usize::MAX)));
    }
}
