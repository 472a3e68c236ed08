//! libjpeg-turbo, OpenJPEG, CharLS and libwebp behind safe functions over slices: codestream in,
//! samples out, or the other way round. Nothing here knows DICOM.
//!
//! The only crate of the workspace that may say `unsafe`; every block states why it is sound, and
//! every C handle has an owner that frees it.
//!
//! Callers compare `header(..)` with their own limits before `decode(..)`, because a few bytes may
//! declare a large image. Whatever they let through, this crate refuses more than 2³¹ samples and
//! reports memory it cannot get as an error.
//!
//! A decoder crashes rather than corrupts where its own assertions fail: OpenJPEG is built with
//! `assert` on, so a process that decodes bytes from outside should be one that may die.
#![deny(missing_docs)]

mod buffer;
#[cfg(target_os = "linux")]
pub mod descriptors;
mod error;
#[cfg(test)]
mod fuzz;
pub mod jpeg;
pub mod jpeg2000;
pub mod jpeg_ls;
pub mod memory;
pub mod webp;

pub use error::{CodecError, Result};

/// Samples of an image: row-major, pixel-interleaved.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Up to 8 bits per sample.
    U8(Vec<u8>),
    /// 9 to 16 bits per sample.
    U16(Vec<u16>),
}

/// A decoded image. Its samples number width × height × components.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Samples per pixel, 1 to 4.
    pub components: u8,
    /// The samples. A damaged lossless stream may yield values above its declared precision.
    pub samples: Samples,
    /// What the decoder complained of though it went on: truncated, damaged, out of sync.
    pub warning: Option<String>,
}
