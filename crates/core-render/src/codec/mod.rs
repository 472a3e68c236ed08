//! From the bytes of one frame to its cells: the table of syntaxes, and a decoder each.

pub(crate) mod encapsulated;
mod jpeg;
mod jpeg2000;
mod jpeg_lossless;
mod jpeg_ls;
mod jpeg_xl;
mod rle;
pub(crate) mod video;

use std::io::Read;

use bytes::Bytes;
use dicomweb_types::{TransferSyntax, Uid};

use crate::attributes::{ImageAttributes, Photometric};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::pixel::cells::{BitLayout, Cells};
use crate::pixel::native;

/// A decoded frame.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Size of what was decoded.
    pub columns: u32,
    pub rows: u32,
    /// Size of the whole frame, where it was decoded at a reduced size.
    pub full: (u32, u32),
    pub cells: Cells,
    pub layout: BitLayout,
    /// What the samples are now, which need not be what the attributes say (R6.2).
    pub space: SampleSpace,
}

/// What the samples of a pixel are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SampleSpace {
    /// One sample: grey, or an index into a palette.
    Single,
    /// Three samples.
    Colour(ColourSpace),
}

/// What a decoder is given.
pub(crate) struct Encoded<'a> {
    pub attributes: &'a ImageAttributes,
    pub bytes: &'a Bytes,
    /// The syntax promises that decoding gives the original cells, unused bits included.
    pub lossless: bool,
    pub limits: &'a Limits,
    /// How many pixels of a frame of this size (columns, rows) there are for one of the picture; 1
    /// where the frame must be decoded whole.
    pub density: &'a dyn Fn(u32, u32) -> f64,
    /// What the frame is a tile of.
    pub tile: Option<TileOf>,
}

/// The image that tiles make up.
#[derive(Clone, Copy)]
pub(crate) struct TileOf {
    /// Its columns and rows.
    pub whole: (u32, u32),
    /// How often its tiles can be halved and still fit together.
    pub halvings: u8,
}

impl Encoded<'_> {
    /// How often a frame may be halved while decoding so that `kept` of its pixels remain for one of
    /// the picture along each side, for the resize to filter.
    fn halvings(&self, columns: u32, rows: u32, kept: f64) -> u8 {
        let density = (self.density)(columns, rows);
        let most = self.tile.map_or(8, |tile| tile.halvings);
        (0..most).take_while(|&n| f64::from(2_u32 << n) * kept <= density).count() as u8
    }

    /// The longest side of the picture that a whole frame, or all tiles, would make at the density of
    /// the one asked for.
    fn longest_side(&self, columns: u32, rows: u32) -> f64 {
        let whole = self.tile.map_or((columns, rows), |tile| tile.whole);
        f64::from(whole.0.max(whole.1)) / (self.density)(columns, rows)
    }

    /// Whether averaging coded samples averages stored values: not where a sign is coded as a high
    /// bit, nor where unused bits are coded along.
    fn averages(&self, precision: u8, signed_codestream: bool) -> bool {
        let sign_is_a_bit = self.attributes.signed != signed_codestream;
        let unused_bits = self.lossless && u16::from(precision) > self.attributes.bits_stored;
        !sign_is_a_bit && !unused_bits
    }
}

/// The decoders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Codec {
    Native,
    DeflatedFrame,
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
    JpegXl,
    Video,
}

impl Codec {
    /// The decoder of a transfer syntax.
    pub(crate) fn of(syntax: &TransferSyntax) -> Result<Self> {
        use TransferSyntax::*;
        Ok(match syntax {
            ImplicitLittleEndian
            | ExplicitLittleEndian
            | ExplicitBigEndian
            | DeflatedExplicitLittleEndian
            | EncapsulatedUncompressed => Self::Native,
            DeflatedImageFrame => Self::DeflatedFrame,
            RleLossless => Self::Rle,
            JpegBaseline | JpegExtended | JpegLossless | JpegLosslessSv1 => Self::Jpeg,
            JpegLsLossless | JpegLsNearLossless => Self::JpegLs,
            Jpeg2000Lossless
            | TransferSyntax::Jpeg2000
            | Htj2kLossless
            | Htj2kLosslessRpcl
            | Htj2k => Self::Jpeg2000,
            JpegXlLossless | JpegXlRecompression | TransferSyntax::JpegXl => Self::JpegXl,
            Other(_) if syntax.is_video() => Self::Video,
            Other(text) => return Err(unknown(text)),
        })
    }

    /// The decoder that a codestream's own first bytes call for, if they are of a known kind.
    pub(crate) fn sniff(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0xFF, 0xD8, 0xFF, ..] if jpeg::is_jpeg_ls(bytes) => Self::JpegLs,
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 0x0C, b'j', b'P', b' ', b' ', ..] => {
                Self::Jpeg2000
            }
            [0, 0, 0, 0x0C, b'J', b'X', b'L', b' ', ..] => Self::JpegXl,
            // FF 0A alone is too weak a mark to overrule a declared syntax.
            _ => return None,
        })
    }

    /// The decoder to use: the bytes have the last word where they contradict the syntax (R6.7).
    fn choose(
        syntax: &TransferSyntax,
        encoded: &Encoded<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let declared = Self::of(syntax)?;
        let found = Self::found(declared, syntax, encoded);
        if found != declared {
            warnings.push(format!("the frame is {found:?}, its transfer syntax says {declared:?}"));
        }
        Ok(found)
    }

    /// What the bytes are: what is declared, unless they plainly are something else.
    fn found(declared: Self, syntax: &TransferSyntax, encoded: &Encoded<'_>) -> Self {
        let length = encoded.bytes.len() as u64;
        let native_length = native::frame_bits(encoded.attributes).div_ceil(8);
        match declared {
            // Native cells may begin like a codestream by chance: not where a whole frame is there.
            Self::Native if !syntax.is_encapsulated() && length >= native_length => declared,
            // Streams without a mark of their own.
            Self::DeflatedFrame | Self::Video => declared,
            _ => match Self::sniff(encoded.bytes) {
                Some(found) => found,
                None if matches!(declared, Self::JpegXl | Self::Rle) => declared,
                // No codestream, and exactly as long as the cells would be, or padded to even.
                None if length.next_multiple_of(2) == native_length.next_multiple_of(2) => {
                    Self::Native
                }
                None => declared,
            },
        }
    }
}

/// What the bytes of a frame are where nobody says it: a codestream by its first bytes, in one of the
/// syntaxes of its codec. `None` of cells, and of RLE, which have no mark.
pub fn syntax_of_bytes(bytes: &[u8]) -> Option<TransferSyntax> {
    Some(match Codec::sniff(bytes)? {
        Codec::JpegLs => TransferSyntax::JpegLsLossless,
        Codec::Jpeg => TransferSyntax::JpegLosslessSv1,
        Codec::Jpeg2000 => TransferSyntax::Jpeg2000Lossless,
        Codec::JpegXl => TransferSyntax::JpegXlLossless,
        _ => return None,
    })
}

/// Whether so many bytes are a frame's cells, or these padded to an even number.
pub fn is_length_of_cells(attributes: &ImageAttributes, length: usize) -> bool {
    let cells = native::frame_bits(attributes).div_ceil(8);
    (length as u64).next_multiple_of(2) == cells.next_multiple_of(2)
}

/// Names the syntax if it is a UID: in a damaged file, it may be anything.
fn unknown(text: &str) -> RenderError {
    match text.parse::<Uid>() {
        Ok(uid) => RenderError::unsupported(format!("transfer syntax {}", uid.as_str())),
        Err(_) => RenderError::unsupported("a transfer syntax that is no UID"),
    }
}

/// Decodes one frame.
///
/// # Errors
/// What the decoder said; or a geometry above the limits, checked again on the codestream.
pub(crate) fn decode(
    syntax: &TransferSyntax,
    encoded: &Encoded<'_>,
    warnings: &mut Vec<String>,
) -> Result<Decoded> {
    let decoded = match Codec::choose(syntax, encoded, warnings)? {
        Codec::Native => decode_native(encoded.bytes, encoded.attributes, warnings),
        Codec::DeflatedFrame => {
            let inflated = inflate_frame(encoded.bytes, encoded.attributes)?;
            decode_native(&inflated, encoded.attributes, warnings)
        }
        Codec::Rle => rle::decode(encoded, warnings),
        Codec::Jpeg => jpeg::decode(encoded, warnings),
        Codec::JpegLs => jpeg_ls::decode(encoded, warnings),
        Codec::Jpeg2000 => jpeg2000::decode(encoded, warnings),
        Codec::JpegXl => jpeg_xl::decode(encoded),
        Codec::Video => video::decode(encoded),
    }?;
    decoded.check_complete()?;
    Ok(decoded)
}

fn decode_native(
    bytes: &Bytes,
    attributes: &ImageAttributes,
    warnings: &mut Vec<String>,
) -> Result<Decoded> {
    let cells = native::decode(bytes, attributes, warnings)?;
    Ok(Decoded::full_size(attributes, cells, native_layout(attributes), native_space(attributes)))
}

/// One RFC 1951 stream; what comes after the frame is padding.
fn inflate_frame(bytes: &[u8], attributes: &ImageAttributes) -> Result<Bytes> {
    let needed = native::frame_bits(attributes).div_ceil(8);
    let mut inflated = Vec::new();
    flate2::read::DeflateDecoder::new(bytes)
        .take(needed)
        .read_to_end(&mut inflated)
        .map_err(|error| RenderError::decode("deflate", error))?;
    Ok(inflated.into())
}

impl Decoded {
    fn full_size(
        attributes: &ImageAttributes,
        cells: Cells,
        layout: BitLayout,
        space: SampleSpace,
    ) -> Self {
        let (columns, rows) = (attributes.columns, attributes.rows);
        Self { columns, rows, full: (columns, rows), cells, layout, space }
    }

    /// How often it was halved along each side; `None` where the sizes do not fit any number.
    pub(crate) fn halvings(&self) -> Option<u8> {
        let (columns, rows) = self.full;
        let halved = |side: u32, n: u8| side.div_ceil(1 << n);
        (0..=8).find(|&n| (halved(columns, n), halved(rows, n)) == (self.columns, self.rows))
    }

    /// Later stages index by row and column: a decoder that broke its word must not get there.
    fn check_complete(&self) -> Result<()> {
        let samples = match self.space {
            SampleSpace::Single => 1,
            SampleSpace::Colour(_) => 3,
        };
        if self.cells.len() == self.columns as usize * self.rows as usize * samples {
            return Ok(());
        }
        Err(RenderError::decode("decoder", "the samples do not fill the frame"))
    }
}

/// R4.1: where the sample sits in a native cell.
fn native_layout(attributes: &ImageAttributes) -> BitLayout {
    BitLayout {
        bits: attributes.bits_stored as u8,
        shift: (attributes.high_bit + 1 - attributes.bits_stored) as u8,
        signed: attributes.signed,
    }
}

/// What native samples are: what the attributes say.
fn native_space(attributes: &ImageAttributes) -> SampleSpace {
    SampleSpace::Colour(match attributes.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::PaletteColor => {
            return SampleSpace::Single;
        }
        Photometric::YbrFull | Photometric::YbrFull422 => ColourSpace::YbrFull,
        Photometric::YbrPartial420 | Photometric::YbrPartial422 => ColourSpace::YbrPartial,
        // ICT and RCT exist inside a codestream only: native data so labelled were decoded, and the
        // label forgotten (R4.18).
        Photometric::Rgb | Photometric::YbrIct | Photometric::YbrRct => ColourSpace::Rgb,
    })
}

/// What samples of a codec without colour transform of its own are.
fn coded_space(attributes: &ImageAttributes, components: usize) -> SampleSpace {
    match (components, native_space(attributes)) {
        (1, _) => SampleSpace::Single,
        (_, SampleSpace::Single) => SampleSpace::Colour(ColourSpace::Rgb),
        (_, colour) => colour,
    }
}

/// Where the sample sits in what a codec put out, right-aligned, `precision` bits (R6.3).
fn coded_layout(encoded: &Encoded<'_>, precision: u8, signed_codestream: bool) -> BitLayout {
    let attributes = encoded.attributes;
    let (stored, high) = (attributes.bits_stored as u8, attributes.high_bit as u8);
    if signed_codestream {
        // R6.3: all of its bits are the sample; what they mean is for Pixel Representation to say.
        return BitLayout { bits: precision, shift: 0, signed: attributes.signed };
    }
    if encoded.lossless && precision > stored {
        // The whole cell was coded, unused bits and overlays too: R4.1 applies to it.
        let shift = if high < precision { high + 1 - stored } else { 0 };
        return BitLayout { bits: stored, shift, signed: attributes.signed };
    }
    // Lossy samples may leave the range of Bits Stored a little: they must not wrap.
    let bits = if attributes.signed { stored.min(precision) } else { precision };
    BitLayout { bits, shift: 0, signed: attributes.signed }
}

/// Puts a decoder's warning beside the others.
fn note(codec: &str, warning: Option<String>, warnings: &mut Vec<String>) {
    warnings.extend(warning.map(|warning| format!("{codec}: {warning}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::tests::image;

    fn layout_of(
        attributes: &ImageAttributes,
        lossless: bool,
        precision: u8,
        signed: bool,
    ) -> BitLayout {
        let encoded = Encoded {
            attributes,
            bytes: &Bytes::new(),
            lossless,
            limits: &Limits::default(),
            density: &|_, _| 1.0,
            tile: None,
        };
        coded_layout(&encoded, precision, signed)
    }

    fn chosen(syntax: &TransferSyntax, bytes: &'static [u8]) -> (Result<Codec>, usize) {
        let mut warnings = Vec::new();
        let encoded = Encoded {
            attributes: &image(2, 2, 8),
            bytes: &Bytes::from_static(bytes),
            lossless: true,
            limits: &Limits::default(),
            density: &|_, _| 1.0,
            tile: None,
        };
        (Codec::choose(syntax, &encoded, &mut warnings), warnings.len())
    }

    #[test]
    fn the_bytes_overrule_a_wrong_syntax() {
        use TransferSyntax::{EncapsulatedUncompressed, ExplicitLittleEndian, JpegLsLossless};
        const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF];
        assert_eq!(chosen(&JpegLsLossless, JPEG), (Ok(Codec::Jpeg), 1));
        assert_eq!(chosen(&ExplicitLittleEndian, JPEG), (Ok(Codec::Jpeg), 1));
        let j2k = &[0xFF, 0x4F, 0xFF, 0x51];
        assert_eq!(chosen(&EncapsulatedUncompressed, j2k), (Ok(Codec::Jpeg2000), 1));
        assert_eq!(chosen(&ExplicitLittleEndian, j2k), (Ok(Codec::Native), 0), "a whole frame");
        assert_eq!(chosen(&TransferSyntax::JpegBaseline, &[1, 2, 3, 4]), (Ok(Codec::Native), 1));
        assert_eq!(chosen(&TransferSyntax::JpegBaseline, &[1; 9]), (Ok(Codec::Jpeg), 0));
    }

    #[test]
    fn unknown_syntaxes_are_not_guessed() {
        let other = TransferSyntax::from_uid("1.2.840.10008.1.2.4.999");
        assert!(matches!(Codec::of(&other), Err(RenderError::Unsupported { .. })));
    }

    #[test]
    fn signed_cells_coded_without_sign_are_signed_again() {
        let mut attributes = image(1, 1, 16);
        attributes.signed = true;
        attributes.bits_stored = 12;
        attributes.high_bit = 11;
        let narrow = layout_of(&attributes, true, 12, false);
        assert_eq!((narrow.bits, narrow.signed), (12, true));
        let wide = layout_of(&attributes, true, 16, false);
        assert_eq!((wide.bits, wide.shift), (12, 0));
    }

    #[test]
    fn lossy_samples_do_not_wrap_at_bits_stored() {
        let mut attributes = image(1, 1, 16);
        attributes.bits_stored = 10;
        attributes.high_bit = 9;
        assert_eq!(layout_of(&attributes, false, 12, false).bits, 12);
        assert_eq!(layout_of(&attributes, true, 12, false).bits, 10);
    }

    #[test]
    fn pixel_representation_signs_the_samples_of_a_signed_codestream() {
        let mut attributes = image(1, 1, 16);
        assert!(!layout_of(&attributes, false, 16, true).signed);
        attributes.signed = true;
        attributes.bits_stored = 14;
        let layout = layout_of(&attributes, false, 16, true);
        assert_eq!((layout.bits, layout.signed), (16, true));
    }

    #[test]
    fn halving_leaves_pixels_for_the_resize() {
        let (attributes, limits) = (image(1, 1, 8), Limits::default());
        let encoded = Encoded {
            attributes: &attributes,
            bytes: &Bytes::new(),
            lossless: false,
            limits: &limits,
            density: &|columns, _| f64::from(columns) / 100.0,
            tile: None,
        };
        let halvings = |columns, kept| encoded.halvings(columns, 1, kept);
        assert_eq!([100, 399, 400, 1600].map(|columns| halvings(columns, 2.0)), [0, 0, 1, 3]);
        assert_eq!(halvings(u32::MAX, 1.0), 8);
        let tile = Some(TileOf { whole: (6400, 3200), halvings: 2 });
        let tiled = Encoded { tile, ..encoded };
        assert_eq!((tiled.halvings(1600, 1, 2.0), tiled.longest_side(1600, 1)), (2, 400.0));
    }

    #[test]
    fn deflated_frames_stop_at_the_frame() {
        use std::io::Write;
        let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        bomb.write_all(&[7; 1 << 20]).unwrap();
        let inflated = inflate_frame(&bomb.finish().unwrap(), &image(4, 4, 8)).unwrap();
        assert_eq!(inflated.len(), 16);
    }
}
