//! The page at `/`: the studies, each with its pictures.
//!
//! It is a plain client of this server, with the rights of whoever opens it. Its policy lets it load
//! from this origin only and run no script but its own, which the policy names by hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dicomweb_types::{MediaRange, split_list};
use http::{Method, Request, Response, header};
use sha2::{Digest, Sha256};

use crate::body::Body;
use crate::config::BasePath;
use crate::respond;

const TEMPLATE: &str = include_str!("page.html");

/// The page, made once.
pub(crate) struct Page {
    html: String,
    policy: String,
}

impl Page {
    /// For these archives, by name and base path; at least one.
    pub(crate) fn new<'a>(archives: impl Iterator<Item = (&'a str, &'a BasePath)>) -> Self {
        // Names and base paths hold letters, digits and `-._~/` only, nothing that HTML would read.
        let options: Vec<String> = archives
            .map(|(name, base)| {
                let name = if name.is_empty() { "archive" } else { name };
                format!("<option value=\"{}\">{name}</option>", base.as_str())
            })
            .collect();
        let hidden = if options.len() > 1 { "" } else { " hidden" };
        let html =
            TEMPLATE.replace("{{hidden}}", hidden).replace("{{archives}}", &options.concat());
        let hash =
            |tag| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside(&html, tag))));
        let policy = format!(
            "default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src {}; style-src {}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash("script"),
            hash("style"),
        );
        Self { html, policy }
    }

    pub(crate) fn answer(&self) -> Response<Body> {
        respond::page(self.html.clone(), &self.policy)
    }
}

/// Whether `/` is asked for by somebody who takes HTML: no resource of DICOMweb lies there. Who accepts
/// other types only is a DICOMweb client, whose archive may know more.
pub(crate) fn is_asked_for<B>(request: &Request<B>) -> bool {
    let accept = request.headers().get_all(header::ACCEPT);
    let takes_html = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|accept| {
            split_list(accept)
                .filter_map(MediaRange::parse)
                .any(|range| range.accepts("text/html") && range.weight() > 0.0)
        })
    };
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() == "/"
        && (accept.iter().next().is_none() || accept.iter().any(takes_html))
}

/// What stands between the first `<tag>` and its end.
fn inside<'a>(html: &'a str, tag: &str) -> &'a str {
    let from = html.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    from.split_once(&format!("</{tag}>")).map_or("", |(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_html_at_the_root_gets_the_page() {
        let asks = |method: &str, path: &str, accept: &str| {
            let request = Request::builder().method(method).uri(path).header("accept", accept);
            is_asked_for(&request.body(()).unwrap())
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert!(asks("GET", "/", browser) && asks("HEAD", "/", browser) && asks("GET", "/", "*/*"));
        assert!(is_asked_for(&Request::builder().uri("/").body(()).unwrap()));
        assert!(!asks("GET", "/", "application/dicom+json"));
        assert!(!asks("GET", "/studies", browser));
        assert!(!asks("POST", "/", browser));
    }

    #[test]
    fn the_page_names_nothing_outside_and_knows_its_base() {
        let page = Page::new([("", &"/dicom-web".parse().unwrap())].into_iter());
        assert!(page.html.contains(r#"<option value="/dicom-web">archive</option>"#));
        assert!(page.html.contains(" hidden>Archive"));
        assert!(!page.html.contains("{{") && !page.html.contains("//cdn"));
        assert!(!page.html.contains("http://") && !page.html.contains("https://"));
    }

    #[test]
    fn the_policy_covers_script_and_style_by_hash() {
        let base = BasePath::default();
        let page = Page::new([("", &base), ("cloud", &base)].into_iter());
        assert!(page.html.contains("<label>Archive"));
        assert!(inside(&page.html, "script").contains("showStudies()"));
        assert!(inside(&page.html, "style").contains("color"));
        assert_eq!(page.policy.matches("'sha256-").count(), 2);
        assert!(!page.policy.contains("unsafe"));
    }
}
