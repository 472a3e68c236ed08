//! Data sets as DICOM JSON (PS3.18 Annex F), tolerant of bad values.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_json::DicomJson;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use serde_json::{Map, Value, json};

use crate::file::{BulkPath, DicomFile};

/// The whole data set; large values as BulkDataURI below `instance_url`.
pub(crate) fn metadata(file: &DicomFile, instance_url: &str) -> Map<String, Value> {
    let mut object = all(&file.dataset);
    for value in &file.bulk {
        let uri = format!("{instance_url}/bulkdata/{}", value.path);
        if let Some(place) = find(&mut object, &value.path) {
            *place = json!({ "vr": value.vr.to_string(), "BulkDataURI": uri });
        }
    }
    object
}

/// Every attribute that can be said in JSON.
pub(crate) fn all(dataset: &InMemDicomObject) -> Map<String, Value> {
    let elements = dataset.iter().filter(|element| {
        // Offsets into the pixel data mean nothing outside the file.
        !matches!(
            element.header().tag,
            tags::EXTENDED_OFFSET_TABLE | tags::EXTENDED_OFFSET_TABLE_LENGTHS
        )
    });
    elements.filter_map(|e| Some((key(e.header().tag), element(e)?))).collect()
}

/// One attribute, or `None` where dicom-json cannot say it: one bad value must not cost the rest.
pub(crate) fn element(element: &InMemElement) -> Option<Value> {
    if element.header().tag == tags::SPECIFIC_CHARACTER_SET {
        // Whatever the file is in, JSON is UTF-8 (PS3.18 F.2).
        return Some(json!({ "vr": "CS", "Value": ["ISO_IR 192"] }));
    }
    let mut value = serde_json::to_value(DicomJson::from(element)).ok()?;
    tidy(&mut value);
    Some(value)
}

/// The member name of an attribute: eight upper-case hexadecimal digits.
pub(crate) fn key(tag: Tag) -> String {
    format!("{:04X}{:04X}", tag.group(), tag.element())
}

/// Strips padding, makes numbers of DS and IS where they are numbers, and drops empty values.
fn tidy(attribute: &mut Value) {
    let Some(object) = attribute.as_object_mut() else { return };
    let vr = object.get("vr").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(values) = object.get_mut("Value").and_then(Value::as_array_mut) else { return };
    for value in values.iter_mut() {
        match value {
            Value::String(text) => *value = tidy_text(&vr, text),
            Value::Object(members) if vr == "SQ" => members.values_mut().for_each(tidy),
            Value::Object(name) => name.values_mut().for_each(|group| {
                if let Value::String(text) = group {
                    *text = text.trim_end_matches([' ', '\0']).to_owned();
                }
            }),
            _ => {}
        }
    }
    if values.iter().all(Value::is_null) {
        object.remove("Value");
    }
}

fn tidy_text(vr: &str, text: &str) -> Value {
    let number = text.trim_matches([' ', '\0']);
    let trimmed = match vr {
        "LT" | "ST" | "UT" | "UC" | "UR" => text.trim_end_matches([' ', '\0']),
        _ => number,
    };
    match vr {
        _ if trimmed.is_empty() => Value::Null,
        "IS" => number.parse::<i64>().map_or_else(|_| trimmed.into(), Value::from),
        "DS" => match number.parse::<f64>() {
            Ok(parsed) if parsed.is_finite() => parsed.into(),
            _ => trimmed.into(),
        },
        _ => trimmed.into(),
    }
}

fn find<'a>(object: &'a mut Map<String, Value>, path: &BulkPath) -> Option<&'a mut Value> {
    let mut object = object;
    for (sequence, item) in &path.items {
        let items = object.get_mut(&key(*sequence))?.get_mut("Value")?.as_array_mut()?;
        object = items.get_mut(*item as usize)?.as_object_mut()?;
    }
    object.get_mut(&key(path.tag))
}

impl std::fmt::Display for BulkPath {
    /// `GGGGEEEE`, or with the items that lead to it `GGGGEEEE/0/GGGGEEEE`, items from 0.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (sequence, item) in &self.items {
            write!(f, "{}/{item}/", key(*sequence))?;
        }
        f.write_str(&key(self.tag))
    }
}

impl BulkPath {
    /// Reads what `Display` writes.
    pub(crate) fn parse(segments: &[&str]) -> Option<Self> {
        let (tag, pairs) = segments.split_last()?;
        if pairs.len() % 2 != 0 {
            return None;
        }
        let items =
            pairs.chunks_exact(2).map(|pair| Some((hex_tag(pair[0])?, pair[1].parse().ok()?)));
        Some(Self { items: items.collect::<Option<_>>()?, tag: hex_tag(tag)? })
    }
}

/// A tag of eight hexadecimal digits.
pub(crate) fn hex_tag(text: &str) -> Option<Tag> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    Some(Tag((number >> 16) as u16, number as u16))
}

/// An attribute made here.
pub(crate) fn attribute(vr: VR, value: impl Into<Value>) -> Value {
    json!({ "vr": vr.to_string(), "Value": [value.into()] })
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue};

    use super::*;

    fn json_of(vr: VR, text: &str) -> Value {
        element(&DataElement::new(Tag(0x0009, 0x1001), vr, PrimitiveValue::from(text))).unwrap()
    }

    #[test]
    fn numbers_are_numbers_and_padding_is_gone() {
        assert_eq!(json_of(VR::DS, " 1.50 "), json!({"vr": "DS", "Value": [1.5]}));
        assert_eq!(json_of(VR::IS, "12 "), json!({"vr": "IS", "Value": [12]}));
        assert_eq!(json_of(VR::IS, "1A"), json!({"vr": "IS", "Value": ["1A"]}));
        assert_eq!(json_of(VR::UI, "1.2\0"), json!({"vr": "UI", "Value": ["1.2"]}));
        assert_eq!(json_of(VR::LO, ""), json!({"vr": "LO"}));
    }

    #[test]
    fn paths_of_bulk_data_read_back_as_written() {
        let path = BulkPath { items: vec![(Tag(0x0028, 0x3010), 2)], tag: Tag(0x0028, 0x3006) };
        let text = path.to_string();
        assert_eq!(text, "00283010/2/00283006");
        assert_eq!(BulkPath::parse(&text.split('/').collect::<Vec<_>>()), Some(path));
        for bad in ["", "0028", "00283010/2", "00283010/x/00283006", "zzzzzzzz", "+0283010"] {
            assert_eq!(BulkPath::parse(&bad.split('/').collect::<Vec<_>>()), None, "{bad:?}");
        }
    }
}
