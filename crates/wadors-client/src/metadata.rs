//! The attributes of an instance from DICOM JSON (PS3.18 Annex F).
//!
//! Read attribute by attribute: one that is broken is listed and does not lose the others. Members
//! are found in any case (`BulkDataUri`), and those that the standard does not know are passed over.

mod base64;
mod value;

use std::fmt;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{C, DataSetSequence};
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicomweb_types::InstancePath;
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::client::Client;
use crate::error::UpstreamError;

const ACCEPT: &str = "application/dicom+json";

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
        let answer = self.get(self.instance_url(path, "/metadata"), ACCEPT, caller).await?;
        let json = answer.into_body(self.max_bytes().min(MAX_BYTES))?.collect().await?;
        Metadata::from_slice(&json)
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
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        if json.trim_ascii().is_empty() {
            return Err(UpstreamError::Empty);
        }
        // serde_json refuses nesting beyond 128 levels, so nothing deeper is ever built.
        let value =
            serde_json::from_slice(json).map_err(|_| UpstreamError::malformed("it is not JSON"))?;
        Self::from_json(&value)
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
        Ok(Self { dataset, bulk: walk.bulk, unreadable: walk.unreadable })
    }
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
