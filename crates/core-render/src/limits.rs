//! What a rendering may cost, checked before anything is allocated.

use serde::{Deserialize, Serialize};

use crate::error::{RenderError, Result};

/// Upper bounds of one rendering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Rows × columns of the source frame, as declared and as its codestream says.
    pub source_pixels: u64,
    /// Bytes of a file, and of a deflated data set once inflated.
    pub source_bytes: u64,
    /// Rows × columns of the picture.
    pub output_pixels: u64,
}

/// What libjpeg writes at most.
const LONGEST_SIDE: u64 = 65_500;

impl Default for Limits {
    fn default() -> Self {
        Self { source_pixels: 200_000_000, source_bytes: 512 << 20, output_pixels: 50_000_000 }
    }
}

impl Limits {
    /// Refuses a source frame of more pixels than allowed.
    pub fn check_source(&self, rows: u32, columns: u32) -> Result<()> {
        check("a source frame in pixels", pixels(rows, columns), self.source_pixels)
    }

    /// Refuses a picture of more pixels than allowed, or of a side that no JPEG has.
    pub fn check_output(&self, rows: u32, columns: u32) -> Result<()> {
        check("a side of a picture in pixels", rows.max(columns).into(), LONGEST_SIDE)?;
        check("a picture in pixels", pixels(rows, columns), self.output_pixels)
    }

    /// Refuses more source bytes than allowed.
    pub fn check_bytes(&self, bytes: u64) -> Result<()> {
        check("a source in bytes", bytes, self.source_bytes)
    }
}

fn pixels(rows: u32, columns: u32) -> u64 {
    u64::from(rows) * u64::from(columns)
}

fn check(what: &str, value: u64, limit: u64) -> Result<()> {
    if value <= limit {
        return Ok(());
    }
    Err(RenderError::TooLarge { what: what.to_owned(), value, limit })
}
