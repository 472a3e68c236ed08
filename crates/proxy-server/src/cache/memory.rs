//! What is kept in memory: the least recently used leaves first once the bytes are too many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::key::{Digest, Place};

/// Several, so that requests do not wait for one lock.
const SHARDS: usize = 8;

/// Beside its own bytes, what an entry takes: its keys, the links of the list, the tables.
const OVERHEAD: u64 = 300;

/// Entries of at most so many bytes together.
#[derive(Debug)]
pub(crate) struct Memory<V> {
    shards: Vec<Mutex<Shard<V>>>,
    /// Of one shard.
    limit: u64,
    evicted: AtomicU64,
}

#[derive(Debug)]
struct Shard<V> {
    entries: LruCache<Digest, Entry<V>>,
    /// Group and key of each.
    of_groups: BTreeSet<(Digest, Digest)>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry<V> {
    group: Digest,
    value: V,
    weight: u64,
}

impl<V: Clone> Memory<V> {
    /// Room for so many bytes; none at all for 0.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            limit: limit / SHARDS as u64,
            evicted: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, place: &Place) -> Option<V> {
        Some(self.shard(place).entries.get(&place.key)?.value.clone())
    }

    /// Keeps a value of so many bytes; one that would push out half of the others is not kept.
    pub(crate) fn put(&self, place: &Place, value: V, bytes: u64) {
        let Some(weight) = self.weight(bytes) else { return };
        let evicted = self.shard(place).put(place, value, weight, self.limit);
        self.evicted.fetch_add(evicted, Relaxed);
    }

    /// The same where nothing is there; whether that was so.
    pub(crate) fn put_new(&self, place: &Place, value: V, bytes: u64) -> bool {
        let Some(weight) = self.weight(bytes) else { return true };
        let mut shard = self.shard(place);
        if shard.entries.contains(&place.key) {
            return false;
        }
        self.evicted.fetch_add(shard.put(place, value, weight, self.limit), Relaxed);
        true
    }

    pub(crate) fn remove(&self, place: &Place) {
        self.shard(place).remove(&place.key);
    }

    /// Drops everything of a group.
    pub(crate) fn forget(&self, group: &Digest) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let range = (*group, [0; 32])..=(*group, [255; 32]);
            let keys: Vec<Digest> = shard.of_groups.range(range).map(|(_, key)| *key).collect();
            for key in keys {
                shard.remove(&key);
            }
        }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard::default();
        }
    }

    /// `None` for what is too large.
    fn weight(&self, bytes: u64) -> Option<u64> {
        Some(bytes.saturating_add(OVERHEAD)).filter(|&weight| weight <= self.limit / 2)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).entries.len() as u64).sum()
    }

    /// How many had to leave.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    fn shard(&self, place: &Place) -> MutexGuard<'_, Shard<V>> {
        lock(&self.shards[usize::from(place.key[0]) % SHARDS])
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { entries: LruCache::unbounded(), of_groups: BTreeSet::new(), bytes: 0 }
    }
}

impl<V> Shard<V> {
    /// How many had to leave for it.
    fn put(&mut self, place: &Place, value: V, weight: u64, limit: u64) -> u64 {
        self.remove(&place.key);
        self.entries.put(place.key, Entry { group: place.group, value, weight });
        self.of_groups.insert((place.group, place.key));
        self.bytes += weight;
        let mut evicted = 0;
        while self.bytes > limit {
            let Some((key, oldest)) = self.entries.pop_lru() else { break };
            self.has_left(&key, &oldest);
            evicted += 1;
        }
        evicted
    }

    fn remove(&mut self, key: &Digest) {
        if let Some(entry) = self.entries.pop(key) {
            self.has_left(key, &entry);
        }
    }

    fn has_left(&mut self, key: &Digest, entry: &Entry<V>) {
        self.of_groups.remove(&(entry.group, *key));
        self.bytes -= entry.weight;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn place(group: u8, key: u8) -> Place {
        let mut digest = [0; 32];
        // Of one shard.
        digest[1] = key;
        digest[2] = group;
        Place { group: [group; 32], key: digest }
    }

    #[test]
    fn the_least_recently_used_leave_first() {
        let memory = Memory::new(8 * 3 * (1000 + OVERHEAD));
        for key in 0..3 {
            memory.put(&place(0, key), key, 1000);
        }
        assert_eq!(memory.get(&place(0, 0)), Some(0));
        memory.put(&place(0, 3), 3, 1000);
        let there: Vec<Option<u8>> = (0..4).map(|key| memory.get(&place(0, key))).collect();
        assert_eq!(there, [Some(0), None, Some(2), Some(3)]);
        assert_eq!(memory.evicted(), 1);
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_without_room_nothing_is() {
        let memory = Memory::new(8 * 1000);
        memory.put(&place(0, 1), "x", 600);
        assert_eq!(memory.get(&place(0, 1)), None);
        memory.put(&place(0, 1), "x", 100);
        assert_eq!(memory.get(&place(0, 1)), Some("x"));
        let none = Memory::new(0);
        none.put(&place(0, 1), "x", 0);
        assert_eq!(none.get(&place(0, 1)), None);
    }

    #[test]
    fn a_group_is_forgotten_and_no_other() {
        let memory = Memory::new(1 << 20);
        memory.put(&place(1, 1), 1, 10);
        memory.put(&place(2, 2), 2, 10);
        memory.forget(&[1; 32]);
        assert_eq!((memory.get(&place(1, 1)), memory.get(&place(2, 2))), (None, Some(2)));
    }

    proptest! {
        #[test]
        fn a_value_is_the_last_that_was_put_and_the_bytes_add_up(
            steps in prop::collection::vec((0_u8..12, 0_u64..3000, 0_u8..8), 1..200),
        ) {
            let memory = Memory::new(8 * 9000);
            let mut model = HashMap::new();
            for (step, (key, bytes, action)) in steps.into_iter().enumerate() {
                match action {
                    0 => {
                        memory.forget(&[key % 3; 32]);
                        model.retain(|k: &u8, _| k % 3 != key % 3);
                    }
                    1..=3 => {
                        let got = memory.get(&place(key % 3, key));
                        prop_assert!(got.is_none() || got == model.get(&key).copied());
                    }
                    _ => {
                        memory.put(&place(key % 3, key), step, bytes);
                        if bytes + OVERHEAD <= 4500 {
                            model.insert(key, step);
                        }
                    }
                }
                prop_assert!(memory.bytes() <= 9000);
                let sum: u64 = memory.shards.iter().flat_map(|shard| {
                    lock(shard).entries.iter().map(|(_, e)| e.weight).collect::<Vec<_>>()
                }).sum();
                prop_assert_eq!(sum, memory.bytes());
                let listed: usize =
                    memory.shards.iter().map(|shard| lock(shard).of_groups.len()).sum();
                prop_assert_eq!(listed as u64, memory.entries());
            }
        }
    }
}
