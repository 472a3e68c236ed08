//! How far reading may be ahead of drawing: so many bytes, and not thousands of files.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Files held at the same time. Small ones would else be read by the thousand for nothing.
const MOST: usize = 64;

/// What is held of all files that are read and not done yet.
#[derive(Debug)]
pub(crate) struct Ahead {
    limit: u64,
    held: Mutex<Held>,
    less: Condvar,
}

#[derive(Default, Debug)]
struct Held {
    bytes: u64,
    files: usize,
}

/// The bytes of one file. They are free again with it.
#[derive(Debug)]
pub(crate) struct Hold {
    ahead: Arc<Ahead>,
    bytes: u64,
}

impl Ahead {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, held: Mutex::default(), less: Condvar::new() }
    }

    /// Room for a file of so many bytes, once there is some. One that is larger than all of it is alone.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Hold {
        let is_full = |held: &mut Held| {
            held.files > 0 && (held.files >= MOST || held.bytes.saturating_add(bytes) > self.limit)
        };
        let held = self.less.wait_while(self.lock(), is_full);
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_add(bytes);
        held.files += 1;
        Hold { ahead: self.clone(), bytes }
    }

    /// Waits until all that was held is done.
    pub(crate) fn until_empty(&self) {
        drop(self.less.wait_while(self.lock(), |held| held.files > 0));
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Gives back what turned out not to be needed.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.ahead.lock().bytes -= surplus;
        self.ahead.less.notify_all();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.ahead.lock();
        held.bytes -= self.bytes;
        held.files -= 1;
        drop(held);
        self.ahead.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_would_hold_too_much_waits_for_others() {
        let ahead = Arc::new(Ahead::new(100));
        let mut first = ahead.hold(90);
        let (sender, second) = mpsc::channel();
        let other = ahead.clone();
        let reader = thread::spawn(move || {
            sender.send(other.hold(50)).unwrap();
        });
        assert!(second.recv_timeout(Duration::from_millis(50)).is_err());
        first.shrink_to(40);
        drop(second.recv_timeout(Duration::from_secs(5)).unwrap());
        drop(first);
        reader.join().unwrap();
        ahead.until_empty();
    }

    #[test]
    fn what_is_larger_than_all_is_held_alone() {
        let ahead = Arc::new(Ahead::new(100));
        drop(ahead.hold(u64::MAX));
        let _small = ahead.hold(1);
        ahead.lock().files = 1;
    }
}
