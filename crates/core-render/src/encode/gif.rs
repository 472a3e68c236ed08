//! GIF89a, by the `gif` crate. Grey is exact; colour is where a frame has up to 256 of them.

use std::borrow::Cow;

use dicomweb_types::MediaType;
use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};

use super::failed;
use super::quantise::quantise;
use crate::error::{RenderError, Result};
use crate::pixel::raster::{Channels, Raster};

pub(super) fn encode(raster: &Raster) -> Result<Vec<u8>> {
    let mut still = Animation::of_one(raster)?;
    still.push(raster, 0)?;
    still.finish()
}

/// An animation in the making.
pub(super) struct Animation {
    encoder: Encoder<Vec<u8>>,
    /// The palette of the whole file is that of the grey levels.
    grey: bool,
    /// Milliseconds so far, and hundredths of a second that were written for them.
    shown: (u64, u64),
}

impl Animation {
    /// An animation that begins again for ever.
    pub(super) fn new(first: &Raster) -> Result<Self> {
        let mut animation = Self::of_one(first)?;
        animation.encoder.set_repeat(Repeat::Infinite).map_err(said)?;
        Ok(animation)
    }

    fn of_one(first: &Raster) -> Result<Self> {
        let grey = first.channels == Channels::Grey;
        let palette = if grey { grey_levels() } else { Vec::new() };
        let encoder = Encoder::new(Vec::new(), side(first.width)?, side(first.height)?, &palette);
        Ok(Self { encoder: encoder.map_err(said)?, grey, shown: (0, 0) })
    }

    /// Adds a frame, shown for `delay` milliseconds; the bytes so far.
    pub(super) fn push(&mut self, raster: &Raster, delay: u32) -> Result<usize> {
        let (palette, indices) = match raster.channels {
            Channels::Grey => ((!self.grey).then(grey_levels), Cow::Borrowed(&raster.data[..])),
            Channels::Rgb => {
                let (pixels, _) = raster.data.as_chunks();
                let indexed = quantise(pixels, raster.width as usize);
                (Some(indexed.palette.into_flattened()), Cow::Owned(indexed.indices))
            }
        };
        let frame = Frame {
            width: side(raster.width)?,
            height: side(raster.height)?,
            delay: self.hundredths(delay),
            dispose: DisposalMethod::Keep,
            palette,
            buffer: indices,
            ..Frame::default()
        };
        self.encoder.write_frame(&frame).map_err(said)?;
        Ok(self.encoder.get_ref().len())
    }

    /// What is rounded off one delay is made up for in the next, so that the whole takes as long as it
    /// should.
    fn hundredths(&mut self, delay: u32) -> u16 {
        let (milliseconds, written) = self.shown;
        let milliseconds = milliseconds + u64::from(delay);
        let due = (milliseconds + 5) / 10;
        let now = u16::try_from(due - written).unwrap_or(u16::MAX);
        self.shown = (milliseconds, due);
        now
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        self.encoder.into_inner().map_err(said)
    }
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Animation").field("grey", &self.grey).finish_non_exhaustive()
    }
}

fn grey_levels() -> Vec<u8> {
    (0..=255).flat_map(|level| [level; 3]).collect()
}

fn side(pixels: u32) -> Result<u16> {
    u16::try_from(pixels).map_err(|_| failed(MediaType::Gif, "a side is too long"))
}

fn said(error: EncodingError) -> RenderError {
    failed(MediaType::Gif, error)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;

    use super::*;

    fn raster(channels: Channels, data: Vec<u8>) -> Raster {
        let width = 16;
        let height = (data.len() / channels.count() / width as usize) as u32;
        Raster { width, height, channels, data }
    }

    fn frames(file: &[u8]) -> Vec<image::Frame> {
        GifDecoder::new(Cursor::new(file)).unwrap().into_frames().collect_frames().unwrap()
    }

    fn pixels(frame: &image::Frame) -> Vec<u8> {
        frame.buffer().pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect()
    }

    #[test]
    fn every_grey_level_comes_back() {
        let levels = raster(Channels::Grey, (0..=255).collect());
        let read = frames(&encode(&levels).unwrap());
        assert_eq!(pixels(&read[0]), levels.into_rgb().data);
    }

    #[test]
    fn up_to_256_colours_come_back() {
        let data: Vec<u8> = (0..=255_u8).flat_map(|i| [i, i.reverse_bits(), 255 - i]).collect();
        let colours = raster(Channels::Rgb, data);
        let read = frames(&encode(&colours).unwrap());
        assert_eq!(pixels(&read[0]), colours.data);
    }

    #[test]
    fn an_animation_of_grey_and_colour_keeps_both_and_repeats() {
        let grey = raster(Channels::Grey, (0..=255).collect());
        let colour = raster(Channels::Rgb, [200, 10, 60].repeat(256));
        for first in [&grey, &colour] {
            let mut animation = Animation::new(first).unwrap();
            for frame in [&grey, &colour, &grey] {
                animation.push(frame, 40).unwrap();
            }
            let file = animation.finish().unwrap();
            assert!(file.windows(16).any(|w| w == b"NETSCAPE2.0\x03\x01\0\0\0"));
            let read = frames(&file);
            let expected = [&grey, &colour, &grey].map(|raster| raster.clone().into_rgb().data);
            assert!(read.iter().map(pixels).eq(expected));
        }
    }

    #[test]
    fn rounded_delays_add_up() {
        let black = raster(Channels::Grey, vec![0; 16]);
        let mut animation = Animation::new(&black).unwrap();
        for _ in 0..30 {
            animation.push(&black, 33).unwrap();
        }
        let read = frames(&animation.finish().unwrap());
        let delays: Vec<u32> = read.iter().map(|f| f.delay().numer_denom_ms().0).collect();
        assert!(delays.iter().all(|delay| [30, 40].contains(delay)), "{delays:?}");
        assert_eq!(delays.iter().sum::<u32>(), 990);
    }
}
