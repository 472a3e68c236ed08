//! A read-only DICOMweb origin over a folder of DICOM files: for the demo, and for tests.
//!
//! [`FolderOrigin::open`] indexes a folder, [`FolderOrigin::serve`] answers at `/studies…`:
//!
//! - QIDO-RS for studies, series and instances at every level (PS3.18 §10.6), with matching keys,
//!   `limit`, `offset` and `includefield`; no fuzzy matching;
//! - WADO-RS (§10.4): instances of a study or series, or one; `/metadata`; `/frames/{list}`; and
//!   `/bulkdata/…`, which the BulkDataURIs of the metadata lead to. No pictures: that is the proxy's.
//!
//! **Nothing is transcoded**: what is stored is sent, and an Accept whose `transfer-syntax` is
//! neither `*` nor the stored one is 406. Frames of native pixel data are little endian, of one bit
//! per pixel moved to begin at bit 0.
//!
//! Files are read per request and streamed; in memory is only what searches match and return. What
//! is no PS3.10 file is skipped and counted. Files are untrusted: no length they claim is allocated
//! before it is checked, and links in the folder are not followed.
//!
//! [`samples`] writes demo studies: phantoms, made in code.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::path::Path::new("demo");
//! folder_origin::samples::write(folder)?;
//! let origin = folder_origin::FolderOrigin::open(folder)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! origin.serve(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

use std::path::Path;
use std::sync::Arc;

use dicomweb_types::InstancePath;

mod body;
mod content;
mod error;
mod file;
mod index;
mod json;
mod negotiate;
mod pixels;
mod route;
pub mod samples;
mod search;
mod server;

pub use error::OriginError;

/// A folder of DICOM files, indexed in memory.
#[derive(Debug)]
pub struct FolderOrigin {
    index: index::Index,
}

/// What an instance is, for a list of things to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSummary {
    /// Where it is below the base URL.
    pub path: InstancePath,
    /// Modality (0008,0060); empty where absent.
    pub modality: String,
    /// Modality and Series Description: `CT, Head, 24 slices`.
    pub description: String,
    /// Number of Frames; 0 where there is no pixel data.
    pub number_of_frames: u32,
}

impl FolderOrigin {
    /// Indexes every DICOM file below `folder`. Links are not followed.
    ///
    /// # Errors
    /// The folder itself cannot be read. Files that cannot be served are [`skipped`](Self::skipped).
    pub fn open(folder: &Path) -> Result<Self, OriginError> {
        Ok(Self { index: index::Index::of_folder(folder)? })
    }

    /// Files passed over: no DICOM, without the UIDs that place them, or another copy of an instance.
    pub fn skipped(&self) -> usize {
        self.index.skipped
    }

    /// Whether there is nothing to serve.
    pub fn is_empty(&self) -> bool {
        self.index.studies.is_empty()
    }

    /// How many instances are served.
    pub fn number_of_instances(&self) -> usize {
        self.index.rows().count()
    }

    /// How many studies are served.
    pub fn number_of_studies(&self) -> usize {
        self.index.studies.len()
    }

    /// Every instance: studies newest first, series by number, instances by number.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceSummary> {
        self.index.rows().map(|(_, _, instance)| &instance.summary)
    }

    /// Serves over HTTP/1.1 until `shutdown` is ready, then finishes the requests under way.
    ///
    /// # Errors
    /// The listener has no address.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        server::serve(Arc::new(self.index), listener, shutdown).await
    }
}
