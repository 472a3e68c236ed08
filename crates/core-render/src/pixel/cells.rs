//! Decoded cells, before they mean anything, and how a sample sits in its cell (PS3.5 §8.1.1).

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::attributes::Padding;

/// Cells of one frame, row-major, the samples of a pixel side by side.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    U8(Bytes),
    U16(Vec<u16>),
    U32(Vec<u32>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Where the sample sits in its cell, and whether it has a sign (R4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BitLayout {
    /// Bits of the sample, 1 to 32.
    pub bits: u8,
    /// Bits below it.
    pub shift: u8,
    /// Two's complement.
    pub signed: bool,
}

impl BitLayout {
    /// The sample's bits, without sign: the index into a table of 2^bits values.
    pub(crate) fn index(self, cell: u32) -> u32 {
        (cell >> self.shift) & mask(self.bits)
    }

    /// The bits of a stored value: the inverse of [`Self::value`].
    pub(crate) fn bits_of(self, value: i64) -> u32 {
        value as u32 & mask(self.bits)
    }

    /// The stored value of a sample's bits.
    pub(crate) fn value(self, index: u32) -> i64 {
        sign_extend(i64::from(index), self.bits, self.signed)
    }
}

impl BitLayout {
    /// Every stored value that there can be.
    pub(crate) fn all(self) -> RangeInclusive<i64> {
        let count = 1_i64 << self.bits;
        if self.signed { -count / 2..=count / 2 - 1 } else { 0..=count - 1 }
    }

    /// Lowest to highest stored value of these cells; all where finding out costs more than it saves.
    fn range_of(self, cells: &[u16]) -> RangeInclusive<i64> {
        if self.bits <= 12 {
            return self.all();
        }
        // In 32 bits and without a branch, so that the compiler makes vectors of it.
        let sign = if self.signed { 1_i32 << (self.bits - 1) } else { 0 };
        let value = |cell: u16| (self.index(u32::from(cell)) as i32 ^ sign) - sign;
        let range = cells
            .iter()
            .fold((i32::MAX, i32::MIN), |(low, high), &c| (low.min(value(c)), high.max(value(c))));
        i64::from(range.0)..=i64::from(range.1)
    }
}

/// The lowest `bits` bits.
pub(crate) fn mask(bits: u8) -> u32 {
    if bits >= 32 { u32::MAX } else { (1 << bits) - 1 }
}

/// Reads the lowest `bits` of a value as two's complement, if it is `signed`.
pub(crate) fn sign_extend(value: i64, bits: u8, signed: bool) -> i64 {
    let unsigned = value & i64::from(mask(bits));
    let negative = signed && unsigned >> (bits - 1) & 1 == 1;
    if negative { unsigned - (1_i64 << bits) } else { unsigned }
}

impl Cells {
    /// What a C decoder put out.
    pub(crate) fn from_samples(samples: native_codecs::Samples) -> Self {
        match samples {
            native_codecs::Samples::U8(samples) => Self::U8(samples.into()),
            native_codecs::Samples::U16(samples) => Self::U16(samples),
        }
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::U8(cells) => cells.len(),
            Self::U16(cells) => cells.len(),
            Self::U32(cells) => cells.len(),
            Self::F32(cells) => cells.len(),
            Self::F64(cells) => cells.len(),
        }
    }

    /// Maps every cell through a table over the sample's bits, of which the stored values in a range
    /// are needed; or, where cells are wider than 16 bits, through the function itself.
    pub(crate) fn map(
        &self,
        layout: BitLayout,
        table: impl FnOnce(RangeInclusive<i64>) -> Vec<u8>,
        function: impl Fn(f64) -> u8,
    ) -> Vec<u8> {
        match self {
            Self::U8(cells) => {
                let table = table(layout.all());
                // Every byte has an entry, so that the loop needs no masks.
                let wide: [u8; 256] =
                    std::array::from_fn(|cell| table[layout.index(cell as u32) as usize]);
                cells.iter().map(|&cell| wide[usize::from(cell)]).collect()
            }
            Self::U16(cells) => {
                let mut table = table(layout.range_of(cells));
                table.resize(1 << 16, 0);
                look_up(cells, table.first_chunk().expect("it has just got its size"), layout)
            }
            Self::U32(cells) => cells
                .iter()
                .map(|&cell| function(layout.value(layout.index(cell)) as f64))
                .collect(),
            Self::F32(cells) => cells.iter().map(|&cell| function(f64::from(cell))).collect(),
            Self::F64(cells) => cells.iter().map(|&cell| function(cell)).collect(),
        }
    }

    /// Lowest and highest of `modality(stored value)` over the frame, padding and values that are
    /// not finite left out; over padding too where there is nothing else; (0, 0) where nothing is.
    pub(crate) fn range(
        &self,
        layout: BitLayout,
        padding: Option<Padding>,
        modality: impl Fn(f64) -> f64,
    ) -> (f64, f64) {
        let is_padding = |value: f64| padding.is_some_and(|padding| padding.contains(value));
        let values = self.distinct(layout);
        let over = |keep: &dyn Fn(f64) -> bool| {
            values.iter(keep).map(&modality).filter(|v| v.is_finite()).fold(
                None,
                |range: Option<(f64, f64)>, v| match range {
                    None => Some((v, v)),
                    Some((low, high)) => Some((low.min(v), high.max(v))),
                },
            )
        };
        over(&|v| !is_padding(v)).or_else(|| over(&|_| true)).unwrap_or((0.0, 0.0))
    }

    /// The stored values of the frame: each once for narrow cells, all of them for wide ones.
    fn distinct(&self, layout: BitLayout) -> StoredValues<'_> {
        match self {
            Self::U8(cells) => seen(layout, cells.iter().map(|&cell| u32::from(cell))),
            Self::U16(cells) => seen(layout, cells.iter().map(|&cell| u32::from(cell))),
            Self::U32(_) | Self::F32(_) | Self::F64(_) => StoredValues::All(self, layout),
        }
    }
}

/// The entry of each cell's sample. The table has one for every cell that there can be, so that the loop
/// needs no check; and layout and table are plain values, which need not be read again for each cell.
/// Both matter: this loop is most of what an uncompressed frame costs.
fn look_up(cells: &[u16], table: &[u8; 1 << 16], layout: BitLayout) -> Vec<u8> {
    let (shift, mask) = (u32::from(layout.shift), mask(layout.bits) as u16);
    if (shift, mask) == (0, u16::MAX) {
        return cells.iter().map(|&cell| table[usize::from(cell)]).collect();
    }
    cells.iter().map(|&cell| table[usize::from(cell >> shift & mask)]).collect()
}

enum StoredValues<'a> {
    Seen(Vec<i64>),
    All(&'a Cells, BitLayout),
}

fn seen(layout: BitLayout, cells: impl Iterator<Item = u32>) -> StoredValues<'static> {
    let mut seen = vec![false; 1 << layout.bits];
    for cell in cells {
        seen[layout.index(cell) as usize] = true;
    }
    let present = seen.iter().enumerate().filter(|(_, seen)| **seen);
    StoredValues::Seen(present.map(|(index, _)| layout.value(index as u32)).collect())
}

impl StoredValues<'_> {
    fn iter<'s>(&'s self, keep: impl Fn(f64) -> bool + 's) -> Box<dyn Iterator<Item = f64> + 's> {
        let values: Box<dyn Iterator<Item = f64>> = match self {
            Self::Seen(values) => Box::new(values.iter().map(|&v| v as f64)),
            Self::All(Cells::U32(cells), layout) => {
                Box::new(cells.iter().map(|&cell| layout.value(layout.index(cell)) as f64))
            }
            Self::All(Cells::F32(cells), _) => Box::new(cells.iter().map(|&cell| f64::from(cell))),
            Self::All(Cells::F64(cells), _) => Box::new(cells.iter().copied()),
            Self::All(Cells::U8(_) | Cells::U16(_), _) => Box::new(std::iter::empty()),
        };
        Box::new(values.filter(move |&v| keep(v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_shifted_masked_and_signed() {
        let layout = BitLayout { bits: 12, shift: 4, signed: true };
        // R4.1: 12 bits stored in the high bits of 16, garbage below.
        assert_eq!(layout.value(layout.index(0x800F)), -2048);
        assert_eq!(layout.value(layout.index(0x7FF3)), 2047);
        let unsigned = BitLayout { signed: false, ..layout };
        assert_eq!(unsigned.value(unsigned.index(0x800F)), 2048);
    }

    #[test]
    fn the_range_of_cells_is_that_of_their_stored_values() {
        let signed = BitLayout { bits: 16, shift: 0, signed: true };
        assert_eq!(signed.range_of(&[0xFFFF, 3, 0x8000]), -32_768..=3);
        let shifted = BitLayout { bits: 14, shift: 2, signed: true };
        assert_eq!(shifted.range_of(&[0xFFFF, 0b1011]), -1..=2);
        let narrow = BitLayout { bits: 8, shift: 0, signed: true };
        assert_eq!(narrow.range_of(&[1]), -128..=127);
        for value in signed.all() {
            assert_eq!(signed.value(signed.bits_of(value)), value);
        }
    }

    #[test]
    fn thirty_two_bits_are_read_whole() {
        let layout = BitLayout { bits: 32, shift: 0, signed: true };
        assert_eq!(layout.value(layout.index(u32::MAX)), -1);
    }

    #[test]
    fn garbage_above_the_sample_is_ignored() {
        let layout = BitLayout { bits: 12, shift: 0, signed: false };
        let cells = Cells::U16(vec![0xF001, 0x0002]);
        assert_eq!(cells.map(layout, |_| (0..=255).cycle().take(4096).collect(), |_| 0), [1, 2]);
        assert_eq!(cells.range(layout, None, |v| v), (1.0, 2.0));
    }

    #[test]
    fn padding_is_left_out_of_the_range_unless_there_is_nothing_else() {
        let layout = BitLayout { bits: 16, shift: 0, signed: true };
        let padding = Some(Padding { first: -2000.0, last: -2000.0 });
        let cells = Cells::U16(vec![-2000_i16 as u16, 5, 9]);
        assert_eq!(cells.range(layout, padding, |v| v * 2.0), (10.0, 18.0));
        let all = Cells::U16(vec![-2000_i16 as u16; 2]);
        assert_eq!(all.range(layout, padding, |v| v), (-2000.0, -2000.0));
    }

    #[test]
    fn values_that_are_not_finite_are_left_out_of_the_range() {
        let layout = BitLayout { bits: 32, shift: 0, signed: false };
        let cells = Cells::F32(vec![f32::NAN, 1.0, f32::INFINITY, 3.0]);
        assert_eq!(cells.range(layout, None, |v| v), (1.0, 3.0));
        assert_eq!(Cells::F64(vec![f64::NAN]).range(layout, None, |v| v), (0.0, 0.0));
    }
}
