//! `lightbox thumbnails`: of files and folders, as many as there are, by the same workers as the proxy's.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulk_thumbnails::{BulkError, Counts, Report, Settings, Tally};
use clap::Args;
use core_render::BurnedIn;
use proxy_server::Config;

use super::progress::{self, Progress};
use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct Thumbnails {
    /// DICOM files, folders of them, or a DICOMDIR, whose files are drawn
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Folder for the thumbnails; they are named as the files, with .jpg after it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Pixels of the longer side [default: 256]
    #[arg(long, value_name = "N")]
    size: Option<NonZeroU32>,
    /// What becomes of texts in the pixels, where Burned In Annotation is YES and around the regions of
    /// ultrasound images: pixelate, render or icon [default: pixelate]
    #[arg(long, value_name = "HOW")]
    burned_in: Option<BurnedIn>,
    /// Pictures drawn at the same time [default: the number of processor cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Writes what came of each file, and the numbers, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Configuration file (TOML), for limits, memory and isolation
    #[arg(long, value_name = "FILE", env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
}

pub(crate) fn run(args: &Thumbnails) -> Outcome {
    native_codecs::memory::keep_freed();
    let config = config(args)?;
    let settings = settings(args, &config)?;
    let tally = Arc::new(tally(args)?);
    let begun = Instant::now();
    let counted = tally.clone();
    let far = move || how_far(&counted.counts());
    progress::shown("files", far, || bulk_thumbnails::run(&settings, &tally))?;
    eprint!("{}", summary(&tally, begun.elapsed()));
    tally.finish().map_err(|error| not_written(args, &error))?;
    match tally.counts() {
        Counts { failed: 0, drawn: 0, cards: 0, up_to_date: 0, .. } => {
            Err(Failure::Work("there are no DICOM files".to_owned()))
        }
        Counts { failed: 0, .. } => Ok(()),
        Counts { failed, .. } => Err(Failure::Work(format!("{failed} files have no thumbnail"))),
    }
}

fn config(args: &Thumbnails) -> Result<Config, Failure> {
    let flags = [
        ("thumbnail_size", args.size.map(|size| size.to_string())),
        ("burned_in", args.burned_in.map(|how| how.as_str().to_owned())),
        ("render_workers", args.jobs.map(|jobs| jobs.to_string())),
    ];
    let flags: Vec<_> = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    super::load(args.config.as_deref(), &flags)
}

fn settings(args: &Thumbnails, config: &Config) -> Result<Settings, Failure> {
    let isolation =
        proxy_server::isolation(config).map_err(|error| Failure::Work(error.to_string()))?;
    Ok(Settings {
        paths: args.paths.clone(),
        out: args.out.clone(),
        size: config.thumbnail_size,
        burned_in: config.burned_in,
        jobs: config.render_workers,
        memory: config.render_memory,
        isolation,
        patience: config.request_timeout,
        limits: config.limits(),
    })
}

fn tally(args: &Thumbnails) -> Result<Tally, Failure> {
    match &args.json {
        Some(path) => {
            let report = Report::create(path).map_err(|error| not_written(args, &error))?;
            Ok(Tally::reporting(report))
        }
        None => Ok(Tally::default()),
    }
}

fn not_written(args: &Thumbnails, error: &std::io::Error) -> Failure {
    let path = args.json.as_deref().unwrap_or_else(|| "the report".as_ref());
    Failure::Work(format!("{}: {error}", path.display()))
}

fn how_far(counts: &Counts) -> Progress {
    Progress { done: counts.files, of: counts.found, failed: counts.failed }
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let counts = tally.counts();
    let parts = [
        (counts.drawn, "thumbnails"),
        (counts.cards, "cards instead of an image"),
        (counts.up_to_date, "up to date"),
        (counts.not_dicom, "no DICOM"),
        (counts.failed, "failed"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let seconds = elapsed.as_secs_f64();
    let mut text = format!("{} files in {seconds:.1} s", counts.files);
    if !parts.is_empty() {
        text.push_str(&format!(": {}", parts.join(", ")));
    }
    text.push('\n');
    for (kind, count, examples) in tally.failures() {
        text.push_str(&format!("{} ({count}):\n", kind.name()));
        for example in &examples {
            text.push_str(&format!("  {}: {}\n", example.file.display(), example.reason));
        }
        if count > examples.len() as u64 {
            text.push_str("  …\n");
        }
    }
    text
}

impl From<BulkError> for Failure {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::Path { .. } | BulkError::Out { .. } => Self::Usage(error.to_string()),
            BulkError::Workers(_) => Self::Work(error.to_string()),
        }
    }
}
