//! Samples and rasters.

pub(crate) mod cells;
pub(crate) mod native;
pub(crate) mod raster;
