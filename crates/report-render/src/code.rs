//! Coded concepts (PS3.3 §8, Table 8.8-1).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::{item, text};

/// A concept: what a code of some scheme stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// Code Value, Long Code Value or URN Code Value; empty where there is none.
    pub value: String,
    /// Coding Scheme Designator; empty where there is none.
    pub scheme: String,
    /// Coding Scheme Version.
    pub version: Option<String>,
    /// Code Meaning; empty where there is none.
    pub meaning: String,
}

impl Code {
    /// The code in the first item of a sequence, unless nothing of it is there.
    pub(crate) fn read(dataset: &InMemDicomObject, sequence: Tag) -> Option<Self> {
        Self::of_item(item(dataset, sequence)?)
    }

    pub(crate) fn of_item(item: &InMemDicomObject) -> Option<Self> {
        let values = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE];
        let code = Self {
            value: values.into_iter().find_map(|tag| text(item, tag)).unwrap_or_default(),
            scheme: text(item, tags::CODING_SCHEME_DESIGNATOR).unwrap_or_default(),
            version: text(item, tags::CODING_SCHEME_VERSION),
            meaning: text(item, tags::CODE_MEANING).unwrap_or_default(),
        };
        let there = !code.value.is_empty() || !code.meaning.is_empty();
        there.then_some(code)
    }

    /// Whether this is a concept of the standard's own scheme (PS3.16 Annex D).
    pub fn is_dcm(&self, value: &str) -> bool {
        self.scheme == "DCM" && self.value == value
    }

    /// Bytes of its texts.
    pub(crate) fn len(&self) -> usize {
        let version = self.version.as_ref().map_or(0, String::len);
        self.value.len() + self.scheme.len() + version + self.meaning.len()
    }

    /// What people read: the meaning, else the value.
    pub(crate) fn name(&self) -> &str {
        if self.meaning.is_empty() { &self.value } else { &self.meaning }
    }

    /// Value, scheme and version: `121071, DCM`. `None` where the name is all there is.
    pub(crate) fn identifier(&self) -> Option<String> {
        if self.value.is_empty() || (self.meaning.is_empty() && self.scheme.is_empty()) {
            return None;
        }
        let parts = [Some(&self.value), Some(&self.scheme), self.version.as_ref()];
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
        Some(parts.map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    /// Name and identifier in one line.
    pub(crate) fn line(&self) -> String {
        match self.identifier() {
            Some(identifier) => format!("{} ({identifier})", self.name()),
            None => self.name().to_owned(),
        }
    }

    /// A unit as it stands behind a number: the symbol of UCUM where it is one, else the meaning. The
    /// unity and annotations (`{counts}`) are symbols for nobody.
    pub(crate) fn unit(&self) -> &str {
        let symbol = self.scheme == "UCUM" && self.value != "1" && !self.value.contains('{');
        if symbol && !self.value.is_empty() { &self.value } else { self.name() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{code, object};

    #[test]
    fn long_and_urn_values_are_values() {
        for tag in [tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE] {
            let item = object(&[(tag, "urn:oid:1.2"), (tags::CODE_MEANING, "Meaning")]);
            let code = Code::of_item(&item).unwrap();
            assert_eq!(code.line(), "Meaning (urn:oid:1.2)");
        }
        assert_eq!(Code::of_item(&object(&[(tags::CODING_SCHEME_DESIGNATOR, "DCM")])), None);
    }

    #[test]
    fn units_are_symbols_where_there_is_one() {
        let unit = |value, meaning| Code::of_item(&code(value, "UCUM", meaning)).unwrap();
        assert_eq!(unit("cm2", "square centimeter").unit(), "cm2");
        assert_eq!(unit("1", "no units").unit(), "no units");
        assert_eq!(unit("{counts}", "counts").unit(), "counts");
    }
}
