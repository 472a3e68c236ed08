//! Objects over which a worker was lost: not tried again for a while, so that not every viewer ends another.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dicomweb_types::Uid;
use lru::LruCache;

/// How long an object is not tried again.
pub(crate) const WHILE: Duration = Duration::from_secs(600);

/// Objects that are remembered; some 100 bytes each.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

#[derive(Debug)]
pub(crate) struct Poison {
    until: Mutex<LruCache<Uid, Instant>>,
}

impl Default for Poison {
    fn default() -> Self {
        Self { until: Mutex::new(LruCache::new(MOST)) }
    }
}

impl Poison {
    /// A worker was lost over this object.
    pub(crate) fn remember(&self, instance: &Uid, now: Instant) {
        self.lock().put(instance.clone(), now + WHILE);
    }

    /// How long it is not to be tried.
    pub(crate) fn left(&self, instance: &Uid, now: Instant) -> Option<Duration> {
        let mut until = self.lock();
        let left = until.get(instance)?.checked_duration_since(now).filter(|left| !left.is_zero());
        if left.is_none() {
            until.pop(instance);
        }
        left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Uid, Instant>> {
        self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_refused_for_a_while() {
        let (poison, now) = (Poison::default(), Instant::now());
        let uid: Uid = "1.2.3".parse().unwrap();
        assert_eq!(poison.left(&uid, now), None);
        poison.remember(&uid, now);
        assert_eq!(poison.left(&uid, now), Some(WHILE));
        assert_eq!(poison.left(&uid, now + WHILE), None);
    }
}
