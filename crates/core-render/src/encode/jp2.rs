//! JP2 (T.800 Annex I): one codestream by OpenJPEG, and the boxes around it.

use dicomweb_types::MediaType;
use native_codecs::jpeg2000::{self, Compression};

use super::failed;
use crate::error::Result;
use crate::pixel::raster::{Channels, Raster};
use crate::spec::Quality;

/// EnumCS of sRGB and of grey with its curve (T.800 Table I.10).
const SRGB: u32 = 16;
const GREYSCALE: u32 = 17;

/// Encodes a raster; `profile` must be one that JP2 allows.
pub(super) fn encode(raster: &Raster, profile: Option<&[u8]>, quality: Quality) -> Result<Vec<u8>> {
    let components = raster.channels.count() as u8;
    let (width, height) = (raster.width, raster.height);
    let codestream =
        jpeg2000::encode_pixels(&raster.data, width, height, components, compression(quality))
            .map_err(|error| failed(MediaType::Jp2, error))?;
    let colour = match (profile, raster.channels) {
        (Some(profile), _) => colour_specification(2, profile),
        (None, Channels::Grey) => colour_specification(1, &GREYSCALE.to_be_bytes()),
        (None, Channels::Rgb) => colour_specification(1, &SRGB.to_be_bytes()),
    };
    let header = [image_header(raster), colour].concat();
    let mut file = [
        boxed(b"jP  ", b"\r\n\x87\n"),
        boxed(b"ftyp", b"jp2 \0\0\0\0jp2 "),
        boxed(b"jp2h", &header),
    ]
    .concat();
    file.extend(box_head(b"jp2c", codestream.len()));
    file.extend(codestream);
    Ok(file)
}

/// 100 is lossless. Below, the signal-to-noise ratio rises by 0.3 dB a step: some decibels above that of a
/// JPEG of the same quality, since what it leaves out stands together at edges.
fn compression(quality: Quality) -> Compression {
    match quality.get() {
        100 => Compression::Lossless,
        quality => Compression::Psnr(26.0 + 0.3 * f32::from(quality)),
    }
}

/// I.5.3.1: 8 bits a component, of a known colour space.
fn image_header(raster: &Raster) -> Vec<u8> {
    let components = raster.channels.count() as u16;
    let mut fields = Vec::new();
    fields.extend(raster.height.to_be_bytes());
    fields.extend(raster.width.to_be_bytes());
    fields.extend(components.to_be_bytes());
    fields.extend([8 - 1, 7, 0, 0]);
    boxed(b"ihdr", &fields)
}

/// I.5.3.3.
fn colour_specification(method: u8, value: &[u8]) -> Vec<u8> {
    boxed(b"colr", &[&[method, 0, 0], value].concat())
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&box_head(kind, content.len()), content].concat()
}

fn box_head(kind: &[u8; 4], content: usize) -> [u8; 8] {
    // I.4: a length of 0 is that of all the rest.
    let [a, b, c, d] = u32::try_from(content + 8).unwrap_or(0).to_be_bytes();
    let [e, f, g, h] = *kind;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(channels: Channels) -> Raster {
        let data = (0..50 * 40 * channels.count()).map(|i| (i * i / 31 % 256) as u8).collect();
        Raster { width: 50, height: 40, channels, data }
    }

    fn quality(quality: u8) -> Quality {
        quality.to_string().parse().unwrap()
    }

    /// Interleaved, as they were.
    fn decoded(file: &[u8]) -> Vec<u8> {
        let image = jpeg2000::decode(file, 0, 1).unwrap();
        assert_eq!((image.width, image.height, image.warning), (50, 40, None));
        let samples = (0..50 * 40).flat_map(|at| image.components.iter().map(move |c| c.data[at]));
        samples.map(|sample| sample as u8).collect()
    }

    #[test]
    fn quality_100_is_lossless_and_less_is_monotone() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let raster = picture(channels);
            assert_eq!(decoded(&encode(&raster, None, quality(100)).unwrap()), raster.data);
            let mut last = (0, f64::MAX);
            for q in [1, 20, 40, 60, 80, 99] {
                let file = encode(&raster, None, quality(q)).unwrap();
                let pairs = decoded(&file).into_iter().zip(&raster.data);
                let error: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
                assert!(file.len() > last.0 && error < last.1, "{q}: {} {error}", file.len());
                last = (file.len(), error);
            }
        }
    }

    #[test]
    fn the_boxes_name_size_and_colours() {
        let grey = encode(&picture(Channels::Grey), None, Quality::RENDERED).unwrap();
        assert_eq!(&grey[..12], b"\0\0\0\x0CjP  \r\n\x87\n");
        assert_eq!(&grey[12..32], b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 ");
        assert_eq!(&grey[32..48], b"\0\0\0\x2Djp2h\0\0\0\x16ihdr");
        assert_eq!(grey[48..62], [0, 0, 0, 40, 0, 0, 0, 50, 0, 1, 7, 7, 0, 0]);
        assert_eq!(&grey[62..77], b"\0\0\0\x0Fcolr\x01\0\0\0\0\0\x11");
        assert_eq!(grey[77..81], ((grey.len() - 77) as u32).to_be_bytes());
        let rgb = encode(&picture(Channels::Rgb), None, Quality::RENDERED).unwrap();
        assert_eq!((rgb[57], rgb[76]), (3, 16));
        let with = encode(&picture(Channels::Rgb), Some(b"profile"), Quality::RENDERED).unwrap();
        assert_eq!(&with[62..80], b"\0\0\0\x12colr\x02\0\0profile");
    }
}
