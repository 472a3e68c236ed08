//! Studies that were purged while something of them was being fetched: what comes of that is old.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::key::Digest;

/// Studies that are remembered. Of those before them it is not known, so that older work is not kept.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A point in the order of things that happened here, before or after which others did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Began(u64);

#[derive(Debug)]
pub(crate) struct Forgotten(Mutex<State>);

#[derive(Debug)]
struct State {
    count: u64,
    last: LruCache<Digest, u64>,
    /// Before it, nothing is known.
    known_from: u64,
    /// What is still being removed from where that takes time, and by how many.
    leaving: HashMap<Digest, usize>,
}

impl Default for Forgotten {
    fn default() -> Self {
        Self(Mutex::new(State {
            count: 0,
            last: LruCache::new(MOST),
            known_from: 0,
            leaving: HashMap::new(),
        }))
    }
}

impl Forgotten {
    pub(crate) fn now(&self) -> Began {
        Began(self.lock().count)
    }

    pub(crate) fn forget(&self, group: Digest) {
        let mut state = self.lock();
        state.count += 1;
        let count = state.count;
        *state.leaving.entry(group).or_default() += 1;
        let pushed_out = state.last.push(group, count).filter(|(old, _)| *old != group);
        if let Some((_, purged)) = pushed_out {
            state.known_from = purged;
        }
    }

    /// It has been removed from everywhere.
    pub(crate) fn has_left(&self, group: &Digest) {
        let mut state = self.lock();
        if let Some(count) = state.leaving.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                state.leaving.remove(group);
            }
        }
    }

    /// Whether what is found of it may be from before its purge.
    pub(crate) fn is_leaving(&self, group: &Digest) -> bool {
        self.lock().leaving.contains_key(group)
    }

    /// When it was purged last, as far as is known: work from before is not to be shared with who asks
    /// after it.
    pub(crate) fn count(&self, group: &Digest) -> u64 {
        self.lock().last.peek(group).copied().unwrap_or(0)
    }

    /// Whether a group was purged, for all that is known, after something began.
    pub(crate) fn is_since(&self, group: &Digest, began: Began) -> bool {
        let state = self.lock();
        began.0 < state.known_from || state.last.peek(group).is_some_and(|&last| last > began.0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_a_purge_is_told_from_what_began_after() {
        let forgotten = Forgotten::default();
        let before = forgotten.now();
        forgotten.forget([1; 32]);
        let after = forgotten.now();
        assert!(forgotten.is_since(&[1; 32], before));
        assert!(!forgotten.is_since(&[1; 32], after));
        assert!(!forgotten.is_since(&[2; 32], before));
    }

    #[test]
    fn what_is_being_removed_is_not_there() {
        let forgotten = Forgotten::default();
        forgotten.forget([1; 32]);
        forgotten.forget([1; 32]);
        assert!(forgotten.is_leaving(&[1; 32]) && !forgotten.is_leaving(&[2; 32]));
        forgotten.has_left(&[1; 32]);
        assert!(forgotten.is_leaving(&[1; 32]));
        forgotten.has_left(&[1; 32]);
        assert!(!forgotten.is_leaving(&[1; 32]));
    }

    #[test]
    fn what_is_no_longer_known_counts_as_purged() {
        let forgotten = Forgotten::default();
        let before = forgotten.now();
        for n in 0..=MOST.get() as u64 {
            let mut group = [0; 32];
            group[..8].copy_from_slice(&n.to_le_bytes());
            forgotten.forget(group);
        }
        assert!(forgotten.is_since(&[255; 32], before));
        assert!(!forgotten.is_since(&[255; 32], forgotten.now()));
    }
}
