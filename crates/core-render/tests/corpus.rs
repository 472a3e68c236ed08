//! Every file of the shared corpus, straight through `render`, against its reference picture.
//!
//! Where the corpus is not there, the test says so and passes: the same pipeline is tested on samples
//! made in code elsewhere.

use std::path::{Path, PathBuf};

use core_render::{
    FrameChoice, Framing, Limits, Output, Overlays, RenderError, RenderJob, RenderSpec, Source,
};
use dicomweb_types::FrameNumber;
use serde_json::Value;

fn corpus() -> Option<(PathBuf, Vec<Value>)> {
    let folder = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let manifest = std::fs::read(folder.join("manifest.json")).ok()?;
    let manifest: Value = serde_json::from_slice(&manifest).expect("the manifest is JSON");
    Some((folder, manifest["files"].as_array().expect("files").clone()))
}

fn render(file: &Path, frame: FrameChoice) -> Result<core_render::Picture, RenderError> {
    let bytes = std::fs::read(file).expect("a corpus file is readable").into();
    let job = RenderJob::new(
        Source::File { bytes, frame },
        RenderSpec { overlays: Overlays::Omit, ..RenderSpec::new(Framing::Native, Output::Png) },
        Limits::default(),
    );
    core_render::render(&job, &mut |_| Ok(()))
}

/// Largest difference and PSNR in dB of two pictures, compared as RGB; an error if sizes differ.
fn compare(reference: &Path, png: &[u8], downscaled_by: u32) -> Result<(u8, f64), String> {
    let expected = image::open(reference).expect("the reference is a PNG").to_rgb8();
    let got = image::load_from_memory(png).expect("our PNG is one").to_rgb8();
    let got = if downscaled_by > 1 { box_downscale(&got, downscaled_by) } else { got };
    if expected.dimensions() != got.dimensions() {
        return Err(format!("{:?} is not {:?}", got.dimensions(), expected.dimensions()));
    }
    let differences = expected.as_raw().iter().zip(got.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let (largest, squares) = differences
        .fold((0, 0.0), |(most, sum), d| (most.max(d), sum + f64::from(d) * f64::from(d)));
    let mean_square = squares / expected.as_raw().len() as f64;
    Ok((
        largest,
        if mean_square == 0.0 { f64::INFINITY } else { 10.0 * (65025.0 / mean_square).log10() },
    ))
}

fn box_downscale(image: &image::RgbImage, by: u32) -> image::RgbImage {
    image::RgbImage::from_fn(image.width() / by, image.height() / by, |x, y| {
        let mut sums = [0_u32; 3];
        for dy in 0..by {
            for dx in 0..by {
                let pixel = image.get_pixel(x * by + dx, y * by + dy);
                for (sum, value) in sums.iter_mut().zip(pixel.0) {
                    *sum += u32::from(value);
                }
            }
        }
        image::Rgb(sums.map(|sum| ((f64::from(sum) / f64::from(by * by)) + 0.5).floor() as u8))
    })
}

/// The limits of the corpus: exact for grey and lossless colour, looser where decoders may differ.
fn within(entry: &Value, largest: u8, psnr: f64) -> bool {
    let text = |key: &str| entry[key].as_str().unwrap_or("");
    let syntax = text("transfer_syntax_uid").trim_start_matches("1.2.840.10008.1.2").to_owned();
    let colour = entry["samples"].as_u64() == Some(3);
    let lossy_jpeg = matches!(syntax.as_str(), ".4.50" | ".4.51" | ".4.111" | ".4.112");
    match (colour, lossy_jpeg) {
        _ if text("path").starts_with("video/") => psnr >= 30.0,
        (true, true) => psnr >= 40.0,
        (false, true) if entry["bits_allocated"].as_u64() == Some(16) => largest <= 2,
        (true, false) if text("photometric").starts_with("YBR_FULL") => largest <= 2,
        _ => largest <= 1,
    }
}

#[test]
fn every_renderable_file_looks_like_its_reference() {
    let Some((folder, files)) = corpus() else {
        eprintln!("SKIPPED: no corpus at ../shared/corpus");
        return;
    };
    let (mut tried, mut good) = (0, 0);
    for entry in &files {
        let outcome = entry["expected"]["outcome"].as_str().unwrap_or("");
        let path = entry["path"].as_str().expect("path");
        if !matches!(outcome, "render" | "render_best_effort") {
            continue;
        }
        tried += 1;
        let reference = &entry["reference"];
        let number = reference["frame"].as_u64().unwrap_or(1) as u32;
        let frame = FrameChoice::Number(FrameNumber::new(number).expect("from 1"));
        let verdict = match render(&folder.join(path), frame) {
            Err(error) => Err(error.to_string()),
            Ok(_) if !entry["reference_departs"].is_null() => Ok("departs".to_owned()),
            Ok(picture) => {
                let by = reference["box_downscaled_by"].as_u64().unwrap_or(1) as u32;
                let png = folder.join(reference["png"].as_str().expect("png"));
                compare(&png, &picture.bytes, by).and_then(|(largest, psnr)| {
                    let row = format!("max {largest} psnr {psnr:.1} {:?}", picture.warnings);
                    if within(entry, largest, psnr) { Ok(row) } else { Err(row) }
                })
            }
        };
        good += usize::from(verdict.is_ok());
        match verdict {
            Ok(row) => println!("ok   {path:60} {row}"),
            Err(row) => println!("FAIL {path:60} {row}"),
        }
    }
    println!("{good} of {tried} within limits");
    assert!(good * 100 >= tried * 95, "{good} of {tried} within limits");
}

#[test]
fn what_is_no_image_or_damaged_is_an_error_or_a_picture_never_a_crash() {
    let Some((folder, files)) = corpus() else { return };
    for entry in &files {
        let outcome = entry["expected"]["outcome"].as_str().unwrap_or("");
        let path = entry["path"].as_str().expect("path");
        let result = render(&folder.join(path), FrameChoice::Representative);
        match (outcome, &result) {
            ("error", Ok(_)) => panic!("{path}: a picture, an error is expected"),
            ("not_dicom", other) => {
                assert!(matches!(other, Err(RenderError::NotDicom { .. })), "{path}: {other:?}")
            }
            ("not_an_image", other) => {
                assert!(matches!(other, Err(RenderError::NotAnImage)), "{path}: {other:?}")
            }
            _ => {}
        }
        if path.starts_with("broken/") {
            match &result {
                Ok(picture) => println!("drawn {path:55} {:?}", picture.warnings),
                Err(error) => println!("error {path:55} {error}"),
            }
        }
    }
}
