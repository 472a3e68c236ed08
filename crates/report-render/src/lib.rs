//! Structured reports as HTML, plain text and XML: a data set in, text out.
//!
//! [`Report::read`] reads the content tree of an SR document (PS3.3 C.17.3 and C.18) and of what is made
//! like one, such as a Key Object Selection. [`Report::to_html`] is one page that needs nothing from
//! outside, [`Report::to_text`] the same as plain text, and [`native_xml`] any data set as the Native
//! DICOM Model (PS3.19 A.1). [`KeyObjects::read`] says which images a Key Object Selection flags.
//!
//! Nothing of the document is lost in silence: a value type that is not known is shown by its name and
//! its values, and what lies beyond a limit ([`DEEPEST`], [`MOST_ITEMS`], [`MOST_TEXT`]) is counted in the output.
//! Every text of the data set is taken for hostile: it is escaped, and characters that HTML or XML
//! cannot hold become U+FFFD.
//!
//! A report names its patient, as a document does. What is made of it is as confidential as the object.
//!
//! ```
//! use dicom_core::{DataElement, VR};
//! use dicom_dictionary_std::{tags, uids};
//! use dicom_object::InMemDicomObject;
//! use report_render::Report;
//!
//! let dataset = InMemDicomObject::from_element_iter([
//!     DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::BASIC_TEXT_SR_STORAGE),
//!     DataElement::new(tags::PATIENT_NAME, VR::PN, "Phantom^Head"),
//!     DataElement::new(tags::VALUE_TYPE, VR::CS, "CONTAINER"),
//! ]);
//! let report = Report::read(&dataset)?.expect("an SR document");
//! assert!(report.to_html().starts_with("<!DOCTYPE html>"));
//! assert!(report.to_text().contains("Phantom, Head"));
//! # Ok::<(), report_render::ReportError>(())
//! ```
#![deny(missing_docs)]

mod attributes;
mod code;
mod content;
mod escape;
mod format;
mod header;
mod html;
mod key_objects;
mod native_xml;
mod report;
mod table;
mod text;

pub use code::Code;
pub use key_objects::KeyObjects;
pub use native_xml::{MOST_INLINE_BYTES, MOST_XML_BYTES, native_xml};
pub use report::{Report, ReportError};

/// Levels of content items below the root that are read. What is nested deeper is left out, and the
/// output says so. Templates of the standard stay below ten.
pub const DEEPEST: usize = 32;

/// Content items that are read, in document order. Those beyond are left out, and the output says so.
pub const MOST_ITEMS: usize = 50_000;

/// Bytes of text that are read: names, codes and values together. What lies beyond is left out, and the
/// output says so.
pub const MOST_TEXT: usize = 4 << 20;

#[cfg(test)]
mod testing;
