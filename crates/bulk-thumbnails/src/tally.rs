//! What came of all files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use core_render::RenderError;
use render_pool::WorkError;
use serde::Serialize;

use crate::report::Report;

/// Failures of one kind that are kept to be shown.
const EXAMPLES: usize = 3;

/// What came of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Drawn,
    /// A card: there is no image, or none that a thumbnail may show.
    Card,
    /// It has its thumbnail already.
    UpToDate,
    /// It lies among images, and is none.
    NotDicom,
    Failed {
        kind: FailureKind,
        reason: String,
    },
}

/// Why there is no thumbnail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The file, or a folder, cannot be read, or is not there.
    Unreadable,
    /// It was named, and is no DICOM file.
    NotDicom,
    /// The data set is damaged or contradicts the standard.
    Damaged,
    /// The pixel data cannot be decoded.
    Undecodable,
    /// This program cannot draw it.
    Unsupported,
    /// It is above a limit.
    TooLarge,
    /// Drawing it ended its worker, or took too long.
    WorkerLost,
    /// The thumbnail cannot be written.
    NotWritten,
    /// No worker could be started.
    NoWorker,
}

impl FailureKind {
    /// What it is called among people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "cannot be read",
            Self::NotDicom => "no DICOM file",
            Self::Damaged => "damaged",
            Self::Undecodable => "pixel data that cannot be decoded",
            Self::Unsupported => "not supported",
            Self::TooLarge => "above a limit",
            Self::WorkerLost => "ended its worker",
            Self::NotWritten => "thumbnail not written",
            Self::NoWorker => "no worker",
        }
    }
}

impl Outcome {
    fn failed(kind: FailureKind, reason: impl ToString) -> Self {
        Self::Failed { kind, reason: reason.to_string() }
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self::failed(FailureKind::Unreadable, error)
    }

    pub(crate) fn not_written(error: &io::Error) -> Self {
        Self::failed(FailureKind::NotWritten, error)
    }

    /// A defect of ours.
    pub(crate) fn broke() -> Self {
        Self::failed(FailureKind::Damaged, "reading the file failed unexpectedly")
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        Self::failed(
            FailureKind::TooLarge,
            format!("the file is above the limit of {limit} bytes (max_source_bytes)"),
        )
    }

    /// Of a file that lies there nobody says that it is DICOM.
    pub(crate) fn not_dicom(is_named: bool) -> Self {
        if is_named {
            Self::failed(FailureKind::NotDicom, "neither preamble nor data set")
        } else {
            Self::NotDicom
        }
    }

    pub(crate) fn of_render(error: &RenderError, is_named: bool) -> Self {
        use FailureKind::{Damaged, TooLarge, Undecodable, Unsupported};
        let kind = match error {
            RenderError::NotDicom { .. } => return Self::not_dicom(is_named),
            RenderError::Damaged { .. }
            | RenderError::Attribute { .. }
            | RenderError::FrameOutOfRange { .. } => Damaged,
            RenderError::Decode { .. } => Undecodable,
            RenderError::TooLarge { .. } => TooLarge,
            RenderError::NotAnImage
            | RenderError::Unsupported { .. }
            | RenderError::EmptyRegion { .. }
            | RenderError::ShowsLabel
            | RenderError::GivenUp
            | RenderError::Encode { .. } => Unsupported,
        };
        Self::failed(kind, error)
    }

    pub(crate) fn of_work(error: &WorkError) -> Self {
        let kind = match error {
            WorkError::Render(error) => return Self::of_render(error, true),
            WorkError::Lost { .. } | WorkError::Late => FailureKind::WorkerLost,
            WorkError::TooLarge { .. } => FailureKind::TooLarge,
            WorkError::NoWorker => FailureKind::NoWorker,
        };
        Self::failed(kind, error)
    }
}

/// What came of all files so far; shared by who draws and who shows it.
#[derive(Debug, Default)]
pub struct Tally {
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    counts: Counts,
    failures: BTreeMap<FailureKind, Failures>,
    report: Option<Report>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    examples: Vec<Example>,
}

/// Numbers of files.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Counts {
    /// All there are, once they are counted.
    #[serde(skip)]
    pub found: Option<u64>,
    /// Those of which it is known what came of them.
    pub files: u64,
    /// Thumbnails of images.
    pub drawn: u64,
    /// Cards of objects that are no images.
    pub cards: u64,
    /// Thumbnails that were there already.
    pub up_to_date: u64,
    /// Files among the others that are no DICOM.
    pub not_dicom: u64,
    /// Those of which there is no thumbnail.
    pub failed: u64,
}

/// A failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Example {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Tally {
    /// One that writes a report of every file.
    pub fn reporting(report: Report) -> Self {
        Self { all: Mutex::new(All { report: Some(report), ..All::default() }) }
    }

    /// The numbers so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Failures by kind: how many, and some of them.
    pub fn failures(&self) -> Vec<(FailureKind, u64, Vec<Example>)> {
        let all = self.lock();
        let failures = all.failures.iter();
        failures.map(|(kind, found)| (*kind, found.count, found.examples.clone())).collect()
    }

    /// Ends the report, if there is one.
    ///
    /// # Errors
    /// That it could not be written.
    pub fn finish(&self) -> io::Result<()> {
        let mut all = self.lock();
        let Some(report) = all.report.take() else { return Ok(()) };
        let failures = all.failures.iter().map(|(kind, found)| (*kind, found.count)).collect();
        report.finish(&all.counts, &failures)
    }

    pub(crate) fn found(&self, files: u64) {
        self.lock().counts.found = Some(files);
    }

    pub(crate) fn count(&self, file: &Path, thumbnail: Option<&Path>, outcome: Outcome) {
        let mut all = self.lock();
        if let Some(report) = &mut all.report {
            report.add(file, thumbnail, &outcome);
        }
        all.counts.files += 1;
        match outcome {
            Outcome::Drawn => all.counts.drawn += 1,
            Outcome::Card => all.counts.cards += 1,
            Outcome::UpToDate => all.counts.up_to_date += 1,
            Outcome::NotDicom => all.counts.not_dicom += 1,
            Outcome::Failed { kind, reason } => {
                all.counts.failed += 1;
                let failures = all.failures.entry(kind).or_default();
                failures.count += 1;
                if failures.examples.len() < EXAMPLES {
                    failures.examples.push(Example { file: file.to_owned(), reason });
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
