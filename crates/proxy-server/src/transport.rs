//! What connections of a listener have in common: whether they speak TLS, how long a client is waited for,
//! and what has been counted of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::Config;
use crate::tls::Tls;

/// How the connections of a listener are.
pub(crate) struct Transport {
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long a client may send or take nothing where it is its turn.
    pub(crate) patience: Duration,
    pub(crate) counts: Arc<Counts>,
}

impl Transport {
    /// Of the listener for clients.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub(crate) fn public(config: &Config) -> Result<Self, String> {
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Tls::open(certificate, key)?)),
            _ => None,
        };
        Ok(Self { tls, ..Self::plain(config) })
    }

    /// Of the listener for operators.
    pub(crate) fn plain(config: &Config) -> Self {
        Self { tls: None, patience: config.client_timeout, counts: Arc::default() }
    }
}

/// What has been counted of connections.
#[derive(Default)]
pub(crate) struct Counts {
    /// Connections under way.
    pub(crate) open: AtomicU64,
    /// TLS handshakes that came to nothing.
    pub(crate) failed_handshakes: AtomicU64,
    /// Connections cut off because what was written was not taken.
    pub(crate) stalled_writes: AtomicU64,
    /// Streams of HTTP/2 whose answer was not taken.
    pub(crate) stalled_streams: AtomicU64,
    /// Bodies of requests of which nothing came any more.
    pub(crate) stalled_uploads: AtomicU64,
}

impl Counts {
    /// Counts a connection until the value goes.
    pub(crate) fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }
}

/// A connection that is under way.
pub(crate) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// In the extensions of a request that came by TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverTls;
