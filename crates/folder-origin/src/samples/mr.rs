//! Head MR: one Enhanced MR Image of 16 T2-weighted frames, each with its own place and window.

use std::path::Path;

use dicom_core::PrimitiveValue;
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::TransferSyntax;

use super::canvas::{draw, grain, wave};
use super::dataset::{Bits, Object, Series, Study};
use super::head::{self, Tissue};
use crate::OriginError;

const STUDY: Study = Study {
    number: 2,
    patient: "Phantom^Brain",
    sex: "O",
    age: "042Y",
    date: "20260604",
    description: "MR head",
};
const T2: Series =
    Series { number: 1, modality: "MR", description: "T2 axial, 16 frames", body_part: "HEAD" };

const SIZE: u16 = 256;
const FRAMES: u32 = 16;
const SPACING: f32 = 0.85;
const SLICE_MM: f32 = 7.0;
const LOWEST: f32 = -38.0;

pub(super) fn write(folder: &Path) -> Result<(), OriginError> {
    let frames = (1..=FRAMES).flat_map(axial).collect::<Vec<i32>>();
    let (shared, per_frame) = (shared(), (1..=FRAMES).map(frame_groups).collect());
    image()
        .items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared])
        .items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, per_frame)
        .native(&frames)
        .write(&folder.join("t2.dcm"), &TransferSyntax::ExplicitLittleEndian)
}

fn height(frame: u32) -> f32 {
    LOWEST + SLICE_MM * (frame - 1) as f32
}

fn axial(frame: u32) -> Vec<i32> {
    let middle = f32::from(SIZE) / 2.0 - 0.5;
    let z = height(frame);
    draw(usize::from(SIZE), usize::from(SIZE), |column, row| {
        let (x, y) = ((column as f32 - middle) * SPACING, (row as f32 - middle) * SPACING);
        let signal = head::signal([x, y, z], SPACING, t2);
        // The coil is a little more sensitive in front; noise is the length of a complex number.
        let coil = 1.0 + 0.10 * wave(0.25 - y / 500.0);
        let (re, im) =
            (grain(column, row, frame as i32 * 2), grain(column, row, frame as i32 * 2 + 1));
        let (re, im) = (signal * coil + 22.0 * re, 22.0 * im);
        (re * re + im * im).sqrt().round().clamp(0.0, 4095.0) as i32
    })
}

fn t2(tissue: Tissue) -> f32 {
    match tissue {
        Tissue::Air => 0.0,
        Tissue::Fat => 1250.0,
        Tissue::Muscle => 380.0,
        Tissue::Bone => 70.0,
        Tissue::Marrow => 560.0,
        Tissue::Csf => 2350.0,
        Tissue::Grey => 1130.0,
        Tissue::White => 760.0,
        Tissue::Blood => 430.0,
        Tissue::Edema => 1650.0,
        Tissue::Calcification => 160.0,
    }
}

fn image() -> Object {
    let dimension = |pointer, group| {
        Object::default()
            .put(tags::DIMENSION_ORGANIZATION_UID, STUDY.instance_uid(0, 2).as_str())
            .put(tags::DIMENSION_INDEX_POINTER, PrimitiveValue::from(pointer))
            .put(tags::FUNCTIONAL_GROUP_POINTER, PrimitiveValue::from(group))
    };
    let organization =
        Object::default().put(tags::DIMENSION_ORGANIZATION_UID, STUDY.instance_uid(0, 2).as_str());
    STUDY
        .instance(T2, uids::ENHANCED_MR_IMAGE_STORAGE, 1)
        .put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\T2\\NONE")
        .put(tags::PIXEL_PRESENTATION, "MONOCHROME")
        .put(tags::VOLUMETRIC_PROPERTIES, "VOLUME")
        .put(tags::VOLUME_BASED_CALCULATION_TECHNIQUE, "NONE")
        .put(tags::COMPLEX_IMAGE_COMPONENT, "MAGNITUDE")
        .put(tags::ACQUISITION_CONTRAST, "T2")
        .put(tags::ACQUISITION_NUMBER, "1")
        .put(tags::ACQUISITION_DATE_TIME, "20260604100000")
        .put(tags::ACQUISITION_DURATION, 180.0_f64)
        .put(tags::RESONANT_NUCLEUS, "1H")
        .put(tags::MAGNETIC_FIELD_STRENGTH, "1.5")
        .put(tags::K_SPACE_FILTERING, "NONE")
        .put(tags::CONTENT_QUALIFICATION, "RESEARCH")
        .put(tags::APPLICABLE_SAFETY_STANDARD_AGENCY, "IEC")
        .put(tags::PULSE_SEQUENCE_NAME, "TSE")
        .put(tags::PATIENT_POSITION, "HFS")
        .put(tags::FRAME_OF_REFERENCE_UID, STUDY.instance_uid(0, 1).as_str())
        .put(tags::POSITION_REFERENCE_INDICATOR, "")
        .put(tags::PRESENTATION_LUT_SHAPE, "IDENTITY")
        .put(tags::BURNED_IN_ANNOTATION, "NO")
        .put(tags::LOSSY_IMAGE_COMPRESSION, "00")
        .put(tags::NUMBER_OF_FRAMES, FRAMES.to_string().as_str())
        .items(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organization])
        .items(
            tags::DIMENSION_INDEX_SEQUENCE,
            vec![
                dimension(tags::STACK_ID, tags::FRAME_CONTENT_SEQUENCE),
                dimension(tags::IN_STACK_POSITION_NUMBER, tags::FRAME_CONTENT_SEQUENCE),
            ],
        )
        .items(tags::ACQUISITION_CONTEXT_SEQUENCE, vec![])
        .grey(SIZE, SIZE, "MONOCHROME2", Bits { stored: 12, signed: false })
}

fn shared() -> Object {
    let measures = Object::default()
        .put(tags::SLICE_THICKNESS, "5")
        .put(tags::SPACING_BETWEEN_SLICES, "7")
        .put(tags::PIXEL_SPACING, "0.85\\0.85");
    let orientation = Object::default().put(tags::IMAGE_ORIENTATION_PATIENT, "1\\0\\0\\0\\1\\0");
    let values = Object::default()
        .put(tags::RESCALE_INTERCEPT, "0")
        .put(tags::RESCALE_SLOPE, "1")
        .put(tags::RESCALE_TYPE, "US");
    let timing = Object::default()
        .put(tags::REPETITION_TIME, "4000")
        .put(tags::FLIP_ANGLE, "90")
        .put(tags::ECHO_TRAIN_LENGTH, "15");
    let echo = Object::default().put(tags::EFFECTIVE_ECHO_TIME, 95.0_f64);
    let anatomy = Object::default().put(tags::FRAME_LATERALITY, "U").code(
        tags::ANATOMIC_REGION_SEQUENCE,
        "69536005",
        "SCT",
        "Head",
    );
    let frame_type = Object::default()
        .put(tags::FRAME_TYPE, "ORIGINAL\\PRIMARY\\T2\\NONE")
        .put(tags::PIXEL_PRESENTATION, "MONOCHROME")
        .put(tags::VOLUMETRIC_PROPERTIES, "VOLUME")
        .put(tags::VOLUME_BASED_CALCULATION_TECHNIQUE, "NONE")
        .put(tags::COMPLEX_IMAGE_COMPONENT, "MAGNITUDE")
        .put(tags::ACQUISITION_CONTRAST, "T2");
    let averages = Object::default().put(tags::NUMBER_OF_AVERAGES, "1");
    Object::default()
        .items(tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, vec![frame_type])
        .items(tags::PIXEL_MEASURES_SEQUENCE, vec![measures])
        .items(tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation])
        .items(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![values])
        .items(tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, vec![timing])
        .items(tags::MR_ECHO_SEQUENCE, vec![echo])
        .items(tags::MR_AVERAGES_SEQUENCE, vec![averages])
        .items(tags::FRAME_ANATOMY_SEQUENCE, vec![anatomy])
}

fn frame_groups(frame: u32) -> Object {
    let content = Object::default()
        .put(tags::FRAME_ACQUISITION_NUMBER, 1_u16)
        .put(tags::FRAME_REFERENCE_DATE_TIME, "20260604100000")
        .put(tags::FRAME_ACQUISITION_DATE_TIME, "20260604100000")
        .put(tags::FRAME_ACQUISITION_DURATION, 180_000.0_f64)
        .put(tags::STACK_ID, "1")
        .put(tags::IN_STACK_POSITION_NUMBER, frame)
        .put(tags::DIMENSION_INDEX_VALUES, PrimitiveValue::U32([1, frame].as_slice().into()));
    let corner = -(f32::from(SIZE) / 2.0 - 0.5) * SPACING;
    let position = format!("{corner}\\{corner}\\{}", height(frame));
    let plane = Object::default().put(tags::IMAGE_POSITION_PATIENT, position.as_str());
    // The base of the skull holds more fluid and fat in view: wider there.
    let width = 2500 - 30 * frame.min(12);
    let window = Object::default()
        .put(tags::WINDOW_CENTER, (width / 2).to_string().as_str())
        .put(tags::WINDOW_WIDTH, width.to_string().as_str());
    Object::default()
        .items(tags::FRAME_CONTENT_SEQUENCE, vec![content])
        .items(tags::PLANE_POSITION_SEQUENCE, vec![plane])
        .items(tags::FRAME_VOILUT_SEQUENCE, vec![window])
}
