//! The attributes of an instance from DICOM JSON (PS3.18 Annex F).
//!
//! Read attribute by attribute: one that is broken is listed and does not lose the others. Members
//! are found in any case (`BulkDataUri`), and those that the standard does not know are passed over.

mod base64;
mod value;

use std::fmt;

use bytes::Bytes;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{C, DataSetSequence};
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicomweb_types::InstancePath;
use serde::Deserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;
use crate::revalidate::Validator;

/// The most bytes of JSON that are read, if the client's own limit is not lower. Parsed, JSON
/// takes many times the memory; the attributes of 20 000 frames fit.
const MAX_BYTES: u64 = 64 << 20;

/// Sequences within sequences that are followed; real objects have about six.
const MAX_DEPTH: usize = 32;

/// The attributes of an instance without its bulk data.
///
/// `Debug` shows counts only: the values are a patient's.
#[derive(Clone)]
pub struct Metadata {
    /// The data set. Text is UTF-8, whatever its Specific Character Set says. What is in `bulk` is
    /// not in here.
    pub dataset: InMemDicomObject,
    /// What is to be fetched from a URI of its own.
    pub bulk: Vec<BulkDataRef>,
    /// Attributes whose value made no sense for their VR, in the order met. Each is in its data
    /// set, with no value, or a sequence with what could be read of it.
    pub unreadable: Vec<Tag>,
    /// By what the archive knows them again.
    pub validator: Option<Validator>,
}

/// A value that the archive names by URI instead of sending it.
///
/// `Debug` leaves the URI out: it holds UIDs.
#[derive(Clone, PartialEq, Eq)]
pub struct BulkDataRef {
    /// The sequences around it, outermost first, each with the index of the item, from 0.
    pub path: Vec<(Tag, usize)>,
    /// The attribute.
    pub tag: Tag,
    /// What the bytes will be.
    pub vr: VR,
    /// Where, as the archive wrote it: absolute or relative, perhaps of another origin.
    pub uri: String,
}

impl Client {
    /// Fetches the attributes of an instance.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`].
    pub async fn metadata(
        &self,
        path: &InstancePath,
        caller: &Caller,
    ) -> Result<Metadata, UpstreamError> {
        let limit = self.max_bytes().min(MAX_BYTES);
        let ask = Ask::new(Call::Json, self.instance_url(path, "/metadata"), caller);
        let read = |answer: Answer| async move {
            let validator = Validator::of(answer.headers());
            Ok((answer.into_text(limit).await?, validator))
        };
        let (json, validator) = self.ask(&ask, read).await?;
        Ok(Metadata { validator, ..Metadata::from_slice(&json)? })
    }
}

impl Metadata {
    /// Reads the answer of a metadata request: an array, of which the first object counts, or a
    /// single object.
    ///
    /// # Errors
    /// [`UpstreamError::Malformed`] if it is not JSON or holds no attribute,
    /// [`UpstreamError::Empty`] if there is nothing in it.
    pub fn from_slice(json: &[u8]) -> Result<Self, UpstreamError> {
        Self::from_json(&parse(json)?)
    }

    /// Every object of an answer that is an array of them, as of a search; those that hold no
    /// attribute are left out.
    ///
    /// # Errors
    /// [`UpstreamError::Malformed`] if it is not JSON.
    pub fn all_from_slice(json: &[u8]) -> Result<Vec<Self>, UpstreamError> {
        let json = text(json)?;
        if !json.trim_ascii_start().starts_with(b"[") {
            return Ok(Self::from_json(&parse(json)?).into_iter().collect());
        }
        let mut from = serde_json::Deserializer::from_slice(json);
        let all = from.deserialize_seq(Objects).and_then(|all| from.end().map(|()| all));
        all.map_err(|_| UpstreamError::malformed("it is not JSON, or too much of it"))
    }

    /// As [`Metadata::from_slice`], from JSON already parsed.
    ///
    /// # Errors
    /// The same.
    pub fn from_json(json: &Value) -> Result<Self, UpstreamError> {
        let object = match json {
            Value::Array(objects) if objects.is_empty() => return Err(UpstreamError::Empty),
            Value::Array(objects) => objects.iter().find_map(Value::as_object),
            other => other.as_object(),
        };
        let mut walk = Walk::default();
        let dataset = walk.dataset(object.unwrap_or(&Map::new()));
        if dataset.iter().next().is_none() && walk.bulk.is_empty() {
            return Err(UpstreamError::malformed("it is JSON, but holds no DICOM attribute"));
        }
        Ok(Self { dataset, bulk: walk.bulk, unreadable: walk.unreadable, validator: None })
    }
}

impl Metadata {
    /// The first value of an attribute of the top level as text without padding; `None` where it is
    /// absent or empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let value = self.dataset.get(tag)?.value().primitive()?.to_multi_str();
        let first = value.first()?.trim_matches([' ', '\0']);
        (!first.is_empty()).then(|| first.to_owned())
    }

    /// The same as a whole number; `None` also where it is none.
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        self.text(tag)?.parse().ok()
    }

    /// Puts bulk data, little endian as everything on the wire, into the place that `reference` names
    /// and takes the reference off the list. A reference to a place that is not there changes nothing.
    pub fn fill(&mut self, reference: &BulkDataRef, bytes: Bytes) {
        let Some(value) = value::from_bytes(reference.vr, bytes.into()) else { return };
        let element = DataElement::new(reference.tag, reference.vr, value);
        if place(&mut self.dataset, &reference.path, element) {
            self.bulk.retain(|other| other != reference);
        }
    }
}

/// Objects in one answer to a search: those of the largest pages that archives send, and some more.
const MOST_OBJECTS: usize = 200_000;

/// Reads objects one after the other: all of them as JSON would take many times the memory.
struct Objects;

impl<'de> Visitor<'de> for Objects {
    type Value = Vec<Metadata>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Self::Value, A::Error> {
        let (mut all, mut left) = (Vec::new(), MOST_OBJECTS);
        while let Some(object) = objects.next_element::<Value>()? {
            left = left.checked_sub(1).ok_or_else(|| A::Error::custom("too many"))?;
            all.extend(Metadata::from_json(&object));
        }
        Ok(all)
    }
}

/// Without a byte order mark.
fn text(json: &[u8]) -> Result<&[u8], UpstreamError> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    if json.trim_ascii().is_empty() { Err(UpstreamError::Empty) } else { Ok(json) }
}

fn parse(json: &[u8]) -> Result<Value, UpstreamError> {
    let json = text(json)?;
    // serde_json refuses nesting beyond 128 levels, so nothing deeper is ever built.
    serde_json::from_slice(json).map_err(|_| UpstreamError::malformed("it is not JSON"))
}

/// Puts `element` into the item at the end of `path`; whether there is one.
fn place(dataset: &mut InMemDicomObject, path: &[(Tag, usize)], element: InMemElement) -> bool {
    let Some(((tag, index), rest)) = path.split_first() else {
        dataset.put(element);
        return true;
    };
    let (mut element, mut done) = (Some(element), false);
    dataset.update_value(*tag, |value| {
        let item = value.items_mut().and_then(|items| items.get_mut(*index));
        if let (Some(item), Some(element)) = (item, element.take()) {
            done = place(item, rest, element);
        }
    });
    done
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("elements", &self.dataset.iter().count())
            .field("bulk", &self.bulk.len())
            .field("unreadable", &self.unreadable.len())
            .finish()
    }
}

impl fmt::Debug for BulkDataRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkDataRef")
            .field("path", &self.path)
            .field("tag", &self.tag)
            .field("vr", &self.vr)
            .finish_non_exhaustive()
    }
}

/// Where the walk is, and what it met.
#[derive(Default)]
struct Walk {
    path: Vec<(Tag, usize)>,
    bulk: Vec<BulkDataRef>,
    unreadable: Vec<Tag>,
}

/// What an attribute brings with it.
enum Content<'a> {
    Values(&'a [Value]),
    Inline(&'a str),
    Bulk(&'a str),
    Nothing,
    /// A member is there, but not of the type it should be.
    Broken,
}

impl Walk {
    fn dataset(&mut self, object: &Map<String, Value>) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        for (key, attribute) in object {
            if let Some(tag) = tag_of(key)
                && let Some(element) = self.element(tag, attribute)
            {
                dataset.put(element);
            }
        }
        dataset
    }

    /// The attribute, or `None` for one that is bulk data, and is noted.
    fn element(&mut self, tag: Tag, attribute: &Value) -> Option<InMemElement> {
        let content = content_of(attribute);
        let vr = vr_of(tag, attribute, &content);
        let value = match content {
            Content::Values(items) if vr == VR::SQ => return Some(self.sequence(tag, items)),
            Content::Nothing if vr == VR::SQ => return Some(self.sequence(tag, &[])),
            Content::Values(values) => value::read(vr, values),
            Content::Inline(text) => base64::decode(text)
                .and_then(|bytes| value::from_bytes(vr, bytes))
                .map(|value| (vr, value)),
            Content::Bulk(uri) => {
                let (path, uri) = (self.path.clone(), uri.to_owned());
                self.bulk.push(BulkDataRef { path, tag, vr, uri });
                return None;
            }
            Content::Nothing => Some((vr, PrimitiveValue::Empty)),
            Content::Broken => None,
        };
        let (vr, value) = value.unwrap_or_else(|| {
            self.unreadable.push(tag);
            (vr, PrimitiveValue::Empty)
        });
        Some(DataElement::new(tag, vr, value))
    }

    /// The items; one that is null or no object is there without attributes, so that the others
    /// keep their places.
    fn sequence(&mut self, tag: Tag, items: &[Value]) -> InMemElement {
        let too_deep = self.path.len() >= MAX_DEPTH;
        if too_deep || items.iter().any(|item| !item.is_object() && !item.is_null()) {
            self.unreadable.push(tag);
        }
        let mut datasets = C::new();
        for (index, item) in items.iter().enumerate().filter(|_| !too_deep) {
            self.path.push((tag, index));
            datasets.push(match item.as_object() {
                Some(object) => self.dataset(object),
                None => InMemDicomObject::new_empty(),
            });
            self.path.pop();
        }
        DataElement::new(tag, VR::SQ, DataSetSequence::new(datasets, Length::UNDEFINED))
    }
}

/// A tag as eight digits, as `gggg,eeee`, or as a keyword.
fn tag_of(key: &str) -> Option<Tag> {
    // dicom-core cuts the text at byte positions.
    if !key.is_ascii() {
        return None;
    }
    StandardDataDictionary.parse_tag(key)
}

fn content_of(attribute: &Value) -> Content<'_> {
    let members = match attribute {
        Value::Object(members) => members,
        Value::Null => return Content::Nothing,
        // Without the object around it, as some QIDO-minded servers write.
        Value::Array(values) => return Content::Values(values),
        bare => return Content::Values(std::slice::from_ref(bare)),
    };
    let value = match member(members, "Value") {
        Some(Value::Array(values)) => values.as_slice(),
        Some(bare) => std::slice::from_ref(bare),
        None => &[],
    };
    if value.iter().any(|value| !value.is_null()) {
        return Content::Values(value);
    }
    let text = |name| {
        member(members, name).map(|value| match value {
            Value::Array(values) if values.len() == 1 => values[0].as_str(),
            other => other.as_str(),
        })
    };
    match (text("InlineBinary"), text("BulkDataURI")) {
        (Some(Some(inline)), _) => Content::Inline(inline),
        (_, Some(Some(uri))) => Content::Bulk(uri),
        (None, None) if value.is_empty() => Content::Nothing,
        (None, None) => Content::Values(value),
        (Some(None), _) | (_, Some(None)) => Content::Broken,
    }
}

/// A member by name in any case. JSON null counts as absent.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members
        .get(name)
        .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
        .filter(|value| !value.is_null())
}

/// The VR that the archive declares; if it declares none, or UN, that of the dictionary; if there is
/// none either, SQ for what looks like items, else UN.
fn vr_of(tag: Tag, attribute: &Value, content: &Content<'_>) -> VR {
    let declared = attribute
        .as_object()
        .and_then(|members| member(members, "vr"))
        .and_then(Value::as_str)
        .and_then(|vr| vr.trim().to_ascii_uppercase().parse().ok());
    match declared {
        Some(VR::UN) | None => {}
        Some(vr) => return vr,
    }
    let known = StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed());
    match known.filter(|vr| *vr != VR::UN) {
        // Items as bytes, in a syntax nobody names: they stay bytes.
        Some(VR::SQ) if matches!(content, Content::Inline(_)) => VR::UN,
        Some(vr) => vr,
        None if holds_items(content) => VR::SQ,
        None => VR::UN,
    }
}

fn holds_items(content: &Content<'_>) -> bool {
    let Content::Values(values) = content else { return false };
    let is_item = |value: &Value| {
        value.as_object().is_some_and(|item| item.keys().any(|key| tag_of(key).is_some()))
    };
    values.iter().any(is_item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(json: Value) -> Metadata {
        Metadata::from_json(&json).unwrap()
    }

    /// The value of (0028,0010) or whichever tag is the only one, as it was read.
    fn value(attribute: Value) -> (VR, PrimitiveValue) {
        element("00091001", attribute)
    }

    fn element(tag: &str, attribute: Value) -> (VR, PrimitiveValue) {
        let read = read(json!({ tag: attribute }));
        let element = read.dataset.iter().next().expect("an element");
        assert!(read.unreadable.is_empty(), "{tag} is readable");
        (element.vr(), element.value().primitive().expect("no sequence").clone())
    }

    fn strs(values: &[&str]) -> PrimitiveValue {
        PrimitiveValue::Strs(values.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn an_array_or_a_single_object_is_read() {
        let object = json!({"00080060": {"vr": "CS", "Value": ["CT"]}});
        for json in [object.clone(), json!([object]), json!([null, object, {"00080060": {}}])] {
            let text =
                read(json).dataset.element(tags::MODALITY).unwrap().to_str().unwrap().into_owned();
            assert_eq!(text, "CT");
        }
        let with_mark = [b"\xef\xbb\xbf ".as_slice(), object.to_string().as_bytes()].concat();
        assert!(Metadata::from_slice(&with_mark).is_ok());
    }

    #[test]
    fn nothing_and_what_is_no_dicom_are_told_apart() {
        for empty in ["", " \n", "[]"] {
            assert_eq!(Metadata::from_slice(empty.as_bytes()).unwrap_err(), UpstreamError::Empty);
        }
        for other in ["<html>", "{}", "[[]]", "7", r#"{"Message": "Bad", "HttpStatus": 404}"#, "[{"]
        {
            let error = Metadata::from_slice(other.as_bytes()).unwrap_err();
            assert!(matches!(error, UpstreamError::Malformed { .. }), "{other}");
        }
    }

    #[test]
    fn one_bad_attribute_does_not_lose_the_others() {
        let read = read(json!({
            "00280010": {"vr": "US", "Value": [{"no": "number"}]},
            "00280011": {"vr": "US", "Value": [512]},
            "00280030": {"vr": "DS", "InlineBinary": "*"},
            "00283010": {"vr": "SQ", "Value": [7, {"00281050": {"vr": "DS", "Value": [[]]}}]},
            "00080018": {"vr": "UI", "BulkDataURI": 7},
            "nonsense": 3, "é0280010": {}, "": null,
        }));
        let columns = read.dataset.element(tags::COLUMNS).unwrap();
        assert_eq!(columns.to_int::<u16>().unwrap(), 512);
        let mut bad = read.unreadable;
        bad.sort();
        let expected = [
            tags::SOP_INSTANCE_UID,
            tags::ROWS,
            tags::PIXEL_SPACING,
            tags::WINDOW_CENTER,
            tags::VOILUT_SEQUENCE,
        ];
        assert_eq!(bad, expected);
        assert!(
            read.dataset
                .element(tags::ROWS)
                .unwrap()
                .value()
                .primitive()
                .unwrap()
                .calculate_byte_len()
                == 0
        );
    }

    #[test]
    fn null_and_missing_values_are_empty() {
        for attribute in [
            json!({"vr": "LO", "Value": null}),
            json!({"vr": "LO", "Value": []}),
            json!({"vr": "LO", "Value": [null, null]}),
            json!({"vr": "LO"}),
            json!({"vr": "LO", "InlineBinary": ""}),
        ] {
            assert_eq!(value(attribute.clone()), (VR::LO, PrimitiveValue::Empty), "{attribute}");
        }
    }

    #[test]
    fn nulls_keep_the_places_of_strings_and_are_dropped_among_numbers() {
        let strings = value(json!({"vr": "CS", "Value": ["A", null, "C", null]}));
        assert_eq!(strings.1, strs(&["A", "", "C", ""]));
        let numbers = value(json!({"vr": "US", "Value": [null, 5, null]}));
        assert_eq!(numbers.1, PrimitiveValue::U16(C::from_elem(5, 1)));
    }

    #[test]
    fn numbers_come_as_strings_and_strings_as_numbers() {
        let number = |vr: &str, value_: Value| value(json!({"vr": vr, "Value": value_})).1;
        assert_eq!(number("US", json!(["512"])), PrimitiveValue::from(512u16));
        assert_eq!(number("US", json!([512.0])), PrimitiveValue::from(512u16));
        assert_eq!(number("UL", json!([" 70000.0 "])), PrimitiveValue::from(70000u32));
        assert_eq!(number("SV", json!(["-9223372036854775808"])), PrimitiveValue::from(i64::MIN));
        assert_eq!(number("UV", json!([u64::MAX])), PrimitiveValue::from(u64::MAX));
        assert_eq!(number("FL", json!(["0.5"])), PrimitiveValue::from(0.5f32));
        assert_eq!(number("DS", json!([0.5, "1e-3", 40])), strs(&["0.5", "1e-3", "40"]));
        assert_eq!(number("IS", json!([3.0, "4.0", "5"])), strs(&["3", "4", "5"]));
        assert_eq!(number("LO", json!([7, true])), strs(&["7", "true"]));
        assert_eq!(
            number("US", json!("1\\2\\3")),
            PrimitiveValue::U16([1, 2, 3].into_iter().collect())
        );
        assert_eq!(number("DS", json!("40\\400")), strs(&["40", "400"]));
        assert_eq!(number("LT", json!("a\\b")), strs(&["a\\b"]));
    }

    #[test]
    fn a_value_without_its_array_or_its_object_is_read() {
        assert_eq!(element("00280010", json!(512)), (VR::US, PrimitiveValue::from(512u16)));
        assert_eq!(element("00280010", json!([512])), (VR::US, PrimitiveValue::from(512u16)));
        assert_eq!(value(json!({"vr": "CS", "Value": "A"})).1, strs(&["A"]));
        assert_eq!(element("00280010", json!(null)), (VR::US, PrimitiveValue::Empty));
    }

    #[test]
    fn not_a_number_and_infinity_come_as_text() {
        let PrimitiveValue::F64(values) =
            value(json!({"vr": "FD", "Value": ["NaN", "Infinity", "-Infinity", "inf", 1]})).1
        else {
            panic!("FD is F64")
        };
        assert!(values[0].is_nan());
        assert_eq!(&values[1..], [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, 1.0]);
    }

    #[test]
    fn signed_values_under_an_unsigned_vr_stay_signed_and_the_reverse() {
        let padding = json!({"vr": "US", "Value": [-2000]});
        assert_eq!(element("00280120", padding), (VR::SS, PrimitiveValue::from(-2000i16)));
        let padding = json!({"vr": "SS", "Value": [63536]});
        assert_eq!(element("00280120", padding), (VR::US, PrimitiveValue::from(63536u16)));
        let neither = read(json!({"00280120": {"vr": "US", "Value": [-1, 65535]}}));
        assert_eq!(neither.unreadable, [tags::PIXEL_PADDING_VALUE]);
    }

    #[test]
    fn person_names_are_objects_or_plain_strings() {
        let name = |value_: Value| value(json!({"vr": "PN", "Value": [value_]})).1;
        assert_eq!(name(json!("Doe^Jane")), strs(&["Doe^Jane"]));
        assert_eq!(name(json!({"Alphabetic": "Doe^Jane"})), strs(&["Doe^Jane"]));
        assert_eq!(name(json!({"Alphabetic": "A", "Phonetic": "P"})), strs(&["A==P"]));
        assert_eq!(name(json!({"Alphabetic": null})).calculate_byte_len(), 0);
    }

    #[test]
    fn an_unknown_or_missing_vr_is_that_of_the_dictionary() {
        for vr in [json!(null), json!("US or SS"), json!("??"), json!("UN"), json!(5), json!("us")]
        {
            let found = element("00280010", json!({"vr": vr, "Value": [512]}));
            assert_eq!(found, (VR::US, PrimitiveValue::from(512u16)), "{vr}");
        }
        let read = read(json!({"00283010": {"Value": [{"00283002": {"Value": [256, 0, 16]}}]}}));
        let items = read.dataset.element(tags::VOILUT_SEQUENCE).unwrap().items().unwrap();
        let descriptor = items[0].element(tags::LUT_DESCRIPTOR).unwrap();
        assert_eq!(descriptor.to_multi_int::<u16>().unwrap(), [256, 0, 16]);
    }

    #[test]
    fn an_attribute_that_nobody_knows_is_un_or_a_sequence() {
        assert_eq!(value(json!({"Value": ["text"]})), (VR::UN, strs(&["text"])));
        assert_eq!(value(json!({"Value": [1, 2]})).0, VR::UN);
        assert_eq!(value(json!({"vr": "UN", "InlineBinary": "AQI="})).1.to_bytes()[..], [1, 2]);
        let read =
            read(json!({"00091001": {"vr": "UN", "Value": [{"00080060": {"Value": ["CT"]}}]}}));
        assert_eq!(read.dataset.element(Tag(0x0009, 0x1001)).unwrap().vr(), VR::SQ);
    }

    #[test]
    fn extra_members_and_members_in_another_case_do_no_harm() {
        let attribute = json!({"keyword": "Rows", "VR": "US", "value": [512], "x": {"y": []}});
        assert_eq!(element("00280010", attribute), (VR::US, PrimitiveValue::from(512u16)));
    }

    #[test]
    fn tags_are_digits_in_any_case_or_keywords() {
        let modality = json!({"vr": "CS", "Value": ["CT"]});
        for key in ["00080060", "0008,0060", "(0008,0060)", "Modality"] {
            assert!(
                read(json!({key: modality.clone()})).dataset.element(tags::MODALITY).is_ok(),
                "{key}"
            );
        }
        assert!(read(json!({"7fe00010": {"vr": "OW"}})).dataset.element(tags::PIXEL_DATA).is_ok());
        let at = |value_: Value| value(json!({"vr": "AT", "Value": [value_]})).1;
        for pointer in [json!("00280009"), json!("(0028,0009)"), json!(0x0028_0009)] {
            assert_eq!(at(pointer), PrimitiveValue::from(tags::FRAME_INCREMENT_POINTER));
        }
    }

    #[test]
    fn null_items_keep_the_places_of_the_others() {
        let item = json!({"00281050": {"vr": "DS", "Value": [40]}});
        let read = read(json!({
            "00289132": {"vr": "SQ", "Value": [null, item]},
            "00081140": {"vr": "SQ", "Value": null},
        }));
        let items = read.dataset.element(tags::FRAME_VOILUT_SEQUENCE).unwrap().items().unwrap();
        assert_eq!(items.len(), 2);
        assert!(items[1].element(tags::WINDOW_CENTER).is_ok());
        assert_eq!(
            read.dataset.element(tags::REFERENCED_IMAGE_SEQUENCE).unwrap().items().unwrap().len(),
            0
        );
        assert!(read.unreadable.is_empty());
    }

    #[test]
    fn inline_binary_has_the_type_a_file_would_give_it() {
        let inline = |vr: &str, text: &str| value(json!({"vr": vr, "InlineBinary": text})).1;
        assert_eq!(
            inline("OW", "AQIDBA=="),
            PrimitiveValue::U16([0x0201, 0x0403].into_iter().collect())
        );
        assert_eq!(inline("OB", "AQI"), PrimitiveValue::U8([1, 2].into_iter().collect()));
        assert_eq!(inline("OF", "AACAPw=="), PrimitiveValue::from(1f32));
        assert_eq!(inline("OD", "AAAAAAAA8D8="), PrimitiveValue::from(1f64));
        assert_eq!(inline("US", "AAI="), PrimitiveValue::from(512u16));
        assert_eq!(inline("CS", "QVxCIA=="), strs(&["A", "B"]));
        assert_eq!(inline("OW", "AQID"), PrimitiveValue::U8([1, 2, 3].into_iter().collect()));
        let in_array = value(json!({"vr": "OB", "InlineBinary": ["AQI="]})).1;
        assert_eq!(in_array.to_bytes()[..], [1, 2]);
    }

    #[test]
    fn binary_as_an_array_of_numbers_is_read() {
        let numbers = |vr: &str, values: Value| value(json!({"vr": vr, "Value": values}));
        assert_eq!(
            numbers("OW", json!([0, 65535])).1,
            PrimitiveValue::U16([0, 65535].into_iter().collect())
        );
        assert_eq!(
            numbers("OB", json!([0, 255])).1,
            PrimitiveValue::U8([0, 255].into_iter().collect())
        );
        assert_eq!(numbers("OB", json!([0, 256])).0, VR::OW);
    }

    #[test]
    fn bulk_data_is_listed_with_its_place_however_it_is_spelt() {
        let lut = |uri: &str| json!({"00283006": {"vr": "OW", "BulkDataUri": uri}});
        let read = read(json!({
            "00281201": {"vr": "OW", "BulkDataURI": "../bulk/red"},
            "00283010": {"vr": "SQ", "Value": [{}, lut("http://elsewhere/lut")]},
            "00280010": {"vr": "US", "Value": [5], "BulkDataURI": "unneeded"},
        }));
        let lut = BulkDataRef {
            path: vec![(tags::VOILUT_SEQUENCE, 1)],
            tag: tags::LUT_DATA,
            vr: VR::OW,
            uri: "http://elsewhere/lut".to_owned(),
        };
        assert_eq!(read.bulk.len(), 2);
        assert!(read.bulk.contains(&lut));
        assert!(read.dataset.element(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA).is_err());
        assert!(!format!("{read:?}{:?}", read.bulk).contains("elsewhere"));
    }

    #[test]
    fn bulk_data_are_put_where_they_belong() {
        let mut metadata = read(json!({
            "00281201": {"vr": "OW", "BulkDataURI": "red"},
            "00480105": {"vr": "SQ", "Value": [{}, {"00282000": {"vr": "OB", "BulkDataURI": "icc"}}]},
        }));
        for reference in metadata.bulk.clone() {
            metadata.fill(&reference, Bytes::from_static(&[1, 0, 2, 0]));
        }
        assert!(metadata.bulk.is_empty());
        let red = metadata.dataset.get(Tag(0x28, 0x1201)).unwrap();
        assert_eq!(red.value().primitive(), Some(&PrimitiveValue::U16([1, 2][..].into())));
        let paths = metadata.dataset.get(Tag(0x48, 0x105)).unwrap().items().unwrap();
        assert!(paths[1].get(Tag(0x28, 0x2000)).is_some());
        let nowhere = BulkDataRef {
            path: vec![(Tag(0x48, 0x105), 7)],
            tag: Tag(0x28, 0x2000),
            vr: VR::OB,
            uri: String::new(),
        };
        metadata.fill(&nowhere, Bytes::from_static(&[1]));
    }

    #[test]
    fn nesting_is_followed_to_a_limit() {
        let nested = |levels: usize| {
            (0..levels).fold(
                json!({"00080060": {"vr": "CS", "Value": ["CT"]}}),
                |inner, _| json!({"00081140": {"vr": "SQ", "Value": [inner]}}),
            )
        };
        assert!(read(nested(MAX_DEPTH)).unreadable.is_empty());
        assert_eq!(read(nested(MAX_DEPTH + 5)).unreadable, [tags::REFERENCED_IMAGE_SEQUENCE]);
        let bomb = "[{\"00081140\":".repeat(100_000);
        assert!(Metadata::from_slice(bomb.as_bytes()).is_err());
    }

    #[test]
    fn what_dicom_json_writes_is_read_back() {
        let item = InMemDicomObject::from_element_iter([DataElement::new(
            tags::LUT_DATA,
            VR::OW,
            PrimitiveValue::U16([0, 1, 65535].into_iter().collect()),
        )]);
        let written = InMemDicomObject::from_element_iter([
            DataElement::new(tags::PATIENT_NAME, VR::PN, strs(&["Doe^Jane=J"])),
            DataElement::new(tags::IMAGE_TYPE, VR::CS, strs(&["ORIGINAL", "PRIMARY"])),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(512u16)),
            DataElement::new(tags::PIXEL_SPACING, VR::DS, strs(&["0.5", "0.25"])),
            DataElement::new(
                tags::FRAME_INCREMENT_POINTER,
                VR::AT,
                PrimitiveValue::from(tags::FRAME_TIME),
            ),
            DataElement::new(
                tags::VOILUT_SEQUENCE,
                VR::SQ,
                DataSetSequence::new(vec![item], Length::UNDEFINED),
            ),
            DataElement::new(tags::REAL_WORLD_VALUE_SLOPE, VR::FD, PrimitiveValue::from(0.1f64)),
        ]);
        let read = read(dicom_json::to_value(&written).unwrap());
        // An undefined length equals nothing, not even itself, so sequences never compare equal.
        assert_eq!(format!("{:?}", read.dataset), format!("{written:?}"));
        assert!(read.unreadable.is_empty());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "vr",
            "Value",
            "InlineBinary",
            "BulkDataURI",
            "Alphabetic",
            "00280010",
            "00081140",
            "7FE00010",
            "00091001",
            "00283006",
            "Modality",
            "é",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[A-Z0-9=.,\\\\ é-]{0,12}".prop_map(Value::from),
            prop::sample::select(vec!["US", "SQ", "OW", "AT", "PN", "IS", "UN", "FL"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..6)
                    .prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_json_never_panics(json in any_json()) {
            let text = json.to_string();
            let direct = Metadata::from_json(&json);
            let parsed = Metadata::from_slice(text.as_bytes());
            prop_assert_eq!(direct.is_ok(), parsed.is_ok());
        }

        #[test]
        fn arbitrary_attributes_never_panic(json in any_json(), vr in "[A-Z]{2}") {
            let read = read(json!({"00280010": json, "00091001": {"vr": vr, "Value": json}}));
            let bulk = read.bulk.iter().filter(|bulk| bulk.path.is_empty()).count();
            prop_assert_eq!(read.dataset.iter().count() + bulk, 2);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = Metadata::from_slice(text.as_bytes());
        }
    }
}
