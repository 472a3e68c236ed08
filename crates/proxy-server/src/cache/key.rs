//! Under what things are kept: typed values, never the text of a URL.
//!
//! A place is a study and a thing within it, each as a hash over typed values: what was asked for in
//! other words has the same one, and nothing of it can be read back. A new field of what is hashed
//! changes the hash by itself.

use core_render::Framing;
use dicomweb_types::{InstancePath, Uid};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::conditional::ETag;
use crate::config::{Representative, UpstreamConfig};
use crate::fingerprint::SourceHash;
use crate::route::{Kind, Scope};
use crate::source::Which;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// Changes with the form of what is kept.
const FORMAT: &str = "lightbox cache 2";

/// Where something is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    /// Of a study what it is found by, or what is found: what is evicted and purged together.
    pub(crate) group: Digest,
    /// What of it.
    pub(crate) key: Digest,
}

/// All that is kept of a study.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Groups {
    /// What stands for what, and what that is drawn from: to be asked for anew once the study has changed.
    pub(crate) index: Digest,
    /// Pictures and sources. Their places are made of their content, so that they are never out of date.
    pub(crate) content: Digest,
}

/// An archive, and the rules by which an image stands for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Realm(Digest);

/// An image, or several frames of one, as it is drawn.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SubjectKey {
    pub(crate) instance: InstancePath,
    pub(crate) which: Which,
    /// The presentation state by which it is drawn.
    pub(crate) state: Option<InstancePath>,
}

/// What is kept.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Key<'a> {
    /// What is shown for a resource.
    Standing { kind: Kind, scope: &'a Scope },
    /// What a subject is drawn from. Of a slide that depends on what is to be seen of it.
    Identity { subject: &'a SubjectKey, view: Option<(Kind, Framing)> },
    /// What is drawn from, itself.
    Source { instance: &'a InstancePath, hash: SourceHash },
    /// A picture: its tag is over the content of its source, every parameter, the media type and the
    /// version of the renderer. Cards are of no instance.
    Picture { instance: Option<&'a InstancePath>, tag: &'a str },
}

impl Realm {
    pub(crate) fn new(upstream: &UpstreamConfig, representative: Representative) -> Self {
        let url = upstream.url.as_ref().map(url::Url::as_str).unwrap_or_default();
        let rule = match representative {
            Representative::First => 0,
            Representative::Middle => 1,
            Representative::Richest => 2,
        };
        Self(hashed(&(FORMAT, &upstream.name, url, rule)))
    }

    pub(crate) fn groups(&self, study: &Uid) -> Groups {
        let group = |name| hashed(&(self.0, study, name));
        Groups { index: group("index"), content: group("content") }
    }

    pub(crate) fn place(&self, study: &Uid, key: Key<'_>) -> Place {
        let name = if key.is_of_content() { "content" } else { "index" };
        let group = hashed(&(self.0, study, name));
        Place { group, key: hashed(&(group, key)) }
    }

    /// Names a piece of work that equal requests share.
    pub(crate) fn work(&self, work: &impl Serialize) -> Digest {
        hashed(&(self.0, work))
    }
}

impl<'a> Key<'a> {
    pub(crate) fn picture(instance: Option<&'a InstancePath>, tag: &'a ETag) -> Self {
        Self::Picture { instance, tag: tag.as_str() }
    }

    fn is_of_content(&self) -> bool {
        match self {
            Self::Standing { .. } | Self::Identity { .. } => false,
            Self::Source { .. } | Self::Picture { .. } => true,
        }
    }
}

fn hashed(value: &impl Serialize) -> Digest {
    // Plain data always serialises; were it not so, nothing would be found under the error's own hash
    // but what has the same error, so that it is told apart by its message at least.
    let bytes = postcard::to_allocvec(value).unwrap_or_else(|e| e.to_string().into_bytes());
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dicomweb_types::FrameNumber;

    use super::*;

    fn instance(uid: &str) -> InstancePath {
        InstancePath {
            study: "1.2".parse().unwrap(),
            series: "1.2.3".parse().unwrap(),
            instance: uid.parse().unwrap(),
        }
    }

    fn realm(name: &str, representative: Representative) -> Realm {
        let upstream = UpstreamConfig { name: name.to_owned(), ..UpstreamConfig::default() };
        Realm::new(&upstream, representative)
    }

    #[test]
    fn whatever_differs_has_a_place_of_its_own() {
        let (a, b) = (instance("1.2.3.4"), instance("1.2.3.5"));
        let frame = |n| Which::Frame(FrameNumber::new(n).unwrap());
        let subjects = [
            SubjectKey { instance: a.clone(), which: Which::Representative, state: None },
            SubjectKey { instance: b.clone(), which: Which::Representative, state: None },
            SubjectKey { instance: a.clone(), which: frame(1), state: None },
            SubjectKey { instance: a.clone(), which: frame(2), state: None },
            SubjectKey { instance: a.clone(), which: frame(2), state: Some(b.clone()) },
        ];
        let views = [None, Some((Kind::Thumbnail, Framing::Native))];
        let mut keys: Vec<Key<'_>> = Vec::new();
        for subject in &subjects {
            keys.extend(views.map(|view| Key::Identity { subject, view }));
        }
        let scopes = [Scope::Instance(a.clone()), Scope::Study(a.study.clone())];
        for scope in &scopes {
            keys.extend(
                [Kind::Thumbnail, Kind::Rendered].map(|kind| Key::Standing { kind, scope }),
            );
        }
        let tags = [ETag::of_digest(&[1; 16]), ETag::of_digest(&[2; 16])];
        for tag in &tags {
            keys.extend([None, Some(&a), Some(&b)].map(|instance| Key::picture(instance, tag)));
        }
        let realms = [
            realm("", Representative::Middle),
            realm("x", Representative::Middle),
            realm("", Representative::First),
        ];
        let study = &a.study;
        let places =
            realms.iter().flat_map(|realm| keys.iter().map(|key| realm.place(study, *key)));
        let all: HashSet<Place> = places.collect();
        assert_eq!(all.len(), realms.len() * keys.len());
        let groups: HashSet<Digest> = all.iter().map(|place| place.group).collect();
        assert_eq!(groups.len(), 2 * realms.len());
        let of_study = realms.map(|realm| realm.groups(study));
        assert!(of_study.iter().all(|g| groups.contains(&g.index) && groups.contains(&g.content)));
    }
}
