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
    /// Frames of an animation.
    pub animation_frames: u32,
    /// Bytes of an animation, beyond which it is given up.
    pub animation_bytes: u64,
    /// Threads that decoding one frame may use, where its decoder can share the work. Changes no pixel.
    pub threads: u32,
}

/// How many pictures, and source frames, of the largest size an animation's may add up to: 200 frames of
/// 1024 × 1024 are within it.
const LARGEST_PICTURES: u64 = 5;

/// What libjpeg writes at most.
const LONGEST_SIDE: u64 = 65_500;

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_pixels: 200_000_000,
            source_bytes: 512 << 20,
            output_pixels: 50_000_000,
            animation_frames: 200,
            animation_bytes: 64 << 20,
            threads: 1,
        }
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

    /// Refuses an animation of no frames or of too many.
    pub fn check_frames(&self, frames: usize) -> Result<()> {
        if frames == 0 {
            return Err(RenderError::unsupported("an animation without frames"));
        }
        check("an animation in frames", frames as u64, self.animation_frames.into())
    }

    /// Refuses source frames whose pixels add up to more than five of the largest.
    pub fn check_sources(&self, pixels: u64) -> Result<()> {
        let limit = self.source_pixels.saturating_mul(LARGEST_PICTURES);
        check("the source frames in pixels", pixels, limit)
    }

    /// Refuses an animation whose frames add up to more than five of the largest pictures.
    pub fn check_outputs(&self, frames: usize, rows: u32, columns: u32) -> Result<()> {
        let limit = self.output_pixels.saturating_mul(LARGEST_PICTURES);
        check("an animation in pixels", pixels(rows, columns).saturating_mul(frames as u64), limit)
    }

    /// Refuses more source bytes than allowed.
    pub fn check_bytes(&self, bytes: u64) -> Result<()> {
        check("a source in bytes", bytes, self.source_bytes)
    }
}

fn pixels(rows: u32, columns: u32) -> u64 {
    u64::from(rows) * u64::from(columns)
}

pub(crate) fn check(what: &str, value: u64, limit: u64) -> Result<()> {
    if value <= limit {
        return Ok(());
    }
    Err(RenderError::TooLarge { what: what.to_owned(), value, limit })
}
