//! Whether something that is held is still what the archive has, by the archive's own word (RFC 9110 §13):
//! so that what has not changed costs an empty answer.

use dicomweb_types::{FrameNumber, InstancePath};
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;

/// Longer ones are not kept.
const LONGEST: usize = 256;

/// By what an archive knows an answer again: an entity tag, or when it was last changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Validator {
    /// As it was sent, weak or strong, quotes included.
    Tag(String),
    /// A date, as it was sent.
    Date(String),
}

/// A resource of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Resource {
    /// Its metadata.
    Metadata,
    /// One of its frames.
    Frame(FrameNumber),
    /// All of it.
    Instance,
}

/// A resource as it was when it was fetched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Of what.
    pub resource: Resource,
    /// By what it is known.
    pub validator: Validator,
}

impl Validator {
    /// Of the headers of an answer; none where they hold none that can be sent back.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_owned())
        };
        text(ETAG).map(Self::Tag).or_else(|| text(LAST_MODIFIED).map(Self::Date))
    }

    /// The condition of a request for what has changed since.
    pub(crate) fn condition(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Self::Tag(tag) => (IF_NONE_MATCH, tag),
            Self::Date(date) => (IF_MODIFIED_SINCE, date),
        };
        Some((name, HeaderValue::from_str(text).ok()?))
    }
}

impl Client {
    /// Whether a resource is still as it was. Where it is not, what has come of the new one is given up:
    /// it is to be fetched.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`].
    pub async fn is_unchanged(
        &self,
        path: &InstancePath,
        version: &Version,
        caller: &Caller,
    ) -> Result<bool, UpstreamError> {
        let Some(condition) = version.validator.condition() else { return Ok(false) };
        let (call, below) = match version.resource {
            Resource::Metadata => (Call::Json, "/metadata".to_owned()),
            Resource::Frame(frame) => (Call::Frame, format!("/frames/{frame}")),
            Resource::Instance => (Call::Instance, String::new()),
        };
        let url = self.instance_url(path, &below);
        let ask = Ask { condition: Some(condition), ..Ask::new(call, url, caller) };
        match self.ask(&ask, |_changed| async { Ok(()) }).await {
            Ok(()) => Ok(false),
            Err(UpstreamError::Redirected { status: 304 }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Option<Validator> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        Validator::of(&headers)
    }

    #[test]
    fn a_tag_is_better_than_a_date_and_is_sent_back_as_it_came() {
        let date = ("last-modified", "Fri, 27 Nov 2026 10:00:00 GMT");
        for tag in ["\"a\"", "W/\"a,b\"", "unquoted"] {
            let validator = of(&[("etag", tag), date]).unwrap();
            assert_eq!(validator, Validator::Tag(tag.to_owned()));
            let (name, value) = validator.condition().unwrap();
            assert_eq!((name, value.to_str().unwrap()), (IF_NONE_MATCH, tag));
        }
        let (name, value) = of(&[date]).unwrap().condition().unwrap();
        assert_eq!((name, value.to_str().unwrap()), (IF_MODIFIED_SINCE, date.1));
    }

    #[test]
    fn what_cannot_be_sent_back_is_none() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("etag", "")]), None);
        assert_eq!(of(&[("etag", &"x".repeat(LONGEST + 1))]), None);
        assert_eq!(of(&[("etag", "caf\u{e9}")]), None);
        assert_eq!(Validator::Tag("a\nb".to_owned()).condition(), None);
    }
}
