//! Overlay planes (PS3.3 C.9.2, PS3.5 §8.1.2).

use std::ops::Range;

use bytes::Bytes;
use dicom_core::{PrimitiveValue, Tag};
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::dataset::{integer, integers, primitive, text};
use crate::pixel::cells::Cells;
use crate::pixel::raster::{Channels, Raster};

/// One overlay plane of type G (graphics). Regions of interest are not drawn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OverlayPlane {
    /// Its group, 6000 to 60FE.
    group: u16,
    rows: u32,
    columns: u32,
    /// Row and column of the image that the plane's first pixel lies on, from 1; may be 0 or less.
    origin: (i64, i64),
    bits: OverlayBits,
}

/// Where an overlay's bits are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum OverlayBits {
    /// In Overlay Data (60xx,3000), for image frames `first_frame` and on, `frames` of them.
    Plane { data: Bytes, frames: u32, first_frame: u32 },
    /// In this bit of every pixel cell (retired).
    Embedded { bit: u8 },
}

impl OverlayPlane {
    /// Every usable graphics plane of groups 6000 to 60FE; others are left out with a warning.
    pub(crate) fn read_all(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Vec<Self> {
        (0x6000..=0x60FE)
            .step_by(2)
            .filter(|&group| primitive(dataset, Tag(group, 0x0010)).is_some())
            .filter_map(|group| Self::read(dataset, group, warnings))
            .collect()
    }

    fn read(dataset: &InMemDicomObject, group: u16, warnings: &mut Vec<String>) -> Option<Self> {
        let tag = |element| Tag(group, element);
        if text(dataset, tag(0x0040)).is_some_and(|kind| kind != "G") {
            return None;
        }
        let plane = Self::usable(dataset, group, tag);
        if plane.is_none() {
            warnings.push(format!("the overlay of group {group:04X} is not usable"));
        }
        plane
    }

    fn usable(dataset: &InMemDicomObject, group: u16, tag: impl Fn(u16) -> Tag) -> Option<Self> {
        let size = |element| {
            integer(dataset, tag(element))
                .and_then(|v| u32::try_from(v).ok())
                .filter(|v| (1..=65_535).contains(v))
        };
        let origin = match integers(dataset, tag(0x0050))[..] {
            [row, column, ..] => (row, column),
            _ => (1, 1),
        };
        let bits = match primitive(dataset, tag(0x3000)) {
            Some(data) => OverlayBits::Plane {
                data: overlay_bytes(data),
                frames: size(0x0015).unwrap_or(1),
                first_frame: size(0x0051).unwrap_or(1),
            },
            None => {
                let bit = integer(dataset, tag(0x0102)).filter(|bit| (0..32).contains(bit))?;
                OverlayBits::Embedded { bit: bit as u8 }
            }
        };
        Some(Self { group, rows: size(0x0010)?, columns: size(0x0011)?, origin, bits })
    }

    /// Whether it is as [`Self::read_all`] makes it.
    pub(crate) fn is_legal(&self) -> bool {
        match self.bits {
            OverlayBits::Embedded { bit } => bit < 32,
            OverlayBits::Plane { .. } => true,
        }
    }

    /// Its group, by which a presentation state names it (C.11.7).
    pub(crate) fn group(&self) -> u16 {
        self.group
    }

    /// Whether the plane lies in unused bits of the pixel cells.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.bits, OverlayBits::Embedded { .. })
    }

    /// Draws the plane white over a raster of the image's own size.
    pub(crate) fn draw(&self, raster: &mut Raster, frame: u32, cells: &Cells) {
        // Only where plane and raster meet: a plane may declare 65 535 × 65 535 pixels.
        let rows = overlap(self.origin.0, self.rows, raster.height);
        for row in rows {
            for column in overlap(self.origin.1, self.columns, raster.width) {
                if self.is_set(row, column, frame, cells) {
                    let y = i64::from(row) + self.origin.0 - 1;
                    let x = i64::from(column) + self.origin.1 - 1;
                    paint_white(raster, x as usize, y as usize);
                }
            }
        }
    }

    fn is_set(&self, row: u32, column: u32, frame: u32, cells: &Cells) -> bool {
        let index = row as usize * self.columns as usize + column as usize;
        match &self.bits {
            OverlayBits::Embedded { bit } => match cells {
                Cells::U8(cells) => {
                    cells.get(index).is_some_and(|cell| u32::from(*cell) >> bit & 1 == 1)
                }
                Cells::U16(cells) => {
                    cells.get(index).is_some_and(|cell| u32::from(*cell) >> bit & 1 == 1)
                }
                Cells::U32(cells) => cells.get(index).is_some_and(|cell| cell >> bit & 1 == 1),
                Cells::F32(_) | Cells::F64(_) => false,
            },
            OverlayBits::Plane { data, frames, first_frame } => {
                // One plane for all frames, unless it has frames of its own, not byte aligned.
                let of_frame = match frame.checked_sub(*first_frame) {
                    Some(offset) if offset < *frames => offset as usize,
                    _ if *frames == 1 => 0,
                    _ => return false,
                };
                let plane = self.rows as usize * self.columns as usize;
                let bit = of_frame.saturating_mul(plane).saturating_add(index);
                data.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
            }
        }
    }
}

fn overlay_bytes(data: &PrimitiveValue) -> Bytes {
    match data {
        // OW: the first pixel is the lowest bit of the first word.
        PrimitiveValue::U16(words) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        other => Bytes::from(other.to_bytes().into_owned()),
    }
}

/// The rows or columns of a plane of `plane` of them, the first on `origin` of the image (from 1),
/// that lie within an image of `image` of them.
fn overlap(origin: i64, plane: u32, image: u32) -> Range<u32> {
    let first = 1_i64.saturating_sub(origin).clamp(0, i64::from(plane));
    let end = i64::from(image).saturating_sub(origin).saturating_add(1).clamp(first, plane.into());
    first as u32..end as u32
}

fn paint_white(raster: &mut Raster, x: usize, y: usize) {
    let channels = raster.channels.count();
    let at = (y * raster.width as usize + x) * channels;
    match raster.channels {
        Channels::Grey => raster.data[at] = 255,
        Channels::Rgb => raster.data[at..at + channels].fill(255),
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::VR;

    use super::*;
    use crate::attributes::tests::put;

    fn with_overlay(origin: [i16; 2], data: &[u8]) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        put(&mut dataset, Tag(0x6000, 0x0010), VR::US, 2_u16.into());
        put(&mut dataset, Tag(0x6000, 0x0011), VR::US, 3_u16.into());
        put(&mut dataset, Tag(0x6000, 0x0040), VR::CS, "G ".into());
        put(&mut dataset, Tag(0x6000, 0x0050), VR::SS, PrimitiveValue::I16(origin[..].into()));
        put(&mut dataset, Tag(0x6000, 0x3000), VR::OB, PrimitiveValue::U8(data.into()));
        dataset
    }

    fn drawn(dataset: &InMemDicomObject) -> Vec<u8> {
        let mut raster =
            Raster { width: 4, height: 3, channels: Channels::Grey, data: vec![0; 12] };
        let planes = OverlayPlane::read_all(dataset, &mut Vec::new());
        planes[0].draw(&mut raster, 1, &Cells::U8(Bytes::new()));
        raster.data
    }

    #[test]
    fn bits_run_from_the_lowest_without_row_padding() {
        // Pixels 0, 3 and 5 of the 3-column plane: (0,0), (1,0), (1,2).
        let raster = drawn(&with_overlay([1, 1], &[0b10_1001, 0]));
        assert_eq!(raster, [255, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn planes_reaching_outside_are_clipped() {
        let raster = drawn(&with_overlay([0, 0], &[0xFF, 0]));
        assert_eq!(raster, [255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn origins_out_of_all_reach_draw_nothing() {
        for origin in [i64::MIN, i64::MIN + 1, -3, 5, i64::MAX] {
            let mut dataset = with_overlay([1, 1], &[0xFF]);
            let text = format!("{}\\{origin}", i128::from(origin) * 1_000_000);
            put(&mut dataset, Tag(0x6000, 0x0050), VR::IS, text.as_str().into());
            assert_eq!(drawn(&dataset), [0; 12], "{origin}");
        }
    }

    #[test]
    fn a_plane_far_larger_than_the_image_takes_no_time() {
        let mut dataset = with_overlay([1, 1], &[0xFF]);
        put(&mut dataset, Tag(0x6000, 0x0010), VR::US, u16::MAX.into());
        put(&mut dataset, Tag(0x6000, 0x0011), VR::US, u16::MAX.into());
        let begun = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(drawn(&dataset)[..4], [255; 4]);
        }
        assert!(begun.elapsed().as_secs() < 10);
    }

    #[test]
    fn short_data_draw_what_is_there() {
        let mut tall = with_overlay([1, 1], &[0xFF]);
        put(&mut tall, Tag(0x6000, 0x0010), VR::US, 9_u16.into());
        assert_eq!(drawn(&tall).iter().filter(|v| **v == 255).count(), 8);
    }

    #[test]
    fn a_plane_without_data_is_left_out_with_a_warning() {
        let mut warnings = Vec::new();
        assert!(OverlayPlane::read_all(&with_overlay([1, 1], &[]), &mut warnings).is_empty());
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn embedded_planes_are_read_from_their_bit() {
        let mut dataset = with_overlay([1, 1], &[]);
        dataset.remove_element(Tag(0x6000, 0x3000));
        put(&mut dataset, Tag(0x6000, 0x0102), VR::US, 15_u16.into());
        let plane = OverlayPlane::read_all(&dataset, &mut Vec::new()).remove(0);
        assert!(plane.is_embedded());
        let mut raster = Raster { width: 3, height: 2, channels: Channels::Grey, data: vec![0; 6] };
        plane.draw(&mut raster, 1, &Cells::U16(vec![0x8000, 0x7FFF, 0, 0, 0, 0x8001]));
        assert_eq!(raster.data, [255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn regions_of_interest_are_not_drawn() {
        let mut dataset = with_overlay([1, 1], &[0xFF]);
        put(&mut dataset, Tag(0x6000, 0x0040), VR::CS, "R".into());
        let mut warnings = Vec::new();
        assert!(OverlayPlane::read_all(&dataset, &mut warnings).is_empty() && warnings.is_empty());
    }
}
