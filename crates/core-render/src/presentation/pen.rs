//! Lines and areas onto a picture, whatever their coordinates: cut to it first, then rasterised by
//! zeno. Work is counted, so that no annotation takes for ever.

use zeno::{Cap, Command, Fill, Join, Mask, Point as Corner, Stroke, Style};

use super::layers::Ink;
use super::mapping::Point;
use crate::pixel::raster::{Channels, Raster};

/// What is drawn with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Brush {
    pub ink: Ink,
    /// 0 to 1.
    pub opacity: f64,
}

impl Brush {
    pub(super) fn opaque(ink: Ink) -> Self {
        Self { ink, opacity: 1.0 }
    }
}

/// Draws on a picture as long as its allowance lasts.
pub(super) struct Pen<'a> {
    raster: &'a mut Raster,
    allowance: u64,
}

/// Pixels in the boxes around all that is drawn: a second or two of work.
const ALLOWANCE: u64 = 1_000_000_000;
/// What a pixel of the length of a line counts.
const LENGTH_COST: u64 = 20;
/// The length of line that is rasterised in one go, in pixels: zeno keeps some 16 bytes for each pixel
/// that an edge passes through.
const LONGEST: f64 = 1_000_000.0;

impl<'a> Pen<'a> {
    pub(super) fn new(raster: &'a mut Raster) -> Self {
        Self { raster, allowance: ALLOWANCE }
    }

    pub(super) fn raster(&mut self) -> &mut Raster {
        self.raster
    }

    /// Whether there was more to draw than the allowance held.
    pub(super) fn is_exhausted(&self) -> bool {
        self.allowance == 0
    }

    /// Whether so many pixels may still be drawn on; they then count as drawn on.
    pub(super) fn spends(&mut self, pixels: f64) -> bool {
        let pixels = pixels.max(1.0) as u64;
        self.allowance = self.allowance.saturating_sub(pixels);
        self.allowance > 0
    }

    /// A line through points of the picture, round at its ends and corners.
    pub(super) fn stroke(&mut self, points: &[Point], width: f64, brush: Brush) {
        if self.is_exhausted() {
            return;
        }
        let mut stroke = Stroke::new(width as f32);
        stroke.join(Join::Round).cap(Cap::Round);
        let mut path = Vec::new();
        let (mut last, mut length) = (None, 0.0);
        for pair in points.windows(2) {
            let Some((from, to)) = self.clipped(pair[0], pair[1], width + 2.0) else { continue };
            if last != Some(from) {
                path.push(Command::MoveTo(corner(from)));
            }
            path.push(Command::LineTo(corner(to)));
            last = Some(to);
            length += distance(from, to);
            if length > LONGEST {
                self.paint(&path, stroke, length, width, brush);
                path.clear();
                (last, length) = (None, 0.0);
            }
        }
        self.paint(&path, stroke, length, width, brush);
    }

    /// The inside of a closed line through points of the picture (even-odd rule). A line of absurd length
    /// has no inside that could be seen.
    pub(super) fn fill(&mut self, points: &[Point], brush: Brush) {
        if self.is_exhausted() {
            return;
        }
        let inside = self.clipped_polygon(points);
        let next = inside.iter().cycle().skip(1);
        let length: f64 = inside.iter().zip(next).map(|(&from, &to)| distance(from, to)).sum();
        let mut path: Vec<_> = inside.iter().map(|&point| Command::LineTo(corner(point))).collect();
        let Some(first) = path.first_mut().filter(|_| length <= LONGEST) else { return };
        *first = Command::MoveTo(corner(inside[0]));
        path.push(Command::Close);
        self.paint(&path, Fill::EvenOdd, length, 0.0, brush);
    }

    fn paint<'s>(
        &mut self,
        path: &[Command],
        style: impl Into<Style<'s>>,
        length: f64,
        width: f64,
        brush: Brush,
    ) {
        let Some(area) = self.surroundings(path, width) else { return };
        let area_cost = u64::from(area.width) * u64::from(area.height);
        let length_cost = (length as u64 + path.len() as u64) * LENGTH_COST;
        self.allowance = self.allowance.saturating_sub(area_cost + length_cost);
        if self.allowance == 0 {
            return;
        }
        let mut mask = vec![0; area.width as usize * area.height as usize];
        Mask::new(path)
            .style(style)
            .size(area.width, area.height)
            .offset((-(area.left as f32), -(area.top as f32)))
            .render_into(&mut mask, None);
        blend(self.raster, area, &mask, brush);
    }

    /// The pixels that a path may touch.
    fn surroundings(&self, path: &[Command], width: f64) -> Option<Area> {
        let points = path.iter().filter_map(|command| match command {
            Command::MoveTo(point) | Command::LineTo(point) => Some(point),
            _ => None,
        });
        let far = f32::INFINITY;
        let ((left, top), (right, bottom)) =
            points.fold(((far, far), (-far, -far)), |((left, top), (right, bottom)), point| {
                let least = (left.min(point.x), top.min(point.y));
                (least, (right.max(point.x), bottom.max(point.y)))
            });
        let margin = width as f32 / 2.0 + 1.0;
        let side = |from: f32, to: f32, size: u32| {
            let start = ((from - margin).floor() as u32).min(size);
            (start, ((to + margin).ceil() as u32).clamp(start, size) - start)
        };
        let (left, width) = side(left, right, self.raster.width);
        let (top, height) = side(top, bottom, self.raster.height);
        (width > 0 && height > 0).then_some(Area { left, top, width, height })
    }

    /// The edges of the picture and a margin around it.
    fn edges(&self, margin: f64) -> [Edge; 4] {
        let (right, bottom) = (f64::from(self.raster.width), f64::from(self.raster.height));
        [
            Edge { axis: Axis::X, at: -margin, keeps_above: true },
            Edge { axis: Axis::X, at: right + margin, keeps_above: false },
            Edge { axis: Axis::Y, at: -margin, keeps_above: true },
            Edge { axis: Axis::Y, at: bottom + margin, keeps_above: false },
        ]
    }

    /// The part of a line that is within the picture and a margin.
    fn clipped(&self, mut from: Point, mut to: Point, margin: f64) -> Option<(Point, Point)> {
        if !is_finite(from) || !is_finite(to) {
            return None;
        }
        for edge in self.edges(margin) {
            match (edge.keeps(from), edge.keeps(to)) {
                (true, true) => {}
                (true, false) => to = edge.meets(from, to),
                (false, true) => from = edge.meets(from, to),
                (false, false) => return None,
            }
        }
        // Differences of the largest numbers are none.
        (is_finite(from) && is_finite(to)).then_some((from, to))
    }

    /// A polygon, cut to the picture and a margin, edge by edge (Sutherland and Hodgman).
    fn clipped_polygon(&self, points: &[Point]) -> Vec<Point> {
        if !points.iter().copied().all(is_finite) {
            return Vec::new();
        }
        let mut polygon = points.to_vec();
        for edge in self.edges(2.0) {
            let next = polygon.iter().cycle().skip(1);
            let mut kept = Vec::with_capacity(polygon.len() + 2);
            for (&from, &to) in polygon.iter().zip(next) {
                if edge.keeps(from) {
                    kept.push(from);
                }
                if edge.keeps(from) != edge.keeps(to) {
                    kept.push(edge.meets(from, to));
                }
            }
            polygon = kept;
        }
        polygon.retain(|&point| is_finite(point));
        polygon
    }
}

#[derive(Clone, Copy)]
enum Axis {
    X,
    Y,
}

/// An edge that keeps what lies on one side of it.
#[derive(Clone, Copy)]
struct Edge {
    axis: Axis,
    at: f64,
    keeps_above: bool,
}

impl Edge {
    fn keeps(&self, (x, y): Point) -> bool {
        let value = match self.axis {
            Axis::X => x,
            Axis::Y => y,
        };
        if self.keeps_above { value >= self.at } else { value <= self.at }
    }

    /// Where a line between points on either side crosses it: on the edge itself, however far away the
    /// points are.
    fn meets(&self, from: Point, to: Point) -> Point {
        let crossing = |a: Point, b: Point| a.1 + (b.1 - a.1) * ((self.at - a.0) / (b.0 - a.0));
        match self.axis {
            Axis::X => (self.at, crossing(from, to)),
            Axis::Y => (crossing((from.1, from.0), (to.1, to.0)), self.at),
        }
    }
}

fn is_finite((x, y): Point) -> bool {
    x.is_finite() && y.is_finite()
}

fn distance((x1, y1): Point, (x2, y2): Point) -> f64 {
    (x2 - x1).hypot(y2 - y1)
}

fn corner((x, y): Point) -> Corner {
    Corner::new(x as f32, y as f32)
}

/// Pixels of a picture, all of them within it.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// Lays an ink over a whole picture, as much as a mask of its size says.
pub(super) fn cover(raster: &mut Raster, mask: &Raster, ink: Ink) {
    let area = Area { left: 0, top: 0, width: raster.width, height: raster.height };
    blend(raster, area, &mask.data, Brush::opaque(ink));
}

fn blend(raster: &mut Raster, area: Area, mask: &[u8], brush: Brush) {
    let channels = raster.channels.count();
    let ink = match raster.channels {
        // Pictures in which a colour is drawn have colour (`draw`).
        Channels::Grey => &brush.ink.0[..1],
        Channels::Rgb => &brush.ink.0[..],
    };
    let share: [u32; 256] =
        std::array::from_fn(|covered| (covered as f64 * brush.opacity + 0.5) as u32);
    let stride = raster.width as usize * channels;
    let rows = raster.data.chunks_exact_mut(stride).skip(area.top as usize);
    for (row, covered) in rows.zip(mask.chunks_exact(area.width as usize)) {
        let pixels = row[area.left as usize * channels..].chunks_exact_mut(channels);
        for (pixel, &covered) in pixels.zip(covered).filter(|(_, covered)| **covered > 0) {
            let share = share[usize::from(covered)];
            for (value, &ink) in pixel.iter_mut().zip(ink) {
                let mixed = u32::from(ink) * share + u32::from(*value) * (255 - share);
                *value = ((mixed + 127) / 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHITE: Brush = Brush { ink: Ink::WHITE, opacity: 1.0 };

    fn drawn(width: u32, height: u32, draw: impl FnOnce(&mut Pen<'_>)) -> Vec<u8> {
        let mut raster = Raster::black(width, height, Channels::Grey);
        draw(&mut Pen::new(&mut raster));
        raster.data
    }

    #[test]
    fn a_line_through_the_middle_of_pixels_covers_them_and_no_others() {
        let line = [(-5.0, 1.5), (9.0, 1.5)];
        let picture = drawn(4, 3, |pen| pen.stroke(&line, 1.0, WHITE));
        assert_eq!(picture, [0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_far_outside_is_cut_off_where_it_leaves() {
        let far = [(-1e30, 1.5), (1e30, 1.5)];
        assert_eq!(drawn(2, 3, |pen| pen.stroke(&far, 1.0, WHITE)), [0, 0, 255, 255, 0, 0]);
        let square = [(-1e20, -1e20), (1e20, -1e20), (1e20, 1.0), (-1e20, 1.0)];
        assert_eq!(drawn(2, 2, |pen| pen.fill(&square, WHITE)), [255, 255, 0, 0]);
        for beside in [[(-9.0, -9.0), (-9.0, 9.0)], [(f64::NAN, 1.0), (1.0, 1.0)]] {
            assert_eq!(drawn(2, 2, |pen| pen.stroke(&beside, 1.0, WHITE)), [0; 4]);
        }
    }

    #[test]
    fn opacity_and_colour_are_mixed_in() {
        let square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
        let mut raster =
            Raster { width: 1, height: 1, channels: Channels::Rgb, data: vec![100; 3] };
        let brush = Brush { ink: Ink([200, 100, 0]), opacity: 0.5 };
        Pen::new(&mut raster).fill(&square, brush);
        assert_eq!(raster.data, [150, 100, 50]);
    }

    #[test]
    fn a_hole_is_not_filled() {
        let twice = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)];
        let hole = [(1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0), (1.0, 1.0)];
        let both: Vec<_> = twice.into_iter().chain(hole).chain([(0.0, 0.0)]).collect();
        let picture = drawn(4, 4, |pen| pen.fill(&both, WHITE));
        assert_eq!((picture[0], picture[5], picture[15]), (255, 0, 255));
    }

    #[test]
    fn work_is_bounded() {
        let begun = std::time::Instant::now();
        let zigzag: Vec<_> =
            (0..10_000).map(|i| (if i % 2 == 0 { -1e9 } else { 1e9 }, f64::from(i))).collect();
        let mut raster = Raster::black(2000, 2000, Channels::Grey);
        let mut pen = Pen::new(&mut raster);
        for _ in 0..2000 {
            pen.stroke(&zigzag, 30.0, WHITE);
            pen.fill(&zigzag, WHITE);
        }
        assert!(pen.is_exhausted());
        println!("{:?}", begun.elapsed());
        assert!(begun.elapsed().as_secs() < 30);
    }

    proptest! {
        #[test]
        fn any_coordinates_are_drawn_without_harm(
            points in prop::collection::vec((-1e12..1e12_f64, -200.0..200.0_f64), 0..12),
            width in 1.0..40.0_f64, w in 1..60_u32, h in 1..60_u32,
        ) {
            drawn(w, h, |pen| {
                pen.stroke(&points, width, WHITE);
                pen.fill(&points, WHITE);
            });
        }
    }
}
