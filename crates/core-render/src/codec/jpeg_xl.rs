//! JPEG XL (PS3.5 §8.2.15), decoded by jxl-oxide. The bit stream overrides the attributes.

use jxl_oxide::{
    AllocTracker, EnumColourEncoding, JxlImage, JxlThreadPool, PixelFormat, RenderingIntent,
};

use crate::codec::{Decoded, Encoded, SampleSpace, coded_layout};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::pixel::cells::Cells;

/// Working memory per source pixel: three channels of floats, and as much again for filters.
const BYTES_PER_PIXEL: u64 = 64;

/// Above so many pixels, each byte of the stream must account for so many at most: a group of
/// 65 536 pixels has an entry of more than a byte in its table of contents, however flat it is.
const FLAT_PIXELS: u64 = 1 << 24;
const PIXELS_PER_BYTE: u64 = 1 << 16;

pub(super) fn decode(encoded: &Encoded<'_>) -> Result<Decoded> {
    let failed = |error: &dyn std::fmt::Display| RenderError::decode("JPEG XL", error);
    let pixels = u64::from(encoded.attributes.rows) * u64::from(encoded.attributes.columns);
    let memory = (64 << 20) + pixels.saturating_mul(BYTES_PER_PIXEL);
    let mut image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(usize::try_from(memory).unwrap_or(usize::MAX)))
        .read(encoded.bytes.as_ref())
        .map_err(|error| failed(&error))?;
    let (columns, rows) = (image.width(), image.height());
    encoded.limits.check_source(rows, columns)?;
    let pixels = u64::from(columns) * u64::from(rows);
    if pixels > FLAT_PIXELS && pixels / PIXELS_PER_BYTE > encoded.bytes.len() as u64 {
        return Err(failed(&"so few bytes cannot hold the declared pixels"));
    }
    let grey = image.pixel_format().is_grayscale();
    if matches!(image.pixel_format(), PixelFormat::Cmyk | PixelFormat::Cmyka) {
        return Err(RenderError::unsupported("JPEG XL in CMYK"));
    }
    let metadata = &image.image_header().metadata;
    let bits = u8::try_from(metadata.bit_depth.bits_per_sample())
        .ok()
        .filter(|bits| (1..=16).contains(bits))
        .ok_or_else(|| RenderError::unsupported("JPEG XL of more than 16 bits"))?;
    if metadata.xyb_encoded {
        let intent = RenderingIntent::Relative;
        image.request_color_encoding(match grey {
            true => EnumColourEncoding::gray_srgb(intent),
            false => EnumColourEncoding::srgb(intent),
        });
    }
    let render = image.render_frame(0).map_err(|error| failed(&error))?;
    let mut stream = render.stream_no_alpha();
    let (columns, rows) = (stream.width(), stream.height());
    encoded.limits.check_source(rows, columns)?;
    let samples = columns as usize * rows as usize * stream.channels() as usize;
    let cells = match bits {
        8 => {
            let mut cells = vec![0_u8; samples];
            stream.write_to_buffer(&mut cells);
            Cells::U8(cells.into())
        }
        _ => {
            let mut nominal = vec![0_f32; samples];
            stream.write_to_buffer(&mut nominal);
            let full = f32::from(((1_u32 << bits) - 1) as u16);
            let cells = nominal.iter().map(|v| (v * full + 0.5).clamp(0.0, full) as u16);
            match bits {
                1..=7 => Cells::U8(cells.map(|cell| cell as u8).collect()),
                _ => Cells::U16(cells.collect()),
            }
        }
    };
    let space = if grey { SampleSpace::Single } else { SampleSpace::Colour(ColourSpace::Rgb) };
    let layout = coded_layout(encoded, bits, false);
    Ok(Decoded { columns, rows, full: (columns, rows), cells, layout, space })
}
