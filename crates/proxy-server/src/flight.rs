//! One piece of work for any number of equal requests at the same time.
//!
//! Who asks first leads: the work is begun, as a task that belongs to all who wait for it. Who asks
//! later follows. It ends early only when the last of them has gone; a leader that goes away, or a
//! client, takes nothing along. Should the work die, one of the followers leads anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::task::Task;

/// Work under way, by what it is for.
pub(crate) struct Flights<K, V> {
    board: Arc<Board<K, V>>,
    followed: AtomicU64,
}

/// What several asked for, and whether somebody else had begun it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Landed<V> {
    pub(crate) value: V,
    pub(crate) followed: bool,
}

/// The work died: a defect of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Died;

type Board<K, V> = Mutex<HashMap<K, Weak<Flight<V>>>>;

struct Flight<V> {
    outcome: watch::Receiver<Option<V>>,
    /// Ends with the last who waits for it.
    _work: Task<()>,
}

/// The duty to bring the work to its end. Dropped before that, the followers are told.
struct Leader<K: Eq + Hash, V> {
    board: Arc<Board<K, V>>,
    key: K,
    outcome: watch::Sender<Option<V>>,
}

/// The right to what comes of it.
struct Follower<V>(Arc<Flight<V>>);

enum Role<V> {
    Leads(Follower<V>),
    Follows(Follower<V>),
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { board: Arc::default(), followed: AtomicU64::new(0) }
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What `work` comes to, which is done once for all who ask for `key` meanwhile.
    ///
    /// # Errors
    /// Work that was led from here has died.
    pub(crate) async fn share<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<Landed<V>, Died>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.share_or_leave(key, &mut Some(work)).await
    }

    /// The same; where another led, the work is left as it was.
    ///
    /// # Errors
    /// Work that was led from here has died.
    pub(crate) async fn share_or_leave<F>(
        &self,
        key: K,
        work: &mut Option<impl FnOnce() -> F>,
    ) -> Result<Landed<V>, Died>
    where
        F: Future<Output = V> + Send + 'static,
    {
        loop {
            match self.join(&key, work) {
                Some(Role::Leads(seat)) => {
                    let value = seat.landed().await.ok_or(Died)?;
                    return Ok(Landed { value, followed: false });
                }
                Some(Role::Follows(seat)) => {
                    self.followed.fetch_add(1, Relaxed);
                    if let Some(value) = seat.landed().await {
                        return Ok(Landed { value, followed: true });
                    }
                    // Its leader has died: the next one leads.
                }
                None => return Err(Died),
            }
        }
    }

    /// Whether there is such work that may be followed.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        let flight = lock(&self.board).get(key).and_then(Weak::upgrade);
        flight.is_some_and(|flight| !flight.has_died())
    }

    /// How often work of others was waited for.
    pub(crate) fn followed(&self) -> u64 {
        self.followed.load(Relaxed)
    }

    fn join<F>(&self, key: &K, work: &mut Option<impl FnOnce() -> F>) -> Option<Role<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut board = lock(&self.board);
        let under_way = board.get(key).and_then(Weak::upgrade);
        if let Some(flight) = under_way.filter(|flight| !flight.has_died()) {
            return Some(Role::Follows(Follower(flight)));
        }
        let work = work.take()?();
        let (sender, outcome) = watch::channel(None);
        let leader = Leader { board: self.board.clone(), key: key.clone(), outcome: sender };
        let task = Task::spawn(async move { leader.finish(work.await) });
        let flight = Arc::new(Flight { outcome, _work: task });
        board.insert(key.clone(), Arc::downgrade(&flight));
        Some(Role::Leads(Follower(flight)))
    }
}

impl<V> Flight<V> {
    fn has_died(&self) -> bool {
        self.outcome.has_changed().is_err() && self.outcome.borrow().is_none()
    }
}

impl<K: Eq + Hash, V> Leader<K, V> {
    fn finish(self, value: V) {
        self.outcome.send_replace(Some(value));
    }
}

impl<K: Eq + Hash, V> Drop for Leader<K, V> {
    fn drop(&mut self) {
        let mut board = lock(&self.board);
        // After a death another may lead by now.
        let is_over = |flight: &Weak<Flight<V>>| {
            flight.upgrade().is_none_or(|f| f.outcome.same_channel(&self.outcome.subscribe()))
        };
        if board.get(&self.key).is_some_and(is_over) {
            board.remove(&self.key);
        }
    }
}

impl<V: Clone> Follower<V> {
    /// `None` where the work died.
    async fn landed(self) -> Option<V> {
        let mut outcome = self.0.outcome.clone();
        let value = outcome.wait_for(Option::is_some).await.ok()?;
        value.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::{Notify, oneshot};

    use super::*;

    type Numbers = Flights<&'static str, usize>;

    #[tokio::test]
    async fn equal_work_is_done_once_and_other_work_by_itself() {
        let (flights, done) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |key| {
            let done = done.clone();
            flights.share(key, move || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                done.fetch_add(1, Relaxed)
            })
        };
        let landed = join_all((0..40).map(|n| ask(if n % 2 == 0 { "a" } else { "b" }))).await;
        assert_eq!(done.load(Relaxed), 2);
        let led = landed.iter().filter(|landed| !landed.unwrap().followed).count();
        assert_eq!((led, flights.followed()), (2, 38));
        assert!(lock(&flights.board).is_empty());
        assert_eq!(ask("a").await, Ok(Landed { value: 2, followed: false }));
    }

    #[tokio::test]
    async fn who_leads_may_leave_and_the_work_goes_on_for_the_others() {
        let flights = Arc::new(Numbers::default());
        let go = Arc::new(Notify::new());
        let ask = |value| {
            let (flights, go) = (flights.clone(), go.clone());
            async move {
                flights
                    .share("a", move || async move {
                        go.notified().await;
                        value
                    })
                    .await
            }
        };
        let first = tokio::spawn(ask(1));
        while lock(&flights.board).is_empty() {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn(ask(2));
        while flights.followed() == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.is_err());
        go.notify_one();
        assert_eq!(second.await.unwrap(), Ok(Landed { value: 1, followed: true }));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_ends() {
        let flights = Numbers::default();
        let (held, dropped) = oneshot::channel::<()>();
        let asked = flights.share("a", move || async move {
            let _held = held;
            std::future::pending().await
        });
        let outcome = tokio::time::timeout(Duration::from_millis(20), asked).await;
        assert!(outcome.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(5), dropped).await.unwrap().is_err());
        assert_eq!(flights.share("a", || async { 5 }).await.map(|l| l.value), Ok(5));
    }

    #[tokio::test]
    async fn a_follower_leads_where_the_leader_died() {
        let flights = Arc::new(Numbers::default());
        let ask = |dies: bool| {
            let flights = flights.clone();
            async move {
                flights
                    .share("a", move || async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        assert!(!dies, "it dies");
                        7
                    })
                    .await
            }
        };
        let first = tokio::spawn(ask(true));
        while lock(&flights.board).is_empty() {
            tokio::task::yield_now().await;
        }
        let others = join_all((0..3).map(|_| ask(false))).await;
        assert_eq!(first.await.unwrap(), Err(Died));
        assert!(others.iter().all(|landed| landed.unwrap().value == 7));
        assert_eq!(others.iter().filter(|landed| !landed.unwrap().followed).count(), 1);
    }
}
