//! A value or an error → HTTP. The only place that decides on status codes.

use bytes::Bytes;
use core_render::{Picture, RenderError};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use wadors_client::UpstreamError;

use crate::access::{self, AccessError};
use crate::admin::AdminError;
use crate::body::Body;
use crate::cache_status;
use crate::collection::Collection;
use crate::conditional::{self, ETag, Held};
use crate::document::Payload;
use crate::error::{Level, ServerError};
use crate::head::HeadError;
use crate::metrics;
use crate::multipart_body;
use crate::negotiate::NegotiationError;
use crate::passthrough::ForwardError;
use crate::picture::{Answer, Drawn, Timings};
use crate::range::{self, Wanted};
use crate::render_service::Outcome;
use crate::upload::UploadError;

/// What a rendering came to; `request` says which part of it is wanted.
pub(crate) fn outcome(outcome: Outcome, request: &HeaderMap) -> Response<Body> {
    let tag = match &outcome {
        Outcome::Picture(answer) => Some(&answer.etag),
        Outcome::Document(payload) => Some(&payload.etag),
        Outcome::Collection(_) => None,
    };
    if tag.is_some_and(|tag| conditional::is_for_another(request, tag)) {
        let detail = "it is no longer what If-Match names: fetch all of it anew".to_owned();
        return problem(StatusCode::PRECONDITION_FAILED, detail, "request", None, None);
    }
    match outcome {
        Outcome::Picture(answer) => picture(*answer),
        Outcome::Document(payload) => document(payload, request),
        Outcome::Collection(collection) => multipart(collection),
    }
}

fn picture(answer: Answer) -> Response<Body> {
    let Answer {
        etag,
        content_location,
        drawn,
        representative,
        shown: _,
        origin,
        public_for,
        warnings,
    } = answer;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    identify(&etag, &content_location, headers);
    cache_status::tell(&origin, headers);
    if let Some(time) = public_for {
        set(headers, header::CACHE_CONTROL, &format!("public, max-age={}", time.as_secs()));
    }
    if let Some(representative) = &representative {
        set(headers, HeaderName::from_static("x-representative"), representative);
    }
    let Some(Drawn { picture, timings }) = drawn else {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.media_type.as_str()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(picture.bytes.len()));
    if let Some(timings) = timings {
        set(headers, HeaderName::from_static("server-timing"), &server_timing(&timings));
    }
    warn(headers, picture.warnings.iter().chain(&warnings));
    nosniff(headers);
    *response.body_mut() = Body::whole(picture.bytes);
    response
}

/// The headers of a picture that stay the same as long as it is kept.
pub(crate) fn lasting_headers(answer: Answer) -> HeaderMap {
    let mut headers = picture(answer).into_parts().0.headers;
    cache_status::take_off(&mut headers);
    headers
}

/// A picture whose headers are there; 304 where the client holds it.
pub(crate) fn ready(headers: HeaderMap, bytes: Option<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    match bytes {
        Some(bytes) => *response.body_mut() = Body::whole(bytes),
        None => *response.status_mut() = StatusCode::NOT_MODIFIED,
    }
    response
}

/// A document, or the range of it that is wanted.
fn document(payload: Payload, request: &HeaderMap) -> Response<Body> {
    let Payload { content_type, content_location, etag, bytes } = payload;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    identify(&etag, &content_location, headers);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if Held::from_headers(request).is_held(&etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(headers, header::CONTENT_TYPE, &content_type);
    // What comes out of an object is shown, and runs nothing.
    let policy = if has_viewer(&content_type) { VIEWER_POLICY } else { TEXT_POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    nosniff(headers);
    let whole = bytes.len();
    let (status, bytes) = match range::wanted(request, &etag, whole) {
        Wanted::Whole => (StatusCode::OK, bytes),
        Wanted::Part(part) => {
            let (first, last) = (part.start, part.end - 1);
            set(headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{whole}"));
            (StatusCode::PARTIAL_CONTENT, bytes.slice(part))
        }
        Wanted::Nothing => {
            let detail = format!("there are {whole} bytes, none of them in the range");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut response = problem(status, detail, "request", None, None);
            set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{whole}"));
            return response;
        }
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    *response.status_mut() = status;
    *response.body_mut() = Body::whole(bytes);
    response
}

const TEXT_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'";

/// Browsers show PDFs and videos in viewers of their own.
const VIEWER_POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; media-src 'self'";

fn has_viewer(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/pdf" || essence.starts_with("video/")
}

/// Makes what an archive answered harmless in a browser: its type is not guessed, and a page in it, which
/// may come out of an object that anybody has stored, runs nothing with the rights of this server's origin.
/// What the archive itself says to that counts beside it.
pub(crate) fn defuse(headers: &mut HeaderMap) {
    nosniff(headers);
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (content_type, others) = (types.next(), types.next());
    // Of several, or of what cannot be told, browsers make what they like.
    let is_clear = others.is_none()
        && content_type.and_then(|value| value.to_str().ok()).is_some_and(is_passive);
    if !is_clear {
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PASSED_POLICY));
    }
}

/// Pictures within a page of the archive's are part of it.
const PASSED_POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:";

/// Whether it is one media type of which no browser makes a document in which scripts run, as it does of HTML
/// and XML in all its forms.
fn is_passive(content_type: &str) -> bool {
    let essence = essence(content_type);
    let is_one = essence.split_once('/').is_some_and(|(kind, subtype)| {
        let is_token = |text: &str| {
            let is_usual = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
            !text.is_empty() && text.bytes().all(is_usual)
        };
        is_token(kind) && is_token(subtype)
    });
    let is_document =
        matches!(essence.as_str(), "text/html" | "text/xml" | "application/xml" | "text/xsl")
            || (essence.ends_with("+xml") && !essence.starts_with("multipart/"));
    // A comma may begin another one, wherever it stands.
    let is_alone = essence.starts_with("multipart/") || !content_type.contains(',');
    is_one && is_alone && !is_document
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn multipart(collection: Collection) -> Response<Body> {
    let Collection { first, rest, left_out, warnings } = collection;
    let failed = left_out.iter().any(|missing| !missing.has_no_form());
    let boundary = multipart_body::boundary();
    let mut response = Response::new(Body::empty());
    // R3.7, R3.9: not all of what should have been rendered was.
    *response.status_mut() = if failed { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let headers = response.headers_mut();
    let essence = first.content_type.split(';').next().unwrap_or_default();
    let content_type = format!("multipart/related; type=\"{essence}\"; boundary={boundary}");
    set(headers, header::CONTENT_TYPE, &content_type);
    headers.insert(header::TRAILER, HeaderValue::from_name(multipart_body::LEFT_OUT));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    warn(headers, warnings.iter());
    nosniff(headers);
    *response.body_mut() = Body::frames(multipart_body::frames(boundary, first, rest, left_out));
    response
}

fn warn<'a>(headers: &mut HeaderMap, warnings: impl Iterator<Item = &'a String>) {
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&warning_value(warning)) {
            headers.append(header::WARNING, value);
        }
    }
}

fn identify(etag: &ETag, content_location: &str, headers: &mut HeaderMap) {
    set(headers, header::ETAG, etag.as_str());
    set(headers, header::CONTENT_LOCATION, content_location);
    // To be kept, and asked for each time: whether this caller may see it is for the archive to say
    // (R3.12). `private, max-age` would hand what one account fetched to the next in the same browser.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const VARY: &str = "Accept, Accept-Charset, Authorization, Cookie";

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
pub(crate) fn warning_value(text: &str) -> String {
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

/// 204, with a cookie.
pub(crate) fn cookie(cookie: HeaderValue) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    no_content(headers)
}

/// 204: it is done.
pub(crate) fn done() -> Response<Body> {
    no_content(HeaderMap::new())
}

/// 202: it will be done.
pub(crate) fn accepted() -> Response<Body> {
    let mut response = text("text/plain; charset=utf-8", "accepted\n");
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// 200 with a page for people, and what a browser may do with it.
pub(crate) fn page(html: String, security_policy: &str) -> Response<Body> {
    let mut response = text("text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_SECURITY_POLICY, security_policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// 200: whatever was asked about is well.
pub(crate) fn healthy() -> Response<Body> {
    text("text/plain; charset=utf-8", "ok\n")
}

pub(crate) fn metrics(page: String) -> Response<Body> {
    text(metrics::CONTENT_TYPE, page)
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
    let available = match error {
        ServerError::Negotiation(NegotiationError::NotAcceptable { available }) => {
            Some(available.clone())
        }
        _ => None,
    };
    let mut response =
        problem(status, error.to_string(), error.stage(), error.upstream_status(), available);
    let headers = response.headers_mut();
    match error {
        ServerError::Method => {
            headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
        }
        ServerError::MethodOf(method) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(method));
        }
        ServerError::Admin(AdminError::Token) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ServerError::Access(error) => {
            if let Some(challenge) = challenge(error) {
                set(headers, header::WWW_AUTHENTICATE, &challenge);
            }
        }
        ServerError::Upstream(UpstreamError::Status { status: 401, www_authenticate, .. }) => {
            for challenge in www_authenticate.iter().filter(|c| !access::is_by_connection(c)) {
                headers.append(header::WWW_AUTHENTICATE, challenge.clone());
            }
        }
        ServerError::Upstream(UpstreamError::Status { retry_after: Some(after), .. }) => {
            headers.insert(header::RETRY_AFTER, after.clone());
        }
        ServerError::Upstream(
            UpstreamError::Resting { retry_after, .. } | UpstreamError::Paused { retry_after },
        ) => {
            // Whole seconds, rounded up.
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        _ => {}
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("2"));
    }
    response
}

/// How a client is to say who it is (RFC 7617 §2, RFC 6750 §3).
fn challenge(error: &AccessError) -> Option<String> {
    Some(match error {
        AccessError::Password => r#"Basic realm="lightbox", charset="UTF-8""#.to_owned(),
        AccessError::Token | AccessError::NothingToKeep => r#"Bearer realm="lightbox""#.to_owned(),
        AccessError::BadToken(reason) => format!(
            r#"Bearer realm="lightbox", error="invalid_token", error_description="{reason}""#
        ),
        _ => return None,
    })
}

/// Of an answer that was let in here: what its origin says of caches does not know of that.
pub(crate) fn for_them_alone(headers: &mut HeaderMap) {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let is_kept_by_nobody = said.is_some_and(|said| said.to_ascii_lowercase().contains("no-store"));
    if !is_kept_by_nobody {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    headers.remove(header::EXPIRES);
    headers.append(header::VARY, HeaderValue::from_static("Authorization, Cookie"));
}

/// A failure with a picture for its body.
pub(crate) fn with_picture(mut failure: Response<Body>, picture: Picture) -> Response<Body> {
    let headers = failure.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.media_type.as_str()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(picture.bytes.len()));
    *failure.body_mut() = Body::whole(picture.bytes);
    failure
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

/// The status of every failure there is.
fn status(error: &ServerError) -> StatusCode {
    match error {
        ServerError::Route(_)
        | ServerError::Parameter(_)
        | ServerError::Plan(_)
        | ServerError::StateHasNoFrames => StatusCode::BAD_REQUEST,
        ServerError::Outside | ServerError::NothingThere => StatusCode::NOT_FOUND,
        ServerError::Method | ServerError::MethodOf(_) => StatusCode::METHOD_NOT_ALLOWED,
        ServerError::Head(HeadError::Host | HeadError::Coding) => StatusCode::BAD_REQUEST,
        ServerError::Head(HeadError::Target) => StatusCode::URI_TOO_LONG,
        ServerError::Head(HeadError::Fields | HeadError::Size) => {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        }
        ServerError::Access(error) => match error {
            AccessError::Password | AccessError::Token | AccessError::BadToken(_) => {
                StatusCode::UNAUTHORIZED
            }
            AccessError::NothingToKeep => StatusCode::UNAUTHORIZED,
            AccessError::NoKeys | AccessError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            AccessError::Archive(error) => upstream_status(error),
            AccessError::Signature
            | AccessError::SignedForCaller
            | AccessError::ByConnection
            | AccessError::OnlyReading
            | AccessError::NotTheirs => StatusCode::FORBIDDEN,
            AccessError::NoSessions => StatusCode::NOT_FOUND,
            AccessError::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        },
        ServerError::Admin(error) => match error {
            AdminError::Token => StatusCode::UNAUTHORIZED,
            AdminError::Study | AdminError::Studies | AdminError::Archive => {
                StatusCode::BAD_REQUEST
            }
            AdminError::NoWarmUp => StatusCode::CONFLICT,
        },
        ServerError::Negotiation(NegotiationError::Mixed) => StatusCode::BAD_REQUEST,
        ServerError::Negotiation(
            NegotiationError::NotAcceptable { .. } | NegotiationError::Missing,
        ) => StatusCode::NOT_ACCEPTABLE,
        ServerError::Upstream(error) => upstream_status(error),
        ServerError::Forward(ForwardError::Url) => StatusCode::BAD_REQUEST,
        ServerError::Forward(ForwardError::Writes) => StatusCode::FORBIDDEN,
        ServerError::Forward(ForwardError::Crowded) => StatusCode::SERVICE_UNAVAILABLE,
        ServerError::Forward(ForwardError::Upload(error)) => match error {
            UploadError::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            UploadError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        },
        ServerError::Forward(ForwardError::Hidden) => StatusCode::NOT_FOUND,
        ServerError::Forward(ForwardError::NoAnswer(error) | ForwardError::Credentials(error)) => {
            upstream_status(error)
        }
        ServerError::Forward(ForwardError::Refused | ForwardError::Unreadable(_))
        | ServerError::ArchiveGone => StatusCode::BAD_GATEWAY,
        ServerError::Render { error, level } => render_status(error, *level),
        ServerError::Overloaded(_) | ServerError::NoWorker => StatusCode::SERVICE_UNAVAILABLE,
        ServerError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        // R3.9: as of what cannot be decoded.
        ServerError::WorkerLost { .. } | ServerError::Poisonous { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
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
        UpstreamError::Resting { last, .. } => upstream_status(last),
        UpstreamError::Paused { .. } | UpstreamError::Crowded => StatusCode::SERVICE_UNAVAILABLE,
        UpstreamError::Unreachable { .. }
        | UpstreamError::Untrusted { .. }
        | UpstreamError::Credentials { .. }
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
        | RenderError::GivenUp
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
    use http_body_util::BodyExt as _;

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
            (ServerError::Head(HeadError::Target), 414),
            (ServerError::Head(HeadError::Fields), 431),
            (ServerError::Forward(ForwardError::Upload(UploadError::TooLarge(1))), 413),
            (ServerError::Negotiation(NegotiationError::Missing), 406),
            (ServerError::Negotiation(NegotiationError::NotAcceptable { available: vec![] }), 406),
            (ServerError::StateHasNoFrames, 400),
            (ServerError::NothingThere, 404),
            (ServerError::ArchiveGone, 502),
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
            (ServerError::Forward(ForwardError::NoAnswer(UpstreamError::BrokeOff)), 502),
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

    #[test]
    fn what_an_archive_answers_is_not_guessed_at_and_runs_nothing() {
        let defused = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            headers.insert(header::CONTENT_SECURITY_POLICY, "img-src x".parse().unwrap());
            defuse(&mut headers);
            assert_eq!(headers["x-content-type-options"], "nosniff");
            headers.get_all(header::CONTENT_SECURITY_POLICY).iter().count() == 2
        };
        for active in [
            "text/html",
            "Text/HTML; charset=x",
            "text/xml",
            "application/xml",
            "image/svg+xml",
            "application/xhtml+xml ;a=b",
            "application/dicom+xml",
        ] {
            assert!(defused(active), "{active}");
        }
        let related = r#"multipart/related; type="application/dicom+xml"; boundary=x"#;
        for still in
            ["application/dicom+json", "application/pdf", "image/png", "text/plain", related]
        {
            assert!(!defused(still), "{still}");
        }
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
        let available = vec!["image/jpeg", "image/png"];
        let error = NegotiationError::NotAcceptable { available };
        let problem = json(failure(&ServerError::Negotiation(error))).await;
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
