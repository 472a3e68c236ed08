//! A value or an error → HTTP. The only place that decides on status codes.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use core_render::RenderError;
use dicomweb_types::MediaType;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;
use wadors_client::UpstreamError;

use crate::error::{Level, ServerError};
use crate::negotiate::NegotiationError;
use crate::passthrough::ForwardError;
use crate::render_service::{Drawn, Identity, Outcome, Timings};

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

/// A picture, or that the client holds it already.
pub(crate) fn picture(outcome: Outcome) -> Response<Body> {
    match outcome {
        Outcome::Drawn(drawn) => drawn_picture(*drawn),
        Outcome::Held(identity) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            identify(&identity, response.headers_mut());
            response
        }
    }
}

fn drawn_picture(drawn: Drawn) -> Response<Body> {
    let Drawn { identity, picture, timings } = drawn;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.media_type.as_str()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(picture.bytes.len()));
    identify(&identity, &mut headers);
    set(&mut headers, HeaderName::from_static("server-timing"), &server_timing(&timings));
    for warning in &picture.warnings {
        if let Ok(value) = HeaderValue::from_str(&warning_value(warning)) {
            headers.append(header::WARNING, value);
        }
    }
    nosniff(&mut headers);
    let mut response = Response::new(Body::whole(picture.bytes));
    *response.headers_mut() = headers;
    response
}

fn identify(identity: &Identity, headers: &mut HeaderMap) {
    set(headers, header::ETAG, identity.etag.as_str());
    set(headers, header::CONTENT_LOCATION, &identity.content_location);
    // To be kept, and asked for each time: whether this caller may see it is for the archive to say
    // (R3.12). `private, max-age` would hand what one account fetched to the next in the same browser.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization, Cookie"));
}

fn server_timing(timings: &Timings) -> String {
    let Timings { queue, upstream, decode, render, encode } = timings;
    [
        ("queue", queue),
        ("upstream", upstream),
        ("decode", decode),
        ("render", render),
        ("encode", encode),
    ]
    .map(|(name, time)| format!("{name};dur={:.1}", time.as_secs_f64() * 1000.0))
    .join(", ")
}

/// `Warning: 299` (R3.7), its text made safe for a quoted string.
fn warning_value(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .collect();
    format!("299 lightbox \"{safe}\"")
}

/// The answer to `HEAD`: as to `GET`, without the body.
pub(crate) fn without_body(mut response: Response<Body>) -> Response<Body> {
    *response.body_mut() = Body::empty();
    response
}

/// 204 to an `OPTIONS` that is no preflight.
pub(crate) fn allowed_methods() -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    no_content(headers)
}

const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// 204 with these headers: the answer to a preflight.
pub(crate) fn no_content(headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// 200 with a page for people, and what a browser may do with it.
pub(crate) fn page(html: String, security_policy: &str) -> Response<Body> {
    let mut response = text("text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_SECURITY_POLICY, security_policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// 200: whatever was asked about is well.
pub(crate) fn healthy() -> Response<Body> {
    text("text/plain; charset=utf-8", "ok\n")
}

fn text(content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let text = text.into();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    nosniff(headers);
    *response.body_mut() = Body::whole(text);
    response
}

/// 503 while the archive does not answer.
pub(crate) fn not_ready(error: &UpstreamError) -> Response<Body> {
    problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "upstream", error.status(), None)
}

/// Problem details (RFC 9457) of what went wrong; nothing of a patient in it.
pub(crate) fn failure(error: &ServerError) -> Response<Body> {
    let status = status(error);
    let available = matches!(error, ServerError::Negotiation(NegotiationError::NotAcceptable))
        .then(available_types);
    let mut response =
        problem(status, error.to_string(), error.stage(), error.upstream_status(), available);
    let headers = response.headers_mut();
    match error {
        ServerError::Method => {
            headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
        }
        ServerError::Upstream(UpstreamError::Status { status: 401, www_authenticate, .. }) => {
            for challenge in www_authenticate {
                headers.append(header::WWW_AUTHENTICATE, challenge.clone());
            }
        }
        ServerError::Upstream(UpstreamError::Status { retry_after: Some(after), .. }) => {
            headers.insert(header::RETRY_AFTER, after.clone());
        }
        _ => {}
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("2"));
    }
    response
}

fn problem(
    status: StatusCode,
    detail: String,
    stage: &'static str,
    upstream_status: Option<u16>,
    available: Option<Vec<&'static str>>,
) -> Response<Body> {
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
        stage,
        upstream_status,
        available,
    };
    // Plain texts and numbers always serialise.
    let json = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = text("application/problem+json", json);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<Vec<&'static str>>,
}

fn available_types() -> Vec<&'static str> {
    MediaType::ALL.iter().map(|media_type| media_type.as_str()).collect()
}

/// The status of every failure there is.
fn status(error: &ServerError) -> StatusCode {
    match error {
        ServerError::Route(_) | ServerError::Parameter(_) | ServerError::Plan(_) => {
            StatusCode::BAD_REQUEST
        }
        ServerError::Outside => StatusCode::NOT_FOUND,
        ServerError::Method => StatusCode::METHOD_NOT_ALLOWED,
        ServerError::Negotiation(NegotiationError::Mixed) => StatusCode::BAD_REQUEST,
        ServerError::Negotiation(NegotiationError::NotAcceptable) => StatusCode::NOT_ACCEPTABLE,
        ServerError::Upstream(error) => upstream_status(error),
        ServerError::Forward(ForwardError::Url) => StatusCode::BAD_REQUEST,
        ServerError::Forward(ForwardError::NoAnswer) => StatusCode::BAD_GATEWAY,
        ServerError::Render { error, level } => render_status(error, *level),
        ServerError::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
        ServerError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ServerError::Broke => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn upstream_status(error: &UpstreamError) -> StatusCode {
    match error {
        UpstreamError::Status { status, .. } => match status {
            401 => StatusCode::UNAUTHORIZED,
            403 => StatusCode::FORBIDDEN,
            404 => StatusCode::NOT_FOUND,
            410 => StatusCode::GONE,
            429 | 503 => StatusCode::SERVICE_UNAVAILABLE,
            408 | 504 => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        },
        // An archive that has nothing there.
        UpstreamError::Empty => StatusCode::NOT_FOUND,
        UpstreamError::Timeout => StatusCode::GATEWAY_TIMEOUT,
        UpstreamError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        UpstreamError::Unreachable { .. }
        | UpstreamError::Redirected { .. }
        | UpstreamError::Malformed { .. }
        | UpstreamError::Foreign
        | UpstreamError::BrokeOff => StatusCode::BAD_GATEWAY,
    }
}

fn render_status(error: &RenderError, level: Level) -> StatusCode {
    match error {
        // R1.12: the instance is there and has no rendered form. R1.3: its frames are not there.
        RenderError::NotAnImage => match level {
            Level::Instance => StatusCode::NOT_ACCEPTABLE,
            Level::Frame => StatusCode::NOT_FOUND,
        },
        // It has no thumbnail, as a report has none; the image itself is there.
        RenderError::ShowsLabel => StatusCode::NOT_ACCEPTABLE,
        RenderError::FrameOutOfRange { .. } => StatusCode::NOT_FOUND,
        RenderError::EmptyRegion { .. } => StatusCode::BAD_REQUEST,
        RenderError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        RenderError::Unsupported { .. } => StatusCode::NOT_IMPLEMENTED,
        // R3.9: what cannot be decoded is 500 when it stands alone; `stage` tells it from our faults.
        RenderError::NotDicom { .. }
        | RenderError::Damaged { .. }
        | RenderError::Attribute { .. }
        | RenderError::Decode { .. }
        | RenderError::Encode { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn nosniff(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Sets a field to a text of ours, which is always legal: digits, UIDs, and a checked base path.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::RouteError;
    use crate::workers::Overloaded;

    fn upstream(status: u16) -> ServerError {
        ServerError::Upstream(UpstreamError::Status {
            status,
            www_authenticate: vec![HeaderValue::from_static("Basic realm=\"pacs\"")],
            retry_after: (status == 429).then(|| HeaderValue::from_static("17")),
        })
    }

    fn render(error: RenderError, level: Level) -> ServerError {
        ServerError::Render { error, level }
    }

    #[test]
    fn every_failure_has_the_status_of_whose_fault_it_is() {
        use Level::{Frame, Instance};
        let unsupported = RenderError::Unsupported { what: "x".into() };
        let large = RenderError::TooLarge { what: "x".into(), value: 2, limit: 1 };
        let damaged = RenderError::Damaged { reason: "x".into() };
        for (error, expected) in [
            (ServerError::Route(RouteError::Uid), 400),
            (ServerError::Outside, 404),
            (ServerError::Method, 405),
            (ServerError::Negotiation(NegotiationError::NotAcceptable), 406),
            (ServerError::Negotiation(NegotiationError::Mixed), 400),
            (upstream(401), 401),
            (upstream(403), 403),
            (upstream(404), 404),
            (upstream(410), 410),
            (upstream(429), 503),
            (upstream(503), 503),
            (upstream(504), 504),
            (upstream(400), 502),
            (upstream(500), 502),
            (ServerError::Upstream(UpstreamError::Timeout), 504),
            (ServerError::Upstream(UpstreamError::BrokeOff), 502),
            (ServerError::Upstream(UpstreamError::Redirected { status: 302 }), 502),
            (ServerError::Upstream(UpstreamError::TooLarge { limit: 1 }), 413),
            (ServerError::Forward(ForwardError::NoAnswer), 502),
            (render(RenderError::NotAnImage, Instance), 406),
            (render(RenderError::NotAnImage, Frame), 404),
            (render(RenderError::EmptyRegion { columns: 1, rows: 1 }, Instance), 400),
            (render(unsupported, Frame), 501),
            (render(large, Instance), 413),
            (render(damaged, Instance), 500),
            (ServerError::Overloaded(Overloaded), 503),
            (ServerError::TimedOut, 504),
            (ServerError::Broke, 500),
        ] {
            let response = failure(&error);
            assert_eq!(response.status().as_u16(), expected, "{error:?}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), expected == 503);
        }
    }

    #[test]
    fn challenges_and_waiting_times_of_the_archive_are_handed_on() {
        assert_eq!(failure(&upstream(401)).headers()["www-authenticate"], "Basic realm=\"pacs\"");
        assert!(!failure(&upstream(403)).headers().contains_key("www-authenticate"));
        assert_eq!(failure(&upstream(429)).headers()["retry-after"], "17");
        assert_eq!(failure(&ServerError::Method).headers()["allow"], "GET, HEAD, OPTIONS");
    }

    async fn json(response: Response<Body>) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn problems_name_stage_and_upstream_status() {
        let problem = json(failure(&upstream(500))).await;
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["title"], "Bad Gateway");
        assert_eq!(problem["stage"], "upstream");
        assert_eq!(problem["upstream_status"], 500);
        assert!(problem.get("available").is_none());
    }

    #[tokio::test]
    async fn not_acceptable_lists_what_is_available() {
        let problem =
            json(failure(&ServerError::Negotiation(NegotiationError::NotAcceptable))).await;
        assert_eq!(problem["available"], serde_json::json!(["image/jpeg", "image/png"]));
    }

    #[test]
    fn warnings_are_safe_in_a_header() {
        assert_eq!(warning_value("a \"b\"\r\nc\\é"), "299 lightbox \"a 'b'??c'?\"");
    }

    #[test]
    fn times_are_in_milliseconds() {
        let ms = std::time::Duration::from_micros;
        let timings = Timings {
            queue: ms(0),
            upstream: ms(12_340),
            decode: ms(1_000),
            render: ms(500),
            encode: ms(60),
        };
        assert_eq!(
            server_timing(&timings),
            "queue;dur=0.0, upstream;dur=12.3, decode;dur=1.0, render;dur=0.5, encode;dur=0.1"
        );
    }
}
