//! From stored values to display values (PS3.4 N.2.1): modality, VOI, polarity.

pub(crate) mod curve;
pub(crate) mod lookup;
pub(crate) mod voi;
