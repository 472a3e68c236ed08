//! Thumbnails of files and folders, as many as there are: found in `walk`, read ahead of the workers
//! within the bytes that `ahead` allows, drawn by a pool of `render-pool`, written beside each other by
//! `place`, and counted in `tally`. What is held in memory does not grow with the number of files.
//!
//! [`run`] tells it as one story.
#![deny(missing_docs)]

mod ahead;
mod dicomdir;
mod input;
mod place;
mod report;
mod tally;
mod walk;

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use core_render::{
    BurnedIn, Card, Framing, Limits, Output, Overlays, Quality, RenderError, RenderJob, RenderSpec,
    Source, ThumbnailSource, memory_needed,
};
use render_pool::{
    Answer, Class, Drawn, Isolation, Pool, StartError, Submission, Task, Want, WorkError,
};

use crate::ahead::{Ahead, Hold};
use crate::input::Input;
use crate::place::Place;
pub use crate::report::Report;
use crate::tally::Outcome;
pub use crate::tally::{Counts, Example, FailureKind, Tally};
use crate::walk::{Found, Roots, Unreadable};

/// What is to be done, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Files, folders and DICOMDIRs.
    pub paths: Vec<PathBuf>,
    /// The folder for the thumbnails.
    pub out: PathBuf,
    /// Pixels of their longer side.
    pub size: NonZeroU32,
    /// What becomes of texts in the pixels of the images.
    pub burned_in: BurnedIn,
    /// Pictures drawn at the same time.
    pub jobs: NonZeroUsize,
    /// Bytes that reading ahead and drawing may take together.
    pub memory: u64,
    /// Where drawing happens.
    pub isolation: Isolation,
    /// How long one picture may take.
    pub patience: Duration,
    /// What is too large.
    pub limits: Limits,
}

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// A path that was named is not there.
    #[error("{}: {error}", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The folder for the thumbnails cannot be made.
    #[error("{}: {error}", .path.display())]
    Out {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No worker can be started.
    #[error(transparent)]
    Workers(#[from] StartError),
}

/// Draws a thumbnail of everything there is. `tally` has what is done so far at any time.
///
/// # Errors
/// Why nothing could be done; what fails of a file is counted in `tally`.
pub fn run(settings: &Settings, tally: &Arc<Tally>) -> Result<(), BulkError> {
    let roots = Roots::of(&settings.paths)?;
    let bulk = Bulk::start(settings, tally.clone())?;
    bulk.count_aside(roots.clone());
    for found in roots.walk(&bulk.out, &bulk.limits) {
        match found {
            Ok(found) => bulk.take(&found),
            Err(Unreadable { path, error }) => {
                bulk.tally.count(&path, None, Outcome::unreadable(&error));
            }
        }
    }
    bulk.ahead.until_empty();
    Ok(())
}

struct Bulk {
    out: PathBuf,
    spec: RenderSpec,
    limits: Limits,
    pool: Pool,
    ahead: Arc<Ahead>,
    tally: Arc<Tally>,
}

impl Bulk {
    fn start(settings: &Settings, tally: Arc<Tally>) -> Result<Self, BulkError> {
        let failed = |error| BulkError::Out { path: settings.out.clone(), error };
        std::fs::create_dir_all(&settings.out).map_err(failed)?;
        let out = settings.out.canonicalize().map_err(failed)?;
        let for_reading = settings.memory / 4;
        let pool = Pool::start(render_pool::Settings {
            workers: settings.jobs,
            // Nobody waits for the small ones.
            express: false,
            memory: settings.memory - for_reading,
            patience: settings.patience,
            isolation: settings.isolation.clone(),
        })?;
        let framing = Framing::FitWithin(settings.size);
        let output = Output::Jpeg(Quality::THUMBNAIL);
        Ok(Self {
            out,
            // Overlays may spell out who the patient is, which a thumbnail must not (R1.10).
            spec: RenderSpec {
                overlays: Overlays::Omit,
                burned_in: settings.burned_in,
                ..RenderSpec::new(framing, output)
            },
            limits: settings.limits,
            pool,
            ahead: Arc::new(Ahead::new(for_reading)),
            tally,
        })
    }

    /// Counts the files in a thread of its own, while they are drawn.
    fn count_aside(&self, roots: Roots) {
        let (walk, tally) = (roots.walk(&self.out, &self.limits), self.tally.clone());
        // Without it there is no time left to be told, and nothing else is missing.
        let _ = thread::Builder::new()
            .name("counting".to_owned())
            .spawn(move || tally.found(walk.count() as u64));
    }

    /// Reads a file, unless it has its thumbnail already, and hands it to the workers.
    fn take(&self, found: &Found) {
        let place = Place::new(&self.out, &found.name);
        match self.read(found, &place) {
            Ok(read) => self.draw(found.file.clone(), place, read),
            Err(outcome) => self.tally.count(&found.file, Some(place.path()), outcome),
        }
    }

    fn read(&self, found: &Found, place: &Place) -> Result<Read, Outcome> {
        if place.is_newer_than(input::modified(&found.file)?) {
            return Err(Outcome::UpToDate);
        }
        let input = Input::open(found)?;
        let mut hold = self.ahead.hold(input.length.min(self.limits.source_bytes));
        let file = input.read(self.limits.source_bytes)?;
        let read = self.source(&file, found)?;
        drop(file);
        hold.shrink_to(read.source.len());
        Ok(Read { source: read.source, instead: read.instead, hold })
    }

    /// What is drawn of a file. It is read here, not in a worker: a defect of ours costs this file alone.
    fn source(&self, file: &Bytes, found: &Found) -> Result<ThumbnailSource, Outcome> {
        let read = || ThumbnailSource::of_file(file, &self.spec, &self.limits);
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(read) => read.map_err(|error| Outcome::of_render(&error, found.is_named)),
            Err(_) => Err(Outcome::broke()),
        }
    }

    fn draw(&self, file: PathBuf, place: Place, read: Read) {
        let Read { source, instead, hold } = read;
        let is_card = matches!(source, Source::Card(_));
        // The source lies in memory once more in the worker.
        let sent = source.len();
        let job = self.job(source);
        let need = memory_needed(&job).saturating_add(sent);
        let instead = instead.map(|card| self.job(Source::Card(card)));
        let tally = self.tally.clone();
        let task = Task { job, want: Want::Picture };
        let submission = Submission { task, need, class: Class::Bulk };
        let ticket = self.pool.submit(submission, move |drawn| {
            let outcome = match (drawn, instead) {
                (Ok(Drawn { answer: Answer::Picture(picture), .. }), _) => {
                    place.write(&picture.bytes, is_card)
                }
                (Ok(_), _) => Outcome::of_work(&WorkError::NoWorker),
                (Err(WorkError::Render(RenderError::Unsupported { .. })), Some(card)) => {
                    drawn_here(&card, &place)
                }
                (Err(error), _) => Outcome::of_work(&error),
            };
            tally.count(&file, Some(place.path()), outcome);
            drop(hold);
        });
        ticket.keep();
    }

    fn job(&self, source: Source) -> RenderJob {
        RenderJob::new(source, self.spec.clone(), self.limits)
    }
}

/// A file that was read.
struct Read {
    source: Source,
    instead: Option<Card>,
    hold: Hold,
}

/// A card, of which nothing comes from a file but some words.
fn drawn_here(card: &RenderJob, place: &Place) -> Outcome {
    match core_render::render(card, &mut |_| Ok(())) {
        Ok(picture) => place.write(&picture.bytes, true),
        Err(error) => Outcome::of_work(&error.into()),
    }
}
