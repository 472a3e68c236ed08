//! Demo studies, made in code: phantoms that look like what their modality shows. No real person,
//! no file from anywhere, the same bytes every time.
//!
//! | study | objects | what it exercises |
//! |---|---|---|
//! | head CT | localizer, 24 slices, a report (SR), key image (KO), presentation state (PR) | signed, rescaled, padded; native and JPEG 2000 |
//! | head MR | Enhanced MR, 16 frames | functional groups, a window per frame |
//! | heart ultrasound | colour clip, 20 frames | JPEG baseline, YBR_FULL_422, regions |
//! | mammogram | one 8.5 megapixel view | 12 bit JPEG 2000 |
//! | chest radiograph | one view, a document (PDF) | MONOCHROME1 |

use std::path::Path;

mod canvas;
mod ct;
mod dataset;
mod documents;
mod head;
mod mammogram;
mod mr;
mod radiograph;
mod ultrasound;

use crate::OriginError;

/// Writes every sample study below `folder`, in a folder each. Takes a few seconds, 20 MB or so.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(folder: &Path) -> Result<(), OriginError> {
    ct::write(&folder.join("head-ct"))?;
    mr::write(&folder.join("head-mr"))?;
    ultrasound::write(&folder.join("heart-us"))?;
    mammogram::write(&folder.join("mammogram"))?;
    radiograph::write(&folder.join("chest-x-ray"))
}

fn encode_error(error: native_codecs::CodecError) -> OriginError {
    OriginError::Encode(error.to_string())
}
