//! Objects that are no images: a report of the CT, a selection of its key image and how that is shown, a
//! PDF with the radiograph.

use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};

use super::dataset::{Object, Series, Study, code, even};

const REPORT: Series =
    Series { number: 90, modality: "SR", description: "Report", body_part: "HEAD" };
const KEY_IMAGES: Series =
    Series { number: 91, modality: "KO", description: "Key image", body_part: "HEAD" };
const PRESENTATION: Series =
    Series { number: 92, modality: "PR", description: "Bleeding, marked", body_part: "HEAD" };
const LEAFLET: Series =
    Series { number: 90, modality: "DOC", description: "Leaflet (PDF)", body_part: "CHEST" };

/// A Basic Text SR that refers to one CT slice.
pub(super) fn report(study: Study, image: &str) -> Object {
    let reference = reference(uids::CT_IMAGE_STORAGE, image);
    let evidence = evidence(study, vec![(study.series_uid(2), reference.clone())]);
    let picture = Object::default()
        .put(tags::RELATIONSHIP_TYPE, "CONTAINS")
        .put(tags::VALUE_TYPE, "IMAGE")
        .items(tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
    let findings = "Phantom made in code. A dense area in the left basal ganglia, 22 by 36 mm, \
                    with a darker border. Ventricles of normal width, not displaced.";
    let impression = "Looks like a bleeding in the left basal ganglia. Not a real person.";
    let sections = vec![
        section(("121070", "Findings"), vec![text(("121071", "Finding"), findings), picture]),
        section(("121072", "Impressions"), vec![text(("121073", "Impression"), impression)]),
    ];
    study
        .instance(REPORT, uids::BASIC_TEXT_SR_STORAGE, 1)
        .items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![])
        .items(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, vec![])
        .items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence])
        .put(tags::COMPLETION_FLAG, "COMPLETE")
        .put(tags::VERIFICATION_FLAG, "UNVERIFIED")
        .put(tags::VALUE_TYPE, "CONTAINER")
        .put(tags::CONTINUITY_OF_CONTENT, "SEPARATE")
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, "18748-4", "LN", "Diagnostic imaging report")
        .items(tags::CONTENT_SEQUENCE, sections)
}

/// A Key Object Selection (PS3.16 TID 2010) of one CT slice, to be shown with its presentation state.
pub(super) fn key_image(study: Study, image: &str) -> Object {
    let state = study.instance_uid(PRESENTATION.number, 1);
    let state = reference(uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, &state);
    let slice = reference(uids::CT_IMAGE_STORAGE, image);
    let shown = slice.clone().items(tags::REFERENCED_SOP_SEQUENCE, vec![state.clone()]);
    let evidence = evidence(
        study,
        vec![(study.series_uid(2), slice), (study.series_uid(PRESENTATION.number), state)],
    );
    let picture = Object::default()
        .put(tags::RELATIONSHIP_TYPE, "CONTAINS")
        .put(tags::VALUE_TYPE, "IMAGE")
        .items(tags::REFERENCED_SOP_SEQUENCE, vec![shown]);
    let why = "The bleeding where it is widest.";
    study
        .instance(KEY_IMAGES, uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE, 1)
        .items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![])
        .items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence])
        .put(tags::VALUE_TYPE, "CONTAINER")
        .put(tags::CONTINUITY_OF_CONTENT, "SEPARATE")
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, "113000", "DCM", "Of Interest")
        .items(
            tags::CONTENT_SEQUENCE,
            vec![text(("113012", "Key Object Description"), why), picture],
        )
}

/// A Grayscale Softcopy Presentation State (PS3.3 A.33.1) for a slice of `size` × `size` pixels: a
/// narrow window, an arrow to the bleeding, and a word on it.
pub(super) fn presentation(study: Study, image: &str, size: u16) -> Object {
    const LAYER: &str = "FINDINGS";
    let series = Object::default()
        .items(tags::REFERENCED_IMAGE_SEQUENCE, vec![reference(uids::CT_IMAGE_STORAGE, image)])
        .put(tags::SERIES_INSTANCE_UID, study.series_uid(2).as_str());
    let area = Object::default()
        .put(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, whole([1, 1]))
        .put(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, whole([size.into(), size.into()]))
        .put(tags::PRESENTATION_SIZE_MODE, "SCALE TO FIT")
        .put(tags::PRESENTATION_PIXEL_ASPECT_RATIO, "1\\1");
    let window = Object::default()
        .put(tags::WINDOW_CENTER, "60")
        .put(tags::WINDOW_WIDTH, "60")
        .put(tags::WINDOW_CENTER_WIDTH_EXPLANATION, "BLOOD");
    let layer = Object::default()
        .put(tags::GRAPHIC_LAYER, LAYER)
        .put(tags::GRAPHIC_LAYER_ORDER, "1")
        .put(tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_CIE_LAB_VALUE, lab([52_000, 33_000, 50_000]));
    let annotation = Object::default()
        .put(tags::GRAPHIC_LAYER, LAYER)
        .items(tags::TEXT_OBJECT_SEQUENCE, vec![caption("Bleeding")])
        .items(tags::GRAPHIC_OBJECT_SEQUENCE, vec![arrow()]);
    study
        .instance(PRESENTATION, uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, 1)
        .put(tags::CONTENT_LABEL, "BLEEDING")
        .put(tags::CONTENT_DESCRIPTION, "Blood window, arrow to the bleeding")
        .put(tags::PRESENTATION_CREATION_DATE, study.date)
        .put(tags::PRESENTATION_CREATION_TIME, "100500")
        .put(tags::CONTENT_CREATOR_NAME, "")
        .items(tags::REFERENCED_SERIES_SEQUENCE, vec![series])
        .put(tags::RESCALE_INTERCEPT, "-1024")
        .put(tags::RESCALE_SLOPE, "1")
        .put(tags::RESCALE_TYPE, "HU")
        .items(tags::SOFTCOPY_VOILUT_SEQUENCE, vec![window])
        .put(tags::PRESENTATION_LUT_SHAPE, "IDENTITY")
        .items(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, vec![area])
        .items(tags::GRAPHIC_LAYER_SEQUENCE, vec![layer])
        .items(tags::GRAPHIC_ANNOTATION_SEQUENCE, vec![annotation])
}

/// From outside the head to the border of the bleeding, columns and rows in pixels.
fn arrow() -> Object {
    const POINTS: [f32; 10] =
        [446.0, 152.0, 364.0, 226.0, 379.0, 221.0, 364.0, 226.0, 370.0, 211.0];
    Object::default()
        .put(tags::GRAPHIC_ANNOTATION_UNITS, "PIXEL")
        .put(tags::GRAPHIC_DIMENSIONS, 2_u16)
        .put(tags::NUMBER_OF_GRAPHIC_POINTS, POINTS.len() as u16 / 2)
        .put(tags::GRAPHIC_DATA, PrimitiveValue::F32(POINTS.to_vec().into()))
        .put(tags::GRAPHIC_TYPE, "POLYLINE")
        .put(tags::GRAPHIC_FILLED, "N")
}

/// A word above the tail of the arrow.
fn caption(word: &str) -> Object {
    let corner = |x: f32, y: f32| PrimitiveValue::F32(vec![x, y].into());
    Object::default()
        .put(tags::BOUNDING_BOX_ANNOTATION_UNITS, "PIXEL")
        .put(tags::UNFORMATTED_TEXT_VALUE, word)
        .put(tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER, corner(396.0, 118.0))
        .put(tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER, corner(506.0, 146.0))
        .put(tags::BOUNDING_BOX_TEXT_HORIZONTAL_JUSTIFICATION, "CENTER")
}

fn whole(values: [i32; 2]) -> PrimitiveValue {
    PrimitiveValue::I32(values.to_vec().into())
}

/// A colour in PCS-Values (PS3.3 C.10.7.1.1).
fn lab(values: [u16; 3]) -> PrimitiveValue {
    PrimitiveValue::U16(values.to_vec().into())
}

fn reference(class: &str, instance: &str) -> Object {
    Object::default()
        .put(tags::REFERENCED_SOP_CLASS_UID, class)
        .put(tags::REFERENCED_SOP_INSTANCE_UID, instance)
}

/// An item of evidence: instances of a study, each in its series.
fn evidence(study: Study, instances: Vec<(String, Object)>) -> Object {
    let series = instances.into_iter().map(|(series, instance)| {
        Object::default()
            .items(tags::REFERENCED_SOP_SEQUENCE, vec![instance])
            .put(tags::SERIES_INSTANCE_UID, series.as_str())
    });
    Object::default()
        .items(tags::REFERENCED_SERIES_SEQUENCE, series.collect())
        .put(tags::STUDY_INSTANCE_UID, study.uid().as_str())
}

fn section(name: (&str, &str), content: Vec<Object>) -> Object {
    Object::default()
        .put(tags::RELATIONSHIP_TYPE, "CONTAINS")
        .put(tags::VALUE_TYPE, "CONTAINER")
        .put(tags::CONTINUITY_OF_CONTENT, "SEPARATE")
        .items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code(name.0, "DCM", name.1)])
        .items(tags::CONTENT_SEQUENCE, content)
}

fn text(name: (&str, &str), value: &str) -> Object {
    Object::default()
        .put(tags::RELATIONSHIP_TYPE, "CONTAINS")
        .put(tags::VALUE_TYPE, "TEXT")
        .items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code(name.0, "DCM", name.1)])
        .put(tags::TEXT_VALUE, value)
}

/// An Encapsulated PDF of one page.
pub(super) fn leaflet(study: Study) -> Object {
    let document = pdf(&[
        "Lightbox demo",
        "This page belongs to the chest phantom's study.",
        "It is an Encapsulated PDF: an object without frames,",
        "here to show what becomes of one among images.",
    ]);
    study
        .instance(LEAFLET, uids::ENCAPSULATED_PDF_STORAGE, 1)
        .put(tags::CONVERSION_TYPE, "SYN")
        .put(tags::BURNED_IN_ANNOTATION, "NO")
        .put(tags::ACQUISITION_DATE_TIME, "")
        .put(tags::DOCUMENT_TITLE, "Lightbox demo")
        .items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![])
        .put(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, "application/pdf")
        .put(tags::ENCAPSULATED_DOCUMENT_LENGTH, document.len() as u32)
        .put_as(tags::ENCAPSULATED_DOCUMENT, VR::OB, even(document))
}

/// A PDF of one A5 page: the first line large, the others below it, and a frame around all.
fn pdf(lines: &[&str]) -> Vec<u8> {
    let mut page = String::from(
        "0.2 0.4 0.6 RG 2 w 24 24 372 547 re S\n0.9 0.94 0.98 rg 25 480 370 90 re f\n0 g\n",
    );
    for (i, line) in lines.iter().enumerate() {
        let (size, y) = if i == 0 { (26, 515) } else { (13, 470 - 22 * i) };
        page += &format!("BT /F1 {size} Tf 44 {y} Td ({line}) Tj ET\n");
    }
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 595] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}endstream", page.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = String::from("%PDF-1.4\n");
    let mut table = String::from("0000000000 65535 f \n");
    for (i, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", i + 1);
    }
    let (start, size) = (file.len(), objects.len() + 1);
    file += &format!(
        "xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
    file.into_bytes()
}
