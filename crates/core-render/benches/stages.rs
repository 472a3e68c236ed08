//! What a thumbnail costs, stage by stage, beside the bare codec on the same frame.
//!
//! On frames of the shared corpus where it is there, else on samples made in code. Read the ratios
//! within one run; absolute times are the machine's.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use core_render::{
    FrameChoice, Framing, Limits, Output, Overlays, Quality, RenderJob, RenderSpec, Source, Stage,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Name, and path within the corpus.
const FRAMES: &[(&str, &str)] = &[
    ("ct_512_native", "ct/ct2_unc.dcm"),
    ("ct_512_j2k", "ct/ct1_j2kr.dcm"),
    ("ct_512_jpeg_ls", "ct/ct2_jlsn.dcm"),
    ("mr_1024_jpeg_lossless", "mr/mr2_jpeg_lossless_process14.dcm"),
    ("mr_512_rle", "mr/mr4_rle.dcm"),
    ("us_640_jpeg", "us/us_ybr422_jpeg_baseline.dcm"),
    ("cr_1760_jpeg_12bit", "cr-dx-mg/rg2_jply.dcm"),
    ("mg_7mp_jpeg_lossless", "cr-dx-mg/mg_sigmoid_voilut_three_windows.dcm"),
    ("mg_14mp_j2k", "cr-dx-mg/mg1_j2ki.dcm"),
];

struct Case {
    name: &'static str,
    file: bytes::Bytes,
}

fn cases() -> Vec<Case> {
    let folder = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let found: Vec<Case> = FRAMES
        .iter()
        .filter_map(|(name, path)| {
            Some(Case { name, file: std::fs::read(folder.join(path)).ok()?.into() })
        })
        .collect();
    if found.is_empty() { samples() } else { found }
}

/// The first object of each modality of the demo's studies.
fn samples() -> Vec<Case> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    folder_origin::samples::write(folder.path()).expect("the samples can be written");
    let mut files: Vec<PathBuf> = files_below(folder.path());
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let file: bytes::Bytes = std::fs::read(path).ok()?.into();
            core_render::render(&job(&file, 256), &mut |_| {}).ok()?;
            let name = path.file_stem()?.to_str()?.to_owned().leak();
            Some(Case { name, file })
        })
        .step_by(8)
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn job(file: &bytes::Bytes, longest_side: u32) -> RenderJob {
    RenderJob::new(
        Source::File {
            bytes: file.clone(),
            frame: FrameChoice::Number(dicomweb_types::FrameNumber::FIRST),
        },
        RenderSpec {
            overlays: Overlays::Omit,
            ..RenderSpec::new(
                Framing::FitWithin(longest_side.try_into().expect("above 0")),
                Output::Jpeg(Quality::THUMBNAIL),
            )
        },
        Limits::default(),
    )
}

/// Time from the start of `stage` to the start of the next one.
fn time_of(stage: Stage, job: &RenderJob) -> Duration {
    let (mut began, mut took) = (None, None);
    let picture = core_render::render(job, &mut |now| {
        if let (Some(start), None) = (began, took) {
            let start: Instant = start;
            took = Some(start.elapsed());
        }
        if now == stage {
            began = Some(Instant::now());
        }
    });
    black_box(picture.expect("the frame renders"));
    took.or_else(|| began.map(|start| start.elapsed())).unwrap_or_default()
}

fn stages(criterion: &mut Criterion) {
    let cases = cases();
    for (group, stage) in
        [("decode", Stage::Decode), ("render", Stage::Render), ("encode", Stage::Encode)]
    {
        let mut group = criterion.benchmark_group(group);
        for case in &cases {
            let job = job(&case.file, 256);
            group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| time_of(stage, &job)).sum());
            });
        }
    }
}

fn thumbnails(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("thumbnail");
    for case in cases() {
        let job = job(&case.file, 256);
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            bencher.iter(|| core_render::render(&job, &mut |_| {}).expect("the frame renders"));
        });
    }
}

/// The same frames through the bare C decoder, at the size the thumbnail needs.
fn bare_codecs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bare_codec");
    for case in cases() {
        // Native cells and RLE have no C decoder; bytes that look like a codestream are none.
        let own = case.name.ends_with("native") || case.name.ends_with("rle");
        let Some(decode) = bare_decoder(&case.file).filter(|_| !own) else { continue };
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            bencher.iter(&decode);
        });
    }
}

fn bare_decoder(file: &bytes::Bytes) -> Option<impl Fn()> {
    // The last one: an icon may come before the image.
    let start = |mark: &[u8]| file.windows(mark.len()).rposition(|window| window == mark);
    let j2k = start(&[0xFF, 0x4F, 0xFF, 0x51]);
    let jpeg = start(&[0xFF, 0xD8, 0xFF]);
    let stream = file.slice(j2k.or(jpeg)?..);
    let reduce = j2k.and_then(|_| native_codecs::jpeg2000::header(&stream).ok()).map(|header| {
        // Two pixels for one of the thumbnail along the longest side, as the renderer keeps.
        let spare = header.width.max(header.height) / 512;
        (spare.max(1).ilog2() as u8).min(header.levels)
    });
    Some(move || match reduce {
        Some(reduce) => {
            let _ = black_box(native_codecs::jpeg2000::decode(&stream, reduce));
        }
        None => {
            let full = native_codecs::jpeg::Reduction::Full;
            if native_codecs::jpeg::decode(&stream, full).is_err() {
                let _ = black_box(native_codecs::jpeg_ls::decode(&stream));
            }
        }
    })
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = settings(); targets = stages, thumbnails, bare_codecs }
criterion_main!(benches);
