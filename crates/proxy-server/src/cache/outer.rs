//! What is kept outside of memory: on disk, and with the other nodes. Best effort: what cannot be
//! written or read is as if it had never been kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use disk_store::Store;
use tokio::sync::Semaphore;

use super::forgotten::{Began, Forgotten};
use super::key::{Digest, Place};
use super::tier::Found;

/// What may wait to be written, in KiB. More is not written: a slow disk must not fill the memory.
const WAITING: usize = 32 << 10;

/// What even the smallest write counts, in KiB.
const LEAST: u32 = 4;

/// Reads at once: each takes a thread.
const READS: usize = 32;

/// Where the tiers of several kinds of records keep them outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outer {
    disk: Option<Arc<Disk>>,
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
    pub(crate) fn new(disk: Option<Arc<Disk>>) -> Self {
        Self { disk }
    }

    pub(super) async fn get(&self, place: &Place) -> Option<(Bytes, Found)> {
        let disk = self.disk.as_ref()?;
        Some((disk.get(place).await?, Found::Disk))
    }

    pub(super) fn put(
        &self,
        place: &Place,
        began: Began,
        head: [u8; 4],
        description: Vec<u8>,
        large: Bytes,
    ) {
        if let Some(disk) = &self.disk {
            disk.put(place, began, head, description, large);
        }
    }
}

impl Disk {
    pub(crate) fn new(store: Store, forgotten: Arc<Forgotten>) -> Self {
        Self {
            store,
            forgotten,
            waiting: Arc::new(Semaphore::new(WAITING)),
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

    fn put(&self, place: &Place, began: Began, head: [u8; 4], description: Vec<u8>, large: Bytes) {
        let kib = (description.len() + large.len()) >> 10;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX).saturating_add(LEAST);
        let Ok(room) = self.waiting.clone().try_acquire_many_owned(kib) else {
            self.dropped.fetch_add(1, Relaxed);
            return;
        };
        let (store, forgotten, place) = (self.store.clone(), self.forgotten.clone(), *place);
        tokio::task::spawn_blocking(move || {
            let is_purged = || forgotten.is_since(&place.group, began);
            if !is_purged() {
                store.put(&place.group, &place.key, &[&head, &description, &large]);
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
