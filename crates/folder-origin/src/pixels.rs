//! The bytes of single frames: native cells, or the fragments of a codestream joined.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::FrameNumber;

use crate::content::{Piece, Region};
use crate::error::{FileError, Problem};
use crate::file::{BulkValue, DicomFile, Fragment};

/// Frames that a Basic Offset Table is read for; it is 4 bytes each.
const OFFSETS: u64 = 1 << 22;

const NO_SUCH_FRAME: Problem = Problem::NotFound("the instance has no such frame");

/// The bytes of each of these frames, in the order asked for.
pub(crate) fn frames(
    file: &DicomFile,
    numbers: &[FrameNumber],
) -> Result<Vec<Vec<Piece>>, Problem> {
    let pixels = file.pixel_data().ok_or(Problem::NotFound("the instance has no frames"))?;
    let count = number_of_frames(file);
    if numbers.iter().any(|number| number.index() as u64 >= count) {
        return Err(NO_SUCH_FRAME);
    }
    match &pixels.fragments {
        Some(fragments) => {
            let places = Encapsulated::new(file, fragments, count)?;
            numbers.iter().map(|number| places.frame(file, number.index())).collect()
        }
        None => {
            let layout = Native::new(file, pixels, count)?;
            numbers.iter().map(|number| Ok(vec![layout.frame(file, pixels, *number)?])).collect()
        }
    }
}

/// Number of Frames; 1 where it is absent or no number.
pub(crate) fn number_of_frames(file: &DicomFile) -> u64 {
    integer(file, tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1)
}

/// Frames one after the other, without padding between them (PS3.5 §8.1.1).
struct Native {
    frame_bits: u64,
}

impl Native {
    fn new(file: &DicomFile, pixels: &BulkValue, count: u64) -> Result<Self, Problem> {
        let damaged = || Problem::from(FileError::Damaged("its image attributes are incomplete"));
        let bits_allocated = match pixels.path.tag {
            tags::FLOAT_PIXEL_DATA => 32,
            tags::DOUBLE_FLOAT_PIXEL_DATA => 64,
            _ => file.bits_allocated().ok_or_else(damaged)?,
        };
        let rows = integer(file, tags::ROWS).ok_or_else(damaged)?;
        let columns = integer(file, tags::COLUMNS).ok_or_else(damaged)?;
        let samples = integer(file, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        let cells = rows.checked_mul(columns).and_then(|n| n.checked_mul(bits_allocated));
        let cells = cells.filter(|bits| *bits > 0).ok_or_else(damaged)?;
        let full = cells.checked_mul(samples).ok_or_else(damaged)?;
        let fits = |bits: u64| bits.checked_mul(count).is_some_and(|all| all <= pixels.length * 8);
        // C.7.6.3.1.2: two pixels share their chroma. Some writers say 422 and store all samples.
        let frame_bits = if is_422(file) && !fits(full) { cells.saturating_mul(2) } else { full };
        Ok(Self { frame_bits })
    }

    fn frame(
        &self,
        file: &DicomFile,
        pixels: &BulkValue,
        number: FrameNumber,
    ) -> Result<Piece, Problem> {
        let first = self.frame_bits.checked_mul(number.index() as u64);
        let region = first.and_then(|first| file.region(pixels).bits(first, self.frame_bits));
        region
            .map(Piece::Stored)
            .ok_or_else(|| FileError::Damaged("it breaks off before the end of this frame").into())
    }
}

fn is_422(file: &DicomFile) -> bool {
    let value = file.dataset.get(tags::PHOTOMETRIC_INTERPRETATION);
    value.and_then(|e| e.to_str().ok()).is_some_and(|text| text.trim_end().ends_with("_422"))
}

/// Which fragments make up which frame.
struct Encapsulated<'a> {
    fragments: &'a [Fragment],
    /// Index of the first fragment of each frame; empty where all belong to the only frame.
    firsts: Vec<usize>,
}

impl<'a> Encapsulated<'a> {
    fn new(file: &DicomFile, items: &'a [Fragment], count: u64) -> Result<Self, Problem> {
        let unknown =
            || Problem::from(FileError::Damaged("its fragments cannot be told apart by frame"));
        // PS3.5 A.4: the first item is the Basic Offset Table, empty or not.
        let (table, fragments) = items.split_first().ok_or_else(unknown)?;
        if fragments.is_empty() {
            return Err(FileError::Damaged("it has no fragments").into());
        }
        if count == 1 {
            return Ok(Self { fragments, firsts: Vec::new() });
        }
        if fragments.len() as u64 == count {
            return Ok(Self { fragments, firsts: (0..fragments.len()).collect() });
        }
        let offsets = basic_offsets(file, table)?.or_else(|| extended_offsets(file));
        let firsts = match offsets.and_then(|offsets| by_offset(fragments, &offsets)) {
            Some(firsts) => firsts,
            None => by_codestream(file, fragments)?,
        };
        if firsts.len() as u64 != count || firsts.first() != Some(&0) {
            return Err(unknown());
        }
        Ok(Self { fragments, firsts })
    }

    fn frame(&self, file: &DicomFile, index: usize) -> Result<Vec<Piece>, Problem> {
        let first = self.firsts.get(index).copied().unwrap_or(0);
        let last = self.firsts.get(index + 1).copied().unwrap_or(self.fragments.len());
        let fragments = self.fragments.get(first..last).ok_or(NO_SUCH_FRAME)?;
        Ok(fragments.iter().map(|f| Piece::Stored(stored(file, f))).collect())
    }
}

fn stored(file: &DicomFile, fragment: &Fragment) -> Region {
    Region::new(file.source.clone(), fragment.start, u64::from(fragment.length))
}

fn basic_offsets(file: &DicomFile, table: &Fragment) -> Result<Option<Vec<u64>>, FileError> {
    if table.length == 0 || u64::from(table.length) > OFFSETS * 4 {
        return Ok(None);
    }
    let bytes = file.source.read(table.start, table.length as usize)?;
    let words =
        bytes.chunks_exact(4).map(|b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    Ok(Some(words.collect()))
}

/// PS3.3 C.7.6.3.1.8: 64-bit offsets, for pixel data of more than 4 GiB.
fn extended_offsets(file: &DicomFile) -> Option<Vec<u64>> {
    let bytes = file.dataset.get(tags::EXTENDED_OFFSET_TABLE)?.to_bytes().ok()?;
    let words = bytes.chunks_exact(8).filter_map(|b| b.try_into().ok());
    Some(words.map(u64::from_le_bytes).collect())
}

/// Offsets count from the first item tag after the Basic Offset Table, to item tags.
fn by_offset(fragments: &[Fragment], offsets: &[u64]) -> Option<Vec<usize>> {
    let base = fragments.first()?.start;
    let place = |offset: &u64| {
        let start = base.checked_add(*offset)?;
        fragments.binary_search_by_key(&start, |fragment| fragment.start).ok()
    };
    let firsts: Vec<usize> = offsets.iter().map(place).collect::<Option<_>>()?;
    firsts.is_sorted_by(|a, b| a < b).then_some(firsts)
}

/// Without a table: a frame begins where a fragment begins with the first marker of a codestream.
fn by_codestream(file: &DicomFile, fragments: &[Fragment]) -> Result<Vec<usize>, FileError> {
    const JPEG_SOI: [u8; 2] = [0xFF, 0xD8];
    const JPEG_2000_SOC: [u8; 2] = [0xFF, 0x4F];
    let mut firsts = Vec::new();
    for (index, fragment) in fragments.iter().enumerate().filter(|(_, f)| f.length >= 2) {
        let start = file.source.read(fragment.start, 2)?;
        if start == JPEG_SOI || start == JPEG_2000_SOC {
            firsts.push(index);
        }
    }
    Ok(firsts)
}

fn integer(file: &DicomFile, tag: Tag) -> Option<u64> {
    file.dataset.get(tag)?.to_int().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_must_point_at_items_in_order() {
        let at = |start| Fragment { start, length: 4 };
        let fragments = [at(100), at(112), at(124)];
        assert_eq!(by_offset(&fragments, &[0, 24]), Some(vec![0, 2]));
        assert_eq!(by_offset(&fragments, &[0, 25]), None);
        assert_eq!(by_offset(&fragments, &[24, 0]), None);
        assert_eq!(by_offset(&fragments, &[0, u64::MAX]), None);
    }
}
