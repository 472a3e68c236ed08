//! A report: its head and its content.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::text;
use crate::content::{Budget, Item, Value};
use crate::header::Header;
use crate::{html, text as plain};

/// All SOP classes of SR documents begin with this, the retired and the Key Object Selection too.
const SR_CLASSES: &str = "1.2.840.10008.5.1.4.1.1.88.";

/// A structured report, read.
#[derive(Debug)]
pub struct Report {
    pub(crate) header: Header,
    pub(crate) root: Item,
}

/// Why there is no report in what should be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The SOP class is that of a report, but there is no root content item.
    #[error("the object is a structured report without a root content item")]
    NoRoot,
}

impl Report {
    /// Reads the document in a data set; `None` where the object is none: neither of a SOP class of
    /// structured reports nor with a root CONTAINER.
    ///
    /// # Errors
    /// [`ReportError::NoRoot`].
    pub fn read(dataset: &InMemDicomObject) -> Result<Option<Self>, ReportError> {
        let class = text(dataset, tags::SOP_CLASS_UID).unwrap_or_default();
        let has_root = text(dataset, tags::VALUE_TYPE).as_deref() == Some("CONTAINER");
        match (has_root, class.starts_with(SR_CLASSES)) {
            (true, _) => {
                let root = Item::read(dataset, 0, &mut Budget::new());
                Ok(Some(Self { header: Header::read(dataset), root }))
            }
            (false, true) => Err(ReportError::NoRoot),
            (false, false) => Ok(None),
        }
    }

    /// What the document is called: the concept of its root, else the kind of object.
    pub fn title(&self) -> &str {
        self.root.name.as_ref().map_or(&self.header.kind, |name| name.name())
    }

    /// One HTML page, in UTF-8, that needs nothing from outside and runs nothing: no script, no link, no
    /// image. It is readable under `Content-Security-Policy: sandbox; default-src 'none'; style-src
    /// 'unsafe-inline'`, in light and in dark, and on paper.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Plain text: a line for each item, two spaces for each level, nothing wrapped. Lines of a value of
    /// several lines are indented below it. Control characters are replaced by U+FFFD.
    pub fn to_text(&self) -> String {
        plain::page(self)
    }

    /// The language of the content as the document gives it (PS3.16 TID 1204), for an HTML `lang`.
    pub(crate) fn language(&self) -> Option<&str> {
        let is_language = |item: &&Item| item.name.as_ref().is_some_and(|n| n.is_dcm("121049"));
        match &self.root.children.iter().find(is_language)?.value {
            Value::Code(code) => Some(code.value.as_str()).filter(|value| is_language_tag(value)),
            _ => None,
        }
    }
}

/// Of the form of a tag of RFC 5646, whether registered or not.
fn is_language_tag(text: &str) -> bool {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    text.len() <= 35 && text.split('-').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{code, content, document, object, put_items};

    #[test]
    fn what_is_no_report_is_none_and_what_should_be_one_an_error() {
        let image = object(&[(tags::SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.2")]);
        assert!(Report::read(&image).unwrap().is_none());
        let empty = object(&[(tags::SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.88.11")]);
        assert_eq!(Report::read(&empty).unwrap_err(), ReportError::NoRoot);
        let private = content("CONTAINER", None, vec![]);
        assert_eq!(Report::read(&private).unwrap().unwrap().title(), "Structured report");
    }

    #[test]
    fn the_language_is_that_of_the_document_if_it_is_one() {
        let with = |value| {
            let mut language = content("CODE", Some("HAS CONCEPT MOD"), vec![]);
            let name = code("121049", "DCM", "Language of Content Item and Descendants");
            put_items(&mut language, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![name]);
            let value = code(value, "RFC5646", "Some language");
            put_items(&mut language, tags::CONCEPT_CODE_SEQUENCE, vec![value]);
            let report = Report::read(&document(vec![language])).unwrap().unwrap();
            report.language().map(str::to_owned)
        };
        assert_eq!(with("de-AT").as_deref(), Some("de-AT"));
        assert_eq!(with("de\" onload=\"x"), None);
    }
}
