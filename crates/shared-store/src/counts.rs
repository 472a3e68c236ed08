//! What is counted for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What has happened since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Whether there is a connection now.
    pub connected: bool,
    /// Gets that found a value.
    pub hits: u64,
    /// Gets that were answered, without a value: none is there, it is longer than this node takes, or it is
    /// about to be removed.
    pub misses: u64,
    /// Gets without an answer within the patience.
    pub late: u64,
    /// Gets that were answered with an error or nonsense, or whose connection broke.
    pub failed: u64,
    /// Gets that were not sent, because the server is not connected or is left alone for a moment.
    pub skipped: u64,
    /// Gets that found what none of us wrote, or half of it. It is removed.
    pub damaged: u64,
    /// Values that were stored.
    pub puts: u64,
    /// Values that were not: too large, too many waiting, forgotten while they waited, no connection, or
    /// refused by the server.
    pub dropped: u64,
    /// Removals that were done, of a value or of a group.
    pub removals: u64,
    /// Removals that were given up: too many waiting, or refused by the server again and again. What they
    /// were to remove stays until its time is over.
    pub removals_lost: u64,
    /// Groups that other nodes were heard to forget.
    pub heard: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes of the values that were found.
    pub bytes_in: u64,
    /// Bytes of the values that were stored.
    pub bytes_out: u64,
    /// What all gets that were answered in time took.
    pub latency_sum: Duration,
    /// How many these were.
    pub latency_count: u64,
}

/// A number that only grows. Each stands for itself: nobody needs them in step.
#[derive(Default, Debug)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default, Debug)]
pub(crate) struct Counts {
    pub(crate) hits: Count,
    pub(crate) misses: Count,
    pub(crate) late: Count,
    pub(crate) failed: Count,
    pub(crate) skipped: Count,
    pub(crate) damaged: Count,
    pub(crate) puts: Count,
    pub(crate) dropped: Count,
    pub(crate) removals: Count,
    pub(crate) removals_lost: Count,
    pub(crate) heard: Count,
    pub(crate) connections: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    latency_nanoseconds: Count,
    latency_count: Count,
}

impl Counts {
    pub(crate) fn answered(&self, took: Duration) {
        self.latency_nanoseconds.add(took.as_nanos() as usize);
        self.latency_count.one();
    }

    pub(crate) fn snapshot(&self, connected: bool) -> Snapshot {
        Snapshot {
            connected,
            hits: self.hits.value(),
            misses: self.misses.value(),
            late: self.late.value(),
            failed: self.failed.value(),
            skipped: self.skipped.value(),
            damaged: self.damaged.value(),
            puts: self.puts.value(),
            dropped: self.dropped.value(),
            removals: self.removals.value(),
            removals_lost: self.removals_lost.value(),
            heard: self.heard.value(),
            connections: self.connections.value(),
            bytes_in: self.bytes_in.value(),
            bytes_out: self.bytes_out.value(),
            latency_sum: Duration::from_nanos(self.latency_nanoseconds.value()),
            latency_count: self.latency_count.value(),
        }
    }
}
