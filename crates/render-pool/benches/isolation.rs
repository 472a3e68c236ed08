//! What a process of its own costs a picture: `cargo bench -p render-pool --bench isolation`.
//!
//! The same 512² CT goes through a pool of one thread and a pool of one process, in turn, one at a time, each time
//! in memory that was just written, as if an archive had sent it. Native cells are the worst case: nothing to
//! decode, half a megabyte to hand over.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("worker processes need Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    let worker = std::env::args().find_map(|word| word.strip_prefix("--memory=")?.parse().ok());
    match worker {
        Some(memory) => render_pool::worker::serve(memory, &|_| ()).expect("a pool started it"),
        None => measured::compare(),
    }
}

#[cfg(target_os = "linux")]
mod measured {
    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use core_render::{
        Card, CardKind, Framing, Limits, Output, Overlays, Quality, RenderJob, RenderSpec, Source,
        ThumbnailSource, memory_needed,
    };
    use render_pool::{
        Answer, Class, Isolation, Pool, Settings, Submission, Task, Want, WorkerCommand,
    };

    const WARM_UP: usize = 200;
    const PAIRS: usize = 3000;

    pub(super) fn compare() {
        let program = std::env::current_exe().expect("this program");
        let process = WorkerCommand { program, arguments: Vec::new() };
        let [thread, process] = [Isolation::Thread, Isolation::Process(process)].map(pool);
        println!(
            "{:<28}{:>10}{:>10}{:>12}{:>10}",
            "picture", "thread", "process", "difference", "sent"
        );
        for (name, job) in jobs() {
            let mut times = [Vec::new(), Vec::new()];
            for pair in 0..WARM_UP + PAIRS {
                // Who is first alternates: the second finds caches warm.
                let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
                for which in order {
                    let took = drawn([&thread, &process][which], &job);
                    if pair >= WARM_UP {
                        times[which].push(took);
                    }
                }
            }
            let [thread, process] = times.map(median);
            let sent = job.source.len() >> 10;
            println!(
                "{name:<28}{:>7.3} ms{:>7.3} ms{:>9.3} ms{sent:>6} KiB",
                thread * 1e3,
                process * 1e3,
                (process - thread) * 1e3
            );
        }
    }

    fn pool(isolation: Isolation) -> Pool {
        let settings = Settings {
            workers: NonZeroUsize::MIN,
            express: false,
            memory: 1 << 30,
            patience: Duration::from_secs(60),
            isolation,
        };
        Pool::start(settings).expect("workers start")
    }

    fn drawn(pool: &Pool, job: &RenderJob) -> f64 {
        let job = &fresh(job);
        let (sender, done) = mpsc::channel();
        let task = Task { job: job.clone(), want: Want::Picture };
        let need = memory_needed(job);
        let submission = Submission { task, need, class: Class::Interactive };
        let began = Instant::now();
        let _ticket = pool.submit(submission, move |drawn| drop(sender.send(drawn)));
        let drawn = done.recv().expect("an outcome").expect("a picture");
        let took = began.elapsed().as_secs_f64();
        assert!(matches!(drawn.answer, Answer::Picture(_)));
        took
    }

    /// A job whose bytes have just been written, as those that an archive has sent.
    fn fresh(job: &RenderJob) -> RenderJob {
        let mut fresh = job.clone();
        let (source, large) = job.source.clone().detach();
        let large = large.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
        fresh.source = source.attach(large).expect("as many as there were");
        fresh
    }

    fn median(mut times: Vec<f64>) -> f64 {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// CTs of the corpus, or of the demo's samples where there is none.
    fn jobs() -> Vec<(String, RenderJob)> {
        let corpus = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
            PathBuf::from,
        );
        let files = ["ct/ct2_unc.dcm", "ct/ct2_jlsn.dcm"].map(|name| corpus.join(name));
        let mut found: Vec<PathBuf> = files.into_iter().filter(|file| file.is_file()).collect();
        let samples = tempfile::tempdir().expect("a folder");
        if found.is_empty() {
            folder_origin::samples::write(samples.path()).expect("the samples can be written");
            found.extend(first_file(samples.path()));
        }
        let job = |path: &PathBuf| {
            let file: Bytes = std::fs::read(path).expect("a file").into();
            let side = 256.try_into().expect("above 0");
            let framing = Framing::FitWithin(side);
            let spec = RenderSpec {
                overlays: Overlays::Omit,
                ..RenderSpec::new(framing, Output::Jpeg(Quality::THUMBNAIL))
            };
            let limits = Limits::default();
            let source = ThumbnailSource::of_file(&file, &spec, &limits).expect("an image").source;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, RenderJob::new(source, spec, limits))
        };
        std::iter::once(nothing()).chain(found.iter().map(job)).collect()
    }

    /// The smallest picture there is: what is left is the way there and back.
    fn nothing() -> (String, RenderJob) {
        let card = Card { kind: CardKind::Other, modality: None, series_number: None };
        let framing = Framing::FitWithin(std::num::NonZeroU32::MIN);
        let spec = RenderSpec::new(framing, Output::Jpeg(Quality::THUMBNAIL));
        ("one pixel".to_owned(), RenderJob::new(Source::Card(card), spec, Limits::default()))
    }

    fn first_file(folder: &Path) -> Option<PathBuf> {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        entries
            .into_iter()
            .find_map(|path| if path.is_dir() { first_file(&path) } else { Some(path) })
    }
}
