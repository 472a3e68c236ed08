//! What somebody is given who may see some studies only.
//!
//! Their pictures, and of what passes through the paths that lie in them; never a search across studies. Archives
//! differ in how they read a path: it is let through in its plain spelling only, and where it names a series
//! or an object, once the archive has said that this lies in the study. Some look at the last UID alone.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use dicomweb_types::Uid;
use http::request::Parts;
use lru::LruCache;
use wadors_client::UpstreamError;

use super::{AccessError, is_reading};
use crate::cache::Digest;
use crate::route::Target;
use crate::upstream::Upstream;

/// Series and objects that are remembered as lying in their study; some 150 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

pub(super) struct Limits {
    in_place: Mutex<LruCache<Digest, ()>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_place: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

/// A path in a study, read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Within {
    study: Uid,
    series: Option<Uid>,
    instance: Option<Uid>,
}

impl Limits {
    /// Whether a request stays within these studies.
    ///
    /// # Errors
    /// That it does not, or that this cannot be told.
    pub(super) async fn check(
        &self,
        upstream: &Upstream,
        studies: &BTreeSet<Uid>,
        target: &Target,
        request: &Parts,
    ) -> Result<(), AccessError> {
        let below = match target {
            // The object itself is looked at where it is drawn.
            Target::Rendering(resource) => return of(studies.contains(resource.scope.study())),
            Target::Session(study) => return of(studies.contains(study)),
            Target::PassThrough(below) => below,
        };
        of(is_reading(&request.method))?;
        let query = request.uri.query().unwrap_or_default();
        if below == "/studies" {
            return of(names_only(query, studies) == Some(true));
        }
        of(names_only(query, studies) != Some(false))?;
        let within = Within::read(below).filter(|within| studies.contains(&within.study));
        let within = within.ok_or(AccessError::NotTheirs)?;
        if within.series.is_none() && within.instance.is_none() {
            return Ok(());
        }
        self.lies_in_its_study(upstream, &within).await
    }

    async fn lies_in_its_study(
        &self,
        upstream: &Upstream,
        within: &Within,
    ) -> Result<(), AccessError> {
        let Within { study, series, instance } = within;
        let key = upstream.realm.work(&("lies in", study, series, instance));
        let lock = || self.in_place.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().get(&key).is_some() {
            return Ok(());
        }
        let found = upstream.client.lies_in(study, series.as_ref(), instance.as_ref());
        match found.await {
            Ok(true) => {
                lock().put(key, ());
                Ok(())
            }
            Ok(false) => Err(AccessError::NotTheirs),
            Err(error) if says_no(&error) => Err(AccessError::NotTheirs),
            Err(error) => Err(AccessError::Archive(error)),
        }
    }
}

fn of(is_allowed: bool) -> Result<(), AccessError> {
    if is_allowed { Ok(()) } else { Err(AccessError::NotTheirs) }
}

fn says_no(error: &UpstreamError) -> bool {
    error.is_absent() || error.status() == Some(403)
}

/// Whether the studies that a query names are these; `None` where it names none.
fn names_only(query: &str, studies: &BTreeSet<Uid>) -> Option<bool> {
    let is_key = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        name == "studyinstanceuid" || name.ends_with("0020000d")
    };
    let keys: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| is_key(name))
        .map(|(_, value)| value.into_owned())
        .collect();
    match &keys[..] {
        [] => None,
        [value] => {
            let is_ours = |uid: &str| uid.parse::<Uid>().is_ok_and(|uid| studies.contains(&uid));
            Some(value.split([',', '\\']).all(is_ours))
        }
        // Of two, archives might take either.
        _ => Some(false),
    }
}

impl Within {
    /// `None` of any other path, and of one in a spelling that might be read otherwise: percent-encoded, with
    /// empty segments, or with parameters of segments (`;`), which some servers cut off before they read dots.
    fn read(below: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._,-".contains(&b);
        let path = below.strip_suffix('/').unwrap_or(below);
        let mut segments = path.strip_prefix("/studies/")?.split('/');
        if !path.bytes().all(is_plain) || path.contains("//") {
            return None;
        }
        let study = segments.next()?.parse().ok()?;
        let mut within = Self { study, series: None, instance: None };
        while let Some(segment) = segments.next() {
            match segment {
                "studies" => return None,
                "series" | "instances" => {
                    let slot =
                        if segment == "series" { &mut within.series } else { &mut within.instance };
                    let Some(uid) = segments.next() else { break };
                    if slot.is_some() {
                        return None;
                    }
                    *slot = Some(uid.parse().ok()?);
                }
                _ => {}
            }
        }
        Some(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(path: &str) -> Option<[Option<String>; 3]> {
        let Within { study, series, instance } = Within::read(path)?;
        Some([Some(study), series, instance].map(|uid| uid.map(|uid| uid.to_string())))
    }

    #[test]
    fn a_path_lies_in_a_study_in_its_plain_spelling_only() {
        let text = |uid: &str| Some(uid.to_owned());
        for path in [
            "/studies/1.2.3",
            "/studies/1.2.3/",
            "/studies/1.2.3/series",
            "/studies/1.2.3/metadata",
        ] {
            assert_eq!(within(path), Some([text("1.2.3"), None, None]), "{path}");
        }
        assert_eq!(
            within("/studies/1.2.3/series/4/instances/5/frames/1,2"),
            Some([text("1.2.3"), text("4"), text("5")])
        );
        assert_eq!(within("/studies/1.2.3/instances/5"), Some([text("1.2.3"), None, text("5")]));
        for path in [
            "/studies",
            "/studies/",
            "/studies/1.2.3%2F..%2F1.2.5",
            "/studies/1%2E2.3",
            "//studies/1.2.3",
            "/studies//1.2.3",
            "/studies/1.2.3//studies/1.2.5",
            "/studies/1.2.3/studies/1.2.5",
            "/studies/1.2.3/..;/1.2.5",
            "/studies/1.2.3/%252e%252e/1.2.5",
            "/studies/1.2.3/series/1%2f2",
            "/studies/1.2.3/series/4/series/5",
            "/studies/1.2.3/series/x",
            "/series/1.2.3",
            "/Studies/1.2.3",
            "",
            "/",
        ] {
            assert_eq!(within(path), None, "{path}");
        }
    }

    #[test]
    fn a_search_is_for_their_studies_by_one_key() {
        let studies = ["1.2.3", "1.2.4"].map(|uid| uid.parse().unwrap()).into();
        let named = |query: &str| names_only(query, &studies);
        assert_eq!(named("StudyInstanceUID=1.2.3"), Some(true));
        assert_eq!(named("limit=1&0020000D=1.2.3%2C1.2.4&includefield=all"), Some(true));
        for query in ["", "limit=1", "SeriesInstanceUID=1.2.5"] {
            assert_eq!(named(query), None, "{query}");
        }
        for query in [
            "StudyInstanceUID=",
            "StudyInstanceUID=1.2.5",
            "StudyInstanceUID=1.2.3,1.2.5",
            "StudyInstanceUID=1.2.3%5C1.2.5",
            "StudyInstanceUID=1.2.3&StudyInstanceUID=1.2.5",
            "StudyInstanceUID=1.2.3&0020000d=1.2.5",
            "StudyInstanceUID=1.2.3&StudyInstanceUid=1.2.3",
            "StudyInstanceUID=1.2.*",
            "StudyInstanceUID=*",
        ] {
            assert_eq!(named(query), Some(false), "{query}");
        }
    }
}
