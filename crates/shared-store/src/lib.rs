//! The tier of a cache that several nodes share through Redis or Valkey. It does its best and no more: a
//! server that is dead, slow, full or talks nonsense costs a caller a few milliseconds and a count in the
//! [`Snapshot`], never an error.
//!
//! Values are found by two digests that the caller makes: a *group*, of what is forgotten together, and a
//! *key* within it. What they are of is none of this crate's business.
//!
//! ```no_run
//! use std::time::Duration;
//! use shared_store::{Settings, Shared};
//!
//! # async fn example() -> Result<(), shared_store::SetupError> {
//! let shared = Shared::open(Settings::new("redis://:secret@cache.example:6379/2"))?;
//! let (group, key) = ([1; 32], [2; 32]);
//! if shared.get(&group, &key).await.is_none() {
//!     shared.put(&group, &key, "made with much effort".into(), Duration::from_secs(3600));
//! }
//! shared.forget(&group);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - A get takes no longer than the patience of the [`Settings`], whatever happens. After three in a row
//!   that were late or failed, and while there is no connection, gets are not sent, for 250 ms at first and
//!   5 s at most.
//! - Values that the server refuses (it is full, or a replica) make it rest in the same way from others.
//! - Everything else returns at once and is done in the background, within bounds: 256 values or 16 MiB may
//!   wait, and 4096 removals beside them. What is left when the last [`Shared`] is dropped is not done;
//!   [`Shared::settled`] waits for it.
//! - What another program wrote under our names, or half a value, is never handed out, but removed.
//! - A group that was forgotten is gone for all nodes by one command. On this node it is gone at once, with
//!   the values of it that waited to be written. A removal outlives a lost connection.
//! - No password and no name is logged: one warning when the server is lost, one line when it is back.
//!
//! # What is not
//!
//! - A value that another node puts after a group was forgotten is a value. So is one that was on its way to
//!   a server that stopped: it may be written when the server wakes up, after the removal that came over a
//!   new connection, and then lives until its time is over.
//! - While a node has no connection it hears nothing: then it is told [`Notice::Missed`] afterwards.
//! - Who can write to Redis can forge values, and can make nodes forget. It is to be trusted as the nodes
//!   are, and so is its network where it is not reached over TLS.
//! - One server: Redis 7 or later, or Valkey. A cluster is not supported; where it answers `MOVED`, that is
//!   a failure like others.
//! - If the server evicts what was not used for long (`maxmemory-policy allkeys-lru`, which suits best),
//!   it may evict the list of a group: its values are then not found any more.
//!
//! # What is in Redis
//!
//! | key | |
//! |---|---|
//! | `lightbox:salt` | 32 random bytes, made by the first node that finds none. Looked at every 15 s |
//! | `lightbox:` and 32 hexadecimal digits | a value behind a header, or the set of a group |
//!
//! The digits are 128 bits of SHA-256 over the salt and the caller's digests: names cannot be tied to what
//! they are of by a dictionary, unless one also has the salt. Members of a set are the names of its values,
//! as 16 bytes. They leave it with the group, when it has not been written to for as long as its values live.
//!
//! On the channel `lightbox:forgotten` a node tells the others a group: version (1 byte, 1), a random number
//! that stands for the node (16), the name of the group (16), the group as the caller gave it (32). The
//! others need it so: make it a digest that says nothing by itself. Channels know no databases: nodes that
//! keep theirs in another one of the same server hear it too, and forget what they do not have.
#![deny(missing_docs)]

mod breaker;
mod counts;
mod link;
mod names;
mod queue;
mod session;
mod settings;
mod value;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::breaker::Breaker;
use crate::counts::Counts;
pub use crate::counts::Snapshot;
use crate::link::Link;
use crate::names::Name;
use crate::queue::{Put, Queue, Removal};
use crate::session::{Found, Session, Trouble};
pub use crate::settings::{SecretUrl, Settings, SetupError};
use crate::value::Opened;

/// What values are found by.
pub type Digest = [u8; 32];

/// Gets under way at once. More wait for one of these, within their patience.
const PLACES: usize = 64;

/// What other nodes have done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Another node has forgotten this group.
    Forgotten(Digest),
    /// There was no connection for a while: what was forgotten in the meantime is not known.
    Missed,
}

/// The shared tier. A clone is the same one; the last to be dropped closes it.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    /// Ended when dropped.
    _tasks: JoinSet<()>,
}

/// What callers and tasks have in common.
struct Core {
    largest: usize,
    patience: Duration,
    places: Semaphore,
    gets: Breaker,
    puts: Breaker,
    queue: Queue,
    link: Link,
    counts: Counts,
}

impl Shared {
    /// Checks the settings. The connection is made in the background, again and again for as long as this
    /// lives.
    ///
    /// # Errors
    /// What is wrong with the settings, without showing the password. A server that is not there is none.
    pub fn open(settings: Settings) -> Result<Self, SetupError> {
        let runtime = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        // The connections take the provider that the process has; where it has one, that is it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = settings.client()?;
        let core = Arc::new(Core::new(&settings)?);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(link::keep(core.clone(), client), &runtime);
        tasks.spawn_on(writer::work(core.clone()), &runtime);
        Ok(Self { inner: Arc::new(Inner { core, _tasks: tasks }) })
    }

    /// A value, if the server has it and says so within the patience.
    pub async fn get(&self, group: &Digest, key: &Digest) -> Option<Bytes> {
        self.inner.core.get(group, key).await
    }

    /// Stores a value for the time that it is to be kept, at most a year.
    pub fn put(&self, group: &Digest, key: &Digest, value: Bytes, keep: Duration) {
        let core = &self.inner.core;
        let is_wanted = value.len() <= core.largest && !keep.is_zero() && core.link.is_connected();
        let put = Put { group: *group, key: *key, value, keep };
        if !is_wanted || !core.queue.put(put) {
            core.counts.dropped.one();
        }
    }

    /// Removes a value.
    pub fn remove(&self, group: &Digest, key: &Digest) {
        self.inner.core.remove(Removal::Value { group: *group, key: *key });
    }

    /// Removes every value of a group, and tells the other nodes.
    pub fn forget(&self, group: &Digest) {
        self.inner.core.remove(Removal::Group(*group));
    }

    /// What other nodes do from now on. A receiver that lags behind is told so.
    pub fn forgotten(&self) -> broadcast::Receiver<Notice> {
        self.inner.core.link.notices.subscribe()
    }

    /// Waits until nothing is left to be done in the background, and says whether it came to that in time.
    pub async fn settled(&self, within: Duration) -> bool {
        timeout(within, self.inner.core.queue.empty()).await.is_ok()
    }

    /// What has happened so far.
    pub fn snapshot(&self) -> Snapshot {
        let core = &self.inner.core;
        core.counts.snapshot(core.link.is_connected())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("snapshot", &self.snapshot()).finish()
    }
}

impl Core {
    fn new(settings: &Settings) -> Result<Self, SetupError> {
        let node = session::random().map_err(|error| SetupError::Client(error.to_string()))?;
        Ok(Self {
            largest: settings.largest,
            patience: settings.patience,
            places: Semaphore::new(PLACES),
            gets: Breaker::new(),
            puts: Breaker::new(),
            queue: Queue::new(),
            link: Link::new(node),
            counts: Counts::default(),
        })
    }

    async fn get(&self, group: &Digest, key: &Digest) -> Option<Bytes> {
        let Some(session) = self.link.session() else {
            self.counts.skipped.one();
            return None;
        };
        if self.queue.hides(group, key) {
            self.counts.misses.one();
            return None;
        }
        let (set, name) = (session.names.group(group), session.names.value(group, key));
        match self.ask(&session, &set, &name).await? {
            Found::Nothing => self.counts.misses.one(),
            Found::Foreign => self.damaged(group, key),
            Found::Stored(stored) => match value::open(&name, stored, self.largest) {
                Opened::Value(value) => {
                    self.counts.hits.one();
                    self.counts.bytes_in.add(value.len());
                    return Some(value);
                }
                Opened::TooLarge => self.counts.misses.one(),
                Opened::Damaged => self.damaged(group, key),
            },
        }
        None
    }

    /// What the server answers, if it is asked and does so in time.
    async fn ask(&self, session: &Session, set: &Name, name: &Name) -> Option<Found> {
        let began = Instant::now();
        let Some(pass) = self.gets.admit(began) else {
            self.counts.skipped.one();
            return None;
        };
        // A future that is dropped here leaves the connection in step: its answer is thrown away.
        match timeout(self.patience, self.ask_in_turn(session, set, name)).await {
            Ok(Ok(found)) => {
                pass.answered();
                self.counts.answered(began.elapsed());
                return Some(found);
            }
            Ok(Err(_)) => self.counts.failed.one(),
            Err(_) => self.counts.late.one(),
        }
        pass.failed(Instant::now());
        self.link.look();
        None
    }

    async fn ask_in_turn(
        &self,
        session: &Session,
        set: &Name,
        name: &Name,
    ) -> Result<Found, Trouble> {
        // It is never closed.
        let _place = self.places.acquire().await;
        session.get(set, name, self.largest).await
    }

    fn damaged(&self, group: &Digest, key: &Digest) {
        self.counts.damaged.one();
        self.remove(Removal::Value { group: *group, key: *key });
        // Answers that are out of step with the questions look like damage.
        self.link.look();
    }

    fn remove(&self, removal: Removal) {
        let (has_room, dropped) = self.queue.remove(removal);
        self.counts.dropped.add(dropped);
        if !has_room {
            self.counts.removals_lost.one();
        }
    }
}
