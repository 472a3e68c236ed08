//! Mammogram: a left oblique view at full size, 2560 × 3328, 12 bit, lossy JPEG 2000.

use std::path::Path;

use dicom_dictionary_std::{tags, uids};
use dicomweb_types::TransferSyntax;
use native_codecs::jpeg2000::{self, Compression};

use super::canvas::{bell, draw, ellipse, fractal, grain, mix, noise, smoothstep, white};
use super::dataset::{Bits, Object, Series, Study, code};
use super::encode_error;
use crate::OriginError;

const STUDY: Study = Study {
    number: 4,
    patient: "Phantom^Breast",
    sex: "F",
    age: "055Y",
    date: "20260602",
    description: "Mammography, left",
};
const VIEW: Series =
    Series { number: 1, modality: "MG", description: "L MLO", body_part: "BREAST" };

const COLUMNS: u16 = 2560;
const ROWS: u16 = 3328;
const MM: f32 = 0.07;
const RATIO: f32 = 16.0;
/// Row of the nipple, and how far it is from the chest wall.
const NIPPLE: (f32, f32) = (133.0, 128.0);

pub(super) fn write(folder: &Path) -> Result<(), OriginError> {
    let pixels = pixels();
    let (width, height) = (u32::from(COLUMNS), u32::from(ROWS));
    let stream = jpeg2000::encode(&[&pixels], width, height, 12, false, Compression::Ratio(RATIO))
        .map_err(encode_error)?;
    image().encapsulated(vec![stream]).write(&folder.join("l-mlo.dcm"), &TransferSyntax::Jpeg2000)
}

fn image() -> Object {
    let view = code("399368009", "SCT", "medio-lateral oblique")
        .items(tags::VIEW_MODIFIER_CODE_SEQUENCE, vec![]);
    STUDY
        .instance(VIEW, uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION, 1)
        .put(tags::IMAGE_TYPE, "DERIVED\\PRIMARY")
        .put(tags::PRESENTATION_INTENT_TYPE, "FOR PRESENTATION")
        .put(tags::IMAGE_LATERALITY, "L")
        .put(tags::VIEW_POSITION, "MLO")
        .items(tags::VIEW_CODE_SEQUENCE, vec![view])
        .code(tags::ANATOMIC_REGION_SEQUENCE, "76752008", "SCT", "Breast")
        .put(tags::PATIENT_ORIENTATION, "A\\F")
        .put(tags::ORGAN_EXPOSED, "BREAST")
        .put(tags::KVP, "29")
        .put(tags::POSITIONER_TYPE, "MAMMOGRAPHIC")
        .put(tags::BODY_PART_THICKNESS, "52")
        .put(tags::COMPRESSION_FORCE, "110")
        .put(tags::DETECTOR_TYPE, "DIRECT")
        .put(tags::IMAGER_PIXEL_SPACING, "0.07\\0.07")
        .put(tags::BREAST_IMPLANT_PRESENT, "NO")
        .items(tags::ACQUISITION_CONTEXT_SEQUENCE, vec![])
        .put(tags::PIXEL_INTENSITY_RELATIONSHIP, "LOG")
        .put(tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN, -1_i16)
        .put(tags::BURNED_IN_ANNOTATION, "NO")
        .grey(ROWS, COLUMNS, "MONOCHROME2", Bits { stored: 12, signed: false })
        .put(tags::RESCALE_INTERCEPT, "0")
        .put(tags::RESCALE_SLOPE, "1")
        .put(tags::RESCALE_TYPE, "US")
        .put(tags::PRESENTATION_LUT_SHAPE, "IDENTITY")
        .put(tags::PIXEL_PADDING_VALUE, 0_u16)
        .put(tags::WINDOW_CENTER, "1950")
        .put(tags::WINDOW_WIDTH, "3100")
        .put(tags::LOSSY_IMAGE_COMPRESSION, "01")
        .put(tags::LOSSY_IMAGE_COMPRESSION_RATIO, RATIO.to_string().as_str())
        .put(tags::LOSSY_IMAGE_COMPRESSION_METHOD, "ISO_15444_1")
}

/// How far the breast reaches from the chest wall at this height.
fn outline(y: f32) -> f32 {
    let v = ((y - 120.0) / 98.0).abs().min(1.0);
    let round = NIPPLE.0 * (1.0 - v * v * v.sqrt()).max(0.0).sqrt();
    let axilla =
        88.0 - 0.12 * y - 30.0 * smoothstep(40.0, 110.0, y) - 80.0 * smoothstep(150.0, 215.0, y);
    // The larger of the two, without a kink.
    let part = (0.5 + (round - axilla) / 44.0).clamp(0.0, 1.0);
    let larger = mix(axilla, round, part) + 22.0 * part * (1.0 - part);
    larger + 6.0 * bell(y - NIPPLE.1, 3.2) + 0.8 * noise(y / 20.0, 1.0, 0.0)
}

/// The picture, stored values row by row.
fn pixels() -> Vec<i32> {
    let edges: Vec<Edge> = (0..ROWS).map(|row| Edge::at(f32::from(row) * MM)).collect();
    let tissue = Coarse::draw();
    draw(usize::from(COLUMNS), usize::from(ROWS), |column, row| {
        let (x, y) = (column as f32 * MM, row as f32 * MM);
        let depth = edges[row].depth(x);
        if depth <= 0.0 {
            return 0; // the beam passed nothing
        }
        let value = shaped(tissue.at(column, row), x, y, depth) + 9.0 * grain(column, row, 1);
        value.round().clamp(1.0, 4095.0) as i32
    })
}

/// The outline in one row, and the cosine of its slope there.
struct Edge {
    reach: f32,
    cosine: f32,
}

impl Edge {
    fn at(y: f32) -> Self {
        let slope = (outline(y + 0.5) - outline(y - 0.5)).clamp(-4.0, 4.0);
        Self { reach: outline(y), cosine: 1.0 / (1.0 + slope * slope).sqrt() }
    }

    /// How far below the skin, about.
    fn depth(&self, x: f32) -> f32 {
        (self.reach - x) * self.cosine
    }
}

/// Soft tissue is smooth: drawn at a third of the resolution and interpolated.
struct Coarse {
    width: usize,
    values: Vec<f32>,
}

impl Coarse {
    const STEP: usize = 3;

    fn draw() -> Self {
        let (width, height) =
            (usize::from(COLUMNS) / Self::STEP + 2, usize::from(ROWS) / Self::STEP + 2);
        let mm = MM * Self::STEP as f32;
        let values = draw(width, height, |column, row| {
            let (x, y) = (column as f32 * mm, row as f32 * mm);
            if x > outline(y) + 3.0 { 0.0 } else { tissue(x, y) }
        });
        Self { width, values }
    }

    fn at(&self, column: usize, row: usize) -> f32 {
        let (i, j) = (column / Self::STEP, row / Self::STEP);
        let part = |n: usize| (n % Self::STEP) as f32 / Self::STEP as f32;
        let value = |i: usize, j: usize| self.values[j * self.width + i];
        let above = mix(value(i, j), value(i + 1, j), part(column));
        let below = mix(value(i, j + 1), value(i + 1, j + 1), part(column));
        mix(above, below, part(row))
    }
}

/// Stored value of the tissue behind a place, under full thickness.
fn tissue(x: f32, y: f32) -> f32 {
    let muscle = pectoral(x, y);
    let fibres = 1.0 + 0.05 * noise((x + y) / 3.0, (x - y) / 30.0, 2.0);
    let fat = 960.0 + 330.0 * fractal(x / 17.0, y / 17.0, 5.0, 3);
    let gland = gland(x, y) * (1.0 - 0.8 * muscle);
    fat + 1500.0 * gland + 950.0 * muscle * fibres + septa(x, y) + vessel(x, y) + mass(x, y)
}

/// Thinner to the border, with skin, nipple and calcifications in full sharpness.
fn shaped(tissue: f32, x: f32, y: f32, depth: f32) -> f32 {
    let thin = 1.0 - (depth / 24.0).min(1.0);
    let mut value = tissue * (1.0 - thin * thin).max(0.0).sqrt();
    value += 480.0 * bell(depth - 0.9, 0.6); // skin
    value += 700.0 * bell(ellipse(x, y, (NIPPLE.0 + 2.0, NIPPLE.1), (3.5, 4.0)).max(0.0), 1.2);
    (value + calcifications(x, y)).max(60.0)
}

/// The chest muscle: a triangle from the upper corner.
fn pectoral(x: f32, y: f32) -> f32 {
    let border =
        78.0 * (1.0 - y / 142.0) + 3.0 * noise(y / 25.0, 3.0, 3.0) + 5.0 * bell(y - 55.0, 30.0);
    smoothstep(2.5, -3.5, x - border)
}

/// Glandular tissue fans out from behind the nipple and frays into fat.
fn gland(x: f32, y: f32) -> f32 {
    let (dx, dy) = (NIPPLE.0 + 6.0 - x, y - NIPPLE.1);
    let far = (dx * dx + dy * dy).sqrt();
    let fan = dy / (dx.max(1.0) + 14.0);
    let body = ellipse(x, y, (82.0, 124.0), (46.0, 52.0));
    let frayed = body + 17.0 * fractal(x / 24.0, y / 24.0, 8.0, 4);
    let envelope = smoothstep(9.0, -22.0, frayed);
    let clouds = 0.56 + 0.62 * fractal(x / 13.0, y / 13.0, 11.0, 5);
    let ducts = 1.0 - fractal(fan * 11.0, far / 34.0, 2.0, 3).abs() * 2.4;
    let near = bell(dy, 9.0) * smoothstep(60.0, 12.0, far) * 0.5;
    (envelope * (clouds + 0.30 * ducts.max(0.0)) + near * ducts.max(0.0)).clamp(0.0, 1.15)
}

/// Cooper's ligaments: thin curved lines through the fat.
fn septa(x: f32, y: f32) -> f32 {
    let warp = 6.0 * noise(x / 22.0, y / 22.0, 30.0);
    let line = |scale: f32, layer: f32| {
        let field = fractal((x + warp) / scale, (y - warp) / scale, layer, 3).abs();
        smoothstep(0.055, 0.0, field)
    };
    120.0 * line(26.0, 21.0) + 85.0 * line(15.0, 25.0)
}

fn vessel(x: f32, y: f32) -> f32 {
    let course =
        62.0 + 0.28 * x + 5.0 * noise(x / 16.0, 0.0, 50.0) + 3.0 * noise(x / 6.0, 0.0, 51.0);
    let width = mix(1.2, 0.5, (x / 120.0).min(1.0));
    230.0 * bell((y - course) / width, 0.55)
}

/// A small dense mass with spicules.
fn mass(x: f32, y: f32) -> f32 {
    let (dx, dy) = (x - 58.0, y - 158.0);
    let far = (dx * dx + dy * dy).sqrt();
    if far > 26.0 {
        return 0.0;
    }
    let (cosine, sine) = (dx / far.max(0.1), dy / far.max(0.1));
    let spikes = fractal(cosine * 7.0, sine * 7.0, 70.0 + far / 9.0, 2).max(0.0);
    let core = smoothstep(2.0, -3.5, far - 5.5 - 2.2 * noise(cosine * 2.0, sine * 2.0, 71.0));
    let rays = spikes * smoothstep(19.0, 6.0, far) * smoothstep(3.0, 6.0, far);
    800.0 * core + 330.0 * rays
}

/// A cluster of microcalcifications, 0.2 to 0.6 mm each.
fn calcifications(x: f32, y: f32) -> f32 {
    if !(80.0..104.0).contains(&x) || !(84.0..108.0).contains(&y) {
        return 0.0;
    }
    let spots = (0..22).map(|i| {
        let centre = (92.0 + 6.5 * white(i, 1, 90), 96.0 + 5.5 * white(i, 2, 90));
        let size = 0.13 + 0.10 * (white(i, 3, 90) + 1.0) / 2.0;
        let far = ((x - centre.0).powi(2) + (y - centre.1).powi(2)).sqrt();
        (1000.0 + 500.0 * white(i, 4, 90)) * bell(far, size)
    });
    spots.sum()
}
