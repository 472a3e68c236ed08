//! From the bytes of one frame to its cells: the table of syntaxes, and a decoder each.

pub(crate) mod encapsulated;
mod jpeg;
mod jpeg2000;
mod jpeg_ls;
mod jpeg_xl;
mod rle;

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
}

impl Encoded<'_> {
    /// How often a frame may be halved while decoding so that `kept` of its pixels remain for one of
    /// the picture along each side, for the resize to filter.
    fn halvings(&self, columns: u32, rows: u32, kept: f64) -> u8 {
        let density = (self.density)(columns, rows);
        (0..8).take_while(|&n| f64::from(2_u32 << n) * kept <= density).count() as u8
    }

    /// Whether averaging coded samples averages stored values: not where a sign is coded as a high
    /// bit, nor where unused bits are coded along.
    fn averages(&self, precision: u8, signed_codestream: bool) -> bool {
        let sign_is_a_bit = self.attributes.signed && !signed_codestream;
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
    fn choose(syntax: &TransferSyntax, bytes: &[u8], warnings: &mut Vec<String>) -> Result<Self> {
        let declared = Self::of(syntax)?;
        match Self::sniff(bytes) {
            Some(found) if found != declared && declared != Self::DeflatedFrame => {
                // Native cells may begin like a codestream by chance, but not where they are short
                // of a frame; those reach us as encapsulated data under a native syntax.
                if declared == Self::Native && !syntax.is_encapsulated() && found != Self::Jpeg {
                    return Ok(declared);
                }
                warnings
                    .push(format!("the frame is {found:?}, its transfer syntax says {declared:?}"));
                Ok(found)
            }
            _ => Ok(declared),
        }
    }
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
    let decoded = match Codec::choose(syntax, encoded.bytes, warnings)? {
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
        // The codestream knows its own sign, whatever Pixel Representation says.
        return BitLayout { bits: precision, shift: 0, signed: true };
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
        };
        coded_layout(&encoded, precision, signed)
    }

    #[test]
    fn the_bytes_overrule_a_wrong_syntax() {
        let mut warnings = Vec::new();
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0];
        let chosen = Codec::choose(&TransferSyntax::JpegLsLossless, &jpeg, &mut warnings);
        assert_eq!((chosen, warnings.len()), (Ok(Codec::Jpeg), 1));
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
    fn a_signed_codestream_is_believed() {
        let layout = layout_of(&image(1, 1, 16), false, 16, true);
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
        };
        let halvings = |columns, kept| encoded.halvings(columns, 1, kept);
        assert_eq!([100, 399, 400, 1600].map(|columns| halvings(columns, 2.0)), [0, 0, 1, 3]);
        assert_eq!(halvings(u32::MAX, 1.0), 8);
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
