//! Data sets in few words.

use std::path::Path;

use dicom_core::value::{DataSetSequence, PixelFragmentSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicomweb_types::TransferSyntax;

use crate::OriginError;
use crate::file::dictionary_vr;

/// 2.25 and a UUID (PS3.5 §B.2) with 32 bits left to count in. The samples own these for good.
const UID_ROOT: u128 = 0x7fe0_d557_c676_492a_a281_fbe2_0000_0000;

/// A UID of the samples, the same every time.
pub(super) fn uid(number: u32) -> String {
    format!("2.25.{}", UID_ROOT + u128::from(number))
}

/// One phantom on the table: what its study has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Study {
    pub(super) number: u32,
    pub(super) patient: &'static str,
    pub(super) sex: &'static str,
    pub(super) age: &'static str,
    pub(super) date: &'static str,
    pub(super) description: &'static str,
}

/// One series of a study.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    pub(super) number: u32,
    pub(super) modality: &'static str,
    pub(super) description: &'static str,
    pub(super) body_part: &'static str,
}

impl Study {
    pub(super) fn uid(&self) -> String {
        uid(self.number * 100_000)
    }

    pub(super) fn series_uid(&self, series: u32) -> String {
        uid(self.number * 100_000 + series * 1_000)
    }

    pub(super) fn instance_uid(&self, series: u32, instance: u32) -> String {
        uid(self.number * 100_000 + series * 1_000 + instance)
    }

    /// An instance with everything from the patient to the SOP Common module.
    pub(super) fn instance(&self, series: Series, sop_class: &str, instance: u32) -> Object {
        Object::default()
            .put(tags::SPECIFIC_CHARACTER_SET, "ISO_IR 192")
            .put(tags::SOP_CLASS_UID, sop_class)
            .put(tags::SOP_INSTANCE_UID, self.instance_uid(series.number, instance).as_str())
            .put(tags::STUDY_DATE, self.date)
            .put(tags::SERIES_DATE, self.date)
            .put(tags::CONTENT_DATE, self.date)
            .put(tags::STUDY_TIME, "100000")
            .put(tags::SERIES_TIME, "100500")
            .put(tags::CONTENT_TIME, "100500")
            .put(tags::ACCESSION_NUMBER, format!("DEMO{:04}", self.number).as_str())
            .put(tags::MODALITY, series.modality)
            .put(tags::MANUFACTURER, "Lightbox")
            .put(tags::MANUFACTURER_MODEL_NAME, "Phantom made in code")
            .put(tags::DEVICE_SERIAL_NUMBER, "1")
            .put(tags::SOFTWARE_VERSIONS, "1")
            .put(tags::REFERRING_PHYSICIAN_NAME, "")
            .put(tags::STUDY_DESCRIPTION, self.description)
            .put(tags::SERIES_DESCRIPTION, series.description)
            .put(tags::PATIENT_NAME, self.patient)
            .put(tags::PATIENT_ID, format!("PHANTOM-{}", self.number).as_str())
            .put(tags::PATIENT_BIRTH_DATE, "")
            .put(tags::PATIENT_SEX, self.sex)
            .put(tags::PATIENT_AGE, self.age)
            .put(tags::BODY_PART_EXAMINED, series.body_part)
            .put(tags::STUDY_INSTANCE_UID, self.uid().as_str())
            .put(tags::SERIES_INSTANCE_UID, self.series_uid(series.number).as_str())
            .put(tags::STUDY_ID, self.number.to_string().as_str())
            .put(tags::SERIES_NUMBER, series.number.to_string().as_str())
            .put(tags::INSTANCE_NUMBER, instance.to_string().as_str())
    }
}

/// A data set under construction. VRs come from the dictionary.
#[derive(Debug, Clone)]
pub(super) struct Object(InMemDicomObject);

impl Default for Object {
    fn default() -> Self {
        Self(InMemDicomObject::new_empty())
    }
}

impl Object {
    pub(super) fn put(self, tag: Tag, value: impl Into<PrimitiveValue>) -> Self {
        self.put_as(tag, dictionary_vr(tag), value)
    }

    /// For attributes whose VR depends on others.
    pub(super) fn put_as(mut self, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> Self {
        self.0.put(DataElement::new(tag, vr, value.into()));
        self
    }

    pub(super) fn items(mut self, tag: Tag, items: Vec<Object>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        let sequence = DataSetSequence::new(items, Length::UNDEFINED);
        self.0.put(DataElement::new(tag, VR::SQ, sequence));
        self
    }

    pub(super) fn code(self, tag: Tag, value: &str, scheme: &str, meaning: &str) -> Self {
        self.items(tag, vec![code(value, scheme, meaning)])
    }

    /// The Image Pixel module of a grey image.
    pub(super) fn grey(self, rows: u16, columns: u16, photometric: &str, bits: Bits) -> Self {
        self.put(tags::SAMPLES_PER_PIXEL, 1_u16)
            .put(tags::PHOTOMETRIC_INTERPRETATION, photometric)
            .put(tags::ROWS, rows)
            .put(tags::COLUMNS, columns)
            .put(tags::BITS_ALLOCATED, 16_u16)
            .put(tags::BITS_STORED, bits.stored)
            .put(tags::HIGH_BIT, bits.stored - 1)
            .put(tags::PIXEL_REPRESENTATION, u16::from(bits.signed))
    }

    /// Native 16-bit pixels.
    pub(super) fn native(self, pixels: &[i32]) -> Self {
        let words: Vec<u16> = pixels.iter().map(|value| *value as i16 as u16).collect();
        self.put_as(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into()))
    }

    /// One fragment per frame, with a Basic Offset Table.
    pub(super) fn encapsulated(mut self, frames: Vec<Vec<u8>>) -> Self {
        let mut offsets = Vec::new();
        let mut next = 0_u32;
        let frames: Vec<Vec<u8>> = frames.into_iter().map(even).collect();
        for frame in &frames {
            offsets.push(next);
            next += frame.len() as u32 + 8;
        }
        let fragments = PixelFragmentSequence::new(offsets, frames);
        self.0.put(DataElement::new(tags::PIXEL_DATA, VR::OB, Value::from(fragments)));
        self
    }

    /// Writes a PS3.10 file.
    pub(super) fn write(self, path: &Path, syntax: &TransferSyntax) -> Result<(), OriginError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(OriginError::Write)?;
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(syntax.uid())
            .implementation_class_uid(uid(0))
            .implementation_version_name("LIGHTBOX");
        let failed = |error: String| OriginError::Write(std::io::Error::other(error));
        let file = self.0.with_meta(meta).map_err(|error| failed(error.to_string()))?;
        file.write_to_file(path).map_err(|error| failed(error.to_string()))
    }
}

/// Bits Stored, and whether samples are signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits {
    pub(super) stored: u16,
    pub(super) signed: bool,
}

pub(super) fn code(value: &str, scheme: &str, meaning: &str) -> Object {
    Object::default()
        .put(tags::CODE_VALUE, value)
        .put(tags::CODING_SCHEME_DESIGNATOR, scheme)
        .put(tags::CODE_MEANING, meaning)
}

/// Values have even length (PS3.5 §7.1.1).
pub(super) fn even(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}
