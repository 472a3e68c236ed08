//! JPEG baseline, extended and lossless (PS3.5 §8.2.1), decoded by libjpeg-turbo.

use native_codecs::jpeg::{self, Colour, Reduction};

use crate::attributes::Photometric;
use crate::codec::jpeg_lossless::{self, Grey};
use crate::codec::{Decoded, Encoded, SampleSpace, coded_layout, coded_space, note};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::pixel::cells::Cells;

/// Source pixels per pixel of the picture that a reduced decoding leaves along each side: with 2,
/// the corpus stays above 38 dB of the full path, with 1 it falls to 33 dB.
const PIXELS_KEPT: f64 = 2.0;

pub(super) fn decode(encoded: &Encoded<'_>, warnings: &mut Vec<String>) -> Result<Decoded> {
    let failed = |error| RenderError::decode("JPEG", error);
    let header = jpeg::header(encoded.bytes).map_err(failed)?;
    encoded.limits.check_source(header.height, header.width)?;
    if header.lossless
        && let Some(grey) = jpeg_lossless::decode(encoded.bytes, encoded.limits)
    {
        return Ok(lossless_grey(encoded, grey));
    }
    let space = match header.components {
        1 => SampleSpace::Single,
        3 if header.lossless => coded_space(encoded.attributes, 3),
        3 if is_rgb(&Markers::scan(encoded.bytes), encoded.attributes.photometric) => {
            SampleSpace::Colour(ColourSpace::Rgb)
        }
        3 => SampleSpace::Colour(ColourSpace::YbrFull),
        other => return Err(RenderError::unsupported(format!("JPEG of {other} components"))),
    };
    let reducible = !header.lossless && encoded.averages(header.precision, false);
    let reduction = match encoded.halvings(header.width, header.height, PIXELS_KEPT) {
        0 => Reduction::Full,
        _ if !reducible => Reduction::Full,
        1 => Reduction::Half,
        2 => Reduction::Quarter,
        _ => Reduction::Eighth,
    };
    // libjpeg's own conversion is the fast way, where it would convert the same.
    let converts = space == SampleSpace::Colour(ColourSpace::YbrFull)
        && header.colour == Colour::YCbCr
        && !header.lossless;
    let (image, space) = if converts {
        (jpeg::decode(encoded.bytes, reduction), SampleSpace::Colour(ColourSpace::Rgb))
    } else {
        (jpeg::decode_as_coded(encoded.bytes, reduction), space)
    };
    let image = image.map_err(failed)?;
    note("JPEG", image.warning, warnings);
    let layout =
        coded_layout(&Encoded { lossless: header.lossless, ..*encoded }, header.precision, false);
    Ok(Decoded {
        columns: image.width,
        rows: image.height,
        full: (header.width, header.height),
        cells: Cells::from_samples(image.samples),
        layout,
        space,
    })
}

fn lossless_grey(encoded: &Encoded<'_>, grey: Grey) -> Decoded {
    let Grey { width, height, precision, samples } = grey;
    let cells = match precision {
        ..=8 => {
            Cells::U8(samples.into_iter().map(|sample| sample as u8).collect::<Vec<_>>().into())
        }
        _ => Cells::U16(samples),
    };
    Decoded {
        columns: width,
        rows: height,
        full: (width, height),
        cells,
        layout: coded_layout(&Encoded { lossless: true, ..*encoded }, precision, false),
        space: SampleSpace::Single,
    }
}

/// R6.1: what three components are. The stream's own marks before the data set's word, which is
/// wrong more often.
fn is_rgb(markers: &Markers, photometric: Photometric) -> bool {
    match (markers.adobe_transform, markers.jfif || markers.subsampled) {
        (Some(0), _) => true,
        (Some(_), _) | (None, true) => false,
        (None, false) => match photometric {
            Photometric::Rgb => true,
            // Component names are only a hint: used where the data set has no opinion.
            Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::PaletteColor => {
                markers.named_rgb
            }
            _ => false,
        },
    }
}

/// What the segments before the first scan tell of colour.
#[derive(Default, Debug, PartialEq)]
struct Markers {
    jfif: bool,
    adobe_transform: Option<u8>,
    subsampled: bool,
    named_rgb: bool,
}

impl Markers {
    fn scan(codestream: &[u8]) -> Self {
        let mut markers = Self::default();
        for (marker, segment) in Segments(codestream.get(2..).unwrap_or(&[])) {
            match marker {
                0xE0 if segment.starts_with(b"JFIF\0") => markers.jfif = true,
                0xEE if segment.starts_with(b"Adobe") => {
                    markers.adobe_transform = segment.get(11).copied();
                }
                marker if is_frame(marker) => markers.read_frame(segment),
                _ => {}
            }
        }
        markers
    }

    /// SOF: precision, height, width, then identifier, sampling and table of each component.
    fn read_frame(&mut self, segment: &[u8]) {
        let components = segment.get(6..).unwrap_or(&[]).as_chunks::<3>().0;
        self.named_rgb = components.iter().map(|c| c[0]).eq(*b"RGB");
        self.subsampled = components.windows(2).any(|pair| pair[0][1] != pair[1][1]);
    }
}

/// SOF0 to SOF15, less DHT, JPG and DAC.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// Whether a codestream's frame header is that of JPEG-LS (SOF55).
pub(super) fn is_jpeg_ls(codestream: &[u8]) -> bool {
    Segments(codestream.get(2..).unwrap_or(&[])).any(|(marker, _)| marker == 0xF7)
}

/// Marker segments after SOI, up to the first scan or whatever is no marker.
struct Segments<'a>(&'a [u8]);

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let [0xFF, 0xFF, ..] = self.0 {
            self.0 = &self.0[1..]; // fill bytes
        }
        let &[0xFF, marker, high, low, ..] = self.0 else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xDA || length < 2 {
            return None;
        }
        let segment = self.0.get(4..2 + length)?;
        self.0 = &self.0[2 + length..];
        Some((marker, segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(segments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8];
        for (marker, segment) in segments {
            out.extend([0xFF, *marker]);
            out.extend((segment.len() as u16 + 2).to_be_bytes());
            out.extend(*segment);
        }
        out
    }

    const JFIF: (u8, &[u8]) = (0xE0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0");
    const ADOBE_RGB: (u8, &[u8]) = (0xEE, b"Adobe\0\x64\0\0\0\0\0");
    const ADOBE_YCC: (u8, &[u8]) = (0xEE, b"Adobe\0\x64\0\0\0\0\x01");
    const FULL: (u8, &[u8]) = (0xC0, &[8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]);
    const SUBSAMPLED: (u8, &[u8]) = (0xC0, &[8, 0, 8, 0, 8, 3, 1, 0x21, 0, 2, 0x11, 1, 3, 0x11, 1]);
    const NAMED: (u8, &[u8]) =
        (0xC0, &[8, 0, 8, 0, 8, 3, b'R', 0x11, 0, b'G', 0x11, 1, b'B', 0x11, 1]);

    #[test]
    fn colour_is_decided_by_adobe_then_jfif_then_sampling_then_the_data_set() {
        use Photometric::{Monochrome2, Rgb, YbrFull, YbrFull422};
        for (segments, photometric, rgb) in [
            (&[ADOBE_RGB, FULL][..], YbrFull422, true),
            (&[ADOBE_YCC, FULL], Rgb, false),
            (&[JFIF, ADOBE_RGB, FULL], YbrFull, true),
            (&[JFIF, FULL], Rgb, false),
            (&[SUBSAMPLED], Rgb, false),
            (&[FULL], Rgb, true),
            (&[FULL], YbrFull422, false),
            (&[NAMED], YbrFull, false),
            (&[NAMED], Monochrome2, true),
            (&[FULL], Monochrome2, false),
        ] {
            let markers = Markers::scan(&stream(segments));
            assert_eq!(is_rgb(&markers, photometric), rgb, "{markers:?} {photometric:?}");
        }
    }

    #[test]
    fn hostile_segments_end_the_scan() {
        for bytes in [
            &[0xFF, 0xD8, 0xFF][..],
            &[0xFF, 0xD8, 0xFF, 0xC0, 0, 1],
            &[0xFF, 0xD8, 0xFF, 0xEE, 0xFF, 0xFF, 1],
        ] {
            assert_eq!(Markers::scan(bytes), Markers::default());
        }
    }

    #[test]
    fn jpeg_ls_is_told_from_jpeg() {
        assert!(is_jpeg_ls(&stream(&[(0xF7, &[8, 0, 1, 0, 1, 1, 1, 0x11, 0])])));
        assert!(!is_jpeg_ls(&stream(&[FULL])));
    }
}
