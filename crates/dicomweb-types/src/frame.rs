//! Frame numbers, counted from 1 as everywhere in DICOM.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a frame within its instance: 1, 2, 3 …
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FrameNumber(NonZeroU32);

/// The text is not a frame number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame number: frames are counted 1, 2, 3 … (PS3.18 §10.1.1)")]
pub struct FrameNumberError;

impl FrameNumber {
    /// The first frame.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Frame `number`, or `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number, from 1.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The place in an array of frames, from 0. The only way to a 0-based number.
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl FromStr for FrameNumber {
    type Err = FrameNumberError;

    fn from_str(text: &str) -> Result<Self, FrameNumberError> {
        // `u32::from_str` alone would also take "+1".
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FrameNumberError);
        }
        text.parse().ok().and_then(Self::new).ok_or(FrameNumberError)
    }
}

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_count_from_one() {
        let third: FrameNumber = "3".parse().unwrap();
        assert_eq!((third.get(), third.index()), (3, 2));
        assert_eq!(FrameNumber::FIRST.index(), 0);
    }

    #[test]
    fn zero_signs_and_text_are_refused() {
        for text in ["0", "", "-1", "+1", "1.0", "1,2", " 1", "4294967296"] {
            assert_eq!(text.parse::<FrameNumber>(), Err(FrameNumberError), "{text:?}");
        }
    }
}
