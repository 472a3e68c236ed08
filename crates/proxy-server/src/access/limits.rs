//! What somebody is given who may see some studies only.
//!
//! Their pictures, and of what passes through the paths that lie in them; never a search across studies. Archives
//! differ in how they read a path: it is let through in its plain spelling only, and where it names a series
//! or an object, once the archive has said that this lies in the study. Some look at the last UID alone.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dicomweb_types::Uid;
use http::request::Parts;
use lru::LruCache;
use serde_json::Value;
use wadors_client::{Caller, UpstreamError};

use super::{AccessError, is_reading};
use crate::cache::Digest;
use crate::route::{Scope, Target};
use crate::upstream::Upstream;

/// Series and objects that are remembered as lying in their study; some 150 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// Objects may be moved: the archive is asked again after so long, if it can be.
const GOOD_FOR: Duration = Duration::from_secs(600);

pub(super) struct Limits {
    in_place: Mutex<LruCache<Digest, Instant>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_place: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

/// A path in a study, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Within {
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
        caller: &Caller,
        target: &Target,
        request: &Parts,
    ) -> Result<(), AccessError> {
        let below = match target {
            // What is kept was found to lie in its study; what is fetched is asked for.
            Target::Rendering(resource) => return of(studies.contains(resource.scope.study())),
            Target::Session(study) => return of(studies.contains(study)),
            Target::PassThrough(below) => below,
        };
        of(is_reading(&request.method))?;
        let query = request.uri.query().unwrap_or_default();
        if below == "/studies" {
            return of(names_only(query, studies) == Named::These);
        }
        of(names_only(query, studies) != Named::Others)?;
        let within = Within::read(below).filter(|within| studies.contains(&within.study));
        let within = within.ok_or(AccessError::NotTheirs)?;
        of(!within.is_contradicted(query))?;
        self.lies_in_its_study(upstream, &within, caller).await
    }

    pub(super) async fn lies_in_its_study(
        &self,
        upstream: &Upstream,
        within: &Within,
        caller: &Caller,
    ) -> Result<(), AccessError> {
        let Within { study, series, instance } = within;
        if series.is_none() && instance.is_none() {
            return Ok(());
        }
        let key = upstream.realm.work(&("lies in", study, series, instance));
        let lock = || self.in_place.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).copied();
        if known.is_some_and(|since| since.elapsed() < GOOD_FOR) {
            return Ok(());
        }
        let found = upstream.client.lies_in(study, series.as_ref(), instance.as_ref(), caller);
        match found.await {
            Ok(true) => {
                lock().put(key, Instant::now());
                Ok(())
            }
            Err(error) if error.is_transient() && known.is_some() => Ok(()),
            Ok(false) => {
                lock().pop(&key);
                Err(AccessError::NotTheirs)
            }
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

/// Which studies a query names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named {
    Nothing,
    /// Some of these, and no others.
    These,
    /// Others, or in words that an archive might read otherwise.
    Others,
}

/// An archive leaves out what it does not know: only what every archive knows limits a search, and
/// nothing else that might be taken for a study may stand beside it.
fn names_only(query: &str, studies: &BTreeSet<Uid>) -> Named {
    // Some archives split at semicolons, too.
    if query.contains(';') {
        let split = query.replace(';', "&");
        let (said, split) = (names_in(query, studies), names_in(&split, studies));
        return if said == split { said } else { Named::Others };
    }
    names_in(query, studies)
}

fn names_in(query: &str, studies: &BTreeSet<Uid>) -> Named {
    let mut named = Named::Nothing;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if matches!(&*name, "StudyInstanceUID" | "0020000D" | "0020000d") {
            let is_theirs = |uid: &str| uid.parse::<Uid>().is_ok_and(|uid| studies.contains(&uid));
            let is_first = named == Named::Nothing;
            if !is_first || !value.split([',', '\\']).all(is_theirs) {
                return Named::Others;
            }
            named = Named::These;
        } else if is_like(&name, ["studyinstanceuid", "0020000d"]) {
            return Named::Others;
        }
    }
    named
}

/// Whether a key might be taken for an attribute, by its keyword or its tag.
fn is_like(name: &str, attribute: [&str; 2]) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    attribute.iter().any(|word| plain.contains(word))
}

/// What was found, without what lies in other studies; `None` where it cannot be read.
pub(crate) fn only_theirs(json: &[u8], studies: &BTreeSet<Uid>) -> Option<Vec<u8>> {
    let mut found: Vec<Value> = serde_json::from_slice(json).ok()?;
    found.retain(|one| {
        let uid = one.pointer("/0020000D/Value/0").and_then(Value::as_str);
        uid.and_then(|uid| uid.parse().ok()).is_some_and(|uid: Uid| studies.contains(&uid))
    });
    serde_json::to_vec(&found).ok()
}

impl Within {
    pub(super) fn of(scope: &Scope) -> Self {
        let (series, instance) = match scope {
            Scope::Study(_) => (None, None),
            Scope::Series(path) => (Some(path.series.clone()), None),
            Scope::Instance(path) | Scope::Frames(path, _) => {
                (Some(path.series.clone()), Some(path.instance.clone()))
            }
        };
        Self { study: scope.study().clone(), series, instance }
    }

    /// Whether a query names another series or object than the path, which an archive might prefer.
    fn is_contradicted(&self, query: &str) -> bool {
        let query = query.replace(';', "&");
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| {
            let is_other = |uid: &Option<Uid>, attribute| {
                uid.as_ref().is_some_and(|uid| is_like(&name, attribute) && *value != *uid.as_str())
            };
            is_other(&self.series, ["seriesinstanceuid", "0020000e"])
                || is_other(&self.instance, ["sopinstanceuid", "00080018"])
        })
    }

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
                "series" | "instances" => {
                    let slot =
                        if segment == "series" { &mut within.series } else { &mut within.instance };
                    let Some(uid) = segments.next() else { break };
                    if slot.is_some() {
                        return None;
                    }
                    *slot = Some(uid.parse().ok()?);
                }
                // Archives name bulk data of an object as they like.
                "studies" => return None,
                _ if within.instance.is_some() => {}
                "metadata" | "bulkdata" | "pixeldata" | "rendered" | "thumbnail" | "reports" => {}
                _ => return None,
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
            "/studies/1.2.3/SERIES/4",
            "/studies/1.2.3/4",
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
        assert_eq!(named("StudyInstanceUID=1.2.3"), Named::These);
        assert_eq!(named("limit=1&0020000D=1.2.3%2C1.2.4&includefield=all"), Named::These);
        for query in
            ["", "limit=1", "SeriesInstanceUID=1.2.5", "accept=multipart/related;type=\"x/y\""]
        {
            assert_eq!(named(query), Named::Nothing, "{query}");
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
            "studyinstanceuid=1.2.3",
            "STUDYINSTANCEUID=1.2.3",
            "StudyInstanceUID%20=1.2.3",
            "+StudyInstanceUID=1.2.3",
            "x0020000D=1.2.3",
            "99990020000D=1.2.3",
            "StudyInstanceUID=1.2.3&(0020,000D)=1.2.5",
            "StudyInstanceUID=1.2.3&StudyInstanceUID%5B%5D=1.2.5",
            "StudyInstanceUID=1.2.3&StudyInstanceUID%00=1.2.5",
            "StudyInstanceUID=1.2.3;StudyInstanceUID=1.2.5",
            "a=b;StudyInstanceUID=1.2.5",
        ] {
            assert_eq!(named(query), Named::Others, "{query}");
        }
    }

    #[test]
    fn a_query_does_not_lead_out_of_its_path() {
        let of = |path: &str, query: &str| Within::read(path).unwrap().is_contradicted(query);
        let instances = "/studies/1.2.3/series/4/instances";
        assert!(!of(instances, "limit=1&SOPInstanceUID=5"));
        assert!(!of(instances, "SeriesInstanceUID=4"));
        assert!(of(instances, "SeriesInstanceUID=5") && of(instances, "a=b;0020000e=5"));
        assert!(of("/studies/1.2.3/series/4/instances/5", "00080018=6"));
    }

    #[test]
    fn of_what_was_found_theirs_is_left() {
        let studies = ["1.2.3"].map(|uid| uid.parse().unwrap()).into();
        let of = |uid: &str| format!(r#"{{"0020000D":{{"vr":"UI","Value":["{uid}"]}}}}"#);
        let found = format!("[{},{},{{}}]", of("1.2.3"), of("1.2.5"));
        let left = only_theirs(found.as_bytes(), &studies).unwrap();
        assert_eq!(left, format!("[{}]", of("1.2.3")).into_bytes());
        assert_eq!(only_theirs(b"[]", &studies), Some(b"[]".to_vec()));
        assert_eq!(only_theirs(b"<xml/>", &studies), None);
    }
}
