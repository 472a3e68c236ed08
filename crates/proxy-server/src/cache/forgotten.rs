//! Studies that were purged while something of them was being fetched: what comes of that is old.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::age::Moment;
use super::key::Digest;

/// Studies that are remembered. Of those before them it is not known, so that older work is not kept.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// When something began: in the order of purges here, and by the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Began {
    order: u64,
    at: Moment,
}

impl Began {
    /// By the clock: what comes of it was so then, at least (RFC 9111 §4.2.3 counts from the request).
    pub(crate) fn at(self) -> Moment {
        self.at
    }
}

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
        Began { order: self.lock().count, at: Moment::now() }
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

    /// Of all that was begun before, nothing is known from now on.
    pub(crate) fn forget_all(&self) {
        let mut state = self.lock();
        state.count += 1;
        state.known_from = state.count;
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

    /// Whether anything is still being removed.
    pub(crate) fn is_any_leaving(&self) -> bool {
        !self.lock().leaving.is_empty()
    }

    /// Whether what is found of it may be from before its purge.
    pub(crate) fn is_leaving(&self, group: &Digest) -> bool {
        self.lock().leaving.contains_key(group)
    }

    /// Which purge was its last, as far as is known: work from before is not to be shared with who asks
    /// after it.
    pub(crate) fn last(&self, group: &Digest) -> u64 {
        self.lock().last.peek(group).copied().unwrap_or(0)
    }

    /// Whether a group was purged, for all that is known, after something began.
    pub(crate) fn was_purged_since(&self, group: &Digest, began: Began) -> bool {
        let state = self.lock();
        let last = state.last.peek(group);
        began.order < state.known_from || last.is_some_and(|&last| last > began.order)
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
        assert!(forgotten.was_purged_since(&[1; 32], before));
        assert!(!forgotten.was_purged_since(&[1; 32], after));
        assert!(!forgotten.was_purged_since(&[2; 32], before));
    }

    #[test]
    fn what_began_before_all_was_doubted_is_not_kept() {
        let forgotten = Forgotten::default();
        let before = forgotten.now();
        forgotten.forget_all();
        assert!(forgotten.was_purged_since(&[1; 32], before));
        assert!(!forgotten.was_purged_since(&[1; 32], forgotten.now()));
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
        assert!(forgotten.was_purged_since(&[255; 32], before));
        assert!(!forgotten.was_purged_since(&[255; 32], forgotten.now()));
    }
}
