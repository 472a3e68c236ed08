//! The admin listener: whether this process lives, whether it is of use, and what it does.

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::admin;
use crate::app::App;
use crate::body::Body;
use crate::error::ServerError;
use crate::head;
use crate::metrics;
use crate::respond;

/// `/healthz`: this process answers. `/readyz`: an archive does, too. `/metrics`: what
/// is under way. The rest is `admin`.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = head::refusal(&request) {
        return refusal;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match (&method, path.as_str()) {
        (&Method::GET | &Method::HEAD, "/healthz") => respond::healthy(),
        (&Method::GET | &Method::HEAD, "/readyz") => readiness(&app).await,
        (&Method::GET | &Method::HEAD, "/metrics") => respond::metrics(metrics::text(&app)),
        (_, "/healthz" | "/readyz" | "/metrics") => respond::failure(&ServerError::Method),
        _ => match admin::answer(&app, request).await {
            Some(answer) => answer.unwrap_or_else(|error| respond::failure(&error)),
            None => respond::failure(&ServerError::Outside),
        },
    };
    if method == Method::HEAD { respond::without_body(response) } else { response }
}

/// Of several archives one is enough: a server that others could be shown from is not to be taken away.
async fn readiness(app: &App) -> Response<Body> {
    let asked = app.upstreams.iter().map(|upstream| upstream.client.ready());
    let answers = futures_util::future::join_all(asked).await;
    match answers.into_iter().reduce(Result::or) {
        Some(Err(error)) => respond::not_ready(&error),
        Some(Ok(())) | None => respond::healthy(),
    }
}
