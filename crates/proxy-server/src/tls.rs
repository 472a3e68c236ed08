//! TLS towards clients: the certificate, had anew when its files change, and the handshake.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A larger file is no certificate.
const LARGEST: u64 = 1 << 20;

const HTTP_2: &[u8] = b"h2";

/// How this server shows who it is.
pub(crate) struct Tls {
    files: Files,
    in_effect: RwLock<Arc<ServerConfig>>,
    /// The files as they were when they were last tried.
    tried: Print,
    loaded: AtomicU64,
    failed: AtomicU64,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The bytes of both files, or why they are not to be had.
type Contents = Result<(Vec<u8>, Vec<u8>), String>;

/// By which contents are told apart, without keeping a key in memory.
type Print = [u8; 32];

impl Tls {
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Self, String> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let contents = files.read();
        let tried = print(&contents);
        let in_effect = files.parse(contents)?;
        Ok(Self {
            files,
            in_effect: RwLock::new(Arc::new(in_effect)),
            tried,
            loaded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Takes the files in their new form when they change. What is broken changes nothing.
    ///
    /// Two files are not replaced at once: they are tried when they have stayed the same for two looks.
    pub(crate) async fn follow(self: Arc<Self>) -> Infallible {
        let (mut tried, mut seen) = (self.tried, self.tried);
        loop {
            tokio::time::sleep(LOOK).await;
            let this = self.clone();
            let Ok(contents) = tokio::task::spawn_blocking(move || this.files.read()).await else {
                continue;
            };
            let now = print(&contents);
            if now != tried && now == seen {
                tried = now;
                self.take(contents);
            }
            seen = now;
        }
    }

    fn take(&self, contents: Contents) {
        match self.files.parse(contents) {
            Ok(config) => {
                *self.in_effect.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                self.loaded.fetch_add(1, Relaxed);
                tracing::info!("the TLS certificate has changed, and the new one is in effect");
            }
            Err(problem) => {
                self.failed.fetch_add(1, Relaxed);
                tracing::error!(%problem, "the new TLS certificate cannot be used; the old one stays");
            }
        }
    }

    /// How often the files were taken anew, and how often they could not be.
    pub(crate) fn reloads(&self) -> [(&'static str, u64); 2] {
        [("loaded", self.loaded.load(Relaxed)), ("failed", self.failed.load(Relaxed))]
    }

    /// Who speaks TLS; `None` where it comes to nothing.
    pub(crate) async fn handshake<S>(&self, stream: S) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.in_effect.read().unwrap_or_else(PoisonError::into_inner).clone();
        let shaken = TlsAcceptor::from(config).accept(stream).await;
        shaken.inspect_err(|error| tracing::debug!(%error, "no TLS handshake")).ok()
    }
}

/// Whether HTTP/2 was agreed upon.
pub(crate) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Whether what a client sends first is TLS; `None` where nothing comes.
pub(crate) async fn speaks_tls(stream: &TcpStream) -> Option<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) => Some(first[0] == HANDSHAKE),
        _ => None,
    }
}

/// Says to who speaks HTTP without TLS what is the matter, and hangs up.
pub(crate) async fn explain(mut stream: TcpStream) {
    const SAID: &str = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
        \"detail\":\"this port speaks TLS: the URL begins with https://\",\"stage\":\"request\"}";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{SAID}",
        SAID.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // A connection closed with something unread is reset, and what was said is lost with it.
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if !matches!(stream.read(&mut rest).await, Ok(1..)) {
            return;
        }
    }
}

impl Files {
    fn read(&self) -> Contents {
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    fn parse(&self, contents: Contents) -> Result<ServerConfig, String> {
        let (certificate, key) = contents?;
        let (at, at_key) = (self.certificate.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("tls_cert: {at}: {error}"))?;
        if chain.is_empty() {
            return Err(format!("tls_cert: {at}: there is no certificate in it (PEM)"));
        }
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| format!("tls_key: {at_key}: there is no private key in it (PEM)"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("tls_key: {at_key}: it is not the key of the first certificate in {at}")
                }
                error => format!("tls_cert: {at}: {error}"),
            })?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::metadata(path).and_then(|about| match about.len() {
        ..=LARGEST => std::fs::read(path),
        _ => Err(std::io::Error::other("it is too large to be one")),
    });
    file.map_err(|error| format!("{}: {error}", path.display()))
}

fn print(contents: &Contents) -> Print {
    let mut hash = Sha256::new();
    match contents {
        Ok((certificate, key)) => {
            hash.update(certificate.len().to_le_bytes());
            hash.update(certificate);
            hash.update(key);
        }
        Err(problem) => hash.update(problem),
    }
    hash.finalize().into()
}
