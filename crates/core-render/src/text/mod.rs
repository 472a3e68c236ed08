//! Text to pixels: any string from outside, in the scripts that DICOM character sets carry
//! (PS3.3 C.12.1.1.2), by the fonts of `assets/`.
//!
//! ```text
//! line.rs    a string -> glyphs in visual order, as wide as they are; shortened to fit
//! fonts.rs   a character -> the font that has it, or none: a box is drawn
//! ```

mod fonts;
mod line;

pub(crate) use line::{Ink, Line};
