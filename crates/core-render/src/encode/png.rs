//! 8-bit PNG.

use dicomweb_types::MediaType;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{RenderError, Result};
use crate::pixel::raster::{Channels, Raster};

pub(super) fn encode(raster: &Raster) -> Result<Vec<u8>> {
    let colour = match raster.channels {
        Channels::Grey => ExtendedColorType::L8,
        Channels::Rgb => ExtendedColorType::Rgb8,
    };
    let mut out = Vec::new();
    // The default setting takes 20 to 100 times as long and is no smaller on grey images.
    PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&raster.data, raster.width, raster.height, colour)
        .map_err(|error| RenderError::Encode {
            media_type: MediaType::Png.to_string(),
            reason: error.to_string(),
        })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back_the_same() {
        let data: Vec<u8> = (0..3 * 5 * 3).collect();
        let raster = Raster { width: 5, height: 3, channels: Channels::Rgb, data };
        let read = image::load_from_memory(&encode(&raster).unwrap()).unwrap();
        assert_eq!(read.as_rgb8().unwrap().as_raw(), &raster.data);
    }
}
