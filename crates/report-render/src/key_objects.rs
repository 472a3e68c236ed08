//! Key Object Selections (PS3.3 C.17.6, PS3.16 TID 2010): images that somebody flagged, and why.

use std::collections::HashMap;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, ImageReference, Uid};

use crate::attributes::{integers, items, text};
use crate::code::Code;
use crate::{DEEPEST, MOST_ITEMS};

/// Titles (PS3.16 CID 7010) that say an image is worth showing.
const OF_INTEREST: [&str; 15] = [
    "113000", // Of Interest
    "113002", // For Referring Provider
    "113003", // For Surgery
    "113004", // For Teaching
    "113005", // For Conference
    "113006", // For Therapy
    "113007", // For Patient
    "113008", // For Peer Review
    "113009", // For Research
    "113013", // Best In Set
    "113018", // For Printing
    "113020", // For Report Attachment
    "113036", // Group of Frames for Display
    "128195", // For Diagnosis
    "128203", // For Tumor Board
];

/// Titles that say an image is better not shown; 113037 to 113039 are those of IHE's IOCM.
const REJECTIONS: [&str; 5] = [
    "113001", // Rejected for Quality Reasons
    "113010", // Quality Issue
    "113037", // Rejected for Patient Safety Reasons
    "113038", // Incorrect Modality Worklist Entry
    "113039", // Data Retention Policy Expired
];

/// What a Key Object Selection says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyObjects {
    /// The document's title: why these were selected.
    pub title: Option<Code>,
    /// The images of the document's own study, in the order of the document, each once. An image whose
    /// series the document does not name (PS3.3 C.17.2.3 asks for it) is left out.
    pub references: Vec<ImageReference>,
    /// The same of objects that are no images: waveforms, documents, presentation states.
    pub others: Vec<ImageReference>,
}

impl KeyObjects {
    /// Reads a Key Object Selection; `None` where the object is of another SOP class.
    ///
    /// At most [`MOST_ITEMS`] references and [`DEEPEST`] levels are read.
    pub fn read(dataset: &InMemDicomObject) -> Option<Self> {
        let class = text(dataset, tags::SOP_CLASS_UID)?;
        if class != uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE {
            return None;
        }
        let mut found = Found { series: series_of(dataset), ..Found::default() };
        found.collect(dataset, 0);
        Some(Self {
            title: Code::read(dataset, tags::CONCEPT_NAME_CODE_SEQUENCE),
            references: found.images.list,
            others: found.others.list,
        })
    }

    /// Whether the title flags the images as worth showing: Of Interest, For Referring Provider, Best In
    /// Set and the like.
    pub fn is_of_interest(&self) -> bool {
        self.is_titled(&OF_INTEREST)
    }

    /// Whether the title speaks against showing the images: a quality issue, or one of the rejections.
    pub fn is_rejection(&self) -> bool {
        self.is_titled(&REJECTIONS)
    }

    fn is_titled(&self, values: &[&str]) -> bool {
        self.title.as_ref().is_some_and(|title| values.iter().any(|value| title.is_dcm(value)))
    }
}

/// The series of each instance of this study that the document names as evidence.
fn series_of(dataset: &InMemDicomObject) -> HashMap<String, Uid> {
    const EVIDENCE: [Tag; 2] = [
        tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
        tags::PERTINENT_OTHER_EVIDENCE_SEQUENCE,
    ];
    let own = text(dataset, tags::STUDY_INSTANCE_UID);
    let mut found = HashMap::new();
    let studies = EVIDENCE.iter().flat_map(|sequence| items(dataset, *sequence));
    let studies = studies.filter(|study| text(study, tags::STUDY_INSTANCE_UID) == own);
    for series in studies.flat_map(|study| items(study, tags::REFERENCED_SERIES_SEQUENCE)) {
        let Some(Ok(uid)) = text(series, tags::SERIES_INSTANCE_UID).map(|uid| uid.parse::<Uid>())
        else {
            continue;
        };
        for instance in items(series, tags::REFERENCED_SOP_SEQUENCE) {
            if let Some(instance) = text(instance, tags::REFERENCED_SOP_INSTANCE_UID) {
                found.entry(instance).or_insert_with(|| uid.clone());
            }
        }
    }
    found
}

#[derive(Default)]
struct Found {
    series: HashMap<String, Uid>,
    images: References,
    others: References,
    read: usize,
}

#[derive(Default)]
struct References {
    list: Vec<ImageReference>,
    places: HashMap<Uid, usize>,
}

impl Found {
    fn collect(&mut self, item: &InMemDicomObject, depth: usize) {
        let kind = text(item, tags::VALUE_TYPE);
        for reference in items(item, tags::REFERENCED_SOP_SEQUENCE) {
            let Some(found) = self.resolve(reference) else { continue };
            match kind.as_deref() {
                Some("IMAGE") => self.images.add(found),
                Some("COMPOSITE" | "WAVEFORM") => self.others.add(found),
                _ => {}
            }
        }
        if depth == DEEPEST {
            return;
        }
        for child in items(item, tags::CONTENT_SEQUENCE) {
            self.read += 1;
            if self.read > MOST_ITEMS {
                return;
            }
            self.collect(child, depth + 1);
        }
    }

    fn resolve(&self, reference: &InMemDicomObject) -> Option<ImageReference> {
        let instance = text(reference, tags::REFERENCED_SOP_INSTANCE_UID)?;
        Some(ImageReference {
            series: self.series.get(&instance)?.clone(),
            instance: instance.parse().ok()?,
            frames: integers(reference, tags::REFERENCED_FRAME_NUMBER)
                .into_iter()
                .filter_map(FrameNumber::new)
                .collect(),
        })
    }
}

impl References {
    /// An instance named again adds frames; named once without frames, it is all of them.
    fn add(&mut self, reference: ImageReference) {
        let Some(&place) = self.places.get(&reference.instance) else {
            self.places.insert(reference.instance.clone(), self.list.len());
            self.list.push(reference);
            return;
        };
        let known = &mut self.list[place].frames;
        if reference.frames.is_empty() || known.is_empty() {
            known.clear();
        } else {
            let before: std::collections::HashSet<_> = known.iter().copied().collect();
            known.extend(reference.frames.into_iter().filter(|frame| !before.contains(frame)));
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::testing::{code, content, object, put_items, with_items};

    fn evidence(study: &str, series: &[(&str, &[&str])]) -> InMemDicomObject {
        let series = series.iter().map(|(series, instances)| {
            let instances =
                instances.iter().map(|uid| object(&[(tags::REFERENCED_SOP_INSTANCE_UID, uid)]));
            let mut item = with_items(tags::REFERENCED_SOP_SEQUENCE, instances.collect());
            item.put(DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, *series));
            item
        });
        let mut item = with_items(tags::REFERENCED_SERIES_SEQUENCE, series.collect());
        item.put(DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, study));
        item
    }

    fn named(value_type: &str, instance: &str, frames: &[&str]) -> InMemDicomObject {
        let mut reference = object(&[(tags::REFERENCED_SOP_INSTANCE_UID, instance)]);
        if !frames.is_empty() {
            let frames = PrimitiveValue::Strs(frames.iter().map(|f| (*f).to_owned()).collect());
            reference.put(DataElement::new(tags::REFERENCED_FRAME_NUMBER, VR::IS, frames));
        }
        let mut item = content(value_type, None, vec![]);
        put_items(&mut item, tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
        item
    }

    fn selection(title: InMemDicomObject, children: Vec<InMemDicomObject>) -> InMemDicomObject {
        let mut root = content("CONTAINER", None, children);
        put_items(&mut root, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![title]);
        let class = uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE;
        root.put(DataElement::new(tags::SOP_CLASS_UID, VR::UI, class));
        root.put(DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.1"));
        let current = evidence("1.1", &[("1.1.1", &["1.1.1.1", "1.1.1.2"])]);
        put_items(&mut root, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![current]);
        let own = evidence("1.1", &[("1.1.2", &["1.1.2.1"])]);
        let foreign = evidence("1.2", &[("1.2.1", &["1.2.1.1"])]);
        put_items(&mut root, tags::PERTINENT_OTHER_EVIDENCE_SEQUENCE, vec![own, foreign]);
        root
    }

    fn of_interest() -> InMemDicomObject {
        code("113000", "DCM", "Of Interest")
    }

    fn summary(references: &[ImageReference]) -> Vec<String> {
        let frames = |r: &ImageReference| r.frames.iter().map(|f| f.get()).collect::<Vec<_>>();
        references.iter().map(|r| format!("{} {} {:?}", r.series, r.instance, frames(r))).collect()
    }

    #[test]
    fn images_come_in_document_order_with_their_series_and_frames() {
        let found = KeyObjects::read(&selection(
            of_interest(),
            vec![
                named("IMAGE", "1.1.2.1", &["7", "3"]),
                named("TEXT", "1.1.1.1", &[]),
                content("CONTAINER", None, vec![named("IMAGE", "1.1.1.2", &[])]),
                named("WAVEFORM", "1.1.1.1", &[]),
                named("IMAGE", "1.1.2.1", &["3", "9"]),
            ],
        ))
        .unwrap();
        assert_eq!(summary(&found.references), ["1.1.2 1.1.2.1 [7, 3, 9]", "1.1.1 1.1.1.2 []"]);
        assert_eq!(summary(&found.others), ["1.1.1 1.1.1.1 []"]);
        assert!(found.is_of_interest() && !found.is_rejection());
        assert_eq!(found.title.unwrap().meaning, "Of Interest");
    }

    #[test]
    fn a_reference_without_frames_is_all_of_them() {
        for order in [[&["2"][..], &[]], [&[], &["2"]]] {
            let images = order.map(|frames| named("IMAGE", "1.1.1.1", frames)).to_vec();
            let found = KeyObjects::read(&selection(of_interest(), images)).unwrap();
            assert_eq!(summary(&found.references), ["1.1.1 1.1.1.1 []"]);
        }
    }

    #[test]
    fn images_of_other_studies_and_of_no_series_are_left_out() {
        let images = vec![
            named("IMAGE", "1.2.1.1", &[]),
            named("IMAGE", "9.9", &[]),
            named("IMAGE", "not a UID", &[]),
        ];
        let found = KeyObjects::read(&selection(of_interest(), images)).unwrap();
        assert!(found.references.is_empty());
    }

    #[test]
    fn titles_flag_or_reject_and_only_in_the_scheme_of_the_standard() {
        let judged = |value, scheme| {
            let found = KeyObjects::read(&selection(code(value, scheme, "x"), vec![])).unwrap();
            (found.is_of_interest(), found.is_rejection())
        };
        for value in ["113000", "113002", "113009", "113013", "113018"] {
            assert_eq!(judged(value, "DCM"), (true, false), "{value}");
        }
        for value in ["113001", "113010", "113037", "113038", "113039"] {
            assert_eq!(judged(value, "DCM"), (false, true), "{value}");
        }
        for (value, scheme) in [("113030", "DCM"), ("113000", "99ACME"), ("113001", "99ACME")] {
            assert_eq!(judged(value, scheme), (false, false), "{value} {scheme}");
        }
    }

    #[test]
    fn other_objects_are_none() {
        assert_eq!(KeyObjects::read(&object(&[(tags::SOP_CLASS_UID, "1.2")])), None);
        assert_eq!(KeyObjects::read(&InMemDicomObject::new_empty()), None);
    }

    #[test]
    fn a_selection_is_a_report_too() {
        let selection = selection(of_interest(), vec![named("IMAGE", "1.1.1.1", &[])]);
        let report = crate::Report::read(&selection).unwrap().unwrap();
        assert_eq!(report.title(), "Of Interest");
        assert!(report.to_text().contains("1.1.1.1"));
    }
}
