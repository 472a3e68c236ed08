//! One kind of record: in memory first, then on disk, then with the other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use super::KindCounts;
use super::forgotten::{Began, Forgotten};
use super::key::{Digest, Place};
use super::memory::Memory;
use super::outer::{Outer, Pieces};
use super::record::{self, Record};
use super::seal;

/// Where something was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Found {
    Memory,
    Disk,
    Shared,
}

impl Found {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Shared => "shared",
        }
    }
}

/// Everything of one kind.
#[derive(Debug)]
pub(crate) struct Tier<R> {
    memory: Memory<R>,
    outer: Outer,
    forgotten: Arc<Forgotten>,
    counts: Counts,
}

/// How often something was found, and where.
#[derive(Debug, Default)]
struct Counts {
    memory: AtomicU64,
    disk: AtomicU64,
    shared: AtomicU64,
    missed: AtomicU64,
}

impl<R: Record> Tier<R> {
    /// In at most so many bytes of memory.
    pub(crate) fn new(memory: u64, outer: Outer, forgotten: Arc<Forgotten>) -> Self {
        Self { memory: Memory::new(memory), outer, forgotten, counts: Counts::default() }
    }

    /// What is in memory, without a wait.
    pub(crate) fn at_hand(&self, place: &Place) -> Option<R> {
        self.memory.get(place)
    }

    pub(crate) async fn get(&self, place: &Place) -> Option<(R, Found)> {
        let found = match self.memory.get(place) {
            Some(record) => Some((record, Found::Memory)),
            None => self.found_outside(place).await,
        };
        self.counts.of(found.as_ref().map(|found| found.1)).fetch_add(1, Relaxed);
        found
    }

    /// What a record takes in memory once it is read; nothing where it is there.
    pub(crate) async fn length(&self, place: &Place) -> Option<u64> {
        match self.memory.get(place) {
            Some(_) => Some(0),
            None => self.outer.length(place).await,
        }
    }

    /// Keeps what comes of work that began at a moment, unless its study was purged since.
    pub(crate) fn put(&self, place: &Place, began: Began, record: R) {
        let Some((description, large)) = record.parts() else { return };
        let length = (description.len() + large.len()) as u64;
        if self.put_weighed(place, began, record, length)
            && let Some(description) = seal::seal(place, description)
        {
            let head = record::headed(&description);
            self.outer.put(place, began, Pieces { head, large });
        }
    }

    /// The same in memory only.
    pub(crate) fn put_in_memory(&self, place: &Place, began: Began, record: R) {
        if let Some((description, large)) = record.parts() {
            let length = (description.len() + large.len()) as u64;
            self.put_weighed(place, began, record, length);
        }
    }

    fn put_weighed(&self, place: &Place, began: Began, record: R, length: u64) -> bool {
        self.memory.put(place, record.detached(), length);
        // A purge meanwhile has found it, or is seen here.
        let is_gone = self.forgotten.was_purged_since(&place.group, began);
        if is_gone {
            self.memory.remove(place);
        }
        !is_gone
    }

    /// Drops what is in memory of a study.
    pub(crate) fn forget(&self, group: &Digest) {
        self.memory.forget(group);
    }

    pub(crate) fn counted(&self, kind: &'static str) -> KindCounts {
        KindCounts {
            kind,
            found: self.counts.read(),
            memory_bytes: self.memory.bytes(),
            memory_entries: self.memory.entries(),
            evicted: self.memory.evicted(),
        }
    }

    async fn found_outside(&self, place: &Place) -> Option<(R, Found)> {
        let began = self.forgotten.now();
        let (bytes, found): (Bytes, Found) = self.outer.get(place, began).await?;
        let length = bytes.len() as u64;
        let record: R = record::read(bytes, |sealed| seal::open(place, sealed))?;
        // What was put while this was read is newer.
        if !self.memory.put_new(place, record.clone(), length)
            && let Some(newer) = self.memory.get(place)
        {
            return Some((newer, Found::Memory));
        }
        // Read before a purge, and not to outlive it: that has found it, or is seen here.
        if self.forgotten.was_purged_since(&place.group, began) {
            self.memory.remove(place);
            return None;
        }
        Some((record, found))
    }
}

impl Counts {
    fn of(&self, found: Option<Found>) -> &AtomicU64 {
        match found {
            Some(Found::Memory) => &self.memory,
            Some(Found::Disk) => &self.disk,
            Some(Found::Shared) => &self.shared,
            None => &self.missed,
        }
    }

    /// Found in memory, on disk, with other nodes; not found.
    fn read(&self) -> [(&'static str, u64); 4] {
        [
            ("memory", self.memory.load(Relaxed)),
            ("disk", self.disk.load(Relaxed)),
            ("shared", self.shared.load(Relaxed)),
            ("none", self.missed.load(Relaxed)),
        ]
    }
}
