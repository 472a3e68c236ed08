//! What we do not draw: to the archive and back, untouched.
//!
//! Streamed both ways, with method, path, query, headers, trailers and status as they came. Only what
//! belongs to one connection is dropped (RFC 9110 §7.6.1), `Host` names the archive, and
//! `Forwarded` and `X-Forwarded-…` say who asked, from which archives build their URLs. No redirect is
//! followed, nothing decompressed or buffered. A client that goes away cancels the archive's call.
//!
//! The target keeps its meaning, not every byte: characters that RFC 3986 forbids in a URL but some
//! clients send raw (`"`, `'` in a query, `{`) go on percent-encoded. A request without `Accept` goes
//! on with `Accept: */*`, which says the same (RFC 9110 §12.5.1).

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use render_pool::Class;
use wadors_client::{Caller, UpstreamError};

use crate::app::App;
use crate::asked::class_of;
use crate::changes::{Change, Stored};
use crate::config::Config;
use crate::overheard::{self, Overheard};
use crate::respond::Body;
use crate::rewrite::{self, Rewrite, Rewritten};
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
    /// Whatever goes over our connection has our rights.
    #[error("this server only reads from the archive: allow_writes is not set")]
    Writes,
}

/// Sends `request`, whose raw path below our base path is `below`, and hands back the answer.
///
/// Connecting is bounded in time; answering is not, since storing and searching may take long and a
/// client that has enough of it goes away.
pub(crate) async fn forward(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    below: &str,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<Body>, ForwardError> {
    let (parts, body) = request.into_parts();
    let archive = &upstream.client;
    let url = archive.url(below, parts.uri.query()).ok_or(ForwardError::Url)?;
    let mut headers = request_headers(&parts, client);
    authorize(upstream, &parts.method, &mut headers).await?;
    let rewrite =
        upstream.rewrite_urls.then(|| rewriting(&app.config, upstream, &headers)).flatten();
    if rewrite.is_some() {
        // What is compressed cannot be rewritten.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let sent = headers.get(header::AUTHORIZATION).cloned();
    let is_private = archive.forwards_callers() && !Caller::from_headers(&headers).is_anonymous();
    let mut outgoing = archive.http().request(parts.method.clone(), url).headers(headers);
    // Without a body there must be none: an empty one would go out as `chunked` on a GET.
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap(body));
    }
    let answer = outgoing.send().await.map_err(|error| {
        tracing::debug!(error = %wadors_client::explain(&error), "the archive gave no answer");
        ForwardError::NoAnswer(wadors_client::explain(&error))
    })?;
    if !archive.forwards_callers() && answer.status() == StatusCode::UNAUTHORIZED {
        archive.refused(sent.as_ref());
        if has_our_rights(upstream, &parts.method) {
            return Err(ForwardError::Refused);
        }
    }
    // Who says that nobody waits opens nothing: it makes what it wants itself, at its own pace.
    let is_viewer = class_of(&parts.headers) == Class::Interactive;
    let heard = Heard { app, upstream, method: &parts.method, below, is_private, is_viewer };
    Ok(response(answer.into(), heard, rewrite))
}

/// A request, as far as its answer tells us something.
struct Heard<'a> {
    app: &'a Arc<App>,
    upstream: &'a Arc<Upstream>,
    method: &'a Method,
    below: &'a str,
    is_private: bool,
    is_viewer: bool,
}

impl Heard<'_> {
    /// The body of its answer, from which is learned what objects hold and which studies have changed.
    fn listened_to(&self, answer: &http::response::Parts, body: reqwest::Body) -> Body {
        let Self { app, upstream, method, below, is_private, is_viewer } = *self;
        if !answer.status.is_success() {
            return Body::streamed(body);
        }
        match Change::of(method, below) {
            Change::Gone(study) => app.is_gone(upstream, &study),
            Change::Changed(study) => app.has_changed(upstream, &study, is_private),
            Change::Stored => {
                let stored = Stored::new(body, app.clone(), upstream.clone(), is_private);
                return Body::streamed(stored);
            }
            Change::Nothing => {}
        }
        let opened = overheard::opens(method, below);
        if let Some(study) = opened.filter(|_| is_viewer && !is_private) {
            app.warm_up.soon(upstream, study);
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
/// what the client, or a proxy before us, says of it.
fn rewriting(config: &Config, upstream: &Upstream, headers: &HeaderMap) -> Option<Rewrite> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let public = match &config.public_url {
        Some(url) => url.to_string(),
        None => format!("{}://{}", text(X_FORWARDED_PROTO)?, text(X_FORWARDED_HOST)?),
    };
    let archive = &upstream.client;
    Rewrite::new(archive.base(), archive.prefix(), &public, upstream.base_path.as_str())
}

fn request_headers(parts: &Parts, client: SocketAddr) -> HeaderMap {
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
    add_forwarded(&mut headers, client, host.as_ref());
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
        body = Body::streamed(Rewritten::new(body, rewrite));
    }
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

/// Says who asked, behind whatever proxies before us already said (RFC 7239).
fn add_forwarded(headers: &mut HeaderMap, client: SocketAddr, host: Option<&HeaderValue>) {
    let address = client.ip().to_canonical();
    let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
    let host_text =
        host.and_then(|h| h.to_str().ok()).filter(|h| !h.contains(['"', '\\', ';', ',', ' ']));
    // RFC 7239 wants a host with a port in quotes; Orthanc, which builds its URLs from this field, would
    // keep them in the URL.
    let element = match host_text {
        Some(host) => format!("for={node};host={host};proto=http"),
        None => format!("for={node};proto=http"),
    };
    append_to_list(headers, header::FORWARDED, &element);
    append_to_list(headers, X_FORWARDED_FOR, &address.to_string());
    // One value each: the proxy nearest to the client knows best.
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn append_to_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn sent(request: Request<()>, client: &str) -> HeaderMap {
        request_headers(&request.into_parts().0, client.parse().unwrap())
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
    fn what_proxies_before_us_said_is_kept() {
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
