//! 8-bit baseline JPEG, by libjpeg-turbo.

use dicomweb_types::MediaType;
use native_codecs::jpeg::{self, Subsampling};

use crate::error::{RenderError, Result};
use crate::pixel::raster::{Channels, Raster};
use crate::spec::Quality;

pub(super) fn encode(raster: &Raster, quality: Quality) -> Result<Vec<u8>> {
    let channels = match raster.channels {
        Channels::Grey => jpeg::Channels::Grey,
        Channels::Rgb => jpeg::Channels::Rgb,
    };
    // Design §3: full chroma above quality 90.
    let subsampling = if quality.get() > 90 { Subsampling::S444 } else { Subsampling::S420 };
    jpeg::encode(&raster.data, raster.width, raster.height, channels, quality.get(), subsampling)
        .map_err(|error| RenderError::Encode {
            media_type: MediaType::Jpeg.to_string(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_stays_one_component_and_colour_three() {
        for (channels, components) in [(Channels::Grey, 1), (Channels::Rgb, 3)] {
            let data = vec![100; 16 * 8 * channels.count()];
            let raster = Raster { width: 16, height: 8, channels, data };
            let header = jpeg::header(&encode(&raster, Quality::RENDERED).unwrap()).unwrap();
            assert_eq!((header.width, header.height, header.components), (16, 8, components));
        }
    }
}
