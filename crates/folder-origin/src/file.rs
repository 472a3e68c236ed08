//! A DICOM file as this origin sees it: small attributes in memory, large values as places.
//!
//! The file is walked element by element. What is small is copied into a *skeleton*, a data set of
//! the same encoding in which large values are empty; dicom-object parses that. Large values are
//! only noted: where they begin, how long they are. So a file of any size costs little memory, and
//! no length it claims is ever allocated: each is first checked against what the file holds.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use dicomweb_types::TransferSyntax;

use crate::content::{Region, Source};
use crate::error::FileError;

/// Binary values longer than this are bulk data: not in memory, a BulkDataURI in metadata.
pub(crate) const BULK_BYTES: u64 = 1024;
/// The same for text, which clients expect inline.
const BULK_TEXT_BYTES: u64 = 64 * 1024;
/// All small values of one file together; beyond it the file is refused.
const SKELETON_BYTES: usize = 64 << 20;
/// A deflated data set is inflated in memory, up to this.
const INFLATED_BYTES: u64 = 256 << 20;
/// Sequences within sequences; real files stay below ten.
const DEPTH: usize = 32;
/// Fragments of one encapsulated value; a long video has some ten thousand.
const FRAGMENTS: usize = 1 << 20;

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const DATA_SET_TRAILING_PADDING: Tag = Tag(0xFFFC, 0xFFFC);

/// A scanned file.
#[derive(Debug)]
pub(crate) struct DicomFile {
    pub(crate) syntax: TransferSyntax,
    /// Every attribute; those in `bulk` are empty here.
    pub(crate) dataset: InMemDicomObject,
    pub(crate) bulk: Vec<BulkValue>,
    pub(crate) source: Source,
}

/// A large value: its place in the data set and in the file.
#[derive(Debug, Clone)]
pub(crate) struct BulkValue {
    pub(crate) path: BulkPath,
    pub(crate) vr: VR,
    /// Offset of the value in its source.
    pub(crate) start: u64,
    /// Bytes that are there; less than claimed where the file breaks off.
    pub(crate) length: u64,
    /// The items of an encapsulated value, the Basic Offset Table first.
    pub(crate) fragments: Option<Vec<Fragment>>,
}

/// One item of encapsulated pixel data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) start: u64,
    pub(crate) length: u32,
}

/// Sequence, item (from 0), sequence, item …, and the tag in the innermost item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BulkPath {
    pub(crate) items: Vec<(Tag, u32)>,
    pub(crate) tag: Tag,
}

impl DicomFile {
    /// Scans a PS3.10 file: preamble, `DICM`, meta group, data set. What breaks off is kept as far
    /// as it goes.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut input = BufReader::with_capacity(16 * 1024, file);
        let (syntax, start) = read_meta(&mut input, length)?;
        if syntax == TransferSyntax::DeflatedExplicitLittleEndian {
            return Self::inflated(syntax, input);
        }
        let scan = Scanner::new(&mut input, start, length, &syntax).run()?;
        Ok(Self {
            dataset: parse_skeleton(&scan.skeleton, &syntax)?,
            syntax,
            bulk: scan.bulk,
            source: Source::File(Arc::from(path)),
        })
    }

    fn inflated(syntax: TransferSyntax, input: impl Read) -> Result<Self, FileError> {
        let mut bytes = Vec::new();
        let mut inflater = flate2::read::DeflateDecoder::new(input).take(INFLATED_BYTES + 1);
        // A stream that breaks off is served as far as it goes, like any file.
        if let Err(error) = inflater.read_to_end(&mut bytes)
            && bytes.is_empty()
        {
            return Err(error.into());
        }
        if bytes.len() as u64 > INFLATED_BYTES {
            return Err(FileError::TooLarge);
        }
        let bytes = Bytes::from(bytes);
        let scan =
            Scanner::new(Cursor::new(bytes.clone()), 0, bytes.len() as u64, &syntax).run()?;
        Ok(Self {
            dataset: parse_skeleton(&scan.skeleton, &TransferSyntax::ExplicitLittleEndian)?,
            syntax,
            bulk: scan.bulk,
            source: Source::Memory(bytes),
        })
    }

    /// The pixel data of the image itself (not of an icon): PixelData, or its float forms.
    pub(crate) fn pixel_data(&self) -> Option<&BulkValue> {
        self.bulk.iter().find(|value| value.path.items.is_empty() && is_pixel_data(value.path.tag))
    }

    /// Bits Allocated (0028,0100).
    pub(crate) fn bits_allocated(&self) -> Option<u64> {
        self.dataset.get(tags::BITS_ALLOCATED)?.to_int().ok()
    }

    /// The bytes of a value as little endian, whatever the file is.
    pub(crate) fn region(&self, value: &BulkValue) -> Region {
        Region::new(self.source.clone(), value.start, value.length).swapped(self.swap_unit(value))
    }

    /// Bytes per word that must be reversed to make the value little endian; 1 for none.
    fn swap_unit(&self, value: &BulkValue) -> u8 {
        if self.syntax != TransferSyntax::ExplicitBigEndian {
            return 1;
        }
        match value.vr {
            // A cell of 32 bits is big endian as a whole, though OW names words of 16.
            VR::OW if is_pixel_data(value.path.tag) && self.bits_allocated() == Some(32) => 4,
            VR::OW | VR::US | VR::SS | VR::AT => 2,
            VR::OF | VR::OL | VR::UL | VR::SL | VR::FL => 4,
            VR::OD | VR::OV | VR::UV | VR::SV | VR::FD => 8,
            _ => 1,
        }
    }
}

pub(crate) fn is_pixel_data(tag: Tag) -> bool {
    matches!(tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA)
}

/// Transfer syntax of the file and the offset of its data set.
fn read_meta(
    input: &mut (impl Read + Seek),
    length: u64,
) -> Result<(TransferSyntax, u64), FileError> {
    if length < 132 {
        return Err(FileError::NotDicom);
    }
    input.seek(SeekFrom::Start(128))?;
    let mut magic = [0; 4];
    input.read_exact(&mut magic)?;
    if &magic != b"DICM" {
        return Err(FileError::NotDicom);
    }
    // The group length is not trusted: some writers get it wrong. The meta group ends where
    // another group begins (PS3.10 §7.1: it is always Explicit VR Little Endian).
    let mut meta = Scanner::new(input, 132, length, &TransferSyntax::ExplicitLittleEndian);
    let mut syntax = None;
    loop {
        let start = meta.position;
        let tag = match meta.tag() {
            Ok(tag) => tag,
            Err(Stop::CutShort) => return Err(FileError::Damaged("it ends in its meta group")),
            Err(stop) => return Err(stop.into()),
        };
        if tag.group() != 0x0002 {
            meta.seek(start)?;
            let syntax = syntax.ok_or(FileError::Damaged("it names no transfer syntax"))?;
            return Ok((syntax, start));
        }
        let (_, value_length) = meta.vr_and_length(tag)?;
        if tag == tags::TRANSFER_SYNTAX_UID {
            let uid = meta.small_value(u64::from(value_length))?;
            syntax = Some(TransferSyntax::from_uid(&String::from_utf8_lossy(&uid)));
        } else {
            meta.skip(u64::from(value_length))?;
        }
    }
}

fn parse_skeleton(skeleton: &[u8], syntax: &TransferSyntax) -> Result<InMemDicomObject, FileError> {
    // Only these three encodings exist; everything encapsulated is Explicit VR Little Endian.
    let uid = match syntax {
        TransferSyntax::ImplicitLittleEndian | TransferSyntax::ExplicitBigEndian => syntax.uid(),
        _ => TransferSyntax::ExplicitLittleEndian.uid(),
    };
    let encoding = TransferSyntaxRegistry
        .get(uid)
        .ok_or(FileError::Damaged("its transfer syntax is not known"))?;
    InMemDicomObject::read_dataset_with_ts(skeleton, encoding)
        .map_err(|_| FileError::Damaged("its attributes cannot be parsed"))
}

/// Why a walk ends early.
enum Stop {
    /// The file is shorter than its lengths say, or its structure is broken: what came before
    /// counts.
    CutShort,
    TooLarge,
    Io(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::CutShort
        } else {
            Self::Io(error)
        }
    }
}

impl From<Stop> for FileError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::CutShort => Self::Damaged("it breaks off"),
            Stop::TooLarge => Self::TooLarge,
            Stop::Io(error) => Self::Io(error),
        }
    }
}

struct Scan {
    skeleton: Vec<u8>,
    bulk: Vec<BulkValue>,
}

struct Scanner<R> {
    input: R,
    position: u64,
    /// Length of the whole source.
    end: u64,
    explicit: bool,
    big_endian: bool,
    path: Vec<(Tag, u32)>,
    /// Inside something that does not go into the skeleton.
    muted: bool,
    out: Scan,
}

impl<R: Read + Seek> Scanner<R> {
    fn new(input: R, position: u64, end: u64, syntax: &TransferSyntax) -> Self {
        Self {
            input,
            position,
            end,
            explicit: *syntax != TransferSyntax::ImplicitLittleEndian,
            big_endian: *syntax == TransferSyntax::ExplicitBigEndian,
            path: Vec::new(),
            muted: false,
            out: Scan { skeleton: Vec::new(), bulk: Vec::new() },
        }
    }

    fn run(mut self) -> Result<Scan, FileError> {
        match self.elements(self.end) {
            Ok(()) | Err(Stop::CutShort) => Ok(self.out),
            Err(stop) => Err(stop.into()),
        }
    }

    fn elements(&mut self, end: u64) -> Result<(), Stop> {
        while self.position < end {
            let tag = self.tag()?;
            if tag == ITEM_END {
                self.u32()?;
                return Ok(());
            }
            self.element(tag)?;
        }
        Ok(())
    }

    fn element(&mut self, tag: Tag) -> Result<(), Stop> {
        let (vr, length) = self.vr_and_length(tag)?;
        match (vr, length) {
            (VR::SQ, UNDEFINED) => self.sequence(tag, self.end),
            (VR::SQ, length) => self.sequence(tag, self.position + u64::from(length)),
            (_, UNDEFINED) if tag == tags::PIXEL_DATA => self.encapsulated(tag, vr),
            (VR::UN, UNDEFINED) => self.unknown_sequence(tag),
            (_, UNDEFINED) => Err(Stop::CutShort),
            (vr, length) => self.value(tag, vr, u64::from(length)),
        }
    }

    fn sequence(&mut self, tag: Tag, end: u64) -> Result<(), Stop> {
        if self.path.len() >= DEPTH {
            return Err(Stop::CutShort);
        }
        // Lengths change when values are left out, so all sequences become delimited ones.
        self.emit_header(tag, VR::SQ, UNDEFINED)?;
        let outcome = self.items(tag, end);
        self.emit_mark(SEQUENCE_END, 0)?;
        outcome
    }

    fn items(&mut self, sequence: Tag, end: u64) -> Result<(), Stop> {
        let mut index = 0;
        while self.position < end {
            let tag = self.tag()?;
            let length = self.u32()?;
            match tag {
                ITEM => self.item(sequence, index, length)?,
                SEQUENCE_END => return Ok(()),
                _ => return Err(Stop::CutShort),
            }
            index += 1;
        }
        Ok(())
    }

    fn item(&mut self, sequence: Tag, index: u32, length: u32) -> Result<(), Stop> {
        let end = match length {
            UNDEFINED => self.end,
            length => self.position + u64::from(length),
        };
        self.emit_mark(ITEM, UNDEFINED)?;
        self.path.push((sequence, index));
        let outcome = self.elements(end);
        self.path.pop();
        self.emit_mark(ITEM_END, 0)?;
        outcome
    }

    /// A sequence whose VR is not known holds Implicit VR Little Endian (PS3.5 §6.2.2). It is
    /// walked to find its end, and left out: the skeleton has one encoding only.
    fn unknown_sequence(&mut self, tag: Tag) -> Result<(), Stop> {
        let before = (self.explicit, self.big_endian, self.muted);
        (self.explicit, self.big_endian, self.muted) = (false, false, true);
        let outcome = self.sequence(tag, self.end);
        (self.explicit, self.big_endian, self.muted) = before;
        outcome
    }

    fn value(&mut self, tag: Tag, vr: VR, length: u64) -> Result<(), Stop> {
        let there = length.min(self.end.saturating_sub(self.position));
        if is_pixel_data(tag) || (length > bulk_limit(vr) && tag != tags::EXTENDED_OFFSET_TABLE) {
            self.note_bulk(tag, vr, there, None)?;
            self.skip(there)?;
        } else if there == length && is_kept(tag) {
            let bytes = self.small_value(length)?;
            self.emit_header(tag, vr, length as u32)?;
            self.emit(&bytes)?;
        } else {
            self.skip(there)?;
        }
        if there < length { Err(Stop::CutShort) } else { Ok(()) }
    }

    fn encapsulated(&mut self, tag: Tag, vr: VR) -> Result<(), Stop> {
        let start = self.position;
        let mut fragments = Vec::new();
        let outcome = self.fragments(&mut fragments);
        self.note_bulk(tag, vr, self.position - start, Some((start, fragments)))?;
        outcome
    }

    fn fragments(&mut self, fragments: &mut Vec<Fragment>) -> Result<(), Stop> {
        loop {
            let tag = self.tag()?;
            let length = self.u32()?;
            if tag == SEQUENCE_END {
                return Ok(());
            }
            if tag != ITEM || length == UNDEFINED || fragments.len() == FRAGMENTS {
                return Err(Stop::CutShort);
            }
            let there = u64::from(length).min(self.end - self.position);
            fragments.push(Fragment { start: self.position, length: there as u32 });
            self.skip(there)?;
            if there < u64::from(length) {
                return Err(Stop::CutShort);
            }
        }
    }

    fn note_bulk(
        &mut self,
        tag: Tag,
        vr: VR,
        length: u64,
        fragments: Option<(u64, Vec<Fragment>)>,
    ) -> Result<(), Stop> {
        if self.muted {
            return Ok(());
        }
        self.emit_header(tag, vr, 0)?;
        let (start, fragments) = match fragments {
            Some((start, fragments)) => (start, Some(fragments)),
            None => (self.position, None),
        };
        let path = BulkPath { items: self.path.clone(), tag };
        self.out.bulk.push(BulkValue { path, vr, start, length, fragments });
        Ok(())
    }

    // ---- reading ----

    fn tag(&mut self) -> Result<Tag, Stop> {
        Ok(Tag(self.u16()?, self.u16()?))
    }

    fn vr_and_length(&mut self, tag: Tag) -> Result<(VR, u32), Stop> {
        if !self.explicit {
            return Ok((dictionary_vr(tag), self.u32()?));
        }
        // An unknown VR has the long form (PS3.5 §6.2.2 note), as UN has.
        let vr = VR::from_binary(self.array()?).unwrap_or(VR::UN);
        if has_long_length(vr) {
            self.u16()?;
            return Ok((vr, self.u32()?));
        }
        Ok((vr, u32::from(self.u16()?)))
    }

    fn u16(&mut self) -> Result<u16, Stop> {
        let bytes = self.array()?;
        Ok(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        let bytes = self.array()?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn small_value(&mut self, length: u64) -> Result<Vec<u8>, Stop> {
        if length > self.end.saturating_sub(self.position) {
            return Err(Stop::CutShort);
        }
        if length > SKELETON_BYTES as u64 {
            return Err(Stop::TooLarge);
        }
        let mut bytes = vec![0; length as usize];
        self.input.read_exact(&mut bytes)?;
        self.position += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), Stop> {
        if length > self.end.saturating_sub(self.position) {
            return Err(Stop::CutShort);
        }
        self.seek(self.position + length)
    }

    fn seek(&mut self, position: u64) -> Result<(), Stop> {
        // Relative, so that a buffered reader keeps its buffer.
        self.input.seek_relative(position as i64 - self.position as i64)?;
        self.position = position;
        Ok(())
    }

    // ---- writing the skeleton ----

    fn emit_header(&mut self, tag: Tag, vr: VR, length: u32) -> Result<(), Stop> {
        self.emit_u16(tag.group())?;
        self.emit_u16(tag.element())?;
        if !self.explicit {
            return self.emit_u32(length);
        }
        self.emit(&vr.to_bytes())?;
        if has_long_length(vr) {
            self.emit_u16(0)?;
            return self.emit_u32(length);
        }
        self.emit_u16(length as u16)
    }

    fn emit_mark(&mut self, tag: Tag, length: u32) -> Result<(), Stop> {
        self.emit_u16(tag.group())?;
        self.emit_u16(tag.element())?;
        self.emit_u32(length)
    }

    fn emit_u16(&mut self, value: u16) -> Result<(), Stop> {
        self.emit(&if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() })
    }

    fn emit_u32(&mut self, value: u32) -> Result<(), Stop> {
        self.emit(&if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() })
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.muted {
            return Ok(());
        }
        if self.out.skeleton.len() + bytes.len() > SKELETON_BYTES {
            return Err(Stop::TooLarge);
        }
        self.out.skeleton.extend_from_slice(bytes);
        Ok(())
    }
}

/// Group lengths and padding say nothing about the object.
fn is_kept(tag: Tag) -> bool {
    tag.element() != 0x0000 && tag != DATA_SET_TRAILING_PADDING && tag.group() > 0x0002
}

fn bulk_limit(vr: VR) -> u64 {
    match vr {
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::LO | VR::LT => {
            BULK_TEXT_BYTES
        }
        VR::PN | VR::SH | VR::ST | VR::TM | VR::UC | VR::UI | VR::UR | VR::UT => BULK_TEXT_BYTES,
        VR::AT | VR::FL | VR::FD | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV => {
            BULK_BYTES
        }
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ => BULK_BYTES,
    }
}

/// PS3.5 §7.1.2: the VRs with two reserved bytes and a length of 32 bits.
fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

pub(crate) fn dictionary_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}
