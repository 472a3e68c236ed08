//! Pictures at the door: a request in the very words of one before it is answered before it is read.
//!
//! What is kept lies under typed keys (`cache`); to come by these a request has to be parsed, negotiated and
//! looked up, which takes longer than sending a thumbnail. Here the answer itself is remembered by the
//! request's own words, for as long as it is fresh. It is no cache of its own: it only holds what was just
//! found there, and forgets what that forgets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dicomweb_types::Uid;
use http::header::{self, HeaderMap, HeaderValue};
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
use crate::cors::Origins;
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
    origins: Origins,
    found: AtomicU64,
}

#[derive(Debug)]
struct Ready {
    etag: HeaderValue,
    /// Of the picture, and for who holds it already.
    headers: Dated,
    held: Dated,
    /// None where only one who holds the picture has asked for it.
    bytes: Option<Bytes>,
    origin: Origin,
    seen: Seen,
    since: Moment,
    shows: Arc<Shows>,
}

/// Headers of an answer that also tell how old it is, which is the same for a second: until then they are cloned.
#[derive(Debug)]
struct Dated(Mutex<Told>);

#[derive(Debug)]
struct Told {
    headers: HeaderMap,
    /// Age and remaining lifetime, in seconds.
    as_of: Option<(u64, i64)>,
}

impl Dated {
    fn new(headers: HeaderMap) -> Self {
        Self(Mutex::new(Told { headers, as_of: None }))
    }

    fn told(&self, origin: &Origin, seen: Seen) -> HeaderMap {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let as_of = Some((seen.age.as_secs(), seen.ttl));
        if told.as_of != as_of {
            cache_status::tell(&origin.as_old_as(seen), &mut told.headers);
            told.as_of = as_of;
        }
        told.headers.clone()
    }

    fn lasting(&self) -> HeaderMap {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).headers.clone()
    }
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
    /// In at most so many bytes, for pages of these origins.
    pub(crate) fn new(memory: u64, origins: Origins) -> Self {
        Self { ready: Memory::new(memory), origins, found: AtomicU64::new(0) }
    }

    /// The answer to a request in these words, with how old it is.
    pub(crate) fn answer(&self, words: Words, request: &HeaderMap, now: Moment) -> Option<Stepped> {
        let ready = self.ready.get(&words.place([0; 32]))?;
        let seen = ready.seen.later(ready.since.age(now)?);
        if seen.ttl <= 0 {
            return None;
        }
        let (headers, bytes) = match request.get(header::IF_NONE_MATCH) {
            None => (&ready.headers, Some(ready.bytes.clone()?)),
            Some(held) if *held == ready.etag => (&ready.held, None),
            // A list of them, or one of an older picture.
            Some(_) => return None,
        };
        self.found.fetch_add(1, Relaxed);
        let headers = headers.told(&ready.origin, seen);
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
        let held = self.lasting_headers(Answer { drawn: None, ..answer.clone() });
        let Some(etag) = held.get(header::ETAG).cloned() else { return };
        let (headers, bytes) = match &answer.drawn {
            Some(drawn) => {
                (self.lasting_headers(answer.clone()), Some(drawn.picture.bytes.clone()))
            }
            // Who holds the picture brings no bytes of it: those that are there stay.
            None => match self.whole(words, answer) {
                Some(before) => (before.headers.lasting(), before.bytes.clone()),
                None => (held.clone(), None),
            },
        };
        let weight = (bytes.as_ref().map_or(0, Bytes::len) + HEADERS) as u64;
        let (group, shows) = (shows.group, Arc::new(shows));
        let (headers, held) = (Dated::new(headers), Dated::new(held));
        let ready = Ready { etag, headers, held, bytes, origin, seen, since: now, shows };
        self.ready.put(&words.place(group), Arc::new(ready), weight);
    }

    /// Those that stay the same as long as it is kept.
    fn lasting_headers(&self, answer: Answer) -> HeaderMap {
        let mut headers = respond::lasting_headers(answer);
        self.origins.allow_lastingly(&mut headers);
        headers
    }

    /// The same picture, if it is there with its bytes.
    fn whole(&self, words: Words, answer: &Answer) -> Option<Arc<Ready>> {
        let ready = self.ready.get(&words.place([0; 32]))?;
        let is_it = ready.bytes.is_some() && ready.etag == answer.etag.as_str();
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
    use std::time::Duration;

    use super::*;

    fn words(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Digest> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Words::of(&request.body(()).unwrap()).map(|words| words.0)
    }

    #[test]
    fn how_old_it_is_is_told_anew_when_it_differs() {
        let dated = Dated::new(HeaderMap::new());
        let first = Seen { freshness: Freshness::Fresh, age: Duration::ZERO, ttl: 60 };
        let origin = Origin::Kept { found: Found::Memory, seen: first, stale: None };
        for (age, ttl) in [(0, 60), (300, 60), (1_000, 59), (1_000, 58), (0, 60)] {
            let seen = Seen { age: Duration::from_millis(age), ttl, ..first };
            let headers = dated.told(&origin, seen);
            assert_eq!(headers["age"], (age / 1_000).to_string().as_str());
            let status = format!("lightbox; hit; ttl={ttl}; detail=memory");
            assert_eq!(headers["cache-status"], status.as_str());
            assert_eq!(headers.len(), 2);
        }
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
