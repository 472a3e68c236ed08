//! A file, read as far as it is needed.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

use crate::tally::Outcome;
use crate::walk::Found;

/// A preamble, and the word that says what follows.
const BEGINNING: u64 = 132;

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    pub(crate) length: u64,
}

/// When a file was changed last, where that is known.
pub(crate) fn modified(path: &Path) -> Result<Option<SystemTime>, Outcome> {
    let metadata = std::fs::metadata(path).map_err(|error| Outcome::unreadable(&error))?;
    if !metadata.is_file() {
        // A pipe or a device would be waited for without end.
        return Err(Outcome::unreadable(&io::Error::other("it is no regular file")));
    }
    Ok(metadata.modified().ok())
}

impl Input {
    /// Opens a file that may be one of DICOM.
    pub(crate) fn open(found: &Found) -> Result<Self, Outcome> {
        let unreadable = |error: io::Error| Outcome::unreadable(&error);
        let mut file = File::open(&found.file).map_err(unreadable)?;
        let mut beginning = Vec::new();
        file.by_ref().take(BEGINNING).read_to_end(&mut beginning).map_err(unreadable)?;
        if !core_render::may_be_dicom(&beginning) {
            return Err(Outcome::not_dicom(found.is_named));
        }
        file.rewind().map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Ok(Self { file, length })
    }

    /// All of it, which is refused above the limit.
    pub(crate) fn read(self, limit: u64) -> Result<Bytes, Outcome> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.length.min(limit)).unwrap_or(0));
        let read = self.file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Outcome::unreadable(&error))?;
        if bytes.len() as u64 > limit {
            return Err(Outcome::too_large(limit));
        }
        Ok(bytes.into())
    }
}
