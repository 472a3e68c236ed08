//! Every output through the public door: what comes back is what was drawn, in colours that the profile
//! names, in animations frame by frame.
//!
//! The ignored tests measure, and write pictures to look at into the folder `LIGHTBOX_PICTURES`.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use core_render::{
    Cine, EncodedFrame, FrameChoice, Framing, IccProfile, ImageAttributes, Limits, Output, Picture,
    Quality, RenderError, RenderJob, RenderSpec, Source, cine_frames,
};
use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, MediaType, TransferSyntax};
use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageDecoder};

mod support;
use support::dicom::{DataSet, EXPLICIT_LE, file, image};

const SIDE: u16 = 8;

/// Frames of 8 × 8 pixels and 16 bits, each of one value but for its first pixel, which is `first`.
fn cine_of(first: u16, levels: &[u16]) -> DataSet {
    let pixels = levels.iter().flat_map(|&level| {
        std::iter::once(first).chain(std::iter::repeat_n(level, usize::from(SIDE * SIDE) - 1))
    });
    image("MONOCHROME2", SIDE, SIDE, 1, 16)
        .is(tags::NUMBER_OF_FRAMES, &levels.len().to_string())
        .ow(tags::PIXEL_DATA, pixels.collect::<Vec<u16>>())
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<FrameNumber> {
    numbers.into_iter().map(|number| FrameNumber::new(number).unwrap()).collect()
}

fn cine(data: &DataSet, frames: Vec<FrameNumber>) -> Source {
    Source::Cine(Box::new(Cine::File { bytes: file(EXPLICIT_LE, data).into(), frames }))
}

fn still(data: &DataSet) -> Source {
    let frame = FrameChoice::Number(FrameNumber::FIRST);
    Source::File { bytes: file(EXPLICIT_LE, data).into(), frame }
}

fn quality(quality: u8) -> Quality {
    quality.to_string().parse().unwrap()
}

fn render(source: Source, output: Output) -> Result<Picture, RenderError> {
    render_within(source, output, Limits::default())
}

fn render_within(source: Source, output: Output, limits: Limits) -> Result<Picture, RenderError> {
    let spec = RenderSpec::new(Framing::Native, output);
    core_render::render(&RenderJob::new(source, spec, limits), &mut |_| Ok(()))
}

fn frames(picture: &Picture) -> Vec<image::Frame> {
    let bytes = Cursor::new(&picture.bytes);
    let frames = match picture.media_type {
        MediaType::Gif => GifDecoder::new(bytes).unwrap().into_frames(),
        MediaType::WebP => WebPDecoder::new(bytes).unwrap().into_frames(),
        other => panic!("no animation as {other}"),
    };
    frames.collect_frames().unwrap()
}

/// Red of the first pixel and of the last, of each frame.
fn ends(picture: &Picture) -> Vec<(u8, u8)> {
    let red = |frame: &image::Frame, at: u32| frame.buffer().get_pixel(at, at).0[0];
    frames(picture).iter().map(|f| (red(f, 0), red(f, u32::from(SIDE) - 1))).collect()
}

fn delays(picture: &Picture) -> Vec<u32> {
    frames(picture).iter().map(|frame| frame.delay().numer_denom_ms().0).collect()
}

const WEBP: Output = Output::WebP(Quality::RENDERED);

// ---- animations

#[test]
fn r4_14_frames_without_a_window_share_one() {
    let data = cine_of(0, &[1000, 2000, 4000]);
    let gif = render(cine(&data, numbers(1..=3)), Output::Gif).unwrap();
    assert_eq!(ends(&gif), [(0, 64), (0, 128), (0, 255)]);
    // Alone, each frame would reach white.
    let alone = render(cine(&data, numbers([1])), Output::Gif).unwrap();
    assert_eq!(ends(&alone), [(0, 255)]);
}

#[test]
fn r4_14_the_shared_window_leaves_padding_out() {
    let data = cine_of(60_000, &[1000, 3000]).us(tags::PIXEL_PADDING_VALUE, [60_000]);
    let gif = render(cine(&data, numbers(1..=2)), Output::Gif).unwrap();
    assert_eq!(ends(&gif), [(0, 0), (0, 255)]);
}

#[test]
fn windows_of_single_frames_are_kept_beside_a_shared_one() {
    let data = cine_of(0, &[1000, 1000, 2000]);
    let voi = |width: &str| {
        let lut = DataSet::new().ds(tags::WINDOW_CENTER, "1000").ds(tags::WINDOW_WIDTH, width);
        DataSet::new().sequence(tags::FRAME_VOILUT_SEQUENCE, [lut])
    };
    let groups = [DataSet::new(), voi("2001"), DataSet::new()];
    let data = data.sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
    let gif = render(cine(&data, numbers(1..=3)), Output::Gif).unwrap();
    // The shared one is that of the frames without: 0 to 2000.
    assert_eq!(ends(&gif), [(0, 128), (0, 128), (0, 255)]);
    let narrow = data.sequence(
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        [DataSet::new(), voi("1"), DataSet::new()],
    );
    let gif = render(cine(&narrow, numbers(1..=3)), Output::Gif).unwrap();
    assert_eq!(ends(&gif), [(0, 128), (0, 255), (0, 255)]);
}

#[test]
fn frames_come_in_the_order_asked_and_last_as_long_as_the_file_says() {
    let data = cine_of(0, &[100, 200, 300, 400]).ds(tags::FRAME_TIME, "33");
    for output in [Output::Gif, WEBP] {
        let picture = render(cine(&data, numbers([4, 1, 2, 3])), output).unwrap();
        assert_eq!((picture.width, picture.height, picture.frame.get()), (8, 8, 4));
        assert_eq!(picture.media_type, output.media_type());
        let order: Vec<u8> = ends(&picture).into_iter().map(|(_, level)| level).collect();
        let due = [255, 64, 128, 191];
        assert!(order.iter().zip(due).all(|(a, b)| a.abs_diff(b) <= 2), "{order:?}");
        let total: u32 = delays(&picture).iter().sum();
        assert!(total.abs_diff(4 * 33) <= 5, "{total}");
    }
}

#[test]
fn a_cine_of_one_frame_is_a_still_of_any_type() {
    let data = cine_of(0, &[100, 200]);
    for output in [Output::Png, Output::Jpeg(Quality::RENDERED), Output::Gif, WEBP] {
        let picture = render(cine(&data, numbers([2])), output).unwrap();
        assert_eq!(picture.frame.get(), 2);
        let marks: [&[u8]; 4] = [b"\x89PNG", b"\xFF\xD8\xFF", b"GIF89a", b"RIFF"];
        assert!(marks.iter().any(|mark| picture.bytes.starts_with(mark)));
        assert!(!picture.bytes.windows(4).any(|w| w == b"ANMF" || w == b"NETS"));
    }
    for output in [Output::Png, Output::Jpeg(Quality::RENDERED), Output::Jp2(Quality::RENDERED)] {
        let error = render(cine(&data, numbers(1..=2)), output).unwrap_err();
        assert!(matches!(error, RenderError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn frames_that_cannot_be_drawn_are_left_out() {
    let data = cine_of(0, &[100, 200]);
    let picture = render(cine(&data, numbers([1, 9, 2])), Output::Gif).unwrap();
    assert_eq!(ends(&picture).len(), 2);
    let missing: Vec<_> = picture.warnings.iter().filter(|w| w.starts_with("1 of 3")).collect();
    assert_eq!(missing.len(), 1, "{:?}", picture.warnings);
    let error = render(cine(&data, numbers([9, 8])), Output::Gif).unwrap_err();
    let due = RenderError::FrameOutOfRange { frame: numbers([9])[0], frames: 2 };
    assert_eq!(error, due);
}

/// An 8-bit grey frame as an archive hands it out.
fn encoded_frame(rows: u32, columns: u32, level: u8) -> EncodedFrame {
    let data = image("MONOCHROME2", rows as u16, columns as u16, 1, 8);
    let dataset = dicom_object::from_reader(&file(EXPLICIT_LE, &data)[..]).unwrap();
    EncodedFrame {
        attributes: ImageAttributes::of_frame(&dataset, FrameNumber::FIRST).unwrap(),
        transfer_syntax: TransferSyntax::ExplicitLittleEndian,
        bytes: vec![level; (rows * columns) as usize].into(),
    }
}

fn single(frames: Vec<EncodedFrame>, delays: Vec<u32>) -> Source {
    Source::Cine(Box::new(Cine::Frames { frames, delays }))
}

#[test]
fn single_frames_have_their_delays_and_those_of_another_size_are_left_out() {
    let sizes = [(8, 8, 10), (8, 9, 20), (8, 8, 110)];
    let frames =
        || sizes.map(|(rows, columns, level)| encoded_frame(rows, columns, level)).to_vec();
    let picture = render(single(frames(), vec![30, 40, 50_000]), Output::Gif).unwrap();
    assert_eq!(ends(&picture), [(0, 0), (255, 255)]);
    assert_eq!(delays(&picture), [30, 10_000]);
    assert!(picture.warnings.iter().any(|w| w.starts_with("1 of 3")), "{:?}", picture.warnings);
    let error = render(single(frames(), vec![30, 40]), Output::Gif).unwrap_err();
    assert!(matches!(error, RenderError::Damaged { .. }), "{error}");
}

#[test]
fn a_cine_has_bounds_of_frames_bytes_and_pixels() {
    let data = cine_of(0, &[100, 200, 300, 400, 500, 600]);
    let within = |limits| render_within(cine(&data, numbers(1..=6)), Output::Gif, limits);
    let too_large = |limits| match within(limits) {
        Err(RenderError::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let limits = Limits::default();
    assert_eq!(too_large(Limits { animation_frames: 5, ..limits }), "an animation in frames");
    assert_eq!(too_large(Limits { animation_bytes: 900, ..limits }), "an animation in bytes");
    // Each of the 64 pixels is allowed, but no more than five.
    assert_eq!(too_large(Limits { output_pixels: 64, ..limits }), "an animation in pixels");
    assert_eq!(too_large(Limits { source_pixels: 64, ..limits }), "the source frames in pixels");
    assert!(within(Limits { output_pixels: 77, source_pixels: 77, ..limits }).is_ok());
    let none = render(cine(&data, vec![]), Output::Gif).unwrap_err();
    assert!(matches!(none, RenderError::Unsupported { .. }), "{none}");
}

#[test]
fn a_cine_of_a_video_is_refused() {
    let mut frames = vec![encoded_frame(8, 8, 1), encoded_frame(8, 8, 2)];
    frames[1].transfer_syntax = TransferSyntax::from_uid("1.2.840.10008.1.2.4.102");
    let error = render(single(frames, vec![40, 40]), Output::Gif).unwrap_err();
    assert!(matches!(error, RenderError::Unsupported { .. }), "{error}");
}

// ---- stills

/// A ramp of all grey levels.
fn ramp() -> DataSet {
    image("MONOCHROME2", 16, 16, 1, 8)
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256")
        .bytes(tags::PIXEL_DATA, "OB", (0..=255).collect::<Vec<u8>>())
}

fn jp2_pixels(picture: &Picture) -> Vec<u8> {
    let image = native_codecs::jpeg2000::decode(&picture.bytes, 0, 1).unwrap();
    let count = (image.width * image.height) as usize;
    let samples = (0..count).flat_map(|at| image.components.iter().map(move |c| c.data[at] as u8));
    samples.collect()
}

#[test]
fn lossless_outputs_give_every_grey_level_back() {
    let levels: Vec<u8> = (0..=255).collect();
    for output in [Output::Png, Output::Gif] {
        let picture = render(still(&ramp()), output).unwrap();
        let read = image::load_from_memory(&picture.bytes).unwrap().to_luma8();
        assert_eq!(read.as_raw(), &levels, "{output:?}");
    }
    let jp2 = render(still(&ramp()), Output::Jp2(quality(100))).unwrap();
    assert_eq!(jp2_pixels(&jp2), levels);
}

// ---- colour profiles

fn with_profile(data: DataSet, profile: &[u8]) -> DataSet {
    let padded = [profile, &[0][..profile.len() % 2]].concat();
    data.bytes(tags::ICC_PROFILE, "OB", padded)
}

fn green() -> DataSet {
    image("RGB", 1, 2, 3, 8).bytes(tags::PIXEL_DATA, "OB", [60, 180, 60, 60, 180, 60])
}

fn render_with(data: &DataSet, output: Output, asked: IccProfile) -> Result<Picture, RenderError> {
    let spec = RenderSpec { icc_profile: Some(asked), ..RenderSpec::new(Framing::Native, output) };
    core_render::render(&RenderJob::new(still(data), spec, Limits::default()), &mut |_| Ok(()))
}

/// Pixels and profile of a picture.
fn read(picture: &Picture) -> (Vec<u8>, Option<Vec<u8>>) {
    let bytes = Cursor::new(&picture.bytes[..]);
    let profile = match picture.media_type {
        MediaType::Png => {
            image::codecs::png::PngDecoder::new(bytes).unwrap().icc_profile().unwrap()
        }
        MediaType::WebP => WebPDecoder::new(bytes).unwrap().icc_profile().unwrap(),
        MediaType::Jpeg => profile_after(&picture.bytes, b"ICC_PROFILE\0\x01\x01"),
        MediaType::Jp2 => {
            let profile = profile_after(&picture.bytes, b"colr\x02\0\0");
            return (jp2_pixels(picture), profile);
        }
        MediaType::Gif => None,
    };
    if picture.media_type == MediaType::Jpeg {
        let full = native_codecs::jpeg::Reduction::Full;
        let image = native_codecs::jpeg::decode(&picture.bytes, full).unwrap();
        let native_codecs::Samples::U8(samples) = image.samples else { panic!("8 bits") };
        return (samples, profile);
    }
    let image = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
    (image.into_raw(), profile)
}

/// As long as it says itself.
fn profile_after(bytes: &[u8], mark: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    Some(bytes[at..at + size].to_vec())
}

const EMBEDDING: [fn() -> Output; 4] = [
    || Output::Png,
    || Output::Jpeg(quality(100)),
    || Output::WebP(quality(100)),
    || Output::Jp2(quality(100)),
];

#[test]
fn r2_9_yes_embeds_what_the_object_has_and_keeps_its_pixels() {
    let own = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    for output in EMBEDDING {
        let picture = render_with(&with_profile(green(), &own), output(), IccProfile::Yes).unwrap();
        let (pixels, profile) = read(&picture);
        assert_eq!(profile.as_ref(), Some(&own), "{:?}", output());
        let near = pixels.iter().zip([60, 180, 60].repeat(2)).all(|(a, b)| a.abs_diff(b) <= 4);
        assert!(near, "{:?}: {pixels:?}", output());
        assert_eq!(picture.warnings, [""; 0]);
    }
}

#[test]
fn r2_9_named_spaces_are_the_pixels_and_the_profile() {
    for output in EMBEDDING {
        for (asked, due) in [
            (IccProfile::Srgb, [60, 180, 60]),
            (IccProfile::AdobeRgb, [112, 178, 72]),
            (IccProfile::RommRgb, [99, 154, 68]),
        ] {
            let (pixels, profile) = read(&render_with(&green(), output(), asked).unwrap());
            let near = pixels.iter().zip(due.repeat(2)).all(|(a, b)| a.abs_diff(b) <= 4);
            assert!(near, "{asked:?} {:?}: {pixels:?}", output());
            let profile = moxcms::ColorProfile::new_from_slice(&profile.unwrap()).unwrap();
            assert_eq!(profile.color_space, moxcms::DataColorSpace::Rgb);
        }
    }
}

#[test]
fn r2_9_no_embeds_nothing() {
    let own = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    for output in EMBEDDING {
        let data = with_profile(green(), &own);
        let (_, profile) = read(&render_with(&data, output(), IccProfile::No).unwrap());
        assert_eq!(profile, None, "{:?}", output());
    }
}

#[test]
fn r2_9_a_gif_cannot_carry_a_profile() {
    for asked in [IccProfile::Yes, IccProfile::Srgb, IccProfile::AdobeRgb, IccProfile::RommRgb] {
        let error = render_with(&green(), Output::Gif, asked).unwrap_err();
        assert!(matches!(error, RenderError::Unsupported { .. }), "{error}");
    }
    assert!(render_with(&green(), Output::Gif, IccProfile::No).is_ok());
}

#[test]
fn r2_9_a_grey_picture_with_a_profile_is_rgb() {
    for output in EMBEDDING {
        let (pixels, profile) = read(&render_with(&ramp(), output(), IccProfile::Yes).unwrap());
        assert_eq!(pixels.len(), 3 * 256, "{:?}", output());
        assert!(profile.is_some());
    }
}

#[test]
fn an_animation_carries_its_profile_once() {
    let levels = numbers(1..=2);
    let spec = RenderSpec {
        icc_profile: Some(IccProfile::AdobeRgb),
        ..RenderSpec::new(Framing::Native, WEBP)
    };
    let source = cine(&cine_of(0, &[100, 200]), levels);
    let job = RenderJob::new(source, spec, Limits::default());
    let picture = core_render::render(&job, &mut |_| Ok(())).unwrap();
    assert_eq!(picture.bytes.windows(4).filter(|w| w == b"ICCP").count(), 1);
    assert_eq!(frames(&picture).len(), 2);
}

// ---- measured

fn corpus(path: &str) -> Option<Bytes> {
    let folder = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    Some(std::fs::read(folder.join(path)).ok()?.into())
}

fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("LIGHTBOX_PICTURES") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

const PICTURES: [(&str, &str); 4] = [
    ("ct", "ct/ct2_unc.dcm"),
    ("us", "us/us_ybr422_jpeg_baseline.dcm"),
    ("fundus", "colour/syn_op_fundus.dcm"),
    ("photo", "colour/vl6_j2ki.dcm"),
];

/// Time is that of the encoding stage, the least of five.
#[test]
#[ignore = "measures"]
fn what_encoding_costs() {
    let outputs: Vec<Output> = [Output::Png, Output::Gif, Output::Jp2(quality(100))]
        .into_iter()
        .chain([50, 80, 90, 95, 99].into_iter().flat_map(|q| {
            [Output::Jpeg(quality(q)), Output::WebP(quality(q)), Output::Jp2(quality(q))]
        }))
        .collect();
    for (name, path) in PICTURES {
        let Some(bytes) = corpus(path) else { continue };
        let source = Source::File { bytes, frame: FrameChoice::Representative };
        let exact = render(source.clone(), Output::Png).unwrap();
        let exact = image::load_from_memory(&exact.bytes).unwrap().to_rgb8().into_raw();
        for &output in &outputs {
            let (time, picture) = (0..5)
                .map(|_| {
                    let mut begun = Instant::now();
                    let spec = RenderSpec::new(Framing::Native, output);
                    let job = RenderJob::new(source.clone(), spec, Limits::default());
                    let drawn = core_render::render(&job, &mut |_| {
                        begun = Instant::now();
                        Ok(())
                    })
                    .unwrap();
                    (begun.elapsed(), drawn)
                })
                .min_by_key(|(time, _)| *time)
                .unwrap();
            let (mut pixels, _) = read(&picture);
            if pixels.len() < exact.len() {
                pixels = pixels.iter().flat_map(|&v| [v; 3]).collect();
            }
            let pairs = pixels.iter().zip(&exact);
            let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
            let db = 10.0 * (65_025.0 * exact.len() as f64 / squares).log10();
            let (width, height) = (picture.width, picture.height);
            let (size, time) = (picture.bytes.len(), time.as_secs_f64() * 1e3);
            println!(
                "{name:8} {width}×{height} {output:?}: {time:7.1} ms {size:8} bytes {db:5.1} dB"
            );
            let ending = picture.media_type.as_str().trim_start_matches("image/");
            let quality = format!("{output:?}").replace(|c: char| !c.is_ascii_digit(), "");
            keep(&format!("{name}{quality}.{ending}"), &picture.bytes);
        }
        for asked in [IccProfile::Yes, IccProfile::AdobeRgb, IccProfile::RommRgb] {
            for output in EMBEDDING {
                let spec = RenderSpec {
                    icc_profile: Some(asked),
                    ..RenderSpec::new(Framing::Native, output())
                };
                let job = RenderJob::new(source.clone(), spec, Limits::default());
                let picture = core_render::render(&job, &mut |_| Ok(())).unwrap();
                let ending = picture.media_type.as_str().trim_start_matches("image/");
                keep(&format!("{name}-{asked:?}.{ending}"), &picture.bytes);
            }
        }
    }
}

/// One animation a run, by `LIGHTBOX_FRAMES`, since memory is that of the process.
#[test]
#[ignore = "measures"]
#[cfg(target_os = "linux")]
fn what_an_animation_costs() {
    let frames = std::env::var("LIGHTBOX_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let path = std::env::var("LIGHTBOX_FILE").unwrap_or("xa/xa_rubo_96frames_jpeg.dcm".to_owned());
    let Some(bytes) = corpus(&path) else { return };
    for output in [Output::Gif, WEBP] {
        let frames = cine_frames(frames, &Limits::default());
        let count = frames.len();
        let begun = Instant::now();
        let bytes = bytes.clone();
        let source = Source::Cine(Box::new(Cine::File { bytes, frames }));
        let picture = render(source, output).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        println!(
            "{count} frames {output:?}: {:?}, {} bytes, {peak}; {:?}",
            begun.elapsed(),
            picture.bytes.len(),
            picture.warnings
        );
        let ending = picture.media_type.as_str().trim_start_matches("image/");
        keep(&format!("cine{count}.{ending}"), &picture.bytes);
    }
}
