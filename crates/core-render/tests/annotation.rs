//! Texts on pictures, through the public door (R2.5, R1.10, R5.6).

mod support;

use std::time::{Duration, Instant};

use core_render::{
    Annotation, Card, CardKind, FrameChoice, Framing, ImageAttributes, Labels, Limits, Output,
    RenderJob, RenderSpec, Source,
};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, TransferSyntax};
use image::{ColorType, DynamicImage};
use support::dicom::*;

const SIDE: u16 = 256;

/// A grey ramp, with what names its patient and its technique.
fn image() -> DataSet {
    let row: Vec<u8> = (0..SIDE).map(|x| x as u8).collect();
    grey8(SIDE, SIDE, &row.repeat(SIDE.into()))
        .text(tags::PATIENT_NAME, "PN", "Doe^Jane")
        .text(tags::PATIENT_ID, "LO", "4711")
        .cs(tags::MODALITY, "CT")
        .text(tags::STUDY_DATE, "DA", "20261126")
        .is(tags::SERIES_NUMBER, "3")
}

fn spec(patient: bool, technique: bool) -> RenderSpec {
    RenderSpec {
        window: Some("128,256,linear".parse().expect("a window")),
        annotation: Annotation { patient, technique },
        ..RenderSpec::new(Framing::Native, Output::Png)
    }
}

fn job(dataset: &DataSet, spec: RenderSpec) -> RenderJob {
    let bytes = file(EXPLICIT_LE, dataset).into();
    RenderJob::new(
        Source::File { bytes, frame: FrameChoice::Representative },
        spec,
        Limits::default(),
    )
}

fn drawn(job: &RenderJob) -> DynamicImage {
    let picture = core_render::render(job, &mut |_| Ok(())).expect("a picture");
    assert_eq!(picture.warnings, Vec::<String>::new());
    image::load_from_memory(&picture.bytes).expect("a PNG")
}

/// Where two pictures differ, as (x, y).
fn differences(a: &DynamicImage, b: &DynamicImage) -> Vec<(u32, u32)> {
    let (a, b) = (a.to_rgb8(), b.to_rgb8());
    assert_eq!(a.dimensions(), b.dimensions());
    a.enumerate_pixels()
        .filter(|(x, y, pixel)| b.get_pixel(*x, *y) != *pixel)
        .map(|(x, y, _)| (x, y))
        .collect()
}

#[test]
fn the_texts_of_a_file_are_drawn_in_its_corners_and_nowhere_else() {
    let plain = drawn(&job(&image(), spec(false, false)));
    let patient = differences(&plain, &drawn(&job(&image(), spec(true, false))));
    assert!(patient.len() > 100);
    assert!(patient.iter().all(|&(x, y)| x < 80 && y < 32), "{patient:?}");
    let technique = differences(&plain, &drawn(&job(&image(), spec(false, true))));
    assert!(technique.len() > 100);
    assert!(technique.iter().all(|&(x, y)| (x > 128 && y < 32) || y > 224), "{technique:?}");
}

#[test]
fn a_grey_picture_stays_grey_and_a_coloured_one_coloured() {
    assert_eq!(drawn(&job(&image(), spec(true, true))).color(), ColorType::L8);
    let colour = colour8("RGB", &[[200, 10, 10]; 64]).text(tags::PATIENT_NAME, "PN", "Doe^Jane");
    let mut spec = spec(true, true);
    spec.framing = Framing::Viewport("300,100".parse().unwrap());
    assert_eq!(drawn(&job(&colour, spec)).color(), ColorType::Rgb8);
}

#[test]
fn absent_texts_are_no_error_and_no_mark() {
    let row: Vec<u8> = (0..SIDE).map(|x| x as u8).collect();
    let anonymous = grey8(SIDE, SIDE, &row.repeat(SIDE.into()));
    let plain = drawn(&job(&anonymous, spec(false, false)));
    assert_eq!(differences(&plain, &drawn(&job(&anonymous, spec(true, false)))), []);
}

#[test]
fn annotations_lie_over_what_is_scaled() {
    // The same picture at four times its size: letters are drawn, not enlarged.
    let with = |annotated| {
        let mut spec = spec(annotated, false);
        spec.framing = Framing::Viewport("1024,1024".parse().unwrap());
        drawn(&job(&image(), spec))
    };
    let letters = differences(&with(false), &with(true));
    assert!(!letters.is_empty() && letters.iter().all(|&(x, y)| x < 160 && y < 70));
}

#[test]
fn a_frame_alone_is_annotated_with_the_labels_of_its_job() {
    let dataset = data_set();
    let attributes = ImageAttributes::of_frame(&dataset, FrameNumber::FIRST).unwrap();
    let row: Vec<u8> = (0..SIDE).map(|x| x as u8).collect();
    let source = Source::Frame {
        attributes: Box::new(attributes),
        transfer_syntax: TransferSyntax::ExplicitLittleEndian,
        bytes: row.repeat(SIDE.into()).into(),
    };
    let mut alone = RenderJob::new(source, spec(true, true), Limits::default());
    let without = drawn(&alone);
    alone.labels = Some(Labels::of(&dataset, FrameNumber::FIRST));
    assert!(!differences(&without, &drawn(&alone)).is_empty());
    assert_eq!(differences(&drawn(&job(&image(), spec(true, true))), &drawn(&alone)), []);
}

/// The data set of [`image`], as an archive's metadata would give it.
fn data_set() -> InMemDicomObject {
    let file = file(EXPLICIT_LE, &image());
    dicom_object::from_reader(&file[..]).expect("a DICOM file").into_inner()
}

#[test]
fn a_corner_label_names_the_series_and_nothing_else() {
    let labelled = |dataset: &DataSet| {
        let mut spec = spec(false, false);
        spec.corner_label = true;
        drawn(&job(dataset, spec))
    };
    let plain = drawn(&job(&image(), spec(false, false)));
    let label = differences(&plain, &labelled(&image()));
    assert!(!label.is_empty() && label.iter().all(|&(x, y)| x < 60 && y > 230), "{label:?}");
    // Whoever the patient is.
    let other =
        image().text(tags::PATIENT_NAME, "PN", "Roe^Richard").text(tags::PATIENT_ID, "LO", "1");
    assert_eq!(differences(&labelled(&image()), &labelled(&other)), []);
}

#[test]
fn hostile_texts_are_drawn_in_time() {
    let long = "W".repeat(10_000);
    let marks = format!("a{}", "\u{301}".repeat(9_999));
    let wild: Vec<String> = vec![
        long.clone(),
        marks,
        "\u{202E}\u{2066}".repeat(5_000),
        "😀👩‍👩‍👧".repeat(500),
        "\0\u{7}\u{1b}[31m\u{1b}$B".repeat(500),
        "لا".repeat(5_000),
        "ที่".repeat(3_000),
        "\u{10FFFF}\u{FFFD}".repeat(5_000),
    ];
    let attributes = ImageAttributes::of_frame(&data_set(), FrameNumber::FIRST).unwrap();
    let source = Source::Frame {
        attributes: Box::new(attributes),
        transfer_syntax: TransferSyntax::ExplicitLittleEndian,
        bytes: vec![0; usize::from(SIDE) * usize::from(SIDE)].into(),
    };
    let mut spec = spec(true, true);
    spec.corner_label = true;
    let mut job = RenderJob::new(source, spec, Limits::default());
    let lines: Vec<String> = wild.iter().cycle().take(1000).cloned().collect();
    job.labels = Some(Labels { patient: lines.clone(), technique: lines, series: Some(long) });
    for viewport in ["64,64", "256,256", "1000,200", "2000,2000"] {
        job.spec.framing = Framing::Viewport(viewport.parse().unwrap());
        let begun = Instant::now();
        drawn(&job);
        // Far above what it takes, for machines that do much else.
        assert!(begun.elapsed() < Duration::from_secs(20), "{viewport}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_card_is_a_picture_like_any_other() {
    let card =
        Card { kind: CardKind::Report, modality: Some("SR".to_owned()), series_number: Some(3) };
    for (output, framing, size) in [
        (Output::Png, Framing::Native, (256, 256)),
        (Output::Jpeg("80".parse().unwrap()), Framing::FitWithin(64.try_into().unwrap()), (64, 64)),
        (Output::Png, Framing::Viewport("1000,200".parse().unwrap()), (1000, 200)),
    ] {
        // Annotations are of images.
        let spec = RenderSpec {
            annotation: Annotation { patient: true, technique: true },
            ..RenderSpec::new(framing, output)
        };
        let mut job = RenderJob::new(Source::Card(card.clone()), spec, Limits::default());
        let picture = core_render::render(&job, &mut |_| Ok(())).unwrap();
        assert_eq!((picture.width, picture.height), size);
        assert_eq!(picture.media_type, output.media_type());
        assert_eq!(picture.frame, FrameNumber::FIRST);
        let read = image::load_from_memory_with_format(&picture.bytes, image::ImageFormat::Png);
        assert!(read.is_ok() || output != Output::Png);
        job.labels = Some(Labels { patient: vec!["Doe".to_owned()], ..Labels::default() });
        assert_eq!(core_render::render(&job, &mut |_| Ok(())).unwrap().bytes, picture.bytes);
    }
}
