//! The demo studies: what each is, and that a viewer's calls find them.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions};
use folder_origin::{FolderOrigin, samples};
use support::Server;
use tempfile::{TempDir, tempdir};

fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempdir().expect("a folder");
        samples::write(folder.path()).expect("the samples can be written");
        folder
    });
    folder.path()
}

fn open(name: &str) -> DefaultDicomObject {
    OpenFileOptions::new().open_file(folder().join(name)).expect("dicom-object reads it")
}

fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).expect("it is there").to_str().expect("it is text").trim().to_owned()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.insert(entry.path(), std::fs::read(entry.path()).expect("a file"));
        }
    }
    files
}

#[test]
fn the_bytes_are_the_same_every_time_and_not_too_many() {
    let again = tempdir().unwrap();
    samples::write(again.path()).unwrap();
    let relative = |folder: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files(folder).into_iter();
        files.map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_owned(), bytes)).collect()
    };
    let (first, second) = (relative(folder()), relative(again.path()));
    assert!(first == second, "the samples differ between two runs");
    assert!(first.values().map(Vec::len).sum::<usize>() < 40 << 20);
}

#[test]
fn everything_is_served_in_the_order_of_the_demo() {
    let origin = FolderOrigin::open(folder()).unwrap();
    assert_eq!((origin.number_of_studies(), origin.number_of_instances()), (5, 33));
    assert_eq!(origin.skipped(), 0);
    let mut descriptions: Vec<_> = origin.instances().map(|i| i.description.as_str()).collect();
    descriptions.dedup();
    assert_eq!(
        descriptions,
        [
            "CT, Localizer",
            "CT, Axial 5 mm, 24 slices",
            "SR, Report",
            "KO, Key image",
            "PR, Bleeding, marked",
            "MR, T2 axial, 16 frames",
            "US, Apical view, colour, 20 frames",
            "MG, L MLO",
            "DX, Chest PA",
            "DOC, Leaflet (PDF)",
        ]
    );
    let frames = |modality: &str| {
        origin.instances().find(|i| i.modality == modality).map(|i| i.number_of_frames)
    };
    let expected = [("CT", 1), ("SR", 0), ("MR", 16), ("US", 20), ("MG", 1), ("DOC", 0)];
    assert_eq!(expected.map(|(modality, _)| frames(modality)), expected.map(|(_, n)| Some(n)));
}

#[test]
fn the_ct_is_signed_rescaled_padded_and_of_two_syntaxes() {
    let slice = open("head-ct/axial-12.dcm");
    assert_eq!(slice.meta().transfer_syntax(), "1.2.840.10008.1.2.4.90");
    assert_eq!(open("head-ct/axial-13.dcm").meta().transfer_syntax(), "1.2.840.10008.1.2.1");
    assert_eq!(slice.element(tags::PIXEL_REPRESENTATION).unwrap().to_int::<u16>().unwrap(), 1);
    assert_eq!(slice.element(tags::PIXEL_PADDING_VALUE).unwrap().to_int::<i32>().unwrap(), -2000);
    assert_eq!(text(&slice, tags::RESCALE_INTERCEPT), "-1024");
    assert_eq!(text(&slice, tags::IMAGE_TYPE), "ORIGINAL\\PRIMARY\\AXIAL");
    let native = open("head-ct/axial-13.dcm");
    let bytes = native.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
    let pixels: Vec<i16> =
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let hounsfield = |x: usize, y: usize| pixels[y * 512 + x] - 1024;
    assert_eq!(pixels[0], -2000, "outside the circle");
    assert!((hounsfield(256, 30) + 1000).abs() < 30, "air");
    assert!((hounsfield(256, 256) - 25).abs() < 30, "brain");
    assert!((hounsfield(332, 260) - 66).abs() < 20, "blood");
    assert!(pixels.iter().any(|value| value - 1024 > 1000), "bone");
}

#[test]
fn the_mr_has_a_place_and_a_window_for_each_frame() {
    let mr = open("head-mr/t2.dcm");
    let groups = mr.element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).unwrap().items().unwrap();
    assert_eq!(groups.len(), 16);
    let values = |sequence, tag| -> std::collections::BTreeSet<String> {
        let first = |group: &dicom_object::InMemDicomObject| {
            let item = group.element(sequence).unwrap().items().unwrap()[0].clone();
            item.element(tag).unwrap().to_str().unwrap().into_owned()
        };
        groups.iter().map(first).collect()
    };
    assert_eq!(values(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT).len(), 16);
    assert!(values(tags::FRAME_VOILUT_SEQUENCE, tags::WINDOW_WIDTH).len() > 8);
    let length = mr.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len();
    assert_eq!(length, 16 * 256 * 256 * 2);
}

#[test]
fn the_ultrasound_is_a_calibrated_colour_clip() {
    let us = open("heart-us/clip.dcm");
    assert_eq!(us.meta().transfer_syntax(), "1.2.840.10008.1.2.4.50");
    assert_eq!(text(&us, tags::PHOTOMETRIC_INTERPRETATION), "YBR_FULL_422");
    assert_eq!(text(&us, tags::FRAME_TIME), "45");
    assert!(us.element(tags::SEQUENCE_OF_ULTRASOUND_REGIONS).unwrap().items().unwrap().len() == 1);
    let fragments = us.element(tags::PIXEL_DATA).unwrap().fragments().unwrap();
    assert_eq!(fragments.len(), 20);
    assert!(fragments.iter().all(|fragment| fragment.starts_with(&[0xFF, 0xD8])));
    assert!(fragments[0] != fragments[5], "it moves");
}

#[test]
fn the_mammogram_is_large_and_the_radiograph_inverted() {
    let mg = open("mammogram/l-mlo.dcm");
    assert_eq!(mg.meta().transfer_syntax(), "1.2.840.10008.1.2.4.91");
    let size = [tags::ROWS, tags::COLUMNS, tags::BITS_STORED];
    assert_eq!(size.map(|tag| mg.element(tag).unwrap().to_int::<u16>().unwrap()), [3328, 2560, 12]);
    let codestream = &mg.element(tags::PIXEL_DATA).unwrap().fragments().unwrap()[0];
    assert!(codestream.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]), "a bare JPEG 2000 codestream");

    let chest = open("chest-x-ray/pa.dcm");
    assert_eq!(text(&chest, tags::PHOTOMETRIC_INTERPRETATION), "MONOCHROME1");
    let pixels = chest.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
    let value = |x: usize, y: usize| pixels[y * 1024 + x];
    assert!(value(300, 400) > value(512, 700), "lung lets more through than heart and spine");
    assert!(pixels.iter().all(|value| *value < 4096));
}

#[test]
fn report_and_document_belong_to_imaging_studies() {
    let (report, slice) = (open("head-ct/report.dcm"), open("head-ct/axial-12.dcm"));
    assert_eq!(text(&report, tags::STUDY_INSTANCE_UID), text(&slice, tags::STUDY_INSTANCE_UID));
    assert!(report.element(tags::CONTENT_SEQUENCE).unwrap().items().unwrap().len() == 2);
    let leaflet = open("chest-x-ray/leaflet.dcm");
    let chest = open("chest-x-ray/pa.dcm");
    assert_eq!(text(&leaflet, tags::STUDY_INSTANCE_UID), text(&chest, tags::STUDY_INSTANCE_UID));
    assert_eq!(text(&leaflet, tags::SOP_CLASS_UID), "1.2.840.10008.5.1.4.1.1.104.1");
}

#[test]
fn the_key_image_is_a_slice_shown_with_its_presentation_state() {
    let (selection, slice) = (open("head-ct/key-image.dcm"), open("head-ct/axial-12.dcm"));
    let state = open("head-ct/presentation.dcm");
    let item = |object: &InMemDicomObject, sequence, at: usize| -> InMemDicomObject {
        object.element(sequence).unwrap().items().unwrap()[at].clone()
    };
    let referred = |reference: &InMemDicomObject| {
        let uid = reference.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap();
        uid.to_str().unwrap().into_owned()
    };
    let picture = item(&selection, tags::CONTENT_SEQUENCE, 1);
    let shown = item(&picture, tags::REFERENCED_SOP_SEQUENCE, 0);
    assert_eq!(referred(&shown), text(&slice, tags::SOP_INSTANCE_UID));
    let with = item(&shown, tags::REFERENCED_SOP_SEQUENCE, 0);
    assert_eq!(referred(&with), text(&state, tags::SOP_INSTANCE_UID));
    let series = item(&state, tags::REFERENCED_SERIES_SEQUENCE, 0);
    let image = item(&series, tags::REFERENCED_IMAGE_SEQUENCE, 0);
    assert_eq!(referred(&image), text(&slice, tags::SOP_INSTANCE_UID));
    // The arrow ends beside the bleeding, whose middle is at column 332, row 260.
    let annotation = item(&state, tags::GRAPHIC_ANNOTATION_SEQUENCE, 0);
    let arrow = item(&annotation, tags::GRAPHIC_OBJECT_SEQUENCE, 0);
    let points = arrow.element(tags::GRAPHIC_DATA).unwrap().to_multi_float32().unwrap();
    assert_eq!(points.len(), 10);
    assert!((points[2] - 332.0).hypot(points[3] - 260.0) < 60.0, "{points:?}");
}

#[test]
fn the_pdf_is_fetched_through_its_metadata() {
    let server = Server::over(folder());
    let entry = &server.json("/instances?Modality=DOC")[0];
    let url = entry["00081190"]["Value"][0].as_str().unwrap();
    let base = format!("http://{}", server.address);
    let path = url.strip_prefix(&base).unwrap();
    let metadata = &server.json(&format!("{path}/metadata"))[0];
    let uri = metadata["00420011"]["BulkDataURI"].as_str().unwrap();
    let answer = server.get(uri.strip_prefix(&base).unwrap());
    assert_eq!(answer.header("content-type"), "application/pdf");
    assert!(answer.body.starts_with(b"%PDF-1.4"));
}

#[test]
fn every_frame_of_every_sample_is_served() {
    let server = Server::over(folder());
    let origin = FolderOrigin::open(folder()).unwrap();
    for instance in origin.instances().filter(|i| i.number_of_frames > 0) {
        let list: Vec<_> = (1..=instance.number_of_frames).map(|n| n.to_string()).collect();
        let answer = server.get(&format!("/{}/frames/{}", instance.path, list.join(",")));
        assert_eq!(answer.parts().len() as u32, instance.number_of_frames);
    }
}
