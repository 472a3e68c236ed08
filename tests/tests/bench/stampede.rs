//! Hundreds of clients that want large pictures at once: `./run bench stampede`.
//!
//! What server and workers take in memory together, what is lost, and what small pictures wait meanwhile.

#![cfg(target_os = "linux")]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use folder_origin::FolderOrigin;
use lightbox_tests::{Answer, Corpus, Proxy, Received, ScriptedOrigin, client};

const LARGE: &str = "cr-dx-mg/mg1_j2ki.dcm";
const SMALL: &str = "ct/ct2_unc.dcm";

const CLIENTS: usize = 200;
const MEMORY: u64 = 512 << 20;

/// What a server takes without any picture, and what is beside the pictures' own memory.
const BESIDE: u64 = 128 << 20;

/// Small pictures that are asked for when nothing else is.
const IDLE: usize = 100;

/// Of one object what an archive hands out; any number of objects are equal to it.
struct Original {
    /// UID of the instance.
    uid: String,
    metadata: String,
    frame: (String, Bytes),
    whole: (String, Bytes),
}

impl Original {
    /// Of a file, as the archive of the demo hands it out.
    async fn of(file: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(file, folder.path().join("image.dcm")).unwrap();
        let origin = FolderOrigin::open(folder.path()).unwrap();
        let path = origin.instances().next().expect("an image").path.clone();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}/{path}", listener.local_addr().unwrap());
        let server = tokio::spawn(origin.serve(listener, std::future::pending()));
        let (_, metadata) = got(&format!("{base}/metadata"), "application/dicom+json").await;
        let accept =
            |kind| format!("multipart/related; type=\"application/{kind}\"; transfer-syntax=*");
        let frame = got(&format!("{base}/frames/1"), &accept("octet-stream")).await;
        let whole = got(&base, &accept("dicom")).await;
        server.abort();
        let metadata = String::from_utf8(metadata.to_vec()).unwrap();
        Self { uid: path.instance.to_string(), metadata, frame, whole }
    }

    fn answer(&self, uid: &str, below: &str) -> Answer {
        match below {
            "metadata" => Answer::json(self.metadata.replace(&self.uid, uid)),
            "frames/1" => Answer::new(200, &self.frame.0, self.frame.1.clone()),
            "" => Answer::new(200, &self.whole.0, self.whole.1.clone()),
            _ => Answer::status(404),
        }
    }
}

async fn got(url: &str, accept: &str) -> (String, Bytes) {
    let answer = client().get(url).header("accept", accept).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (media_type, answer.bytes().await.unwrap())
}

const SERIES: &str = "/studies/2.25.7/series/2.25.7.1/instances";

fn path(kind: &str, number: usize) -> String {
    let kind = if kind == "large" { 1 } else { 2 };
    format!("{SERIES}/2.25.7.1.{kind}.{number}")
}

fn archive(large: Original, small: Original) -> impl Fn(&Received) -> Answer + Send + Sync {
    move |request| {
        let rest = request.path.strip_prefix(SERIES).unwrap_or_default().trim_start_matches('/');
        let (uid, below) = rest.split_once('/').unwrap_or((rest, ""));
        let original = if uid.starts_with("2.25.7.1.1.") { &large } else { &small };
        original.answer(uid, below)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: ./run bench stampede"]
async fn a_stampede() {
    let corpus = Corpus::find().expect("the corpus: LIGHTBOX_CORPUS names its folder");
    let [large, small] = [LARGE, SMALL].map(|name| corpus.root().join(name));
    println!(
        "{:<22}{:>7}{:>7}{:>7}{:>9}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}",
        "14-MP JPEG 2000",
        "asked",
        "200",
        "503",
        "others",
        "seconds",
        "MiB",
        "idle",
        "p95",
        "small",
        "p95"
    );
    for (resource, count) in [("thumbnail", 1000), ("rendered", 200)] {
        let origin = ScriptedOrigin::start().await;
        origin.otherwise(archive(Original::of(&large).await, Original::of(&small).await));
        let memory = format!("{}MiB", MEMORY >> 20);
        let proxy = Proxy::start_with(&origin.url(), &[("render_memory", &memory)]).await;
        run(proxy, resource, count).await;
    }
}

async fn run(proxy: Proxy, resource: &'static str, count: usize) {
    let proxy = Arc::new(proxy);
    let next_small = Arc::new(AtomicUsize::new(0));
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.extend(small(&proxy, &next_small).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let watched = tokio::task::spawn_blocking({
        let (proxy, over) = (proxy.clone(), over.clone());
        move || peak(&proxy, &over)
    });
    let meanwhile = tokio::spawn({
        let (proxy, over) = (proxy.clone(), over.clone());
        async move {
            let mut times = Vec::new();
            while !over.load(Relaxed) {
                times.extend(small(&proxy, &next_small).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            times
        }
    });
    let began = Instant::now();
    let statuses = stampede(&proxy, resource, count).await;
    let took = began.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    let (peak, meanwhile) = (watched.await.unwrap(), meanwhile.await.unwrap());
    let of = |status| statuses.get(&status).copied().unwrap_or(0);
    let others = count - of(200) - of(503);
    let [idle_median, idle_95] = quantiles(idle);
    let [median, p95] = quantiles(meanwhile);
    println!(
        "{resource:<22}{count:>7}{:>7}{:>7}{others:>9}{took:>9.1}{:>8}{idle_median:>9.1}{idle_95:>9.1}{median:>9.1}{p95:>9.1}",
        of(200),
        of(503),
        peak >> 20
    );
    assert_eq!(others, 0, "{statuses:?}");
    assert!(peak < MEMORY + BESIDE, "{} MiB", peak >> 20);
}

/// One small picture that nobody asked for before: its time in ms. `None` of a 503.
async fn small(proxy: &Proxy, next: &AtomicUsize) -> Option<f64> {
    let path = format!("{}/thumbnail", path("small", next.fetch_add(1, Relaxed)));
    let began = Instant::now();
    let reply = proxy.get(&path).await;
    assert!(matches!(reply.status(), 200 | 503), "{}", reply.text());
    (reply.status() == 200).then(|| began.elapsed().as_secs_f64() * 1e3)
}

/// How many answers had which status.
async fn stampede(
    proxy: &Arc<Proxy>,
    resource: &'static str,
    count: usize,
) -> BTreeMap<u16, usize> {
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS.min(count))
        .map(|_| {
            let (proxy, next) = (proxy.clone(), next.clone());
            tokio::spawn(async move {
                let client = lightbox_tests::patient_client();
                let mut statuses = Vec::new();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return statuses;
                    }
                    let url = format!("{}{}/{resource}", proxy.url(), path("large", number));
                    let answer = client.get(url).header("accept", "image/jpeg").send().await;
                    let answer = answer.expect("an answer");
                    let status = answer.status().as_u16();
                    assert!(status != 503 || answer.headers().contains_key("retry-after"));
                    answer.bytes().await.expect("a whole answer");
                    statuses.push(status);
                }
            })
        })
        .collect();
    let mut all = BTreeMap::new();
    for client in clients {
        for status in client.await.unwrap() {
            *all.entry(status).or_default() += 1;
        }
    }
    all
}

/// The most that server and workers take, with what they share.
fn peak(proxy: &Proxy, over: &AtomicBool) -> u64 {
    let before = shared_memory();
    let mut most = 0;
    while !over.load(Relaxed) {
        let shared = shared_memory().saturating_sub(before);
        most = most.max(proxy.memory() + shared);
        std::thread::sleep(Duration::from_millis(10));
    }
    most
}

/// Memory without a file behind it that processes share, of the whole machine.
fn shared_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Shmem:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The median, and what 95 of 100 are below.
fn quantiles(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [50, 95].map(|percent| times.get(times.len() * percent / 100).copied().unwrap_or(f64::NAN))
}
