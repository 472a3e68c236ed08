//! RGB and YBR samples of any depth to 8-bit RGB (PS3.3 C.7.6.3.1.2).

use crate::pixel::cells::{BitLayout, Cells, mask};

/// What three samples of a pixel are, once decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ColourSpace {
    Rgb,
    /// Full range luminance and colour differences.
    YbrFull,
    /// Luminance 16 to 235, colour differences 16 to 240.
    YbrPartial,
}

/// Display values of colour cells: v × 255 / (2^bits − 1), rounded once, at the end (R4.23).
pub(crate) fn to_rgb(cells: Cells, layout: BitLayout, space: ColourSpace) -> Vec<u8> {
    // The sign has no meaning in a colour sample.
    let layout = BitLayout { signed: false, ..layout };
    let whole_bytes = layout == BitLayout { bits: 8, shift: 0, signed: false };
    match (cells, space) {
        (Cells::U8(bytes), ColourSpace::Rgb) if whole_bytes => bytes.into(),
        (Cells::U8(bytes), space) if whole_bytes => convert(&bytes, |v| f32::from(*v), 8, space),
        (cells, ColourSpace::Rgb) => {
            let full_scale = f64::from(mask(layout.bits));
            let to_eight = |value: f64| (value * 255.0 / full_scale + 0.5).floor() as u8;
            let table = |_| (0..1_u32 << layout.bits).map(|v| to_eight(f64::from(v))).collect();
            cells.map(layout, table, to_eight)
        }
        (cells, space) => {
            let scale = 255.0 / f64::from(mask(layout.bits));
            let level = |cell: u32| (f64::from(layout.index(cell)) * scale) as f32;
            match cells {
                Cells::U8(cells) => convert(&cells, |c| level(u32::from(*c)), layout.bits, space),
                Cells::U16(cells) => convert(&cells, |c| level(u32::from(*c)), layout.bits, space),
                Cells::U32(cells) => convert(&cells, |c| level(*c), layout.bits, space),
                // Floats have no colour (R4.32).
                Cells::F32(_) | Cells::F64(_) => Vec::new(),
            }
        }
    }
}

/// YBR cells to RGB; `level` scales a cell to 0 to 255.
fn convert<T>(cells: &[T], level: impl Fn(&T) -> f32, bits: u8, space: ColourSpace) -> Vec<u8> {
    // Half of 2^bits, where chroma is neutral, on the scale of the levels.
    let neutral = (f64::from(bits - 1).exp2() * 255.0 / f64::from(mask(bits))) as f32;
    let mut out = vec![0; cells.len()];
    for (pixel, rgb) in cells.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0) {
        let ybr = pixel.each_ref().map(&level);
        let converted = match space {
            ColourSpace::Rgb => ybr,
            ColourSpace::YbrFull => full(ybr, neutral),
            ColourSpace::YbrPartial => partial(ybr, neutral),
        };
        *rgb = converted.map(|v| (v + 0.5).clamp(0.0, 255.0) as u8);
    }
    out
}

/// R4.18: the inverse of YBR_FULL.
fn full([y, cb, cr]: [f32; 3], neutral: f32) -> [f32; 3] {
    let (cb, cr) = (cb - neutral, cr - neutral);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
}

/// R4.18: the inverse of YBR_PARTIAL: luminance 16 to 235 and chroma 16 to 240 span the full range.
fn partial([y, cb, cr]: [f32; 3], neutral: f32) -> [f32; 3] {
    let chroma = |c| (c - neutral) * 255.0 / 224.0 + neutral;
    full([(y - 16.0) * 255.0 / 219.0, chroma(cb), chroma(cr)], neutral)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const BYTES: BitLayout = BitLayout { bits: 8, shift: 0, signed: false };

    fn rgb(pixel: &[u8], space: ColourSpace) -> Vec<u8> {
        to_rgb(Cells::U8(Bytes::copy_from_slice(pixel)), BYTES, space)
    }

    #[test]
    fn grey_ybr_is_grey_rgb() {
        for y in [0, 77, 255] {
            assert_eq!(rgb(&[y, 128, 128], ColourSpace::YbrFull), [y; 3]);
        }
    }

    #[test]
    fn primaries_survive_the_equations_of_the_standard() {
        // C.7.6.3.1.2: Y, Cb, Cr of pure red are .299, -.1687 and .5 of 255.
        assert_eq!(rgb(&[76, 85, 255], ColourSpace::YbrFull), [254, 0, 0]);
        assert_eq!(rgb(&[29, 255, 107], ColourSpace::YbrFull), [0, 0, 254]);
    }

    #[test]
    fn partial_range_spans_black_to_white() {
        assert_eq!(rgb(&[16, 128, 128], ColourSpace::YbrPartial), [0; 3]);
        assert_eq!(rgb(&[235, 128, 128], ColourSpace::YbrPartial), [255; 3]);
    }

    #[test]
    fn deep_ybr_is_rounded_once() {
        let layout = BitLayout { bits: 16, shift: 0, signed: false };
        let cells = Cells::U16(vec![63_027, 16_058, 11_559]);
        assert_eq!(to_rgb(cells, layout, ColourSpace::YbrFull), [130, 255, 130]);
    }

    #[test]
    fn deep_samples_are_scaled_by_their_stored_bits() {
        let layout = BitLayout { bits: 12, shift: 0, signed: false };
        let cells = Cells::U16(vec![0, 2048, 4095]);
        assert_eq!(to_rgb(cells, layout, ColourSpace::Rgb), [0, 128, 255]);
    }
}
