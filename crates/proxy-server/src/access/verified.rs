//! Credentials that were found good a moment ago, so that checking them costs what it costs once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::Credential;

/// Credentials that are remembered; some 200 bytes each.
const MOST: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// What credentials were found to be, by their hash.
pub(crate) struct Verified<T> {
    known: Mutex<LruCache<Credential, (T, Instant)>>,
    /// At most so long: after that they are checked again.
    remembered: Duration,
}

impl<T: Clone> Verified<T> {
    pub(crate) fn new(remembered: Duration) -> Self {
        Self { known: Mutex::new(LruCache::new(MOST)), remembered }
    }

    pub(crate) fn get(&self, credential: &Credential) -> Option<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, until) = known.get(credential)?;
        if Instant::now() < *until {
            return Some(what.clone());
        }
        known.pop(credential);
        None
    }

    /// Remembers them, for no longer than they are good.
    pub(crate) fn keep(&self, credential: Credential, what: T, good_for: Option<Duration>) {
        let time = good_for.map_or(self.remembered, |left| left.min(self.remembered));
        let until = Instant::now() + time;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).put(credential, (what, until));
    }
}
