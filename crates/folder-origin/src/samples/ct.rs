//! Head CT: a localizer and 24 axial slices with a bleeding to find, a report on it, and the slice that
//! shows it best, flagged and marked.

use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::TransferSyntax;
use native_codecs::jpeg2000::{self, Compression};

use super::canvas::{draw, grain, white};
use super::dataset::{Bits, Object, Series, Study};
use super::head::{self, Tissue};
use super::{documents, encode_error};
use crate::OriginError;

const STUDY: Study = Study {
    number: 1,
    patient: "Phantom^Head",
    sex: "O",
    age: "060Y",
    date: "20260605",
    description: "CT head without contrast",
};
const LOCALIZER: Series =
    Series { number: 1, modality: "CT", description: "Localizer", body_part: "HEAD" };
const AXIAL: Series =
    Series { number: 2, modality: "CT", description: "Axial 5 mm, 24 slices", body_part: "HEAD" };

const SIZE: u16 = 512;
const SLICES: u32 = 24;
const SPACING: f32 = 0.429_687_5;
const SLICE_MM: f32 = 5.0;
const LOWEST: f32 = -45.0;
/// Stored value of what lies outside the reconstructed circle.
const PADDING: i16 = -2000;
const INTERCEPT: f32 = -1024.0;

pub(super) fn write(folder: &Path) -> Result<(), OriginError> {
    localizer().write(&folder.join("localizer.dcm"), &TransferSyntax::ExplicitLittleEndian)?;
    for number in 1..=SLICES {
        // Every third is compressed, so that one series holds two transfer syntaxes.
        let compressed = number % 3 == 0;
        let path = folder.join(format!("axial-{number:02}.dcm"));
        if compressed {
            slice(number, true)?.write(&path, &TransferSyntax::Jpeg2000Lossless)?;
        } else {
            slice(number, false)?.write(&path, &TransferSyntax::ExplicitLittleEndian)?;
        }
    }
    // The slice through the middle of the bleeding.
    let image = STUDY.instance_uid(AXIAL.number, 12);
    for (name, object) in [
        ("report.dcm", documents::report(STUDY, &image)),
        ("key-image.dcm", documents::key_image(STUDY, &image)),
        ("presentation.dcm", documents::presentation(STUDY, &image, SIZE)),
    ] {
        object.write(&folder.join(name), &TransferSyntax::ExplicitLittleEndian)?;
    }
    Ok(())
}

fn slice(number: u32, compressed: bool) -> Result<Object, OriginError> {
    let z = LOWEST + SLICE_MM * (number - 1) as f32;
    let pixels = axial(z, number as i32);
    let half = f32::from(SIZE) / 2.0 * SPACING - SPACING / 2.0;
    let object = STUDY
        .instance(AXIAL, uids::CT_IMAGE_STORAGE, number)
        .put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\AXIAL")
        .put(tags::SLICE_THICKNESS, "5")
        .put(tags::SPACING_BETWEEN_SLICES, "5")
        .put(tags::SLICE_LOCATION, format!("{z}").as_str())
        .put(tags::IMAGE_POSITION_PATIENT, format!("{}\\{}\\{z}", -half, -half).as_str())
        .put(tags::IMAGE_ORIENTATION_PATIENT, "1\\0\\0\\0\\1\\0")
        .put(tags::PIXEL_SPACING, "0.4296875\\0.4296875")
        .put(tags::WINDOW_CENTER, "40\\600")
        .put(tags::WINDOW_WIDTH, "80\\2800")
        .put(tags::WINDOW_CENTER_WIDTH_EXPLANATION, "BRAIN\\BONE")
        .put_as(tags::PIXEL_PADDING_VALUE, VR::SS, PADDING);
    let object = acquisition(object, SIZE);
    if !compressed {
        return Ok(object.native(&pixels));
    }
    let size = u32::from(SIZE);
    let stream = jpeg2000::encode(&[&pixels], size, size, 16, true, Compression::Lossless)
        .map_err(encode_error)?;
    Ok(object.encapsulated(vec![stream]))
}

fn acquisition(object: Object, size: u16) -> Object {
    object
        .put(tags::ACQUISITION_NUMBER, "1")
        .put(tags::KVP, "120")
        .put(tags::PATIENT_POSITION, "HFS")
        .put(tags::FRAME_OF_REFERENCE_UID, STUDY.instance_uid(0, 1).as_str())
        .put(tags::POSITION_REFERENCE_INDICATOR, "")
        .grey(size, size, "MONOCHROME2", Bits { stored: 16, signed: true })
        .put(tags::RESCALE_INTERCEPT, "-1024")
        .put(tags::RESCALE_SLOPE, "1")
        .put(tags::RESCALE_TYPE, "HU")
}

fn axial(z: f32, layer: i32) -> Vec<i32> {
    let middle = f32::from(SIZE) / 2.0 - 0.5;
    draw(usize::from(SIZE), usize::from(SIZE), |column, row| {
        let (x, y) = ((column as f32 - middle) * SPACING, (row as f32 - middle) * SPACING);
        if (x * x + y * y).sqrt() > f32::from(SIZE) / 2.0 * SPACING {
            return i32::from(PADDING);
        }
        let noise = 3.0 * grain(column / 2, row / 2, layer) + 3.0 * grain(column, row, layer + 99);
        let value = headrest(x, y).unwrap_or_else(|| head::signal([x, y, z], SPACING, hounsfield));
        stored(value + noise)
    })
}

/// The shell the head lies in.
fn headrest(x: f32, y: f32) -> Option<f32> {
    let shell = ((x * x + (y + 8.0) * (y + 8.0)).sqrt() - 112.0).abs();
    (y > 45.0 && shell < 2.2).then_some(if shell > 1.4 { -150.0 } else { -850.0 })
}

fn hounsfield(tissue: Tissue) -> f32 {
    match tissue {
        Tissue::Air => -1000.0,
        Tissue::Fat => -85.0,
        Tissue::Muscle => 48.0,
        Tissue::Bone => 1250.0,
        Tissue::Marrow => 520.0,
        Tissue::Csf => 6.0,
        Tissue::Grey => 40.0,
        Tissue::White => 27.0,
        Tissue::Blood => 66.0,
        Tissue::Edema => 15.0,
        Tissue::Calcification => 170.0,
    }
}

fn stored(hounsfield: f32) -> i32 {
    (hounsfield - INTERCEPT).round().clamp(0.0, 4095.0) as i32
}

/// Seen from the side: attenuation summed from ear to ear.
fn localizer() -> Object {
    const ROWS: u16 = 256;
    const MM: f32 = 0.95;
    const STEP: f32 = 3.0;
    let middle = f32::from(ROWS) / 2.0 - 0.5;
    let pixels = draw(usize::from(ROWS), usize::from(ROWS), |column, row| {
        let y = (column as f32 - middle) * MM;
        let z = (middle - row as f32) * MM - 12.0;
        // Each ray starts elsewhere within a step, or the steps would show as rings.
        let start = 0.5 * white(column as i32, row as i32, 5);
        let through = (-26..=26).map(|i| {
            let x = (i as f32 + start) * STEP;
            (head::signal([x, y, z], MM, hounsfield) + 1000.0).max(0.0)
        });
        let density: f32 = through.sum::<f32>() * STEP / 1000.0;
        stored(density * 6.0 - 1000.0 + 6.0 * grain(column, row, 7))
    });
    let half = middle * MM;
    let object = STUDY
        .instance(LOCALIZER, uids::CT_IMAGE_STORAGE, 1)
        .put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\LOCALIZER")
        .put(tags::SLICE_THICKNESS, "150")
        .put(tags::IMAGE_POSITION_PATIENT, format!("0\\{}\\{}", -half, half - 12.0).as_str())
        .put(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0\\-1")
        .put(tags::PIXEL_SPACING, "0.95\\0.95")
        .put(tags::WINDOW_CENTER, "50")
        .put(tags::WINDOW_WIDTH, "1500");
    acquisition(object, ROWS).native(&pixels)
}
