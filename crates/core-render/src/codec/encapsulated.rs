//! Fragments to the frame they make up (PS3.5 A.4).

use std::ops::Range;

use bytes::Bytes;
use dicomweb_types::FrameNumber;

use crate::codec::Codec;
use crate::error::{RenderError, Result};

/// Extended Offset Table and its lengths (7FE0,0001 and 0002).
#[derive(Debug, Clone, Default)]
pub(crate) struct ExtendedOffsets {
    pub offsets: Vec<u64>,
}

/// The frames of an encapsulated pixel data value, each a run of fragments.
#[derive(Debug)]
pub(crate) struct Frames {
    value: Bytes,
    fragments: Vec<Fragment>,
    /// Which fragments make up each frame.
    frames: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Fragment {
    /// Where its item tag stands, counted as offsets are: from the first byte after the table.
    item: u64,
    bytes: Range<usize>,
}

impl Frames {
    /// Finds the frames of `value`, of which there should be `number_of_frames`.
    ///
    /// # Errors
    /// There is no fragment at all.
    pub(crate) fn find(
        value: &Bytes,
        number_of_frames: u32,
        extended: &ExtendedOffsets,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let (table, fragments) = items(value, warnings);
        if fragments.iter().all(|fragment| fragment.bytes.is_empty()) {
            return Err(RenderError::damaged("the pixel data hold no fragment"));
        }
        let wanted = number_of_frames as usize;
        let by_table = |offsets: &[u64]| by_offsets(&fragments, offsets);
        let basic = table.iter().map(|&offset| u64::from(offset)).collect::<Vec<_>>();
        let tabled = by_table(&extended.offsets).or_else(|| by_table(&basic));
        let frames = match tabled {
            Some(frames) if frames.len() == wanted => frames,
            other => {
                if !basic.is_empty() || !extended.offsets.is_empty() {
                    warnings.push("the offset table is wrong and was ignored".to_owned());
                }
                let found = without_table(value, &fragments, wanted);
                // A table that lands on fragments is better than a guess that is no better.
                other.filter(|_| found.len() != wanted).unwrap_or(found)
            }
        };
        if frames.len() != wanted {
            warnings.push(format!("{wanted} frames are declared, {} were found", frames.len()));
        }
        Ok(Self { value: value.clone(), fragments, frames })
    }

    /// How many frames there are.
    pub(crate) fn count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// The bytes of one frame, its fragments joined.
    pub(crate) fn frame(&self, frame: FrameNumber) -> Result<Bytes> {
        let range = self
            .frames
            .get(frame.index())
            .cloned()
            .ok_or_else(|| RenderError::FrameOutOfRange { frame, frames: self.count() })?;
        Ok(self.join(range))
    }

    /// All fragments, joined: the one stream of a video.
    pub(crate) fn joined(&self) -> Bytes {
        self.join(0..self.fragments.len())
    }

    fn join(&self, range: Range<usize>) -> Bytes {
        match &self.fragments[range] {
            [one] => self.value.slice(one.bytes.clone()),
            many => {
                let parts: Vec<&[u8]> =
                    many.iter().map(|part| &self.value[part.bytes.clone()]).collect();
                parts.concat().into()
            }
        }
    }
}

/// The Basic Offset Table and the fragments. What breaks off is cut at the end of the value.
fn items(value: &[u8], warnings: &mut Vec<String>) -> (Vec<u32>, Vec<Fragment>) {
    let (mut table, mut fragments) = (None, Vec::new());
    let (mut at, mut first_item) = (0, 0);
    while let Some(header) = value.get(at..at + 8) {
        // Big-endian encapsulation does not exist (A.4).
        let tag = [header[0], header[1], header[2], header[3]];
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if tag != [0xFE, 0xFF, 0x00, 0xE0] {
            break; // the delimiter, or nothing that we know
        }
        let start = at + 8;
        let end = start.saturating_add(length).min(value.len());
        if end - start < length {
            warnings.push("the last fragment breaks off".to_owned());
        }
        if table.is_none() {
            let words = value[start..end].as_chunks::<4>().0;
            table = Some(words.iter().map(|word| u32::from_le_bytes(*word)).collect());
            first_item = end;
        } else {
            fragments.push(Fragment { item: (at - first_item) as u64, bytes: start..end });
        }
        at = end;
    }
    (table.unwrap_or_default(), fragments)
}

/// Frames by a table, if every offset lands on an item and they ascend (R6.4).
fn by_offsets(fragments: &[Fragment], offsets: &[u64]) -> Option<Vec<Range<usize>>> {
    let starts: Vec<usize> = offsets
        .iter()
        .map(|offset| fragments.binary_search_by_key(offset, |fragment| fragment.item).ok())
        .collect::<Option<_>>()?;
    let ascending = starts.first() == Some(&0) && starts.windows(2).all(|pair| pair[0] < pair[1]);
    ascending.then(|| runs(&starts, fragments.len()))
}

/// R6.5: as many fragments as frames; or one frame of them all; or one at each codestream's start.
fn without_table(value: &[u8], fragments: &[Fragment], wanted: usize) -> Vec<Range<usize>> {
    if fragments.len() == wanted {
        return runs(&(0..wanted).collect::<Vec<_>>(), fragments.len());
    }
    if wanted == 1 {
        return runs(&[0], fragments.len());
    }
    let mut starts: Vec<usize> = (0..fragments.len())
        .filter(|&index| Codec::sniff(&value[fragments[index].bytes.clone()]).is_some())
        .collect();
    if starts.first() != Some(&0) {
        // RLE and native fragments have no mark: one for each frame.
        starts = (0..fragments.len()).collect();
    }
    runs(&starts, fragments.len())
}

/// Each start up to the next.
fn runs(starts: &[usize], end: usize) -> Vec<Range<usize>> {
    let ends = starts[1..].iter().copied().chain([end]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFE, 0xFF, 0x00, 0xE0];
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
        out
    }

    fn value(table: &[u32], fragments: &[&[u8]]) -> Bytes {
        let table: Vec<u8> = table.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let mut out = item(&table);
        out.extend(fragments.iter().flat_map(|fragment| item(fragment)));
        out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        out.into()
    }

    const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF, 0xDB];
    const MORE: &[u8] = &[1, 2];

    fn frames(value: &Bytes, wanted: u32) -> (Vec<Bytes>, usize) {
        let mut warnings = Vec::new();
        let found =
            Frames::find(value, wanted, &ExtendedOffsets::default(), &mut warnings).unwrap();
        let frames =
            (1..=found.count()).map(|n| found.frame(FrameNumber::new(n).unwrap()).unwrap());
        (frames.collect(), warnings.len())
    }

    #[test]
    fn the_table_says_which_fragments_are_a_frame() {
        let (found, warnings) = frames(&value(&[0, 22], &[JPEG, MORE, JPEG]), 2);
        assert_eq!(found, [[JPEG, MORE].concat(), JPEG.to_vec()]);
        assert_eq!(warnings, 0);
    }

    #[test]
    fn a_wrong_table_is_ignored() {
        for table in [&[0, 9999][..], &[0, 13], &[12, 0], &[5, 12]] {
            let (found, warnings) = frames(&value(table, &[JPEG, JPEG]), 2);
            assert_eq!((found.len(), warnings), (2, 1), "{table:?}");
        }
    }

    #[test]
    fn a_table_that_lacks_frames_is_ignored() {
        let (found, warnings) = frames(&value(&[0], &[JPEG, MORE, JPEG, MORE]), 2);
        assert_eq!(found, [[JPEG, MORE].concat(), [JPEG, MORE].concat()]);
        assert_eq!(warnings, 1);
    }

    #[test]
    fn without_a_table_one_frame_is_all_fragments() {
        assert_eq!(frames(&value(&[], &[JPEG, MORE, MORE]), 1).0, [[JPEG, MORE, MORE].concat()]);
    }

    #[test]
    fn without_a_table_frames_begin_at_codestreams() {
        let (found, _) = frames(&value(&[], &[JPEG, MORE, JPEG, JPEG]), 3);
        assert_eq!(found, [[JPEG, MORE].concat(), JPEG.to_vec(), JPEG.to_vec()]);
    }

    #[test]
    fn extended_offsets_win() {
        let extended = ExtendedOffsets { offsets: vec![0, 12] };
        let value = value(&[], &[JPEG, MORE]);
        let found = Frames::find(&value, 2, &extended, &mut Vec::new()).unwrap();
        assert_eq!(found.count(), 2);
    }

    #[test]
    fn fragments_that_break_off_are_cut() {
        let whole = value(&[], &[JPEG]);
        let cut = whole.slice(..whole.len() - 10);
        let (found, warnings) = frames(&cut, 1);
        assert_eq!((found[0].as_ref(), warnings), (&JPEG[..2], 1));
    }

    #[test]
    fn no_fragment_is_an_error_and_a_missing_frame_too() {
        let find = |v: &Bytes, n| Frames::find(v, n, &ExtendedOffsets::default(), &mut Vec::new());
        for empty in [value(&[], &[]), value(&[0], &[&[]]), Bytes::new()] {
            assert!(matches!(find(&empty, 1), Err(RenderError::Damaged { .. })));
        }
        let one = find(&value(&[], &[JPEG]), 7).unwrap();
        let missing = one.frame(FrameNumber::new(2).unwrap());
        assert!(matches!(missing, Err(RenderError::FrameOutOfRange { frames: 1, .. })));
    }
}
