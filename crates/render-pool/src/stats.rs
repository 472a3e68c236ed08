//! What the workers have done and what they do, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::task::Times;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Stats {
    done: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    too_large: AtomicU64,
    lost: AtomicU64,
    restarts: AtomicU64,
    waited: Clock,
    decode: Clock,
    render: Clock,
    encode: Clock,
}

/// Time that was spent on something, in microseconds, and how often.
#[derive(Debug, Default)]
struct Clock {
    micros: AtomicU64,
    count: AtomicU64,
}

impl Clock {
    fn add(&self, time: Duration) {
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    fn spent(&self) -> Spent {
        Spent {
            time: Duration::from_micros(self.micros.load(Relaxed)),
            count: self.count.load(Relaxed),
        }
    }
}

/// Time spent on something, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// All of it.
    pub time: Duration,
    /// How often.
    pub count: u64,
}

/// Everything at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)] // they say what they count
pub struct Snapshot {
    pub workers: u64,
    pub busy: u64,
    pub waiting: u64,
    /// Bytes that drawing takes, and may take.
    pub bytes_admitted: u64,
    pub bytes_limit: u64,
    pub done: u64,
    pub failed: u64,
    pub late: u64,
    pub too_large: u64,
    pub lost: u64,
    /// Worker processes begun again, for whatever reason.
    pub restarts: u64,
    pub waited: Spent,
    pub decode: Spent,
    pub render: Spent,
    pub encode: Spent,
}

impl Stats {
    pub(crate) fn waited(&self, time: Duration) {
        self.waited.add(time);
    }

    pub(crate) fn done(&self, times: Times) {
        self.done.fetch_add(1, Relaxed);
        self.decode.add(times.decode);
        self.render.add(times.render);
        self.encode.add(times.encode);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn late(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    pub(crate) fn too_large(&self) {
        self.too_large.fetch_add(1, Relaxed);
    }

    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// The counters; what is under way is the pool's to add.
    pub(crate) fn counted(&self) -> Snapshot {
        Snapshot {
            done: self.done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            late: self.late.load(Relaxed),
            too_large: self.too_large.load(Relaxed),
            lost: self.lost.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            waited: self.waited.spent(),
            decode: self.decode.spent(),
            render: self.render.spent(),
            encode: self.encode.spent(),
            ..Snapshot::default()
        }
    }
}
