//! Data set to the attributes of one frame. Functional groups are resolved here and nowhere else.

use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Everything the pipeline needs to know of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageAttributes {
    /// Number of Frames (0028,0008); 1 where absent.
    pub number_of_frames: u32,
}

impl ImageAttributes {
    /// The attributes of frame `frame` of the instance that `dataset` describes.
    ///
    /// # Errors
    /// No image, no such frame, or a required attribute absent or illegal.
    pub fn of_frame(dataset: &InMemDicomObject, frame: FrameNumber) -> Result<Self> {
        let _ = (dataset, frame);
        Ok(Self { number_of_frames: 1 })
    }
}
