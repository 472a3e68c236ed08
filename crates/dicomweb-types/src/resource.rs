//! Where an object lives in an archive (PS3.18 §10.1.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Uid;

/// The path of an instance below a DICOMweb base URL.
///
/// Displays as `studies/{s}/series/{se}/instances/{i}`, without a slash at either end.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct InstancePath {
    /// Study Instance UID.
    pub study: Uid,
    /// Series Instance UID.
    pub series: Uid,
    /// SOP Instance UID.
    pub instance: Uid,
}

impl fmt::Display for InstancePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "studies/{}/series/{}/instances/{}", self.study, self.series, self.instance)
    }
}
