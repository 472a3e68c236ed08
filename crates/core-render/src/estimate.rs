//! What drawing takes in memory, told from headers before anything is decoded: so that who draws many
//! pictures at a time admits them by their bytes.

use dicomweb_types::TransferSyntax;
use native_codecs::jpeg2000;

use crate::attributes::ImageAttributes;
use crate::codec::Codec;
use crate::frame::Frame;
use crate::source::{Cine, Mosaic, RenderJob, Source};
use crate::spec::Framing;

/// Tables, and what every decoder has at hand.
const BASE: u64 = 1 << 20;

/// OpenJPEG holds 32-bit coefficients of the whole image and of the tiles under way: 5 to 7 bytes were
/// measured for a sample.
const JPEG_2000: u64 = 7;

/// jxl-oxide holds floats, of the frame and of what it is blended from.
const JPEG_XL: u64 = 16;

/// A frame of a video is decoded by ffmpeg, with those that it refers to, and comes back as a PNG.
const VIDEO: u64 = 24;

/// Bytes that drawing `job` takes at its peak, beside its source: an upper bound for files that are what
/// their headers say.
pub fn memory_needed(job: &RenderJob) -> u64 {
    let need = match &job.source {
        Source::Frame { attributes, transfer_syntax, bytes } => {
            still(attributes, transfer_syntax, bytes, job)
        }
        Source::File { bytes, frame } => match Frame::in_file(bytes, *frame, &job.limits) {
            Ok(Frame { attributes, transfer_syntax, bytes, .. }) => {
                still(&attributes, &transfer_syntax, &bytes, job)
            }
            // It will be refused as soon.
            Err(_) => 0,
        },
        Source::Tiles(mosaic) => tiles(mosaic, job),
        Source::Cine(cine) => animation(cine, job),
        Source::Card(_) => pictures(output(job, (256, 256)), 3),
    };
    need.saturating_add(BASE)
}

fn still(
    attributes: &ImageAttributes,
    syntax: &TransferSyntax,
    bytes: &[u8],
    job: &RenderJob,
) -> u64 {
    let size = (attributes.columns, attributes.rows);
    let channels = channels(attributes);
    // A presentation state is drawn from values in floating point.
    let values = if job.presentation.is_some() { pixels(size).saturating_mul(12) } else { 0 };
    decoding(attributes, syntax, bytes)
        .saturating_add(values)
        .saturating_add(pictures(size, channels))
        .saturating_add(pictures(output(job, size), 3))
}

/// What decoding one frame takes, its cells among it.
fn decoding(attributes: &ImageAttributes, syntax: &TransferSyntax, bytes: &[u8]) -> u64 {
    let declared = Size {
        pixels: pixels((attributes.columns, attributes.rows)),
        samples: attributes.samples_per_pixel.into(),
        cell: u64::from(attributes.bits_allocated.max(8) / 8),
    };
    // Streams claim sizes of their own, and are believed.
    let coded = coded_size(bytes).unwrap_or(declared);
    let samples = coded.samples().max(declared.samples());
    let cells = samples.saturating_mul(declared.cell.max(coded.cell));
    let codec = Codec::sniff(bytes).or_else(|| Codec::of(syntax).ok());
    let working = match codec {
        Some(Codec::Jpeg2000) => samples.saturating_mul(JPEG_2000),
        Some(Codec::JpegXl) => samples.saturating_mul(JPEG_XL),
        Some(Codec::Video) => samples.saturating_mul(VIDEO),
        // Cells are copied once, to be put in order.
        Some(Codec::Native | Codec::DeflatedFrame | Codec::Rle | Codec::Jpeg | Codec::JpegLs)
        | None => cells,
    };
    cells.saturating_add(working)
}

/// What a codestream says of itself.
#[derive(Clone, Copy)]
struct Size {
    pixels: u64,
    samples: u64,
    /// Bytes of a sample.
    cell: u64,
}

impl Size {
    fn samples(self) -> u64 {
        self.pixels.saturating_mul(self.samples)
    }
}

/// Read by our own code: decoders written in C see a stream only where they may break.
fn coded_size(bytes: &[u8]) -> Option<Size> {
    match Codec::sniff(bytes)? {
        Codec::Jpeg | Codec::JpegLs => jpeg_size(bytes),
        Codec::Jpeg2000 => {
            let header = jpeg2000::header(bytes).ok()?;
            let samples = header.components.min(4).into();
            let cell = if header.precision > 16 { 4 } else { 2 };
            Some(Size { pixels: pixels((header.width, header.height)), samples, cell })
        }
        _ => None,
    }
}

/// Of the frame header, SOFn or SOF55 (ITU-T T.81 B.2.2, T.87 C.2.2).
fn jpeg_size(bytes: &[u8]) -> Option<Size> {
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xFF, marker, high, low, ref after @ ..] = *rest else { return None };
        match (marker, after) {
            (0xFF, _) => rest = &rest[1..],
            (0xC4 | 0xC8 | 0xCC, _) => rest = rest.get(2 + length(high, low)..)?,
            (0xC0..=0xCF | 0xF7, &[precision, y1, y0, x1, x0, components, ..]) => {
                let [height, width] = [[y1, y0], [x1, x0]].map(u16::from_be_bytes);
                return Some(Size {
                    pixels: pixels((width.into(), height.into())),
                    samples: components.into(),
                    cell: if precision > 8 { 2 } else { 1 },
                });
            }
            // The frame header comes before the first scan.
            (0xDA, _) => return None,
            _ => rest = rest.get(2 + length(high, low)..)?,
        }
    }
}

fn length(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high, low]))
}

/// Tiles come one after the other onto the canvas.
fn tiles(mosaic: &Mosaic, job: &RenderJob) -> u64 {
    let canvas = (mosaic.canvas.columns, mosaic.canvas.rows);
    let largest = mosaic
        .tiles
        .iter()
        .map(|tile| decoding(&mosaic.attributes, &tile.transfer_syntax, &tile.bytes));
    largest
        .max()
        .unwrap_or_default()
        .saturating_add(pictures(canvas, 3))
        .saturating_add(pictures(output(job, canvas), 3))
}

/// Frames come one after the other into the animation.
fn animation(cine: &Cine, job: &RenderJob) -> u64 {
    let (count, frame) = match cine {
        Cine::File { bytes, frames } => {
            let first = frames.first().map(|&first| crate::source::FrameChoice::Number(first));
            let first = first.and_then(|first| Frame::in_file(bytes, first, &job.limits).ok());
            let need = first.map(|frame| {
                let size = (frame.attributes.columns, frame.attributes.rows);
                (still(&frame.attributes, &frame.transfer_syntax, &frame.bytes, job), size)
            });
            (frames.len(), need)
        }
        Cine::Frames { frames, .. } => {
            let needs = frames.iter().map(|frame| {
                let size = (frame.attributes.columns, frame.attributes.rows);
                (still(&frame.attributes, &frame.transfer_syntax, &frame.bytes, job), size)
            });
            (frames.len(), needs.max_by_key(|(need, _)| *need))
        }
    };
    let Some((need, size)) = frame else { return 0 };
    let stored = pictures(output(job, size), 3).saturating_mul(count as u64);
    need.saturating_add(stored.min(job.limits.animation_bytes.saturating_mul(2)))
}

/// A raster of 8 bits, and a copy of it: every stage makes a new one of the last.
fn pictures(size: (u32, u32), channels: u64) -> u64 {
    pixels(size).saturating_mul(channels).saturating_mul(2)
}

fn output(job: &RenderJob, source: (u32, u32)) -> (u32, u32) {
    match job.spec.framing {
        Framing::Native => source,
        Framing::FitWithin(side) => (side.get().min(source.0), side.get().min(source.1)),
        Framing::Viewport(viewport) => (viewport.width.get(), viewport.height.get()),
    }
}

fn channels(attributes: &ImageAttributes) -> u64 {
    if attributes.samples_per_pixel == 1 && attributes.palette.is_none() { 1 } else { 3 }
}

fn pixels((columns, rows): (u32, u32)) -> u64 {
    u64::from(columns) * u64::from(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_jpeg_is_that_of_its_frame_header() {
        let stream = [
            &[0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xFF, 0xC3, 0, 11][..],
            &[16, 0x10, 0x00, 0x0C, 0x00, 1, 1, 0x11, 0],
        ]
        .concat();
        let size = jpeg_size(&stream).unwrap();
        assert_eq!((size.pixels, size.samples, size.cell), (4096 * 3072, 1, 2));
        for end in 0..19 {
            assert!(jpeg_size(&stream[..end]).is_none(), "{end}");
        }
        assert!(jpeg_size(&[0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
