//! Cross-origin resource sharing (the Fetch standard): viewers are rarely served from our origin.
//!
//! Preflights are answered here, since archives mostly answer them with 404 and they carry no
//! credentials. Of what passes through, the archive's own leave is replaced by ours: it does not know who
//! may use what stands here.

use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use url::Url;

/// Which origins may use the answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// All, without credentials.
    Any,
    /// These, with credentials; none if empty.
    Listed(Vec<String>),
}

impl Origins {
    pub(crate) fn as_list(&self) -> Vec<&str> {
        match self {
            Self::Any => vec!["*"],
            Self::Listed(origins) => origins.iter().map(String::as_str).collect(),
        }
    }

    /// Lets the page at `origin` use an answer with these headers.
    pub(crate) fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.is_told(headers) {
            return;
        }
        let policy = HeaderValue::from_static(self.resource_policy(origin));
        headers.entry(RESOURCE_POLICY).or_insert(policy);
        let exposed = exposed(headers);
        for name in ALLOWED_BY_OTHERS {
            headers.remove(name);
        }
        match self {
            Self::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Listed(origins) => {
                append_vary(headers, "Origin");
                let Some(origin) =
                    origin.filter(|o| origins.iter().any(|known| known.as_bytes() == o.as_bytes()))
                else {
                    return;
                };
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(
                    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Says in headers that are kept what is the same whoever asks for them.
    pub(crate) fn allow_lastingly(&self, headers: &mut HeaderMap) {
        if *self == Self::Any {
            self.allow(None, headers);
        }
    }

    /// Whether headers say already that all pages may use the answer, as those of a kept one do.
    fn is_told(&self, headers: &HeaderMap) -> bool {
        let is = |name, value: &str| headers.get(name).is_some_and(|told| told == value);
        *self == Self::Any
            && is(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
            && is(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
            && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            && headers.contains_key(RESOURCE_POLICY)
    }

    /// Which pages may embed the answer. Viewers that isolate themselves (COEP) may only embed what says so.
    ///
    /// `<img>` does not say of which page it is: where pages are listed, it may be of one of these.
    fn resource_policy(&self, origin: Option<&HeaderValue>) -> &'static str {
        let is_listed = |origins: &[String]| {
            let named = origin.is_none_or(|o| origins.iter().any(|k| k.as_bytes() == o.as_bytes()));
            !origins.is_empty() && named
        };
        match self {
            Self::Any => "cross-origin",
            Self::Listed(origins) if is_listed(origins) => "cross-origin",
            Self::Listed(_) => "same-origin",
        }
    }

    /// The headers of the answer to a preflight; [`Origins::allow`] adds the origin.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if *self != Self::Listed(Vec::new()) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                asked_for(request).unwrap_or(HeaderValue::from_static(REQUEST_HEADERS)),
            );
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        headers
    }
}

/// Whether a browser asks for leave rather than for something.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What pages may read, and what else the archive lets them read of its own.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    if !headers.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS) {
        return HeaderValue::from_static(EXPOSED);
    }
    let theirs = headers.get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS).iter();
    let theirs = theirs.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = theirs.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let all = names
        .filter(|name| name != "*")
        .fold(EXPOSED.to_owned(), |all, name| format!("{all}, {name}"));
    HeaderValue::from_str(&all).unwrap_or(HeaderValue::from_static(EXPOSED))
}

/// What is usual, and what else a page wants to send, if these are names.
fn asked_for(request: &HeaderMap) -> Option<HeaderValue> {
    let wanted = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
    let is_usual = |name: &str| REQUEST_HEADERS.split(", ").any(|n| n.eq_ignore_ascii_case(name));
    let others = wanted.split(',').map(str::trim).filter(|name| !is_usual(name));
    let names: Option<Vec<HeaderName>> =
        others.filter(|name| !name.is_empty()).map(|name| name.parse().ok()).collect();
    let all = names?.iter().fold(REQUEST_HEADERS.to_owned(), |all, name| format!("{all}, {name}"));
    HeaderValue::from_str(&all).ok()
}

/// What an archive may say of this.
const ALLOWED_BY_OTHERS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
// `*` would not cover Authorization.
const REQUEST_HEADERS: &str = "Accept, Authorization, Cache-Control, Content-Type, If-Modified-Since, If-None-Match, Range, X-Requested-With";
const EXPOSED: &str = "Age, Cache-Status, Content-Location, Content-Range, Content-Length, ETag, Location, Retry-After, Server-Timing, Warning, X-Representative";

fn append_vary(headers: &mut HeaderMap, name: &'static str) {
    headers.append(header::VARY, HeaderValue::from_static(name));
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items: Vec<&str> =
            text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).collect();
        if items == ["*"] {
            return Ok(Self::Any);
        }
        items
            .iter()
            .map(|item| {
                origin(item)
                    .ok_or_else(|| "must be * or origins such as https://viewer.example".to_owned())
            })
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }
}

/// An origin as browsers write it: scheme, host, and the port unless it is the scheme's own.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    plain.then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &str, origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let origins: Origins = origins.parse().unwrap();
        origins.allow(Some(&HeaderValue::from_static(origin)), &mut headers);
        headers
    }

    #[test]
    fn any_origin_is_allowed_without_credentials() {
        let headers = allowed("*", "https://viewer.example");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert!(!headers.contains_key("vary"));
    }

    #[test]
    fn listed_origins_are_echoed_with_credentials_and_others_are_not() {
        let headers =
            allowed("https://a.example, https://b.example:8443/", "https://b.example:8443");
        assert_eq!(headers["access-control-allow-origin"], "https://b.example:8443");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["vary"], "Origin");
        let headers = allowed("https://a.example", "https://evil.example");
        assert!(!headers.contains_key("access-control-allow-origin"));
        assert_eq!(headers["vary"], "Origin", "a cache must not reuse the refusal");
    }

    #[test]
    fn what_is_told_is_not_told_again_and_what_differs_is_put_right() {
        let told = allowed("*", "https://viewer.example");
        let again = |headers: &HeaderMap| {
            let mut headers = headers.clone();
            Origins::Any.allow(None, &mut headers);
            headers
        };
        assert_eq!(again(&told), told);
        let mut lasting = HeaderMap::new();
        Origins::Any.allow_lastingly(&mut lasting);
        assert_eq!(lasting, told);
        for (name, value) in [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-origin", "https://other.example"),
        ] {
            let mut theirs = told.clone();
            theirs.insert(name, HeaderValue::from_static(value));
            let ours = again(&theirs);
            assert_eq!(ours["access-control-allow-origin"], "*", "{name}");
            assert!(!ours.contains_key("access-control-allow-credentials"), "{name}");
        }
        let mut listed = HeaderMap::new();
        Origins::Listed(vec!["https://a.example".to_owned()]).allow_lastingly(&mut listed);
        assert!(listed.is_empty());
    }

    #[test]
    fn what_the_archive_allows_gives_way_to_ours() {
        let of = |ours: &str, theirs: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in theirs {
                let origin = HeaderValue::from_static(origin);
                headers.append(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                let yes = HeaderValue::from_static("true");
                headers.append(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
            let viewer = HeaderValue::from_static("https://viewer.example");
            ours.parse::<Origins>().unwrap().allow(Some(&viewer), &mut headers);
            let all = |name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            let allowed = all(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            (allowed, all(header::ACCESS_CONTROL_ALLOW_CREDENTIALS).len())
        };
        let evil = ["https://evil.example", "https://evil.example"];
        assert_eq!(of("*", &evil), (vec![HeaderValue::from_static("*")], 0));
        let viewer = vec![HeaderValue::from_static("https://viewer.example")];
        assert_eq!(of("https://viewer.example", &["*"]), (viewer, 1));
        assert_eq!(of("https://other.example", &["*"]), (Vec::new(), 0));
        assert_eq!(of("", &["*"]), (Vec::new(), 0));
        let mut headers = HeaderMap::new();
        let theirs = HeaderValue::from_static("X-Total-Count, *, Content Length");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, theirs);
        Origins::Any.allow(None, &mut headers);
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        assert_eq!(exposed, format!("{EXPOSED}, x-total-count"));
    }

    #[test]
    fn who_may_embed_is_who_may_read_as_far_as_it_is_said() {
        let policy = |origins: &str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            let origin = origin.map(HeaderValue::from_static);
            origins.parse::<Origins>().unwrap().allow(origin.as_ref(), &mut headers);
            headers["cross-origin-resource-policy"].clone()
        };
        assert_eq!(policy("*", None), "cross-origin");
        assert_eq!(policy("https://a.example", Some("https://a.example")), "cross-origin");
        assert_eq!(policy("https://a.example", None), "cross-origin");
        assert_eq!(policy("https://a.example", Some("https://b.example")), "same-origin");
        assert_eq!(policy("", None), "same-origin");
    }

    #[test]
    fn preflights_name_authorization() {
        let headers = Origins::Any.preflight(&HeaderMap::new());
        for name in ["Accept", "Authorization", "Content-Type", "Range", "If-None-Match"] {
            assert!(headers["access-control-allow-headers"].to_str().unwrap().contains(name));
        }
        assert!(Origins::Listed(Vec::new()).preflight(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn preflights_allow_what_a_page_wants_to_send() {
        let of = |wanted: &'static str| {
            let mut request = HeaderMap::new();
            let wanted = HeaderValue::from_static(wanted);
            request.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, wanted);
            let allowed = Origins::Any.preflight(&request);
            allowed["access-control-allow-headers"].to_str().unwrap().to_owned()
        };
        assert_eq!(of("accept,range"), REQUEST_HEADERS);
        assert_eq!(of("if-range, x-portal"), format!("{REQUEST_HEADERS}, if-range, x-portal"));
        assert_eq!(of("x portal"), REQUEST_HEADERS);
    }

    #[test]
    fn only_origins_are_taken() {
        for text in ["viewer.example", "https://a.example/path", "*,https://a.example", "null"] {
            assert!(text.parse::<Origins>().is_err(), "{text}");
        }
        assert_eq!("".parse::<Origins>(), Ok(Origins::Listed(Vec::new())));
    }
}
