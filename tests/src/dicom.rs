//! DICOM objects made in code: just enough to be fetched and drawn.

use dicomweb_types::InstancePath;
use serde_json::{Value, json};

use crate::{Answer, ScriptedOrigin};

const CT_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.2";
const GRAYSCALE_STATE: &str = "1.2.840.10008.5.1.4.1.1.11.1";
const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// A monochrome, uncompressed, 8-bit image whose pixels the test chooses.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// Where it is kept.
    pub path: InstancePath,
    /// Rows it declares.
    pub rows: u16,
    /// Columns it declares.
    pub columns: u16,
    /// Number of Frames it declares.
    pub frames: u32,
    /// Pixel Data; need not be what rows, columns and frames promise.
    pub pixels: Vec<u8>,
    /// Patient's Name: what must turn up in no log, header or error.
    pub patient: String,
}

impl TestImage {
    /// A horizontal ramp from 0 on, one grey level per column.
    pub fn ramp(rows: u16, columns: u16) -> Self {
        let row: Vec<u8> = (0..columns).map(|x| (x % 256) as u8).collect();
        Self::new(rows, columns, row.repeat(rows.into()))
    }

    /// An image with these pixels.
    pub fn new(rows: u16, columns: u16, pixels: Vec<u8>) -> Self {
        let uid = |text: &str| text.parse().expect("a UID");
        let path = InstancePath {
            study: uid("2.25.1001"),
            series: uid("2.25.1001.2"),
            instance: uid("2.25.1001.2.3"),
        };
        Self { path, rows, columns, frames: 1, pixels, patient: "Doe^Jane".into() }
    }

    /// The same image of several frames; `pixels` holds all of them.
    pub fn with_frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    /// `/studies/…/instances/…`.
    pub fn url_path(&self) -> String {
        format!("/{}", self.path)
    }

    /// A file as of PS3.10, Explicit VR Little Endian.
    pub fn file(&self) -> Vec<u8> {
        let mut file = file_start(CT_IMAGE, self.path.instance.as_str());
        self.data_set(&mut file);
        file
    }

    /// A file with a grayscale presentation state of this image that inverts it and does nothing else.
    pub fn inverting_state(&self) -> Vec<u8> {
        let mut image = Vec::new();
        text(&mut image, 0x0008, 0x1150, b"UI", CT_IMAGE);
        text(&mut image, 0x0008, 0x1155, b"UI", self.path.instance.as_str());
        let mut series = Vec::new();
        sequence_of_one(&mut series, 0x0008, 0x1140, &image);
        text(&mut series, 0x0020, 0x000E, b"UI", self.path.series.as_str());
        let mut file = file_start(GRAYSCALE_STATE, "2.25.1001.2.9");
        text(&mut file, 0x0008, 0x0016, b"UI", GRAYSCALE_STATE);
        text(&mut file, 0x0008, 0x0018, b"UI", "2.25.1001.2.9");
        sequence_of_one(&mut file, 0x0008, 0x1115, &series);
        text(&mut file, 0x2050, 0x0020, b"CS", "INVERSE");
        file
    }

    /// The metadata resource: an array of one data set, without Pixel Data.
    pub fn metadata(&self) -> Value {
        let one = |vr: &str, value: Value| json!({ "vr": vr, "Value": [value] });
        json!([{
            "00080016": one("UI", json!(CT_IMAGE)),
            "00080018": one("UI", json!(self.path.instance.as_str())),
            "00080060": one("CS", json!("CT")),
            "00083002": one("UI", json!(EXPLICIT_LITTLE_ENDIAN)),
            "00100010": one("PN", json!({ "Alphabetic": self.patient })),
            "0020000D": one("UI", json!(self.path.study.as_str())),
            "0020000E": one("UI", json!(self.path.series.as_str())),
            "00280002": one("US", json!(1)),
            "00280004": one("CS", json!("MONOCHROME2")),
            "00280008": one("IS", json!(self.frames)),
            "00280010": one("US", json!(self.rows)),
            "00280011": one("US", json!(self.columns)),
            "00280100": one("US", json!(8)),
            "00280101": one("US", json!(8)),
            "00280102": one("US", json!(7)),
            "00280103": one("US", json!(0)),
            // LINEAR with centre 128 and width 256 maps 0..=255 onto itself (PS3.3 C.11.2.1.2.1).
            "00281050": one("DS", json!(128)),
            "00281051": one("DS", json!(256)),
        }])
    }

    /// One frame of the pixels, from 1; what is there of it.
    pub fn frame(&self, number: usize) -> &[u8] {
        let size = usize::from(self.rows) * usize::from(self.columns);
        let start = ((number - 1) * size).min(self.pixels.len());
        &self.pixels[start..(start + size).min(self.pixels.len())]
    }

    /// Puts the object, its metadata and its frames on an origin, as an archive serves them.
    pub fn put_on(&self, origin: &ScriptedOrigin) {
        let path = self.url_path();
        let file = self.file();
        let part = format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}");
        origin.on(&path, move |_| Answer::multipart("application/dicom", &[(&part, &file)]));
        let metadata = self.metadata().to_string();
        origin.on(&format!("{path}/metadata"), move |_| Answer::json(metadata.clone()));
        for number in 1..=self.frames.min(16) as usize {
            let frame = self.frame(number).to_vec();
            let part =
                format!("application/octet-stream; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}");
            origin.on(&format!("{path}/frames/{number}"), move |_| {
                Answer::multipart("application/octet-stream", &[(&part, &frame)])
            });
        }
    }

    fn data_set(&self, out: &mut Vec<u8>) {
        text(out, 0x0008, 0x0016, b"UI", CT_IMAGE);
        text(out, 0x0008, 0x0018, b"UI", self.path.instance.as_str());
        text(out, 0x0008, 0x0060, b"CS", "CT");
        text(out, 0x0010, 0x0010, b"PN", &self.patient);
        text(out, 0x0020, 0x000D, b"UI", self.path.study.as_str());
        text(out, 0x0020, 0x000E, b"UI", self.path.series.as_str());
        element(out, 0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
        text(out, 0x0028, 0x0004, b"CS", "MONOCHROME2");
        text(out, 0x0028, 0x0008, b"IS", &self.frames.to_string());
        element(out, 0x0028, 0x0010, b"US", &self.rows.to_le_bytes());
        element(out, 0x0028, 0x0011, b"US", &self.columns.to_le_bytes());
        for (number, value) in [(0x0100, 8_u16), (0x0101, 8), (0x0102, 7), (0x0103, 0)] {
            element(out, 0x0028, number, b"US", &value.to_le_bytes());
        }
        text(out, 0x0028, 0x1050, b"DS", "128");
        text(out, 0x0028, 0x1051, b"DS", "256");
        element(out, 0x7FE0, 0x0010, b"OB", &self.pixels);
    }
}

/// Preamble and meta group.
fn file_start(class: &str, instance: &str) -> Vec<u8> {
    let mut meta = Vec::new();
    element(&mut meta, 0x0002, 0x0001, b"OB", &[0, 1]);
    text(&mut meta, 0x0002, 0x0002, b"UI", class);
    text(&mut meta, 0x0002, 0x0003, b"UI", instance);
    text(&mut meta, 0x0002, 0x0010, b"UI", EXPLICIT_LITTLE_ENDIAN);
    text(&mut meta, 0x0002, 0x0012, b"UI", "2.25.1");
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    element(&mut file, 0x0002, 0x0000, b"UL", &(meta.len() as u32).to_le_bytes());
    file.extend(meta);
    file
}

fn sequence_of_one(out: &mut Vec<u8>, group: u16, number: u16, content: &[u8]) {
    let mut item = vec![0xFE, 0xFF, 0x00, 0xE0];
    item.extend((content.len() as u32).to_le_bytes());
    item.extend(content);
    element(out, group, number, b"SQ", &item);
}

fn text(out: &mut Vec<u8>, group: u16, number: u16, vr: &[u8; 2], value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" { 0 } else { b' ' });
    }
    element(out, group, number, vr, &value);
}

fn element(out: &mut Vec<u8>, group: u16, number: u16, vr: &[u8; 2], value: &[u8]) {
    out.extend(group.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(vr);
    let length = (value.len() + value.len() % 2) as u32;
    if matches!(vr, b"OB" | b"SQ") {
        out.extend([0, 0]);
        out.extend(length.to_le_bytes());
    } else {
        out.extend((length as u16).to_le_bytes());
    }
    out.extend(value);
    out.extend(vec![0; value.len() % 2]);
}
