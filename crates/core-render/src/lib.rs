//! Renders DICOM frames: attributes and bytes in, a JPEG, PNG, GIF, WebP or JP2 out; or several frames,
//! and an animation out.
//!
//! [`render`] takes plain, serialisable data ([`RenderJob`]) and returns plain data ([`Picture`]), so
//! that it can run in another process. It knows no HTTP, no async and no clock: a caller who wants
//! times observes the [`Stage`]s. The order of the stages, and why it is that one, is in `pipeline`.
#![deny(missing_docs)]

mod annotation;
mod attributes;
mod burned_in;
mod card;
mod category;
mod charset;
mod cine;
mod codec;
mod colour;
mod dataset;
mod document;
mod encode;
mod error;
mod estimate;
mod frame;
mod geometry;
mod labels;
mod limits;
mod lut;
mod mosaic;
mod overlay;
mod paint;
mod part10;
mod pipeline;
mod pixel;
mod position;
mod presentation;
mod segmentation;
mod shutter;
mod slide;
mod source;
mod spec;
mod text;
mod thumbnail;
mod video;

pub use attributes::{
    CellKind, ImageAttributes, Modality, Padding, Photometric, PlanarConfiguration, Voi,
    names_representative_frame, number_of_frames, representative_frame,
};
pub use burned_in::BurnedInText;
pub use category::{Category, FileAttributes};
pub use cine::{cine_frames, frame_delays, frames_of_file};
pub use codec::video::{ffmpeg, use_ffmpeg};
pub use codec::{is_length_of_cells, syntax_of_bytes};
pub use colour::palette::Palette;
pub use document::EncapsulatedDocument;
pub use error::{RenderError, Result};
pub use estimate::memory_needed;
pub use frame::{content, frames_cannot_be_cut};
pub use limits::Limits;
pub use lut::lookup::Lut;
pub use overlay::OverlayPlane;
pub use part10::may_be_dicom;
pub use position::slice_position;
pub use presentation::{Presentation, PresentationState};
pub use shutter::Shutter;
pub use slide::{
    Cut, Flavour, Place, Slide, SlideFile, View, concatenation, flavour, total_matrix,
};
pub use source::{
    Canvas, Card, CardKind, Cine, EncodedFrame, FrameChoice, Labels, Mosaic, Observer, Picture,
    RenderJob, Source, Stage, Tile,
};
pub use spec::{
    Annotation, AnnotationParameter, BurnedIn, Extent, Framing, IccProfile, Output, Overlays,
    Quality, RenderSpec, SourceRect, SpecError, Viewport, VoiFunction, Window,
};
pub use thumbnail::ThumbnailSource;
pub use video::{Container, VideoCodec, VideoStream};

/// Names the pixels this version makes: part of every cache key and ETag. Changes with each release
/// that changes a picture.
pub const RENDERER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Draws one picture, telling `observe` as each stage begins; it may end the rendering there.
///
/// # Errors
/// What is wrong with the source, or what this renderer cannot draw: [`RenderError`]; that of `observe`.
pub fn render(job: &RenderJob, observe: &mut Observer<'_>) -> Result<Picture> {
    pipeline::run(job, observe)
}

/// How much the display values of the picture of a job differ: their standard deviation, 0 to 127.5.
///
/// # Errors
/// As of [`render`].
pub fn contrast(job: &RenderJob) -> Result<f64> {
    pipeline::contrast(job)
}
