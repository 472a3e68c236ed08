//! What a picture costs, stage by stage, beside the bare codec on the same frame.
//!
//! On frames of the shared corpus where it is there, else on samples made in code. Read the ratios
//! within one run; absolute times are the machine's.

#[allow(dead_code)] // each bench uses its part
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_render::{RenderJob, Stage};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use support::{Bare, Case, Size, cases, job};

fn with_cases(act: impl FnOnce(Vec<(Case, Bytes)>)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let read = |case: Case| {
        let file = std::fs::read(&case.path).expect("the file can be read").into();
        (case, file)
    };
    act(cases(folder.path()).into_iter().map(read).collect());
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
        Ok(())
    });
    black_box(picture.expect("the frame renders"));
    took.or_else(|| began.map(|start| start.elapsed())).unwrap_or_default()
}

fn stages(criterion: &mut Criterion) {
    with_cases(|cases| {
        for (group, stage) in
            [("decode", Stage::Decode), ("render", Stage::Render), ("encode", Stage::Encode)]
        {
            let mut group = criterion.benchmark_group(group);
            for (case, file) in &cases {
                let job = job(file, Size::Thumbnail);
                group.bench_function(BenchmarkId::from_parameter(&case.name), |bencher| {
                    bencher.iter_custom(|times| (0..times).map(|_| time_of(stage, &job)).sum());
                });
            }
        }
    });
}

fn thumbnails(criterion: &mut Criterion) {
    with_cases(|cases| {
        let mut group = criterion.benchmark_group("thumbnail");
        for (case, file) in cases {
            let job = job(&file, Size::Thumbnail);
            group.bench_function(BenchmarkId::from_parameter(&case.name), |bencher| {
                bencher.iter(|| {
                    core_render::render(&job, &mut |_| Ok(())).expect("the frame renders")
                });
            });
        }
    });
}

/// The same frames through the bare C decoder, at the size the thumbnail needs.
fn bare_codecs(criterion: &mut Criterion) {
    with_cases(|cases| {
        let mut group = criterion.benchmark_group("bare_codec");
        for (case, file) in cases {
            let Some(bare) = Bare::find(&case, &file, Size::Thumbnail) else { continue };
            group.bench_function(BenchmarkId::from_parameter(&case.name), |bencher| {
                bencher.iter(|| bare.decode());
            });
        }
    });
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = stages, thumbnails, bare_codecs
}
criterion_main!(benches);
