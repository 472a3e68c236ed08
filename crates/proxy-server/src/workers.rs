//! Bounded work: how many pictures are drawn at once, how many are being fetched, and how many
//! requests may wait.
//!
//! A request takes a [`Place`], then a turn at the archive, then a slot to draw in. The turn is kept
//! until there is a slot: so no more sources are in memory than turns and slots together, however many
//! requests wait, and a burst reaches the archive a few calls at a time. The slot is taken only to draw,
//! so that a slow archive holds no processor.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use core_render::{Picture, RenderError, RenderJob, Stage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The processor slots, and the places before them.
#[derive(Debug)]
pub(crate) struct Workers {
    places: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// The right of one request to be under way. Its clones are the same place: a request for many pictures
/// takes one.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    place: Arc<OwnedSemaphorePermit>,
    slots: Arc<Semaphore>,
}

/// The right to fetch from the archive, and to hold what was fetched.
#[derive(Debug)]
pub(crate) struct Turn {
    place: Arc<OwnedSemaphorePermit>,
    turn: OwnedSemaphorePermit,
    slots: Arc<Semaphore>,
    waited: Duration,
}

/// All places are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many pictures are being drawn")]
pub(crate) struct Overloaded;

/// A picture, and where its time went.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) picture: Picture,
    pub(crate) queue: Duration,
    pub(crate) decode: Duration,
    pub(crate) render: Duration,
    pub(crate) encode: Duration,
}

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A defect of ours.
    #[error("drawing the picture failed unexpectedly")]
    Broke,
}

impl Workers {
    /// `slots` pictures drawn at once, and `queue` requests beyond them.
    pub(crate) fn new(slots: NonZeroUsize, queue: usize) -> Self {
        let slots = slots.get().min(Semaphore::MAX_PERMITS);
        let places = slots.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let [places, slots] = [places, slots].map(|n| Arc::new(Semaphore::new(n)));
        Self { places, slots }
    }

    /// Does work that is none of drawing, once a slot is free.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> core_render::Result<T> + Send + 'static,
    ) -> Result<T, WorkError> {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| WorkError::Broke)?;
        in_slot(slot, work).await
    }

    /// A place, if there is one.
    pub(crate) fn admit(&self) -> Result<Place, Overloaded> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Overloaded)?;
        Ok(Place { place: Arc::new(place), slots: self.slots.clone() })
    }
}

impl Place {
    /// One of the turns at an archive, once there is one.
    pub(crate) async fn turn(self, turns: Arc<Semaphore>) -> Result<Turn, WorkError> {
        let waiting = Instant::now();
        let turn = turns.acquire_owned().await.map_err(|_| WorkError::Broke)?;
        let Self { place, slots } = self;
        Ok(Turn { place, turn, slots, waited: waiting.elapsed() })
    }
}

impl Turn {
    /// Draws, once a slot is free. Dropped before that, nothing is drawn; afterwards the work ends by
    /// itself and holds its slot until then.
    pub(crate) async fn run(self, job: RenderJob) -> Result<Rendered, WorkError> {
        let waited = self.waited;
        let waiting = Instant::now();
        let slots = self.slots.clone();
        self.work(move || {
            let queue = waited + waiting.elapsed();
            let mut job = job;
            job.limits.threads = threads(slots.available_permits());
            draw(&job, queue)
        })
        .await
    }

    /// Does other work in the same way.
    pub(crate) async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce() -> core_render::Result<T> + Send + 'static,
    ) -> Result<T, WorkError> {
        let slot = self.slots.acquire_owned().await.map_err(|_| WorkError::Broke)?;
        drop(self.turn);
        in_slot((self.place, slot), work).await
    }
}

/// Threads for one picture: processors that nobody else draws on would idle.
fn threads(free_slots: usize) -> u32 {
    const MOST: u32 = 4;
    u32::try_from(free_slots).unwrap_or(MOST).saturating_add(1).min(MOST)
}

async fn in_slot<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl FnOnce() -> core_render::Result<T> + Send + 'static,
) -> Result<T, WorkError> {
    let work = tokio::task::spawn_blocking(move || {
        let _held = held;
        work()
    });
    Ok(work.await.map_err(|_| WorkError::Broke)??)
}

fn draw(job: &RenderJob, queue: Duration) -> core_render::Result<Rendered> {
    let mut clock = StageClock::default();
    let picture = core_render::render(job, &mut |stage| clock.begin(stage))?;
    clock.end();
    let StageClock { decode, render, encode, .. } = clock;
    Ok(Rendered { picture, queue, decode, render, encode })
}

/// Adds up the time of each stage from the moments they begin at.
#[derive(Default)]
struct StageClock {
    decode: Duration,
    render: Duration,
    encode: Duration,
    running: Option<(Stage, Instant)>,
}

impl StageClock {
    fn begin(&mut self, stage: Stage) {
        self.end();
        self.running = Some((stage, Instant::now()));
    }

    fn end(&mut self) {
        let Some((stage, since)) = self.running.take() else { return };
        let spent = match stage {
            Stage::Decode => &mut self.decode,
            Stage::Render => &mut self.render,
            Stage::Encode => &mut self.encode,
        };
        *spent += since.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use core_render::{FrameChoice, Framing, Limits, Output, Overlays, RenderSpec, Source};

    use super::*;

    fn nonsense() -> RenderJob {
        RenderJob::new(
            Source::File {
                bytes: Bytes::from_static(b"no DICOM"),
                frame: FrameChoice::Representative,
            },
            RenderSpec {
                overlays: Overlays::Omit,
                ..RenderSpec::new(Framing::Native, Output::Png)
            },
            Limits::default(),
        )
    }

    #[test]
    fn beyond_slots_and_queue_nobody_is_admitted() {
        let workers = Workers::new(NonZeroUsize::MIN, 1);
        let (first, second) = (workers.admit().unwrap(), workers.admit().unwrap());
        assert_eq!(workers.admit().unwrap_err(), Overloaded);
        drop(first);
        assert!(workers.admit().is_ok());
        drop(second);
    }

    fn one_turn() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    #[tokio::test]
    async fn a_failed_job_gives_its_place_back() {
        let workers = Workers::new(NonZeroUsize::MIN, 0);
        let turns = one_turn();
        for _ in 0..3 {
            let turn = workers.admit().unwrap().turn(turns.clone()).await.unwrap();
            let outcome = turn.run(nonsense()).await;
            assert!(matches!(outcome, Err(WorkError::Render(_))), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn what_is_fetched_holds_its_turn_until_it_is_drawn() {
        let workers = Workers::new(NonZeroUsize::MIN, 2);
        let turns = one_turn();
        let first = workers.admit().unwrap().turn(turns.clone()).await.unwrap();
        let second = workers.admit().unwrap().turn(turns);
        tokio::pin!(second);
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        let _ = first.run(nonsense()).await;
        assert!(second.await.unwrap().waited >= soon);
    }

    #[test]
    fn stages_are_timed_from_one_to_the_next() {
        let mut clock = StageClock::default();
        clock.begin(Stage::Decode);
        std::thread::sleep(Duration::from_millis(2));
        clock.begin(Stage::Encode);
        clock.end();
        assert!(clock.decode >= Duration::from_millis(2));
        assert_eq!(clock.render, Duration::ZERO);
    }
}
