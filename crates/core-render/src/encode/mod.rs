//! Rasters to bytes.

mod jpeg;
mod png;

use crate::error::{RenderError, Result};
use crate::pixel::raster::Raster;
use crate::spec::Output;

/// Encodes a raster; the bytes carry no metadata.
pub(crate) fn encode(raster: &Raster, output: Output) -> Result<Vec<u8>> {
    match output {
        Output::Jpeg(quality) => jpeg::encode(raster, quality),
        Output::Png => png::encode(raster),
        Output::Gif | Output::WebP(_) | Output::Jp2(_) => {
            Err(RenderError::unsupported(output.media_type().as_str()))
        }
    }
}
