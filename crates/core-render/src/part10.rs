//! A DICOM file to its data set and pixel data (PS3.10 §7, PS3.5 §7 and A.4).
//!
//! The elements are walked here before the parser sees them, for three reasons: no length is
//! believed before it was held against the bytes that are there, nesting is bounded before anything
//! recurses, and pixel data stay where they are instead of being copied into an object. That holds
//! only if the parser will read what was walked: wherever the two could part, the file is refused.

use std::io::Read;

use bytes::Bytes;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use dicomweb_types::TransferSyntax;

use crate::error::{RenderError, Result};
use crate::limits::Limits;

/// Sequences within sequences. Real objects have fewer than ten levels.
const DEEPEST: usize = 48;

/// A file, taken apart.
#[derive(Debug)]
pub(crate) struct DicomFile {
    /// Everything before the pixel data, private groups left out. Where the pixels are floats, an
    /// empty element of their kind says so.
    pub dataset: InMemDicomObject,
    pub transfer_syntax: TransferSyntax,
    pub pixel_data: Option<PixelData>,
    /// The value of Encapsulated Document (0042,0011), which is not in `dataset`.
    pub document: Option<Bytes>,
    pub warnings: Vec<String>,
}

/// The value of (7FE0,0010), (7FE0,0008) or (7FE0,0009), as it stands in the file.
#[derive(Debug, Clone)]
pub(crate) struct PixelData {
    pub value: Bytes,
    /// The element has undefined length: a sequence of items, whatever the transfer syntax says.
    pub encapsulated: bool,
    /// Cells are big endian (Explicit VR Big Endian).
    pub big_endian: bool,
    /// The element is of 16-bit words (OW), which matters to 8-bit cells in big endian.
    pub words: bool,
    /// The element promises more bytes than the file has.
    pub truncated: bool,
}

/// Takes a file apart.
///
/// # Errors
/// [`RenderError::NotDicom`], [`RenderError::Damaged`] before the pixel data, or
/// [`RenderError::TooLarge`] once inflated.
pub(crate) fn read(file: &Bytes, limits: &Limits) -> Result<DicomFile> {
    limits.check_bytes(file.len() as u64)?;
    let mut warnings = Vec::new();
    let start = dataset_start(file)?;
    let Meta { transfer_syntax, end: start, .. } = read_meta(file, start)?;
    let (body, transfer_syntax) = match transfer_syntax {
        Some(TransferSyntax::DeflatedExplicitLittleEndian) => {
            let inflated = inflate(&file[start..], limits, &mut warnings)?;
            (inflated, TransferSyntax::DeflatedExplicitLittleEndian)
        }
        Some(syntax) => (file.slice(start..), syntax),
        None => {
            let body = file.slice(start..);
            let syntax = guess_encoding(&body)?;
            warnings.push("no transfer syntax is declared; it was taken from the data".to_owned());
            (body, syntax)
        }
    };
    let encoding = Encoding::found(&body, &transfer_syntax);
    if encoding != Encoding::of(&transfer_syntax) {
        warnings.push("the data set has another encoding than its transfer syntax".to_owned());
    }
    let walked = walk(&body, encoding)?;
    let mut dataset = parse(&walked.kept, encoding)?;
    if let Some(float) = walked.float_tag {
        dataset.put(DataElement::new(float, VR::OF, PrimitiveValue::Empty));
    }
    let Walked { pixel_data, document, .. } = walked;
    Ok(DicomFile { dataset, transfer_syntax, pixel_data, document, warnings })
}

/// Whether a file that begins so may be one of DICOM, with or without preamble: of 132 bytes, or as many as
/// there are.
pub fn may_be_dicom(beginning: &[u8]) -> bool {
    dataset_start(beginning).is_ok()
}

/// Where the meta group or, without one, the data set begins.
fn dataset_start(file: &[u8]) -> Result<usize> {
    if file.get(128..132) == Some(b"DICM".as_slice()) {
        return Ok(132);
    }
    if file.starts_with(b"DICM") {
        return Ok(4);
    }
    // No preamble: a bare data set begins with group 0002 or 0008, little or big endian.
    match file.get(..4) {
        Some([0x02 | 0x08, 0, _, 0] | [0, 0x08, 0, _]) => Ok(0),
        _ => Err(RenderError::NotDicom { reason: "neither preamble nor data set".to_owned() }),
    }
}

/// The SOP class of a file: that of its meta group, else of its data set. Nothing beyond it is read.
pub(crate) fn sop_class(file: &[u8]) -> Option<String> {
    let meta = read_meta(file, dataset_start(file).ok()?).ok()?;
    if meta.sop_class.is_some() {
        return meta.sop_class;
    }
    let syntax = match meta.transfer_syntax {
        // Who deflates a data set writes a meta group, or nobody could inflate it.
        Some(TransferSyntax::DeflatedExplicitLittleEndian) => return None,
        Some(syntax) => syntax,
        None => guess_encoding(file.get(meta.end..)?).ok()?,
    };
    let encoding = Encoding::found(file.get(meta.end..)?, &syntax);
    let walker = Walker { data: file, encoding, parsed: false };
    let mut at = meta.end;
    loop {
        let header = walker.header(at).ok()?;
        at = walker.value_end(&header, 0).ok()?;
        match header.tag {
            tags::SOP_CLASS_UID => return Some(uid(&file[header.value..at])),
            tag if tag > tags::SOP_CLASS_UID => return None,
            _ => {}
        }
    }
}

fn uid(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches([' ', '\0']).to_owned()
}

/// What the meta group says.
struct Meta {
    transfer_syntax: Option<TransferSyntax>,
    /// Media Storage SOP Class UID (0002,0002).
    sop_class: Option<String>,
    /// Where the data set begins.
    end: usize,
}

/// Walked by tag, since the group length is wrong or absent in old files (R6.7).
fn read_meta(file: &[u8], start: usize) -> Result<Meta> {
    let walker = Walker { data: file, encoding: Encoding::EXPLICIT_LITTLE, parsed: false };
    let (mut at, mut syntax, mut sop_class) = (start, None, None);
    while file.get(at..at + 2) == Some(&[0x02, 0x00]) {
        let header = walker.header(at)?;
        let end = walker.value_end(&header, 0)?;
        let value = &file[header.value..end];
        match header.tag {
            tags::TRANSFER_SYNTAX_UID => syntax = Some(TransferSyntax::from_uid(&uid(value))),
            tags::MEDIA_STORAGE_SOP_CLASS_UID => sop_class = Some(uid(value)),
            _ => {}
        }
        at = end;
    }
    if at == file.len() {
        return Err(RenderError::NotDicom {
            reason: "no data set after the meta group".to_owned(),
        });
    }
    Ok(Meta {
        transfer_syntax: syntax.filter(|s| !s.uid().is_empty()),
        sop_class: sop_class.filter(|uid| !uid.is_empty()),
        end: at,
    })
}

fn guess_encoding(body: &[u8]) -> Result<TransferSyntax> {
    let first = body
        .get(..6)
        .ok_or_else(|| RenderError::NotDicom { reason: "the data set is too short".to_owned() })?;
    let explicit = first[4].is_ascii_uppercase() && first[5].is_ascii_uppercase();
    Ok(match (explicit, first[0]) {
        (true, 0) => TransferSyntax::ExplicitBigEndian,
        (true, _) => TransferSyntax::ExplicitLittleEndian,
        (false, _) => TransferSyntax::ImplicitLittleEndian,
    })
}

fn inflate(deflated: &[u8], limits: &Limits, warnings: &mut Vec<String>) -> Result<Bytes> {
    let mut body = Vec::new();
    let bounded = flate2::read::DeflateDecoder::new(deflated).take(limits.source_bytes + 1);
    if let Err(error) = { bounded }.read_to_end(&mut body) {
        if body.is_empty() {
            return Err(RenderError::damaged(format!("it cannot be inflated: {error}")));
        }
        warnings.push("the deflated data set breaks off".to_owned());
    }
    limits.check_bytes(body.len() as u64)?;
    Ok(body.into())
}

fn parse(kept: &[u8], encoding: Encoding) -> Result<InMemDicomObject> {
    // The data set of every other syntax is Explicit VR Little Endian (PS3.5 A.4).
    let syntax = match (encoding.explicit, encoding.big_endian) {
        (false, _) => TransferSyntax::ImplicitLittleEndian,
        (true, true) => TransferSyntax::ExplicitBigEndian,
        (true, false) => TransferSyntax::ExplicitLittleEndian,
    };
    let uid = syntax.uid();
    let syntax = TransferSyntaxRegistry
        .get(uid)
        .ok_or_else(|| RenderError::unsupported(format!("transfer syntax {uid}")))?;
    InMemDicomObject::read_dataset_with_ts(kept, syntax)
        .map_err(|_| RenderError::damaged("an element before the pixel data cannot be read"))
}

#[derive(Clone, Copy, PartialEq)]
struct Encoding {
    explicit: bool,
    big_endian: bool,
}

impl Encoding {
    const EXPLICIT_LITTLE: Self = Self { explicit: true, big_endian: false };
    const IMPLICIT_LITTLE: Self = Self { explicit: false, big_endian: false };

    fn of(syntax: &TransferSyntax) -> Self {
        match syntax {
            TransferSyntax::ImplicitLittleEndian => Self::IMPLICIT_LITTLE,
            TransferSyntax::ExplicitBigEndian => Self { explicit: true, big_endian: true },
            _ => Self::EXPLICIT_LITTLE,
        }
    }

    /// The encoding of a data set: what its transfer syntax says, unless the first element can only be
    /// read the other way. Writers forget which of the two little endian ones they are in.
    fn found(body: &[u8], syntax: &TransferSyntax) -> Self {
        let declared = Self::of(syntax);
        let Some(&[_, _, _, _, a, b, c, d]) = body.first_chunk::<8>() else { return declared };
        let names_vr = a.is_ascii_uppercase() && b.is_ascii_uppercase();
        let implicit_fits = u32::from_le_bytes([a, b, c, d]) as usize <= body.len() - 8;
        match (declared.explicit, declared.big_endian) {
            (true, false) if !names_vr && implicit_fits => Self::IMPLICIT_LITTLE,
            (false, _) if names_vr && !implicit_fits => Self::EXPLICIT_LITTLE,
            _ => declared,
        }
    }
}

struct Walked {
    /// The encoded elements worth parsing.
    kept: Vec<u8>,
    float_tag: Option<Tag>,
    pixel_data: Option<PixelData>,
    document: Option<Bytes>,
}

/// Walks the top level up to the pixel data.
fn walk(body: &Bytes, encoding: Encoding) -> Result<Walked> {
    let walker = Walker { data: body, encoding, parsed: true };
    let mut walked = Walked { kept: Vec::new(), float_tag: None, pixel_data: None, document: None };
    let mut at = 0;
    // Fewer than eight bytes cannot be an element: trailing padding.
    while body.len() - at >= 8 {
        let header = walker.header(at)?;
        if is_pixel_data(header.tag) {
            walked.float_tag = Some(header.tag).filter(|&tag| tag != tags::PIXEL_DATA);
            walked.pixel_data = Some(walker.pixel_data(&header, body));
            break;
        }
        let parsed = is_parsed(&header);
        let end = Walker { parsed, ..walker }.value_end(&header, 0)?;
        // It may be of hundreds of megabytes: it stays where it is, as pixel data do.
        if header.tag == tags::ENCAPSULATED_DOCUMENT && header.length.is_some() {
            walked.document = Some(body.slice(header.value..end));
        } else if parsed {
            walked.kept.extend_from_slice(&body[at..end]);
        }
        at = end;
    }
    Ok(walked)
}

/// Left out: private groups, delimiters that end nothing, unknown sequences, whose items are in
/// Implicit VR (PS3.5 §6.2.2) while the parser reads on as before, and broken numbers.
fn is_parsed(header: &Header) -> bool {
    let unknown_sequence = header.length.is_none() && header.vr == Some(VR::UN);
    let group = header.tag.group();
    group.is_multiple_of(2) && group != 0xFFFE && !unknown_sequence && header.holds_whole_numbers()
}

fn is_pixel_data(tag: Tag) -> bool {
    matches!(tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA)
}

#[derive(Clone, Copy)]
struct Walker<'a> {
    data: &'a [u8],
    encoding: Encoding,
    /// The parser will read this too.
    parsed: bool,
}

/// An element's header.
struct Header {
    tag: Tag,
    /// In Implicit VR that of the dictionary, as the parser has it; `None` for items.
    vr: Option<VR>,
    /// `None`: undefined.
    length: Option<u32>,
    /// Where the value begins.
    value: usize,
}

impl Header {
    /// Whether the length is that of so many numbers; the parser would go on within the last one.
    fn holds_whole_numbers(&self) -> bool {
        use VR::*;
        let size = match self.vr {
            Some(OW | SS | US) => 2,
            Some(AT | FL | OF | OL | SL | UL) => 4,
            Some(FD | OD | OV | SV | UV) => 8,
            _ => 1,
        };
        self.length.is_none_or(|length| length.is_multiple_of(size))
    }
}

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

impl Walker<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        self.data
            .get(at..at.saturating_add(N))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| RenderError::damaged("it breaks off before the pixel data"))
    }

    fn u16(&self, at: usize) -> Result<u16> {
        let bytes = self.bytes(at)?;
        Ok(if self.encoding.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let bytes = self.bytes(at)?;
        Ok(if self.encoding.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn header(&self, at: usize) -> Result<Header> {
        let tag = Tag(self.u16(at)?, self.u16(at + 2)?);
        let (vr, length, value) = if tag.group() == 0xFFFE {
            (None, self.u32(at + 4)?, at + 8)
        } else if !self.encoding.explicit {
            (Some(dictionary_vr(tag)), self.u32(at + 4)?, at + 8)
        } else {
            // An unknown VR has the long form, as every VR added since 1993 (PS3.5 §7.1.2).
            let vr = VR::from_binary(self.bytes(at + 4)?).unwrap_or(VR::UN);
            if has_long_form(vr) {
                (Some(vr), self.u32(at + 8)?, at + 12)
            } else {
                (Some(vr), u32::from(self.u16(at + 6)?), at + 8)
            }
        };
        Ok(Header { tag, vr, length: (length != u32::MAX).then_some(length), value })
    }

    /// Where the value ends; sequences are walked, since a parser will recurse into them.
    fn value_end(&self, header: &Header, depth: usize) -> Result<usize> {
        match header.length {
            Some(_) if self.parsed && !header.holds_whole_numbers() => {
                Err(RenderError::damaged("an element of numbers holds a part of one"))
            }
            Some(length) => {
                let end = self.end_of(header.value, length)?;
                if header.vr == Some(VR::SQ) {
                    self.up_to(end).items(header.value, Ends::AtLength, depth + 1)?;
                }
                Ok(end)
            }
            None if header.tag == tags::PIXEL_DATA => self.fragments_end(header.value),
            None if header.vr == Some(VR::UN) && self.encoding.explicit => {
                self.unknown_sequence_end(header, depth)
            }
            None => self.items(header.value, Ends::AtDelimiter, depth + 1),
        }
    }

    /// PS3.5 §6.2.2: UN of undefined length holds Implicit VR Little Endian. A parser that reads on
    /// in the encoding around it must find the same end.
    fn unknown_sequence_end(&self, header: &Header, depth: usize) -> Result<usize> {
        let implicit = Walker { encoding: Encoding::IMPLICIT_LITTLE, ..*self };
        let end = implicit.items(header.value, Ends::AtDelimiter, depth + 1)?;
        if self.parsed && self.items(header.value, Ends::AtDelimiter, depth + 1)? != end {
            return Err(RenderError::damaged("a sequence of unknown elements has no clear end"));
        }
        Ok(end)
    }

    /// The same, blind for what comes after `end`: no item reaches beyond the one around it.
    fn up_to(&self, end: usize) -> Self {
        Walker { data: &self.data[..end], ..*self }
    }

    fn end_of(&self, start: usize, length: u32) -> Result<usize> {
        start
            .checked_add(length as usize)
            .filter(|&end| end <= self.data.len())
            .ok_or_else(|| RenderError::damaged("an element is longer than what it is part of"))
    }

    /// Walks items to their end, and returns where that is.
    fn items(&self, mut at: usize, ends: Ends, depth: usize) -> Result<usize> {
        if depth > DEEPEST {
            return Err(RenderError::damaged("its sequences are nested too deeply"));
        }
        while ends == Ends::AtDelimiter || at < self.data.len() {
            let item = self.header(at)?;
            match (item.tag, item.length) {
                (SEQUENCE_END, _) => return self.delimited(&item, ends),
                (ITEM, Some(length)) => {
                    let end = self.end_of(item.value, length)?;
                    at = self.up_to(end).elements(item.value, Ends::AtLength, depth)?;
                }
                (ITEM, None) => at = self.elements(item.value, Ends::AtDelimiter, depth)?,
                _ => {
                    return Err(RenderError::damaged("a sequence holds something that is no item"));
                }
            }
        }
        Ok(at)
    }

    /// Walks the elements of an item to their end, and returns where that is.
    fn elements(&self, mut at: usize, ends: Ends, depth: usize) -> Result<usize> {
        while ends == Ends::AtDelimiter || at < self.data.len() {
            let header = self.header(at)?;
            if header.tag == ITEM_END {
                return self.delimited(&header, ends);
            }
            at = self.value_end(&header, depth)?;
        }
        Ok(at)
    }

    /// The end behind a delimiter, which has no value (PS3.5 §7.5). Where there is a length as well,
    /// both must be the same end, or the parser goes on where nobody walked.
    fn delimited(&self, delimiter: &Header, ends: Ends) -> Result<usize> {
        if delimiter.length != Some(0) {
            return Err(RenderError::damaged("a delimiter has a length"));
        }
        if ends == Ends::AtLength && delimiter.value != self.data.len() {
            return Err(RenderError::damaged("a sequence or an item ends twice"));
        }
        Ok(delimiter.value)
    }

    /// Skips the fragments of nested pixel data (an icon), after a table of 32-bit offsets.
    fn fragments_end(&self, mut at: usize) -> Result<usize> {
        let table = self.header(at)?;
        if table.length.is_some_and(|length| !length.is_multiple_of(4)) {
            return Err(RenderError::damaged("an offset table holds a part of an offset"));
        }
        loop {
            let item = self.header(at)?;
            match (item.tag, item.length) {
                (SEQUENCE_END, Some(0)) => return Ok(item.value),
                (ITEM, Some(length)) => at = self.end_of(item.value, length)?,
                _ => return Err(RenderError::damaged("a fragment is no item")),
            }
        }
    }

    fn pixel_data(&self, header: &Header, body: &Bytes) -> PixelData {
        let there = body.len() - header.value;
        let length = header.length.map_or(there, |length| length as usize);
        let value = body.slice(header.value..header.value + length.min(there));
        PixelData {
            value,
            encapsulated: header.length.is_none(),
            big_endian: self.encoding.big_endian,
            words: header.vr != Some(VR::OB),
            truncated: length > there,
        }
    }
}

/// What ends a sequence or an item.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// The end of the data walked, which is where its length says.
    AtLength,
    AtDelimiter,
}

fn dictionary_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

fn has_long_form(vr: VR) -> bool {
    use VR::*;
    matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An Explicit VR Little Endian element with a short value.
    pub(crate) fn element(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(group.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(vr);
        if has_long_form(VR::from_binary(*vr).unwrap()) {
            out.extend([0, 0]);
            out.extend((value.len() as u32).to_le_bytes());
        } else {
            out.extend((value.len() as u16).to_le_bytes());
        }
        out.extend(value);
        out
    }

    pub(crate) fn file(elements: &[Vec<u8>]) -> Bytes {
        let mut out = vec![0; 128];
        out.extend(b"DICM");
        out.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0"));
        out.extend(elements.concat());
        out.into()
    }

    fn read(file: &Bytes) -> Result<DicomFile> {
        super::read(file, &Limits::default())
    }

    #[test]
    fn a_file_is_taken_apart() {
        let read = read(&file(&[
            element(0x28, 0x10, b"US", &[2, 0]),
            element(0x29, 0x1010, b"OB", &[1; 40]),
            element(0x7FE0, 0x10, b"OW", &[1, 2, 3, 4]),
        ]))
        .unwrap();
        assert_eq!(read.transfer_syntax, TransferSyntax::ExplicitLittleEndian);
        assert_eq!(read.dataset.element(tags::ROWS).unwrap().to_int::<u32>().unwrap(), 2);
        assert!(read.dataset.get(Tag(0x29, 0x1010)).is_none(), "private groups are left out");
        assert_eq!(read.pixel_data.unwrap().value.as_ref(), [1, 2, 3, 4]);
    }

    #[test]
    fn documents_stay_in_the_file() {
        let file =
            file(&[element(0x42, 0x11, b"OB", b"%PDF"), element(0x42, 0x12, b"LO", b"text")]);
        let found = read(&file).unwrap();
        assert_eq!(found.document.unwrap().as_ptr(), file[file.len() - 16..].as_ptr());
        let dataset = found.dataset;
        assert!(dataset.get(tags::ENCAPSULATED_DOCUMENT).is_none());
        assert!(dataset.get(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT).is_some());
    }

    #[test]
    fn a_bare_data_set_is_recognised_by_its_first_element() {
        let bare: Bytes = element(8, 0x16, b"UI", b"1.2\0").into();
        assert_eq!(read(&bare).unwrap().transfer_syntax, TransferSyntax::ExplicitLittleEndian);
        let implicit: Bytes = vec![8, 0, 0x16, 0, 4, 0, 0, 0, b'1', b'.', b'2', 0].into();
        assert_eq!(read(&implicit).unwrap().transfer_syntax, TransferSyntax::ImplicitLittleEndian);
    }

    #[test]
    fn a_data_set_in_the_other_little_endian_encoding_is_read_with_a_warning() {
        let implicit = |group: u16, number: u16, value: &[u8]| {
            let tag = [group.to_le_bytes(), number.to_le_bytes()].concat();
            [&tag, &(value.len() as u32).to_le_bytes()[..], value].concat()
        };
        let explicit_elements = || {
            vec![
                element(8, 0x16, b"UI", b"1.2\0"),
                element(0x28, 0x10, b"US", &[2, 0]),
                element(0x7FE0, 0x10, b"OW", &[1, 2, 3, 4]),
            ]
        };
        let implicit_elements = [
            implicit(8, 0x16, b"1.2\0"),
            implicit(0x28, 0x10, &[2, 0]),
            implicit(0x7FE0, 0x10, &[1, 2, 3, 4]),
        ];
        let declared_implicit = {
            let mut out = vec![0; 128];
            out.extend(b"DICM");
            out.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2\0"));
            out.extend(explicit_elements().concat());
            Bytes::from(out)
        };
        for (bytes, warnings) in
            [(file(&explicit_elements()), 0), (file(&implicit_elements), 1), (declared_implicit, 1)]
        {
            let read = read(&bytes).unwrap();
            assert_eq!(read.dataset.element(tags::ROWS).unwrap().to_int::<u32>().unwrap(), 2);
            assert_eq!(read.pixel_data.unwrap().value.as_ref(), [1, 2, 3, 4]);
            assert_eq!(read.warnings.len(), warnings, "{:?}", read.warnings);
            assert_eq!(sop_class(&bytes).as_deref(), Some("1.2"));
        }
    }

    #[test]
    fn text_and_nothing_are_not_dicom() {
        for bytes in [&b""[..], b"hello, this is text", &[0; 132]] {
            let result = read(&Bytes::copy_from_slice(bytes));
            assert!(matches!(result, Err(RenderError::NotDicom { .. })), "{bytes:?}");
        }
        assert!(matches!(read(&file(&[])), Err(RenderError::NotDicom { .. })));
    }

    #[test]
    fn an_element_longer_than_the_file_is_refused_without_allocating() {
        let mut long = element(0x28, 0x3006, b"OW", &[0; 4]);
        long[8..12].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
        assert!(matches!(read(&file(&[long])), Err(RenderError::Damaged { .. })));
    }

    #[test]
    fn pixel_data_longer_than_the_file_are_what_is_there() {
        let mut long = element(0x7FE0, 0x10, b"OW", &[7; 6]);
        long[8..12].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
        let pixels = read(&file(&[long])).unwrap().pixel_data.unwrap();
        assert_eq!((pixels.value.len(), pixels.truncated), (6, true));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut nested = Vec::new();
        for _ in 0..3000 {
            nested.extend([0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
            nested.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        assert!(matches!(read(&file(&[nested])), Err(RenderError::Damaged { .. })));
    }

    const DELIMITER: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

    fn item(length: u32, content: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFE, 0xFF, 0x00, 0xE0];
        out.extend(length.to_le_bytes());
        out.extend(content);
        out
    }

    fn is_damaged(elements: &[Vec<u8>]) -> bool {
        matches!(read(&file(elements)), Err(RenderError::Damaged { .. }))
    }

    #[test]
    fn items_longer_than_their_sequence_are_refused_at_once() {
        // Were each item walked to the end of the file, the time would double with each sequence.
        let sequences: Vec<_> =
            (0..60_u32).map(|n| element(8, 0x1140, b"SQ", &item((59 - n) * 20, &[]))).collect();
        assert!(is_damaged(&sequences));
    }

    #[test]
    fn a_delimiter_before_the_declared_end_is_refused() {
        // The parser would go on behind it with this length of 4 GB.
        let mut hidden = element(8, 8, b"OB", &[]);
        hidden[8..12].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
        assert!(is_damaged(&[element(8, 0x1140, b"SQ", &[&DELIMITER[..], &hidden].concat())]));
        let end_of_item = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0];
        let content = [&end_of_item[..], &hidden].concat();
        let items = item(content.len() as u32, &content);
        assert!(is_damaged(&[element(8, 0x1140, b"SQ", &items)]));
        // At the declared end it is harmless.
        let harmless = element(8, 0x1140, b"SQ", &[&item(0, &[])[..], &DELIMITER].concat());
        assert!(read(&file(&[harmless])).is_ok());
    }

    #[test]
    fn delimiters_with_a_length_are_refused() {
        for tag in [[0xFE, 0xFF, 0x0D, 0xE0], [0xFE, 0xFF, 0xDD, 0xE0]] {
            let mut sequence = element(8, 0x1140, b"SQ", &item(u32::MAX, &[]));
            sequence[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
            sequence.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
            sequence.extend(DELIMITER);
            assert!(read(&file(&[sequence.clone()])).is_ok());
            let at = sequence.windows(4).position(|bytes| bytes == tag).unwrap();
            sequence[at + 7] = 0x7F;
            assert!(is_damaged(&[sequence]));
        }
    }

    #[test]
    fn broken_numbers_are_left_out_and_refused_within_sequences() {
        let broken = element(8, 8, b"UL", &[0; 6]);
        let rows = element(0x28, 0x10, b"US", &[2, 0]);
        let read = read(&file(&[broken.clone(), rows])).unwrap();
        assert!(read.dataset.get(Tag(8, 8)).is_none() && read.dataset.get(tags::ROWS).is_some());
        assert!(is_damaged(&[element(8, 0x1140, b"SQ", &item(14, &broken))]));
    }

    #[test]
    fn only_pixel_data_are_fragments() {
        // To the parser, this is an item with an element of 4 GB.
        let mut hidden = element(8, 8, b"OB", &[]);
        hidden[8..12].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
        let mut bytes = element(8, 9, b"OB", &item(12, &hidden));
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend(DELIMITER);
        assert!(is_damaged(&[bytes]));
    }

    #[test]
    fn unknown_sequences_are_left_out() {
        let mut unknown = element(8, 9, b"UN", &item(12, &[8, 0, 8, 0, 4, 0, 0, 0, 1, 2, 3, 4]));
        unknown[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        unknown.extend(DELIMITER);
        let read = read(&file(&[unknown, element(0x28, 0x10, b"US", &[2, 0])])).unwrap();
        assert!(read.dataset.get(Tag(8, 9)).is_none());
        assert!(read.dataset.get(tags::ROWS).is_some());
    }

    #[test]
    fn inflated_data_are_bounded() {
        use std::io::Write;
        let mut deflated =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflated.write_all(&vec![0; 1 << 20]).unwrap();
        let mut bomb = vec![0; 128];
        bomb.extend(b"DICM");
        bomb.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99"));
        bomb.extend(deflated.finish().unwrap());
        let limits = Limits { source_bytes: 100_000, ..Limits::default() };
        let result = super::read(&bomb.into(), &limits);
        assert!(matches!(result, Err(RenderError::TooLarge { .. })));
    }
}
