//! Texts burned into the corners (PS3.18 §8.3.5.1.1), after everything else (R2.5).
//!
//! ```text
//! patient            technique, the first third
//!
//! the second third            the last third      two columns
//!
//! patient
//! technique                                       one, where the picture is narrow
//! series label                                    below all others
//! ```

use crate::attributes::{ImageAttributes, Voi};
use crate::labels::readable;
use crate::pixel::raster::Raster;
use crate::source::Labels;
use crate::spec::{RenderSpec, Window};
use crate::text::{Ink, Line};

const INK: Ink = Ink { colour: [255; 3], outline: Some([0; 3]) };

/// Letters of an annotation, against the shorter side of the picture, and their bounds in pixels.
const LETTERS: (f32, f32, f32) = (0.022, 10.0, 40.0);
/// Of the label of a thumbnail.
const LABEL_LETTERS: (f32, f32, f32) = (0.05, 10.0, 24.0);
/// Pictures narrower than this, in sizes of letters, have one column.
const TWO_COLUMNS: f32 = 24.0;

/// Draws the texts that `spec` asks for, as far as there are any and they fit.
pub(crate) fn burn_in(
    raster: &mut Raster,
    spec: &RenderSpec,
    labels: Option<&Labels>,
    attributes: &ImageAttributes,
) {
    let Some(labels) = labels else { return };
    let mut free = raster.height as f32;
    if let (true, Some(series)) = (spec.corner_label, &labels.series) {
        free = draw_label(raster, series);
    }
    let window = window_line(spec, attributes);
    let patient: Vec<&str> = match spec.annotation.patient {
        true => labels.patient.iter().map(String::as_str).collect(),
        false => Vec::new(),
    };
    let technique: Vec<&str> = match spec.annotation.technique {
        true => labels.technique.iter().chain(&window).map(String::as_str).collect(),
        false => Vec::new(),
    };
    let sheet = Sheet::new(raster, LETTERS, free);
    let [top, bottom] = bands(&patient, &technique, &sheet);
    sheet.draw_band(raster, &top, |row, _| sheet.margin + sheet.size * 0.85 + row * sheet.step);
    sheet.draw_band(raster, &bottom, |row, rows| {
        sheet.last_baseline() - (rows - 1.0 - row) * sheet.step
    });
}

/// Whether `spec` asks for any text.
pub(crate) fn is_asked_for(spec: &RenderSpec) -> bool {
    spec.annotation.patient || spec.annotation.technique || spec.corner_label
}

/// In the bottom left corner; returns the height that is left above it.
fn draw_label(raster: &mut Raster, series: &str) -> f32 {
    let sheet = Sheet::new(raster, LABEL_LETTERS, raster.height as f32);
    if sheet.rows() == 0 {
        return sheet.height;
    }
    let band = Band { left: vec![series], right: Vec::new() };
    sheet.draw_band(raster, &band, |_, _| sheet.last_baseline());
    sheet.height - sheet.step
}

/// The window that grey was drawn with.
fn window_line(spec: &RenderSpec, attributes: &ImageAttributes) -> Option<String> {
    let grey = attributes.samples_per_pixel == 1
        && attributes.palette.is_none()
        && !attributes.segmentation;
    let window: Window = match (spec.window, &attributes.voi) {
        (Some(asked), _) => asked,
        (None, &Voi::Window(own)) => own,
        (None, Voi::Lut(_) | Voi::Range { .. } | Voi::None) => return None,
    };
    let (centre, width) = (readable(window.centre())?, readable(window.width())?);
    grey.then(|| format!("C {centre} W {width}"))
}

/// Lines at the same height, on the left and on the right.
struct Band<'a> {
    left: Vec<&'a str>,
    right: Vec<&'a str>,
}

/// What stands at the top and at the bottom. What does not fit is left out from the end of each list;
/// neither takes more than half of the rows from the other.
fn bands<'a>(patient: &[&'a str], technique: &[&'a str], sheet: &Sheet) -> [Band<'a>; 2] {
    let third = if sheet.two_columns() { technique.len().div_ceil(3) } else { 0 };
    let (top_right, rest) = technique.split_at(third);
    let (left, right) = rest.split_at(if third == 0 { rest.len() } else { third.min(rest.len()) });
    let (top, bottom) = (patient.len().max(top_right.len()), left.len().max(right.len()));
    let rows = sheet.rows();
    let top = top.min(rows.saturating_sub(bottom).max(rows.div_ceil(2)));
    let bottom = bottom.min(rows - top.min(rows));
    let first = |lines: &[&'a str], rows: usize| lines.iter().take(rows).copied().collect();
    [
        Band { left: first(patient, top), right: first(top_right, top) },
        Band { left: first(left, bottom), right: first(right, bottom) },
    ]
}

/// Sizes, in pixels.
struct Sheet {
    width: f32,
    /// What of the picture's height is free.
    height: f32,
    /// Of letters.
    size: f32,
    margin: f32,
    /// From line to line.
    step: f32,
}

impl Sheet {
    fn new(raster: &Raster, (share, least, most): (f32, f32, f32), height: f32) -> Self {
        let size = (raster.width.min(raster.height) as f32 * share).clamp(least, most);
        let margin = (size * 0.4).max(3.0);
        Self { width: raster.width as f32, height, size, margin, step: size * Line::STEP }
    }

    fn two_columns(&self) -> bool {
        self.width >= self.size * TWO_COLUMNS
    }

    /// Lines between the margins.
    fn rows(&self) -> usize {
        ((self.height - 2.0 * self.margin) / self.step).max(0.0) as usize
    }

    fn last_baseline(&self) -> f32 {
        self.height - self.margin - self.size * 0.25
    }

    /// Draws both sides of a band; `baseline` gives that of a row of so many.
    fn draw_band(&self, raster: &mut Raster, band: &Band<'_>, baseline: impl Fn(f32, f32) -> f32) {
        let (left, right) = self.widths(band);
        for (lines, width, is_left) in [(&band.left, left, true), (&band.right, right, false)] {
            for (row, text) in lines.iter().enumerate() {
                let Some(line) = Line::fitted(text, self.size, width) else { continue };
                let right = self.width - self.margin - line.width();
                let x = if is_left { self.margin } else { right };
                line.draw(raster, x, baseline(row as f32, lines.len() as f32), INK);
            }
        }
    }

    /// How wide the lines of the left and of the right may be, so that they do not meet: as wide as
    /// they are, or the half, or what the other leaves.
    fn widths(&self, band: &Band<'_>) -> (f32, f32) {
        let widest = |lines: &[&str]| {
            let widths = lines.iter().map(|text| Line::new(text, self.size).width());
            widths.fold(0.0, f32::max)
        };
        let gap = if band.left.is_empty() || band.right.is_empty() { 0.0 } else { self.size };
        let all = self.width - 2.0 * self.margin - gap;
        let half = all / 2.0;
        let (left, right) = (widest(&band.left), widest(&band.right));
        (all - right.min(half), all - left.min(half))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attributes::tests::image;
    use crate::pixel::raster::Channels;
    use crate::spec::{Annotation, Framing, Output};

    fn labels() -> Labels {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Labels {
            patient: lines(&["Doe, Jane", "ID 4711", "* 1951-01-02 · F · 75 y"]),
            technique: lines(&[
                "CT · Thorax",
                "Lung",
                "Series 3 · Image 12",
                "2026-11-26 13:45:10",
                "CHEST · L",
                "Location -12.5 mm",
                "Thickness 5 mm",
                "120 kV · 200 mAs",
                "TR 5 ms",
            ]),
            series: Some("CT 3".to_owned()),
        }
    }

    fn spec(patient: bool, technique: bool, corner_label: bool) -> RenderSpec {
        let annotation = Annotation { patient, technique };
        RenderSpec { annotation, corner_label, ..RenderSpec::new(Framing::Native, Output::Png) }
    }

    fn raster(width: u32, height: u32, channels: Channels) -> Raster {
        let data = vec![120; width as usize * height as usize * channels.count()];
        Raster { width, height, channels, data }
    }

    /// A grey picture with these texts.
    fn annotated(width: u32, height: u32, spec: &RenderSpec, labels: &Labels) -> Raster {
        let mut raster = raster(width, height, Channels::Grey);
        burn_in(&mut raster, spec, Some(labels), &image(8, 8, 8));
        raster
    }

    /// Whether something is drawn in a part of a picture, given in eighths of its sides.
    fn inked(raster: &Raster, columns: [u32; 2], rows: [u32; 2]) -> bool {
        let of = |eighths: u32, side: u32| (side * eighths / 8) as usize;
        let (from, to) = (of(columns[0], raster.width), of(columns[1], raster.width));
        let rows = of(rows[0], raster.height)..of(rows[1], raster.height);
        let row = |y: usize| &raster.data[y * raster.width as usize..][from..to];
        rows.into_iter().any(|y| row(y).iter().any(|value| *value != 120))
    }

    #[test]
    fn patient_is_top_left_and_technique_in_the_other_corners() {
        let patient = annotated(512, 512, &spec(true, false, false), &labels());
        assert!(inked(&patient, [0, 3], [0, 1]));
        assert!(!inked(&patient, [4, 8], [0, 8]) && !inked(&patient, [0, 8], [1, 8]));
        let technique = annotated(512, 512, &spec(false, true, false), &labels());
        assert!(!inked(&technique, [0, 5], [0, 6]) && !inked(&technique, [0, 8], [1, 7]));
        assert!(inked(&technique, [6, 8], [0, 1]));
        assert!(inked(&technique, [0, 2], [7, 8]) && inked(&technique, [6, 8], [7, 8]));
    }

    #[test]
    fn the_middle_of_a_picture_is_never_touched() {
        let all = annotated(512, 512, &spec(true, true, true), &labels());
        assert!(!inked(&all, [0, 8], [2, 6]));
        assert!(!inked(&all, [3, 5], [0, 8]));
    }

    #[test]
    fn a_label_is_bottom_left_alone() {
        let label = annotated(256, 256, &spec(false, false, true), &labels());
        assert!(inked(&label, [0, 2], [7, 8]));
        assert!(!inked(&label, [2, 8], [0, 8]) && !inked(&label, [0, 8], [0, 7]));
    }

    #[test]
    fn letters_are_white_and_their_edges_black() {
        let picture = annotated(512, 512, &spec(true, false, false), &labels());
        let (darkest, brightest) = (picture.data.iter().min(), picture.data.iter().max());
        assert!(darkest < Some(&25) && brightest > Some(&235), "{darkest:?} {brightest:?}");
    }

    #[test]
    fn nothing_is_drawn_without_being_asked_or_without_texts() {
        let untouched = raster(300, 300, Channels::Grey);
        assert_eq!(annotated(300, 300, &spec(false, false, false), &labels()), untouched);
        assert_eq!(annotated(300, 300, &spec(true, true, true), &Labels::default()), untouched);
        let mut picture = untouched.clone();
        burn_in(&mut picture, &spec(true, true, true), None, &image(8, 8, 8));
        assert_eq!(picture, untouched);
    }

    #[test]
    fn colour_pictures_get_neutral_letters() {
        let mut picture = raster(512, 512, Channels::Rgb);
        burn_in(&mut picture, &spec(true, true, true), Some(&labels()), &image(8, 8, 8));
        assert!(picture.data.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
        assert!(picture.data.iter().max() > Some(&235));
    }

    #[test]
    fn the_window_that_was_drawn_is_named() {
        let mut grey = image(8, 8, 16);
        let asked = "40,400,linear".parse().unwrap();
        let spec = spec(false, true, false);
        let with = RenderSpec { window: Some(asked), ..spec.clone() };
        assert_eq!(window_line(&with, &grey).as_deref(), Some("C 40 W 400"));
        assert_eq!(window_line(&spec, &grey), None);
        grey.voi = Voi::Window("-600,1500.5,linear".parse().unwrap());
        assert_eq!(window_line(&spec, &grey).as_deref(), Some("C -600 W 1500.5"));
        grey.segmentation = true;
        assert_eq!(window_line(&with, &grey), None);
    }

    #[test]
    fn no_picture_is_too_small_or_too_long() {
        for (width, height) in
            [(1, 1), (9, 9), (20, 20), (47, 47), (1, 3000), (3000, 1), (3000, 20), (20, 3000)]
        {
            annotated(width, height, &spec(true, true, true), &labels());
        }
        let untouched = raster(12, 12, Channels::Grey);
        assert_eq!(annotated(12, 12, &spec(true, true, true), &labels()), untouched);
    }

    #[test]
    fn narrow_pictures_have_one_column_and_share_its_rows() {
        let picture = annotated(64, 64, &spec(true, true, false), &labels());
        assert!(inked(&picture, [0, 8], [0, 4]) && inked(&picture, [0, 8], [4, 8]));
    }

    fn long_lines() -> Labels {
        let lines = |count: usize| (0..count).map(|n| format!("{n} {}", "W".repeat(99))).collect();
        Labels { patient: lines(40), technique: lines(99), series: Some("W".repeat(99)) }
    }

    /// Where two texts meet, pixels would be as in neither.
    #[test]
    fn patient_and_technique_never_overlap() {
        for (width, height) in [(512, 512), (300, 90), (256, 256), (100, 700), (64, 64)] {
            let of = |patient, technique| {
                let (labels, spec) = (long_lines(), spec(patient, technique, false));
                let sheet =
                    Sheet::new(&raster(width, height, Channels::Grey), LETTERS, height as f32);
                (annotated(width, height, &spec, &labels), sheet)
            };
            let (both, sheet) = of(true, true);
            // A free column between both sides, or a free row between top and bottom.
            let free_column =
                |x: u32| (0..height).all(|y| both.data[(y * width + x) as usize] == 120);
            if sheet.two_columns() {
                assert!((width / 4..width * 3 / 4).any(free_column), "{width} × {height}");
            }
            let technique = annotated(
                width,
                height,
                &spec(false, true, false),
                &Labels { patient: Vec::new(), ..long_lines() },
            );
            assert_ne!(both, technique);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_texts_on_any_picture_are_drawn(
            patient in proptest::collection::vec(".{0,40}", 0..6),
            technique in proptest::collection::vec(".{0,40}", 0..14),
            series in proptest::option::of(".{0,9}"),
            width in 1..400_u32, height in 1..400_u32, colour: bool,
        ) {
            let channels = if colour { Channels::Rgb } else { Channels::Grey };
            let mut picture = raster(width, height, channels);
            let labels = Labels { patient, technique, series };
            burn_in(&mut picture, &spec(true, true, true), Some(&labels), &image(8, 8, 8));
            prop_assert_eq!(picture.data.len(), width as usize * height as usize * channels.count());
            prop_assert_eq!(picture.channels, channels);
        }
    }
}
