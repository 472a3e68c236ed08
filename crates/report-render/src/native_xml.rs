//! The Native DICOM Model (PS3.19 A.1): a data set as XML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::PrimitiveValue;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::InMemDicomObject;

use crate::attributes::text;
use crate::escape;

/// Binary values of up to so many bytes stand in the XML (`InlineBinary`). Of a longer one, only the
/// attribute is there and a comment with its length, since there is no place to point to.
pub const MOST_INLINE_BYTES: usize = 64 * 1024;

/// Bytes of XML. Once there are more, attributes and values are no longer written, and a comment says so.
pub const MOST_XML_BYTES: usize = 64 << 20;

/// Numbers of one attribute; of one with more, only the attribute is there, as of a long binary value.
const MOST_NUMBERS: u32 = 100_000;

/// Sequences within sequences. What is nested deeper is a comment.
const DEEPEST: usize = 64;

/// A data set as the Native DICOM Model of PS3.19 A.1.5, in XML 1.0 and UTF-8.
///
/// Group lengths are left out, as the standard asks; pixel data and other binary values beyond
/// [`MOST_INLINE_BYTES`] too, and what lies beyond [`MOST_XML_BYTES`]. Characters that XML cannot hold are U+FFFD.
pub fn native_xml(dataset: &InMemDicomObject) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel \
         xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\" xml:space=\"preserve\">\n",
    );
    attributes(&mut out, dataset, 0);
    out.push_str("</NativeDicomModel>\n");
    out
}

fn attributes(out: &mut String, dataset: &InMemDicomObject, depth: usize) {
    for element in dataset.iter() {
        let tag = element.header().tag;
        if tag.element() == 0 {
            continue;
        }
        if is_full(out) {
            return out.push_str("<!-- the rest is left out -->\n");
        }
        open(out, dataset, tag, element.header().vr);
        if let Some(items) = element.value().items() {
            sequence(out, items, depth);
        } else if let Some(value) = element.value().primitive() {
            primitive(out, element.header().vr, value);
        } else {
            let fragments = element.value().fragments().unwrap_or_default();
            left_out(out, fragments.iter().map(Vec::len).sum());
        }
        out.push_str("</DicomAttribute>\n");
    }
}

fn open(out: &mut String, dataset: &InMemDicomObject, tag: Tag, vr: VR) {
    let Tag(group, element) = tag;
    out.push_str(&format!("<DicomAttribute tag=\"{group:04X}{element:04X}\" vr=\"{vr}\""));
    if !tag.group().is_multiple_of(2) {
        // PS3.5 §7.8.1: (gggg,0010) reserves (gggg,1000) to (gggg,10FF).
        let creator = (element >= 0x1000).then_some(Tag(group, element >> 8));
        if let Some(creator) = creator.and_then(|creator| text(dataset, creator)) {
            attribute(out, "privateCreator", &creator);
        }
    } else if let Some(entry) = StandardDataDictionary.by_tag(tag) {
        attribute(out, "keyword", entry.alias());
    }
    out.push('>');
}

fn sequence(out: &mut String, items: &[InMemDicomObject], depth: usize) {
    if depth == DEEPEST {
        out.push_str(&format!("<!-- {} items nested too deeply -->", items.len()));
        return;
    }
    out.push('\n');
    for (number, item) in (1..).zip(items) {
        if is_full(out) {
            return out.push_str("<!-- the rest is left out -->\n");
        }
        out.push_str(&format!("<Item number=\"{number}\">\n"));
        attributes(out, item, depth + 1);
        out.push_str("</Item>\n");
    }
}

fn primitive(out: &mut String, vr: VR, value: &PrimitiveValue) {
    use VR::*;
    if value.multiplicity() == 0 {
        return;
    }
    match vr {
        OB | OD | OF | OL | OV | OW | UN => binary(out, value),
        FL | FD | SL | SS | SV | UL | US | UV | AT if value.multiplicity() > MOST_NUMBERS => {
            left_out(out, value.calculate_byte_len());
        }
        PN => names(out, value),
        // One value, in which a backslash separates nothing.
        LT | ST | UR | UT => {
            let text = value.to_multi_str().join("\\");
            values(out, &[text.trim_end_matches([' ', '\0'])]);
        }
        AT => match value {
            PrimitiveValue::Tags(tags) => {
                let tags: Vec<String> =
                    tags.iter().map(|Tag(g, e)| format!("{g:04X}{e:04X}")).collect();
                values(out, &tags.iter().map(String::as_str).collect::<Vec<_>>());
            }
            other => texts(out, other),
        },
        _ => texts(out, value),
    }
}

fn texts(out: &mut String, value: &PrimitiveValue) {
    let texts = value.to_multi_str();
    values(out, &texts.iter().map(|text| text.trim_matches([' ', '\0'])).collect::<Vec<_>>());
}

/// A value that is empty between others keeps its number by leaving a gap.
fn values(out: &mut String, values: &[&str]) {
    for (number, value) in (1..).zip(values).filter(|(_, value)| !value.is_empty()) {
        if is_full(out) || value.len() > MOST_XML_BYTES {
            return out.push_str("<!-- the rest is left out -->");
        }
        out.push_str(&format!("<Value number=\"{number}\">"));
        escape::xml(out, value);
        out.push_str("</Value>");
    }
}

const GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];
const COMPONENTS: [&str; 5] = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"];

fn names(out: &mut String, value: &PrimitiveValue) {
    let names = value.to_multi_str();
    for (number, name) in (1..).zip(names.iter()) {
        let name = name.trim_matches([' ', '\0']);
        if name.is_empty() {
            continue;
        }
        if is_full(out) || name.len() > MOST_XML_BYTES {
            return out.push_str("<!-- the rest is left out -->");
        }
        out.push_str(&format!("<PersonName number=\"{number}\">"));
        for (group, text) in GROUPS.iter().zip(name.splitn(3, '=')).filter(|(_, t)| !t.is_empty()) {
            out.push_str(&format!("<{group}>"));
            let components = COMPONENTS.iter().zip(text.splitn(5, '^').map(str::trim_end));
            for (component, text) in components.filter(|(_, text)| !text.is_empty()) {
                out.push_str(&format!("<{component}>"));
                escape::xml(out, text);
                out.push_str(&format!("</{component}>"));
            }
            out.push_str(&format!("</{group}>"));
        }
        out.push_str("</PersonName>");
    }
}

fn binary(out: &mut String, value: &PrimitiveValue) {
    let length = value.calculate_byte_len();
    if length > MOST_INLINE_BYTES {
        return left_out(out, length);
    }
    // Little endian, as A.1.5 has it.
    out.push_str("<InlineBinary>");
    out.push_str(&STANDARD.encode(little_endian(value)));
    out.push_str("</InlineBinary>");
}

fn little_endian(value: &PrimitiveValue) -> Vec<u8> {
    match value {
        PrimitiveValue::U16(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::I16(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::U32(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::I32(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::U64(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::I64(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::F32(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        PrimitiveValue::F64(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        other => other.to_bytes().into_owned(),
    }
}

fn is_full(out: &str) -> bool {
    out.len() > MOST_XML_BYTES
}

fn left_out(out: &mut String, bytes: usize) {
    out.push_str(&format!("<!-- {bytes} bytes left out -->"));
}

fn attribute(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!(" {name}=\""));
    escape::xml(out, value);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, dicom_value};
    use dicom_dictionary_std::tags;
    use proptest::prelude::*;
    use roxmltree::{Document, Node};

    use super::*;
    use crate::testing::{code, object, with_items};

    const NAMESPACE: &str = "http://dicom.nema.org/PS3.19/models/NativeDICOM";

    fn find<'a>(document: &'a Document<'_>, tag: &str) -> Node<'a, 'a> {
        let found = document.descendants().find(|node| node.attribute("tag") == Some(tag));
        found.unwrap_or_else(|| panic!("no {tag}"))
    }

    fn texts_of(node: Node<'_, '_>, name: &str) -> Vec<String> {
        let named = node.descendants().filter(|node| node.has_tag_name((NAMESPACE, name)));
        named.map(|node| node.text().unwrap_or("").to_owned()).collect()
    }

    #[test]
    fn every_kind_of_value_is_written_as_the_standard_has_it() {
        let mut dataset = with_items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code("1", "DCM", "M")]);
        for element in [
            DataElement::new(tags::PATIENT_NAME, VR::PN, "Yamada^Tarou^^Dr=山田^太郎"),
            DataElement::new(
                tags::IMAGE_TYPE,
                VR::CS,
                dicom_value!(Strs, ["ORIGINAL", "", "AXIAL"]),
            ),
            DataElement::new(tags::TEXT_VALUE, VR::UT, "one\\two"),
            DataElement::new(
                tags::SELECTOR_ATTRIBUTE,
                VR::AT,
                PrimitiveValue::from(tags::PIXEL_DATA),
            ),
            DataElement::new(tags::GRAPHIC_DATA, VR::FL, dicom_value!(F32, [1.5, -2.0])),
            DataElement::new(Tag(0x0042, 0x0011), VR::OW, dicom_value!(U16, [0x0102])),
            DataElement::new(tags::STUDY_DATE, VR::DA, PrimitiveValue::Empty),
            DataElement::new(Tag(0x0008, 0x0000), VR::UL, dicom_value!(U32, [9])),
            DataElement::new(Tag(0x0041, 0x0010), VR::LO, "ACME \"1\""),
            DataElement::new(Tag(0x0041, 0x1001), VR::SH, "private"),
        ] {
            dataset.put(element);
        }
        let xml = native_xml(&dataset);
        let document = Document::parse(&xml).unwrap();
        assert!(document.root_element().has_tag_name((NAMESPACE, "NativeDicomModel")));
        let name = find(&document, "00100010");
        assert_eq!(name.attribute("vr"), Some("PN"));
        assert_eq!(name.attribute("keyword"), Some("PatientName"));
        assert_eq!(texts_of(name, "FamilyName"), ["Yamada", "山田"]);
        assert_eq!(texts_of(name, "NamePrefix"), ["Dr"]);
        let types = find(&document, "00080008");
        let numbers: Vec<_> =
            types.children().filter_map(|value| value.attribute("number")).collect();
        assert_eq!(numbers, ["1", "3"], "the empty value in between leaves a gap");
        assert_eq!(texts_of(find(&document, "0040A160"), "Value"), ["one\\two"]);
        assert_eq!(texts_of(find(&document, "00720026"), "Value"), ["7FE00010"]);
        assert_eq!(texts_of(find(&document, "00700022"), "Value"), ["1.5", "-2"]);
        assert_eq!(texts_of(find(&document, "00420011"), "InlineBinary"), ["AgE="]);
        assert_eq!(find(&document, "00080020").children().count(), 0);
        assert!(!xml.contains("tag=\"00080000\""), "no group length");
        let private = find(&document, "00411001");
        assert_eq!(private.attribute("privateCreator"), Some("ACME \"1\""));
        let item = find(&document, "0040A043").children().find(Node::is_element).unwrap();
        assert_eq!((item.tag_name().name(), item.attribute("number")), ("Item", Some("1")));
    }

    #[test]
    fn large_binary_values_are_left_out() {
        let value = PrimitiveValue::from(vec![0_u8; MOST_INLINE_BYTES + 2]);
        let dataset = InMemDicomObject::from_element_iter([DataElement::new(
            tags::ENCAPSULATED_DOCUMENT,
            VR::OB,
            value,
        )]);
        let xml = native_xml(&dataset);
        assert!(xml.len() < 500 && xml.contains("65538 bytes left out"), "{xml}");
    }

    #[test]
    fn the_whole_is_bounded_and_well_formed() {
        let mut dataset = InMemDicomObject::new_empty();
        let many = vec![1.0_f32; MOST_NUMBERS as usize + 1];
        dataset.put(DataElement::new(tags::GRAPHIC_DATA, VR::FL, PrimitiveValue::F32(many.into())));
        assert!(native_xml(&dataset).len() < 500);
        let quotes = "\"".repeat(MOST_XML_BYTES / 12);
        let items = vec![object(&[(tags::TEXT_VALUE, &quotes)]); 5];
        let xml = native_xml(&with_items(tags::CONTENT_SEQUENCE, items));
        assert!(xml.contains("the rest is left out") && xml.len() < 2 * MOST_XML_BYTES);
        assert!(xml.ends_with("</DicomAttribute>\n</NativeDicomModel>\n"));
        Document::parse(&xml).unwrap();
    }

    #[test]
    fn nesting_is_bounded() {
        let mut nested = InMemDicomObject::new_empty();
        for _ in 0..DEEPEST + 10 {
            nested = with_items(tags::CONTENT_SEQUENCE, vec![nested]);
        }
        let xml = native_xml(&nested);
        assert!(xml.contains("nested too deeply"));
        Document::parse(&xml).unwrap();
    }

    proptest! {
        #[test]
        fn any_text_comes_back(value in "\\PC*|[\\x00-\\x7F]*", name in any::<String>()) {
            let mut dataset = object(&[(tags::TEXT_VALUE, value.as_str())]);
            dataset.put(DataElement::new(tags::PATIENT_NAME, VR::PN, name.as_str()));
            let xml = native_xml(&dataset);
            let document = Document::parse(&xml).expect("well-formed");
            let expected: String = value
                .trim_end_matches([' ', '\0'])
                .chars()
                .map(|c| if matches!(c, '\t' | '\n' | '\r') || !c.is_control() { c } else { '\u{FFFD}' })
                .collect();
            let found = texts_of(find(&document, "0040A160"), "Value").concat();
            prop_assert_eq!(found, expected);
            let ours = ["NativeDicomModel", "DicomAttribute", "Value", "PersonName", "Alphabetic",
                "Ideographic", "Phonetic", "FamilyName", "GivenName", "MiddleName", "NamePrefix",
                "NameSuffix"];
            for node in document.descendants().filter(Node::is_element) {
                prop_assert!(ours.contains(&node.tag_name().name()));
            }
        }
    }
}
