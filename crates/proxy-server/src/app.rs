//! The proxy: built once by hand, then one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::error::ServerError;
use crate::passthrough::Forwarder;
use crate::respond::{self, Body};
use crate::route::{Target, route};
use crate::{connections, cors};

/// Where the proxy listens.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For health, if it is served.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Opens both addresses of the configuration.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn bind(config: &Config) -> Result<Self, ServeError> {
        Ok(Self {
            public: bind(config.listen).await?,
            admin: Some(bind(config.admin_listen).await?),
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No archive is named.
    #[error(
        "upstream: name the archive's DICOMweb base URL, such as --upstream http://host:8042/dicom-web"
    )]
    NoUpstream,
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client for the archive could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Client(String),
}

/// Serves until `shutdown` resolves, then finishes what is under way.
///
/// # Errors
/// Why it cannot start; once started it returns only at the end.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let app = Arc::new(App::new(config)?);
    let (stop, stopped) = watch::channel(false);
    let public = {
        let app = app.clone();
        connections::serve(
            listeners.public,
            move |request, client| answer(app.clone(), request, client),
            stopped.clone(),
        )
    };
    let leave = async {
        shutdown.await;
        tracing::info!("finishing what is under way");
        let _ = stop.send(true);
    };
    tokio::join!(public, leave);
    Ok(())
}

/// Everything a request needs, made at the start and never changed.
#[derive(Debug)]
pub(crate) struct App {
    config: Config,
    forwarder: Forwarder,
}

impl App {
    fn new(config: Config) -> Result<Self, ServeError> {
        // Both HTTP clients need a provider of cryptography; a second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let upstream = config.upstream.as_ref().ok_or(ServeError::NoUpstream)?;
        let forwarder = Forwarder::new(upstream, config.upstream_timeout)
            .map_err(|error| ServeError::Client(error.to_string()))?;
        Ok(Self { forwarder, config })
    }
}

/// One request from a client, whatever comes of it.
async fn answer(app: Arc<App>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if cors::is_preflight(&request) {
        respond::no_content(app.config.cors_origins.preflight())
    } else {
        dispatch(&app, request, client).await.unwrap_or_else(|error| respond::failure(&error))
    };
    app.config.cors_origins.allow(origin.as_ref(), response.headers_mut());
    response
}

async fn dispatch(
    app: &App,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<Body>, ServerError> {
    match route(&app.config.base_path, request.uri().path())? {
        Target::Picture(_) => Err(ServerError::Outside),
        Target::PassThrough(below) => Ok(app.forwarder.forward(&below, request, client).await?),
        Target::Root | Target::Outside => Err(ServerError::Outside),
    }
}
