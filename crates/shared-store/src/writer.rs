//! The task that does what waits in the queue, one thing at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::Core;
use crate::queue::{Job, Put, Removal};
use crate::session::{Session, Trouble};

/// Nobody waits for a write, but those behind it.
const PATIENCE: Duration = Duration::from_secs(2);

/// So often a removal is tried on a connection, this far apart.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Writes for ever.
pub(crate) async fn work(core: Arc<Core>) {
    loop {
        core.queue.filled().await;
        core.link.connected().await;
        match core.queue.next() {
            Some(Job::Remove(removal)) => remove(&core, removal).await,
            Some(Job::Put(puts)) => put(&core, &puts).await,
            None => {}
        }
        core.queue.done();
    }
}

/// Tried for a while; then it waits again, behind the others.
async fn remove(core: &Core, removal: Removal) {
    for _ in 0..TRIES {
        core.link.connected().await;
        let Some(session) = core.link.session() else { continue };
        if done(core, session.remove(&removal, &core.link.node)).await {
            return core.counts.removals.one();
        }
        sleep(PAUSE).await;
    }
    tracing::warn!(
        "the shared store does not remove what it is told to; it is told again and again"
    );
    core.counts.removals_lost.one();
    core.queue.again(removal);
}

async fn put(core: &Core, puts: &[Put]) {
    if store(core, core.link.session(), puts).await {
        core.counts.puts.add(puts.len());
        core.counts.bytes_out.add(puts.iter().map(|put| put.value.len()).sum());
    } else {
        core.counts.dropped.add(puts.len());
    }
}

/// A server that is full or cannot be written to is left alone for a moment: values are long.
async fn store(core: &Core, session: Option<Session>, puts: &[Put]) -> bool {
    let Some(session) = session else { return false };
    let Some(pass) = core.puts.admit(Instant::now()) else { return false };
    let stored = done(core, session.put(puts)).await;
    if stored {
        pass.answered()
    } else {
        pass.failed(Instant::now())
    }
    stored
}

/// Whether it was done in time. What was not deserves a look.
async fn done(core: &Core, work: impl Future<Output = Result<(), Trouble>>) -> bool {
    let done = matches!(timeout(PATIENCE, work).await, Ok(Ok(())));
    if !done {
        core.link.look();
    }
    done
}
