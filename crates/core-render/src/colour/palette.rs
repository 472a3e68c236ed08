//! PALETTE COLOR: indices to RGB (PS3.3 C.7.6.3.1.5, C.7.9.2).

use dicom_core::Tag;
use dicom_core::value::PrimitiveValue;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::dataset::{integers, primitive};
use crate::error::{RenderError, Result};
use crate::lut::curve::Curve;
use crate::lut::lookup::{Descriptor, Lut};
use crate::pixel::cells::BitLayout;

/// The three tables of a palette.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Palette {
    red: Lut,
    green: Lut,
    blue: Lut,
    /// Values below the tables' first are grey, not the first entry (R4.21).
    supplemental: bool,
}

/// Where one colour's table stands in a data set.
struct Colour {
    name: &'static str,
    descriptor: Tag,
    data: Tag,
    segmented: Tag,
}

const RED: Colour = Colour {
    name: "Red Palette Color Lookup Table",
    descriptor: tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    data: tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    segmented: tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
};
const GREEN: Colour = Colour {
    name: "Green Palette Color Lookup Table",
    descriptor: tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    data: tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    segmented: tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
};
const BLUE: Colour = Colour {
    name: "Blue Palette Color Lookup Table",
    descriptor: tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    data: tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    segmented: tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
};

impl Palette {
    /// The palette of a data set; `signed` is that of the stored values.
    pub(crate) fn read(dataset: &InMemDicomObject, signed: bool) -> Result<Self> {
        let table = |colour| read_table(dataset, &colour, signed);
        Ok(Self { red: table(RED)?, green: table(GREEN)?, blue: table(BLUE)?, supplemental: false })
    }

    /// The same tables, for the values that they map and no others.
    pub(crate) fn supplemental(self) -> Self {
        Self { supplemental: true, ..self }
    }

    /// A palette of these colours, the first for stored value 0; `None` without any.
    pub(crate) fn of_colours(colours: &[[u8; 3]]) -> Option<Self> {
        let descriptor = Descriptor { entries: colours.len(), first: 0, bits: 8 };
        let table = |channel: usize| {
            Lut::from_entries(descriptor, colours.iter().map(|c| u16::from(c[channel])).collect())
        };
        Some(Self { red: table(0)?, green: table(1)?, blue: table(2)?, supplemental: false })
    }

    /// The three tables.
    pub(crate) fn tables(&self) -> [&Lut; 3] {
        [&self.red, &self.green, &self.blue]
    }

    /// The colour of every sample that `layout` can hold, indexed by its unsigned bits; `curve` draws
    /// the stored values that a supplemental palette leaves grey, and knows padding, which is black.
    pub(crate) fn table(&self, layout: BitLayout, curve: &Curve<'_>) -> Vec<[u8; 3]> {
        let tables = self.tables();
        let scale = self.scale();
        (0..1_u32 << layout.bits)
            .map(|bits| layout.value(bits))
            .map(|value| match self.supplemental && value < self.red.first() {
                _ if curve.is_padding(value as f64) => [0; 3],
                true => [curve.display(value as f64); 3],
                false => tables.map(|table| scale(table.at(value))),
            })
            .collect()
    }

    /// The colour of every sample that `layout` can hold, indexed by its unsigned bits, where the tables
    /// map display values, scaled to their inputs (pseudo-colour, PS3.4 N.2.1).
    pub(crate) fn table_of_levels(&self, layout: BitLayout, curve: &Curve<'_>) -> Vec<[u8; 3]> {
        let scale = self.scale();
        (0..1_u32 << layout.bits)
            .map(|bits| match curve.level(layout.value(bits) as f64) {
                Some(level) => self.tables().map(|table| scale(table.at_level(level))),
                None => [0; 3],
            })
            .collect()
    }

    /// From an entry to 8 bits.
    fn scale(&self) -> impl Fn(u16) -> u8 {
        let full_scale = f64::from(self.full_scale());
        move |entry| ((f64::from(entry) * 255.0 / full_scale + 0.5).floor() as u16).min(255) as u8
    }

    /// R4.19: files exist that hold 8-bit values in tables of 16 bits.
    fn full_scale(&self) -> u16 {
        let tables = self.tables();
        let declared = tables.iter().map(|t| t.full_scale()).max().unwrap_or(255);
        let largest = tables.iter().map(|t| t.largest()).max().unwrap_or(0);
        if largest <= 255 { 255 } else { declared }
    }
}

fn read_table(dataset: &InMemDicomObject, colour: &Colour, signed: bool) -> Result<Lut> {
    let descriptor = Descriptor::new(&integers(dataset, colour.descriptor), signed)
        .ok_or_else(|| RenderError::attribute(colour.name, "has no legal descriptor"))?;
    if let Some(segments) = primitive(dataset, colour.segmented) {
        let entries = expand_segments(&words(segments, descriptor), descriptor.entries);
        return Lut::from_entries(descriptor, entries)
            .ok_or_else(|| RenderError::attribute(colour.name, "has no usable segments"));
    }
    let data = primitive(dataset, colour.data)
        .ok_or_else(|| RenderError::attribute(colour.name, "has no data"))?;
    Lut::new(descriptor, data)
}

/// Segmented data are words, or bytes where the entries have 8 bits (C.7.9.2).
fn words(data: &PrimitiveValue, descriptor: Descriptor) -> Vec<u16> {
    match data {
        PrimitiveValue::U16(words) if descriptor.bits > 8 => words.to_vec(),
        PrimitiveValue::U16(words) => {
            words.iter().flat_map(|word| word.to_le_bytes()).map(u16::from).collect()
        }
        other => {
            let bytes = other.to_bytes();
            if descriptor.bits > 8 {
                bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
            } else {
                bytes.iter().copied().map(u16::from).collect()
            }
        }
    }
}

/// Expands discrete (0), linear (1) and indirect (2) segments (C.7.9.2) to at most `entries`.
///
/// What is malformed ends the table there: entries beyond meet the last one.
fn expand_segments(words: &[u16], entries: usize) -> Vec<u16> {
    let mut out = Vec::with_capacity(entries.min(65_536));
    expand_into(&mut out, words, 0, usize::MAX, entries, true);
    out.truncate(entries);
    out
}

/// Expands `segments` segments from `at`; returns `None` once the table is full or malformed.
fn expand_into(
    out: &mut Vec<u16>,
    words: &[u16],
    mut at: usize,
    segments: usize,
    entries: usize,
    indirect_allowed: bool,
) -> Option<()> {
    for _ in 0..segments {
        if out.len() >= entries {
            return None;
        }
        let (&opcode, &length) = (words.get(at)?, words.get(at + 1)?);
        let length = usize::from(length);
        // Segments of nothing, replayed by other segments, would take for ever to fill no table.
        if length == 0 {
            return None;
        }
        match opcode {
            0 => {
                out.extend_from_slice(words.get(at + 2..at + 2 + length)?);
                at += 2 + length;
            }
            1 => {
                let (from, to) = (f64::from(*out.last()?), f64::from(*words.get(at + 2)?));
                let step = (to - from) / length as f64;
                out.extend((1..=length).map(|i| (from + step * i as f64 + 0.5).floor() as u16));
                at += 3;
            }
            // An indirect segment names earlier segments by their byte offset; it cannot nest.
            2 if indirect_allowed => {
                let offset =
                    usize::from(*words.get(at + 2)?) | usize::from(*words.get(at + 3)?) << 16;
                expand_into(out, words, offset / 2, length, entries, false);
                at += 4;
            }
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Modality, Padding};
    use crate::lut::curve::ResolvedVoi;

    #[test]
    fn discrete_and_linear_segments_are_expanded() {
        // Two values, then four linear steps to 100.
        assert_eq!(expand_segments(&[0, 2, 10, 20, 1, 4, 100], 6), [10, 20, 40, 60, 80, 100]);
    }

    #[test]
    fn linear_segments_go_down_too() {
        assert_eq!(expand_segments(&[0, 1, 9, 1, 3, 0], 4), [9, 6, 3, 0]);
    }

    #[test]
    fn indirect_segments_replay_earlier_ones() {
        // Segment 0 at byte 0, replayed once.
        assert_eq!(expand_segments(&[0, 2, 5, 6, 2, 1, 0, 0], 4), [5, 6, 5, 6]);
    }

    #[test]
    fn hostile_segments_end_the_table() {
        assert!(expand_segments(&[1, 4, 100], 6).is_empty(), "linear without a start");
        assert!(expand_segments(&[0, 9, 1], 6).is_empty(), "fewer values than promised");
        assert_eq!(expand_segments(&[0, 1, 3, 7, 7], 6), [3], "unknown opcode");
        assert_eq!(expand_segments(&[0, 1, 3, 2, 1, 6, 0], 6).len(), 1, "indirect to indirect");
        assert_eq!(expand_segments(&[0, 1, 3, 0, 0, 0, 1, 7], 6), [3], "a segment of nothing");
        let many: Vec<u16> =
            std::iter::once([0, 1, 0]).chain((0..100).map(|_| [1, 65_535, 9])).flatten().collect();
        assert_eq!(expand_segments(&many, 256).len(), 256, "bounded by the entries");
    }

    const BYTES: BitLayout = BitLayout { bits: 8, shift: 0, signed: false };

    #[test]
    fn a_supplemental_palette_leaves_lower_values_grey() {
        let table = palette(8, [1, 200]).supplemental().table(BYTES, &curve());
        assert_eq!([9, 10, 11, 12].map(|i| table[i][0]), [9, 1, 200, 200]);
    }

    #[test]
    fn padding_is_black_whatever_its_colour() {
        let padding = Some(Padding { first: 11.0, last: 11.0 });
        let table = palette(8, [1, 200]).table(BYTES, &Curve { padding, ..curve() });
        assert_eq!([10, 11, 12].map(|i| table[i][0]), [1, 0, 200]);
    }

    /// Stored values as they are.
    fn curve() -> Curve<'static> {
        let voi = ResolvedVoi::Range { low: 0.0, high: 255.0 };
        Curve {
            modality: &Modality::Identity,
            voi,
            inverse: false,
            presentation: None,
            padding: None,
        }
    }

    fn palette(bits: i64, values: [u16; 2]) -> Palette {
        let descriptor = Descriptor::new(&[2, 10, bits], false).unwrap();
        let lut = Lut::from_entries(descriptor, values.to_vec()).unwrap();
        Palette { red: lut.clone(), green: lut.clone(), blue: lut, supplemental: false }
    }

    #[test]
    fn indices_outside_meet_the_ends() {
        let table = palette(8, [1, 200]).table(BYTES, &curve());
        assert_eq!([0, 10, 11, 255].map(|i| table[i][0]), [1, 1, 200, 200]);
    }

    #[test]
    fn sixteen_bit_entries_span_the_full_scale_unless_they_are_eight_bit_values() {
        assert_eq!(palette(16, [0, 65_535]).table(BYTES, &curve())[11], [255; 3]);
        assert_eq!(palette(16, [0, 200]).table(BYTES, &curve())[11], [200; 3]);
    }
}
