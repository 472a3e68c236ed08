//! Lossy WebP by libwebp, and the chunks around its frames (RFC 9649).

use dicomweb_types::MediaType;

use super::failed;
use crate::error::Result;
use crate::pixel::raster::Raster;
use crate::spec::Quality;

/// Flags of the extended header (RFC 9649 §2.7).
const HAS_PROFILE: u8 = 0x20;
const IS_ANIMATED: u8 = 0x02;

/// Of an animation's frame: its pixels replace those before, none shines through.
const DO_NOT_BLEND: u8 = 0x02;

pub(super) fn encode(raster: &Raster, profile: Option<&[u8]>, quality: Quality) -> Result<Vec<u8>> {
    let file = encode_frame(raster, quality)?;
    let Some(profile) = profile else { return Ok(file) };
    let mut extended = riff();
    chunk(&mut extended, b"VP8X", &extended_header(raster, HAS_PROFILE));
    chunk(&mut extended, b"ICCP", profile);
    extended.extend(frame_chunk(&file));
    finished(extended)
}

/// An animation in the making.
#[derive(Debug)]
pub(super) struct Animation {
    file: Vec<u8>,
    quality: Quality,
}

impl Animation {
    pub(super) fn new(first: &Raster, profile: Option<&[u8]>, quality: Quality) -> Self {
        let mut file = riff();
        let flags = IS_ANIMATED | profile.map_or(0, |_| HAS_PROFILE);
        chunk(&mut file, b"VP8X", &extended_header(first, flags));
        if let Some(profile) = profile {
            chunk(&mut file, b"ICCP", profile);
        }
        // A background of opaque black, which is never seen; shown for ever.
        chunk(&mut file, b"ANIM", &[0, 0, 0, 0xFF, 0, 0]);
        Self { file, quality }
    }

    /// Adds a frame, shown for `delay` milliseconds; the bytes so far.
    pub(super) fn push(&mut self, raster: &Raster, delay: u32) -> Result<usize> {
        let still = encode_frame(raster, self.quality)?;
        let mut frame = vec![0; 6];
        frame.extend(minus_one(raster.width));
        frame.extend(minus_one(raster.height));
        frame.extend(three_bytes(delay));
        frame.push(DO_NOT_BLEND);
        frame.extend(frame_chunk(&still));
        chunk(&mut self.file, b"ANMF", &frame);
        Ok(self.file.len())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        finished(self.file)
    }
}

fn encode_frame(raster: &Raster, quality: Quality) -> Result<Vec<u8>> {
    use crate::pixel::raster::Channels::{Grey, Rgb};
    let (width, height) = (raster.width, raster.height);
    let encode = |rgb: &[u8]| native_codecs::webp::encode(rgb, width, height, quality.get());
    match raster.channels {
        Rgb => encode(&raster.data),
        // WebP has no grey.
        Grey => encode(&raster.clone().into_rgb().data),
    }
    .map_err(|error| failed(MediaType::WebP, error))
}

/// The chunk with the picture, of a file that has no other.
fn frame_chunk(file: &[u8]) -> &[u8] {
    file.get(12..).unwrap_or_default()
}

/// The head of a file whose length is not yet known.
fn riff() -> Vec<u8> {
    b"RIFF\0\0\0\0WEBP".to_vec()
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    file.extend(name);
    file.extend((content.len() as u32).to_le_bytes());
    file.extend(content);
    file.resize(file.len().next_multiple_of(2), 0);
}

fn extended_header(raster: &Raster, flags: u8) -> Vec<u8> {
    [&[flags, 0, 0, 0][..], &minus_one(raster.width), &minus_one(raster.height)].concat()
}

/// A side, at most 16383 here.
fn minus_one(side: u32) -> [u8; 3] {
    three_bytes(side.saturating_sub(1))
}

fn three_bytes(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

fn finished(mut file: Vec<u8>) -> Result<Vec<u8>> {
    let length = u32::try_from(file.len() - 8)
        .map_err(|_| failed(MediaType::WebP, "the file is too large"))?;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::codecs::webp::WebPDecoder;
    use image::{AnimationDecoder, ImageDecoder};

    use super::*;
    use crate::pixel::raster::Channels;

    fn grey(level: u8) -> Raster {
        Raster { width: 33, height: 21, channels: Channels::Grey, data: vec![level; 33 * 21] }
    }

    fn decoder(file: &[u8]) -> WebPDecoder<Cursor<&[u8]>> {
        WebPDecoder::new(Cursor::new(file)).unwrap()
    }

    #[test]
    fn a_still_is_read_back_within_a_few_levels() {
        let data: Vec<u8> = (0..64 * 48).flat_map(|i| [(i % 64) as u8 * 3, 90, 200]).collect();
        let raster = Raster { width: 64, height: 48, channels: Channels::Rgb, data };
        let file = encode(&raster, None, Quality::RENDERED).unwrap();
        let read = image::load_from_memory(&file).unwrap().into_rgb8().into_raw();
        let worst = raster.data.iter().zip(&read).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(12), "{worst:?}");
    }

    #[test]
    fn grey_stays_grey() {
        for level in [0, 1, 77, 254, 255] {
            let file = encode(&grey(level), None, Quality::RENDERED).unwrap();
            let read = image::load_from_memory(&file).unwrap().into_rgb8();
            for pixel in read.pixels() {
                assert!(pixel.0.iter().all(|v| v.abs_diff(level) <= 1), "{:?}", pixel.0);
            }
        }
    }

    #[test]
    fn profiles_are_read_back() {
        for profile in [&b"odd"[..], b"even"] {
            let still = encode(&grey(9), Some(profile), Quality::RENDERED).unwrap();
            assert_eq!(decoder(&still).icc_profile().unwrap().as_deref(), Some(profile));
            assert_eq!(decoder(&still).dimensions(), (33, 21));
            let mut animation = Animation::new(&grey(9), Some(profile), Quality::RENDERED);
            animation.push(&grey(9), 50).unwrap();
            let moving = animation.finish().unwrap();
            assert_eq!(decoder(&moving).icc_profile().unwrap().as_deref(), Some(profile));
        }
    }

    #[test]
    fn frames_are_read_back_with_their_delays_and_for_ever() {
        let mut animation = Animation::new(&grey(0), None, Quality::RENDERED);
        let frames = [(10, 33), (200, 34), (90, 10_000)];
        for (level, delay) in frames {
            animation.push(&grey(level), delay).unwrap();
        }
        let file = animation.finish().unwrap();
        assert_eq!(file[4..8], ((file.len() - 8) as u32).to_le_bytes());
        assert_eq!(&file[30..44], b"ANIM\x06\0\0\0\0\0\0\xFF\0\0");
        let read = decoder(&file).into_frames().collect_frames().unwrap();
        assert_eq!(read.len(), 3);
        for (frame, (level, delay)) in read.iter().zip(frames) {
            assert_eq!(frame.delay().numer_denom_ms(), (delay, 1));
            assert!(frame.buffer().pixels().all(|pixel| pixel.0[0].abs_diff(level) <= 1));
        }
    }
}
