//! A request for a picture, from its first byte to its last, as one story.

use std::time::{Duration, Instant};

use core_render::{Picture, RenderJob};
use http::request::Parts;
use wadors_client::Caller;

use crate::app::App;
use crate::conditional::{ETag, Held};
use crate::error::ServerError;
use crate::negotiate::negotiate;
use crate::params::RenderParams;
use crate::plan::Plan;
use crate::route::Resource;
use crate::source;
use crate::workers::Rendered;

/// What a request for a picture comes to.
pub(crate) enum Outcome {
    /// A picture to send.
    Drawn(Box<Drawn>),
    /// The client holds it already.
    Held(Identity),
}

/// A picture with what is to be said about it.
pub(crate) struct Drawn {
    pub(crate) identity: Identity,
    pub(crate) picture: Picture,
    pub(crate) timings: Timings,
}

/// Which picture it is.
pub(crate) struct Identity {
    pub(crate) etag: ETag,
    pub(crate) content_location: String,
}

/// Where the time of one request went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) queue: Duration,
    pub(crate) upstream: Duration,
    pub(crate) decode: Duration,
    pub(crate) render: Duration,
    pub(crate) encode: Duration,
}

/// Draws `resource` as the request says, within the time that one request may take.
pub(crate) async fn picture(
    app: &App,
    resource: Resource,
    request: &Parts,
) -> Result<Outcome, ServerError> {
    tokio::time::timeout(app.config.request_timeout, story(app, resource, request))
        .await
        .map_err(|_| ServerError::TimedOut)?
}

async fn story(app: &App, resource: Resource, request: &Parts) -> Result<Outcome, ServerError> {
    let params = RenderParams::parse(request.uri.query().unwrap_or_default(), resource.kind)?;
    let media_type = negotiate(params.accept.as_deref(), &request.headers)?;
    let plan = Plan::new(resource, &params, media_type, &app.config)?;

    let turn = app.workers.admit()?.turn().await;
    let turn = turn.map_err(|error| ServerError::of_work(error, &plan.resource))?;
    let asked = Instant::now();
    let caller = Caller::from_headers(&request.headers);
    let fetched = source::fetch(&app.client, &plan, app.config.limits(), &caller).await;
    let source = fetched.map_err(|error| ServerError::of_source(error, &plan.resource))?;
    let upstream = asked.elapsed();

    let identity = Identity {
        etag: ETag::of(&plan.spec, &source),
        content_location: plan.content_location(&app.config.base_path),
    };
    let held = Held::from_headers(&request.headers);
    if held.names(&identity.etag) {
        return Ok(Outcome::Held(identity));
    }

    let job = RenderJob::new(source, plan.spec, app.config.limits());
    let drawn = turn.run(job).await;
    let Rendered { picture, queue, decode, render, encode } =
        drawn.map_err(|error| ServerError::of_work(error, &plan.resource))?;
    if held == Held::Anything {
        return Ok(Outcome::Held(identity));
    }
    let timings = Timings { queue, upstream, decode, render, encode };
    Ok(Outcome::Drawn(Box::new(Drawn { identity, picture, timings })))
}
