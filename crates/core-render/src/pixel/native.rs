//! Native cells: uncompressed pixel data of one frame, little endian (PS3.5 §8.1 and 8.2.0).

use bytes::Bytes;

use crate::attributes::{CellKind, ImageAttributes, PlanarConfiguration};
use crate::error::{RenderError, Result};
use crate::pixel::cells::Cells;

/// Bits that one frame takes in native pixel data.
pub(crate) fn frame_bits(attributes: &ImageAttributes) -> u64 {
    let pixels = u64::from(attributes.rows) * u64::from(attributes.columns);
    if attributes.is_subsampled_native() {
        // PS3.3 C.7.6.3.1.2: Y1 Y2 Cb Cr for two pixels, whatever Samples per Pixel says.
        return pixels.div_ceil(2) * 4 * u64::from(attributes.bits_allocated);
    }
    pixels * u64::from(attributes.samples_per_pixel) * u64::from(attributes.bits_allocated)
}

/// Cells of a frame from its native bytes, which begin at bit 0 of the first byte.
///
/// # Errors
/// Less than half of the frame is there. Above that, what is missing is 0 and `warnings` says so.
pub(crate) fn decode(
    bytes: &Bytes,
    attributes: &ImageAttributes,
    warnings: &mut Vec<String>,
) -> Result<Cells> {
    let needed = frame_bits(attributes).div_ceil(8);
    let bytes = complete(bytes, needed, warnings)?;
    if attributes.bits_allocated == 1 {
        return Ok(Cells::U8(unpack_bits(&bytes, frame_bits(attributes) as usize).into()));
    }
    let cells = cells(bytes, attributes.cell_kind)?;
    if attributes.is_subsampled_native() {
        return spread_chroma(&cells, attributes);
    }
    let planar = attributes.planar_configuration == PlanarConfiguration::Planes
        && attributes.samples_per_pixel > 1;
    Ok(if planar { interleave(&cells, usize::from(attributes.samples_per_pixel)) } else { cells })
}

/// The first `needed` bytes, filled up with 0 where most of them are there (R4.3).
fn complete(bytes: &Bytes, needed: u64, warnings: &mut Vec<String>) -> Result<Bytes> {
    let there = bytes.len() as u64;
    if there >= needed {
        return Ok(bytes.slice(..needed as usize));
    }
    if there * 2 < needed {
        return Err(RenderError::damaged(format!(
            "the frame needs {needed} bytes of pixel data, {there} are there"
        )));
    }
    warnings.push(format!("{} of {needed} bytes of pixel data are missing", needed - there));
    let mut filled = bytes.to_vec();
    filled.resize(needed as usize, 0);
    Ok(filled.into())
}

/// PS3.5 §8.1.1: the first pixel is the lowest bit.
fn unpack_bits(bytes: &[u8], pixels: usize) -> Vec<u8> {
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    bits.take(pixels).collect()
}

fn cells(bytes: Bytes, kind: CellKind) -> Result<Cells> {
    Ok(match kind {
        CellKind::Integer(1 | 8) => Cells::U8(bytes),
        CellKind::Integer(16) => Cells::U16(words(&bytes, u16::from_le_bytes)),
        CellKind::Integer(32) => Cells::U32(words(&bytes, u32::from_le_bytes)),
        CellKind::Float => Cells::F32(words(&bytes, f32::from_le_bytes)),
        CellKind::Double => Cells::F64(words(&bytes, f64::from_le_bytes)),
        CellKind::Integer(other) => {
            return Err(RenderError::unsupported(format!("Bits Allocated {other}")));
        }
    })
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

/// Planes to pixels.
fn interleave(cells: &Cells, samples: usize) -> Cells {
    match cells {
        Cells::U8(planes) => Cells::U8(interleave_slice(planes, samples).into()),
        Cells::U16(planes) => Cells::U16(interleave_slice(planes, samples)),
        Cells::U32(planes) => Cells::U32(interleave_slice(planes, samples)),
        Cells::F32(_) | Cells::F64(_) => cells.clone(),
    }
}

pub(crate) fn interleave_slice<T: Copy>(planes: &[T], samples: usize) -> Vec<T> {
    let plane = planes.len() / samples;
    (0..plane).flat_map(|pixel| (0..samples).map(move |s| planes[s * plane + pixel])).collect()
}

/// R4.5: Y1 Y2 Cb Cr to Y Cb Cr for each pixel, chroma shared by the pair. Pairs do not cross rows
/// in even widths; an odd width runs on, as DCMTK and GDCM write it.
fn spread_chroma(cells: &Cells, attributes: &ImageAttributes) -> Result<Cells> {
    let pixels = attributes.rows as usize * attributes.columns as usize;
    match cells {
        Cells::U8(quads) => Ok(Cells::U8(spread(quads, pixels).into())),
        Cells::U16(quads) => Ok(Cells::U16(spread(quads, pixels))),
        _ => Err(RenderError::unsupported("YBR_FULL_422 of more than 16 bits")),
    }
}

fn spread<T: Copy>(quads: &[T], pixels: usize) -> Vec<T> {
    let both =
        quads.as_chunks::<4>().0.iter().flat_map(|&[y1, y2, cb, cr]| [y1, cb, cr, y2, cb, cr]);
    both.take(pixels * 3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Photometric;
    use crate::attributes::tests::image;

    fn decode_all(bytes: &[u8], attributes: &ImageAttributes) -> (Result<Cells>, Vec<String>) {
        let mut warnings = Vec::new();
        (decode(&Bytes::copy_from_slice(bytes), attributes, &mut warnings), warnings)
    }

    #[test]
    fn bits_are_read_from_the_lowest() {
        let attributes = image(1, 10, 1);
        let (cells, _) = decode_all(&[0b0000_0101, 0b10], &attributes);
        let Ok(Cells::U8(cells)) = cells else { panic!("{cells:?}") };
        assert_eq!(cells.as_ref(), [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn words_are_little_endian() {
        let (cells, _) = decode_all(&[0x34, 0x12, 0xFF, 0xFF], &image(1, 2, 16));
        assert!(matches!(cells, Ok(Cells::U16(cells)) if cells == [0x1234, 0xFFFF]));
    }

    #[test]
    fn planes_become_pixels() {
        let mut attributes = image(1, 2, 8);
        attributes.samples_per_pixel = 3;
        attributes.planar_configuration = PlanarConfiguration::Planes;
        let (cells, _) = decode_all(&[1, 2, 3, 4, 5, 6], &attributes);
        assert!(matches!(cells, Ok(Cells::U8(cells)) if cells.as_ref() == [1, 3, 5, 2, 4, 6]));
    }

    #[test]
    fn native_422_shares_chroma_within_a_pair() {
        let mut attributes = image(1, 4, 8);
        attributes.samples_per_pixel = 3;
        attributes.photometric = Photometric::YbrFull422;
        let (cells, _) = decode_all(&[1, 2, 9, 8, 3, 4, 7, 6], &attributes);
        let expected = [1, 9, 8, 2, 9, 8, 3, 7, 6, 4, 7, 6];
        assert!(matches!(cells, Ok(Cells::U8(cells)) if cells.as_ref() == expected));
    }

    #[test]
    fn a_mostly_complete_frame_is_filled_and_an_emptier_one_refused() {
        let (cells, warnings) = decode_all(&[9; 7], &image(1, 10, 8));
        assert!(
            matches!(cells, Ok(Cells::U8(cells)) if cells.as_ref() == [9, 9, 9, 9, 9, 9, 9, 0, 0, 0])
        );
        assert_eq!(warnings.len(), 1);
        assert!(matches!(
            decode_all(&[9; 4], &image(1, 10, 8)).0,
            Err(RenderError::Damaged { .. })
        ));
    }
}
