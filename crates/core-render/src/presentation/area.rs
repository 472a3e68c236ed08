//! Spatial transformation and displayed area (PS3.3 C.10.4, C.10.6).

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use super::mapping::{Mapping, Rect, Turn};
use crate::attributes::{ASPECTS, ratio};
use crate::dataset::{integer, integers, number, text};
use crate::error::{RenderError, Result};
use crate::geometry::fit;
use crate::limits::Limits;
use crate::spec::{Framing, SourceRect, Viewport};

/// How the image is turned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Orientation {
    pub turn: Turn,
    /// After the turn.
    pub flip: bool,
}

impl Orientation {
    /// Image Rotation and Image Horizontal Flip; neither where they are absent.
    pub(super) fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Self {
        let turn = match integer(dataset, tags::IMAGE_ROTATION).unwrap_or(0) {
            0 => Turn::None,
            90 => Turn::Quarter,
            180 => Turn::Half,
            270 => Turn::ThreeQuarters,
            _ => {
                warnings.push("the Image Rotation is not 0, 90, 180 or 270".to_owned());
                Turn::None
            }
        };
        let flip = text(dataset, tags::IMAGE_HORIZONTAL_FLIP).as_deref() == Some("Y");
        Self { turn, flip }
    }
}

/// An item of the Displayed Area Selection Sequence.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct DisplayedArea {
    rect: Rect,
    /// Height of a pixel over its width.
    aspect: f64,
    /// MAGNIFY: pixels of the picture for one of the image. Otherwise it is fitted.
    magnification: Option<f64>,
}

/// Beyond these a magnification is a mistake, and below single pixels or above pictures.
const MAGNIFICATIONS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// Corners beyond these show nothing of any image.
const FURTHEST: i64 = 1 << 31;

impl DisplayedArea {
    pub(super) fn read(item: &InMemDicomObject, warnings: &mut Vec<String>) -> Option<Self> {
        let corner = |tag| match integers(item, tag)[..] {
            [x, y] => Some((x.clamp(-FURTHEST, FURTHEST), y.clamp(-FURTHEST, FURTHEST))),
            _ => None,
        };
        let corners = (
            corner(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER),
            corner(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER),
        );
        let (Some(one), Some(other)) = corners else {
            warnings.push("a Displayed Area has no corners".to_owned());
            return None;
        };
        let aspect = [tags::PRESENTATION_PIXEL_SPACING, tags::PRESENTATION_PIXEL_ASPECT_RATIO]
            .into_iter()
            .find_map(|tag| ratio(item, tag))
            .filter(|aspect| ASPECTS.contains(aspect))
            .unwrap_or(1.0);
        let magnifies = text(item, tags::PRESENTATION_SIZE_MODE).as_deref() == Some("MAGNIFY");
        let magnification = number(item, tags::PRESENTATION_PIXEL_MAGNIFICATION_RATIO)
            .filter(|ratio| magnifies && MAGNIFICATIONS.contains(ratio));
        if magnifies && magnification.is_none() {
            warnings.push("the Presentation Pixel Magnification Ratio is not usable".to_owned());
        }
        Some(Self { rect: between(one, other), aspect, magnification })
    }

    fn whole(columns: u32, rows: u32) -> Self {
        let rect = Rect { left: 0.0, top: 0.0, width: columns.into(), height: rows.into() };
        Self { rect, aspect: 1.0, magnification: None }
    }

    /// Many writers count from 0: from (0, 0) to the last pixel, or to one behind it. A border of one
    /// black pixel at two edges is not what they mean.
    fn counted_from_one(&self, whole: Rect) -> Self {
        let Rect { left, top, width, height } = self.rect;
        let size = (whole.width, whole.height);
        let from_zero = (left, top) == (-1.0, -1.0)
            && ((width, height) == size || (width - 1.0, height - 1.0) == size);
        Self { rect: if from_zero { whole } else { self.rect }, ..*self }
    }

    pub(super) fn is_legal(&self) -> bool {
        let Rect { left, top, width, height } = self.rect;
        let furthest = FURTHEST as f64 * 2.0 + 2.0;
        left.abs() <= furthest
            && top.abs() <= furthest
            && (1.0..=furthest).contains(&width)
            && (1.0..=furthest).contains(&height)
            && ASPECTS.contains(&self.aspect)
            && self.magnification.is_none_or(|ratio| MAGNIFICATIONS.contains(&ratio))
    }
}

/// From and to these pixels, counted from 1. The corners are top left and bottom right as displayed,
/// so that a turned image has them the other way round (C.10.4).
fn between(one: (i64, i64), other: (i64, i64)) -> Rect {
    let side = |a: i64, b: i64| (a.min(b) as f64 - 1.0, (a - b).abs() as f64 + 1.0);
    let ((left, width), (top, height)) = (side(one.0, other.0), side(one.1, other.1));
    Rect { left, top, width, height }
}

/// How an image of `columns` × `rows` is brought into the picture (R2.11): one pixel for one without
/// a viewport; fitted into one, or magnified and then cut to it around the middle.
///
/// # Errors
/// The limits; a viewport with a region, which no presentation state takes (R2.7 g).
pub(super) fn mapping(
    orientation: Orientation,
    area: Option<&DisplayedArea>,
    framing: Framing,
    (columns, rows): (u32, u32),
    limits: &Limits,
) -> Result<Mapping> {
    let whole = DisplayedArea::whole(columns, rows);
    let area = area.map_or(whole, |area| area.counted_from_one(whole.rect));
    let Orientation { turn, flip } = orientation;
    // As displayed: a turn makes columns of rows.
    let upright = |(a, b): (f64, f64)| if turn.is_sideways() { (b, a) } else { (a, b) };
    let Rect { width, height, .. } = area.rect;
    let mut region = area.rect;
    let (out_width, out_height) = match framing {
        Framing::Native => {
            let (width, height) = upright((width, height));
            (width as u32, height as u32)
        }
        Framing::Viewport(Viewport { width: most_width, height: most_height, source }) => {
            if source != SourceRect::WHOLE {
                return Err(RenderError::unsupported(
                    "a region of the viewport with a presentation state",
                ));
            }
            let most = (f64::from(most_width.get()), f64::from(most_height.get()));
            match area.magnification {
                None => {
                    let (width, height) = upright((width, height * area.aspect));
                    fit(width, height, most.0, most.1)
                }
                Some(ratio) => {
                    let scale = (ratio, ratio * area.aspect);
                    region = middle(area.rect, scale, upright(most));
                    let size = |length: f64| length.round().clamp(1.0, f64::from(u32::MAX)) as u32;
                    let (width, height) =
                        upright((region.width * scale.0, region.height * scale.1));
                    (size(width), size(height))
                }
            }
        }
        Framing::FitWithin(longest) => {
            // Square pixels are made by shrinking the denser side, so nothing is enlarged.
            let square = match area.aspect > 1.0 {
                true => (width / area.aspect, height),
                false => (width, height * area.aspect),
            };
            let (width, height) = upright(square);
            let longest = f64::from(longest.get()).min(width.max(height));
            fit(width, height, longest, longest)
        }
    };
    limits.check_output(out_height, out_width)?;
    Ok(Mapping { region, area: area.rect, turn, flip, width: out_width, height: out_height })
}

/// The middle of an area, as much as `most` pixels of the picture show at a scale. What is cut off
/// where the area does not fit is not specified (C.10.4).
fn middle(area: Rect, scale: (f64, f64), most: (f64, f64)) -> Rect {
    let side = |start: f64, length: f64, scale: f64, most: f64| {
        let shown = length.min(most / scale);
        (start + (length - shown) / 2.0, shown)
    };
    let (left, width) = side(area.left, area.width, scale.0, most.0);
    let (top, height) = side(area.top, area.height, scale.1, most.1);
    Rect { left, top, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPRIGHT: Orientation = Orientation { turn: Turn::None, flip: false };
    const SIDEWAYS: Orientation = Orientation { turn: Turn::Quarter, flip: false };

    fn area(one: (i64, i64), other: (i64, i64)) -> DisplayedArea {
        DisplayedArea { rect: between(one, other), aspect: 1.0, magnification: None }
    }

    fn viewport(text: &str) -> Framing {
        Framing::Viewport(text.parse().unwrap())
    }

    fn size(orientation: Orientation, area: &DisplayedArea, framing: Framing) -> (u32, u32) {
        let mapping =
            mapping(orientation, Some(area), framing, (100, 100), &Limits::default()).unwrap();
        (mapping.width, mapping.height)
    }

    #[test]
    fn corners_count_from_one_and_hold_in_either_order() {
        let rect = Rect { left: 10.0, top: 20.0, width: 30.0, height: 40.0 };
        assert_eq!(between((11, 21), (40, 60)), rect);
        // After a quarter turn the top left corner is the lowest row's first pixel.
        assert_eq!(between((11, 60), (40, 21)), rect);
        assert_eq!(
            between((0, -4), (1, 1)),
            Rect { left: -1.0, top: -5.0, width: 2.0, height: 6.0 }
        );
    }

    #[test]
    fn whole_images_counted_from_zero_are_whole_images() {
        let region = |other, columns, rows| {
            let area = area((0, 0), other);
            let limits = Limits::default();
            let size = (columns, rows);
            mapping(UPRIGHT, Some(&area), Framing::Native, size, &limits).unwrap().region
        };
        let whole = Rect { left: 0.0, top: 0.0, width: 60.0, height: 40.0 };
        assert_eq!([region((60, 40), 60, 40), region((59, 39), 60, 40)], [whole; 2]);
        assert_eq!(region((60, 40), 70, 40).left, -1.0);
    }

    #[test]
    fn without_a_viewport_a_pixel_is_a_pixel() {
        let area = DisplayedArea { aspect: 2.0, ..area((1, 1), (60, 40)) };
        assert_eq!(size(UPRIGHT, &area, Framing::Native), (60, 40));
        assert_eq!(size(SIDEWAYS, &area, Framing::Native), (40, 60));
    }

    #[test]
    fn viewports_are_touched_with_square_pixels() {
        let high = DisplayedArea { aspect: 2.0, ..area((1, 1), (60, 40)) };
        assert_eq!(size(UPRIGHT, &high, viewport("120,400")), (120, 160));
        assert_eq!(size(SIDEWAYS, &high, viewport("400,120")), (160, 120));
        assert_eq!(size(UPRIGHT, &area((1, 1), (60, 40)), viewport("30,30")), (30, 20));
    }

    #[test]
    fn magnified_areas_are_cut_around_their_middle() {
        let area = DisplayedArea { magnification: Some(4.0), ..area((11, 1), (60, 20)) };
        let limits = Limits::default();
        let cut = mapping(UPRIGHT, Some(&area), viewport("100,100"), (100, 100), &limits).unwrap();
        assert_eq!((cut.width, cut.height), (100, 80));
        assert_eq!(cut.region, Rect { left: 22.5, top: 0.0, width: 25.0, height: 20.0 });
        assert_eq!(cut.area, area.rect);
        let turned = mapping(SIDEWAYS, Some(&area), viewport("100,100"), (100, 100), &limits);
        assert_eq!(turned.map(|mapping| (mapping.width, mapping.height)), Ok((80, 100)));
    }

    #[test]
    fn thumbnails_are_never_enlarged() {
        let within = |side: u32| Framing::FitWithin(side.try_into().unwrap());
        let small = DisplayedArea { magnification: Some(4.0), ..area((1, 1), (60, 40)) };
        assert_eq!(size(UPRIGHT, &small, within(256)), (60, 40));
        assert_eq!(size(SIDEWAYS, &small, within(30)), (20, 30));
        let high = DisplayedArea { aspect: 2.0, ..area((1, 1), (60, 40)) };
        assert_eq!(size(UPRIGHT, &high, within(256)), (30, 40));
    }

    #[test]
    fn pictures_are_bounded_and_regions_of_viewports_refused() {
        let huge = area((-2_000_000_000, 1), (2_000_000_000, 1));
        let limits = Limits::default();
        let result = mapping(UPRIGHT, Some(&huge), Framing::Native, (9, 9), &limits);
        assert!(matches!(result, Err(RenderError::TooLarge { .. })));
        assert!(mapping(UPRIGHT, Some(&huge), viewport("50,50"), (9, 9), &limits).is_ok());
        let region = mapping(UPRIGHT, None, viewport("50,50,1,1,2,2"), (9, 9), &limits);
        assert!(matches!(region, Err(RenderError::Unsupported { .. })));
    }
}
