//! Lookup tables as they stand in a data set (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5).

use dicom_core::value::PrimitiveValue;
use serde::{Deserialize, Serialize};

use crate::error::{RenderError, Result};

/// A lookup table. Has at least one entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lut {
    /// The input that the first entry stands for.
    first: i64,
    entries: Vec<u16>,
    bits: u8,
}

/// A LUT Descriptor: number of entries, first input, bits per entry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Descriptor {
    pub entries: usize,
    pub first: i64,
    pub bits: u8,
}

impl Descriptor {
    /// From the three values of the attribute. `signed` says how the first input is meant: written
    /// as US it surfaces as 65 536 − n (R4.7).
    pub(crate) fn new(values: &[i64], signed: bool) -> Option<Self> {
        let &[entries, first, bits] = values.get(..3)? else { return None };
        let entries = match entries {
            0 => 65_536, // PS3.3 C.11.1.1: 2^16 does not fit the attribute
            -65_535..0 => (entries + 65_536) as usize,
            1..=65_536 => entries as usize,
            _ => return None,
        };
        let first = match first {
            32_768..=65_535 if signed => first - 65_536,
            -32_768..0 if !signed => first + 65_536,
            _ => first,
        };
        Some(Self {
            entries,
            first,
            bits: u8::try_from(bits).ok().filter(|b| (1..=16).contains(b))?,
        })
    }
}

impl Lut {
    /// A table of `descriptor`'s shape from LUT Data in any of its encodings.
    ///
    /// # Errors
    /// No data at all. Fewer entries than promised are what there is: inputs beyond meet the last.
    pub(crate) fn new(descriptor: Descriptor, data: &PrimitiveValue) -> Result<Self> {
        let mut entries = expand(data, descriptor);
        entries.truncate(descriptor.entries);
        if entries.is_empty() {
            return Err(RenderError::damaged("a lookup table has no data"));
        }
        Ok(Self { first: descriptor.first, entries, bits: descriptor.bits })
    }

    /// A table of entries that are expanded already.
    pub(crate) fn from_entries(descriptor: Descriptor, entries: Vec<u16>) -> Option<Self> {
        (!entries.is_empty()).then_some(Self {
            first: descriptor.first,
            entries,
            bits: descriptor.bits,
        })
    }

    /// Whether it is as [`Self::new`] makes it.
    pub(crate) fn is_legal(&self) -> bool {
        !self.entries.is_empty() && (1..=16).contains(&self.bits)
    }

    /// The entry for `input`; inputs outside meet the first or the last entry.
    pub(crate) fn at(&self, input: i64) -> u16 {
        let index = input.saturating_sub(self.first).clamp(0, self.entries.len() as i64 - 1);
        self.entries[index as usize]
    }

    /// The entry for a value that may have a fraction: the nearest input's (R4.11).
    pub(crate) fn at_value(&self, input: f64) -> u16 {
        self.at((input + 0.5).floor() as i64)
    }

    /// The same table for inputs that have a sign, where it was read as if they had none (R4.7).
    pub(crate) fn with_signed_input(self) -> Self {
        let first = if self.first >= 32_768 { self.first - 65_536 } else { self.first };
        Self { first, ..self }
    }

    /// The output, 0 to 1, for a level of 0 to 1 that is scaled to the table's inputs (PS3.3 C.11.6).
    pub(crate) fn of_level(&self, level: f64) -> f64 {
        (f64::from(self.at_level(level)) / f64::from(self.full_scale())).min(1.0)
    }

    /// The entry for a level of 0 to 1 that is scaled to the table's inputs.
    pub(crate) fn at_level(&self, level: f64) -> u16 {
        let last = self.entries.len() - 1;
        self.entries[((level * last as f64 + 0.5) as usize).min(last)]
    }

    /// The input that the first entry stands for.
    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    /// How many inputs have an entry of their own.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What an entry reaches at most: 2^bits − 1.
    pub(crate) fn full_scale(&self) -> u16 {
        ((1_u32 << self.bits) - 1) as u16
    }

    /// The same table, taken to have the bits that its entries use, where they use less than a quarter
    /// of what the descriptor claims: a table of 12-bit entries called 16-bit would draw a black
    /// picture. `None` where there is nothing to correct.
    pub(crate) fn narrowed(&self) -> Option<Self> {
        let used = (u16::BITS - self.largest().leading_zeros()) as u8;
        (used >= 1 && used + 2 <= self.bits).then(|| Self { bits: used, ..self.clone() })
    }

    /// The largest entry.
    pub(crate) fn largest(&self) -> u16 {
        self.entries.iter().copied().max().unwrap_or(0)
    }
}

/// The entries, whichever way they are written: a word each, two 8-bit entries in a word, a byte
/// each, or words as bytes (OB, UN).
fn expand(data: &PrimitiveValue, descriptor: Descriptor) -> Vec<u16> {
    if let PrimitiveValue::U8(bytes) = data {
        return expand_bytes(bytes, descriptor);
    }
    let words: Vec<u16> = match data {
        PrimitiveValue::U16(words) => words.to_vec(),
        PrimitiveValue::I16(words) => words.iter().map(|&w| w as u16).collect(),
        other => match other.to_multi_int::<i64>() {
            Ok(values) => values.into_iter().map(|v| v as u16).collect(),
            Err(_) => Vec::new(),
        },
    };
    // R4.7: half as many words as entries means that a word holds two 8-bit entries.
    let packed = descriptor.bits <= 8 && words.len() == descriptor.entries.div_ceil(2);
    if packed && descriptor.entries > 1 {
        return words.iter().flat_map(|w| w.to_le_bytes()).map(u16::from).collect();
    }
    words
}

fn expand_bytes(bytes: &[u8], descriptor: Descriptor) -> Vec<u16> {
    if bytes.len() >= descriptor.entries * 2 || descriptor.bits > 8 {
        return bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    }
    bytes.iter().copied().map(u16::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(entries: i64, first: i64, bits: i64, signed: bool) -> Descriptor {
        Descriptor::new(&[entries, first, bits], signed).unwrap()
    }

    #[test]
    fn zero_entries_mean_65536() {
        assert_eq!(descriptor(0, 0, 16, false).entries, 65_536);
    }

    #[test]
    fn the_first_input_follows_the_sign_of_the_input() {
        assert_eq!(descriptor(4, 63_488, 12, true).first, -2048);
        assert_eq!(descriptor(4, -2048, 12, false).first, 63_488);
        assert_eq!(descriptor(4, 63_488, 12, false).first, 63_488);
    }

    #[test]
    fn inputs_outside_meet_the_ends() {
        let lut =
            Lut::new(descriptor(3, 10, 16, false), &PrimitiveValue::U16([5, 6, 7][..].into()))
                .unwrap();
        assert_eq!([9, 10, 12, 13].map(|input| lut.at(input)), [5, 5, 7, 7]);
        assert_eq!([10.4, 10.5, f64::NAN, -1e300, 1e300].map(|v| lut.at_value(v)), [5, 6, 5, 5, 7]);
    }

    #[test]
    fn eight_bit_entries_are_found_in_every_packing() {
        let shape = descriptor(4, 0, 8, false);
        let forms = [
            PrimitiveValue::U16([1, 2, 3, 4][..].into()),
            PrimitiveValue::U16([0x0201, 0x0403][..].into()),
            PrimitiveValue::U8([1, 2, 3, 4][..].into()),
            PrimitiveValue::U8([1, 0, 2, 0, 3, 0, 4, 0][..].into()),
        ];
        for form in forms {
            let lut = Lut::new(shape, &form).unwrap();
            assert_eq!((0..4).map(|i| lut.at(i)).collect::<Vec<_>>(), [1, 2, 3, 4], "{form:?}");
        }
    }

    #[test]
    fn a_claim_of_far_more_bits_than_are_used_is_corrected() {
        let of = |bits, largest: u16| {
            let data = PrimitiveValue::U16([0, largest][..].into());
            Lut::new(descriptor(2, 0, bits, false), &data).unwrap().narrowed()
        };
        assert_eq!(of(16, 4095).unwrap().full_scale(), 4095);
        assert_eq!(of(16, 20_000), None, "a dark table is not a wrong one");
        assert_eq!(of(12, 4095), None);
        assert_eq!(of(8, 0), None);
    }

    #[test]
    fn a_table_without_data_is_an_error_and_a_short_one_is_not() {
        assert!(Lut::new(descriptor(4, 0, 8, false), &PrimitiveValue::Empty).is_err());
        let short =
            Lut::new(descriptor(256, 0, 16, false), &PrimitiveValue::U16([1, 9][..].into()))
                .unwrap();
        assert_eq!(short.at(200), 9);
    }
}
