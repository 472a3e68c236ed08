//! Sizes checked, memory asked for politely.

use std::alloc::{Layout, alloc_zeroed};

use crate::error::{CodecError, Result};

/// More than this no image may have, whatever the caller's limits.
pub(crate) const MAX_SAMPLES: u64 = 1 << 31;

/// What a flat image may have in streams of any length, where coding has no floor: JPEG 2000, JPEG-LS.
pub(crate) const FLAT_SAMPLES: u64 = 1 << 26;

/// Above [`FLAT_SAMPLES`].
pub(crate) const FLAT_SAMPLES_PER_BYTE: u64 = 1 << 16;

/// Integers for which all bits zero and all bits one are values.
pub(crate) trait Sample: Copy + PartialEq {
    const ZERO: Self;
    const ONES: Self;
}

impl Sample for u8 {
    const ZERO: Self = 0;
    const ONES: Self = Self::MAX;
}

impl Sample for u16 {
    const ZERO: Self = 0;
    const ONES: Self = Self::MAX;
}

/// Width × height × components, refused if zero or above 2³¹.
pub(crate) fn sample_count(width: u32, height: u32, components: u32) -> Result<usize> {
    let count = u64::from(width)
        .checked_mul(u64::from(height))
        .and_then(|pixels| pixels.checked_mul(u64::from(components)))
        .filter(|count| (1..=MAX_SAMPLES).contains(count))
        .and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| {
        CodecError::new(format!(
            "an image of {width} × {height} pixels with {components} components is empty or too large"
        ))
    })
}

/// Refuses more than `always` samples from a stream that has less than a byte for `per_byte` of them:
/// memory must not follow a declaration that the data cannot bear out.
pub(crate) fn check_plausible(
    samples: u64,
    bytes: usize,
    per_byte: u64,
    always: u64,
) -> Result<()> {
    if samples <= always || samples / per_byte <= bytes as u64 {
        return Ok(());
    }
    Err(CodecError::new(format!("{bytes} bytes cannot hold the declared {samples} samples")))
}

/// `count` zeros: untouched pages cost nothing, and failure is an error rather than an abort.
pub(crate) fn zeroed<T: Sample>(count: usize) -> Result<Vec<T>> {
    let out_of_memory = || CodecError::new(format!("no memory for {count} samples"));
    let layout = Layout::array::<T>(count).map_err(|_| out_of_memory())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the size of the layout is not zero.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(out_of_memory());
    }
    // SAFETY: allocated by the global allocator with the layout of `count` T; all of it is
    // initialised, because zero is a value of every Sample.
    Ok(unsafe { Vec::from_raw_parts(start.cast::<T>(), count, count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_overflow_or_vanish_are_refused() {
        assert_eq!(sample_count(3, 2, 3), Ok(18));
        assert!(sample_count(0, 5, 1).is_err());
        assert!(sample_count(65_500, 65_500, 1).is_err());
        assert!(sample_count(u32::MAX, u32::MAX, u32::MAX).is_err());
    }

    #[test]
    fn more_samples_than_a_stream_can_hold_are_refused_only_if_they_are_many() {
        assert!(check_plausible(1000, 1, 10, 1000).is_ok());
        assert!(check_plausible(1001, 100, 10, 1000).is_ok());
        assert!(check_plausible(2000, 100, 10, 1000).is_err());
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        assert!(zeroed::<u16>(usize::MAX / 2).is_err());
        assert!(zeroed::<u16>(1 << 62).is_err());
        assert_eq!(zeroed::<u8>(3), Ok(vec![0; 3]));
    }
}
