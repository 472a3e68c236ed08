//! The attributes of an instance from DICOM JSON (PS3.18 Annex F).

use dicom_core::{Tag, VR};
use dicom_object::InMemDicomObject;
use dicomweb_types::InstancePath;
use serde_json::Value;

use crate::caller::Caller;
use crate::client::Client;
use crate::error::UpstreamError;

const ACCEPT: &str = "application/dicom+json";

/// The most bytes of JSON that are read, if the client's own limit is not lower. Parsed, JSON
/// takes several times the memory; the attributes of 20 000 frames fit.
const MAX_BYTES: u64 = 64 << 20;

/// The attributes of an instance without its bulk data.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The data set, bulk data left out.
    pub dataset: InMemDicomObject,
    /// What is not in the data set, but to be fetched from a URI of its own.
    pub bulk: Vec<BulkDataRef>,
    /// Attributes whose value made no sense for their VR. They are in the data set, without value.
    pub unreadable: Vec<Tag>,
}

/// A value that the archive names by URI instead of sending it.
#[derive(Clone, PartialEq, Eq, Debug)]
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

impl Metadata {
    /// Reads the answer of a metadata request: an array, of which the first object counts, or a
    /// single object.
    ///
    /// # Errors
    /// [`UpstreamError::Malformed`] if it is not JSON, or neither of these;
    /// [`UpstreamError::Empty`] if the array is.
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
        let object = json.as_array().map_or(Some(json), |array| array.first());
        let dataset = dicom_json::from_value(object.ok_or(UpstreamError::Empty)?.clone())
            .map_err(|_| UpstreamError::malformed("it is not DICOM JSON"))?;
        Ok(Self { dataset, bulk: Vec::new(), unreadable: Vec::new() })
    }
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
