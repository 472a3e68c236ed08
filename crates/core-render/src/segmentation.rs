//! Segmentations: what their stored values mean (PS3.3 C.8.20.2 and C.8.20.3).

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::Voi;
use crate::colour::palette::Palette;
use crate::colour::space::RgbSpace;
use crate::dataset::{integer, integers, items, text};

/// Segmentation Type (0062,0001), with what is needed to draw it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Segmentation {
    /// 0 outside, 1 inside of a segment.
    Binary,
    /// Up to Maximum Fractional Value (0062,000E).
    Fractional { maximum: f64 },
    /// Segment numbers; the colour of each, from 0.
    LabelMap { colours: Vec<[u8; 3]> },
}

impl Segmentation {
    /// The segmentation that a data set is, if it is one.
    pub(crate) fn read(dataset: &InMemDicomObject) -> Option<Self> {
        Some(match text(dataset, tags::SEGMENTATION_TYPE)?.as_str() {
            "BINARY" => Self::Binary,
            "FRACTIONAL" => {
                let maximum = integer(dataset, tags::MAXIMUM_FRACTIONAL_VALUE).filter(|&m| m > 0);
                Self::Fractional { maximum: maximum.unwrap_or(255) as f64 }
            }
            "LABELMAP" => Self::LabelMap { colours: colours(dataset) },
            _ => return None,
        })
    }

    /// Nothing to everything, whatever the frame happens to hold. No window applies (R4.33).
    pub(crate) fn voi(&self) -> Voi {
        match self {
            Self::Binary => Voi::Range { low: 0.0, high: 1.0 },
            Self::Fractional { maximum } => Voi::Range { low: 0.0, high: *maximum },
            Self::LabelMap { .. } => Voi::None,
        }
    }

    /// The colours of a label map.
    pub(crate) fn palette(&self) -> Option<Palette> {
        match self {
            Self::LabelMap { colours } => Palette::of_colours(colours),
            Self::Binary | Self::Fractional { .. } => None,
        }
    }
}

/// One colour for each segment number up to the highest: the recommended one, else one of our own.
/// Numbers that no segment has are black, as is the background, 0.
fn colours(dataset: &InMemDicomObject) -> Vec<[u8; 3]> {
    let segments = items(dataset, tags::SEGMENT_SEQUENCE);
    if segments.is_empty() {
        // Nothing tells which numbers are segments: the first ones are likely to be.
        return std::iter::once([0; 3]).chain((1..=255).map(distinct)).collect();
    }
    let mut colours = vec![[0; 3]];
    for segment in segments {
        let Some(number @ 1..=65_535) = integer(segment, tags::SEGMENT_NUMBER) else { continue };
        let number = number as usize;
        if colours.len() <= number {
            colours.resize(number + 1, [0; 3]);
        }
        colours[number] = match integers(segment, tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE)[..] {
            [l, a, b] => srgb_of_cielab(l, a, b),
            _ => distinct(number),
        };
    }
    // Numbers above the last entry would take its colour: they are no segment, and black.
    if colours.len() < 65_536 {
        colours.push([0; 3]);
    }
    colours
}

/// Colours that differ, by the golden angle around the hue circle.
fn distinct(number: usize) -> [u8; 3] {
    let hue = (number as f64 * 137.507_764).rem_euclid(360.0) / 60.0;
    let ramp = |offset: f64| {
        let distance = ((hue + offset).rem_euclid(6.0) - 3.0).abs() - 1.0;
        (70.0 + 185.0 * distance.clamp(0.0, 1.0)) as u8
    };
    [ramp(0.0), ramp(4.0), ramp(2.0)]
}

/// PS3.3 C.10.7.1.1: L* of 0 to 100 and a*, b* of −128 to 127 as 0 to 65 535; to sRGB under D65.
pub(crate) fn srgb_of_cielab(l: i64, a: i64, b: i64) -> [u8; 3] {
    let scaled =
        |value: i64, span: f64, start: f64| value.clamp(0, 65_535) as f64 / 65_535.0 * span + start;
    let (l, a, b) = (scaled(l, 100.0, 0.0), scaled(a, 255.0, -128.0), scaled(b, 255.0, -128.0));
    let fy = (l + 16.0) / 116.0;
    let inverse =
        |t: f64| if t > 6.0 / 29.0 { t * t * t } else { (t - 4.0 / 29.0) * 108.0 / 841.0 };
    // The white of the ICC connection space, D50, adapted to sRGB's D65 (Bradford).
    let x = 0.964_22 * inverse(fy + a / 500.0);
    let y = inverse(fy);
    let z = 0.825_21 * inverse(fy - b / 200.0);
    [
        3.133_856 * x - 1.616_867 * y - 0.490_615 * z,
        -0.978_768 * x + 1.916_142 * y + 0.033_454 * z,
        0.071_945 * x - 0.228_991 * y + 1.405_243 * z,
    ]
    .map(|light| RgbSpace::Srgb.level(light))
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::attributes::tests::put;

    fn segmentation(kind: &str) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        put(&mut dataset, tags::SEGMENTATION_TYPE, VR::CS, kind.into());
        dataset
    }

    fn segment(number: u16, lab: Option<[u16; 3]>) -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::SEGMENT_NUMBER, VR::US, number.into());
        if let Some(lab) = lab {
            let value = PrimitiveValue::U16(lab[..].into());
            put(&mut item, tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, VR::US, value);
        }
        item
    }

    #[test]
    fn binary_and_fractional_span_their_own_range() {
        let voi = |dataset: &InMemDicomObject| Segmentation::read(dataset).unwrap().voi();
        assert_eq!(voi(&segmentation("BINARY")), Voi::Range { low: 0.0, high: 1.0 });
        let mut fractional = segmentation("FRACTIONAL");
        put(&mut fractional, tags::MAXIMUM_FRACTIONAL_VALUE, VR::US, 128_u16.into());
        assert_eq!(voi(&fractional), Voi::Range { low: 0.0, high: 128.0 });
        assert_eq!(Segmentation::read(&InMemDicomObject::new_empty()), None);
    }

    #[test]
    fn labels_have_their_recommended_or_distinct_colours() {
        let mut map = segmentation("LABELMAP");
        // L* 100, a* 0, b* 0: white.
        let segments =
            vec![segment(1, Some([65_535, 32_896, 32_896])), segment(2, None), segment(4, None)];
        map.put(DataElement::new(tags::SEGMENT_SEQUENCE, VR::SQ, DataSetSequence::from(segments)));
        let Some(Segmentation::LabelMap { colours }) = Segmentation::read(&map) else { panic!() };
        assert_eq!(colours.len(), 6);
        assert!(colours[1].iter().all(|v| *v >= 253), "{colours:?}");
        assert_ne!(colours[2], colours[4]);
        assert_eq!([colours[0], colours[3], colours[5]], [[0; 3]; 3], "no segments");
    }

    #[test]
    fn cielab_red_is_red() {
        // sRGB red is L* 54.3, a* 80.8, b* 69.9 under D50.
        let encoded = |v: f64, span: f64, start: f64| ((v - start) / span * 65_535.0) as i64;
        let red = srgb_of_cielab(
            encoded(54.29, 100.0, 0.0),
            encoded(80.81, 255.0, -128.0),
            encoded(69.89, 255.0, -128.0),
        );
        assert!(red[0] > 250 && red[1] < 12 && red[2] < 12, "{red:?}");
    }
}
