//! RGB and YBR samples of any depth to 8-bit RGB (PS3.3 C.7.6.3.1.2).

use bytes::Bytes;

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

/// Display values of colour cells.
pub(crate) fn to_rgb(cells: Cells, layout: BitLayout, space: ColourSpace) -> Vec<u8> {
    let scaled = scale(cells, layout);
    match space {
        ColourSpace::Rgb => scaled.into(),
        ColourSpace::YbrFull => convert(&scaled, full),
        ColourSpace::YbrPartial => convert(&scaled, partial),
    }
}

/// Samples to 8 bits: v × 255 / (2^bits − 1) (R4.23).
///
/// YBR samples are scaled before they are converted, which the equations allow: they are linear.
fn scale(cells: Cells, layout: BitLayout) -> Bytes {
    let whole_bytes = BitLayout { bits: 8, shift: 0, signed: false };
    match cells {
        Cells::U8(bytes) if layout == whole_bytes => bytes,
        other => {
            let full_scale = f64::from(mask(layout.bits));
            let to_eight = |value: f64| (value * 255.0 / full_scale + 0.5).floor() as u8;
            // The sign has no meaning in a colour sample.
            let layout = BitLayout { signed: false, ..layout };
            let table = |_| (0..1_u32 << layout.bits).map(|v| to_eight(f64::from(v))).collect();
            other.map(layout, table, to_eight).into()
        }
    }
}

fn convert(pixels: &[u8], equations: impl Fn([f32; 3]) -> [f32; 3]) -> Vec<u8> {
    let mut out = vec![0; pixels.len()];
    for (pixel, rgb) in pixels.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0) {
        *rgb = equations(pixel.map(f32::from)).map(|v| (v + 0.5).clamp(0.0, 255.0) as u8);
    }
    out
}

/// R4.18: the inverse of YBR_FULL.
fn full([y, cb, cr]: [f32; 3]) -> [f32; 3] {
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
}

/// R4.18: the inverse of YBR_PARTIAL: luminance 16 to 235 and chroma 16 to 240 span the full range.
fn partial([y, cb, cr]: [f32; 3]) -> [f32; 3] {
    let chroma = |c| (c - 128.0) * 255.0 / 224.0 + 128.0;
    full([(y - 16.0) * 255.0 / 219.0, chroma(cb), chroma(cr)])
}

#[cfg(test)]
mod tests {
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
    fn deep_samples_are_scaled_by_their_stored_bits() {
        let layout = BitLayout { bits: 12, shift: 0, signed: false };
        let cells = Cells::U16(vec![0, 2048, 4095]);
        assert_eq!(to_rgb(cells, layout, ColourSpace::Rgb), [0, 128, 255]);
    }
}
