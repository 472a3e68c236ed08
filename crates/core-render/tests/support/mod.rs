//! What the tests of `render` share: files made in code, pictures taken apart, codestreams made by
//! hand, and the formulas of the standard written slowly. Nothing here uses the renderer's own code.

// Each test binary uses its own part.
#![allow(dead_code, unreachable_pub)]

pub mod codestream;
pub mod dicom;
pub mod draw;
pub mod formulas;
pub mod letters;
