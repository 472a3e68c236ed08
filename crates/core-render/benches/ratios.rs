//! What a picture costs beside what cannot be left out of it, as ratios.
//!
//! `cargo bench -p core-render --bench ratios`. Each time is the shortest of many runs, the two sides of a
//! ratio taken in turn, so that other work on the machine disturbs both alike and hardly shows.

#[allow(dead_code)] // each bench uses its part
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_render::{ImageAttributes, Limits, RenderJob, Source, render};
use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, TransferSyntax};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use support::{Bare, Size, cases, job, spec};

fn main() {
    println!("{:<28}{:>10}{:>10}{:>7}", "frame", "thumbnail", "bare", "ratio");
    uncompressed();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for case in cases(folder.path()) {
        let file: Bytes = std::fs::read(&case.path).expect("the file can be read").into();
        let Some(bare) = Bare::find(&case, &file, Size::Thumbnail) else { continue };
        let job = job(&file, Size::Thumbnail);
        let [ours, theirs] = shortest([&|| draw(&job), &|| bare.decode()]);
        row(&case.name, ours, theirs);
    }
}

fn row(name: &str, ours: Duration, bare: Duration) {
    let milliseconds = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    println!("{name:<28}{:>10}{:>10}{ratio:>7.2}", milliseconds(ours), milliseconds(bare));
}

fn draw(job: &RenderJob) {
    black_box(render(job, &mut |_| Ok(())).expect("the frame renders"));
}

/// The shortest time of each, over some seconds of turns.
fn shortest<const N: usize>(works: [&dyn Fn(); N]) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    let begun = Instant::now();
    let mut turns = 0;
    while turns < 12 || (begun.elapsed() < Duration::from_secs(6) && turns < 2000) {
        for (best, work) in best.iter_mut().zip(works) {
            let start = Instant::now();
            work();
            *best = start.elapsed().min(*best);
        }
        turns += 1;
    }
    best
}

const SIDE: u32 = 512;
const SMALL: u32 = 256;

/// From the attributes and the bytes of an uncompressed CT to a JPEG of 256 pixels, beside the sum of
/// the bare loops: a lookup for each cell, the resize, the encoder.
fn uncompressed() {
    use native_codecs::jpeg::{Channels, Subsampling, encode};
    let bytes = ct_like();
    let source = Source::Frame {
        attributes: Box::new(ct_attributes()),
        transfer_syntax: TransferSyntax::ExplicitLittleEndian,
        bytes: bytes.clone(),
    };
    let job = RenderJob::new(source, spec(Size::Thumbnail), Limits::default());
    let table: Vec<u8> = (0..=u16::MAX).map(|cell| (cell >> 4) as u8).collect();
    let look_up = || -> Vec<u8> {
        let cells = bytes.as_chunks::<2>().0.iter();
        cells.map(|cell| table[usize::from(u16::from_le_bytes(*cell))]).collect()
    };
    let display = look_up();
    let small = bare_resize(&display);
    let [ours, looked_up, resized, encoded] = shortest([
        &|| draw(&job),
        &|| drop(black_box(look_up())),
        &|| drop(black_box(bare_resize(&display))),
        &|| {
            let jpeg = encode(&small, SMALL, SMALL, Channels::Grey, 80, Subsampling::S420);
            black_box(jpeg.expect("it can be encoded"));
        },
    ]);
    row("uncompressed CT 512²", ours, looked_up + resized + encoded);
    for (name, time) in [("lookup", looked_up), ("resize", resized), ("encode", encoded)] {
        println!("    {name:<34}{:>10}", format!("{:.3} ms", time.as_secs_f64() * 1e3));
    }
}

fn bare_resize(display: &[u8]) -> Vec<u8> {
    let source = ImageRef::new(SIDE, SIDE, display, PixelType::U8).expect("it has its size");
    let mut target = Image::new(SMALL, SMALL, PixelType::U8);
    let lanczos = ResizeAlg::Convolution(FilterType::Lanczos3);
    let options = ResizeOptions::new().resize_alg(lanczos).use_alpha(false);
    Resizer::new().resize(&source, &mut target, &options).expect("it can be resized");
    target.into_vec()
}

/// Sixteen signed bits of which a CT uses some four thousand values: a body with texture in air.
fn ct_like() -> Bytes {
    let cell = |index: u32| {
        let (x, y) = (f64::from(index % SIDE) / 256.0 - 1.0, f64::from(index / SIDE) / 256.0 - 1.0);
        let inside = x * x + y * y < 0.7;
        let noise = f64::from(index.wrapping_mul(2_654_435_761) >> 26) - 32.0;
        let value = if inside { 40.0 + 300.0 * (x * 9.0).sin() * (y * 7.0).cos() } else { -1000.0 };
        (value + noise) as i16
    };
    (0..SIDE * SIDE).flat_map(|index| cell(index).to_le_bytes()).collect()
}

fn ct_attributes() -> ImageAttributes {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    let element = |tag, vr, value: PrimitiveValue| DataElement::new(tag, vr, value);
    let dataset = dicom_object::InMemDicomObject::from_element_iter([
        element(tags::ROWS, VR::US, (SIDE as u16).into()),
        element(tags::COLUMNS, VR::US, (SIDE as u16).into()),
        element(tags::SAMPLES_PER_PIXEL, VR::US, 1_u16.into()),
        element(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into()),
        element(tags::BITS_ALLOCATED, VR::US, 16_u16.into()),
        element(tags::BITS_STORED, VR::US, 16_u16.into()),
        element(tags::HIGH_BIT, VR::US, 15_u16.into()),
        element(tags::PIXEL_REPRESENTATION, VR::US, 1_u16.into()),
        element(tags::RESCALE_SLOPE, VR::DS, "1".into()),
        element(tags::RESCALE_INTERCEPT, VR::DS, "0".into()),
        element(tags::WINDOW_CENTER, VR::DS, "40".into()),
        element(tags::WINDOW_WIDTH, VR::DS, "400".into()),
    ]);
    ImageAttributes::of_frame(&dataset, FrameNumber::FIRST).expect("they are legal")
}
