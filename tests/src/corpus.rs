//! The corpus of real files with reference renders, where there is one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// All files of the corpus, described by its manifest.
#[derive(Clone, Debug)]
pub struct Corpus {
    root: PathBuf,
    /// One entry per file.
    pub entries: Vec<Entry>,
}

/// One file.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Path below the corpus.
    pub path: String,
    /// Group of files: `ct`, `colour`, `broken` …
    pub kind: String,
    /// Study Instance UID, where the file can be parsed.
    pub study_uid: Option<String>,
    /// Series Instance UID.
    pub series_uid: Option<String>,
    /// SOP Instance UID.
    pub instance_uid: Option<String>,
    /// Transfer Syntax UID.
    pub transfer_syntax_uid: Option<String>,
    /// Photometric Interpretation.
    pub photometric: Option<String>,
    /// Samples per Pixel.
    pub samples: Option<u16>,
    /// Bits Stored.
    pub bits_stored: Option<u16>,
    /// What is to come out.
    pub expected: Expected,
    /// The picture to compare with.
    pub reference: Option<Reference>,
    /// The requirement that the reference does not follow: not to be compared with.
    pub reference_departs: Option<String>,
    /// What Orthanc answered when the file was stored: `stored`, `refused`, `not sent`.
    pub upstream_orthanc: String,
}

/// What a request for a file's picture is to end in.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    /// The kind of outcome.
    pub outcome: Outcome,
    /// Why the file must not be sent to a real archive.
    pub upstream_unsafe: Option<String>,
}

/// The kinds of outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The picture of the reference.
    Render,
    /// A picture, of a file that breaks a rule.
    RenderBestEffort,
    /// Nothing to draw: an HTTP error or a placeholder, never a 500.
    NotAnImage,
    /// An HTTP error.
    Error,
    /// An error, or a picture of the declared size.
    ErrorOrBestEffort,
    /// No DICOM file at all.
    NotDicom,
}

/// The picture to compare with.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference {
    /// Path of the PNG below the corpus.
    pub png: String,
    /// The frame it shows, from 1.
    pub frame: u32,
    /// The factor by which it was averaged down.
    pub box_downscaled_by: usize,
    /// What was done, such as `colour YBR_FULL_422`.
    pub pipeline: String,
}

impl Corpus {
    /// The corpus at `LIGHTBOX_CORPUS`, or beside the repository; `None` where there is none.
    pub fn find() -> Option<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
        let root = std::env::var_os("LIGHTBOX_CORPUS").map_or(beside, PathBuf::from);
        let text = std::fs::read(root.join("manifest.json")).ok()?;
        let manifest: Manifest =
            serde_json::from_slice(&text).expect("the manifest is as described");
        Some(Self { root, entries: manifest.files })
    }

    /// The same; where there is none says so. Nothing can install it, so CI does not fail.
    pub fn find_or_say(part: &str) -> Option<Self> {
        let found = Self::find();
        if found.is_none() {
            eprintln!(
                "SKIPPED {part}: there is no corpus of real files (LIGHTBOX_CORPUS names one)"
            );
        }
        found
    }

    /// The bytes of a file, or of a reference.
    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).expect("the file the manifest names is there")
    }

    /// Where the corpus lies.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Entry {
    /// `/studies/…/series/…/instances/…`, where the file has UIDs.
    pub fn url_path(&self) -> Option<String> {
        let (study, series) = (self.study_uid.as_ref()?, self.series_uid.as_ref()?);
        Some(format!("/studies/{study}/series/{series}/instances/{}", self.instance_uid.as_ref()?))
    }
}

#[derive(Deserialize)]
struct Manifest {
    files: Vec<Entry>,
}
