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

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use dicomweb_types::Uid;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use render_pool::Class;
use wadors_client::UpstreamError;

use crate::access::{self, Right, Visitor};
use crate::app::App;
use crate::asked::class_of;
use crate::body::Body;
use crate::changes::{self, Change, Stored, Unsettled};
use crate::config::Config;
use crate::forwarded::{self, TrustedProxies};
use crate::overheard::{self, Overheard};
use crate::respond;
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
    /// It is to be read before it is handed on, and cannot be.
    #[error(transparent)]
    Unreadable(UpstreamError),
    /// We have nothing to show it.
    #[error(transparent)]
    Credentials(UpstreamError),
    #[error("the archive refuses the credentials that this server has for it")]
    Refused,
    /// It exists, perhaps, and is hidden from us: who asks learns no more than of what does not exist.
    #[error("there is no such study, series or image")]
    Hidden,
    /// Whatever goes over our connection has our rights.
    #[error("this server only reads from the archive: allow_writes is not set")]
    Writes,
    #[error("too much is being sent to the archive at the moment")]
    Crowded,
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
    let largest = Some(app.config.max_request_bytes).filter(|&largest| largest > 0);
    let mut body = Upload::new(body, &app.transport, largest)?;
    if !body.is_end_stream() {
        let place = upstream.uploads.clone().try_acquire_owned();
        body.holds(place.map_err(|_| ForwardError::Crowded)?);
    }
    let fate = body.fate();
    let mut headers = request_headers(&parts, client, &app.config.trusted_proxies);
    if !archive.forwards_callers() {
        keep_known(&mut headers);
    }
    if parts.method == Method::HEAD {
        // An archive that sends a body all the same would answer the next request with it.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let limit = visitor.limit().filter(|_| below == "/studies");
    if limit.is_some() {
        // What is found is read here.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/dicom+json"));
        headers.remove(header::ACCEPT_ENCODING);
    }
    authorize(upstream, &parts.method, &mut headers).await?;
    let rewrite =
        upstream.rewrite_urls.then(|| rewriting(&app.config, upstream, &headers)).flatten();
    if rewrite.is_some() {
        // What is compressed cannot be rewritten.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let change = Change::of(&parts.method, below);
    if change == Change::Stored {
        // Of which studies, its answer says.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let unsettled = Unsettled::new(app, upstream, &change);
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
    unsettled.settle(answer.status());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let reason = "it speaks another protocol from here on, which nobody has asked for";
        return Err(ForwardError::NoAnswer(UpstreamError::Malformed { reason }));
    }
    if !archive.forwards_callers() && answer.status() == StatusCode::UNAUTHORIZED {
        archive.refused(sent.as_ref());
        if has_our_rights(upstream, &parts.method) {
            return Err(ForwardError::Refused);
        }
    }
    if !archive.forwards_callers() && hides(&parts.method, answer.status()) {
        return Err(ForwardError::Hidden);
    }
    if matches!(parts.method, Method::GET | Method::HEAD) {
        is_refused(app, upstream, &visitor, below, answer.status()).await;
    }
    // Who says that nobody waits opens nothing: it makes what it wants itself, at its own pace.
    let is_viewer = class_of(&parts.headers) == Class::Interactive;
    let method = &parts.method;
    let heard = Heard { app, upstream, method, below, change, visitor, is_viewer };
    match limit.filter(|_| answer.status().is_success()) {
        Some(studies) => {
            let answer = only_theirs(answer, &studies).await?;
            Ok(response(answer, heard, rewrite))
        }
        None => Ok(response(answer.into(), heard, rewrite)),
    }
}

/// Whether an archive that we ask by our own right may hide something from us: what it does not have is then
/// answered alike.
fn hides(method: &Method, status: StatusCode) -> bool {
    let is_no = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE);
    is_no && matches!(*method, Method::GET | Method::HEAD)
}

/// What an archive refuses a caller he is no longer shown from what is kept.
async fn is_refused(
    app: &App,
    upstream: &Upstream,
    visitor: &Visitor,
    below: &str,
    status: StatusCode,
) {
    let Right::AsTheArchiveSays(credential) = &visitor.right else { return };
    let Some(study) = changes::study_of(below) else { return };
    let is_whole = below.trim_matches('/').split('/').count() <= 3;
    let is_refused = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        // Of what lies in it, something else may be missing.
        StatusCode::NOT_FOUND | StatusCode::GONE => is_whole,
        _ => false,
    };
    if is_refused {
        let group = upstream.realm.groups(&study).index;
        app.cache.proofs.take_back(&group, credential, app.cache.now()).await;
    }
}

/// The answer to a search across studies, without those that are not theirs, whatever the archive made of the
/// search.
async fn only_theirs(
    answer: reqwest::Response,
    studies: &BTreeSet<Uid>,
) -> Result<http::Response<reqwest::Body>, ForwardError> {
    let (mut parts, mut body) = http::Response::<reqwest::Body>::from(answer).into_parts();
    let mut found = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ForwardError::NoAnswer(UpstreamError::BrokeOff))?;
        found.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if found.len() > LONGEST_SEARCH {
            let limit = LONGEST_SEARCH as u64;
            return Err(ForwardError::Unreadable(UpstreamError::TooLarge { limit }));
        }
    }
    if !found.is_empty() {
        let reason = "it is no JSON of a search";
        let unreadable = ForwardError::Unreadable(UpstreamError::Malformed { reason });
        found = access::only_theirs(&found, studies).ok_or(unreadable)?;
    }
    // Of the whole, which this no longer is.
    for name in [header::CONTENT_LENGTH, header::ETAG, header::CONTENT_ENCODING, header::WARNING] {
        parts.headers.remove(name);
    }
    parts.headers.remove("x-total-count");
    Ok(http::Response::from_parts(parts, reqwest::Body::from(found)))
}

/// The longest answer to a search for a few studies.
const LONGEST_SEARCH: usize = 8 << 20;

/// A request, as far as its answer tells us something.
struct Heard<'a> {
    app: &'a Arc<App>,
    upstream: &'a Arc<Upstream>,
    method: &'a Method,
    below: &'a str,
    change: Change,
    visitor: Visitor,
    is_viewer: bool,
}

impl Heard<'_> {
    /// Whether an archive does not know for whom its answer is, and what caches on the way might hand on.
    fn is_theirs(&self) -> bool {
        let by_ours = !self.upstream.client.forwards_callers() && !self.visitor.is_anybody();
        by_ours || self.visitor.within.is_some()
    }

    /// The body of its answer, from which is learned what objects hold and which studies have changed.
    fn listened_to(&self, answer: &http::response::Parts, body: reqwest::Body) -> Body {
        let Self { app, upstream, method, below, is_viewer, .. } = *self;
        let visitor = || self.visitor.clone();
        if !answer.status.is_success() {
            return Body::streamed(body);
        }
        match &self.change {
            Change::Gone(study) => app.is_gone(upstream, study),
            Change::Changed(study) => app.has_changed(upstream, study, visitor()),
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
    for name in OTHERWISE {
        headers.remove(name);
    }
    drop_ambiguous(&mut headers);
    let proto = if parts.extensions.get::<OverTls>().is_some() { "https" } else { "http" };
    forwarded::tell(&mut headers, client, host.as_ref(), proto, proxies);
    headers
}

/// What makes servers take a request for another, or for another's: what was let in is what was asked.
const OTHERWISE: [&str; 29] = [
    "cf-connecting-ip",
    "ssl-client-s-dn",
    "x-auth-user",
    "x-authenticated-userid",
    "x-consumer-username",
    "x-goog-authenticated-user-email",
    "x-host",
    "x-original-host",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-ssl-client-dn",
    "x-ssl-client-cert",
    "x-authenticated-user",
    "x-user",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-remote-user",
    "x-auth-request-user",
    "x-webauth-user",
    "remote-user",
];

/// What goes along with credentials of our own: what HTTP and DICOMweb know, and what traces a request. Whatever
/// else a server may take for a name, a right or another request stays here.
fn keep_known(headers: &mut HeaderMap) {
    let is_known = |name: &HeaderName| {
        let name = name.as_str();
        KNOWN.contains(&name) || KNOWN_BEGINNINGS.iter().any(|known| name.starts_with(known))
    };
    let others: Vec<HeaderName> = headers.keys().filter(|name| !is_known(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
}

const KNOWN: [&str; 24] = [
    "accept",
    "authorization",
    "baggage",
    "cache-control",
    "cookie",
    "date",
    "forwarded",
    "from",
    "link",
    "mime-version",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "tracestate",
    "traceparent",
    "user-agent",
    "via",
    "want-digest",
    "x-correlation-id",
    "x-request-id",
    "x-requested-with",
];

/// The last are ours by now.
const KNOWN_BEGINNINGS: [&str; 8] = [
    "accept-",
    "content-",
    "if-",
    "sec-",
    "x-b3-",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Names with underscores, which CGI and its like take for those with hyphens: what was taken off would come back.
fn drop_ambiguous(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in names {
        headers.remove(name);
    }
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
    } else {
        access::without_connections(&mut parts.headers);
    }
    if heard.is_theirs() {
        respond::for_them_alone(&mut parts.headers);
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
