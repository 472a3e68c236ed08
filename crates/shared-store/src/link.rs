//! The life of the connection: made again and again, looked at now and then.
//!
//! A session ends when the server closes it, when it does not answer a look, or when the salt is another
//! one (everything was flushed). Looks come every fifteen seconds, and soon after a call that was late,
//! failed, or found damage: so a server that has gone silent, or whose answers are out of step with the
//! questions, costs a new connection rather than patience for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::Client;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::session::{Ears, Heard, Session, Trouble, heard};
use crate::{Core, Notice};

/// How long it may take until a connection is of use.
const SETUP: Duration = Duration::from_secs(3);

/// How long an answer to a look may take.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked, at least. No longer is anything written under a salt that is out of date.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// And at most.
const LOOK_GAP: Duration = Duration::from_millis(250);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A session that has lived so long was of use: the next pause is a short one again.
const OF_USE: Duration = Duration::from_secs(10);

/// Notices that wait for a receiver before it is told that it lags.
const NOTICES: usize = 1024;

pub(crate) struct Link {
    session: watch::Sender<Option<Session>>,
    look: Notify,
    pub(crate) notices: broadcast::Sender<Notice>,
    /// By this a node knows its own messages.
    pub(crate) node: [u8; 16],
    /// Whether it was said that the server is out of reach, and not yet that it is back.
    is_down: AtomicBool,
    /// Whether there was a time of which nothing was heard.
    missed: AtomicBool,
}

/// Why a session has ended.
enum Ended {
    Lost(Trouble),
    /// The salt is another one.
    Renamed,
}

impl Link {
    pub(crate) fn new(node: [u8; 16]) -> Self {
        Self {
            session: watch::Sender::new(None),
            look: Notify::new(),
            notices: broadcast::Sender::new(NOTICES),
            node,
            is_down: AtomicBool::new(false),
            missed: AtomicBool::new(false),
        }
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Waits until there is a session.
    pub(crate) async fn connected(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.session.subscribe().wait_for(Option::is_some).await;
    }

    /// Something went wrong: the connection deserves a look.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    fn begin(&self, session: Session) {
        self.session.send_replace(Some(session));
        if self.missed.swap(false, Ordering::Relaxed) {
            // Nobody may be listening.
            let _ = self.notices.send(Notice::Missed);
        }
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!("the shared store is within reach again");
        }
    }

    fn log_lost(&self, trouble: &Trouble) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(%trouble, "the shared store is out of reach; it is tried again and again");
        }
    }
}

/// Keeps a session open, for ever.
pub(crate) async fn keep(core: Arc<Core>, client: Client) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        // In a task of its own: should the client panic on nonsense, that ends the session alone.
        let mut life = JoinSet::new();
        life.spawn(live(core.clone(), client.clone()));
        let ended = life.join_next().await.and_then(Result::ok);
        core.link.session.send_replace(None);
        // Others may forget something of it before there is a connection again, and nobody here hears it.
        core.counts.dropped.add(core.queue.drop_all());
        if let Ended::Lost(trouble) = ended.unwrap_or(Ended::Lost(Trouble::Nonsense)) {
            core.link.log_lost(&trouble);
        }
        // What is told to receivers after the next connection, and not after the first.
        core.link.missed.store(true, Ordering::Relaxed);
        if began.elapsed() >= OF_USE {
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One session from its beginning to its end.
async fn live(core: Arc<Core>, client: Client) -> Ended {
    let opened = timeout(SETUP, Session::open(&client)).await;
    let (session, ears) = match opened.unwrap_or(Err(Trouble::Late)) {
        Ok(opened) => opened,
        Err(trouble) => return Ended::Lost(trouble),
    };
    core.counts.connections.one();
    core.gets.reset();
    core.puts.reset();
    core.link.begin(session.clone());
    listen(&core, &session, ears).await
}

async fn listen(core: &Core, session: &Session, mut ears: Ears) -> Ended {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.reset();
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            message = ears.messages.next() => {
                let Some(message) = message else { return Ended::Lost(Trouble::Closed) };
                hear(core, session, message.get_payload_bytes());
                continue;
            }
            () = core.link.look.notified() => sleep_until(last + LOOK_GAP).await,
            _ = looks.tick() => {}
        }
        match timeout(LOOK, session.check(&mut ears)).await.unwrap_or(Err(Trouble::Late)) {
            Ok(true) => last = tokio::time::Instant::now(),
            Ok(false) => return Ended::Renamed,
            Err(trouble) => return Ended::Lost(trouble),
        }
    }
}

fn hear(core: &Core, session: &Session, message: &[u8]) {
    let Some(Heard { group, name }) = heard(message, &core.link.node) else { return };
    core.counts.heard.one();
    core.counts.dropped.add(core.queue.drop_group(&group));
    if session.names.group(&group) != name {
        core.link.look();
    }
    // Nobody may be listening.
    let _ = core.link.notices.send(Notice::Forgotten(group));
}
