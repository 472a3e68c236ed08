//! The instances of a series (QIDO-RS, PS3.18 §10.6), page by page.

use std::collections::HashSet;
use std::fmt::Write;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::Uid;

use crate::caller::Caller;
use crate::client::Client;
use crate::error::UpstreamError;
use crate::metadata::Metadata;

const ACCEPT: &str = "application/dicom+json";

/// Results asked for at once.
const PAGE: usize = 100;

/// Pages of one search: a series of more instances is not read to its end.
const MOST_PAGES: usize = 20;

/// The most bytes of one page, if the client's own limit is not lower.
const MAX_BYTES: u64 = 16 << 20;

/// An instance that a search found.
#[derive(Clone, Debug)]
pub struct FoundInstance {
    /// SOP Instance UID.
    pub instance: Uid,
    /// What the archive says of it.
    pub attributes: Metadata,
}

impl Client {
    /// The instances of a series, each with what the archive says by itself, and `fields` as far as the archive knows them. At most 2000, in the order of the archive.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`]. A series that is not there
    /// has no instances, or is a status of 404 from some archives.
    pub async fn instances_of(
        &self,
        study: &Uid,
        series: &Uid,
        fields: &[Tag],
        caller: &Caller,
    ) -> Result<Vec<FoundInstance>, UpstreamError> {
        let mut found = Found::default();
        for _ in 0..MOST_PAGES {
            let query = query(fields, found.instances.len());
            let url =
                self.join(&format!("studies/{study}/series/{series}/instances"), Some(&query));
            let answer = match self.get(url, ACCEPT, caller).await {
                Ok(answer) => answer,
                // 204 is how archives say that nothing more matches.
                Err(UpstreamError::Empty) => break,
                Err(other) => return Err(other),
            };
            // §8.3.4.4: a server that cuts its answers shorter than asked says so.
            let cut_short = answer.headers().contains_key(http::header::WARNING);
            let json = answer.into_body(self.max_bytes().min(MAX_BYTES))?.collect().await?;
            let page = match Metadata::all_from_slice(&json) {
                Err(UpstreamError::Empty) => break,
                page => page?,
            };
            if !found.add(page, cut_short) {
                break;
            }
        }
        Ok(found.instances)
    }
}

fn query(fields: &[Tag], offset: usize) -> String {
    let mut query = format!("limit={PAGE}&offset={offset}");
    for Tag(group, element) in fields {
        // Writing to a text cannot fail.
        let _ = write!(query, "&includefield={group:04X}{element:04X}");
    }
    query
}

#[derive(Default)]
struct Found {
    instances: Vec<FoundInstance>,
    uids: HashSet<Uid>,
}

impl Found {
    /// Adds a page; whether another may follow. An archive that knows no `offset` repeats the first.
    fn add(&mut self, page: Vec<Metadata>, cut_short: bool) -> bool {
        let (length, before) = (page.len(), self.instances.len());
        for attributes in page {
            let Some(instance) = instance_uid(&attributes) else { continue };
            if self.uids.insert(instance.clone()) {
                self.instances.push(FoundInstance { instance, attributes });
            }
        }
        self.instances.len() > before && (length >= PAGE || cut_short)
    }
}

fn instance_uid(instance: &Metadata) -> Option<Uid> {
    let uid = instance.dataset.get(tags::SOP_INSTANCE_UID)?.to_str().ok()?;
    uid.trim_end_matches(['\0', ' ']).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(numbers: std::ops::Range<usize>) -> Vec<Metadata> {
        let object = |n| json!({"00080018": {"vr": "UI", "Value": [format!("1.2.{n}")]}});
        let json = json!(numbers.map(object).collect::<Vec<_>>());
        Metadata::all_from_slice(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_asked_for_by_tag_and_pages_by_offset() {
        let fields = [tags::IMAGE_TYPE, tags::TOTAL_PIXEL_MATRIX_COLUMNS];
        assert_eq!(
            query(&fields, 200),
            "limit=100&offset=200&includefield=00080008&includefield=00480006"
        );
    }

    #[test]
    fn a_short_page_is_the_last_unless_the_archive_says_that_there_is_more() {
        let mut found = Found::default();
        assert!(found.add(page(0..100), false));
        assert!(found.add(page(100..120), true));
        assert!(!found.add(page(120..140), false));
        assert_eq!(found.instances.len(), 140);
    }

    #[test]
    fn a_repeated_page_ends_the_search() {
        let mut found = Found::default();
        assert!(found.add(page(0..300), false));
        assert!(!found.add(page(0..300), true));
        assert_eq!(found.instances.len(), 300);
    }

    #[test]
    fn results_without_an_instance_are_left_out() {
        let mut found = Found::default();
        let json = br#"[{"00080018": {"vr": "UI", "Value": ["1.2"]}}, {}, 7, null,
            {"00080008": {"vr": "CS", "Value": ["A"]}}]"#;
        assert!(!found.add(Metadata::all_from_slice(json).unwrap(), false));
        assert_eq!(found.instances.len(), 1);
        assert!(Metadata::all_from_slice(b"[]").unwrap().is_empty());
        assert!(Metadata::all_from_slice(b"<html>").is_err());
    }
}
