//! What the folder holds: studies, their series, their instances, with the attributes that
//! searches match and return. No pixel data, no bulk data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::{InstancePath, Uid};
use serde_json::{Map, Value};

use crate::InstanceSummary;
use crate::error::{FileError, OriginError};
use crate::file::DicomFile;
use crate::json;

/// DICOM JSON members by tag.
pub(crate) type Attributes = Map<String, Value>;

/// PS3.18 Table 10.6.3-3, and what viewers ask for besides.
pub(crate) const STUDY_TAGS: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_AGE,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
];

/// PS3.18 Table 10.6.3-4.
pub(crate) const SERIES_TAGS: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::SERIES_DATE,
    tags::SERIES_TIME,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::SERIES_DESCRIPTION,
    tags::BODY_PART_EXAMINED,
    tags::PROTOCOL_NAME,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::LATERALITY,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
];

/// PS3.18 Table 10.6.3-5.
pub(crate) const INSTANCE_TAGS: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::CONTENT_DATE,
    tags::CONTENT_TIME,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::INSTANCE_NUMBER,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
];

/// The folder, indexed.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Newest first, then by UID.
    pub(crate) studies: Vec<Study>,
    /// Files that are no DICOM object this origin can serve, or a second copy of one.
    pub(crate) skipped: usize,
}

#[derive(Debug)]
pub(crate) struct Study {
    pub(crate) uid: Uid,
    pub(crate) attributes: Attributes,
    /// By Series Number, then UID.
    pub(crate) series: Vec<Series>,
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) uid: Uid,
    pub(crate) attributes: Attributes,
    /// By Instance Number, then UID.
    pub(crate) instances: Vec<Instance>,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) attributes: Attributes,
    pub(crate) file: Arc<Path>,
    pub(crate) summary: InstanceSummary,
}

impl Index {
    /// Reads every file below `folder`. Links are not followed.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, OriginError> {
        let mut building = Building::default();
        for file in files_below(folder).map_err(OriginError::Folder)? {
            if !building.add(&file) {
                building.skipped += 1;
            }
        }
        Ok(building.finish())
    }

    /// Every instance with the study and the series it belongs to, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Study, &Series, &Instance)> {
        self.studies.iter().flat_map(|study| {
            study.series.iter().flat_map(move |series| {
                series.instances.iter().map(move |instance| (study, series, instance))
            })
        })
    }
}

/// Regular files below a folder, sorted by path. A folder below it that cannot be read is passed
/// over; the folder itself must be readable.
fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut top = true;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if top => return Err(error),
            Err(_) => continue,
        };
        top = false;
        for entry in entries.flatten() {
            // The type of the entry itself: a link is neither file nor folder, so that nothing
            // outside the folder can be served, nor a loop walked.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Building {
    studies: BTreeMap<Uid, (Attributes, BTreeMap<Uid, BuildingSeries>)>,
    skipped: usize,
}

type BuildingSeries = (Attributes, BTreeMap<Uid, Instance>);

impl Building {
    /// Whether the file is served.
    fn add(&mut self, file: &Path) -> bool {
        let Ok((path, instance, dataset)) = index_file(file) else { return false };
        let (_, series) = self
            .studies
            .entry(path.study)
            .or_insert_with(|| (pick(&dataset, STUDY_TAGS), BTreeMap::new()));
        let (_, instances) = series
            .entry(path.series)
            .or_insert_with(|| (pick(&dataset, SERIES_TAGS), BTreeMap::new()));
        match instances.entry(path.instance) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(instance);
                true
            }
        }
    }

    fn finish(self) -> Index {
        let mut studies: Vec<Study> = self.studies.into_iter().map(finish_study).collect();
        studies.sort_by_cached_key(|study| {
            let when = [tags::STUDY_DATE, tags::STUDY_TIME].map(|tag| text(&study.attributes, tag));
            (std::cmp::Reverse(when), study.uid.clone())
        });
        Index { studies, skipped: self.skipped }
    }
}

fn finish_study(
    (uid, (attributes, series)): (Uid, (Attributes, BTreeMap<Uid, BuildingSeries>)),
) -> Study {
    let mut series: Vec<Series> = series.into_iter().map(finish_series).collect();
    // Stable: equal numbers stay in the order of their UIDs.
    series.sort_by_key(|series| number(&series.attributes, tags::SERIES_NUMBER));
    Study { uid, attributes, series }
}

fn finish_series((uid, (attributes, instances)): (Uid, BuildingSeries)) -> Series {
    let mut instances: Vec<Instance> = instances.into_values().collect();
    instances.sort_by_key(|instance| number(&instance.attributes, tags::INSTANCE_NUMBER));
    Series { uid, attributes, instances }
}

fn index_file(path: &Path) -> Result<(InstancePath, Instance, InMemDicomObject), FileError> {
    let file = DicomFile::open(path)?;
    let at = InstancePath {
        study: uid(&file.dataset, tags::STUDY_INSTANCE_UID)?,
        series: uid(&file.dataset, tags::SERIES_INSTANCE_UID)?,
        instance: uid(&file.dataset, tags::SOP_INSTANCE_UID)?,
    };
    let mut attributes = pick(&file.dataset, INSTANCE_TAGS);
    let syntax = json::attribute(VR::UI, file.syntax.uid());
    attributes.insert(json::key(tags::AVAILABLE_TRANSFER_SYNTAX_UID), syntax);
    let series = pick(&file.dataset, &[tags::MODALITY, tags::SERIES_DESCRIPTION]);
    let frames = number(&attributes, tags::NUMBER_OF_FRAMES).unwrap_or(1).clamp(1, u32::MAX.into());
    let summary = InstanceSummary {
        path: at.clone(),
        modality: text(&series, tags::MODALITY),
        description: describe(&series),
        number_of_frames: if file.pixel_data().is_some() { frames as u32 } else { 0 },
    };
    Ok((at, Instance { attributes, file: Arc::from(path), summary }, file.dataset))
}

fn describe(series: &Attributes) -> String {
    let parts = [tags::MODALITY, tags::SERIES_DESCRIPTION].map(|tag| text(series, tag));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn uid(dataset: &InMemDicomObject, tag: Tag) -> Result<Uid, FileError> {
    let missing = FileError::Damaged("it lacks a UID that places it");
    let Some(value) = dataset.get(tag).and_then(|element| element.to_str().ok()) else {
        return Err(missing);
    };
    value.trim_end_matches([' ', '\0']).parse().map_err(|_| missing)
}

/// The attributes of these tags that are there.
fn pick(dataset: &InMemDicomObject, tags: &[Tag]) -> Attributes {
    let elements = tags.iter().filter_map(|tag| dataset.get(*tag));
    elements.filter_map(|e| Some((json::key(e.header().tag), json::element(e)?))).collect()
}

/// The first value as text; empty where there is none.
pub(crate) fn text(attributes: &Attributes, tag: Tag) -> String {
    values(attributes, tag).into_iter().next().unwrap_or_default()
}

/// The first value as a whole number.
pub(crate) fn number(attributes: &Attributes, tag: Tag) -> Option<i64> {
    values(attributes, tag).first()?.parse().ok()
}

/// Every value as text; of a person's name each representation.
pub(crate) fn values(attributes: &Attributes, tag: Tag) -> Vec<String> {
    let attribute = attributes.get(&json::key(tag));
    let Some(values) = attribute.and_then(|a| a.get("Value")).and_then(Value::as_array) else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Number(number) => texts.push(number.to_string()),
            Value::Object(name) => {
                texts.extend(name.values().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
    texts
}
