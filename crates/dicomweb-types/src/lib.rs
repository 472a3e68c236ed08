//! The words of DICOMweb, parsed once and then trusted.
//!
//! A leaf: nothing here does I/O or knows pixels. A value of one of these types *is* legal; what
//! could not be parsed is an error at the border and never travels further.
//!
//! ```
//! use dicomweb_types::{FrameNumber, InstancePath, TransferSyntax, Uid};
//!
//! let path = InstancePath {
//!     study: "1.2.3".parse::<Uid>()?,
//!     series: "1.2.3.4".parse()?,
//!     instance: "1.2.3.4.5".parse()?,
//! };
//! assert_eq!(path.to_string(), "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5");
//! assert_eq!("1".parse::<FrameNumber>()?.index(), 0);
//! assert!(TransferSyntax::from_uid("1.2.840.10008.1.2.4.90").is_encapsulated());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod document_type;
mod frame;
mod media_type;
mod reference;
mod resource;
mod transfer_syntax;
mod uid;

pub use document_type::DocumentType;
pub use frame::{FrameNumber, FrameNumberError};
pub use media_type::{MediaRange, MediaType, split_list};
pub use reference::ImageReference;
pub use resource::{InstancePath, SeriesPath};
pub use transfer_syntax::TransferSyntax;
pub use uid::{Uid, UidError};
