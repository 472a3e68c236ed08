//! A source to the attributes and the bytes of one frame.

use std::ops::Range;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, TransferSyntax};

use crate::attributes::{ImageAttributes, representative_frame};
use crate::codec::Codec;
use crate::codec::encapsulated::{ExtendedOffsets, Frames};
use crate::dataset::primitive;
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::part10::{self, DicomFile, PixelData};
use crate::pixel::native;
use crate::source::{EncodedFrame, FrameChoice};

/// One frame, still encoded.
#[derive(Debug)]
pub(crate) struct Frame {
    pub attributes: ImageAttributes,
    pub transfer_syntax: TransferSyntax,
    /// Native cells, little endian, from bit 0 on; or the codestream.
    pub bytes: Bytes,
    pub warnings: Vec<String>,
    /// The data set of the file.
    pub dataset: Option<InMemDicomObject>,
}

impl Frame {
    /// A frame of a file.
    pub(crate) fn in_file(bytes: &Bytes, choice: FrameChoice, limits: &Limits) -> Result<Self> {
        let frames = FileFrames::open(part10::read(bytes, limits)?, limits)?;
        let frame = frames.choose(choice)?;
        let (attributes, bytes) = frames.frame(frame)?;
        let FileFrames { dataset, transfer_syntax, mut warnings, .. } = frames;
        warnings.extend(attributes.warnings.iter().cloned());
        Ok(Self { attributes, transfer_syntax, bytes, warnings, dataset: Some(dataset) })
    }

    /// A frame without its file.
    pub(crate) fn alone(
        attributes: &ImageAttributes,
        transfer_syntax: &TransferSyntax,
        bytes: &Bytes,
        limits: &Limits,
    ) -> Result<Self> {
        limits.check_bytes(bytes.len() as u64)?;
        attributes.check()?;
        Ok(Self {
            warnings: attributes.warnings.clone(),
            attributes: attributes.clone(),
            transfer_syntax: transfer_syntax.clone(),
            bytes: bytes.clone(),
            dataset: None,
        })
    }
}

impl EncodedFrame {
    /// A frame of a file as an archive would hand it out.
    ///
    /// # Errors
    /// What is wrong with the file: [`RenderError`].
    pub fn of_file(bytes: &Bytes, choice: FrameChoice, limits: &Limits) -> Result<Self> {
        let Frame { attributes, transfer_syntax, bytes, .. } =
            Frame::in_file(bytes, choice, limits)?;
        Ok(Self { attributes, transfer_syntax, bytes })
    }

    /// The bytes that decide the pixels, however the frame was fetched: without padding, which some
    /// archives take off and others leave.
    pub fn content(&self) -> &[u8] {
        content(&self.attributes, &self.transfer_syntax, &self.bytes)
    }
}

/// [`EncodedFrame::content`] of its parts.
pub fn content<'a>(
    attributes: &ImageAttributes,
    transfer_syntax: &TransferSyntax,
    bytes: &'a [u8],
) -> &'a [u8] {
    if transfer_syntax.is_encapsulated() {
        let padding = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
        return &bytes[..bytes.len() - padding];
    }
    let length = native::frame_bits(attributes).div_ceil(8);
    &bytes[..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX))]
}

/// A file whose frames can be cut out.
#[derive(Debug)]
pub(crate) struct FileFrames {
    pub dataset: InMemDicomObject,
    pub transfer_syntax: TransferSyntax,
    pub warnings: Vec<String>,
    pixel_data: PixelData,
    stored: Stored,
}

impl FileFrames {
    pub(crate) fn open(file: DicomFile, limits: &Limits) -> Result<Self> {
        let DicomFile { dataset, transfer_syntax, pixel_data, mut warnings, .. } = file;
        let first = ImageAttributes::of_frame(&dataset, FrameNumber::FIRST)?;
        let Some(pixel_data) = pixel_data else {
            return Err(RenderError::damaged("there are no pixel data"));
        };
        limits.check_source(first.rows, first.columns)?;
        // R6.7: fragments under a native syntax, whose bytes then tell what they are.
        let fragments = pixel_data.encapsulated && !transfer_syntax.is_encapsulated();
        let transfer_syntax =
            if fragments { TransferSyntax::EncapsulatedUncompressed } else { transfer_syntax };
        let stored = Stored::find(&pixel_data, &dataset, &first, &transfer_syntax, &mut warnings)?;
        if pixel_data.truncated {
            warnings.push("the file breaks off within the pixel data".to_owned());
        }
        Ok(Self { dataset, transfer_syntax, warnings, pixel_data, stored })
    }

    /// How many frames there are.
    pub(crate) fn count(&self) -> u32 {
        self.stored.count()
    }

    /// The frame that is meant.
    pub(crate) fn choose(&self, choice: FrameChoice) -> Result<FrameNumber> {
        self.stored.choose(choice, &self.dataset)
    }

    /// A frame by itself; an error where there are fewer.
    pub(crate) fn get(&self, frame: FrameNumber) -> Result<Frame> {
        self.choose(FrameChoice::Number(frame))?;
        let (attributes, bytes) = self.frame(frame)?;
        let warnings = self.warnings.iter().chain(&attributes.warnings).cloned().collect();
        let transfer_syntax = self.transfer_syntax.clone();
        Ok(Frame { attributes, transfer_syntax, bytes, warnings, dataset: None })
    }

    /// The attributes and the bytes of a frame.
    pub(crate) fn frame(&self, frame: FrameNumber) -> Result<(ImageAttributes, Bytes)> {
        let attributes = ImageAttributes::of_frame(&self.dataset, frame)?;
        let bytes = self.bytes(frame, &attributes)?;
        Ok((attributes, bytes))
    }

    /// The bytes of a frame, of which `attributes` give the size.
    pub(crate) fn bytes(&self, frame: FrameNumber, attributes: &ImageAttributes) -> Result<Bytes> {
        self.stored.frame(frame, attributes, &self.pixel_data)
    }
}

/// How the frames lie in the pixel data.
#[derive(Debug)]
enum Stored {
    Native {
        frames: u32,
    },
    Encapsulated(Frames),
    /// One stream for all of them (PS3.5 §8.2.5).
    Video {
        stream: Bytes,
        frames: u32,
    },
}

impl Stored {
    fn find(
        pixel_data: &PixelData,
        dataset: &InMemDicomObject,
        attributes: &ImageAttributes,
        syntax: &TransferSyntax,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        if pixel_data.value.is_empty() {
            return Err(RenderError::damaged("the pixel data are empty"));
        }
        let declared = attributes.number_of_frames;
        if syntax.is_video() {
            let extended = ExtendedOffsets::default();
            let whole = Frames::find(&pixel_data.value, 1, &extended, &mut Vec::new())?;
            return Ok(Self::Video { stream: whole.joined(), frames: declared });
        }
        let starts_with_item = pixel_data.value.starts_with(&[0xFE, 0xFF, 0x00, 0xE0]);
        if pixel_data.encapsulated || (starts_with_item && syntax.is_encapsulated()) {
            let extended = extended_offsets(dataset);
            return Frames::find(&pixel_data.value, declared, &extended, warnings)
                .map(Self::Encapsulated);
        }
        // R6.7: native data under an encapsulated syntax.
        if syntax.is_encapsulated() && Codec::sniff(&pixel_data.value).is_none() {
            warnings.push("the pixel data are native, against the transfer syntax".to_owned());
        }
        let bits = native::frame_bits(attributes).max(1);
        let held = (pixel_data.value.len() as u64 * 8).div_ceil(bits).max(1);
        let frames = u64::from(declared).min(held) as u32;
        if frames < declared {
            warnings.push(format!("{declared} frames are declared, {frames} are there"));
        }
        Ok(Self::Native { frames })
    }

    fn count(&self) -> u32 {
        match self {
            Self::Native { frames } | Self::Video { frames, .. } => *frames,
            Self::Encapsulated(frames) => frames.count(),
        }
    }

    fn choose(&self, choice: FrameChoice, dataset: &InMemDicomObject) -> Result<FrameNumber> {
        let frames = self.count();
        match choice {
            FrameChoice::Number(frame) if frame.get() <= frames => Ok(frame),
            FrameChoice::Number(frame) => Err(RenderError::FrameOutOfRange { frame, frames }),
            // A later one would cost decoding all before it.
            FrameChoice::Representative if matches!(self, Self::Video { .. }) => {
                Ok(FrameNumber::FIRST)
            }
            FrameChoice::Representative => {
                let named = representative_frame(dataset);
                let middle = FrameNumber::new(frames / 2 + 1).unwrap_or(FrameNumber::FIRST);
                Ok(if named.get() <= frames { named } else { middle })
            }
        }
    }

    fn frame(
        &self,
        frame: FrameNumber,
        attributes: &ImageAttributes,
        pixel_data: &PixelData,
    ) -> Result<Bytes> {
        match self {
            Self::Encapsulated(frames) => frames.frame(frame),
            Self::Video { stream, .. } => Ok(stream.clone()),
            Self::Native { .. } => Ok(native_frame(frame, attributes, pixel_data)),
        }
    }
}

fn extended_offsets(dataset: &InMemDicomObject) -> ExtendedOffsets {
    let bytes = primitive(dataset, tags::EXTENDED_OFFSET_TABLE).map(|value| value.to_bytes());
    let offsets = bytes.iter().flat_map(|bytes| bytes.as_chunks::<8>().0);
    ExtendedOffsets { offsets: offsets.map(|offset| u64::from_le_bytes(*offset)).collect() }
}

/// The cells of one frame of native pixel data; what is missing at the end is left out.
fn native_frame(frame: FrameNumber, attributes: &ImageAttributes, pixel_data: &PixelData) -> Bytes {
    let value = &pixel_data.value;
    let bits = native::frame_bits(attributes);
    let start = bits.saturating_mul(frame.index() as u64);
    let end = (start + bits).min(value.len() as u64 * 8);
    let start_byte = (start / 8).min(value.len() as u64) as usize;
    let bytes = start_byte..end.div_ceil(8).max(start_byte as u64) as usize;
    let bytes = match attributes.bits_allocated {
        1 | 8 if pixel_data.big_endian && pixel_data.words => unswapped(value, bytes),
        _ => value.slice(bytes),
    };
    // R4.2: frames of single bits need not begin on a byte.
    match start % 8 {
        0 => to_little_endian(bytes, attributes, pixel_data),
        shift => shift_down(&bytes, shift as u32),
    }
}

/// Bytes that lie swapped within big-endian words (PS3.5 §8.2 with Annex A.3), which frames need not
/// begin or end on.
fn unswapped(value: &[u8], bytes: Range<usize>) -> Bytes {
    bytes.map(|at| value.get(at ^ 1).copied().unwrap_or(0)).collect()
}

fn shift_down(bytes: &[u8], shift: u32) -> Bytes {
    let next = bytes.iter().skip(1).copied().chain([0]);
    bytes.iter().zip(next).map(|(low, high)| low >> shift | high << (8 - shift)).collect()
}

/// Cells of several bytes, which are big endian where the file is.
fn to_little_endian(bytes: Bytes, attributes: &ImageAttributes, pixel_data: &PixelData) -> Bytes {
    let width = usize::from(attributes.bits_allocated) / 8;
    if !pixel_data.big_endian || width < 2 {
        return bytes;
    }
    bytes.chunks(width).flat_map(|cell| cell.iter().rev()).copied().collect()
}

/// Whether a whole object has to be fetched for its pixels: archives cut no frames of these right.
pub fn frames_cannot_be_cut(dataset: &InMemDicomObject) -> bool {
    const FLOATS: [Tag; 2] = [tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA];
    FLOATS.iter().any(|&tag| dataset.get(tag).is_some())
        || crate::dataset::integer(dataset, tags::BITS_ALLOCATED) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::tests::image;

    fn pixels(value: &'static [u8]) -> PixelData {
        let value = Bytes::from_static(value);
        PixelData { value, encapsulated: false, big_endian: false, words: true, truncated: false }
    }

    fn frame(number: u32) -> FrameNumber {
        FrameNumber::new(number).unwrap()
    }

    #[test]
    fn single_bit_frames_begin_within_a_byte() {
        // Frames of 3 pixels: 0b101, 0b011, 0b110, lowest bit first.
        let data = pixels(&[0b1001_1101, 0b1]);
        let attributes = image(1, 3, 1);
        let bits = |n| native_frame(frame(n), &attributes, &data)[0] & 0b111;
        assert_eq!([bits(1), bits(2), bits(3)], [0b101, 0b011, 0b110]);
    }

    #[test]
    fn big_endian_cells_are_turned() {
        let mut data = pixels(&[1, 2, 3, 4]);
        data.big_endian = true;
        let turned = |bits| native_frame(frame(1), &image(1, 32 / u32::from(bits), bits), &data);
        assert_eq!(turned(16).as_ref(), [2, 1, 4, 3]);
        assert_eq!(turned(32).as_ref(), [4, 3, 2, 1]);
        assert_eq!(turned(8).as_ref(), [2, 1, 4, 3]);
        data.words = false;
        assert_eq!(native_frame(frame(1), &image(1, 4, 8), &data).as_ref(), [1, 2, 3, 4]);
    }

    #[test]
    fn frames_begin_and_end_within_the_words_of_big_endian_bytes() {
        // Two frames of three bytes; as words 0x0201, 0x0403, 0x0605.
        let mut data = pixels(&[2, 1, 4, 3, 6, 5]);
        data.big_endian = true;
        let of = |n, image: ImageAttributes| native_frame(frame(n), &image, &data);
        assert_eq!(of(1, image(1, 3, 8)).as_ref(), [1, 2, 3]);
        assert_eq!(of(2, image(1, 3, 8)).as_ref(), [4, 5, 6]);
        // Frames of nine single bits: bits 9 to 17 of 01 02 03 04, lowest first.
        assert_eq!(of(2, image(1, 9, 1))[0], 0b1000_0001);
    }

    #[test]
    fn a_frame_outside_is_empty_not_a_panic() {
        assert!(native_frame(frame(u32::MAX), &image(9, 9, 16), &pixels(&[1, 2])).is_empty());
    }
}
