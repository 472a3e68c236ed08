//! Data sets in few words, for tests.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::InMemDicomObject;

/// Text attributes, with the VRs of the dictionary.
pub(crate) fn object(texts: &[(Tag, &str)]) -> InMemDicomObject {
    let vr =
        |tag| StandardDataDictionary.by_tag(tag).expect("it is in the dictionary").vr().relaxed();
    let elements = texts.iter().map(|(tag, text)| DataElement::new(*tag, vr(*tag), *text));
    InMemDicomObject::from_element_iter(elements)
}

/// One sequence.
pub(crate) fn with_items(tag: Tag, items: Vec<InMemDicomObject>) -> InMemDicomObject {
    let mut dataset = InMemDicomObject::new_empty();
    put_items(&mut dataset, tag, items);
    dataset
}

pub(crate) fn put_items(dataset: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    let sequence = DataSetSequence::new(items, Length::UNDEFINED);
    dataset.put(DataElement::new(tag, VR::SQ, sequence));
}

pub(crate) fn code(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    object(&[
        (tags::CODE_VALUE, value),
        (tags::CODING_SCHEME_DESIGNATOR, scheme),
        (tags::CODE_MEANING, meaning),
    ])
}

/// A content item without a value.
pub(crate) fn content(
    value_type: &str,
    relationship: Option<&str>,
    children: Vec<InMemDicomObject>,
) -> InMemDicomObject {
    let mut item = object(&[
        (tags::VALUE_TYPE, value_type),
        (tags::RELATIONSHIP_TYPE, relationship.unwrap_or("CONTAINS")),
    ]);
    if !children.is_empty() {
        put_items(&mut item, tags::CONTENT_SEQUENCE, children);
    }
    item
}

/// A named item with one text attribute.
pub(crate) fn leaf(value_type: &str, name: &str, (tag, text): (Tag, &str)) -> InMemDicomObject {
    let mut item = content(value_type, None, vec![]);
    put_items(&mut item, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code("121071", "DCM", name)]);
    item.put(object(&[(tag, text)]).take_element(tag).expect("it was put there"));
    item
}

/// An SR document around content.
pub(crate) fn document(children: Vec<InMemDicomObject>) -> InMemDicomObject {
    let mut root = content("CONTAINER", None, children);
    root.take_element(tags::RELATIONSHIP_TYPE).expect("content has one");
    let title = code("18748-4", "LN", "Diagnostic imaging report");
    put_items(&mut root, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![title]);
    let header = object(&[
        (tags::SOP_CLASS_UID, dicom_dictionary_std::uids::COMPREHENSIVE_SR_STORAGE),
        (tags::PATIENT_NAME, "Phantom^Head"),
        (tags::PATIENT_ID, "PHANTOM-1"),
        (tags::PATIENT_BIRTH_DATE, "19660605"),
        (tags::PATIENT_SEX, "O"),
        (tags::STUDY_DATE, "20260605"),
        (tags::STUDY_TIME, "100000"),
        (tags::ACCESSION_NUMBER, "DEMO0001"),
        (tags::REFERRING_PHYSICIAN_NAME, "Refers^Dana"),
        (tags::CONTENT_DATE, "20260605"),
        (tags::CONTENT_TIME, "100500"),
        (tags::COMPLETION_FLAG, "COMPLETE"),
        (tags::VERIFICATION_FLAG, "VERIFIED"),
    ]);
    for element in header {
        root.put(element);
    }
    root
}
