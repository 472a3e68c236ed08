//! What an operator, or an archive that has a new study, tells this server, on its admin listener.

use std::sync::Arc;
use std::time::Duration;

use dicomweb_types::Uid;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::access::Visitor;
use crate::app::App;
use crate::body::Body;
use crate::error::ServerError;
use crate::respond;
use crate::upload::Upload;
use crate::upstream::Upstream;

/// The longest list of studies, in bytes.
const LONGEST: u64 = 4 << 20;

/// How long a purge may wait until everything is removed.
const PURGING: Duration = Duration::from_secs(2);

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("this asks for Authorization: Bearer and the admin_token")]
    Token,
    #[error("the path must end in a Study Instance UID: /cache/studies/UID")]
    Study,
    #[error("name studies: POST /warm?study=UID, or JSON such as {{\"studies\": [\"1.2.3\"]}}")]
    Studies,
    #[error("there is no archive of that name")]
    Archive,
    #[error("nothing is made ahead: warm_up is off, or nothing is kept")]
    NoWarmUp,
}

/// Answers an order; `None` where the path is none.
pub(crate) async fn answer(
    app: &Arc<App>,
    request: Request<Incoming>,
) -> Option<Result<Response<Body>, ServerError>> {
    let path = request.uri().path().to_owned();
    if path == "/warm" {
        return Some(match *request.method() {
            Method::POST => warm(app, request).await,
            _ => Err(ServerError::MethodOf("POST")),
        });
    }
    let study = path.strip_prefix("/cache/studies/")?;
    Some(match *request.method() {
        Method::DELETE => purge(app, &request, study).await,
        _ => Err(ServerError::MethodOf("DELETE")),
    })
}

/// Drops all that is kept of a study, of whatever archive.
async fn purge(
    app: &App,
    request: &Request<Incoming>,
    study: &str,
) -> Result<Response<Body>, ServerError> {
    check_token(app, request)?;
    let study: Uid = study.parse().map_err(|_| AdminError::Study)?;
    for upstream in app.upstreams.iter() {
        app.is_gone(upstream, &study);
    }
    // Nothing of it is shown any more; once this is answered, nothing of it is on this node's disk either,
    // unless that takes too long.
    app.cache.is_gone_here(PURGING).await;
    Ok(respond::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    studies: Vec<Uid>,
    archive: Option<String>,
}

/// Has pictures of studies made ahead, and the archive asked anew for what there is of them.
async fn warm(app: &Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, ServerError> {
    check_token(app, &request)?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = Upload::new(request.into_body(), &app.transport, Some(LONGEST));
    let body = body.map_err(|_| AdminError::Studies)?.collect().await;
    let body = body.map_err(|_| AdminError::Studies)?.to_bytes();
    let Order { studies, archive } = order(&query, &body)?;
    let upstream = archive_of(app, archive.as_deref())?;
    if !app.warm_up.is_on() {
        return Err(AdminError::NoWarmUp.into());
    }
    for study in studies {
        app.cache.distrust(&upstream.realm.groups(&study));
        app.warm_up.now(upstream, study, Visitor::nobody(upstream));
    }
    Ok(respond::accepted())
}

fn order(query: &str, body: &[u8]) -> Result<Order, AdminError> {
    let mut order = match body {
        [] => Order::default(),
        json => serde_json::from_slice(json).map_err(|_| AdminError::Studies)?,
    };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "study" => order.studies.push(value.parse().map_err(|_| AdminError::Studies)?),
            "archive" => order.archive = Some(value.into_owned()),
            _ => {}
        }
    }
    if order.studies.is_empty() { Err(AdminError::Studies) } else { Ok(order) }
}

/// The archive of this name; that of the flat keys, or the first, without one.
fn archive_of<'a>(app: &'a App, name: Option<&str>) -> Result<&'a Arc<Upstream>, AdminError> {
    let mut all = app.upstreams.iter();
    let found = match name {
        Some(name) => all.find(|upstream| upstream.name == name),
        None => all.next(),
    };
    found.ok_or(AdminError::Archive)
}

/// Without a token orders are taken from this machine only.
fn check_token(app: &App, request: &Request<Incoming>) -> Result<(), AdminError> {
    let config = &app.config;
    let Some(token) = &config.admin_token else {
        // A page in a browser on this machine is somebody else.
        let is_page = request.headers().contains_key(header::ORIGIN);
        let is_here = config.admin_listen.ip().is_loopback() && !is_page;
        return if is_here { Ok(()) } else { Err(AdminError::Token) };
    };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match (given, token.read()) {
        (Some(given), Ok(token)) if are_equal(given, token.reveal()) => Ok(()),
        _ => Err(AdminError::Token),
    }
}

/// By their hashes, so that the time that it takes tells nothing of how much is equal.
fn are_equal(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_are_named_in_the_query_or_in_json() {
        let studies =
            |query: &str, body: &str| order(query, body.as_bytes()).map(|o| o.studies.len());
        assert_eq!(studies("study=1.2&study=1.3", ""), Ok(2));
        assert_eq!(studies("", r#"{"studies": ["1.2"]}"#), Ok(1));
        assert_eq!(studies("study=1.3", r#"{"studies": ["1.2"], "archive": "a"}"#), Ok(2));
        for (query, body) in [
            ("", ""),
            ("study=x", ""),
            ("", "[]"),
            ("", r#"{"studies": ["x"]}"#),
            ("", r#"{"stud": []}"#),
        ] {
            assert_eq!(studies(query, body), Err(AdminError::Studies), "{query} {body}");
        }
    }
}
