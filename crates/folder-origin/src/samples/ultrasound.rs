//! Heart ultrasound: an apical view, 20 frames of one beat, with a colour Doppler box.

use std::path::Path;

use dicom_core::PrimitiveValue;
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::TransferSyntax;
use native_codecs::jpeg::{self, Channels, Subsampling};

use super::canvas::{bell, cover, draw, mix, noise, smoothstep, turned_ellipse, wave};
use super::dataset::{Object, Series, Study};
use super::encode_error;
use crate::OriginError;

const STUDY: Study = Study {
    number: 3,
    patient: "Phantom^Heart",
    sex: "O",
    age: "035Y",
    date: "20260603",
    description: "Echocardiography",
};
const CLIP: Series = Series {
    number: 1,
    modality: "US",
    description: "Apical view, colour, 20 frames",
    body_part: "HEART",
};

const WIDTH: u16 = 640;
const HEIGHT: u16 = 480;
const FRAMES: u32 = 20;
const QUALITY: u8 = 88;

/// The sector: its tip, how deep it reaches, and how wide it opens.
const TIP: (f32, f32) = (300.0, 26.0);
const DEPTH: f32 = 400.0;
const OPENING: f32 = 0.78; // tangent of the half angle

pub(super) fn write(folder: &Path) -> Result<(), OriginError> {
    let frames = (0..FRAMES).map(|frame| {
        let pixels = draw(usize::from(WIDTH), usize::from(HEIGHT), |x, y| pixel(x, y, frame));
        let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
        let bytes = pixels.as_flattened();
        jpeg::encode(bytes, width, height, Channels::Rgb, QUALITY, Subsampling::S420)
    });
    let frames = frames.collect::<Result<Vec<_>, _>>().map_err(encode_error)?;
    image().encapsulated(frames).write(&folder.join("clip.dcm"), &TransferSyntax::JpegBaseline)
}

fn image() -> Object {
    STUDY
        .instance(CLIP, uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE, 1)
        .put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\\\0011")
        .put(tags::PATIENT_ORIENTATION, "")
        .put(tags::SAMPLES_PER_PIXEL, 3_u16)
        .put(tags::PHOTOMETRIC_INTERPRETATION, "YBR_FULL_422")
        .put(tags::PLANAR_CONFIGURATION, 0_u16)
        .put(tags::NUMBER_OF_FRAMES, FRAMES.to_string().as_str())
        .put(tags::FRAME_INCREMENT_POINTER, PrimitiveValue::from(tags::FRAME_TIME))
        .put(tags::FRAME_TIME, "45")
        .put(tags::CINE_RATE, "22")
        .put(tags::HEART_RATE, "67")
        .put(tags::ROWS, HEIGHT)
        .put(tags::COLUMNS, WIDTH)
        .put(tags::BITS_ALLOCATED, 8_u16)
        .put(tags::BITS_STORED, 8_u16)
        .put(tags::HIGH_BIT, 7_u16)
        .put(tags::PIXEL_REPRESENTATION, 0_u16)
        .put(tags::BURNED_IN_ANNOTATION, "NO")
        .put(tags::LOSSY_IMAGE_COMPRESSION, "01")
        .put(tags::LOSSY_IMAGE_COMPRESSION_RATIO, "12")
        .put(tags::LOSSY_IMAGE_COMPRESSION_METHOD, "ISO_10918_1")
        .items(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, vec![region()])
}

/// C.8.5.5: the sector as a calibrated region, 0.4 mm a pixel.
fn region() -> Object {
    Object::default()
        .put(tags::REGION_SPATIAL_FORMAT, 1_u16)
        .put(tags::REGION_DATA_TYPE, 1_u16)
        .put(tags::REGION_FLAGS, 0_u32)
        .put(tags::REGION_LOCATION_MIN_X0, 40_u32)
        .put(tags::REGION_LOCATION_MIN_Y0, 20_u32)
        .put(tags::REGION_LOCATION_MAX_X1, 560_u32)
        .put(tags::REGION_LOCATION_MAX_Y1, 430_u32)
        .put(tags::REFERENCE_PIXEL_X0, 260_i32)
        .put(tags::REFERENCE_PIXEL_Y0, 6_i32)
        .put(tags::PHYSICAL_UNITS_X_DIRECTION, 3_u16)
        .put(tags::PHYSICAL_UNITS_Y_DIRECTION, 3_u16)
        .put(tags::PHYSICAL_DELTA_X, 0.04_f64)
        .put(tags::PHYSICAL_DELTA_Y, 0.04_f64)
}

fn pixel(column: usize, row: usize, frame: u32) -> [u8; 3] {
    let (x, y) = (column as f32, row as f32);
    let beat = frame as f32 / FRAMES as f32;
    let colour = sector(x, y, beat)
        .or_else(|| grey_bar(x, y))
        .or_else(|| depth_scale(x, y))
        .or_else(|| ecg(x, y, beat))
        .unwrap_or([0.0; 3]);
    colour.map(|value| value.round().clamp(0.0, 255.0) as u8)
}

/// How full the ventricles are: 1 at the end of filling, 0 at the end of the contraction.
fn filling(beat: f32) -> f32 {
    0.5 + 0.5 * wave(beat + 0.25)
}

fn sector(x: f32, y: f32, beat: f32) -> Option<[f32; 3]> {
    let (dx, dy) = (x - TIP.0, y - TIP.1);
    let depth = (dx * dx + dy * dy).sqrt();
    if dy <= 0.0 || !(12.0..=DEPTH).contains(&depth) || (dx / dy).abs() > OPENING {
        return None;
    }
    let angle = dx / dy;
    let edge =
        smoothstep(OPENING, OPENING - 0.03, angle.abs()) * smoothstep(DEPTH, DEPTH - 4.0, depth);
    let grey = 255.0 * echo(dx, dy, depth, angle, beat) * edge;
    Some(doppler(dx, dy, beat, grey))
}

/// Brightness 0 … 1: how strongly tissue reflects, times speckle.
fn echo(dx: f32, dy: f32, depth: f32, angle: f32, beat: f32) -> f32 {
    let tissue = tissue(dx, dy, beat);
    // Speckle is fine along the beam and coarse across it; it moves with the muscle.
    let drift = 5.0 * filling(beat);
    let (along, across) = ((depth - drift) / 2.6, angle * 55.0);
    // Two lattices at an angle hide the grain of either.
    let (slant_a, slant_b) = (0.8 * along + 0.6 * across, 0.8 * across - 0.6 * along);
    let re = noise(along, across, 3.0 + beat) + noise(slant_a, slant_b, 60.0 + beat);
    let im = noise(along, across, 40.0 + beat) + noise(slant_b, slant_a, 90.0 + beat);
    let speckle = (re * re + im * im).sqrt() * 1.15;
    let lines = 1.0 + 0.05 * wave(angle * 60.0);
    let gain = smoothstep(5.0, 60.0, depth) * mix(1.0, 0.72, depth / DEPTH);
    let near = 0.5 * bell(depth - 20.0, 12.0);
    let bright = (tissue * speckle * lines * gain + near * speckle).min(1.3);
    // Log compression lifts what is weak.
    (bright / (bright + 0.32)) * 1.12
}

/// Reflectivity of a four-chamber heart: chambers dark, walls and valves bright.
fn tissue(dx: f32, dy: f32, beat: f32) -> f32 {
    let full = filling(beat);
    let (left, right) = ventricles(full);
    let lv = turned_ellipse(dx, dy, left.0, left.1, -0.10);
    let rv = turned_ellipse(dx, dy, right.0, right.1, 0.22);
    let wide = 1.12 - 0.2 * full;
    let la = turned_ellipse(dx, dy, (42.0, 305.0), (52.0 * wide, 52.0 * wide), 0.0);
    let ra = turned_ellipse(dx, dy, (-72.0, 300.0), (48.0 * wide, 50.0 * wide), 0.0);
    let chamber = lv.min(rv).min(la).min(ra);
    let heart = turned_ellipse(dx, dy, (-12.0, 205.0), (142.0, 178.0), 0.0);
    let around = 0.20 + 0.10 * noise(dx / 30.0, dy / 14.0, 1.0);
    let muscle = 0.44 + 0.12 * noise(dx / 12.0, dy / 18.0, 2.0);
    let mut value = mix(around, muscle, cover(heart, 10.0));
    value += 0.55 * bell(heart, 2.5); // pericardium
    value = mix(value, 0.018, cover(chamber, 5.0));
    value += 0.30 * bell(chamber - 1.5, 1.6); // endocardium
    value + valves(dx, dy, full)
}

type Ellipse = ((f32, f32), (f32, f32));

fn ventricles(full: f32) -> (Ellipse, Ellipse) {
    let left = ((38.0, 158.0 - 3.0 * full), (mix(27.0, 43.0, full), mix(78.0, 92.0, full)));
    let right = ((-66.0, 178.0), (mix(20.0, 31.0, full), mix(60.0, 70.0, full)));
    (left, right)
}

/// Two leaflets on each side, hanging open while the heart fills and shut while it contracts.
fn valves(dx: f32, dy: f32, full: f32) -> f32 {
    let open = smoothstep(0.35, 0.75, full);
    let leaflet = |hinge: (f32, f32), reach: f32| {
        let along = (dx - hinge.0) / reach;
        if !(0.0..=1.0).contains(&along) {
            return 0.0;
        }
        let hang = hinge.1 - open * 30.0 * along - (1.0 - open) * 7.0 * along;
        0.8 * bell(dy - hang, 1.9)
    };
    let reach = mix(40.0, 19.0, open);
    let small = mix(34.0, 15.0, open);
    leaflet((2.0, 252.0), reach)
        + leaflet((82.0, 250.0), -reach)
        + leaflet((-100.0, 246.0), small)
        + leaflet((-32.0, 246.0), -small)
}

/// Red flows to the probe, blue away from it: into the left ventricle, and out of it.
fn doppler(dx: f32, dy: f32, beat: f32, grey: f32) -> [f32; 3] {
    let inside = (-22.0..98.0).contains(&dx) && (90.0..330.0).contains(&dy);
    let border = (-23.0..99.0).contains(&dx) && (89.0..331.0).contains(&dy) && !inside;
    if border {
        return [190.0, 190.0, 120.0];
    }
    let full = filling(beat);
    let rising = wave(beat); // 1 while filling fastest
    let flow = if rising < 0.0 {
        let jet = turned_ellipse(dx, dy, (44.0, 205.0), (19.0, 92.0), -0.06);
        -rising * cover(jet, 34.0)
    } else {
        let jet = turned_ellipse(dx, dy, (16.0, 215.0), (13.0, 70.0), 0.12);
        -rising * cover(jet, 26.0)
    };
    let ((centre, radii), _) = ventricles(full);
    let blood = cover(turned_ellipse(dx, dy, centre, radii, -0.10), 6.0)
        .max(cover(turned_ellipse(dx, dy, (42.0, 305.0), (50.0, 50.0), 0.0), 6.0))
        .max(cover(turned_ellipse(dx, dy, (42.0, 252.0), (26.0, 20.0), 0.0), 6.0));
    let ragged = 1.0 + 0.35 * noise(dx / 5.0, dy / 7.0, beat * 9.0);
    let speed = flow * blood * ragged;
    if !inside || speed.abs() < 0.14 {
        return [grey; 3];
    }
    let fast = speed.abs().min(1.0);
    let bright = [mix(150.0, 255.0, fast), mix(10.0, 215.0, fast * fast), 20.0 + 40.0 * fast];
    let [strong, middle, weak] = bright;
    if speed > 0.0 { [strong, middle, weak] } else { [weak, middle * 0.8, strong] }
}

fn grey_bar(x: f32, y: f32) -> Option<[f32; 3]> {
    let at = |left: f32| (left..left + 12.0).contains(&x) && (40.0..200.0).contains(&y);
    if at(600.0) {
        return Some([(200.0 - y) / 160.0 * 255.0; 3]);
    }
    let level = (120.0 - y) / 80.0;
    at(582.0).then(|| {
        let fast = level.abs();
        let [strong, middle, weak] = [90.0 + 165.0 * fast, 215.0 * fast * fast, 30.0];
        if level > 0.0 { [strong, middle, weak] } else { [weak, middle * 0.8, strong] }
    })
}

/// A tick for every 20 pixels of depth, a longer one every 100.
fn depth_scale(x: f32, y: f32) -> Option<[f32; 3]> {
    let depth = y - TIP.1;
    if !(0.0..=DEPTH).contains(&depth) || depth % 20.0 >= 1.5 {
        return None;
    }
    let length = if depth % 100.0 < 1.5 { 12.0 } else { 6.0 };
    (560.0 - length..560.0).contains(&x).then_some([150.0; 3])
}

/// One and a half beats, with a mark where the frame lies.
fn ecg(x: f32, y: f32, beat: f32) -> Option<[f32; 3]> {
    if !(60.0..540.0).contains(&x) || !(432.0..476.0).contains(&y) {
        return None;
    }
    let at = (x - 60.0) / 320.0;
    let now = (at - beat).abs() < 0.004;
    let phase = (at + 0.235) - (at + 0.235).floor();
    let wave = 7.0 * bell(phase - 0.10, 0.035) - 5.0 * bell(phase - 0.205, 0.008)
        + 30.0 * bell(phase - 0.225, 0.010)
        - 8.0 * bell(phase - 0.248, 0.009)
        + 9.0 * bell(phase - 0.45, 0.045);
    let distance = (y - (466.0 - wave)).abs() / (1.0 + 60.0 * bell(phase - 0.225, 0.012) / 12.0);
    let line = smoothstep(1.8, 0.5, distance);
    if now {
        return Some([220.0, 60.0, 40.0]);
    }
    (line > 0.0).then_some([30.0 * line, 220.0 * line, 70.0 * line])
}
