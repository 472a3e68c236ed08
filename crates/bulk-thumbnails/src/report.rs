//! The report of a run as JSON: every file as it is done, then the numbers. It is written as it goes, so that
//! nothing of it is held.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::tally::{Counts, FailureKind, Outcome};

/// A report that is being written.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    begun: Instant,
    is_first: bool,
    /// The first thing that went wrong with it.
    trouble: Option<io::Error>,
}

#[derive(Serialize)]
struct Entry<'a> {
    file: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    counts: &'a Counts,
    failures: &'a BTreeMap<FailureKind, u64>,
    seconds: f64,
}

impl Report {
    /// Begins a report in this file, which has its name once it is whole.
    ///
    /// # Errors
    /// That it cannot be written there.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut part = OsString::from(path);
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file = BufWriter::new(File::create(&part)?);
        file.write_all(b"{\"files\":[")?;
        Ok(Self {
            path: path.to_owned(),
            part,
            file,
            begun: Instant::now(),
            is_first: true,
            trouble: None,
        })
    }

    pub(crate) fn add(&mut self, file: &Path, thumbnail: Option<&Path>, outcome: &Outcome) {
        let (failure, reason) = match outcome {
            Outcome::Failed { kind, reason } => (Some(*kind), Some(reason.as_str())),
            _ => (None, None),
        };
        let is_there = matches!(outcome, Outcome::Drawn | Outcome::Card | Outcome::UpToDate);
        let thumbnail = thumbnail.filter(|_| is_there);
        let entry = Entry {
            file: file.display().to_string(),
            outcome: name_of(outcome),
            thumbnail: thumbnail.map(|path| path.display().to_string()),
            failure,
            reason,
        };
        if let Err(error) = self.write(&entry) {
            self.trouble.get_or_insert(error);
        }
    }

    fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let before: &[u8] = if self.is_first { b"\n" } else { b",\n" };
        self.is_first = false;
        self.file.write_all(before)?;
        serde_json::to_writer(&mut self.file, entry).map_err(io::Error::from)
    }

    pub(crate) fn finish(
        mut self,
        counts: &Counts,
        failures: &BTreeMap<FailureKind, u64>,
    ) -> io::Result<()> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let summary = Summary { counts, failures, seconds: self.begun.elapsed().as_secs_f64() };
        self.file.write_all(b"\n],\n\"summary\":")?;
        serde_json::to_writer(&mut self.file, &summary).map_err(io::Error::from)?;
        self.file.write_all(b"}\n")?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&self.part, &self.path)
    }
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Drawn => "drawn",
        Outcome::Card => "card",
        Outcome::UpToDate => "up-to-date",
        Outcome::NotDicom => "not-dicom",
        Outcome::Failed { .. } => "failed",
    }
}
