//! Why there is no picture.

use std::borrow::Cow;

use dicomweb_types::FrameNumber;
use serde::{Deserialize, Serialize};

/// Why a frame could not be drawn. Messages name attributes and numbers, never values of a patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum RenderError {
    /// The bytes are not a DICOM file.
    #[error("not a DICOM file: {reason}")]
    NotDicom {
        /// What is missing.
        reason: String,
    },
    /// The data set breaks off or contradicts itself.
    #[error("the DICOM data set is damaged: {reason}")]
    Damaged {
        /// Where and how.
        reason: String,
    },
    /// The object holds no image (a report, a document, a waveform …).
    #[error("the object holds no image")]
    NotAnImage,
    /// There is no such frame.
    #[error("frame {frame} was asked for, the object has {frames}")]
    FrameOutOfRange {
        /// The frame asked for.
        frame: FrameNumber,
        /// How many there are.
        frames: u32,
    },
    /// A required attribute is absent or has a value that the standard does not allow.
    #[error("attribute {attribute} {problem}")]
    Attribute {
        /// Its keyword.
        attribute: Cow<'static, str>,
        /// What is wrong with it.
        problem: String,
    },
    /// The standard allows it, this renderer cannot draw it.
    #[error("{what} is not supported")]
    Unsupported {
        /// Transfer syntax, photometric interpretation …
        what: String,
    },
    /// The codestream or the pixel data could not be decoded.
    #[error("the pixel data could not be decoded ({codec}): {reason}")]
    Decode {
        /// Which decoder.
        codec: String,
        /// What it said.
        reason: String,
    },
    /// Larger than the configured limit.
    #[error("{what} of {value} is above the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: String,
        /// How much there is, or would be.
        value: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// The region of the viewport lies outside the image.
    #[error("the region of the viewport lies outside the image of {columns} × {rows} pixels")]
    EmptyRegion {
        /// Columns of the image.
        columns: u32,
        /// Rows of the image.
        rows: u32,
    },
    /// A thumbnail would show the label of a slide, which may name the patient.
    #[error("the image shows the label of a slide, which may name the patient: no thumbnail of it")]
    ShowsLabel,
    /// Nobody waits for the picture any more.
    #[error("the picture came too late for who asked for it")]
    GivenUp,
    /// The picture could not be encoded.
    #[error("the picture could not be encoded as {media_type}: {reason}")]
    Encode {
        /// The media type.
        media_type: String,
        /// What the encoder said.
        reason: String,
    },
}

impl RenderError {
    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }

    pub(crate) fn attribute(attribute: &'static str, problem: impl Into<String>) -> Self {
        Self::Attribute { attribute: attribute.into(), problem: problem.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(crate) fn decode(codec: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Decode { codec: codec.into(), reason: reason.to_string() }
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, RenderError>;
