//! Objects that are no images: a report of the CT, a PDF with the radiograph.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use super::dataset::{Object, Series, Study, code, even};

const REPORT: Series =
    Series { number: 90, modality: "SR", description: "Report", body_part: "HEAD" };
const LEAFLET: Series =
    Series { number: 90, modality: "DOC", description: "Leaflet (PDF)", body_part: "CHEST" };

/// A Basic Text SR that refers to one CT slice.
pub(super) fn report(study: Study, image: &str) -> Object {
    let reference = Object::default()
        .put(tags::REFERENCED_SOP_CLASS_UID, uids::CT_IMAGE_STORAGE)
        .put(tags::REFERENCED_SOP_INSTANCE_UID, image);
    let series = Object::default()
        .items(tags::REFERENCED_SOP_SEQUENCE, vec![reference.clone()])
        .put(tags::SERIES_INSTANCE_UID, study.series_uid(2).as_str());
    let evidence = Object::default()
        .items(tags::REFERENCED_SERIES_SEQUENCE, vec![series])
        .put(tags::STUDY_INSTANCE_UID, study.uid().as_str());
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
