//! What is kept outside of memory: on disk, and with the other nodes. Best effort: what cannot be
//! written or read is as if it had never been kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use disk_store::Store;
use shared_store::Shared;
use tokio::sync::Semaphore;

use super::forgotten::{Began, Forgotten};
use super::key::{Digest, Place};
use super::tier::Found;

/// What may wait to be written, in KiB. More is not written: a slow disk must not fill the memory.
const WAITING: u32 = 64 << 10;

/// What even the largest write counts: the memory of what is larger is held by who has fetched it.
const MOST: u32 = WAITING / 2;

/// What even the smallest write counts, in KiB.
const LEAST: u32 = 4;

/// Reads at once: each takes a thread.
const READS: usize = 32;

/// Where the tiers of several kinds of records keep them outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outer {
    disk: Option<Arc<Disk>>,
    nodes: Option<Nodes>,
}

/// The other nodes, by way of a Redis that all of them use.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    shared: Shared,
    /// How long things are kept there.
    keep: Duration,
}

#[derive(Debug)]
pub(crate) struct Disk {
    store: Store,
    forgotten: Arc<Forgotten>,
    waiting: Arc<Semaphore>,
    reads: Semaphore,
    dropped: AtomicU64,
}

impl Outer {
    pub(crate) fn new(disk: Option<Arc<Disk>>, nodes: Option<Nodes>) -> Self {
        Self { disk, nodes }
    }

    pub(super) async fn get(&self, place: &Place, began: Began) -> Option<(Bytes, Found)> {
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.get(place).await
        {
            return Some((bytes, Found::Disk));
        }
        let bytes = self.nodes.as_ref()?.shared.get(&place.group, &place.key).await?;
        if let Some(disk) = &self.disk {
            disk.put(place, began, Pieces::whole(bytes.clone()));
        }
        Some((bytes, Found::Shared))
    }

    /// How long what is on disk is.
    pub(super) async fn length(&self, place: &Place) -> Option<u64> {
        self.disk.as_ref()?.length(place).await
    }

    pub(super) fn put(&self, place: &Place, began: Began, pieces: Pieces) {
        if let Some(Nodes { shared, keep }) = &self.nodes {
            shared.put(&place.group, &place.key, pieces.joined(), *keep);
        }
        if let Some(disk) = &self.disk {
            disk.put(place, began, pieces);
        }
    }
}

impl Nodes {
    pub(crate) fn new(shared: Shared, keep: Duration) -> Self {
        Self { shared, keep }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// A record on its way out.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    pub(super) head: Vec<u8>,
    pub(super) large: Bytes,
}

impl Pieces {
    fn whole(bytes: Bytes) -> Self {
        Self { head: Vec::new(), large: bytes }
    }

    fn joined(&self) -> Bytes {
        [&self.head[..], &self.large].concat().into()
    }

    fn len(&self) -> usize {
        self.head.len() + self.large.len()
    }
}

impl Disk {
    pub(crate) fn new(store: Store, forgotten: Arc<Forgotten>) -> Self {
        Self {
            store,
            forgotten,
            waiting: Arc::new(Semaphore::new(WAITING as usize)),
            reads: Semaphore::new(READS),
            dropped: AtomicU64::new(0),
        }
    }

    async fn get(&self, place: &Place) -> Option<Bytes> {
        if self.forgotten.is_leaving(&place.group) {
            return None;
        }
        let _turn = self.reads.acquire().await.ok()?;
        let (store, place) = (self.store.clone(), *place);
        let read = tokio::task::spawn_blocking(move || store.get(&place.group, &place.key));
        read.await.ok().flatten().map(Bytes::from)
    }

    async fn length(&self, place: &Place) -> Option<u64> {
        let (store, place) = (self.store.clone(), *place);
        let read = tokio::task::spawn_blocking(move || store.length(&place.group, &place.key));
        read.await.ok().flatten()
    }

    fn put(&self, place: &Place, began: Began, pieces: Pieces) {
        let kib = u32::try_from(pieces.len() >> 10).unwrap_or(MOST).saturating_add(LEAST).min(MOST);
        let (store, forgotten, place) = (self.store.clone(), self.forgotten.clone(), *place);
        let Ok(room) = self.waiting.clone().try_acquire_many_owned(kib) else {
            self.dropped.fetch_add(1, Relaxed);
            // What was there before is not what was put last.
            tokio::task::spawn_blocking(move || store.remove(&place.group, &place.key));
            return;
        };
        tokio::task::spawn_blocking(move || {
            let is_purged = || forgotten.was_purged_since(&place.group, began);
            if !is_purged() {
                store.put(&place.group, &place.key, &[&pieces.head, &pieces.large]);
                // A purge meanwhile may have been before the write.
                if is_purged() {
                    store.remove(&place.group, &place.key);
                }
            }
            drop(room);
        });
    }

    pub(crate) async fn forget(&self, group: Digest) {
        let store = self.store.clone();
        // It ends in any case; a defect of it is its own.
        let _ = tokio::task::spawn_blocking(move || store.remove_group(&group)).await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Writes that were given up because too many waited.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
