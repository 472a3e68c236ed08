//! 8-bit PNG.

use dicomweb_types::MediaType;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::failed;
use crate::error::Result;
use crate::pixel::raster::{Channels, Raster};

pub(super) fn encode(raster: &Raster, profile: Option<&[u8]>) -> Result<Vec<u8>> {
    let colour = match raster.channels {
        Channels::Grey => ExtendedColorType::L8,
        Channels::Rgb => ExtendedColorType::Rgb8,
    };
    let mut out = Vec::new();
    // The default setting takes 20 to 100 times as long and is no smaller on grey images.
    let mut encoder =
        PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive);
    if let Some(profile) = profile {
        encoder.set_icc_profile(profile.to_vec()).map_err(|error| failed(MediaType::Png, error))?;
    }
    encoder
        .write_image(&raster.data, raster.width, raster.height, colour)
        .map_err(|error| failed(MediaType::Png, error))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back_the_same() {
        let data: Vec<u8> = (0..3 * 5 * 3).collect();
        let raster = Raster { width: 5, height: 3, channels: Channels::Rgb, data };
        let read = image::load_from_memory(&encode(&raster, None).unwrap()).unwrap();
        assert_eq!(read.as_rgb8().unwrap().as_raw(), &raster.data);
    }

    #[test]
    fn a_profile_is_read_back() {
        use image::ImageDecoder;
        let raster = Raster { width: 1, height: 1, channels: Channels::Rgb, data: vec![1, 2, 3] };
        let png = encode(&raster, Some(b"profile")).unwrap();
        let mut read = image::codecs::png::PngDecoder::new(std::io::Cursor::new(png)).unwrap();
        assert_eq!(read.icc_profile().unwrap().as_deref(), Some(&b"profile"[..]));
    }
}
