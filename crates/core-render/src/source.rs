//! What to draw from: plain data, so that rendering can move to another process.

use bytes::Bytes;
use dicomweb_types::{FrameNumber, TransferSyntax};
use serde::{Deserialize, Serialize};

use crate::attributes::ImageAttributes;
use crate::error::Result;
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
    /// Modality and series number, for [`RenderSpec::corner_label`], and for a card in place of the picture.
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

impl Source {
    /// Itself without the bytes that make it large, and these, in an order that [`Source::attach`] knows:
    /// so that they need not be copied into one message with the rest.
    pub fn detach(mut self) -> (Self, Vec<Bytes>) {
        let bytes = self.large().into_iter().map(std::mem::take).collect();
        (self, bytes)
    }

    /// Undoes [`Source::detach`]; `None` where these are not as many as it took.
    pub fn attach(mut self, bytes: Vec<Bytes>) -> Option<Self> {
        let places = self.large();
        if places.len() != bytes.len() {
            return None;
        }
        for (place, bytes) in places.into_iter().zip(bytes) {
            *place = bytes;
        }
        Some(self)
    }

    /// How many bytes it is drawn from.
    pub fn len(&self) -> u64 {
        let sum = |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|n| n as u64).sum();
        match self {
            Self::File { bytes, .. } | Self::Frame { bytes, .. } => bytes.len() as u64,
            Self::Tiles(mosaic) => sum(&mut mosaic.tiles.iter().map(|tile| tile.bytes.len())),
            Self::Cine(cine) => match &**cine {
                Cine::File { bytes, .. } => bytes.len() as u64,
                Cine::Frames { frames, .. } => sum(&mut frames.iter().map(|f| f.bytes.len())),
            },
            Self::Card(_) => 0,
        }
    }

    /// Whether it is drawn from nothing but what it says itself.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn large(&mut self) -> Vec<&mut Bytes> {
        match self {
            Self::File { bytes, .. } | Self::Frame { bytes, .. } => vec![bytes],
            Self::Tiles(mosaic) => mosaic.tiles.iter_mut().map(|tile| &mut tile.bytes).collect(),
            Self::Cine(cine) => match &mut **cine {
                Cine::File { bytes, .. } => vec![bytes],
                Cine::Frames { frames, .. } => frames.iter_mut().map(|f| &mut f.bytes).collect(),
            },
            Self::Card(_) => Vec::new(),
        }
    }
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
    pub bytes: Bytes,
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

/// Told of each stage as it begins; an error of it ends the rendering there.
pub type Observer<'a> = dyn FnMut(Stage) -> Result<()> + 'a;

/// The stages of a rendering, announced as each begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// Data set and codestream to samples.
    Decode,
    /// Samples to display values, framed.
    Render,
    /// Display values to bytes.
    Encode,
}
