//! JPEG-LS (PS3.5 §8.2.3), decoded by CharLS.

use native_codecs::jpeg_ls;

use crate::codec::{Decoded, Encoded, coded_layout, coded_space, note};
use crate::error::{RenderError, Result};
use crate::pixel::cells::Cells;

pub(super) fn decode(encoded: &Encoded<'_>, warnings: &mut Vec<String>) -> Result<Decoded> {
    let failed = |error| RenderError::decode("JPEG-LS", error);
    let header = jpeg_ls::header(encoded.bytes).map_err(failed)?;
    encoded.limits.check_source(header.height, header.width)?;
    if !matches!(header.components, 1 | 3) {
        return Err(RenderError::unsupported(format!(
            "JPEG-LS of {} components",
            header.components
        )));
    }
    let image = jpeg_ls::decode(encoded.bytes).map_err(failed)?;
    note("JPEG-LS", image.warning, warnings);
    Ok(Decoded {
        columns: image.width,
        rows: image.height,
        full: (image.width, image.height),
        cells: Cells::from_samples(image.samples),
        layout: coded_layout(encoded, header.precision, false),
        space: coded_space(encoded.attributes, usize::from(image.components)),
    })
}
