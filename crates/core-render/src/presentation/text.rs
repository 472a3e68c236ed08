//! Text annotations (PS3.3 C.10.5.1.1): unformatted text in a box, at an anchor point, or both.

use std::fmt;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use super::graphics::{Units, thickness};
use super::layers::{Ink, Layers};
use super::mapping::{Mapping, Point};
use super::pen::{Brush, Pen};
use crate::dataset::{items, numbers, text};
use crate::text::{self as letters, Line};

/// One text object.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Text {
    /// The layer's place from below.
    pub layer: usize,
    ink: Ink,
    lines: Vec<String>,
    bounds: Option<Bounds>,
    anchor: Option<Anchor>,
}

/// The text may name the patient.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(..)")
    }
}

/// Two opposite corners of the box that a text belongs into, and where it lies in it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Bounds {
    units: Units,
    one: Point,
    other: Point,
    across: Side,
    down: Side,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Side {
    /// Left, or on top.
    Start,
    Middle,
    /// Right, or at the bottom.
    End,
}

/// What a text speaks of.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Anchor {
    units: Units,
    point: Point,
    /// Whether a line leads to it.
    visible: bool,
}

/// Texts of a state, all items together.
const MOST_TEXTS: usize = 200;
/// Lines of all its texts together.
const MOST_LINES: usize = 500;
/// Unformatted Text Value (0070,0006) is of VR ST.
const LONGEST: usize = 1024;

/// What may still be read of a state.
pub(super) struct Allowance {
    texts: usize,
    lines: usize,
    said: bool,
}

impl Allowance {
    pub(super) const WHOLE: Self = Self { texts: MOST_TEXTS, lines: MOST_LINES, said: false };

    fn takes(&mut self, lines: usize, warnings: &mut Vec<String>) -> bool {
        if self.texts == 0 || self.lines < lines {
            if !self.said {
                warnings
                    .push(format!("texts beyond {MOST_TEXTS} of {MOST_LINES} lines are not drawn"));
            }
            self.said = true;
            return false;
        }
        self.texts -= 1;
        self.lines -= lines;
        true
    }
}

/// The texts of an item of the Graphic Annotation Sequence.
pub(super) fn read(
    annotation: &InMemDicomObject,
    layers: &Layers,
    allowance: &mut Allowance,
    warnings: &mut Vec<String>,
) -> Vec<Text> {
    let layer = layers.place(text(annotation, tags::GRAPHIC_LAYER).as_deref());
    let texts = items(annotation, tags::TEXT_OBJECT_SEQUENCE).iter();
    texts
        .filter_map(|item| one(item, layer, layers.ink(layer).unwrap_or(Ink::WHITE), warnings))
        .collect::<Vec<_>>()
        .into_iter()
        .filter(|text| allowance.takes(text.lines.len(), warnings))
        .collect()
}

fn one(
    item: &InMemDicomObject,
    layer: usize,
    ink: Ink,
    warnings: &mut Vec<String>,
) -> Option<Text> {
    // A text of nothing is no mistake: writers keep a place for it.
    let lines = lines(&text(item, tags::UNFORMATTED_TEXT_VALUE)?);
    let style = items(item, tags::TEXT_STYLE_SEQUENCE).first();
    let own = style.and_then(|style| Ink::of_cielab(style, tags::TEXT_COLOR_CIE_LAB_VALUE));
    let (bounds, anchor) = (Bounds::read(item, style), Anchor::read(item));
    if bounds.is_none() && anchor.is_none() {
        warnings.push("a text without a place is not drawn".to_owned());
        return None;
    }
    Some(Text { layer, ink: own.unwrap_or(ink), lines, bounds, anchor })
}

fn lines(text: &str) -> Vec<String> {
    let text: String = text.chars().take(LONGEST).collect();
    let text = text.replace("\r\n", "\n").replace(['\r', '\x0C'], "\n");
    text.split('\n').map(|line| line.trim_end().to_owned()).collect()
}

fn point(item: &InMemDicomObject, tag: Tag) -> Option<Point> {
    match numbers(item, tag)[..] {
        [Some(x), Some(y)] => Some((x, y)),
        _ => None,
    }
}

impl Bounds {
    fn read(item: &InMemDicomObject, style: Option<&InMemDicomObject>) -> Option<Self> {
        let aligned = |tag| Side::read(style?, tag);
        Some(Self {
            units: Units::read(item, tags::BOUNDING_BOX_ANNOTATION_UNITS),
            one: point(item, tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER)?,
            other: point(item, tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER)?,
            across: aligned(tags::HORIZONTAL_ALIGNMENT)
                .or_else(|| Side::read(item, tags::BOUNDING_BOX_TEXT_HORIZONTAL_JUSTIFICATION))
                .unwrap_or(Side::Start),
            down: aligned(tags::VERTICAL_ALIGNMENT).unwrap_or(Side::Start),
        })
    }

    fn placed(&self, mapping: &Mapping) -> Frame {
        let (a, b) = (self.units.place(self.one, mapping), self.units.place(self.other, mapping));
        // Turned with the image, the text stays upright.
        Frame { left: a.0.min(b.0), top: a.1.min(b.1), right: a.0.max(b.0), bottom: a.1.max(b.1) }
    }
}

impl Side {
    fn read(item: &InMemDicomObject, tag: Tag) -> Option<Self> {
        match text(item, tag)?.as_str() {
            "LEFT" | "TOP" => Some(Self::Start),
            "CENTER" => Some(Self::Middle),
            "RIGHT" | "BOTTOM" => Some(Self::End),
            _ => None,
        }
    }

    /// Where something of a size begins between two edges.
    fn place(self, from: f64, to: f64, size: f64) -> f64 {
        match self {
            Self::Start => from,
            Self::Middle => (from + to - size) / 2.0,
            Self::End => to - size,
        }
    }
}

impl Anchor {
    fn read(item: &InMemDicomObject) -> Option<Self> {
        Some(Self {
            units: Units::read(item, tags::ANCHOR_POINT_ANNOTATION_UNITS),
            point: point(item, tags::ANCHOR_POINT)?,
            visible: text(item, tags::ANCHOR_POINT_VISIBILITY).as_deref() == Some("Y"),
        })
    }
}

/// Edges of a box in the picture.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// Letters of fewer pixels are not legible.
const SMALLEST: f64 = 11.0;
/// Shares of the picture's shorter side: letters of a text without a box, and the largest of all.
const USUAL: f64 = 1.0 / 40.0;
const LARGEST: f64 = 1.0 / 8.0;

impl Text {
    /// What its letters are drawn with.
    pub(super) fn ink(&self) -> Ink {
        self.ink
    }

    /// Whether texts are as they are read.
    pub(super) fn are_legal(texts: &[Self]) -> bool {
        let short = |text: &Self| text.lines.iter().all(|line| line.chars().count() <= LONGEST);
        let lines: usize = texts.iter().map(|text| text.lines.len()).sum();
        texts.len() <= MOST_TEXTS && lines <= MOST_LINES && texts.iter().all(short)
    }

    /// Draws it on a picture: upright however the image is turned.
    pub(super) fn draw(&self, pen: &mut Pen<'_>, mapping: &Mapping) {
        let anchor = self.anchor.map(|anchor| anchor.units.place(anchor.point, mapping));
        let shorter = f64::from(mapping.width.min(mapping.height));
        let frame = match (self.bounds, anchor) {
            (Some(bounds), _) => bounds.placed(mapping),
            (None, Some(anchor)) => self.beside(anchor, (shorter * USUAL).max(SMALLEST), mapping),
            (None, None) => return,
        };
        let size = self.size(&frame, shorter);
        if let (Some(anchor), Some(Anchor { visible: true, .. })) = (anchor, self.anchor) {
            let from =
                (anchor.0.clamp(frame.left, frame.right), anchor.1.clamp(frame.top, frame.bottom));
            pen.stroke(&[from, anchor], thickness(mapping), Brush::opaque(self.ink));
        }
        let step = f64::from(Line::STEP) * size;
        let height = step * self.lines.len() as f64;
        let (across, down) = self.bounds.map_or((Side::Start, Side::Start), |b| (b.across, b.down));
        let top = down.place(frame.top, frame.bottom, height);
        for (row, text) in self.lines.iter().enumerate() {
            let baseline = top + step * row as f64 + size;
            let line = Line::new(text, size as f32);
            let left = across.place(frame.left, frame.right, f64::from(line.width()));
            // Far outside there is nothing to draw, and no number of pixels that a float holds.
            let outside = baseline < -step || baseline > f64::from(mapping.height) + step;
            if outside || !left.is_finite() || !pen.spends(f64::from(line.width()) * step) {
                continue;
            }
            line.draw(pen.raster(), left as f32, baseline as f32, self.ink.of_letters());
        }
    }

    /// The size that fills a box, as far as letters stay legible: a text may reach over its box
    /// (C.10.5.1.1).
    fn size(&self, frame: &Frame, shorter: f64) -> f64 {
        let most = (shorter * LARGEST).max(SMALLEST);
        let by_height =
            (frame.bottom - frame.top) / (self.lines.len() as f64 * f64::from(Line::STEP));
        let size = by_height.clamp(SMALLEST, most);
        let widest = self.widest(size);
        let room = frame.right - frame.left;
        if widest <= room { size } else { (size * room / widest).clamp(SMALLEST, most) }
    }

    fn widest(&self, size: f64) -> f64 {
        let widths = self.lines.iter().map(|line| f64::from(Line::new(line, size as f32).width()));
        widths.fold(0.0, f64::max)
    }

    /// A box beside a point, to its right where there is room.
    fn beside(&self, (x, y): Point, size: f64, mapping: &Mapping) -> Frame {
        let (width, height) =
            (self.widest(size) + 1.0, f64::from(Line::STEP) * size * self.lines.len() as f64);
        let fits = x + size + width <= f64::from(mapping.width);
        let left = if fits { x + size } else { x - size - width };
        Frame { left, right: left + width, top: y - height / 2.0, bottom: y + height / 2.0 }
    }
}

impl Ink {
    /// Letters have a line around them, so that they are legible over any image.
    fn of_letters(self) -> letters::Ink {
        let [red, green, blue] = self.0.map(u32::from);
        let light = 299 * red + 587 * green + 114 * blue > 127_000;
        letters::Ink { colour: self.0, outline: Some(if light { [0; 3] } else { [255; 3] }) }
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{PrimitiveValue, VR};

    use super::super::mapping::{Rect, Turn};
    use super::*;
    use crate::attributes::tests::put;
    use crate::pixel::raster::{Channels, Raster};

    fn mapping(turn: Turn) -> Mapping {
        let region = Rect { left: 0.0, top: 0.0, width: 400.0, height: 400.0 };
        Mapping { region, area: region, turn, flip: false, width: 400, height: 400 }
    }

    fn put_point(item: &mut InMemDicomObject, tag: Tag, x: f32, y: f32) {
        put(item, tag, VR::FL, PrimitiveValue::F32([x, y][..].into()));
    }

    /// In a box from (100, 100) to (300, 140).
    fn boxed(value: &str, justification: &str) -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::UNFORMATTED_TEXT_VALUE, VR::ST, value.into());
        put_point(&mut item, tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER, 100.0, 100.0);
        put_point(&mut item, tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER, 300.0, 140.0);
        put(
            &mut item,
            tags::BOUNDING_BOX_TEXT_HORIZONTAL_JUSTIFICATION,
            VR::CS,
            justification.into(),
        );
        item
    }

    fn text_of(item: &InMemDicomObject) -> Text {
        one(item, 0, Ink::WHITE, &mut Vec::new()).unwrap()
    }

    /// Left, right, top and bottom of what is white.
    fn extent(text: &Text, turn: Turn) -> [u32; 4] {
        let mut raster = Raster::black(400, 400, Channels::Grey);
        text.draw(&mut Pen::new(&mut raster), &mapping(turn));
        let lit = raster.data.iter().enumerate().filter(|(_, value)| **value > 200);
        lit.fold([u32::MAX, 0, u32::MAX, 0], |[left, right, top, bottom], (index, _)| {
            let (x, y) = (index as u32 % 400, index as u32 / 400);
            [left.min(x), right.max(x), top.min(y), bottom.max(y)]
        })
    }

    #[test]
    fn texts_lie_in_their_box_at_the_edge_they_are_justified_to() {
        let at = |justification| extent(&text_of(&boxed("Hyde", justification)), Turn::None);
        let [left, right, top, bottom] = at("LEFT");
        assert!((98..106).contains(&left) && right < 200, "{left} {right}");
        assert!(top >= 100 && bottom < 141, "{top} {bottom}");
        let [left, right, ..] = at("RIGHT");
        assert!(left > 200 && (294..302).contains(&right), "{left} {right}");
        let [left, right, ..] = at("CENTER");
        assert!((left + right).abs_diff(400) < 8, "{left} {right}");
    }

    #[test]
    fn texts_of_turned_images_are_upright_where_the_box_went() {
        let [left, right, top, bottom] = extent(&text_of(&boxed("Hyde", "LEFT")), Turn::Quarter);
        // The box is now from (260, 100) to (300, 300).
        assert!(left >= 258 && right - left > bottom - top, "{left} {right} {top} {bottom}");
        assert!((98..130).contains(&top), "{top}");
    }

    #[test]
    fn every_line_has_its_row_and_long_ones_are_made_smaller() {
        let [_, _, top, bottom] = extent(&text_of(&boxed("One\r\nTwo\nThree", "LEFT")), Turn::None);
        assert!(top >= 98 && bottom > 128 && bottom < 150, "{top} {bottom}");
        let [left, right, ..] =
            extent(&text_of(&boxed("A text that is wide for its box", "LEFT")), Turn::None);
        assert!(left >= 98 && (270..=302).contains(&right), "{left} {right}");
    }

    #[test]
    fn anchors_are_joined_to_their_text_if_they_are_visible() {
        let mut item = boxed("Hyde", "LEFT");
        put_point(&mut item, tags::ANCHOR_POINT, 200.5, 350.0);
        assert!(extent(&text_of(&item), Turn::None)[3] < 141);
        put(&mut item, tags::ANCHOR_POINT_VISIBILITY, VR::CS, "Y".into());
        assert!((348..353).contains(&extent(&text_of(&item), Turn::None)[3]));
    }

    #[test]
    fn texts_without_a_box_stand_beside_their_anchor() {
        let at = |x| {
            let mut item = InMemDicomObject::new_empty();
            put(&mut item, tags::UNFORMATTED_TEXT_VALUE, VR::ST, "Hyde".into());
            put_point(&mut item, tags::ANCHOR_POINT, x, 200.0);
            extent(&text_of(&item), Turn::None)
        };
        assert!(at(50.0)[0] > 50 && at(390.0)[1] < 390);
        assert!(at(50.0)[2] > 180 && at(50.0)[3] < 220);
    }

    #[test]
    fn what_has_no_text_or_no_place_is_left_out() {
        let mut warnings = Vec::new();
        let mut item = InMemDicomObject::new_empty();
        assert!(one(&item, 0, Ink::WHITE, &mut warnings).is_none() && warnings.is_empty());
        put(&mut item, tags::UNFORMATTED_TEXT_VALUE, VR::ST, "Hyde".into());
        assert!(one(&item, 0, Ink::WHITE, &mut warnings).is_none());
        assert_eq!(warnings, ["a text without a place is not drawn"]);
    }

    #[test]
    fn texts_at_impossible_places_and_of_any_length_do_no_harm() {
        let text = "W".repeat(5000) + &"\n".repeat(900);
        for far in [1e30, -1e30, f32::MAX] {
            let mut item = boxed(&text, "RIGHT");
            put_point(&mut item, tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER, far, far);
            put_point(&mut item, tags::ANCHOR_POINT, far, 1.0);
            put(&mut item, tags::ANCHOR_POINT_VISIBILITY, VR::CS, "Y".into());
            extent(&text_of(&item), Turn::Half);
        }
    }

    #[test]
    fn nothing_of_a_text_is_written_for_debugging() {
        assert_eq!(format!("{:?}", text_of(&boxed("Hyde", "LEFT"))), "Text(..)");
    }
}
