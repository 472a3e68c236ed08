//! Vector graphics (PS3.3 C.10.5): what is read, and the lines that are drawn of it.

use std::collections::HashSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use super::layers::{Ink, Layers};
use super::mapping::{Mapping, Point};
use super::pen::{Brush, Pen};
use crate::dataset::{integer, items, number, numbers, text};

/// What coordinates count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Units {
    /// Pixels of the image, from its top left corner.
    Pixels,
    /// Shares of the Specified Displayed Area, from its top left corner as it is displayed.
    Displayed,
}

impl Units {
    pub(super) fn read(item: &InMemDicomObject, tag: Tag) -> Self {
        match text(item, tag).as_deref() {
            Some("DISPLAY") => Self::Displayed,
            // MATRIX counts pixels of a slide's Total Pixel Matrix, and slides have no states here.
            _ => Self::Pixels,
        }
    }

    /// Where a point lies in the picture.
    pub(super) fn place(self, point: Point, mapping: &Mapping) -> Point {
        match self {
            Self::Pixels => mapping.at(point),
            Self::Displayed => mapping.at_displayed(point),
        }
    }
}

/// One graphic object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Graphic {
    /// The layer's place from below.
    pub layer: usize,
    units: Units,
    shape: Shape,
    points: Vec<Point>,
    line: Style,
    /// Of closed shapes that are filled.
    fill: Option<Style>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Shape {
    Point,
    Polyline,
    /// A smooth line through all points.
    Interpolated,
    /// Its centre, and a point of it.
    Circle,
    /// The ends of its major axis, then those of its minor axis.
    Ellipse,
}

/// How a line or an area is drawn.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Style {
    ink: Ink,
    /// No colour is recommended: with a dark line around it, it is seen on whatever lies below.
    outlined: bool,
    /// 0 to 1.
    opacity: f64,
    /// In pixels of the picture; of an area, none.
    thickness: Option<f64>,
}

/// Graphics and texts of a state, all items together.
const MOST_GRAPHICS: usize = 2000;
/// Points of a state, all graphics together.
const MOST_POINTS: usize = 10_000;
/// A line that is thicker hides what it marks.
const THICKEST: f64 = 32.0;
/// Lines of no thickness of their own: so many pixels, or more in pictures so large that they will be
/// seen smaller.
const THINNEST: f64 = 1.5;
const PIXELS_FOR_ONE_OF_THICKNESS: f64 = 600.0;
/// The dark line around lines without a colour of their own, in pixels of the picture.
const OUTLINE: f64 = 1.0;
const OUTLINE_OPACITY: f64 = 0.6;
/// Of the dot that a point is, in pixels of the picture.
const LEAST_RADIUS: f64 = 1.5;

/// What may still be read of a state.
pub(super) struct Allowance {
    graphics: usize,
    points: usize,
    said: bool,
}

impl Allowance {
    pub(super) const WHOLE: Self =
        Self { graphics: MOST_GRAPHICS, points: MOST_POINTS, said: false };

    /// Whether one more graphic with so many points may be read.
    fn takes(&mut self, points: usize, warnings: &mut Vec<String>) -> bool {
        if self.graphics == 0 || self.points < points {
            if !self.said {
                warnings.push(format!(
                    "graphics beyond {MOST_GRAPHICS} of {MOST_POINTS} points are not drawn"
                ));
            }
            self.said = true;
            return false;
        }
        self.graphics -= 1;
        self.points -= points;
        true
    }
}

/// The graphics of an item of the Graphic Annotation Sequence.
pub(super) fn read(
    annotation: &InMemDicomObject,
    layers: &Layers,
    allowance: &mut Allowance,
    warnings: &mut Vec<String>,
) -> Vec<Graphic> {
    let layer = layers.place(text(annotation, tags::GRAPHIC_LAYER).as_deref());
    let ink = layers.ink(layer);
    let simple = items(annotation, tags::GRAPHIC_OBJECT_SEQUENCE)
        .iter()
        .filter_map(|item| graphic(item, layer, ink, warnings))
        .collect::<Vec<_>>();
    let alternatives = alternatives(annotation);
    let compound = items(annotation, tags::COMPOUND_GRAPHIC_SEQUENCE)
        .iter()
        // C.10.5.1.3.1: what is there as simple graphics too is drawn from these.
        .filter(|item| {
            integer(item, tags::COMPOUND_GRAPHIC_INSTANCE_ID)
                .is_none_or(|id| !alternatives.contains(&id))
        })
        .filter_map(|item| compound(item, layer, ink, warnings))
        .collect::<Vec<_>>();
    let mut all = [simple, compound].concat();
    all.retain(|graphic| allowance.takes(graphic.points.len(), warnings));
    all
}

/// The compound graphics that have simple objects in their place.
fn alternatives(annotation: &InMemDicomObject) -> HashSet<i64> {
    [tags::GRAPHIC_OBJECT_SEQUENCE, tags::TEXT_OBJECT_SEQUENCE]
        .iter()
        .flat_map(|&sequence| items(annotation, sequence))
        .filter_map(|item| integer(item, tags::COMPOUND_GRAPHIC_INSTANCE_ID))
        .collect()
}

fn graphic(
    item: &InMemDicomObject,
    layer: usize,
    ink: Option<Ink>,
    warnings: &mut Vec<String>,
) -> Option<Graphic> {
    let points = points(item);
    let (shape, needed) = match text(item, tags::GRAPHIC_TYPE).as_deref() {
        Some("POINT") => (Shape::Point, 1..=1),
        Some("POLYLINE") => (Shape::Polyline, 2..=usize::MAX),
        Some("INTERPOLATED") => (Shape::Interpolated, 2..=usize::MAX),
        Some("CIRCLE") => (Shape::Circle, 2..=2),
        Some("ELLIPSE") => (Shape::Ellipse, 4..=4),
        _ => {
            warnings.push("a graphic of an unknown type is not drawn".to_owned());
            return None;
        }
    };
    if !needed.contains(&points.len()) {
        warnings.push("a graphic without the points of its type is not drawn".to_owned());
        return None;
    }
    let filled = text(item, tags::GRAPHIC_FILLED).as_deref() == Some("Y");
    let units = Units::read(item, tags::GRAPHIC_ANNOTATION_UNITS);
    let (line, fill) = styles(item, ink, filled);
    Some(Graphic { layer, units, shape, points, line, fill })
}

/// Rectangles and ellipses, by the corners of a box that may be turned (C.10.5.1.3.2 to .4).
fn compound(
    item: &InMemDicomObject,
    layer: usize,
    ink: Option<Ink>,
    warnings: &mut Vec<String>,
) -> Option<Graphic> {
    let kind = text(item, tags::COMPOUND_GRAPHIC_TYPE);
    let corners = points(item);
    let (Some("RECTANGLE" | "ELLIPSE"), [one, other]) = (kind.as_deref(), &corners[..]) else {
        const KNOWN: [&str; 10] = [
            "MULTILINE",
            "INFINITELINE",
            "CUTLINE",
            "RANGELINE",
            "RULER",
            "AXIS",
            "CROSSHAIR",
            "ARROW",
            "RECTANGLE",
            "ELLIPSE",
        ];
        let known = KNOWN.iter().find(|known| kind.as_deref() == Some(*known));
        let kind = known.copied().unwrap_or("unknown type");
        warnings.push(format!("a compound graphic ({kind}) is not drawn"));
        return None;
    };
    let middle = ((one.0 + other.0) / 2.0, (one.1 + other.1) / 2.0);
    let (shape, points) = match kind.as_deref() {
        Some("ELLIPSE") => (
            Shape::Ellipse,
            vec![(one.0, middle.1), (other.0, middle.1), (middle.0, one.1), (middle.0, other.1)],
        ),
        _ => (Shape::Polyline, vec![*one, (other.0, one.1), *other, (one.0, other.1), *one]),
    };
    let angle = number(item, tags::ROTATION_ANGLE).unwrap_or(0.0).to_radians();
    let around = match numbers(item, tags::ROTATION_POINT)[..] {
        [Some(x), Some(y)] => (x, y),
        _ => middle,
    };
    let points = points.into_iter().map(|point| rotated(point, around, angle)).collect();
    let filled = text(item, tags::GRAPHIC_FILLED).as_deref() == Some("Y");
    let units = Units::read(item, tags::COMPOUND_GRAPHIC_UNITS);
    let (line, fill) = styles(item, ink, filled);
    Some(Graphic { layer, units, shape, points, line, fill })
}

/// Counterclockwise, as it is seen.
fn rotated((x, y): Point, (cx, cy): Point, angle: f64) -> Point {
    let (dx, dy, (sin, cos)) = (x - cx, y - cy, angle.sin_cos());
    (cx + dx * cos + dy * sin, cy - dx * sin + dy * cos)
}

/// Graphic Data (0070,0022): column and row of each point. Points that are not finite are left out.
fn points(item: &InMemDicomObject) -> Vec<Point> {
    let numbers = numbers(item, tags::GRAPHIC_DATA);
    let pairs = numbers.as_chunks::<2>().0.iter();
    pairs.filter_map(|&[x, y]| Some((x?, y?))).collect()
}

/// The line, and the area where it is filled. Dashes and shadows are left to us (C.10.5.1.3.13) and not
/// drawn.
fn styles(item: &InMemDicomObject, ink: Option<Ink>, filled: bool) -> (Style, Option<Style>) {
    let style = |sequence| {
        let style = items(item, sequence).first();
        let own = style.and_then(|s| Ink::of_cielab(s, tags::PATTERN_ON_COLOR_CIE_LAB_VALUE));
        let ink = own.or(ink);
        let opacity = style.and_then(|style| number(style, tags::PATTERN_ON_OPACITY));
        Style {
            ink: ink.unwrap_or(Ink::WHITE),
            outlined: ink.is_none(),
            opacity: opacity.map_or(1.0, |opacity| opacity.clamp(0.0, 1.0)),
            thickness: style
                .and_then(|style| number(style, tags::LINE_THICKNESS))
                .map(|thickness| thickness.clamp(1.0, THICKEST)),
        }
    };
    let fill = filled.then(|| Style { thickness: None, ..style(tags::FILL_STYLE_SEQUENCE) });
    (style(tags::LINE_STYLE_SEQUENCE), fill)
}

impl Style {
    fn brush(&self) -> Brush {
        Brush { ink: self.ink, opacity: self.opacity }
    }

    fn outline(&self) -> Option<Brush> {
        self.outlined.then_some(Brush { ink: Ink::BLACK, opacity: self.opacity * OUTLINE_OPACITY })
    }

    fn is_legal(&self) -> bool {
        (0.0..=1.0).contains(&self.opacity)
            && self.thickness.is_none_or(|thickness| (1.0..=THICKEST).contains(&thickness))
    }
}

/// How thick a line is that does not say it.
pub(super) fn thickness(mapping: &Mapping) -> f64 {
    let shorter = f64::from(mapping.width.min(mapping.height));
    (shorter / PIXELS_FOR_ONE_OF_THICKNESS).clamp(THINNEST, THICKEST)
}

impl Graphic {
    /// The inks it is drawn with.
    pub(super) fn inks(&self) -> impl Iterator<Item = Ink> {
        [Some(self.line.ink), self.fill.map(|fill| fill.ink)].into_iter().flatten()
    }

    /// Whether graphics are as they are read.
    pub(super) fn are_legal(graphics: &[Self]) -> bool {
        let points: usize = graphics.iter().map(|graphic| graphic.points.len()).sum();
        graphics.len() <= MOST_GRAPHICS
            && points <= MOST_POINTS
            && graphics.iter().all(|graphic| {
                graphic.line.is_legal()
                    && graphic.fill.as_ref().is_none_or(Style::is_legal)
                    && graphic.shape.fits(graphic.points.len())
            })
    }

    /// Draws it on a picture.
    pub(super) fn draw(&self, pen: &mut Pen<'_>, mapping: &Mapping) {
        let placed = self.points.iter().map(|&point| self.units.place(point, mapping));
        let placed = placed.collect::<Vec<_>>();
        let thickness = self.line.thickness.unwrap_or_else(|| thickness(mapping));
        if let (Shape::Point, &[point]) = (self.shape, &placed[..]) {
            // A dot that can be seen.
            let radius = thickness.max(LEAST_RADIUS);
            let dot = |radius: f64| around(point, (radius, 0.0), (0.0, radius));
            if let Some(brush) = self.line.outline() {
                pen.fill(&dot(radius + OUTLINE), brush);
            }
            return pen.fill(&dot(radius), self.line.brush());
        }
        let line = self.shape.line(&placed);
        let closed = line.len() > 2 && line.first() == line.last();
        if let Some(fill) = self.fill.filter(|_| closed) {
            pen.fill(&line, fill.brush());
        }
        if let Some(brush) = self.line.outline() {
            pen.stroke(&line, thickness + 2.0 * OUTLINE, brush);
        }
        pen.stroke(&line, thickness, self.line.brush());
    }
}

impl Shape {
    fn fits(self, points: usize) -> bool {
        match self {
            Self::Point => points == 1,
            Self::Polyline | Self::Interpolated => points >= 2,
            Self::Circle => points == 2,
            Self::Ellipse => points == 4,
        }
    }

    /// The line that is drawn, through points of the picture.
    fn line(self, points: &[Point]) -> Vec<Point> {
        match (self, points) {
            (Self::Circle, &[(cx, cy), (x, y)]) => {
                let radius = (x - cx).hypot(y - cy);
                around((cx, cy), (radius, 0.0), (0.0, radius))
            }
            (Self::Ellipse, &[a, b, c, d]) => {
                let half = |(x1, y1): Point, (x2, y2): Point| ((x2 - x1) / 2.0, (y2 - y1) / 2.0);
                let centre = ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0);
                around(centre, half(a, b), half(c, d))
            }
            (Self::Interpolated, points) => smooth(points),
            _ => points.to_vec(),
        }
    }
}

/// A closed line around a centre, through the ends of two half axes and their opposites.
fn around(centre: Point, major: Point, minor: Point) -> Vec<Point> {
    let reach = major.0.hypot(major.1).max(minor.0.hypot(minor.1));
    // Short enough that it looks round.
    let pieces = (reach.sqrt() * 6.0).clamp(16.0, 720.0) as u32;
    let point = |step: u32| {
        let (sin, cos) = (std::f64::consts::TAU * f64::from(step) / f64::from(pieces)).sin_cos();
        (centre.0 + major.0 * cos + minor.0 * sin, centre.1 + major.1 * cos + minor.1 * sin)
    };
    // The first once more, to the bit, so that it is closed.
    (0..pieces).map(point).chain([point(0)]).collect()
}

/// Through all points without a corner (Catmull and Rom); closed if its ends meet.
fn smooth(points: &[Point]) -> Vec<Point> {
    const PIECES: u32 = 12;
    let (first, last) = (points[0], points[points.len() - 1]);
    let closed = first == last && points.len() > 3;
    let before = if closed { points[points.len() - 2] } else { first };
    let after = if closed { points[1] } else { last };
    let padded: Vec<_> =
        [before].into_iter().chain(points.iter().copied()).chain([after]).collect();
    let mut line = vec![first];
    for knots in padded.windows(4) {
        let &[a, b, c, d] = knots else { continue };
        for step in 1..PIECES {
            let t = f64::from(step) / f64::from(PIECES);
            let axis = |a: f64, b: f64, c: f64, d: f64| {
                let (slope, bend, twist) =
                    (c - a, 2.0 * a - 5.0 * b + 4.0 * c - d, 3.0 * (b - c) + d - a);
                b + 0.5 * t * (slope + t * (bend + t * twist))
            };
            line.push((axis(a.0, b.0, c.0, d.0), axis(a.1, b.1, c.1, d.1)));
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::attributes::tests::put;

    fn object(kind: &str, data: &[f32]) -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::GRAPHIC_TYPE, VR::CS, kind.into());
        put(&mut item, tags::GRAPHIC_DATA, VR::FL, PrimitiveValue::F32(data.into()));
        item
    }

    fn annotation(sequence: Tag, items: Vec<InMemDicomObject>) -> InMemDicomObject {
        let sequence = DataElement::new(sequence, VR::SQ, DataSetSequence::from(items));
        InMemDicomObject::from_element_iter([sequence])
    }

    fn read_all(annotation: &InMemDicomObject) -> (Vec<Graphic>, Vec<String>) {
        let mut warnings = Vec::new();
        let graphics =
            read(annotation, &Layers::default(), &mut { Allowance::WHOLE }, &mut warnings);
        (graphics, warnings)
    }

    #[test]
    fn points_that_are_no_numbers_are_left_out() {
        let data = [1.0, 2.0, f32::NAN, 3.0, 4.0, f32::INFINITY, 5.0, 6.0];
        let item = annotation(tags::GRAPHIC_OBJECT_SEQUENCE, vec![object("POLYLINE", &data)]);
        assert_eq!(read_all(&item).0[0].points, [(1.0, 2.0), (5.0, 6.0)]);
    }

    #[test]
    fn shapes_need_their_points_and_a_name() {
        let bad = vec![
            object("CIRCLE", &[1.0, 2.0]),
            object("ELLIPSE", &[1.0; 6]),
            object("POINT", &[]),
            object("BLOB", &[1.0, 2.0]),
        ];
        let (graphics, warnings) = read_all(&annotation(tags::GRAPHIC_OBJECT_SEQUENCE, bad));
        assert_eq!((graphics.len(), warnings.len()), (0, 4));
    }

    #[test]
    fn what_is_too_much_is_left_out_and_said_once() {
        let line = object("POLYLINE", &[1.0; 9000]);
        let many = vec![line.clone(), line.clone(), line.clone(), object("POINT", &[1.0, 2.0])];
        let (graphics, warnings) = read_all(&annotation(tags::GRAPHIC_OBJECT_SEQUENCE, many));
        assert_eq!((graphics.len(), warnings.len()), (3, 1), "{warnings:?}");
        assert!(Graphic::are_legal(&graphics));
        let dots = vec![object("POINT", &[1.0, 2.0]); MOST_GRAPHICS + 5];
        assert_eq!(
            read_all(&annotation(tags::GRAPHIC_OBJECT_SEQUENCE, dots)).0.len(),
            MOST_GRAPHICS
        );
    }

    fn compound_object(kind: &str, id: u32) -> InMemDicomObject {
        let mut item = object("", &[0.0, 0.0, 4.0, 2.0]);
        put(&mut item, tags::COMPOUND_GRAPHIC_TYPE, VR::CS, kind.into());
        put(&mut item, tags::COMPOUND_GRAPHIC_INSTANCE_ID, VR::UL, id.into());
        item
    }

    #[test]
    fn compound_graphics_are_drawn_where_nothing_stands_in_for_them() {
        let compounds = vec![
            compound_object("RECTANGLE", 1),
            compound_object("AXIS", 2),
            compound_object("ARROW", 3),
        ];
        let mut item = annotation(tags::COMPOUND_GRAPHIC_SEQUENCE, compounds);
        let mut stand_in = object("POLYLINE", &[1.0, 1.0, 2.0, 2.0]);
        put(&mut stand_in, tags::COMPOUND_GRAPHIC_INSTANCE_ID, VR::UL, 2_u32.into());
        let sequence = DataSetSequence::from(vec![stand_in]);
        item.put(DataElement::new(tags::GRAPHIC_OBJECT_SEQUENCE, VR::SQ, sequence));
        let (graphics, warnings) = read_all(&item);
        assert_eq!(graphics.len(), 2);
        let corners = [(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0), (0.0, 0.0)];
        assert_eq!(graphics[1].points, corners);
        assert_eq!(warnings, ["a compound graphic (ARROW) is not drawn"]);
    }

    #[test]
    fn boxes_turn_counterclockwise() {
        let (x, y) = rotated((2.0, 0.0), (0.0, 0.0), 90_f64.to_radians());
        assert!(x.abs() < 1e-12 && (y + 2.0).abs() < 1e-12, "{x} {y}");
    }

    #[test]
    fn round_shapes_are_closed_and_at_their_distance() {
        let circle = Shape::Circle.line(&[(10.0, 20.0), (13.0, 24.0)]);
        assert_eq!(circle.first(), circle.last());
        assert!(circle.iter().all(|(x, y)| ((x - 10.0).hypot(y - 20.0) - 5.0).abs() < 1e-9));
        let ellipse = Shape::Ellipse.line(&[(0.0, 5.0), (20.0, 5.0), (10.0, 0.0), (10.0, 10.0)]);
        let on =
            |&(x, y): &Point| (((x - 10.0) / 10.0).powi(2) + ((y - 5.0) / 5.0).powi(2) - 1.0).abs();
        assert!(ellipse.iter().all(|point| on(point) < 1e-9));
    }

    #[test]
    fn smooth_lines_pass_through_their_points() {
        let points = [(0.0, 0.0), (10.0, 5.0), (20.0, 0.0), (0.0, 0.0)];
        let line = smooth(&points);
        assert!(points.iter().all(|point| line.contains(point)));
        assert_eq!(line.first(), line.last());
        assert_eq!(smooth(&points[..2]).last(), Some(&(10.0, 5.0)));
    }
}
