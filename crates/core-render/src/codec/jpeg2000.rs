//! JPEG 2000 and HTJ2K (PS3.5 §8.2.4 and 8.2.14), decoded by OpenJPEG.

use native_codecs::jpeg2000;

use crate::attributes::Photometric;
use crate::codec::{Decoded, Encoded, SampleSpace, coded_layout, note};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::pixel::cells::{Cells, mask};

/// Source pixels per pixel of the picture that a reduced decoding leaves along each side. Wavelets
/// alias more than a DCT, and it shows in small pictures most: over the corpus, 4 keep those of 64
/// pixels above 35 dB of the full path, and 2 those of 256 and more above 36 dB.
fn pixels_kept(longest_side: f64) -> f64 {
    if longest_side < 200.0 { 4.0 } else { 2.0 }
}

pub(super) fn decode(encoded: &Encoded<'_>, warnings: &mut Vec<String>) -> Result<Decoded> {
    let failed = |error| RenderError::decode("JPEG 2000", error);
    let header = jpeg2000::header(encoded.bytes).map_err(failed)?;
    encoded.limits.check_source(header.height, header.width)?;
    if header.components > 4 {
        return Err(RenderError::unsupported(format!(
            "JPEG 2000 of {} components",
            header.components
        )));
    }
    let reduce = match encoded.averages(header.precision, header.signed) {
        true => {
            let longest = encoded.longest_side(header.width, header.height);
            let halvings = encoded.halvings(header.width, header.height, pixels_kept(longest));
            halvings.min(header.levels)
        }
        false => 0,
    };
    let image = jpeg2000::decode(encoded.bytes, reduce, encoded.limits.threads).map_err(failed)?;
    note("JPEG 2000", image.warning, warnings);
    let (samples, space) = match image.components.len() {
        0 => return Err(RenderError::decode("JPEG 2000", "there is no component")),
        // A second or fourth component is opacity.
        1 | 2 => (&image.components[..1], SampleSpace::Single),
        _ => (&image.components[..3], SampleSpace::Colour(colour(encoded, header.mct))),
    };
    let precision = samples.iter().map(|c| c.precision).max().unwrap_or(8);
    let planes: Vec<&[i32]> = samples.iter().map(|component| &*component.data).collect();
    Ok(Decoded {
        columns: samples[0].width,
        rows: samples[0].height,
        full: (header.width, header.height),
        cells: cells(&planes, precision)?,
        layout: coded_layout(encoded, precision, samples[0].signed),
        space,
    })
}

/// R6.3: the codestream's own transform is trusted. Without one, samples are what the data set calls
/// them, unless it names a transform that only a codestream can have.
fn colour(encoded: &Encoded<'_>, mct: bool) -> ColourSpace {
    match encoded.attributes.photometric {
        Photometric::YbrFull | Photometric::YbrFull422 if !mct => ColourSpace::YbrFull,
        Photometric::YbrPartial420 | Photometric::YbrPartial422 if !mct => ColourSpace::YbrPartial,
        _ => ColourSpace::Rgb,
    }
}

/// Planes to interleaved cells; negative samples in two's complement.
fn cells(planes: &[&[i32]], precision: u8) -> Result<Cells> {
    let pixels = planes[0].len();
    if planes.iter().any(|plane| plane.len() != pixels) {
        return Err(RenderError::unsupported("JPEG 2000 with subsampled components"));
    }
    let bits = mask(precision.min(32));
    Ok(match precision {
        1..=8 => Cells::U8(interleaved(planes, |sample| (sample as u32 & bits) as u8).into()),
        9..=16 => Cells::U16(interleaved(planes, |sample| (sample as u32 & bits) as u16)),
        _ => Cells::U32(interleaved(planes, |sample| sample as u32 & bits)),
    })
}

fn interleaved<T>(planes: &[&[i32]], cell: impl Fn(i32) -> T) -> Vec<T> {
    match planes {
        [grey] => grey.iter().map(|&sample| cell(sample)).collect(),
        _ => {
            // Of known length, so that it does not grow to twice of what it needs.
            let mut cells = Vec::with_capacity(planes.len() * planes[0].len());
            for pixel in 0..planes[0].len() {
                cells.extend(planes.iter().map(|plane| cell(plane[pixel])));
            }
            cells
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_samples_become_twos_complement_of_their_precision() {
        let cells = cells(&[&[-1, 5, -2048]], 12).unwrap();
        assert!(matches!(cells, Cells::U16(cells) if cells == [0xFFF, 5, 0x800]));
    }

    #[test]
    fn components_are_interleaved() {
        let planes: [&[i32]; 3] = [&[1, 2], &[3, 4], &[5, 6]];
        assert!(
            matches!(cells(&planes, 8), Ok(Cells::U8(cells)) if cells.as_ref() == [1, 3, 5, 2, 4, 6])
        );
    }

    #[test]
    fn subsampled_components_are_refused_not_misread() {
        let planes: [&[i32]; 3] = [&[1, 2], &[3], &[5]];
        assert!(matches!(cells(&planes, 8), Err(RenderError::Unsupported { .. })));
    }
}
