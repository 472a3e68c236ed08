//! Where an object lives in an archive (PS3.18 §10.1.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Uid;

/// The path of a series below a DICOMweb base URL.
///
/// Displays as `studies/{s}/series/{se}`, without a slash at either end.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SeriesPath {
    /// Study Instance UID.
    pub study: Uid,
    /// Series Instance UID.
    pub series: Uid,
}

impl SeriesPath {
    /// The path of an instance of this series.
    pub fn instance(&self, instance: Uid) -> InstancePath {
        let Self { study, series } = self.clone();
        InstancePath { study, series, instance }
    }
}

impl fmt::Display for SeriesPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "studies/{}/series/{}", self.study, self.series)
    }
}

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

impl InstancePath {
    /// The path of its series.
    pub fn series_path(&self) -> SeriesPath {
        SeriesPath { study: self.study.clone(), series: self.series.clone() }
    }
}

impl fmt::Display for InstancePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "studies/{}/series/{}/instances/{}", self.study, self.series, self.instance)
    }
}
