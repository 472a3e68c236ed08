//! Renders one DICOM frame: attributes and bytes in, a JPEG or PNG out.
//!
//! [`render`] takes plain, serialisable data ([`RenderJob`]) and returns plain data ([`Picture`]), so
//! that it can run in another process. It knows no HTTP, no async and no clock: a caller who wants
//! times observes the [`Stage`]s. The order of the stages, and why it is that one, is in `pipeline`.
#![deny(missing_docs)]

mod attributes;
mod category;
mod codec;
mod colour;
mod dataset;
mod encode;
mod error;
mod frame;
mod geometry;
mod limits;
mod lut;
mod mosaic;
mod overlay;
mod part10;
mod pipeline;
mod pixel;
mod segmentation;
mod shutter;
mod slide;
mod source;
mod spec;

pub use attributes::{
    CellKind, ImageAttributes, Modality, Padding, Photometric, PlanarConfiguration, Voi,
    number_of_frames, representative_frame,
};
pub use category::{Category, FileAttributes};
pub use colour::palette::Palette;
pub use error::{RenderError, Result};
pub use frame::frames_cannot_be_cut;
pub use limits::Limits;
pub use lut::lookup::Lut;
pub use overlay::OverlayPlane;
pub use shutter::Shutter;
pub use slide::{Cut, Flavour, Place, Slide, SlideFile, View, flavour, total_matrix};
pub use source::{
    Canvas, Card, CardKind, Cine, EncodedFrame, FrameChoice, Labels, Mosaic, Picture, RenderJob,
    Source, Stage, Tile,
};
pub use spec::{
    Annotation, Extent, Framing, IccProfile, Output, Overlays, Quality, RenderSpec, SourceRect,
    SpecError, Viewport, VoiFunction, Window,
};

/// Names the pixels this version makes: part of every cache key and ETag. Changes with each release
/// that changes a picture.
pub const RENDERER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Draws one frame, telling `observe` as each stage begins.
///
/// # Errors
/// What is wrong with the source, or what this renderer cannot draw: [`RenderError`].
pub fn render(job: &RenderJob, observe: &mut dyn FnMut(Stage)) -> Result<Picture> {
    pipeline::run(job, observe)
}
