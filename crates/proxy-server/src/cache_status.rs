//! `Cache-Status` (RFC 9211), `Age` and `Warning` (RFC 9111 §5.1, RFC 7234 §5.5): whether an answer was kept,
//! where, and how old it is.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::cache::Seen;
use crate::picture::{Asking, Origin, Stale};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Says it in the headers of an answer.
pub(crate) fn tell(origin: &Origin, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(&status(origin)) {
        headers.insert(CACHE_STATUS, value);
    }
    let (Origin::Kept { seen, stale, .. } | Origin::DrawnAgain { seen, stale, .. }) = origin else {
        return;
    };
    headers.insert(header::AGE, HeaderValue::from(seen.age.as_secs()));
    for warning in warnings(*stale) {
        headers.append(header::WARNING, HeaderValue::from_static(warning));
    }
}

/// Takes it off again.
pub(crate) fn take_off(headers: &mut HeaderMap) {
    headers.remove(CACHE_STATUS);
    headers.remove(header::AGE);
}

fn status(origin: &Origin) -> String {
    match origin {
        Origin::Made { why: Asking::Bypass, collapsed } => {
            format!("lightbox; fwd=bypass{}", told(*collapsed))
        }
        Origin::Made { why: Asking::Missing, collapsed } => {
            format!("lightbox; fwd=uri-miss; stored{}", told(*collapsed))
        }
        Origin::Made { why: Asking::Stale, collapsed } => {
            format!("lightbox; fwd=stale; stored{}", told(*collapsed))
        }
        Origin::Made { why: Asking::Unchanged, collapsed } => {
            format!("lightbox; fwd=stale; fwd-status=304{}", told(*collapsed))
        }
        Origin::Kept { found, seen, stale } => hit(seen, found.as_str(), *stale),
        Origin::DrawnAgain { found, seen, stale } => {
            hit(seen, &format!("source-{}", found.as_str()), *stale)
        }
    }
}

fn told(collapsed: bool) -> &'static str {
    if collapsed { "; collapsed" } else { "" }
}

fn hit(seen: &Seen, found: &str, stale: Option<Stale>) -> String {
    let why = match stale {
        Some(Stale::ArchiveDown) => "-archive-down",
        Some(Stale::Renewing) | None => "",
    };
    format!("lightbox; hit; ttl={}; detail={found}{why}", seen.ttl)
}

fn warnings(stale: Option<Stale>) -> &'static [&'static str] {
    match stale {
        None => &[],
        Some(Stale::Renewing) => &[STALE],
        Some(Stale::ArchiveDown) => &[STALE, NOT_REVALIDATED],
    }
}

const STALE: &str = "110 lightbox \"Response is Stale\"";
const NOT_REVALIDATED: &str = "111 lightbox \"Revalidation Failed\"";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::{Found, Freshness};

    fn seen(age: u64, ttl: i64) -> Seen {
        Seen { freshness: Freshness::Fresh, age: Duration::from_secs(age), ttl }
    }

    fn told_of(origin: Origin) -> HeaderMap {
        let mut headers = HeaderMap::new();
        tell(&origin, &mut headers);
        headers
    }

    #[test]
    fn a_hit_says_where_it_was_and_for_how_long_it_is_fresh() {
        let fresh = Origin::Kept { found: Found::Disk, seen: seen(10, 50), stale: None };
        let headers = told_of(fresh);
        assert_eq!(headers["cache-status"], "lightbox; hit; ttl=50; detail=disk");
        assert_eq!(headers["age"], "10");
        assert!(!headers.contains_key("warning"));
    }

    #[test]
    fn a_stale_answer_is_marked() {
        let stale = Some(Stale::ArchiveDown);
        let headers = told_of(Origin::Kept { found: Found::Memory, seen: seen(100, -40), stale });
        assert_eq!(headers["cache-status"], "lightbox; hit; ttl=-40; detail=memory-archive-down");
        assert_eq!(headers.get_all("warning").iter().count(), 2);
    }

    #[test]
    fn a_miss_says_why_the_archive_was_asked() {
        for (why, collapsed, expected) in [
            (Asking::Missing, false, "lightbox; fwd=uri-miss; stored"),
            (Asking::Missing, true, "lightbox; fwd=uri-miss; stored; collapsed"),
            (Asking::Stale, false, "lightbox; fwd=stale; stored"),
            (Asking::Unchanged, false, "lightbox; fwd=stale; fwd-status=304"),
            (Asking::Bypass, false, "lightbox; fwd=bypass"),
        ] {
            let headers = told_of(Origin::Made { why, collapsed });
            assert_eq!(headers["cache-status"], expected);
            assert!(!headers.contains_key("age"));
        }
    }
}
