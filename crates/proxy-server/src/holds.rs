//! The memory that fetched sources may take: a request holds a share of it before it fetches what a picture
//! is drawn from, and as long as these bytes are there.
//!
//! Small sources have a share of their own, which large ones leave alone, and large ones take no more than
//! half of the calls that an archive takes at once: so that a thumbnail of a small image never waits for
//! mammograms.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::workers::Overloaded;

/// What the shares are counted in.
const UNIT: u64 = 64 << 10;

/// Up to here a source is small: a CT, an MR, a frame of ultrasound.
const SMALL: u64 = 2 << 20;

/// What a source of which nothing is known is taken to have.
const UNKNOWN: u64 = 16 << 20;

/// The shares of all archives.
#[derive(Debug)]
pub(crate) struct Holds {
    small: Share,
    large: Share,
    /// How long one may be waited for.
    patience: Duration,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Share {
    units: Arc<Semaphore>,
    all: u32,
}

impl Share {
    fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// What is larger than all there is takes all of it.
    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.all)
    }
}

/// A share that is held, until the last of the bytes it is held for is gone.
#[derive(Clone, Debug)]
pub(crate) struct Hold(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    units: OwnedSemaphorePermit,
    /// One of the calls that large sources may make.
    call: Option<OwnedSemaphorePermit>,
}

impl Holds {
    /// Shares of so many bytes.
    pub(crate) fn new(bytes: u64, patience: Duration) -> Self {
        let small = bytes / 4;
        let [small, large] = [small, bytes - small].map(Share::new);
        Self { small, large, patience, refused: AtomicU64::new(0) }
    }

    /// A share for a source of at most so many bytes, once there is one.
    ///
    /// # Errors
    /// There was none for so long that the request is better made again later.
    pub(crate) async fn of(
        &self,
        bytes: u64,
        large_calls: &Arc<Semaphore>,
    ) -> Result<Hold, Overloaded> {
        let hold = tokio::time::timeout(self.patience, self.once_there_is(bytes, large_calls));
        hold.await.ok().flatten().ok_or_else(|| {
            self.refused.fetch_add(1, Relaxed);
            Overloaded
        })
    }

    /// The same for a source that is kept, which takes no call of an archive.
    ///
    /// # Errors
    /// As of [`Holds::of`].
    pub(crate) async fn of_kept(&self, bytes: u64) -> Result<Hold, Overloaded> {
        let share = if bytes <= SMALL { &self.small } else { &self.large };
        let units = share.units.clone().acquire_many_owned(share.units(bytes));
        match tokio::time::timeout(self.patience, units).await {
            Ok(Ok(units)) => Ok(Hold::new(units, None)),
            _ => {
                self.refused.fetch_add(1, Relaxed);
                Err(Overloaded)
            }
        }
    }

    async fn once_there_is(&self, bytes: u64, large_calls: &Arc<Semaphore>) -> Option<Hold> {
        // Nothing closes a semaphore of ours.
        if bytes <= SMALL {
            let units = self.small.units(bytes);
            let units = self.small.units.clone().acquire_many_owned(units).await.ok()?;
            return Some(Hold::new(units, None));
        }
        let call = large_calls.clone().acquire_owned().await.ok()?;
        let units = self.large.units(bytes);
        let units = self.large.units.clone().acquire_many_owned(units).await.ok()?;
        Some(Hold::new(units, Some(call)))
    }

    /// How often there was none.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// A share for a source of which nothing is known, if there is one at once.
    pub(crate) fn of_unknown(&self, large_calls: &Arc<Semaphore>) -> Option<Hold> {
        let call = large_calls.clone().try_acquire_owned().ok()?;
        let units = self.large.units(UNKNOWN);
        let units = self.large.units.clone().try_acquire_many_owned(units).ok()?;
        Some(Hold::new(units, Some(call)))
    }
}

impl Hold {
    fn new(units: OwnedSemaphorePermit, call: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(Mutex::new(Held { units, call })))
    }

    /// As [`Hold::keep`], of the only bytes there will be: what they do not need is given back.
    pub(crate) fn keep_only(&self, bytes: Bytes) -> Bytes {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = bytes.len().div_ceil(UNIT as usize).max(1);
        let surplus = held.units.num_permits().saturating_sub(needed);
        drop(held.units.split(surplus));
        if bytes.len() as u64 <= SMALL {
            held.call = None;
        }
        drop(held);
        self.keep(bytes)
    }

    /// These bytes, which hold the share as long as they, or clones or parts of them, are there.
    pub(crate) fn keep(&self, bytes: Bytes) -> Bytes {
        struct Kept {
            bytes: Bytes,
            _hold: Hold,
        }
        impl AsRef<[u8]> for Kept {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        Bytes::from_owner(Kept { bytes, _hold: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn holds() -> Holds {
        Holds::new(64 << 20, Duration::from_secs(60))
    }

    fn calls(n: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(n))
    }

    #[tokio::test]
    async fn a_share_is_held_as_long_as_its_bytes_are_there() {
        let (holds, calls) = (holds(), calls(8));
        let large = || holds.of(40 << 20, &calls).now_or_never();
        let bytes = large().unwrap().unwrap().keep(Bytes::from_static(b"pixels"));
        let part = bytes.slice(1..3);
        drop(bytes);
        assert!(large().is_none());
        drop(part);
        assert!(large().is_some());
    }

    #[tokio::test]
    async fn what_turns_out_to_be_small_is_held_as_small() {
        let (holds, calls) = (holds(), calls(1));
        let hold = holds.of_unknown(&calls).unwrap();
        assert!(holds.of_unknown(&calls).is_none());
        let _bytes = hold.keep_only(Bytes::from_static(b"pixels"));
        assert!(holds.of(40 << 20, &calls).now_or_never().is_some());
    }

    #[tokio::test]
    async fn small_sources_do_not_wait_for_large_ones() {
        let (holds, calls) = (holds(), calls(2));
        let _large = holds.of(48 << 20, &calls).now_or_never().unwrap().unwrap();
        assert!(holds.of_unknown(&calls).is_none());
        let small: Vec<Hold> =
            (0..8).map(|_| holds.of(2 << 20, &calls).now_or_never().unwrap().unwrap()).collect();
        assert!(holds.of(2 << 20, &calls).now_or_never().is_none());
        drop(small);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_there_is_takes_all_of_it() {
        let (holds, calls) = (holds(), calls(2));
        let hold = holds.of(1 << 40, &calls).now_or_never().unwrap().unwrap();
        assert!(holds.of(3 << 20, &calls).now_or_never().is_none());
        drop(hold);
        assert!(holds.of(3 << 20, &calls).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let (holds, calls) = (Holds::new(64 << 20, Duration::from_millis(5)), calls(1));
        let all = holds.of(u64::MAX, &calls).await.unwrap();
        assert!(holds.of(3 << 20, &calls).await.is_err());
        assert_eq!(holds.refused(), 1);
        drop(all);
        assert!(holds.of(3 << 20, &calls).await.is_ok());
    }
}
