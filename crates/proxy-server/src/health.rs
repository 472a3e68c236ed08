//! The admin listener: whether this process lives, and whether it is of use.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use wadors_client::Client;

use crate::error::ServerError;
use crate::respond::{self, Body};

/// `/healthz`: this process answers. `/readyz`: the archive does, too.
pub(crate) async fn answer(archive: Client, request: Request<Incoming>) -> Response<Body> {
    let response = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => respond::healthy(),
        (&Method::GET | &Method::HEAD, "/readyz") => match archive.ready().await {
            Ok(()) => respond::healthy(),
            Err(error) => respond::not_ready(&error),
        },
        (_, "/healthz" | "/readyz") => respond::failure(&ServerError::Method),
        _ => respond::failure(&ServerError::Outside),
    };
    if request.method() == Method::HEAD { respond::without_body(response) } else { response }
}
