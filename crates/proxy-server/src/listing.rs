//! What a study and its series hold, as a search of the archive says (R7.1), in the order of DICOM's
//! numbers: never in that of the archive.

use core_render::{Card, CardKind, Category, Flavour, flavour};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::{SeriesPath, Uid};
use wadors_client::{Caller, Metadata, UpstreamError};

use crate::known::Said;
use crate::upstream::Upstream;

/// A series of a study.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ListedSeries {
    pub(crate) path: SeriesPath,
    pub(crate) modality: Option<String>,
    pub(crate) number: Option<i64>,
    /// Number of Series Related Instances.
    pub(crate) instances: Option<i64>,
}

/// An instance of a series.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ListedInstance {
    pub(crate) uid: Uid,
    pub(crate) number: Option<i64>,
    pub(crate) content: Content,
    /// What a card of it would say.
    pub(crate) card: Card,
}

/// What an instance holds, as far as a search tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Pixels, or nothing that says otherwise.
    Image,
    /// A localizer (Image Type, value 3).
    Localizer,
    /// The label of a slide, which names the patient.
    Label,
    /// Images by reference.
    PresentationState,
    /// A report that names images worth seeing.
    KeyObjects,
    /// A report or a document.
    Text,
    /// Nothing that is rendered.
    Nothing,
}

const SERIES_FIELDS: [Tag; 3] =
    [tags::MODALITY, tags::SERIES_NUMBER, tags::NUMBER_OF_SERIES_RELATED_INSTANCES];

const INSTANCE_FIELDS: [Tag; 11] = [
    tags::SOP_CLASS_UID,
    tags::MODALITY,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_TYPE,
    // What an object costs to fetch.
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::SAMPLES_PER_PIXEL,
    tags::BITS_ALLOCATED,
    tags::AVAILABLE_TRANSFER_SYNTAX_UID,
];

impl ListedSeries {
    /// A card that stands for the series.
    pub(crate) fn card(&self) -> Card {
        Card {
            kind: CardKind::of_sop_class("", self.modality.as_deref()),
            modality: self.modality.clone(),
            series_number: number_of_card(self.number),
        }
    }
}

/// The series of a study by Series Number; those without one last.
pub(crate) async fn series_of(
    upstream: &Upstream,
    study: &Uid,
    caller: &Caller,
) -> Result<Vec<ListedSeries>, UpstreamError> {
    let mut listed = Vec::new();
    let mut found = |series, said: Metadata| {
        listed.push(ListedSeries {
            path: SeriesPath { study: study.clone(), series },
            modality: said.text(tags::MODALITY),
            number: said.integer(tags::SERIES_NUMBER),
            instances: said.integer(tags::NUMBER_OF_SERIES_RELATED_INSTANCES),
        });
    };
    upstream.client.series_of(study, &SERIES_FIELDS, caller, &mut found).await?;
    listed.sort_by(|a, b| by_number((a.number, &a.path.series), (b.number, &b.path.series)));
    Ok(listed)
}

/// The instances of a series by Instance Number; those without one last.
pub(crate) async fn instances_of(
    upstream: &Upstream,
    series: &SeriesPath,
    caller: &Caller,
) -> Result<Vec<ListedInstance>, UpstreamError> {
    let mut listed = Vec::new();
    let mut found = |uid, said: Metadata| {
        upstream.known.learn(&Said::from(&said.dataset));
        let sop_class = said.text(tags::SOP_CLASS_UID).unwrap_or_default();
        let modality = said.text(tags::MODALITY);
        listed.push(ListedInstance {
            uid,
            number: said.integer(tags::INSTANCE_NUMBER),
            content: content(&sop_class, &said),
            card: Card {
                kind: CardKind::of_sop_class(&sop_class, modality.as_deref()),
                modality,
                series_number: number_of_card(said.integer(tags::SERIES_NUMBER)),
            },
        });
    };
    upstream.client.instances_of(series, &INSTANCE_FIELDS, caller, &mut found).await?;
    listed.sort_by(|a, b| by_number((a.number, &a.uid), (b.number, &b.uid)));
    Ok(listed)
}

fn number_of_card(number: Option<i64>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

fn content(sop_class: &str, said: &Metadata) -> Content {
    if sop_class == uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE {
        return Content::KeyObjects;
    }
    match Category::of_sop_class(sop_class) {
        Some(Category::PresentationState) => return Content::PresentationState,
        Some(Category::Report | Category::Document) => return Content::Text,
        Some(_) => return Content::Nothing,
        None => {}
    }
    if flavour(&said.dataset) == Some(Flavour::Label) {
        return Content::Label;
    }
    let third = said.dataset.get(tags::IMAGE_TYPE).and_then(|element| element.to_str().ok());
    let third = third.as_deref().and_then(|values| values.split('\\').nth(2)).unwrap_or_default();
    if third.trim().eq_ignore_ascii_case("LOCALIZER") { Content::Localizer } else { Content::Image }
}

fn by_number<T: Ord>(a: (Option<i64>, &T), b: (Option<i64>, &T)) -> std::cmp::Ordering {
    let key = |number: Option<i64>| (number.is_none(), number);
    key(a.0).cmp(&key(b.0)).then_with(|| a.1.cmp(b.1))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn content_of(sop_class: &str, attributes: Value) -> Content {
        content(sop_class, &Metadata::from_json(&json!([attributes])).unwrap())
    }

    #[test]
    fn a_search_tells_images_from_the_rest() {
        let plain = || json!({"00080060": {"vr": "CS", "Value": ["CT"]}});
        let localizer =
            json!({"00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}});
        let label =
            json!({"00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}});
        assert_eq!(content_of(uids::CT_IMAGE_STORAGE, plain()), Content::Image);
        assert_eq!(content_of("", plain()), Content::Image);
        assert_eq!(content_of(uids::CT_IMAGE_STORAGE, localizer), Content::Localizer);
        assert_eq!(
            content_of(uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE, label),
            Content::Label
        );
        assert_eq!(content_of(uids::ENHANCED_SR_STORAGE, plain()), Content::Text);
        assert_eq!(
            content_of(uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, plain()),
            Content::PresentationState
        );
    }

    #[test]
    fn numbers_order_and_uids_break_ties() {
        let mut all =
            vec![(None, "1"), (Some(10), "2"), (Some(2), "9"), (Some(2), "3"), (None, "0")];
        all.sort_by(|a, b| by_number((a.0, &a.1), (b.0, &b.1)));
        assert_eq!(
            all,
            [(Some(2), "3"), (Some(2), "9"), (Some(10), "2"), (None, "0"), (None, "1")]
        );
    }
}
