//! Chest radiograph, MONOCHROME1: high stored values are dark. And a document of its study.

use std::path::Path;

use dicom_dictionary_std::{tags, uids};
use dicomweb_types::TransferSyntax;

use super::canvas::{
    bell, cover, draw, ellipse, fractal, grain, mix, noise, smoothstep, turned_ellipse, wave,
};
use super::dataset::{Bits, Object, Series, Study};
use super::documents;
use crate::OriginError;

const STUDY: Study = Study {
    number: 5,
    patient: "Phantom^Chest",
    sex: "O",
    age: "048Y",
    date: "20260601",
    description: "Chest, posterior-anterior",
};
const VIEW: Series =
    Series { number: 1, modality: "DX", description: "Chest PA", body_part: "CHEST" };

const COLUMNS: u16 = 1024;
const ROWS: u16 = 1100;
const MM: f32 = 0.35;

pub(super) fn write(folder: &Path) -> Result<(), OriginError> {
    let (middle_x, middle_y) = (f32::from(COLUMNS) / 2.0, f32::from(ROWS) / 2.0);
    let pixels = draw(usize::from(COLUMNS), usize::from(ROWS), |column, row| {
        let (x, y) = ((column as f32 - middle_x) * MM, (row as f32 - middle_y) * MM);
        // What passes is logarithmic in the attenuation, and dark: MONOCHROME1.
        let value = 3850.0 - 21.0 * attenuation(x, y) + 16.0 * grain(column, row, 1);
        value.round().clamp(0.0, 4095.0) as i32
    });
    image().native(&pixels).write(&folder.join("pa.dcm"), &TransferSyntax::ExplicitLittleEndian)?;
    documents::leaflet(STUDY)
        .write(&folder.join("leaflet.dcm"), &TransferSyntax::ExplicitLittleEndian)
}

fn image() -> Object {
    STUDY
        .instance(VIEW, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION, 1)
        .put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY")
        .put(tags::PRESENTATION_INTENT_TYPE, "FOR PRESENTATION")
        .put(tags::IMAGE_LATERALITY, "U")
        .put(tags::PATIENT_ORIENTATION, "L\\F")
        .put(tags::VIEW_POSITION, "PA")
        .code(tags::VIEW_CODE_SEQUENCE, "399348003", "SCT", "antero-posterior")
        .code(tags::ANATOMIC_REGION_SEQUENCE, "51185008", "SCT", "Chest")
        .items(tags::ACQUISITION_CONTEXT_SEQUENCE, vec![])
        .put(tags::KVP, "125")
        .put(tags::DETECTOR_TYPE, "SCINTILLATOR")
        .put(tags::IMAGER_PIXEL_SPACING, "0.35\\0.35")
        .put(tags::PIXEL_SPACING, "0.35\\0.35")
        .put(tags::PIXEL_INTENSITY_RELATIONSHIP, "LOG")
        .put(tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN, 1_i16)
        .put(tags::BURNED_IN_ANNOTATION, "NO")
        .put(tags::LOSSY_IMAGE_COMPRESSION, "00")
        .grey(ROWS, COLUMNS, "MONOCHROME1", Bits { stored: 12, signed: false })
        .put(tags::RESCALE_INTERCEPT, "0")
        .put(tags::RESCALE_SLOPE, "1")
        .put(tags::RESCALE_TYPE, "US")
        .put(tags::PRESENTATION_LUT_SHAPE, "INVERSE")
        .put(tags::WINDOW_CENTER, "2000")
        .put(tags::WINDOW_WIDTH, "3300")
}

/// What lies in the beam, in millimetres of water or so. x to the right of the picture (the
/// patient's left), y down, from the middle.
fn attenuation(x: f32, y: f32) -> f32 {
    let body = body(x, y);
    if body <= 0.0 {
        return marker(x, y);
    }
    let lung = lung(x, y);
    let mut sum = body * mix(1.0, 0.40, lung);
    if lung > 0.0 {
        sum += lung * vessels(x, y);
    }
    sum += heart(x, y) + spine(x, y);
    sum += ribs(x, y) * mix(0.55, 1.0, lung) + clavicles(x, y) + scapulae(x, y);
    sum += 14.0 * bell(ellipse(x, y, (-70.0, -62.0), (5.0, 4.6)).max(0.0), 1.6) * lung; // a nodule
    sum -= 20.0 * windpipe(x, y) + 30.0 * stomach(x, y);
    sum + marker(x, y)
}

fn body(x: f32, y: f32) -> f32 {
    let shoulder = smoothstep(-190.0, -118.0, y);
    let half = mix(52.0, 172.0, shoulder.sqrt()) - 16.0 * smoothstep(-60.0, 60.0, y)
        + 10.0 * smoothstep(90.0, 190.0, y);
    let inside = half - x.abs();
    if inside <= 0.0 {
        return 0.0;
    }
    let u = 1.0 - (inside / 75.0).min(1.0);
    let thick = mix(84.0, 104.0, smoothstep(20.0, 130.0, y)) * mix(0.75, 1.0, shoulder);
    thick * (1.0 - u * u).max(0.0).sqrt() + 3.0 * fractal(x / 22.0, y / 22.0, 1.0, 3)
}

/// Upper border of the diaphragm; the liver lifts the right side.
fn dome(x: f32) -> f32 {
    let (centre, top) = if x < 0.0 { (-66.0, 82.0) } else { (72.0, 92.0) };
    let u = (x - centre) / 66.0;
    top + 34.0 * u * u
}

/// 0 … 1: how much of the thickness here is lung.
fn lung(x: f32, y: f32) -> f32 {
    let centre = if x < 0.0 { -68.0 } else { 70.0 };
    let width = 60.0 - 16.0 * smoothstep(0.0, -140.0, y) + 6.0 * smoothstep(0.0, 90.0, y);
    let u = (x - centre * (1.0 - 0.12 * smoothstep(-20.0, -140.0, y))) / width;
    let v = (y + 12.0) / 132.0;
    let round = u.abs().powi(3) + v.abs().powi(3);
    let shape = smoothstep(1.04, 0.86, round) * (0.72 + 0.28 * (1.0 - u * u).max(0.0));
    shape * smoothstep(3.0, -3.0, y - dome(x))
}

/// Vessels fork out of the hila and thin to the border.
fn vessels(x: f32, y: f32) -> f32 {
    let hilum = if x < 0.0 { (-30.0, -12.0) } else { (34.0, -18.0) };
    let (dx, dy) = (x - hilum.0, y - hilum.1);
    let far = (dx * dx + dy * dy).sqrt().max(1.0);
    let (cosine, sine) = (dx / far, dy / far);
    let branch = |turns: f32, layer: f32| {
        let bend = 0.35 * noise(far / 14.0, cosine * 3.0, layer);
        fractal(cosine * turns + bend, sine * turns + bend, far / 60.0 + layer, 2).abs()
    };
    let coarse = smoothstep(0.10, 0.0, branch(3.2, 4.0)) * smoothstep(75.0, 12.0, far);
    let fine = smoothstep(0.09, 0.0, branch(7.0, 9.0)) * smoothstep(115.0, 25.0, far);
    let root = bell(far, 13.0) * (0.8 + 0.6 * noise(x / 7.0, y / 7.0, 5.0));
    10.0 * coarse + 6.0 * fine + 26.0 * root + 2.2 * fractal(x / 6.0, y / 6.0, 12.0, 3)
}

fn heart(x: f32, y: f32) -> f32 {
    let muscle = turned_ellipse(x, y, (20.0, 52.0), (66.0, 50.0), 0.42);
    let atrium = ellipse(x, y, (-14.0, 45.0), (34.0, 46.0));
    let knob = ellipse(x, y, (20.0, -58.0), (17.0, 16.0));
    let trunk = ellipse(x, y, (4.0, -40.0), (26.0, 75.0));
    let soft = |distance: f32, border: f32| smoothstep(border, -3.0 * border, distance);
    let whole = soft(muscle, 3.0).max(soft(atrium, 3.0)).max(0.75 * soft(trunk, 5.0));
    36.0 * whole.max(0.8 * soft(knob, 2.5))
}

fn spine(x: f32, y: f32) -> f32 {
    let sway = x - 2.0 * wave(y / 520.0);
    let period = 25.0;
    let level = y / period - (y / period).floor();
    let endplate = bell(level - 0.06, 0.035) + bell(level - 0.94, 0.035);
    let bone = 0.80 + 0.35 * endplate;
    let column = smoothstep(19.0, 12.0, sway.abs());
    let process = 0.25 * bell(sway, 2.5) * bell(level - 0.6, 0.12);
    let pedicles = 0.35 * bell(sway.abs() - 10.0, 1.8) * bell(level - 0.35, 0.08);
    21.0 * column * (bone + process + pedicles)
}

/// Ten pairs: out and down behind, back in and further down in front, where they fade to cartilage.
fn ribs(x: f32, y: f32) -> f32 {
    let side = x.abs();
    let sum: f32 = (0..10)
        .map(|i| {
            let i = i as f32;
            let start = -146.0 + 24.0 * i;
            let wall = (70.0 + 60.0 * smoothstep(-1.0, 5.0, i)) * 1.0 + 3.0 * i.min(4.0);
            let reach = wall - 14.0;
            let t = (side - 14.0) / reach;
            if !(0.0..=1.0).contains(&t) {
                return 0.0;
            }
            // Both arcs run into the side wall upright, where the rib turns to the front.
            let upright = (1.0 - t * t).sqrt().max(0.1);
            let (drop, fall) = (16.0 + 3.2 * i, 34.0 + 3.0 * i);
            let behind = start + drop * (1.0 - upright) - 17.0 * t * (1.0 - t);
            let slope = (drop * t / upright - 17.0 * (1.0 - 2.0 * t)) / reach;
            let front = start + drop + fall * upright;
            let front_slope = fall * t / upright / reach;
            let cartilage = smoothstep(0.34, 0.60, t);
            let ends = smoothstep(0.0, 0.08, t) * smoothstep(0.1, 0.32, upright);
            let behind = bone(y - behind, slope, 5.4);
            ends * (behind + 0.62 * cartilage * bone(y - front, front_slope, 5.6))
        })
        .sum();
    15.0 * sum
}

/// A tube of bone seen from the side: the rim is denser than the middle.
fn bone(offset: f32, slope: f32, half: f32) -> f32 {
    let distance = (offset / (1.0 + slope * slope).sqrt()).abs();
    if distance > half + 1.0 {
        return 0.0;
    }
    let rim = bell(distance - half + 0.9, 0.55);
    cover(distance - half, 1.4) * (0.55 + 0.35 * rim)
}

fn clavicles(x: f32, y: f32) -> f32 {
    let t = (x.abs() - 13.0) / 122.0;
    if !(0.0..=1.0).contains(&t) {
        return 0.0;
    }
    let course = -112.0 - 26.0 * t + 7.0 * wave(t * 0.9 + 0.5);
    let ends = smoothstep(0.0, 0.05, t) * smoothstep(1.0, 0.95, t);
    24.0 * ends * bone(y - course, -0.15, 6.0 + 2.5 * bell(t, 0.06))
}

fn scapulae(x: f32, y: f32) -> f32 {
    let blade = turned_ellipse(x.abs(), y, (133.0, -52.0), (22.0, 58.0), 0.22);
    let head = ellipse(x.abs(), y, (147.0, -104.0), (19.0, 21.0));
    9.0 * cover(blade, 3.0) + 10.0 * bell(blade, 1.6) + 15.0 * smoothstep(1.5, -5.0, head)
}

fn windpipe(x: f32, y: f32) -> f32 {
    let tube = smoothstep(9.5, 5.0, (x + 1.0).abs()) * smoothstep(-50.0, -58.0, y);
    let fork = |side: f32| {
        let course = (y + 56.0) * side * 0.95;
        smoothstep(8.0, 5.0, (x + 1.0 - course).abs())
            * smoothstep(-62.0, -56.0, y)
            * smoothstep(-28.0, -36.0, y)
    };
    tube.max(0.8 * fork(1.0)).max(0.8 * fork(-0.9))
}

fn stomach(x: f32, y: f32) -> f32 {
    let bubble = turned_ellipse(x, y, (64.0, 122.0), (28.0, 16.0), -0.15);
    smoothstep(2.0, -4.0, bubble)
}

/// The lead letter L at the patient's left.
fn marker(x: f32, y: f32) -> f32 {
    let stem = (150.0..153.0).contains(&x) && (-168.0..-152.0).contains(&y);
    let foot = (150.0..160.0).contains(&x) && (-155.0..-152.0).contains(&y);
    if stem || foot { 170.0 } else { 0.0 }
}
