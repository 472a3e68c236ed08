//! The proxy: built once by hand, then one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dicomweb_types::Uid;
use http::header;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::access::{Access, Right, Visitor, Who};
use crate::audit::{Audit, Disclosure};
use crate::body::Body;
use crate::cache::{Cache, Shows, Words};
use crate::config::{Config, HttpCaching};
use crate::doors::Doors;
use crate::error::ServerError;
use crate::holds::Holds;
use crate::page::Page;
use crate::placeholder::Placeholders;
use crate::render_service::Outcome;
use crate::renew::Renewals;
use crate::respond;
use crate::route::{Kind, Resource, Target, route};
use crate::task::Task;
use crate::together::Together;
use crate::transport::Transport;
use crate::upstream::{Upstream, UpstreamSetupError, Upstreams};
use crate::warm_up::{self, WarmUp};
use crate::workers::{self, Workers};
use crate::{
    connections, cors, forwarded, head, health, orthanc_feed, page, passthrough, placeholder,
    render_service,
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
    /// Nobody could be let in.
    #[error("{0}")]
    Access(String),
    /// There is nowhere to serve connections.
    #[error(
        "there is no thread for connections: allow more processes (ulimit -u) and open files (ulimit -n): {0}"
    )]
    Doors(std::io::Error),
    /// The certificate cannot be shown.
    #[error("{0}")]
    Tls(String),
    /// Nothing could be written down.
    #[error("audit: {0}")]
    Audit(String),
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
    let doors = Doors::open().map_err(ServeError::Doors)?;
    let public = {
        let app = app.clone();
        connections::serve(
            listeners.public,
            doors,
            app.transport.clone(),
            move |request, client| answer(app.clone(), request, client),
            stopped.clone(),
        )
    };
    let admin = async {
        if let Some(listener) = listeners.admin {
            let app = app.clone();
            let transport = Arc::new(Transport::plain(&app.config));
            let handler = move |request, _| health::answer(app.clone(), request);
            let doors = Doors::of_the_process();
            connections::serve(listener, doors, transport, handler, stopped).await;
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
    // What was purged must not come back with the next start, or at another node.
    if !app.cache.is_gone_everywhere(SETTLING).await {
        tracing::warn!("left before everything that was purged is removed");
    }
    Ok(())
}

/// How long leaving may wait for what is being removed.
const SETTLING: Duration = Duration::from_secs(2);

/// Everything a request needs, made at the start and never changed.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) upstreams: Upstreams,
    pub(crate) workers: Workers,
    /// The memory for what was fetched.
    pub(crate) holds: Holds,
    /// What was fetched and drawn before.
    pub(crate) cache: Cache,
    /// How clients are connected.
    pub(crate) transport: Arc<Transport>,
    /// Who is let in.
    pub(crate) access: Access,
    /// Where it is written down who has seen what.
    pub(crate) audit: Option<Audit>,
    /// What equal requests wait for together.
    pub(crate) together: Together,
    /// What is kept and is being renewed.
    pub(crate) renewals: Renewals,
    /// Studies of which pictures are made before they are asked for.
    pub(crate) warm_up: WarmUp,
    /// Where all is done that is not done at a door.
    runtime: Handle,
    page: Page,
    /// Pictures in the place of errors.
    pub(crate) placeholders: Placeholders,
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
        let transport = Arc::new(Transport::public(&config).map_err(ServeError::Tls)?);
        let access = Access::new(&config).map_err(ServeError::Access)?;
        let audit = Audit::open(&config).map_err(ServeError::Audit)?;
        let together = Together::default();
        let warm_up = WarmUp::new(config.warm_up && cache.is_on());
        Ok(Self {
            config,
            upstreams,
            workers,
            holds,
            cache,
            transport,
            access,
            audit,
            together,
            renewals: Renewals::default(),
            warm_up,
            runtime: Handle::current(),
            page,
            placeholders: Placeholders::default(),
        })
    }
}

impl App {
    /// Something of a study is gone: nothing of it is shown from before.
    pub(crate) fn is_gone(&self, upstream: &Upstream, study: &Uid) {
        self.cache.forget(&upstream.realm.groups(study));
    }

    /// The words of a request by which its answer may be remembered.
    fn words_to_keep(&self, visitor: &Visitor, request: &Parts) -> Option<Words> {
        // What caches on the way may keep depends on who it is.
        let is_for_all = self.config.http_caching == HttpCaching::Private || visitor.is_anybody();
        Words::of_parts(request).filter(|_| is_for_all)
    }

    /// Notes what an answer shows, for the audit.
    fn discloses(&self, response: &mut Response<Body>, what: impl FnOnce() -> Disclosure) {
        if self.audit.is_some() {
            response.extensions_mut().insert(what());
        }
    }

    /// Something of a study is new: pictures of it are made ahead, by the right of who has sent it.
    pub(crate) fn has_changed(&self, upstream: &Arc<Upstream>, study: &Uid, by: Visitor) {
        self.cache.distrust(&upstream.realm.groups(study));
        self.warm_up.once_at_rest(upstream, study.clone(), by);
    }
}

/// One request from a client, whatever comes of it.
async fn answer(
    app: Arc<App>,
    mut request: Request<Incoming>,
    client: SocketAddr,
) -> Response<Body> {
    head::join_cookies(request.headers_mut());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_head = request.method() == Method::HEAD;
    let address = forwarded::client_address(request.headers(), client, &app.config);
    let mut response = match head::refusal(&request).or_else(|| at_the_door(&app, &request)) {
        Some(ready) => ready,
        None => goes_inside(&app, request, client).await,
    };
    if let Some(audit) = &app.audit {
        audit.write_down(&mut response, SocketAddr::new(address, client.port())).await;
    }
    if is_head {
        response = respond::without_body(response);
    }
    app.config.cors_origins.allow(origin.as_ref(), response.headers_mut());
    response
}

/// What is answered before it is read: preflights, and a picture in the words in which it was asked for before,
/// to who is known to be allowed to see it.
fn at_the_door(app: &App, request: &Request<Incoming>) -> Option<Response<Body>> {
    if cors::is_preflight(request) {
        return Some(respond::no_content(app.config.cors_origins.preflight(request.headers())));
    }
    let headers = request.headers();
    let admit = |shows: &Shows| {
        let who = app.access.at_hand(shows, &app.cache.proofs, headers)?;
        // What caches on the way may keep depends on who it is.
        let differs = app.config.http_caching == HttpCaching::Public && who != Who::Anybody;
        (!differs).then_some(who)
    };
    let (mut response, shows, who) = app.cache.ready(Words::of(request)?, headers, admit)?;
    app.discloses(&mut response, || Disclosure::of_picture(&shows.study, shows.kind, who));
    Some(response)
}

/// The rest of it away from the door, and no longer than the client waits.
async fn goes_inside(
    app: &Arc<App>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Response<Body> {
    match Task::spawn_on(&app.runtime, inside(app.clone(), request, client)).await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            // As if it had happened here: the connection ends.
            Ok(defect) => std::panic::resume_unwind(defect),
            // The process ends.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn inside(app: Arc<App>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
    let app = &app;
    let accept = placeholder::wanted(request.headers());
    match dispatch(app, request, client).await {
        Ok(response) => response,
        Err(Refused { error, is_picture }) => {
            let response = respond::failure(&error);
            report(&error, response.status());
            match accept.filter(|_| is_picture) {
                Some(media_type) => placeholder::instead_of(app, response, media_type).await,
                None => response,
            }
        }
    }
}

/// Why there is no answer, and whether it was to be a picture.
struct Refused {
    error: ServerError,
    is_picture: bool,
}

impl<E: Into<ServerError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_picture: false }
    }
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

/// Where a request leads, once it is known that who makes it may go there.
async fn dispatch(
    app: &Arc<App>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<Body>, Refused> {
    // One shows what was sent, our credentials too, the other asks for a tunnel.
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return Err(ServerError::Method.into());
    }
    if page::is_asked_for(&request) {
        app.access.admit_to_page(request.headers()).await?;
        return Ok(app.page.answer());
    }
    let path = request.uri().path();
    let Some((upstream, below)) = app.upstreams.find(path) else {
        return Err(ServerError::Outside.into());
    };
    let (upstream, target) = (upstream.clone(), route(below)?);
    let is_picture = matches!(target, Target::Rendering(_));
    let (mut parts, body) = request.into_parts();
    // What may be done with it is the same for all.
    match target {
        Target::Rendering(_) if parts.method == Method::OPTIONS => {
            return Ok(respond::allowed_methods());
        }
        Target::Session(_) if parts.method == Method::OPTIONS => {
            return Ok(respond::no_content(http::HeaderMap::new()));
        }
        _ => {}
    }
    let goes_on = async {
        let visitor = app.access.admit(&upstream, &target, &mut parts).await?;
        match target {
            Target::Rendering(resource) => {
                rendering(app, &upstream, &resource, visitor, (parts, body), client).await
            }
            Target::Session(study) => session(app, &upstream, &study, visitor, &parts).await,
            Target::PassThrough(below) => {
                let disclosure = Disclosure::of_passing(&parts.method, &below, visitor.who.clone());
                let forwarded =
                    passthrough::forward(app, &upstream, &below, visitor, (parts, body), client);
                let mut response = forwarded.await?;
                app.discloses(&mut response, || disclosure);
                Ok(response)
            }
        }
    };
    goes_on.await.map_err(|error: ServerError| Refused { error, is_picture })
}

async fn rendering(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    resource: &Resource,
    visitor: Visitor,
    (mut parts, body): (Parts, Incoming),
    client: SocketAddr,
) -> Result<Response<Body>, ServerError> {
    match parts.method {
        Method::GET => {}
        // Ranges are of GET only (RFC 9110 §14.2).
        Method::HEAD => drop(parts.headers.remove(header::RANGE)),
        _ => return Err(ServerError::Method),
    }
    let (began, study) = (app.cache.now(), resource.scope.study());
    let disclosure = || Disclosure::of_picture(study, resource.kind, visitor.who.clone());
    let asked = render_service::rendering(app, upstream, resource, visitor.clone(), &parts);
    let mut response = match asked.await {
        Ok(Outcome::Picture(answer)) => {
            if let Some(words) = app.words_to_keep(&visitor, &parts) {
                let group = upstream.realm.groups(study).index;
                let (upstream, study) = (upstream.clone(), study.clone());
                let shows = Shows { upstream, study, group, kind: resource.kind };
                app.cache.keep_ready(words, shows, began, &answer);
            }
            respond::outcome(Outcome::Picture(answer), &parts.headers)
        }
        Ok(outcome) => respond::outcome(outcome, &parts.headers),
        // What we do not render: an archive that does is not to be masked.
        // Who sees some studies only would have it asked by a query that nobody has looked at.
        Err(error)
            if resource.kind == Kind::Rendered
                && error.is_no_picture()
                && visitor.limit().is_none() =>
        {
            let (path, whole) = (resource.path(), (parts, body));
            match passthrough::forward(app, upstream, &path, visitor.clone(), whole, client).await {
                Ok(theirs) if theirs.status().is_success() => theirs,
                _ => return Err(error),
            }
        }
        Err(error) => return Err(error.hidden_by(upstream)),
    };
    app.discloses(&mut response, disclosure);
    Ok(response)
}

/// A cookie by which a study opens to who may see it.
async fn session(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    study: &Uid,
    visitor: Visitor,
    request: &Parts,
) -> Result<Response<Body>, ServerError> {
    match request.method {
        Method::POST => {}
        _ => return Err(ServerError::MethodOf("POST")),
    }
    let cookie = app.access.cookie(upstream, study, &request.headers)?;
    // By the archive's own answer, where it decides.
    if let Right::AsTheArchiveSays(credential) = &visitor.right {
        let (proofs, began) = (&app.cache.proofs, app.cache.now());
        if !proofs.check(upstream, study, credential, &visitor.caller, began).await? {
            return Err(ServerError::NothingThere);
        }
    }
    Ok(respond::cookie(cookie))
}
