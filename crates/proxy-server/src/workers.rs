//! Bounded CPU work: how many pictures are drawn at once, and how many requests may wait.
//!
//! A request takes a [`Place`] before it fetches anything, so that what waits holds a bounded amount
//! of memory too; it takes a slot only to draw, so that a slow archive holds no processor.

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

/// The right of one request to be under way, and later to draw one picture.
#[derive(Debug)]
pub(crate) struct Place {
    place: OwnedSemaphorePermit,
    slots: Arc<Semaphore>,
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
    /// `slots` pictures at once, and `queue` requests beyond them.
    pub(crate) fn new(slots: NonZeroUsize, queue: usize) -> Self {
        let slots = slots.get().min(Semaphore::MAX_PERMITS);
        let places = slots.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), slots: Arc::new(Semaphore::new(slots)) }
    }

    /// A place, if there is one.
    pub(crate) fn admit(&self) -> Result<Place, Overloaded> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Overloaded)?;
        Ok(Place { place, slots: self.slots.clone() })
    }
}

impl Place {
    /// Draws, once a slot is free. Dropped before that, nothing is drawn; afterwards the work ends by
    /// itself and holds its slot until then.
    pub(crate) async fn run(self, job: RenderJob) -> Result<Rendered, WorkError> {
        let waiting = Instant::now();
        let slot = self.slots.acquire_owned().await.map_err(|_| WorkError::Broke)?;
        let queue = waiting.elapsed();
        let place = self.place;
        let work = tokio::task::spawn_blocking(move || {
            let _held = (place, slot);
            draw(&job, queue)
        });
        work.await.map_err(|_| WorkError::Broke)?
    }
}

fn draw(job: &RenderJob, queue: Duration) -> Result<Rendered, WorkError> {
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
        RenderJob {
            source: Source::File {
                bytes: Bytes::from_static(b"no DICOM"),
                frame: FrameChoice::Representative,
            },
            spec: RenderSpec {
                window: None,
                framing: Framing::Native,
                output: Output::Png,
                overlays: Overlays::Omit,
            },
            limits: Limits::default(),
        }
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

    #[tokio::test]
    async fn a_failed_job_gives_its_place_back() {
        let workers = Workers::new(NonZeroUsize::MIN, 0);
        for _ in 0..3 {
            let outcome = workers.admit().unwrap().run(nonsense()).await;
            assert!(matches!(outcome, Err(WorkError::Render(_))), "{outcome:?}");
        }
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
