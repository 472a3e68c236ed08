//! Tolerant reading of single attributes: one bad value never loses the rest.

use dicom_core::{PrimitiveValue, Tag};
use dicom_object::InMemDicomObject;

/// The first value as a number; `None` where it is absent, empty, no number or not finite.
pub(crate) fn number(dataset: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(dataset, tag).into_iter().next().flatten()
}

/// Every value as a number, `None` in the place of one that is none.
pub(crate) fn numbers(dataset: &InMemDicomObject, tag: Tag) -> Vec<Option<f64>> {
    let Some(value) = primitive(dataset, tag) else { return Vec::new() };
    match value {
        PrimitiveValue::F64(values) => values.iter().map(|&v| finite(v)).collect(),
        PrimitiveValue::F32(values) => values.iter().map(|&v| finite(f64::from(v))).collect(),
        // Strings are split once more: some writers put a whole list into one value.
        other => other
            .to_multi_str()
            .iter()
            .flat_map(|text| text.split('\\'))
            .map(|text| text.trim_matches([' ', '\0']).parse().ok().and_then(finite))
            .collect(),
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The first value as an integer, also where it is written as a decimal ("1.0").
pub(crate) fn integer(dataset: &InMemDicomObject, tag: Tag) -> Option<i64> {
    number(dataset, tag).map(|v| v as i64)
}

/// Every value as an integer; those that are none are left out.
pub(crate) fn integers(dataset: &InMemDicomObject, tag: Tag) -> Vec<i64> {
    numbers(dataset, tag).into_iter().flatten().map(|v| v as i64).collect()
}

/// The first value as text without padding; `None` where it is absent or empty.
pub(crate) fn text(dataset: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = primitive(dataset, tag)?.to_multi_str();
    let first = value.first()?.trim_matches([' ', '\0']);
    (!first.is_empty()).then(|| first.to_owned())
}

/// The value of an element that is no sequence and not empty.
pub(crate) fn primitive(dataset: &InMemDicomObject, tag: Tag) -> Option<&PrimitiveValue> {
    dataset.get(tag)?.value().primitive().filter(|value| value.multiplicity() > 0)
}

/// The items of a sequence; none where it is absent or no sequence.
pub(crate) fn items(dataset: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    dataset.get(tag).and_then(|element| element.value().items()).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};
    use dicom_dictionary_std::tags;

    use super::*;

    fn with(vr: VR, value: PrimitiveValue) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([DataElement::new(tags::WINDOW_WIDTH, vr, value)])
    }

    #[test]
    fn one_bad_number_does_not_lose_the_others() {
        let dataset = with(VR::DS, dicom_value!(Strs, ["400 ", "abc", "", "NaN", "1e2"]));
        let expected = [Some(400.0), None, None, None, Some(100.0)];
        assert_eq!(numbers(&dataset, tags::WINDOW_WIDTH), expected);
    }

    #[test]
    fn lists_in_one_string_are_split() {
        let dataset = with(VR::DS, PrimitiveValue::from("40\\400"));
        assert_eq!(numbers(&dataset, tags::WINDOW_WIDTH), [Some(40.0), Some(400.0)]);
    }

    #[test]
    fn binary_numbers_and_decimals_are_integers_too() {
        assert_eq!(
            integer(&with(VR::US, PrimitiveValue::from(7_u16)), tags::WINDOW_WIDTH),
            Some(7)
        );
        assert_eq!(
            integer(&with(VR::IS, PrimitiveValue::from("3.0")), tags::WINDOW_WIDTH),
            Some(3)
        );
    }

    #[test]
    fn empty_and_absent_values_are_none() {
        assert_eq!(number(&with(VR::DS, PrimitiveValue::Empty), tags::WINDOW_WIDTH), None);
        assert_eq!(text(&InMemDicomObject::new_empty(), tags::WINDOW_WIDTH), None);
    }
}
