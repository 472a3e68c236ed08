//! What is written in the background.
//!
//! Removals have a room of their own and always go first. That is right because asking for one drops the
//! values that wait and that it covers: those that are left, and those that come later, are to stay. Until
//! it is done, nothing that it covers is handed out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::Digest;

/// Values that may wait, and their bytes.
const PUTS: usize = 256;
const BYTES: usize = 16 * 1024 * 1024;

/// Removals that may wait.
const REMOVALS: usize = 4096;

/// What is sent together: many small values, or one large.
const BATCH_PUTS: usize = 32;
const BATCH_BYTES: usize = 512 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Put {
    pub(crate) group: Digest,
    pub(crate) key: Digest,
    pub(crate) value: Bytes,
    pub(crate) keep: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    Group(Digest),
    Value { group: Digest, key: Digest },
}

impl Removal {
    fn covers(&self, of_group: &Digest, of_key: &Digest) -> bool {
        match self {
            Self::Group(group) => group == of_group,
            Self::Value { group, key } => group == of_group && key == of_key,
        }
    }
}

/// What is to be done next.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Job {
    Remove(Removal),
    Put(Vec<Put>),
}

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Whether there is anything to do.
    busy: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    removals: VecDeque<Removal>,
    removing: Option<Removal>,
    puts: VecDeque<Put>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), busy: watch::Sender::new(false) }
    }

    /// A value waits, if there is room for it.
    pub(crate) fn put(&self, put: Put) -> bool {
        let mut waiting = self.lock();
        if waiting.puts.len() >= PUTS || waiting.bytes + put.value.len() > BYTES {
            return false;
        }
        waiting.bytes += put.value.len();
        waiting.puts.push_back(put);
        self.busy.send_replace(true);
        true
    }

    /// A removal waits, if there is room for it. Returns also how many values need not be written now.
    pub(crate) fn remove(&self, removal: Removal) -> (bool, usize) {
        let mut waiting = self.lock();
        let dropped = waiting.drop_puts(|put| removal.covers(&put.group, &put.key));
        if waiting.removals.contains(&removal) {
            return (true, dropped);
        }
        if waiting.removals.len() >= REMOVALS {
            return (false, dropped);
        }
        waiting.removals.push_back(removal);
        self.busy.send_replace(true);
        (true, dropped)
    }

    /// Another node has forgotten a group: returns how many values of it need not be written now.
    pub(crate) fn drop_group(&self, group: &Digest) -> usize {
        self.lock().drop_puts(|put| put.group == *group)
    }

    /// Values that wait are not to be written any more: returns how many these were.
    pub(crate) fn drop_all(&self) -> usize {
        let mut waiting = self.lock();
        let dropped = waiting.drop_puts(|_| true);
        if waiting.is_empty() && waiting.removing.is_none() {
            self.busy.send_replace(false);
        }
        dropped
    }

    /// A removal that could not be made waits again, behind the others. Until it is made, nothing that it covers
    /// is handed out.
    pub(crate) fn again(&self, removal: Removal) {
        self.lock().removals.push_back(removal);
    }

    /// Whether a value is about to be removed.
    pub(crate) fn hides(&self, group: &Digest, key: &Digest) -> bool {
        let waiting = self.lock();
        let mut removals = waiting.removals.iter().chain(&waiting.removing);
        removals.any(|removal| removal.covers(group, key))
    }

    /// Waits until there is something to do.
    pub(crate) async fn filled(&self) {
        self.until(true).await;
    }

    /// Waits until nothing is left to do.
    pub(crate) async fn empty(&self) {
        self.until(false).await;
    }

    async fn until(&self, busy: bool) {
        // The sender is ours: it cannot be gone.
        let _ = self.busy.subscribe().wait_for(|now| *now == busy).await;
    }

    /// What is next; [`Self::done`] follows.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        if let Some(removal) = waiting.removals.pop_front() {
            waiting.removing = Some(removal.clone());
            return Some(Job::Remove(removal));
        }
        let batch = waiting.batch();
        (!batch.is_empty()).then_some(Job::Put(batch))
    }

    /// What was next is over.
    pub(crate) fn done(&self) {
        let mut waiting = self.lock();
        waiting.removing = None;
        self.busy.send_replace(!waiting.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing between two changes can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.puts.is_empty()
    }

    fn drop_puts(&mut self, covered: impl Fn(&Put) -> bool) -> usize {
        let before = self.puts.len();
        self.puts.retain(|put| !covered(put));
        self.bytes = self.puts.iter().map(|put| put.value.len()).sum();
        before - self.puts.len()
    }

    fn batch(&mut self) -> Vec<Put> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(put) = self.puts.pop_front() {
            bytes += put.value.len();
            if !batch.is_empty() && (bytes > BATCH_BYTES || batch.len() >= BATCH_PUTS) {
                self.puts.push_front(put);
                break;
            }
            self.bytes -= put.value.len();
            batch.push(put);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(group: u8, key: u8, bytes: usize) -> Put {
        Put {
            group: [group; 32],
            key: [key; 32],
            value: vec![0; bytes].into(),
            keep: Duration::from_secs(1),
        }
    }

    fn value(group: u8, key: u8) -> Removal {
        Removal::Value { group: [group; 32], key: [key; 32] }
    }

    fn batch(queue: &Queue) -> usize {
        match queue.next() {
            Some(Job::Put(batch)) => batch.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let queue = Queue::new();
        let taken = (0..2 * PUTS).filter(|_| queue.put(put(0, 0, 1))).count();
        assert_eq!(taken, PUTS);
        let queue = Queue::new();
        let taken = (0..100).filter(|_| queue.put(put(0, 0, BYTES / 10))).count();
        assert_eq!(taken, 10);
        assert_eq!(batch(&queue), 1);
        assert!(queue.put(put(0, 0, BYTES / 10)), "what was taken out makes room");
    }

    #[test]
    fn a_removal_has_room_when_values_have_none_and_goes_first() {
        let queue = Queue::new();
        (0..PUTS).for_each(|_| assert!(queue.put(put(0, 0, 1))));
        assert_eq!(queue.remove(Removal::Group([1; 32])), (true, 0));
        assert_eq!(queue.next(), Some(Job::Remove(Removal::Group([1; 32]))));
        queue.done();
        assert_eq!(batch(&queue), BATCH_PUTS);
    }

    #[test]
    fn a_removal_wins_against_what_waits_and_not_against_what_comes_later() {
        let queue = Queue::new();
        for at in [put(1, 1, 1), put(1, 2, 1), put(2, 1, 1)] {
            queue.put(at);
        }
        assert_eq!(queue.remove(Removal::Group([1; 32])), (true, 2));
        queue.put(put(1, 3, 1));
        assert_eq!(queue.remove(value(2, 1)), (true, 1));
        assert!(matches!(queue.next(), Some(Job::Remove(Removal::Group(_)))));
        assert!(matches!(queue.next(), Some(Job::Remove(Removal::Value { .. }))));
        assert_eq!(queue.next(), Some(Job::Put(vec![put(1, 3, 1)])));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn what_is_about_to_be_removed_is_hidden_until_that_is_done() {
        let queue = Queue::new();
        queue.remove(Removal::Group([1; 32]));
        queue.remove(value(2, 1));
        assert!(queue.hides(&[1; 32], &[9; 32]) && queue.hides(&[2; 32], &[1; 32]));
        assert!(!queue.hides(&[2; 32], &[2; 32]));
        queue.next();
        assert!(queue.hides(&[1; 32], &[9; 32]), "not done yet");
        queue.done();
        assert!(!queue.hides(&[1; 32], &[9; 32]));
    }

    #[test]
    fn the_same_removal_waits_once_but_is_done_again_if_it_is_under_way() {
        let queue = Queue::new();
        queue.remove(value(1, 1));
        queue.remove(value(1, 1));
        assert!(queue.next().is_some());
        queue.remove(value(1, 1));
        queue.done();
        assert!(queue.next().is_some());
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_batch_is_many_small_values_or_one_large() {
        let queue = Queue::new();
        for bytes in [BATCH_BYTES * 2, 1, 1, BATCH_BYTES, 1] {
            queue.put(put(0, 0, bytes));
        }
        assert_eq!([batch(&queue), batch(&queue), batch(&queue), batch(&queue)], [1, 2, 1, 1]);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[tokio::test]
    async fn it_is_known_when_nothing_is_left() {
        let queue = Queue::new();
        queue.empty().await;
        queue.put(put(0, 0, 1));
        queue.filled().await;
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.empty()).await.is_err());
        queue.next();
        queue.done();
        queue.empty().await;
    }
}
