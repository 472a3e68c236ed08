//! Antialiased shapes onto a raster.

use zeno::{Command, Mask, Point, Style};

use crate::pixel::raster::{Channels, Raster};

/// A rectangle of pixels; it may reach over the raster, where nothing is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl Area {
    /// From the pixel that holds (`left`, `top`) to the one that holds (`right`, `bottom`).
    pub(crate) fn spanning(left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self { left, top, right, bottom }
    }

    /// What lies inside the raster: left, top, width, height.
    fn within(self, raster: &Raster) -> (u32, u32, u32, u32) {
        // A cast of a float saturates, and takes what is no number for 0.
        let clamp = |from: f32, to: f32, size: u32| {
            let start = (from.floor() as u32).min(size);
            (start, (to.ceil() as u32).clamp(start, size) - start)
        };
        let (left, width) = clamp(self.left, self.right, raster.width);
        let (top, height) = clamp(self.top, self.bottom, raster.height);
        (left, top, width, height)
    }
}

/// Coordinates beyond belief: the filler counts in 1/256 of a pixel in 32 bits.
const FARTHEST: f32 = 1_000_000.0;

/// Fills or strokes a path, given in pixels of the raster, inside `area` alone.
pub(crate) fn paint<'a>(
    raster: &mut Raster,
    area: Area,
    path: &[Command],
    style: impl Into<Style<'a>>,
    colour: [u8; 3],
) {
    let (left, top, width, height) = area.within(raster);
    if width == 0 || height == 0 || path.is_empty() || !path.iter().all(is_near) {
        return;
    }
    let mut mask = vec![0; width as usize * height as usize];
    Mask::new(path)
        .style(style)
        .size(width, height)
        .offset((-(left as f32), -(top as f32)))
        .render_into(&mut mask, None);
    blend(raster, (left, top, width), &mask, colour);
}

fn is_near(command: &Command) -> bool {
    let near = |point: &Point| point.x.abs() < FARTHEST && point.y.abs() < FARTHEST;
    match command {
        Command::MoveTo(to) | Command::LineTo(to) => near(to),
        Command::QuadTo(control, to) => near(control) && near(to),
        Command::CurveTo(first, second, to) => near(first) && near(second) && near(to),
        Command::Close => true,
    }
}

/// Lays `colour` over the raster, as much as the mask says.
fn blend(raster: &mut Raster, (left, top, width): (u32, u32, u32), mask: &[u8], colour: [u8; 3]) {
    let channels = raster.channels.count();
    let grey = [luma(colour)];
    let ink: &[u8] = match raster.channels {
        Channels::Grey => &grey,
        Channels::Rgb => &colour,
    };
    let stride = raster.width as usize * channels;
    let rows = raster.data.chunks_exact_mut(stride).skip(top as usize);
    for (row, coverage) in rows.zip(mask.chunks_exact(width as usize)) {
        let pixels = row[left as usize * channels..].chunks_exact_mut(channels);
        for (pixel, &coverage) in pixels.zip(coverage).filter(|(_, coverage)| **coverage > 0) {
            for (value, &ink) in pixel.iter_mut().zip(ink) {
                *value = mix(*value, ink, coverage);
            }
        }
    }
}

fn mix(under: u8, over: u8, coverage: u8) -> u8 {
    let coverage = u32::from(coverage);
    ((u32::from(over) * coverage + u32::from(under) * (255 - coverage) + 127) / 255) as u8
}

/// BT.601, as in JPEG.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use zeno::{Fill, PathData};

    use super::*;

    fn raster(width: u32, height: u32, channels: Channels) -> Raster {
        let data = vec![50; width as usize * height as usize * channels.count()];
        Raster { width, height, channels, data }
    }

    fn path(svg: &str) -> Vec<Command> {
        svg.commands().collect()
    }

    #[test]
    fn a_square_covers_its_pixels_and_half_of_those_it_halves() {
        let mut grey = raster(4, 2, Channels::Grey);
        let square = path("M1 0H2.5V1H1Z");
        paint(&mut grey, Area::spanning(0.0, 0.0, 4.0, 2.0), &square, Fill::NonZero, [250; 3]);
        assert_eq!(grey.data, [50, 250, 150, 50, 50, 50, 50, 50]);
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_area_or_of_the_raster() {
        let everything = path("M-90 -90H90V90H-90Z");
        for (area, inked) in [
            (Area::spanning(1.0, 1.0, 2.0, 2.0), 1),
            (Area::spanning(-7.0, -7.0, 1.0, 99.0), 3),
            (Area::spanning(9.0, 0.0, 12.0, 3.0), 0),
            (Area::spanning(2.0, 2.0, 1.0, 1.0), 0),
            (Area::spanning(f32::NAN, 0.0, f32::INFINITY, 1.0), 3),
        ] {
            let mut picture = raster(3, 3, Channels::Rgb);
            paint(&mut picture, area, &everything, Fill::NonZero, [1, 2, 3]);
            let changed = picture.data.chunks(3).filter(|pixel| pixel == &[1, 2, 3]).count();
            assert_eq!(changed, inked, "{area:?}");
            let left = picture.data.chunks(3).filter(|pixel| pixel == &[50; 3]).count();
            assert_eq!(left, 9 - inked);
        }
    }

    #[test]
    fn paths_beyond_belief_are_not_drawn() {
        let mut grey = raster(2, 2, Channels::Grey);
        let area = Area::spanning(0.0, 0.0, 2.0, 2.0);
        for far in [f32::NAN, f32::INFINITY, 1e30] {
            let path = [
                Command::MoveTo(Point::new(0.0, 0.0)),
                Command::LineTo(Point::new(far, 2.0)),
                Command::LineTo(Point::new(0.0, 2.0)),
            ];
            paint(&mut grey, area, &path, Fill::NonZero, [255; 3]);
        }
        assert_eq!(grey.data, [50; 4]);
    }

    #[test]
    fn grey_takes_the_luma_of_a_colour() {
        let mut grey = raster(1, 1, Channels::Grey);
        let area = Area::spanning(0.0, 0.0, 1.0, 1.0);
        paint(&mut grey, area, &path("M0 0H1V1H0Z"), Fill::NonZero, [255, 0, 0]);
        assert_eq!(grey.data, [76]);
    }
}
