//! ETag and If-None-Match (RFC 9110 §8.8.3, §13.1.2).

use http::header::{self, HeaderMap};
use serde::Serialize;

/// A strong entity tag, quotes included.
///
/// It is a hash over all that decides the bytes of a picture (`fingerprint`): renderer, attributes and bytes
/// of the frame, and specification. So it is known before anything is decoded, and is the same however
/// the frame was fetched.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ETag(String);

impl ETag {
    pub(crate) fn of_digest(digest: &[u8; 16]) -> Self {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("\"{hex}\""))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client already holds, by `If-None-Match`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Held {
    /// These; none if the header is absent.
    Tags(Vec<String>),
    /// `*`: anything there is.
    Anything,
}

impl Default for Held {
    fn default() -> Self {
        Self::Tags(Vec::new())
    }
}

impl Held {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_NONE_MATCH) {
            let Ok(value) = value.to_str() else { continue };
            if value.trim() == "*" {
                return Self::Anything;
            }
            // Tags of ours hold no comma, so splitting at commas inside a foreign one does no harm.
            tags.extend(value.split(',').map(|tag| opaque(tag).to_owned()));
        }
        Self::Tags(tags)
    }

    /// Whether a tag may show that nothing has to be made.
    pub(crate) fn may_spare_work(&self) -> bool {
        matches!(self, Self::Tags(tags) if !tags.is_empty())
    }

    /// Whether what has `tag` need not be sent.
    pub(crate) fn is_held(&self, tag: &ETag) -> bool {
        *self == Self::Anything || self.names(tag)
    }

    /// Whether `tag` is among those held: a weak comparison, as If-None-Match wants it.
    pub(crate) fn names(&self, tag: &ETag) -> bool {
        match self {
            Self::Tags(tags) => tags.iter().any(|held| held == tag.as_str()),
            Self::Anything => false,
        }
    }
}

/// Whether a request is for another state of what it names than this (`If-Match`, RFC 9110 §13.1.1).
pub(crate) fn is_for_another(request: &HeaderMap, tag: &ETag) -> bool {
    let mut wanted = request.get_all(header::IF_MATCH).iter().peekable();
    let is_asked = wanted.peek().is_some();
    // Weak tags never match.
    let fits = |value: &http::HeaderValue| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|wanted| wanted == "*" || wanted == tag.as_str())
    };
    is_asked && !wanted.any(fits)
}

fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(values: &[&str]) -> Held {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, value.parse().unwrap());
        }
        Held::from_headers(&headers)
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = ETag::of_digest(&[7; 16]);
        let text = tag.as_str();
        for values in
            [vec![text], vec!["\"x\"", text], vec![&format!("\"x\" , W/{text},\"y\"")[..]]]
        {
            assert!(held(&values).names(&tag), "{values:?}");
        }
        for values in [vec![], vec!["\"x\""], vec![""], vec![text.trim_matches('"')]] {
            assert!(!held(&values).names(&tag), "{values:?}");
        }
        assert_eq!(held(&["*"]), Held::Anything);
    }

    #[test]
    fn a_condition_is_met_by_the_very_tag() {
        let tag = ETag::of_digest(&[7; 16]);
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            is_for_another(&headers, &tag)
        };
        let text = tag.as_str();
        for values in [vec![], vec!["*"], vec![text], vec!["\"x\"", &format!("\"y\" , {text}")]] {
            assert!(!of(&values), "{values:?}");
        }
        for values in [vec!["\"x\""], vec![""], vec![&*format!("W/{text}")]] {
            assert!(of(&values), "{values:?}");
        }
    }
}
