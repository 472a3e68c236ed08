//! DICOM objects made in code, attribute by attribute: files that an archive serves.

use std::collections::BTreeMap;

/// Explicit VR Little Endian.
pub const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// Where an object lies, and how its series and itself are numbered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    study: u32,
    series: u32,
    instance: u32,
    series_number: u32,
    instance_number: u32,
}

impl Place {
    /// UIDs below 2.25; Series Number and Instance Number are those of the UIDs.
    pub const fn new(study: u32, series: u32, instance: u32) -> Self {
        Self { study, series, instance, series_number: series, instance_number: instance }
    }

    /// The same place with numbers that do not follow the UIDs.
    pub const fn numbered(mut self, series: u32, instance: u32) -> Self {
        self.series_number = series;
        self.instance_number = instance;
        self
    }

    /// Study Instance UID.
    pub fn study_uid(&self) -> String {
        format!("2.25.{}", self.study)
    }

    /// Series Instance UID.
    pub fn series_uid(&self) -> String {
        format!("2.25.{}.{}", self.study, self.series)
    }

    /// SOP Instance UID.
    pub fn instance_uid(&self) -> String {
        format!("2.25.{}.{}.{}", self.study, self.series, self.instance)
    }

    /// `/studies/…`.
    pub fn study_path(&self) -> String {
        format!("/studies/{}", self.study_uid())
    }

    /// `/studies/…/series/…`.
    pub fn series_path(&self) -> String {
        format!("{}/series/{}", self.study_path(), self.series_uid())
    }

    /// `/studies/…/series/…/instances/…`.
    pub fn path(&self) -> String {
        format!("{}/instances/{}", self.series_path(), self.instance_uid())
    }
}

/// A data set, or an item of a sequence. Tags are numbers such as `0x0028_0010`.
#[derive(Clone, Debug, Default)]
pub struct Object {
    elements: BTreeMap<u32, Element>,
}

#[derive(Clone, Debug)]
struct Element {
    vr: [u8; 2],
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Plain(Vec<u8>),
    Items(Vec<Object>),
    Fragments(Vec<Vec<u8>>),
}

impl Object {
    /// An object of this class at this place, of the patient Doe^Jane, in UTF-8.
    pub fn new(place: &Place, sop_class: &str, modality: &str) -> Self {
        Self::default()
            .text(0x0008_0005, "CS", "ISO_IR 192")
            .text(0x0008_0016, "UI", sop_class)
            .text(0x0008_0018, "UI", &place.instance_uid())
            .text(0x0008_0020, "DA", "20260601")
            .text(0x0008_0060, "CS", modality)
            .text(0x0010_0010, "PN", "Doe^Jane")
            .text(0x0010_0020, "LO", "MRN-4711-0815")
            .text(0x0020_000D, "UI", &place.study_uid())
            .text(0x0020_000E, "UI", &place.series_uid())
            .text(0x0020_0011, "IS", &place.series_number.to_string())
            .text(0x0020_0013, "IS", &place.instance_number.to_string())
    }

    /// Any value that is text.
    pub fn text(self, tag: u32, vr: &str, value: &str) -> Self {
        self.bytes(tag, vr, value.as_bytes())
    }

    /// Values of VR US.
    pub fn us(self, tag: u32, values: &[u16]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(tag, "US", &bytes)
    }

    /// A value as it lies in the file.
    pub fn bytes(mut self, tag: u32, vr: &str, value: &[u8]) -> Self {
        self.put(tag, vr, Value::Plain(value.to_vec()));
        self
    }

    /// A sequence.
    pub fn items(mut self, tag: u32, items: Vec<Object>) -> Self {
        self.put(tag, "SQ", Value::Items(items));
        self
    }

    /// Encapsulated Pixel Data with an empty offset table.
    pub fn fragments(mut self, fragments: Vec<Vec<u8>>) -> Self {
        self.put(0x7FE0_0010, "OB", Value::Fragments(fragments));
        self
    }

    /// The Image Pixel module: unsigned samples of 8 bits.
    pub fn matrix(self, columns: u16, rows: u16, photometric: &str) -> Self {
        let colour = !photometric.starts_with("MONOCHROME") && photometric != "PALETTE COLOR";
        let described = self
            .us(0x0028_0002, &[if colour { 3 } else { 1 }])
            .text(0x0028_0004, "CS", photometric)
            .us(0x0028_0010, &[rows])
            .us(0x0028_0011, &[columns])
            .us(0x0028_0100, &[8])
            .us(0x0028_0101, &[8])
            .us(0x0028_0102, &[7])
            .us(0x0028_0103, &[0]);
        if colour { described.us(0x0028_0006, &[0]) } else { described }
    }

    /// Samples of 16 bits, signed, of which all bits are stored; after [`Self::matrix`].
    pub fn signed_words(self, samples: &[i16]) -> Self {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.us(0x0028_0100, &[16])
            .us(0x0028_0101, &[16])
            .us(0x0028_0102, &[15])
            .us(0x0028_0103, &[1])
            .bytes(0x7FE0_0010, "OW", &bytes)
    }

    /// Native Pixel Data of 8 bits a sample.
    pub fn pixels(self, samples: &[u8]) -> Self {
        self.bytes(0x7FE0_0010, "OB", samples)
    }

    /// Window Center and Width; 128 and 256 leave unsigned samples of 8 bits as they are
    /// (PS3.3 C.11.2.1.2.1).
    pub fn window(self, centre: &str, width: &str) -> Self {
        self.text(0x0028_1050, "DS", centre).text(0x0028_1051, "DS", width)
    }

    /// A file as of PS3.10. The data set is explicit and little endian, as all but one transfer
    /// syntax want it.
    pub fn file(&self, transfer_syntax: &str) -> Vec<u8> {
        let meta = Self::default()
            .bytes(0x0002_0001, "OB", &[0, 1])
            .copy_of(self, 0x0008_0016, 0x0002_0002)
            .copy_of(self, 0x0008_0018, 0x0002_0003)
            .text(0x0002_0010, "UI", transfer_syntax)
            .text(0x0002_0012, "UI", "2.25.1")
            .encoded();
        let length = Self::default().bytes(
            0x0002_0000,
            "UL",
            &u32::try_from(meta.len()).expect("a small meta group").to_le_bytes(),
        );
        [vec![0; 128], b"DICM".to_vec(), length.encoded(), meta, self.encoded()].concat()
    }

    fn put(&mut self, tag: u32, vr: &str, value: Value) {
        let vr = vr.as_bytes().try_into().expect("a VR has two letters");
        self.elements.insert(tag, Element { vr, value });
    }

    fn copy_of(mut self, other: &Self, from: u32, to: u32) -> Self {
        if let Some(element) = other.elements.get(&from) {
            self.elements.insert(to, element.clone());
        }
        self
    }

    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (&tag, element) in &self.elements {
            write_tag(&mut out, tag);
            out.extend(element.vr);
            element.value.write(&mut out, &element.vr);
        }
        out
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>, vr: &[u8; 2]) {
        match self {
            Self::Plain(value) => {
                let mut value = value.clone();
                if value.len() % 2 == 1 {
                    value.push(if is_text(vr) { b' ' } else { 0 });
                }
                write_length(out, vr, value.len());
                out.extend(value);
            }
            Self::Items(items) => {
                let mut content = Vec::new();
                for item in items {
                    write_item(&mut content, &item.encoded());
                }
                write_length(out, vr, content.len());
                out.extend(content);
            }
            Self::Fragments(fragments) => {
                out.extend([0, 0]);
                out.extend(u32::MAX.to_le_bytes());
                write_item(out, &[]);
                for fragment in fragments {
                    write_item(out, fragment);
                }
                write_tag(out, 0xFFFE_E0DD);
                out.extend([0; 4]);
            }
        }
    }
}

fn is_text(vr: &[u8; 2]) -> bool {
    !matches!(vr, b"UI" | b"OB" | b"OW" | b"UN" | b"US" | b"UL")
}

fn write_tag(out: &mut Vec<u8>, tag: u32) {
    out.extend(((tag >> 16) as u16).to_le_bytes());
    out.extend((tag as u16).to_le_bytes());
}

fn write_item(out: &mut Vec<u8>, content: &[u8]) {
    write_tag(out, 0xFFFE_E000);
    let padding = content.len() % 2;
    out.extend(u32::try_from(content.len() + padding).expect("a small item").to_le_bytes());
    out.extend(content);
    out.extend(vec![0; padding]);
}

/// PS3.5 Table 7.1-1: some VRs have lengths of 32 bits.
fn write_length(out: &mut Vec<u8>, vr: &[u8; 2], length: usize) {
    if matches!(vr, b"OB" | b"OW" | b"SQ" | b"UN" | b"UT") {
        out.extend([0, 0]);
        out.extend(u32::try_from(length).expect("a small value").to_le_bytes());
    } else {
        out.extend(u16::try_from(length).expect("a short value").to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_even_and_lengths_fit_their_vr() {
        let object = Object::default()
            .text(0x0008_0060, "CS", "CT1")
            .text(0x0008_0018, "UI", "1.2")
            .items(0x0008_1115, vec![Object::default().us(0x0028_0010, &[7])]);
        let expected = [
            &b"\x08\0\x18\0UI\x04\x001.2\0"[..],
            b"\x08\0\x60\0CS\x04\0CT1 ",
            b"\x08\0\x15\x11SQ\0\0\x12\0\0\0\xFE\xFF\x00\xE0\x0A\0\0\0",
            b"\x28\0\x10\0US\x02\0\x07\0",
        ];
        assert_eq!(object.encoded(), expected.concat());
    }

    #[test]
    fn numbers_need_not_follow_the_uids() {
        let place = Place::new(7, 1, 2).numbered(10, 20);
        assert_eq!(place.path(), "/studies/2.25.7/series/2.25.7.1/instances/2.25.7.1.2");
        let file = Object::new(&place, "1.2", "CT").file(EXPLICIT_LITTLE_ENDIAN);
        assert_eq!(&file[128..132], b"DICM");
        let has = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
        assert!(has(b"\x20\0\x11\0IS\x02\x0010") && has(b"\x20\0\x13\0IS\x02\x0020"));
    }
}
