//! Objects over which a worker was lost: not tried again for a while, so that not every viewer ends another.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dicomweb_types::{InstancePath, Uid};
use lru::LruCache;

/// How long an object is not tried again.
pub(crate) const WHILE: Duration = Duration::from_secs(600);

/// Objects that are remembered; some 100 bytes each.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

#[derive(Debug)]
pub(crate) struct Poison {
    until: Mutex<LruCache<(Uid, Uid), Instant>>,
}

impl Default for Poison {
    fn default() -> Self {
        Self { until: Mutex::new(LruCache::new(MOST)) }
    }
}

impl Poison {
    /// A worker was lost over this object.
    pub(crate) fn remember(&self, path: &InstancePath, now: Instant) {
        self.lock().put(key(path), now + WHILE);
    }

    /// How long it is not to be tried.
    pub(crate) fn left(&self, path: &InstancePath, now: Instant) -> Option<Duration> {
        let (key, mut until) = (key(path), self.lock());
        let left = until.get(&key)?.checked_duration_since(now).filter(|left| !left.is_zero());
        if left.is_none() {
            until.pop(&key);
        }
        left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<(Uid, Uid), Instant>> {
        self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Of its study: one of the same UID elsewhere is another object.
fn key(path: &InstancePath) -> (Uid, Uid) {
    (path.study.clone(), path.instance.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_refused_for_a_while() {
        let (poison, now) = (Poison::default(), Instant::now());
        let uid = |text: &str| text.parse::<Uid>().unwrap();
        let of_study = |study| InstancePath {
            study: uid(study),
            series: uid("1.2.2"),
            instance: uid("1.2.3"),
        };
        let path = of_study("1.2");
        assert_eq!(poison.left(&path, now), None);
        poison.remember(&path, now);
        assert_eq!(poison.left(&path, now), Some(WHILE));
        assert_eq!(poison.left(&of_study("1.3"), now), None);
        assert_eq!(poison.left(&path, now + WHILE), None);
    }
}
