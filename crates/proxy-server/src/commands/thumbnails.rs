//! `lightbox thumbnails`: of files and folders, as many as there are, by the same workers as the proxy's.

use std::io::IsTerminal;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bulk_thumbnails::{BulkError, Counts, Report, Settings, Tally};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proxy_server::Config;

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
    shown(&tally, || bulk_thumbnails::run(&settings, &tally))?;
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

/// Does the work, and shows how far it is.
fn shown(
    tally: &Arc<Tally>,
    work: impl FnOnce() -> Result<(), BulkError>,
) -> Result<(), BulkError> {
    let (end, ended) = mpsc::channel::<()>();
    let shown = tally.clone();
    let display = thread::spawn(move || {
        let mut display = Display::new();
        while ended.recv_timeout(display.pause()) == Err(RecvTimeoutError::Timeout) {
            display.show(&shown.counts());
        }
        display.end();
    });
    let outcome = work();
    drop(end);
    // What shows it may fail, which changes nothing of the work.
    let _ = display.join();
    outcome
}

/// A bar on a terminal, else a line now and then.
enum Display {
    Bar(ProgressBar),
    Lines(Instant),
}

impl Display {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Instant::now());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(Self::style(false));
        Self::Bar(bar)
    }

    fn style(knows_end: bool) -> ProgressStyle {
        let template = if knows_end {
            "{bar:30} {pos} of {len}  {per_sec}  {eta} left  {msg}"
        } else {
            "{spinner} {pos} files  {per_sec}  {msg}"
        };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }

    fn pause(&self) -> Duration {
        match self {
            Self::Bar(_) => Duration::from_millis(100),
            Self::Lines(_) => Duration::from_secs(10),
        }
    }

    fn show(&mut self, counts: &Counts) {
        match self {
            Self::Bar(bar) => {
                if let (None, Some(found)) = (bar.length(), counts.found) {
                    bar.set_length(found);
                    bar.set_style(Self::style(true));
                }
                bar.set_position(counts.files);
                if counts.failed > 0 {
                    bar.set_message(format!("{} failed", counts.failed));
                }
                bar.tick();
            }
            Self::Lines(begun) => eprintln!("{}", line(counts, begun.elapsed())),
        }
    }

    fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(counts: &Counts, elapsed: Duration) -> String {
    let rate = counts.files as f64 / elapsed.as_secs_f64().max(1e-3);
    let mut line = match counts.found {
        Some(found) => {
            let left = found.saturating_sub(counts.files) as f64 / rate.max(1e-3);
            format!("{} of {found} files, {rate:.0}/s, {left:.0} s left", counts.files)
        }
        None => format!("{} files, {rate:.0}/s", counts.files),
    };
    if counts.failed > 0 {
        line.push_str(&format!(", {} failed", counts.failed));
    }
    line
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let counts = tally.counts();
    let parts = [
        (counts.drawn, "thumbnails"),
        (counts.cards, "cards of objects without an image"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes() {
        let counts = Counts { files: 50, ..Counts::default() };
        assert_eq!(line(&counts, Duration::from_secs(5)), "50 files, 10/s");
        let counts = Counts { found: Some(80), failed: 2, ..counts };
        assert_eq!(
            line(&counts, Duration::from_secs(5)),
            "50 of 80 files, 10/s, 3 s left, 2 failed"
        );
        assert!(line(&Counts::default(), Duration::ZERO).starts_with("0 files"));
    }
}
