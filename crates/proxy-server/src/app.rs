//! The proxy: built once by hand, then one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use dicomweb_types::Uid;
use http::header;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cache::{Cache, Words};
use crate::config::Config;
use crate::error::ServerError;
use crate::holds::Holds;
use crate::page::Page;
use crate::render_service::Outcome;
use crate::renew::Renewals;
use crate::respond::{self, Body};
use crate::route::{Kind, Resource, Target, route};
use crate::together::Together;
use crate::upstream::{Upstream, UpstreamSetupError, Upstreams};
use crate::warm_up::{self, WarmUp};
use crate::workers::{self, Workers};
use crate::{
    connections, cors, health, orthanc_feed, page, passthrough, placeholder, render_service,
};

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
    /// An archive cannot be asked as configured.
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamSetupError),
    /// The tier of the cache that is shared.
    #[error("cache_shared: {0}")]
    Shared(String),
    /// No worker can be started.
    #[error("{0}")]
    Workers(#[from] render_pool::StartError),
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
    let admin = async {
        if let Some(listener) = listeners.admin {
            let app = app.clone();
            let handler = move |request, _| health::answer(app.clone(), request);
            connections::serve(listener, handler, stopped).await;
        }
    };
    let leave = async {
        shutdown.await;
        tracing::info!("finishing what is under way");
        // Without receivers everything has ended already.
        let _ = stop.send(true);
    };
    let serving = async { tokio::join!(public, admin, leave) };
    // Pictures that nobody has asked for end with what was asked for.
    tokio::select! {
        _ = serving => {}
        never = warm_up::run(&app) => match never {},
        never = app.cache.follow() => match never {},
        never = orthanc_feed::follow(&app) => match never {},
    }
    Ok(())
}

/// Everything a request needs, made at the start and never changed.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) upstreams: Upstreams,
    pub(crate) workers: Workers,
    /// The memory for what was fetched.
    pub(crate) holds: Holds,
    /// What was fetched and drawn before.
    pub(crate) cache: Cache,
    /// What equal requests wait for together.
    pub(crate) together: Together,
    /// What is kept and is being renewed.
    pub(crate) renewals: Renewals,
    /// Studies of which pictures are made before they are asked for.
    pub(crate) warm_up: WarmUp,
    page: Page,
}

impl App {
    fn new(config: Config) -> Result<Self, ServeError> {
        if config.archives().next().is_none() {
            return Err(ServeError::NoUpstream);
        }
        let upstreams = Upstreams::new(&config)?;
        let workers = Workers::start(&config)?;
        let for_sources = workers::source_share(config.render_memory);
        let holds = Holds::new(for_sources, workers::patience(&config));
        let page =
            Page::new(upstreams.iter().map(|upstream| (&*upstream.name, &upstream.base_path)));
        let cache = Cache::open(&config).map_err(ServeError::Shared)?;
        let together = Together::default();
        let warm_up = WarmUp::new(config.warm_up && cache.is_on());
        Ok(Self {
            config,
            upstreams,
            workers,
            holds,
            cache,
            together,
            renewals: Renewals::default(),
            warm_up,
            page,
        })
    }
}

impl App {
    /// Something of a study is gone: nothing of it is shown from before.
    pub(crate) fn is_gone(&self, upstream: &Upstream, study: &Uid) {
        self.cache.forget(&upstream.realm.groups(study));
    }

    /// Something of a study is new. What was sent by the client's own right says nothing of what is open
    /// to everybody: no pictures of that are made ahead.
    pub(crate) fn has_changed(&self, upstream: &Arc<Upstream>, study: &Uid, is_private: bool) {
        self.cache.distrust(&upstream.realm.groups(study));
        if !is_private {
            self.warm_up.once_at_rest(upstream, study.clone());
        }
    }
}

/// One request from a client, whatever comes of it.
async fn answer(app: Arc<App>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_head = request.method() == Method::HEAD;
    let mut response = match at_the_door(&app, &request) {
        Some(ready) => ready,
        // Boxed: the story of a request is long, and most end at the door.
        None => Box::pin(inside(&app, request, client)).await,
    };
    if is_head {
        response = respond::without_body(response);
    }
    app.config.cors_origins.allow(origin.as_ref(), response.headers_mut());
    response
}

/// What is answered before it is read: preflights, and a picture in the words in which it was asked for before.
fn at_the_door(app: &App, request: &Request<Incoming>) -> Option<Response<Body>> {
    if cors::is_preflight(request) {
        return Some(respond::no_content(app.config.cors_origins.preflight()));
    }
    app.cache.ready(Words::of(request)?, request.headers())
}

async fn inside(app: &Arc<App>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
    dispatch(app, request, client).await.unwrap_or_else(|error| {
        let response = respond::failure(&error);
        report(&error, response.status());
        response
    })
}

/// Messages of errors hold nothing of a patient, so they may be logged; paths do, and are not.
fn report(error: &ServerError, status: StatusCode) {
    let (status, stage) = (status.as_u16(), error.stage());
    if status < 500 {
        tracing::info!(status, stage, %error, "refused");
    } else {
        tracing::warn!(status, stage, %error, "failed");
    }
}

async fn dispatch(
    app: &Arc<App>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<Body>, ServerError> {
    if page::is_asked_for(&request) {
        let page = app.page.answer();
        return Ok(if request.method() == Method::HEAD {
            respond::without_body(page)
        } else {
            page
        });
    }
    let path = request.uri().path();
    let Some((upstream, below)) = app.upstreams.find(path) else {
        return Err(ServerError::Outside);
    };
    match route(below)? {
        Target::Rendering(resource) => {
            let upstream = upstream.clone();
            let placeholder = placeholder::wanted(request.headers());
            match (rendering(app, &upstream, &resource, request, client).await, placeholder) {
                (Err(error), Some(media_type)) => {
                    let failure = respond::failure(&error);
                    report(&error, failure.status());
                    Ok(placeholder::instead_of(app, failure, media_type).await)
                }
                (answer, _) => answer,
            }
        }
        Target::PassThrough(below) => {
            Ok(passthrough::forward(app, &upstream.clone(), &below, request, client).await?)
        }
    }
}

async fn rendering(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    resource: &Resource,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<Body>, ServerError> {
    let words = Words::of(&request);
    let (parts, body) = request.into_parts();
    let is_head = match parts.method {
        Method::GET => false,
        Method::HEAD => true,
        Method::OPTIONS => return Ok(respond::allowed_methods()),
        _ => return Err(ServerError::Method),
    };
    let began = app.cache.now();
    let rendered = match render_service::rendering(app, upstream, resource, &parts).await {
        Ok(Outcome::Picture(answer)) => {
            if let Some(words) = words {
                let study = upstream.realm.groups(resource.scope.study());
                app.cache.keep_ready(words, &study, began, &answer);
            }
            respond::outcome(Outcome::Picture(answer), &parts.headers)
        }
        Ok(outcome) => respond::outcome(outcome, &parts.headers),
        // What we do not render: an archive that does is not to be masked.
        Err(error) if resource.kind == Kind::Rendered && error.is_no_picture() => {
            let request = Request::from_parts(parts, body);
            let path = resource.path();
            match passthrough::forward(app, upstream, &path, request, client).await {
                Ok(theirs) if theirs.status().is_success() => return Ok(theirs),
                _ => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    Ok(if is_head { respond::without_body(rendered) } else { rendered })
}
