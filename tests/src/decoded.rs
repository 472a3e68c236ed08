//! Pictures of every type the proxy sends, decoded: what they are, not what their header says.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageDecoder};
use native_codecs::jpeg::{self, Reduction};
use native_codecs::{Samples, jpeg2000};

use crate::pictures::Picture;

/// A picture file, decoded.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// What the bytes are.
    pub media_type: &'static str,
    /// The frames, each of the whole size; one unless it is an animation.
    pub frames: Vec<Picture>,
    /// How long each frame of an animation is shown, in milliseconds.
    pub delays: Vec<u32>,
    /// The embedded ICC profile.
    pub profile: Option<Vec<u8>>,
}

impl Decoded {
    /// Decodes a JPEG, PNG, GIF, WebP or JP2.
    ///
    /// # Errors
    /// The bytes are none of these, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        match media_type(bytes) {
            Some("image/jpeg") => jpeg(bytes),
            Some("image/png") => png(bytes),
            Some("image/gif") => gif(bytes),
            Some("image/webp") => webp(bytes),
            Some("image/jp2") => jp2(bytes),
            _ => Err(format!("no picture begins with {:02X?}", &bytes[..bytes.len().min(12)])),
        }
    }

    /// The only frame, or the first.
    pub fn first(&self) -> &Picture {
        &self.frames[0]
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.first().width, self.first().height)
    }
}

/// What the bytes are, from how they begin.
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    match () {
        () if begins(&[0xFF, 0xD8, 0xFF]) => Some("image/jpeg"),
        () if begins(b"\x89PNG\r\n\x1A\n") => Some("image/png"),
        () if begins(b"GIF89a") || begins(b"GIF87a") => Some("image/gif"),
        () if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Some("image/webp"),
        () if begins(b"\0\0\0\x0CjP  \r\n\x87\n") => Some("image/jp2"),
        () => None,
    }
}

/// The data colour space of an ICC profile: `GRAY`, `RGB ` (ICC.1 §7.2.6).
pub fn colour_space(profile: &[u8]) -> Option<&str> {
    let is_profile = profile.get(36..40) == Some(b"acsp");
    profile.get(16..20).filter(|_| is_profile).and_then(|name| std::str::from_utf8(name).ok())
}

fn jpeg(bytes: &[u8]) -> Result<Decoded, String> {
    let image = jpeg::decode(bytes, Reduction::Full).map_err(|error| error.to_string())?;
    if let Some(warning) = image.warning {
        return Err(format!("damaged JPEG: {warning}"));
    }
    let Samples::U8(samples) = image.samples else { return Err("more than 8 bits".into()) };
    let picture = Picture {
        width: image.width as usize,
        height: image.height as usize,
        channels: image.components.into(),
        samples,
    };
    Ok(still("image/jpeg", picture, jpeg_profile(bytes)))
}

/// APP2 segments that begin with `ICC_PROFILE`, a number and a count (ICC.1 Annex B.4), joined.
fn jpeg_profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut chunks: Vec<(u8, &[u8])> = Vec::new();
    let mut rest = bytes.get(2..)?;
    while let [0xFF, marker, high, low, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        if marker == 0xDA {
            break;
        }
        if marker == 0xE2
            && let Some(chunk) = segment.strip_prefix(b"ICC_PROFILE\0")
        {
            chunks.push((*chunk.first()?, chunk.get(2..)?));
        }
        rest = &rest[2 + length..];
    }
    chunks.sort_by_key(|(number, _)| *number);
    (!chunks.is_empty()).then(|| chunks.into_iter().flat_map(|(_, chunk)| chunk).copied().collect())
}

fn png(bytes: &[u8]) -> Result<Decoded, String> {
    let mut decoder = PngDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let profile = decoder.icc_profile().map_err(|error| error.to_string())?;
    Ok(still("image/png", Picture::from_png(bytes)?, profile))
}

fn gif(bytes: &[u8]) -> Result<Decoded, String> {
    let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    animation("image/gif", decoder.into_frames(), None)
}

fn webp(bytes: &[u8]) -> Result<Decoded, String> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let profile = decoder.icc_profile().map_err(|error| error.to_string())?;
    if decoder.has_animation() {
        return animation("image/webp", decoder.into_frames(), profile);
    }
    let image = image::DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    Ok(still("image/webp", rgb(image.into_rgb8()), profile))
}

fn jp2(bytes: &[u8]) -> Result<Decoded, String> {
    let image = jpeg2000::decode(bytes, 0, 1).map_err(|error| error.to_string())?;
    let channels = image.components.len();
    let (width, height) = (image.width as usize, image.height as usize);
    let sample =
        |at: usize| image.components[at % channels].data[at / channels].clamp(0, 255) as u8;
    let samples = (0..width * height * channels).map(sample).collect();
    Ok(still("image/jp2", Picture { width, height, channels, samples }, jp2_profile(bytes)))
}

/// A `colr` box of method 2 or 3 (T.800 §I.5.3.3) ends in the profile, whose signature is its
/// fortieth byte and whose length its first four.
fn jp2_profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(4).position(|window| window == b"colr")? + 4;
    let [2 | 3, _, _, profile @ ..] = bytes.get(at..)? else { return None };
    let length = u32::from_be_bytes(profile.get(..4)?.try_into().ok()?);
    profile.get(..length as usize).map(<[u8]>::to_vec)
}

fn still(media_type: &'static str, picture: Picture, profile: Option<Vec<u8>>) -> Decoded {
    Decoded { media_type, frames: vec![picture], delays: Vec::new(), profile }
}

fn animation(
    media_type: &'static str,
    frames: image::Frames<'_>,
    profile: Option<Vec<u8>>,
) -> Result<Decoded, String> {
    let frames = frames.collect_frames().map_err(|error| error.to_string())?;
    if frames.is_empty() {
        return Err("an animation without frames".into());
    }
    let delay = |frame: &image::Frame| {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        numerator / denominator.max(1)
    };
    let delays = if frames.len() > 1 { frames.iter().map(delay).collect() } else { Vec::new() };
    let picture =
        |frame: image::Frame| rgb(image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8());
    let frames = frames.into_iter().map(picture).collect();
    Ok(Decoded { media_type, frames, delays, profile })
}

fn rgb(image: image::RgbImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    Picture { width, height, channels: 3, samples: image.into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_is_decoded_with_its_profile() {
        let grey =
            jpeg::encode(&[100; 64], 8, 8, jpeg::Channels::Grey, 100, jpeg::Subsampling::S444)
                .unwrap();
        let decoded = Decoded::read(&grey).unwrap();
        assert_eq!((decoded.media_type, decoded.size()), ("image/jpeg", (8, 8)));
        assert_eq!((decoded.first().at(3, 3), decoded.profile), (100, None));
        let segment = b"\xFF\xE2\0\x12ICC_PROFILE\0\x01\x01ab";
        let with_profile = [&grey[..2], segment, &grey[2..]].concat();
        assert_eq!(Decoded::read(&with_profile).unwrap().profile.as_deref(), Some(&b"ab"[..]));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"<html>", b"\xFF\xD8\xFF\xD9", b"GIF89a"] {
            assert!(Decoded::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
