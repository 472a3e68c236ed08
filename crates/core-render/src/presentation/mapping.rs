//! Where image pixels come to lie in the picture: one mapping for pixels and graphics alike.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::geometry::resampled;
use crate::pixel::raster::Raster;

/// A place in an image or a picture: column and row, (0, 0) the outer corner of the first pixel.
pub(super) type Point = (f64, f64);

/// A part of an image, in its pixels; may reach beyond it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Rect {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Image Rotation (0070,0042): clockwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Turn {
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Turn {
    /// Whether columns become rows.
    pub(super) fn is_sideways(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }
}

/// From image to picture: the region is turned, then flipped, and fills the picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Mapping {
    /// What the picture shows.
    pub region: Rect,
    /// The Specified Displayed Area, of which the region may be a part (C.10.4).
    pub area: Rect,
    pub turn: Turn,
    pub flip: bool,
    pub width: u32,
    pub height: u32,
}

/// Where the image is denser than so many pixels for one of the picture, its edge is moved by less
/// than that one, rather than surrounded with black to be weighed in.
const MOST_EDGE: f64 = 8.0;

impl Mapping {
    /// Where a point of the image lies in the picture.
    pub(super) fn at(&self, (x, y): Point) -> Point {
        let Rect { left, top, width, height } = self.region;
        let (u, v) = ((x - left) / width, (y - top) / height);
        let (u, v) = match self.turn {
            Turn::None => (u, v),
            Turn::Quarter => (1.0 - v, u),
            Turn::Half => (1.0 - u, 1.0 - v),
            Turn::ThreeQuarters => (v, 1.0 - u),
        };
        let u = if self.flip { 1.0 - u } else { u };
        (u * f64::from(self.width), v * f64::from(self.height))
    }

    /// Where a point of the Specified Displayed Area lies in the picture: (0, 0) is its top left corner
    /// as it is displayed, (1, 1) the opposite one.
    pub(super) fn at_displayed(&self, (u, v): Point) -> Point {
        let Rect { left, top, width, height } = self.area;
        let (one, other) = (self.at((left, top)), self.at((left + width, top + height)));
        let along = |a: f64, b: f64, share: f64| a.min(b) + share * (a - b).abs();
        (along(one.0, other.0, u), along(one.1, other.1, v))
    }

    /// A raster of the whole image as the picture shows it; black around it.
    pub(super) fn apply(&self, raster: &Raster) -> Result<Raster> {
        let (width, height) = match self.turn.is_sideways() {
            true => (self.height, self.width),
            false => (self.width, self.height),
        };
        let mut canvas = Raster::black(width, height, raster.channels);
        let across = Span::new(self.region.left, self.region.width, raster.width, width);
        let down = Span::new(self.region.top, self.region.height, raster.height, height);
        if let (Some(across), Some(down)) = (across, down) {
            paste(&mut canvas, &scaled(raster, &across, &down)?, across.first, down.first);
        }
        Ok(self.turned(canvas))
    }

    fn turned(&self, mut raster: Raster) -> Raster {
        if matches!(self.turn, Turn::Quarter | Turn::ThreeQuarters) {
            raster = raster.turned();
        }
        if matches!(self.turn, Turn::Half | Turn::ThreeQuarters) {
            raster.mirror_horizontally();
            raster.mirror_vertically();
        }
        if self.flip {
            raster.mirror_horizontally();
        }
        raster
    }
}

/// What one side of the canvas shows of the image, in whole pixels of the canvas.
#[derive(Debug, PartialEq)]
struct Span {
    /// The first pixel of the canvas that shows a part of the image, and how many do.
    first: u32,
    count: u32,
    /// Where they begin and how far they reach, in image pixels with those added before.
    start: f64,
    length: f64,
    /// Black pixels that are needed around the image, so that its edges lie where they belong.
    before: u32,
    after: u32,
}

impl Span {
    /// For a region from `start` over `length` pixels of an image of `size`, on a canvas of `out`.
    fn new(start: f64, length: f64, size: u32, out: u32) -> Option<Self> {
        const NOTHING: f64 = 1e-6;
        let (scale, size) = (f64::from(out) / length, f64::from(size));
        let from = (-start * scale + NOTHING).floor().clamp(0.0, f64::from(out));
        let to = ((size - start) * scale - NOTHING).ceil().clamp(0.0, f64::from(out));
        if to <= from {
            return None;
        }
        let (mut begin, mut end) = (start + from / scale, start + to / scale);
        if 1.0 / scale > MOST_EDGE {
            (begin, end) = (begin.max(0.0), end.min(size));
        }
        let before = (-begin - NOTHING).ceil().max(0.0);
        let after = (end - size - NOTHING).ceil().max(0.0);
        let start = (begin + before).max(0.0);
        let length = (end + before).min(before + size + after) - start;
        (length > 0.0).then_some(Self {
            first: from as u32,
            count: (to - from) as u32,
            start,
            length,
            before: before as u32,
            after: after as u32,
        })
    }

    /// Whether it is one pixel of the canvas for one of the image.
    fn is_exact(&self) -> bool {
        self.start.fract() == 0.0 && self.length == f64::from(self.count)
    }
}

fn scaled(raster: &Raster, across: &Span, down: &Span) -> Result<Raster> {
    let surrounded;
    let source = if [across.before, across.after, down.before, down.after] == [0; 4] {
        raster
    } else {
        surrounded = surround(raster, across, down);
        &surrounded
    };
    if across.is_exact() && down.is_exact() {
        return Ok(cut(source, across, down));
    }
    let region = (across.start, down.start, across.length, down.length);
    resampled(source, region, (across.count, down.count))
}

fn surround(raster: &Raster, across: &Span, down: &Span) -> Raster {
    let width = across.before + raster.width + across.after;
    let height = down.before + raster.height + down.after;
    let mut wide = Raster::black(width, height, raster.channels);
    paste(&mut wide, raster, across.before, down.before);
    wide
}

fn cut(raster: &Raster, across: &Span, down: &Span) -> Raster {
    let channels = raster.channels.count();
    let stride = raster.width as usize * channels;
    let (left, width) = (across.start as usize * channels, across.count as usize * channels);
    let rows = raster.data.chunks_exact(stride).skip(down.start as usize);
    Raster {
        width: across.count,
        height: down.count,
        channels: raster.channels,
        data: rows
            .take(down.count as usize)
            .flat_map(|row| &row[left..left + width])
            .copied()
            .collect(),
    }
}

/// Lays a raster on a canvas that it fits into.
fn paste(canvas: &mut Raster, raster: &Raster, x: u32, y: u32) {
    let channels = raster.channels.count();
    let (stride, width) = (canvas.width as usize * channels, raster.width as usize * channels);
    let left = x as usize * channels;
    let rows = canvas.data.chunks_exact_mut(stride).skip(y as usize);
    for (to, from) in rows.zip(raster.data.chunks_exact(width)) {
        to[left..left + width].copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pixel::raster::Channels;

    const TURNS: [Turn; 4] = [Turn::None, Turn::Quarter, Turn::Half, Turn::ThreeQuarters];

    /// The whole of an image at one pixel for one.
    fn whole(width: u32, height: u32, turn: Turn, flip: bool) -> Mapping {
        let region =
            Rect { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) };
        let (width, height) = if turn.is_sideways() { (height, width) } else { (width, height) };
        Mapping { region, area: region, turn, flip, width, height }
    }

    fn grey(width: u32, height: u32, data: &[u8]) -> Raster {
        Raster { width, height, channels: Channels::Grey, data: data.to_vec() }
    }

    #[test]
    fn corners_lie_where_a_hand_would_put_them() {
        // Of an image 30 wide and 20 high: where its top left and its top right corner go.
        let expected = [
            (Turn::None, false, (0.0, 0.0), (30.0, 0.0)),
            (Turn::Quarter, false, (20.0, 0.0), (20.0, 30.0)),
            (Turn::Half, false, (30.0, 20.0), (0.0, 20.0)),
            (Turn::ThreeQuarters, false, (0.0, 30.0), (0.0, 0.0)),
            (Turn::None, true, (30.0, 0.0), (0.0, 0.0)),
            (Turn::Quarter, true, (0.0, 0.0), (0.0, 30.0)),
            (Turn::Half, true, (0.0, 20.0), (30.0, 20.0)),
            (Turn::ThreeQuarters, true, (20.0, 30.0), (20.0, 0.0)),
        ];
        for (turn, flip, left, right) in expected {
            let mapping = whole(30, 20, turn, flip);
            assert_eq!(mapping.at((0.0, 0.0)), left, "{turn:?} {flip}");
            assert_eq!(mapping.at((30.0, 0.0)), right, "{turn:?} {flip}");
        }
    }

    #[test]
    fn pixels_are_turned_clockwise_and_then_flipped() {
        let image = grey(3, 2, &[1, 2, 3, 4, 5, 6]);
        let expected: [(Turn, bool, &[u8]); 8] = [
            (Turn::None, false, &[1, 2, 3, 4, 5, 6]),
            (Turn::Quarter, false, &[4, 1, 5, 2, 6, 3]),
            (Turn::Half, false, &[6, 5, 4, 3, 2, 1]),
            (Turn::ThreeQuarters, false, &[3, 6, 2, 5, 1, 4]),
            (Turn::None, true, &[3, 2, 1, 6, 5, 4]),
            (Turn::Quarter, true, &[1, 4, 2, 5, 3, 6]),
            (Turn::Half, true, &[4, 5, 6, 1, 2, 3]),
            (Turn::ThreeQuarters, true, &[6, 3, 5, 2, 4, 1]),
        ];
        for (turn, flip, data) in expected {
            let mapping = whole(3, 2, turn, flip);
            let picture = mapping.apply(&image).unwrap();
            assert_eq!(picture, grey(mapping.width, mapping.height, data), "{turn:?} {flip}");
        }
    }

    #[test]
    fn pixels_go_where_points_go() {
        for (turn, flip) in TURNS.into_iter().flat_map(|turn| [(turn, false), (turn, true)]) {
            let mut image = grey(5, 3, &[0; 15]);
            image.data[5 + 3] = 9;
            let mapping = whole(5, 3, turn, flip);
            let picture = mapping.apply(&image).unwrap();
            let (x, y) = mapping.at((3.5, 1.5));
            let index = y as usize * picture.width as usize + x as usize;
            assert_eq!(picture.data.iter().position(|&v| v == 9), Some(index), "{turn:?} {flip}");
        }
    }

    #[test]
    fn what_lies_outside_the_image_is_black() {
        let region = Rect { left: -1.0, top: 1.0, width: 4.0, height: 2.0 };
        let mapping =
            Mapping { region, area: region, turn: Turn::None, flip: false, width: 4, height: 2 };
        let picture = mapping.apply(&grey(2, 2, &[1, 2, 3, 4])).unwrap();
        assert_eq!(picture.data, [0, 3, 4, 0, 0, 0, 0, 0]);
        let far = Rect { left: 1e9, ..region };
        let picture = Mapping { region: far, ..mapping }.apply(&grey(2, 2, &[9; 4])).unwrap();
        assert_eq!(picture.data, [0; 8]);
    }

    #[test]
    fn edges_between_pixels_of_the_picture_are_weighed() {
        // An image of 4 × 4 in the middle of 6 × 6, at half the size: its edges fall on half pixels.
        let region = Rect { left: -1.0, top: -1.0, width: 6.0, height: 6.0 };
        let mapping =
            Mapping { region, area: region, turn: Turn::None, flip: false, width: 3, height: 3 };
        let data = mapping.apply(&grey(4, 4, &[200; 16])).unwrap().data;
        assert!(data[4] > 180 && (60..140).contains(&data[3]) && data[0] < 70, "{data:?}");
        assert_eq!((data[3], data[0]), (data[5], data[8]), "{data:?}");
    }

    #[test]
    fn the_displayed_area_is_measured_as_it_is_displayed() {
        for turn in TURNS {
            let mapping = whole(30, 20, turn, true);
            assert_eq!(mapping.at_displayed((0.0, 0.0)), (0.0, 0.0));
            let end = (f64::from(mapping.width), f64::from(mapping.height));
            assert_eq!(mapping.at_displayed((1.0, 1.0)), end);
        }
    }

    proptest! {
        #[test]
        fn any_region_gives_a_picture_of_its_size(
            left in -60.0..60.0_f64, top in -1e9..1e9_f64, width in 0.01..5000.0_f64,
            height in 0.01..1e7_f64, turn in 0..4_usize, flip: bool, w in 1..40_u32, h in 1..40_u32,
        ) {
            let region = Rect { left, top, width, height };
            let mapping = Mapping { region, area: region, turn: TURNS[turn], flip, width: w, height: h };
            let picture = mapping.apply(&grey(7, 5, &[255; 35])).unwrap();
            prop_assert_eq!((picture.width, picture.height), (w, h));
            prop_assert_eq!(picture.data.len(), (w * h) as usize);
        }

        #[test]
        fn a_whole_image_fills_a_picture_of_any_size(
            turn in 0..4_usize, flip: bool, w in 1..70_u32, h in 1..70_u32,
        ) {
            let mapping = Mapping { width: w, height: h, ..whole(23, 17, TURNS[turn], flip) };
            let picture = mapping.apply(&grey(23, 17, &[77; 23 * 17])).unwrap();
            prop_assert!(picture.data.iter().all(|&value| value == 77));
        }
    }
}
