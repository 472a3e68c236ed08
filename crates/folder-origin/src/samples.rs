//! tmp
use crate::OriginError;
use std::path::Path;
/// tmp
pub fn write(_folder: &Path) -> Result<(), OriginError> {
    Ok(())
}
