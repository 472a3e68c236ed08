//! libjpeg-turbo, OpenJPEG and CharLS behind safe functions over slices.
//!
//! The only crate of the workspace that may say `unsafe`; every block states why it is sound.
#![deny(missing_docs)]
