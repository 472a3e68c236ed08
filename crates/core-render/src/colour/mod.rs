//! Colour samples to RGB.

pub(crate) mod icc;
pub(crate) mod palette;
pub(crate) mod rgb;
pub(crate) mod space;
