//! What to draw from: plain data, so that rendering can move to another process.

use bytes::Bytes;
use dicomweb_types::{FrameNumber, TransferSyntax};
use serde::{Deserialize, Serialize};

use crate::attributes::ImageAttributes;
use crate::limits::Limits;
use crate::presentation::Presentation;
use crate::spec::RenderSpec;

/// One rendering: a source, the frame, and what to make of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenderJob {
    /// Where the pixels come from.
    pub source: Source,
    /// What to draw.
    pub spec: RenderSpec,
    /// What it may cost.
    pub limits: Limits,
    /// The texts of an annotation or corner label, of a source that does not hold them itself:
    /// [`Source::Frame`], [`Source::Tiles`] and frames of a [`Cine`]. Those of a file are its own.
    pub labels: Option<Labels>,
    /// The presentation state that says how the frame is to look, in place of its own transforms
    /// (R4.30): of [`Source::File`] and [`Source::Frame`]. The window of the spec is then without
    /// effect (R2.11), and so is an image's own shutter. Where the spec omits overlays, the state's
    /// are omitted and its texts too: both may name the patient.
    pub presentation: Option<Box<Presentation>>,
}

impl RenderJob {
    /// A rendering without annotation, as the image itself wants to look.
    pub fn new(source: Source, spec: RenderSpec, limits: Limits) -> Self {
        Self { source, spec, limits, labels: None, presentation: None }
    }
}

/// The texts of an annotation, a line each, the most important first. They are a patient's: never logged, never kept.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Labels {
    /// Who is shown.
    pub patient: Vec<String>,
    /// What is shown.
    pub technique: Vec<String>,
    /// Modality and series number, for [`RenderSpec::corner_label`].
    pub series: Option<String>,
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Labels(..)")
    }
}

/// The bytes a picture is drawn from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// A whole DICOM file (PS3.10), also without preamble or meta group.
    File {
        /// The file.
        bytes: Bytes,
        /// Which frame of it.
        frame: FrameChoice,
    },
    /// One frame as an archive hands it out, with the attributes of its instance.
    Frame {
        /// The attributes, resolved for this frame.
        attributes: Box<ImageAttributes>,
        /// What the bytes are.
        transfer_syntax: TransferSyntax,
        /// The native cells or the codestream of this one frame.
        bytes: Bytes,
    },
    /// Tiles of a slide, laid out.
    Tiles(Box<Mosaic>),
    /// Several frames of one object, drawn one after the other into an animation.
    Cine(Box<Cine>),
    /// No image: a card that says what the object is. It is as large as the framing says – a viewport
    /// is filled, 256 × 256 without one – and carries no annotation.
    Card(Card),
}

/// The frames of an animation, of one size and kind. They share one window (R4.14).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Cine {
    /// Of a whole DICOM file.
    File {
        /// The file.
        bytes: Bytes,
        /// Which frames, in this order.
        frames: Vec<FrameNumber>,
    },
    /// Of single frames as an archive hands them out.
    Frames {
        /// The frames, in this order.
        frames: Vec<EncodedFrame>,
        /// How long each is shown, in milliseconds; as many as there are frames.
        delays: Vec<u32>,
    },
}

/// A frame with the attributes of its instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodedFrame {
    /// The attributes, resolved for this frame.
    pub attributes: ImageAttributes,
    /// What the bytes are.
    pub transfer_syntax: TransferSyntax,
    /// The native cells or the codestream of this one frame.
    pub bytes: Bytes,
}

/// What a card says of an object that holds no image; nothing of a patient (R5.6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Card {
    /// What kind of object it is.
    pub kind: CardKind,
    /// Modality (0008,0060), where it is a code string of the standard's form.
    pub modality: Option<String>,
    /// Series Number (0020,0011).
    pub series_number: Option<i32>,
}

/// The kinds of objects that have a card.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the kinds name themselves
pub enum CardKind {
    Report,
    Document,
    Waveform,
    Audio,
    Video,
    StructureSet,
    Plan,
    Registration,
    PresentationState,
    KeyObjects,
    Surface,
    Measurements,
    RawData,
    Image,
    Other,
}

/// A part of a slide's Total Pixel Matrix, put together from tiles (PS3.3 C.8.12.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mosaic {
    /// The attributes of a tile.
    pub attributes: ImageAttributes,
    /// What the tiles lie on.
    pub canvas: Canvas,
    /// The tiles. Where two overlap, the later is on top.
    pub tiles: Vec<Tile>,
}

/// What tiles lie on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Canvas {
    /// Columns of the canvas, above 0.
    pub columns: u32,
    /// Rows of the canvas, above 0.
    pub rows: u32,
    /// Columns and rows of the matrix that regions are given in: that of the image that was asked
    /// for, which may be denser or coarser than the tiles.
    pub matrix: (u32, u32),
    /// What the canvas shows of that matrix: left, top, width, height in its pixels.
    pub covered: (f64, f64, f64, f64),
    /// Height of a pixel of that matrix over its width.
    pub pixel_aspect: f64,
    /// The colour where there is no tile, in sRGB.
    pub background: [u8; 3],
}

/// One tile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tile {
    /// Its left edge, in pixels of the canvas; what lies outside is cut off.
    pub x: i64,
    /// Its top edge.
    pub y: i64,
    /// What the bytes are.
    pub transfer_syntax: TransferSyntax,
    /// The native cells or the codestream of this tile.
    pub bytes: Bytes,
}

/// Which frame of a file is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FrameChoice {
    /// This one; an error if the file has fewer.
    Number(FrameNumber),
    /// Representative Frame Number (0028,6010), else the middle frame.
    Representative,
}

/// The picture, ready to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The encoded image.
    pub bytes: Vec<u8>,
    /// What it is encoded as.
    pub media_type: dicomweb_types::MediaType,
    /// Columns of the picture.
    pub width: u32,
    /// Rows of the picture.
    pub height: u32,
    /// Which frame was drawn.
    pub frame: FrameNumber,
    /// Where the file broke a rule and was drawn all the same; no patient data.
    pub warnings: Vec<String>,
}

/// The stages of a rendering, announced as each begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Data set and codestream to samples.
    Decode,
    /// Samples to display values, framed.
    Render,
    /// Display values to bytes.
    Encode,
}
