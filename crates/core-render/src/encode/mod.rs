//! Rasters to bytes. They carry no metadata but the ICC profile that is asked for.

mod gif;
mod jp2;
mod jpeg;
mod png;
mod quantise;
mod webp;

use dicomweb_types::MediaType;

use crate::error::{RenderError, Result};
use crate::limits::{Limits, check};
use crate::pixel::raster::Raster;
use crate::spec::{IccProfile, Output};

/// Refuses what an encoding cannot carry, before any work is done.
pub(crate) fn check_profile(output: Output, asked: Option<IccProfile>) -> Result<()> {
    match (output, asked) {
        (Output::Gif, Some(asked)) if asked != IccProfile::No => {
            Err(RenderError::unsupported("an ICC profile in image/gif"))
        }
        _ => Ok(()),
    }
}

/// Encodes a raster, with a profile that describes its colours.
///
/// # Errors
/// [`RenderError::TooLarge`] for a side that the format cannot hold; what the encoder said.
pub(crate) fn encode(raster: &Raster, profile: Option<&[u8]>, output: Output) -> Result<Vec<u8>> {
    check_sides(raster, output)?;
    match output {
        Output::Jpeg(quality) => jpeg::encode(raster, profile, quality),
        Output::Png => png::encode(raster, profile),
        Output::Gif => gif::encode(raster),
        Output::WebP(quality) => webp::encode(raster, profile, quality),
        Output::Jp2(quality) => jp2::encode(raster, profile, quality),
    }
}

/// An animation in the making: it is shown for ever, frame after frame.
#[derive(Debug)]
pub(crate) struct Animation {
    kind: Kind,
    most_bytes: u64,
}

#[derive(Debug)]
enum Kind {
    Gif(gif::Animation),
    WebP(webp::Animation),
}

impl Animation {
    /// An animation of frames as large as `first`.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] where the format has no animations; as [`encode`].
    pub(crate) fn new(
        first: &Raster,
        profile: Option<&[u8]>,
        output: Output,
        limits: &Limits,
    ) -> Result<Self> {
        check_sides(first, output)?;
        let kind = match output {
            Output::Gif => Kind::Gif(gif::Animation::new(first)?),
            Output::WebP(quality) => Kind::WebP(webp::Animation::new(first, profile, quality)),
            Output::Jpeg(_) | Output::Png | Output::Jp2(_) => return Err(no_animation(output)),
        };
        Ok(Self { kind, most_bytes: limits.animation_bytes })
    }

    /// Adds a frame of the size of the first, shown for `delay` milliseconds.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] above [`Limits::animation_bytes`]; what the encoder said.
    pub(crate) fn push(&mut self, raster: &Raster, delay: u32) -> Result<()> {
        let length = match &mut self.kind {
            Kind::Gif(gif) => gif.push(raster, delay)?,
            Kind::WebP(webp) => webp.push(raster, delay)?,
        };
        check("an animation in bytes", length as u64, self.most_bytes)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self.kind {
            Kind::Gif(gif) => gif.finish(),
            Kind::WebP(webp) => webp.finish(),
        }
    }
}

/// Whether the format has animations.
pub(crate) fn check_animated(output: Output) -> Result<()> {
    match output {
        Output::Gif | Output::WebP(_) => Ok(()),
        Output::Jpeg(_) | Output::Png | Output::Jp2(_) => Err(no_animation(output)),
    }
}

fn no_animation(output: Output) -> RenderError {
    RenderError::unsupported(format!("an animation as {}", output.media_type()))
}

/// What each format holds of a side; JPEG's is that of every picture, JP2 and PNG hold more.
fn check_sides(raster: &Raster, output: Output) -> Result<()> {
    let (what, longest) = match output {
        Output::Gif => ("a side of a GIF in pixels", u16::MAX.into()),
        Output::WebP(_) => ("a side of a WebP in pixels", native_codecs::webp::LONGEST_SIDE.into()),
        Output::Jpeg(_) | Output::Png | Output::Jp2(_) => return Ok(()),
    };
    check(what, raster.width.max(raster.height).into(), longest)
}

fn failed(media_type: MediaType, error: impl std::fmt::Display) -> RenderError {
    RenderError::Encode { media_type: media_type.to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::raster::Channels;
    use crate::spec::Quality;

    fn line(width: u32) -> Raster {
        Raster { width, height: 1, channels: Channels::Grey, data: vec![7; width as usize] }
    }

    #[test]
    fn a_side_that_a_format_cannot_hold_is_too_large() {
        let webp = Output::WebP(Quality::RENDERED);
        for (output, longest) in [(Output::Gif, 65_535), (webp, 16_383)] {
            assert!(encode(&line(longest), None, output).is_ok());
            let error = encode(&line(longest + 1), None, output).unwrap_err();
            let due = u64::from(longest);
            assert!(
                matches!(error, RenderError::TooLarge { limit, .. } if limit == due),
                "{error}"
            );
        }
    }

    #[test]
    fn an_animation_stops_where_it_grows_above_its_limit() {
        let limits = Limits { animation_bytes: 3000, ..Limits::default() };
        for output in [Output::Gif, Output::WebP(Quality::RENDERED)] {
            let mut animation = Animation::new(&line(100), None, output, &limits).unwrap();
            let error = (0..1000).find_map(|_| animation.push(&line(100), 40).err()).unwrap();
            assert!(matches!(error, RenderError::TooLarge { limit: 3000, .. }), "{error}");
        }
    }

    #[test]
    fn profiles_and_animations_that_a_format_lacks_are_refused() {
        for asked in [IccProfile::Yes, IccProfile::Srgb, IccProfile::AdobeRgb, IccProfile::RommRgb]
        {
            assert!(check_profile(Output::Gif, Some(asked)).is_err());
            assert!(check_profile(Output::Png, Some(asked)).is_ok());
        }
        assert!(check_profile(Output::Gif, Some(IccProfile::No)).is_ok());
        assert!(check_profile(Output::Gif, None).is_ok());
        assert!(check_animated(Output::Png).is_err());
    }
}
