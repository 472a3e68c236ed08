//! Pictures at the door: a request in the very words of one before it is answered before it is read.
//!
//! What is kept lies under typed keys (`cache`); to come by these a request has to be parsed, negotiated and
//! looked up, which takes longer than sending a thumbnail. Here the answer itself is remembered by the
//! request's own words, for as long as it is fresh. It is no cache of its own: it only holds what was just
//! found there, and forgets what that forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use dicomweb_types::Uid;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use sha2::{Digest as _, Sha256};

use super::KindCounts;
use super::age::{Freshness, Moment, Seen};
use super::key::{Digest, Place};
use super::memory::Memory;
use super::tier::Found;
use crate::body::Body;
use crate::cache_status;
use crate::picture::{Answer, Origin};
use crate::respond;
use crate::route::Kind;
use crate::upstream::Upstream;

/// Requests with more words than that are not remembered.
const LONGEST: usize = 2048;

/// Answers that are ready.
#[derive(Debug)]
pub(crate) struct Doorstep {
    ready: Memory<Arc<Ready>>,
    found: AtomicU64,
}

#[derive(Debug)]
struct Ready {
    /// All but what tells how old it is: of the picture, and for who holds it already.
    headers: HeaderMap,
    held: HeaderMap,
    /// None where only one who holds the picture has asked for it.
    bytes: Option<Bytes>,
    origin: Origin,
    seen: Seen,
    since: Moment,
    shows: Arc<Shows>,
}

/// Of which study an answer shows something, and how.
#[derive(Clone, Debug)]
pub(crate) struct Shows {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) study: Uid,
    /// Where things of the study are found.
    pub(crate) group: Digest,
    pub(crate) kind: Kind,
}

/// An answer that was ready.
pub(crate) struct Stepped {
    pub(crate) answer: Response<Body>,
    pub(crate) seen: Seen,
    pub(crate) shows: Arc<Shows>,
}

/// What an answer is remembered for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words(Digest);

impl Words {
    /// Those of a request that asks for all of it, whoever makes it: who it is does not change what is shown, but
    /// whether it is.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        Self::new(request.method(), request.uri(), request.headers())
    }

    /// The same of a request without its body.
    pub(crate) fn of_parts(request: &Parts) -> Option<Self> {
        Self::new(&request.method, &request.uri, &request.headers)
    }

    fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let is_plain = matches!(*method, Method::GET | Method::HEAD)
            && SPECIAL.iter().all(|name| !headers.contains_key(name));
        is_plain.then(|| Self::hashed(uri, headers)).flatten()
    }

    fn hashed(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let target = uri.path_and_query()?.as_str();
        if target.len() > LONGEST {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(target);
        for value in headers.get_all(header::ACCEPT) {
            hash.update(b"\n");
            hash.update(value);
        }
        Some(Self(hash.finalize().into()))
    }

    fn place(self, group: Digest) -> Place {
        Place { group, key: self.0 }
    }
}

/// What makes a request special.
const SPECIAL: [header::HeaderName; 3] = [header::RANGE, header::CACHE_CONTROL, header::IF_MATCH];

impl Doorstep {
    /// In at most so many bytes.
    pub(crate) fn new(memory: u64) -> Self {
        Self { ready: Memory::new(memory), found: AtomicU64::new(0) }
    }

    /// The answer to a request in these words, with how old it is.
    pub(crate) fn answer(&self, words: Words, request: &HeaderMap, now: Moment) -> Option<Stepped> {
        let ready = self.ready.get(&words.place([0; 32]))?;
        let seen = ready.seen.later(ready.since.age(now)?);
        if seen.ttl <= 0 {
            return None;
        }
        let tag = ready.headers.get(header::ETAG);
        let (mut headers, bytes) = match request.get(header::IF_NONE_MATCH) {
            None => (ready.headers.clone(), Some(ready.bytes.clone()?)),
            Some(held) if Some(held) == tag => (ready.held.clone(), None),
            // A list of them, or one of an older picture.
            Some(_) => return None,
        };
        self.found.fetch_add(1, Relaxed);
        cache_status::tell(&ready.origin.as_old_as(seen), &mut headers);
        Some(Stepped { answer: respond::ready(headers, bytes), seen, shows: ready.shows.clone() })
    }

    /// Remembers an answer that was found among what is kept.
    pub(crate) fn keep(&self, words: Words, shows: Shows, answer: &Answer, now: Moment) {
        let Origin::Kept { seen, stale: None, .. } = answer.origin else { return };
        // Wherever it was found, here it is in memory.
        let origin = Origin::Kept { found: Found::Memory, seen, stale: None };
        if seen.freshness != Freshness::Fresh {
            return;
        }
        let held = respond::lasting_headers(Answer { drawn: None, ..answer.clone() });
        let (headers, bytes) = match &answer.drawn {
            Some(drawn) => {
                (respond::lasting_headers(answer.clone()), Some(drawn.picture.bytes.clone()))
            }
            // Who holds the picture brings no bytes of it: those that are there stay.
            None => match self.whole(words, answer) {
                Some(before) => (before.headers.clone(), before.bytes.clone()),
                None => (held.clone(), None),
            },
        };
        let weight = (bytes.as_ref().map_or(0, Bytes::len) + HEADERS) as u64;
        let (group, shows) = (shows.group, Arc::new(shows));
        let ready = Ready { headers, held, bytes, origin, seen, since: now, shows };
        self.ready.put(&words.place(group), Arc::new(ready), weight);
    }

    /// The same picture, if it is there with its bytes.
    fn whole(&self, words: Words, answer: &Answer) -> Option<Arc<Ready>> {
        let ready = self.ready.get(&words.place([0; 32]))?;
        let tag = ready.headers.get(header::ETAG)?;
        let is_it = ready.bytes.is_some() && tag == answer.etag.as_str();
        is_it.then_some(ready)
    }

    /// Drops what was remembered while its study was purged.
    pub(crate) fn remove(&self, words: Words) {
        self.ready.remove(&words.place([0; 32]));
    }

    pub(crate) fn forget_all(&self) {
        self.ready.clear();
    }

    pub(crate) fn forget(&self, group: &Digest) {
        self.ready.forget(group);
    }

    pub(crate) fn counted(&self) -> KindCounts {
        KindCounts {
            kind: "ready",
            found: [("memory", self.found.load(Relaxed)), ("disk", 0), ("shared", 0), ("none", 0)],
            memory_bytes: self.ready.bytes(),
            memory_entries: self.ready.entries(),
            evicted: self.ready.evicted(),
        }
    }
}

/// What the headers of an answer take in memory.
const HEADERS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Digest> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Words::of(&request.body(()).unwrap()).map(|words| words.0)
    }

    #[test]
    fn other_words_are_other_words() {
        let all = [
            words("GET", "/a?b", &[]),
            words("GET", "/a", &[]),
            words("GET", "/a?b", &[("accept", "image/png")]),
            words("GET", "/a?b", &[("accept", "image/png"), ("accept", "image/jpeg")]),
            words("GET", "/a?b", &[("accept", "image/jpeg")]),
        ];
        assert!(all.iter().all(Option::is_some));
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(words("HEAD", "/a", &[("origin", "x")]), words("GET", "/a", &[]));
    }

    #[test]
    fn what_is_special_is_read_and_who_asks_makes_no_difference() {
        assert_eq!(words("POST", "/a", &[]), None);
        assert_eq!(words("GET", &format!("/{}", "a".repeat(LONGEST)), &[]), None);
        for name in ["range", "cache-control", "if-match"] {
            assert_eq!(words("GET", "/a", &[(name, "x")]), None, "{name}");
        }
        for name in ["authorization", "cookie"] {
            assert_eq!(words("GET", "/a", &[(name, "x")]), words("GET", "/a", &[]), "{name}");
        }
    }
}
