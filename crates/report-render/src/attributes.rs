//! Tolerant reading of single attributes: one bad value never loses the rest.

use dicom_core::{PrimitiveValue, Tag};
use dicom_object::InMemDicomObject;

const PADDING: [char; 2] = [' ', '\0'];

/// Bytes of a value that is one line. What is longer breaks the rules of its VR and ends in an ellipsis.
const LONGEST_LINE: usize = 16 * 1024;

/// Values of one attribute. Whoever has more has no report in mind.
const MOST_VALUES: u32 = 1_000_000;

/// The first value as text without padding; `None` where it is absent or empty.
pub(crate) fn text(dataset: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = primitive(dataset, tag)?.to_multi_str();
    let first = value.first()?.trim_matches(PADDING);
    (!first.is_empty()).then(|| line(first))
}

/// Every value that is not empty as text without padding.
pub(crate) fn texts(dataset: &InMemDicomObject, tag: Tag) -> Vec<String> {
    let Some(value) = primitive(dataset, tag) else { return Vec::new() };
    let values = value.to_multi_str();
    let trimmed = values.iter().map(|text| text.trim_matches(PADDING));
    trimmed.filter(|text| !text.is_empty()).map(line).collect()
}

fn line(text: &str) -> String {
    match text.len() {
        0..=LONGEST_LINE => text.to_owned(),
        _ => format!("{}…", start(text, LONGEST_LINE)),
    }
}

/// At most `most` bytes of a text, whole characters.
pub(crate) fn start(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Text of many lines (ST, LT, UT): a backslash separates nothing, and spaces in front are the
/// writer's (PS3.5 §6.2).
pub(crate) fn long_text(dataset: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = primitive(dataset, tag)?.to_multi_str().join("\\");
    let text = text.trim_end_matches(PADDING);
    (!text.is_empty()).then(|| text.to_owned())
}

/// Every value as a whole number; those that are none are left out.
pub(crate) fn integers(dataset: &InMemDicomObject, tag: Tag) -> Vec<u32> {
    texts(dataset, tag).iter().filter_map(|text| text.parse().ok()).collect()
}

/// The first value as a whole number.
pub(crate) fn integer(dataset: &InMemDicomObject, tag: Tag) -> Option<u32> {
    text(dataset, tag)?.parse().ok()
}

/// The value of an element that is no sequence, not empty and not of more than [`MOST_VALUES`].
pub(crate) fn primitive(dataset: &InMemDicomObject, tag: Tag) -> Option<&PrimitiveValue> {
    let value = dataset.get(tag)?.value().primitive()?;
    (1..=MOST_VALUES).contains(&value.multiplicity()).then_some(value)
}

/// The items of a sequence; none where it is absent or no sequence.
pub(crate) fn items(dataset: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    dataset.get(tag).and_then(|element| element.value().items()).unwrap_or(&[])
}

/// The first item of a sequence.
pub(crate) fn item(dataset: &InMemDicomObject, tag: Tag) -> Option<&InMemDicomObject> {
    items(dataset, tag).first()
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};
    use dicom_dictionary_std::tags;

    use super::*;

    fn with(tag: Tag, vr: VR, value: PrimitiveValue) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([DataElement::new(tag, vr, value)])
    }

    #[test]
    fn a_backslash_in_long_text_is_text() {
        let two = with(tags::TEXT_VALUE, VR::UT, dicom_value!(Strs, ["  a", "b \n "]));
        assert_eq!(long_text(&two, tags::TEXT_VALUE).as_deref(), Some("  a\\b \n"));
    }

    #[test]
    fn padding_and_empty_values_are_nothing() {
        let padded = with(tags::CODE_VALUE, VR::SH, dicom_value!(Strs, [" T-1 ", " ", "x\0"]));
        assert_eq!(texts(&padded, tags::CODE_VALUE), ["T-1", "x"]);
        let empty = with(tags::CODE_VALUE, VR::SH, PrimitiveValue::from(" "));
        assert_eq!(text(&empty, tags::CODE_VALUE), None);
    }

    #[test]
    fn endless_lines_end_in_an_ellipsis() {
        let long = with(tags::CODE_MEANING, VR::UC, PrimitiveValue::from("ü".repeat(LONGEST_LINE)));
        let cut = text(&long, tags::CODE_MEANING).unwrap();
        assert_eq!(cut.chars().count(), LONGEST_LINE / 2 + 1);
        assert!(cut.ends_with("ü…"));
    }

    #[test]
    fn numbers_may_be_written_as_text() {
        let frames =
            with(tags::REFERENCED_FRAME_NUMBER, VR::IS, dicom_value!(Strs, ["3", "x", "7"]));
        assert_eq!(integers(&frames, tags::REFERENCED_FRAME_NUMBER), [3, 7]);
        let binary = with(tags::TABLE_ROW_NUMBER, VR::UL, PrimitiveValue::from(9_u32));
        assert_eq!(integer(&binary, tags::TABLE_ROW_NUMBER), Some(9));
    }
}
