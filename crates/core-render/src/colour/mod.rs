//! Colour samples to RGB.

pub(crate) mod palette;
pub(crate) mod rgb;
