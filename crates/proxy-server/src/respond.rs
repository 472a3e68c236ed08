//! A value or an error → HTTP. The only place that decides on status codes.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;

use crate::error::ServerError;

/// The body of an answer: whole, or streamed.
pub(crate) struct Body(BoxBody<Bytes, Box<dyn Error + Send + Sync>>);

impl Body {
    pub(crate) fn empty() -> Self {
        Self(Empty::new().map_err(|never| match never {}).boxed())
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Full::new(bytes.into()).map_err(|never| match never {}).boxed())
    }

    pub(crate) fn streamed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(body.map_err(Into::into).boxed())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// 204 with these headers: the answer to `OPTIONS`.
pub(crate) fn no_content(headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// 200 with a page or a word for people.
pub(crate) fn text(content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    nosniff(response.headers_mut());
    response
}

/// Problem details (RFC 9457) of what went wrong; nothing of a patient in it.
pub(crate) fn failure(error: &ServerError) -> Response<Body> {
    let status = status(error);
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.to_string(),
        stage: error.stage(),
    };
    // Plain texts and numbers always serialise.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    nosniff(headers);
    response
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: String,
    stage: &'a str,
}

fn status(error: &ServerError) -> StatusCode {
    match error {
        ServerError::Route(_) => StatusCode::BAD_REQUEST,
        ServerError::Outside => StatusCode::NOT_FOUND,
        ServerError::Forward(crate::passthrough::ForwardError::Url) => StatusCode::BAD_REQUEST,
        ServerError::Forward(crate::passthrough::ForwardError::NoAnswer(_)) => {
            StatusCode::BAD_GATEWAY
        }
    }
}

fn nosniff(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
