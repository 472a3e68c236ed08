//! What we do not draw: to the archive and back, untouched.
//!
//! Streamed both ways, with method, path, query, headers, trailers and status as they came. Only what
//! belongs to one connection is dropped (RFC 9110 §7.6.1), `Host` names the archive, and
//! `Forwarded` and `X-Forwarded-…` say who asked, from which archives build their URLs. Answers are not
//! guessed at by browsers, and pages among them run nothing (`respond::defuse`). No redirect is
//! followed, nothing decompressed or buffered. A client that goes away cancels the archive's call.
//!
//! The target keeps its meaning, not every byte: characters that RFC 3986 forbids in a URL but some
//! clients send raw (`"`, `'` in a query, `{`) go on percent-encoded. A request without `Accept` goes
//! on with `Accept: */*`, which says the same (RFC 9110 §12.5.1).

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use render_pool::Class;
use wadors_client::UpstreamError;

use crate::access::Visitor;
use crate::app::App;
use crate::asked::class_of;
use crate::changes::{Change, Stored};
use crate::config::Config;
use crate::forwarded::{self, TrustedProxies};
use crate::overheard::{self, Overheard};
use crate::respond::{self, Body};
use crate::rewrite::{self, Rewrite, Rewritten};
use crate::transport::OverTls;
use crate::upload::{Upload, UploadError};
use crate::upstream::Upstream;

/// The archive gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("the path makes no URL below the archive's")]
    Url,
    /// It could not be reached, or broke off before its answer began.
    #[error("the archive gave no answer: {0}")]
    NoAnswer(UpstreamError),
    /// We have nothing to show it.
    #[error(transparent)]
    Credentials(UpstreamError),
    #[error("the archive refuses the credentials that this server has for it")]
    Refused,
    /// It exists, perhaps, and is hidden from us: who asks learns no more than of what does not exist.
    #[error("there is no such thing")]
    Hidden,
    /// Whatever goes over our connection has our rights.
    #[error("this server only reads from the archive: allow_writes is not set")]
    Writes,
    /// The client's.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

/// Sends `request`, whose raw path below our base path is `below`, and hands back the answer.
///
/// Connecting is bounded in time; answering is not, since storing and searching may take long and a
/// client that has enough of it goes away.
pub(crate) async fn forward(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    below: &str,
    visitor: Visitor,
    (parts, body): (Parts, Incoming),
    client: SocketAddr,
) -> Result<Response<Body>, ForwardError> {
    let archive = &upstream.client;
    let url = archive.url(below, parts.uri.query()).ok_or(ForwardError::Url)?;
    let limit = Some(app.config.max_request_bytes).filter(|&limit| limit > 0);
    let body = Upload::new(body, &app.transport, limit)?;
    let fate = body.fate();
    let mut headers = request_headers(&parts, client, &app.config.trusted_proxies);
    authorize(upstream, &parts.method, &mut headers).await?;
    let rewrite =
        upstream.rewrite_urls.then(|| rewriting(&app.config, upstream, &headers)).flatten();
    if rewrite.is_some() {
        // What is compressed cannot be rewritten.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let sent = headers.get(header::AUTHORIZATION).cloned();
    let mut outgoing = archive.http().request(parts.method.clone(), url).headers(headers);
    // Without a body there must be none: an empty one would go out as `chunked` on a GET.
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap(body));
    }
    let answer = outgoing.send().await.map_err(|error| {
        if let Some(error) = fate.error() {
            return ForwardError::Upload(error);
        }
        tracing::debug!(error = %wadors_client::explain(&error), "the archive gave no answer");
        ForwardError::NoAnswer(wadors_client::explain(&error))
    })?;
    if !archive.forwards_callers() && answer.status() == StatusCode::UNAUTHORIZED {
        archive.refused(sent.as_ref());
        if has_our_rights(upstream, &parts.method) {
            return Err(ForwardError::Refused);
        }
    }
    if !archive.forwards_callers()
        && answer.status() == StatusCode::FORBIDDEN
        && matches!(parts.method, Method::GET | Method::HEAD)
    {
        return Err(ForwardError::Hidden);
    }
    // Who says that nobody waits opens nothing: it makes what it wants itself, at its own pace.
    let is_viewer = class_of(&parts.headers) == Class::Interactive;
    let heard = Heard { app, upstream, method: &parts.method, below, visitor, is_viewer };
    Ok(response(answer.into(), heard, rewrite))
}

/// A request, as far as its answer tells us something.
struct Heard<'a> {
    app: &'a Arc<App>,
    upstream: &'a Arc<Upstream>,
    method: &'a Method,
    below: &'a str,
    visitor: Visitor,
    is_viewer: bool,
}

impl Heard<'_> {
    /// The body of its answer, from which is learned what objects hold and which studies have changed.
    fn listened_to(&self, answer: &http::response::Parts, body: reqwest::Body) -> Body {
        let Self { app, upstream, method, below, is_viewer, .. } = *self;
        let visitor = || self.visitor.clone();
        if !answer.status.is_success() {
            return Body::streamed(body);
        }
        match Change::of(method, below) {
            Change::Gone(study) => app.is_gone(upstream, &study),
            Change::Changed(study) => app.has_changed(upstream, &study, visitor()),
            Change::Stored => {
                let stored = Stored::new(body, app.clone(), upstream.clone(), visitor());
                return Body::streamed(stored);
            }
            Change::Nothing => {}
        }
        let opened = overheard::opens(method, below);
        if let Some(study) = opened.filter(|_| is_viewer) {
            app.warm_up.soon(upstream, study, visitor());
        }
        if overheard::tells(method, below, answer) {
            return Body::streamed(Overheard::new(body, answer, upstream.clone()));
        }
        Body::streamed(body)
    }
}

/// Our credentials in place of the client's, where we have any, with what only reads (unless more is
/// allowed); the client's where these are forwarded.
async fn authorize(
    upstream: &Upstream,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<(), ForwardError> {
    if has_our_rights(upstream, method) {
        return upstream.client.authorize(headers).await.map_err(ForwardError::Credentials);
    }
    if upstream.shows_certificate && !upstream.client.forwards_callers() {
        return Err(ForwardError::Writes);
    }
    upstream.client.strip(headers);
    Ok(())
}

fn has_our_rights(upstream: &Upstream, method: &Method) -> bool {
    upstream.allow_writes || matches!(*method, Method::GET | Method::HEAD)
}

/// How the archive's own URLs become ones that lead here: by the configured URL of this server, else by
/// the host that the client names, or a trusted proxy before us says.
fn rewriting(config: &Config, upstream: &Upstream, headers: &HeaderMap) -> Option<Rewrite> {
    let public = match &config.public_url {
        Some(url) => url.to_string(),
        None => forwarded::reached_by(headers)?,
    };
    let archive = &upstream.client;
    Rewrite::new(archive.base(), archive.prefix(), &public, upstream.base_path.as_str())
}

fn request_headers(parts: &Parts, client: SocketAddr, proxies: &TrustedProxies) -> HeaderMap {
    let mut headers = parts.headers.clone();
    drop_hop_by_hop(&mut headers);
    let host = parts
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        .or_else(|| headers.get(header::HOST).cloned());
    headers.remove(header::HOST);
    // We have answered 100 ourselves by reading the body; some libraries send it empty.
    headers.remove(header::EXPECT);
    let proto = if parts.extensions.get::<OverTls>().is_some() { "https" } else { "http" };
    forwarded::tell(&mut headers, client, host.as_ref(), proto, proxies);
    headers
}

fn response(
    answer: http::Response<reqwest::Body>,
    heard: Heard<'_>,
    rewrite: Option<Rewrite>,
) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    if !heard.upstream.client.forwards_callers() {
        // A session of ours, and a challenge that no client can meet.
        parts.headers.remove(header::SET_COOKIE);
        parts.headers.remove(header::WWW_AUTHENTICATE);
    }
    let mut body = heard.listened_to(&parts, body);
    if let Some(rewrite) = rewrite.filter(|_| can_be_rewritten(&parts)) {
        rewrite::adapt(&mut parts.headers);
        if heard.app.config.public_url.is_none() {
            rewrite::keep_private(&mut parts.headers);
        }
        body = Body::streamed(Rewritten::new(body, rewrite));
    }
    respond::defuse(&mut parts.headers);
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

/// JSON, whole and uncompressed.
fn can_be_rewritten(answer: &http::response::Parts) -> bool {
    let content_type = answer.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    answer.status != StatusCode::PARTIAL_CONTENT
        && !answer.headers.contains_key(header::CONTENT_ENCODING)
        && content_type.is_some_and(|content_type| content_type.contains("json"))
}

/// Drops the fields of one connection: those RFC 9110 §7.6.1 names, and those `Connection` names.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // Between a client and its proxy alone (§11.7).
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn sent(request: Request<()>, client: &str) -> HeaderMap {
        let proxies = "2001:db8::1".parse().unwrap();
        request_headers(&request.into_parts().0, client.parse().unwrap(), &proxies)
    }

    #[test]
    fn connection_fields_are_dropped_and_those_it_names() {
        let mut fields = headers(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-end", "2"),
            ("content-length", "3"),
        ]);
        drop_hop_by_hop(&mut fields);
        assert_eq!(fields, headers(&[("x-end", "2"), ("content-length", "3")]));
    }

    #[test]
    fn the_archive_learns_who_asked() {
        let request = Request::builder()
            .uri("/studies")
            .header("host", "pacs.example:8080")
            .header("expect", "")
            .header("authorization", "Bearer x")
            .body(())
            .unwrap();
        let fields = sent(request, "192.0.2.7:1234");
        assert_eq!(fields["forwarded"], "for=192.0.2.7;host=pacs.example:8080;proto=http");
        assert_eq!(fields["x-forwarded-for"], "192.0.2.7");
        assert_eq!(fields["x-forwarded-host"], "pacs.example:8080");
        assert_eq!(fields["x-forwarded-proto"], "http");
        assert_eq!(fields["authorization"], "Bearer x");
        assert!(!fields.contains_key("host") && !fields.contains_key("expect"));
    }

    #[test]
    fn what_trusted_proxies_before_us_said_is_kept() {
        let request = Request::builder()
            .uri("http://inner/studies")
            .header("forwarded", "for=198.51.100.1;proto=https")
            .header("x-forwarded-for", "198.51.100.1")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "viewer.example")
            .body(())
            .unwrap();
        let fields = sent(request, "[2001:db8::1]:1234");
        assert_eq!(
            fields["forwarded"],
            "for=198.51.100.1;proto=https, for=\"[2001:db8::1]\";host=inner;proto=http"
        );
        assert_eq!(fields["x-forwarded-for"], "198.51.100.1, 2001:db8::1");
        assert_eq!(fields["x-forwarded-proto"], "https");
        assert_eq!(fields["x-forwarded-host"], "viewer.example");
    }
}
