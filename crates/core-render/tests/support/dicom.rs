//! DICOM files made in code (PS3.5 §7, PS3.10 §7), legal or as broken as a test wants them.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
pub const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const ENCAPSULATED_UNCOMPRESSED: &str = "1.2.840.10008.1.2.1.98";
pub const DEFLATED_FRAME: &str = "1.2.840.10008.1.2.8.1";
pub const RLE: &str = "1.2.840.10008.1.2.5";
pub const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
pub const J2K_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";

pub const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
pub const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
pub const LABEL_MAP_SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.7";
pub const PARAMETRIC_MAP: &str = "1.2.840.10008.5.1.4.1.1.30";

#[derive(Clone, Debug)]
enum Value {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
    Longs(Vec<u32>),
    Quads(Vec<u64>),
    Items(Vec<DataSet>),
    /// Basic Offset Table and fragments; whether a sequence delimiter follows.
    Fragments(Vec<u32>, Vec<Vec<u8>>, bool),
}

/// A data set: elements in the order of their tags, built up by `us`, `text` and the like.
#[derive(Clone, Debug, Default)]
pub struct DataSet(BTreeMap<(u16, u16), (&'static str, Value)>);

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Implicit,
    Explicit,
    ExplicitBigEndian,
}

impl DataSet {
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, tag: Tag, vr: &'static str, value: Value) -> Self {
        self.0.insert((tag.group(), tag.element()), (vr, value));
        self
    }

    pub fn without(mut self, tag: Tag) -> Self {
        self.0.remove(&(tag.group(), tag.element()));
        self
    }

    pub fn us(self, tag: Tag, values: impl AsRef<[u16]>) -> Self {
        self.with(tag, "US", Value::Words(values.as_ref().to_vec()))
    }

    pub fn ss(self, tag: Tag, values: impl AsRef<[i16]>) -> Self {
        self.with(tag, "SS", Value::Words(values.as_ref().iter().map(|&v| v as u16).collect()))
    }

    pub fn ul(self, tag: Tag, values: impl AsRef<[u32]>) -> Self {
        self.with(tag, "UL", Value::Longs(values.as_ref().to_vec()))
    }

    /// Text of any VR, padded with the VR's own padding.
    pub fn text(self, tag: Tag, vr: &'static str, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.with(tag, vr, Value::Bytes(bytes))
    }

    pub fn cs(self, tag: Tag, text: &str) -> Self {
        self.text(tag, "CS", text)
    }

    pub fn ds(self, tag: Tag, text: &str) -> Self {
        self.text(tag, "DS", text)
    }

    pub fn is(self, tag: Tag, text: &str) -> Self {
        self.text(tag, "IS", text)
    }

    /// 16-bit words of VR OW.
    pub fn ow(self, tag: Tag, words: impl AsRef<[u16]>) -> Self {
        self.with(tag, "OW", Value::Words(words.as_ref().to_vec()))
    }

    /// Bytes as they are, of any binary VR; no padding is added.
    pub fn bytes(self, tag: Tag, vr: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        self.with(tag, vr, Value::Bytes(bytes.as_ref().to_vec()))
    }

    pub fn of(self, tag: Tag, values: impl AsRef<[f32]>) -> Self {
        let longs = values.as_ref().iter().map(|v| v.to_bits()).collect();
        self.with(tag, "OF", Value::Longs(longs))
    }

    pub fn fl(self, tag: Tag, value: f32) -> Self {
        self.with(tag, "FL", Value::Longs(vec![value.to_bits()]))
    }

    pub fn fls(self, tag: Tag, values: impl AsRef<[f32]>) -> Self {
        let longs = values.as_ref().iter().map(|v| v.to_bits()).collect();
        self.with(tag, "FL", Value::Longs(longs))
    }

    pub fn sl(self, tag: Tag, values: impl AsRef<[i32]>) -> Self {
        self.with(tag, "SL", Value::Longs(values.as_ref().iter().map(|&v| v as u32).collect()))
    }

    pub fn od(self, tag: Tag, values: impl AsRef<[f64]>) -> Self {
        let quads = values.as_ref().iter().map(|v| v.to_bits()).collect();
        self.with(tag, "OD", Value::Quads(quads))
    }

    pub fn ov(self, tag: Tag, values: impl AsRef<[u64]>) -> Self {
        self.with(tag, "OV", Value::Quads(values.as_ref().to_vec()))
    }

    pub fn sequence(self, tag: Tag, items: impl Into<Vec<DataSet>>) -> Self {
        self.with(tag, "SQ", Value::Items(items.into()))
    }

    /// Encapsulated pixel data, fragments padded to even length (PS3.5 A.4).
    pub fn fragments(self, offsets: &[u32], fragments: &[Vec<u8>]) -> Self {
        let even = fragments.iter().cloned().map(|mut fragment| {
            fragment.resize(fragment.len().next_multiple_of(2), 0);
            fragment
        });
        self.raw_fragments(offsets, even.collect(), true)
    }

    /// Encapsulated pixel data with lengths as given, odd ones too.
    pub fn raw_fragments(self, offsets: &[u32], items: Vec<Vec<u8>>, delimited: bool) -> Self {
        self.with(tags::PIXEL_DATA, "OB", Value::Fragments(offsets.to_vec(), items, delimited))
    }

    fn write(&self, encoding: Encoding, out: &mut Vec<u8>) {
        for (&(group, element), (vr, value)) in &self.0 {
            write_element((group, element), vr, value, encoding, out);
        }
    }
}

/// The offset of each fragment's item tag from the end of the Basic Offset Table.
pub fn item_offsets(fragments: &[Vec<u8>]) -> Vec<u32> {
    let mut next = 0;
    let place = |fragment: &Vec<u8>| {
        let here = next;
        next += 8 + fragment.len().next_multiple_of(2) as u32;
        here
    };
    fragments.iter().map(place).collect()
}

const UNDEFINED: u32 = u32::MAX;

fn write_element(
    (group, element): (u16, u16),
    vr: &str,
    value: &Value,
    encoding: Encoding,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    match value {
        Value::Bytes(bytes) => body.extend(bytes),
        Value::Words(words) => words.iter().for_each(|&v| put16(v, encoding, &mut body)),
        Value::Longs(longs) => longs.iter().for_each(|&v| put32(v, encoding, &mut body)),
        Value::Quads(quads) => quads.iter().for_each(|&v| {
            body.extend(match encoding {
                Encoding::ExplicitBigEndian => v.to_be_bytes(),
                _ => v.to_le_bytes(),
            });
        }),
        Value::Items(items) => {
            for item in items {
                let mut content = Vec::new();
                item.write(encoding, &mut content);
                put_item(&content, encoding, &mut body);
            }
        }
        Value::Fragments(offsets, items, delimited) => {
            let table: Vec<u8> = offsets.iter().flat_map(|o| o.to_le_bytes()).collect();
            put_item(&table, encoding, &mut body);
            for item in items {
                put_item(item, encoding, &mut body);
            }
            if *delimited {
                put_tag((0xFFFE, 0xE0DD), encoding, &mut body);
                put32(0, encoding, &mut body);
            }
        }
    }
    let length = if matches!(value, Value::Fragments(..)) { UNDEFINED } else { body.len() as u32 };
    put_tag((group, element), encoding, out);
    let long = matches!(vr, "OB" | "OW" | "OF" | "OD" | "OV" | "SQ" | "UN");
    match (encoding, long) {
        (Encoding::Implicit, _) => put32(length, encoding, out),
        (_, true) => {
            out.extend(vr.bytes());
            out.extend([0, 0]);
            put32(length, encoding, out);
        }
        (_, false) => {
            out.extend(vr.bytes());
            put16(length as u16, encoding, out);
        }
    }
    out.extend(body);
}

fn put_tag((group, element): (u16, u16), encoding: Encoding, out: &mut Vec<u8>) {
    put16(group, encoding, out);
    put16(element, encoding, out);
}

fn put_item(content: &[u8], encoding: Encoding, out: &mut Vec<u8>) {
    put_tag((0xFFFE, 0xE000), encoding, out);
    put32(content.len() as u32, encoding, out);
    out.extend(content);
}

fn put16(value: u16, encoding: Encoding, out: &mut Vec<u8>) {
    out.extend(match encoding {
        Encoding::ExplicitBigEndian => value.to_be_bytes(),
        _ => value.to_le_bytes(),
    });
}

fn put32(value: u32, encoding: Encoding, out: &mut Vec<u8>) {
    out.extend(match encoding {
        Encoding::ExplicitBigEndian => value.to_be_bytes(),
        _ => value.to_le_bytes(),
    });
}

/// A whole file in this transfer syntax: preamble, meta group, data set.
pub fn file(syntax: &str, dataset: &DataSet) -> Vec<u8> {
    let encoding = match syntax {
        IMPLICIT_LE => Encoding::Implicit,
        EXPLICIT_BE => Encoding::ExplicitBigEndian,
        _ => Encoding::Explicit,
    };
    let mut body = Vec::new();
    dataset.write(encoding, &mut body);
    if syntax == DEFLATED {
        body = super::codestream::deflate(&body);
    }
    let class = (tags::SOP_CLASS_UID.group(), tags::SOP_CLASS_UID.element());
    let class = match dataset.0.get(&class) {
        Some((_, Value::Bytes(uid))) => uid.clone(),
        _ => SECONDARY_CAPTURE.into(),
    };
    let meta = DataSet::new()
        .bytes(tags::FILE_META_INFORMATION_VERSION, "OB", [0, 1])
        .bytes(tags::MEDIA_STORAGE_SOP_CLASS_UID, "UI", even(&class))
        .text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, "UI", "2.25.1")
        .text(tags::TRANSFER_SYNTAX_UID, "UI", syntax)
        .text(tags::IMPLEMENTATION_CLASS_UID, "UI", "2.25.2");
    let mut group = Vec::new();
    meta.write(Encoding::Explicit, &mut group);
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    DataSet::new()
        .ul(tags::FILE_META_INFORMATION_GROUP_LENGTH, [group.len() as u32])
        .write(Encoding::Explicit, &mut out);
    out.extend(group);
    out.extend(body);
    out
}

/// The image pixel module of one frame, without pixel data: unsigned, all bits used.
pub fn image(photometric: &str, rows: u16, columns: u16, samples: u16, bits: u16) -> DataSet {
    let dataset = DataSet::new()
        .text(tags::SOP_CLASS_UID, "UI", SECONDARY_CAPTURE)
        .text(tags::SOP_INSTANCE_UID, "UI", "2.25.1")
        .us(tags::SAMPLES_PER_PIXEL, [samples])
        .cs(tags::PHOTOMETRIC_INTERPRETATION, photometric)
        .us(tags::ROWS, [rows])
        .us(tags::COLUMNS, [columns])
        .us(tags::BITS_ALLOCATED, [bits])
        .us(tags::BITS_STORED, [bits])
        .us(tags::HIGH_BIT, [bits - 1])
        .us(tags::PIXEL_REPRESENTATION, [0]);
    if samples == 1 { dataset } else { dataset.us(tags::PLANAR_CONFIGURATION, [0]) }
}

/// MONOCHROME2 in one row of 16-bit unsigned cells.
pub fn grey16(cells: &[u16]) -> DataSet {
    image("MONOCHROME2", 1, cells.len() as u16, 1, 16).ow(tags::PIXEL_DATA, cells)
}

/// MONOCHROME2 of 8-bit unsigned cells, row by row.
pub fn grey8(rows: u16, columns: u16, cells: &[u8]) -> DataSet {
    assert_eq!(cells.len(), usize::from(rows) * usize::from(columns));
    image("MONOCHROME2", rows, columns, 1, 8).bytes(tags::PIXEL_DATA, "OB", even(cells))
}

/// Three 8-bit samples per pixel, colour by pixel, in one row.
pub fn colour8(photometric: &str, pixels: &[[u8; 3]]) -> DataSet {
    image(photometric, 1, pixels.len() as u16, 3, 8).bytes(
        tags::PIXEL_DATA,
        "OB",
        even(pixels.as_flattened()),
    )
}

/// The bytes, and a pad byte where their number is odd (R4.3).
pub fn even(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// An item of a Modality or VOI LUT Sequence; `first` is written as SS where it is negative.
pub fn lut_item(first: i32, bits: u16, values: &[u16]) -> DataSet {
    let entries = (values.len() % 65536) as u16;
    let item = DataSet::new().ow(tags::LUT_DATA, values);
    if first < 0 {
        item.ss(tags::LUT_DESCRIPTOR, [entries as i16, first as i16, bits as i16])
    } else {
        item.us(tags::LUT_DESCRIPTOR, [entries, first as u16, bits])
    }
}
