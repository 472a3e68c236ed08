//! What one object says of another: the images that a presentation state or a key object names.

use serde::{Deserialize, Serialize};

use crate::{FrameNumber, Uid};

/// An instance that another object of the same study refers to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ImageReference {
    /// Its series.
    pub series: Uid,
    /// The instance.
    pub instance: Uid,
    /// Which frames of it, in the order named; all of them if none is.
    pub frames: Vec<FrameNumber>,
}
