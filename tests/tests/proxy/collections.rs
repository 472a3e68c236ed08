//! Whole studies as multipart/related: all of them, in order, in bounded memory.

use std::time::Duration;

use folder_origin::FolderOrigin;
use http::Method;
use lightbox_tests::decoded::Decoded;
use lightbox_tests::{Between, EXPLICIT_LITTLE_ENDIAN, Object, Part, PartReader, Place, Proxy};
use tempfile::TempDir;

const MANY: u32 = 500;
const FEW: u32 = 5;
const SIDE: u16 = 512;
const MEBIBYTE: u64 = 1 << 20;
/// Noise at this quality takes about as many bytes as it has pixels: what is kept shows.
const RENDERED: &str = "rendered?quality=100";
const ACCEPT: (&str, &str) = ("Accept", r#"multipart/related; type="image/jpeg""#);

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// Studies of 500 and of 5 instances, and the proxy in front of them.
struct Bench {
    _folder: TempDir,
    between: Between,
    proxy: Proxy,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let origin = tokio::task::spawn_blocking(move || {
            let noise = noise(usize::from(SIDE) * usize::from(SIDE));
            for (study, count) in [(study_of(MANY), MANY), (study_of(FEW), FEW)] {
                for number in 1..=count {
                    let file = path.join(format!("{study}-{number}.dcm"));
                    std::fs::write(file, image(&place(study, number, count), number, &noise))
                        .unwrap();
                }
            }
            FolderOrigin::open(&path).unwrap()
        });
        let origin = origin.await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(origin.serve(listener, std::future::pending()));
        let between = Between::start(&url).await;
        let proxy = Proxy::start_with(&between.url(), keys).await;
        Self { _folder: folder, between, proxy }
    }

    async fn ask(&self, count: u32) -> PartReader {
        let path = format!("{}/{RENDERED}", place(study_of(count), 1, count).study_path());
        let request = self.proxy.request(Method::GET, &path, &[ACCEPT]);
        // The client's own limit of time is for answers that are read at once.
        let response = request.timeout(Duration::from_secs(540)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        PartReader::new(response).unwrap()
    }

    /// Waits until the archive has not been called for some time; how often it was.
    async fn calls_at_rest(&self) -> usize {
        let mut calls = self.between.calls();
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.between.calls();
            if now == calls {
                return calls;
            }
            calls = now;
        }
    }
}

fn study_of(count: u32) -> u32 {
    6000 + count
}

/// Instance Numbers run against the UIDs.
fn place(study: u32, number: u32, count: u32) -> Place {
    Place::new(study, 1, count + 1 - number).numbered(1, number)
}

/// Noise with a field of 64 × 64 in its corner that tells the instance.
fn image(place: &Place, number: u32, noise: &[u8]) -> Vec<u8> {
    let mut pixels = noise.to_vec();
    for row in pixels.chunks_mut(SIDE.into()).take(64) {
        row[..32].fill(grey(number / 100 * 10));
        row[32..64].fill(grey(number % 100 * 2));
    }
    Object::new(place, CT, "CT")
        .matrix(SIDE, SIDE, "MONOCHROME2")
        .window("128", "256")
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

fn grey(level: u32) -> u8 {
    u8::try_from(level + 20).unwrap()
}

/// Which instance a part shows.
fn number(part: &Part) -> u32 {
    let picture = Decoded::read(&part.body).unwrap();
    assert_eq!(picture.size(), (SIDE.into(), SIDE.into()));
    let level = |x| u32::from(picture.first().at(x, 32)) - 20;
    (level(16) + 5) / 10 * 100 + level(48) / 2
}

/// The same on every machine.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Reads all parts; asserts that there are so many, in order, and returns how large they are.
async fn read_all(mut parts: PartReader, count: u32) -> u64 {
    let mut bytes = 0;
    for expected in 1..=count {
        let part = parts.next().await.unwrap().unwrap_or_else(|| panic!("no part {expected}"));
        assert_eq!(number(&part), expected);
        let path = place(study_of(count), expected, count).path();
        let location = part.header("content-location");
        assert!(location.contains(&path), "{location} is not of {path}");
        bytes += part.body.len() as u64;
    }
    assert_eq!(parts.next().await.unwrap(), None, "nothing after the last part");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_number_of_parts() {
    let bench = Bench::start().await;
    let few = bench.ask(FEW).await;
    read_all(few, FEW).await;
    let of_few = bench.proxy.peak_memory();
    let many = bench.ask(MANY).await;
    let bytes = read_all(many, MANY).await;
    let of_many = bench.proxy.peak_memory();
    let growth = (of_many - of_few) / MEBIBYTE;
    println!(
        "{} MiB of parts, {} MiB at most for {FEW}, {growth} MiB more for {MANY}",
        bytes / MEBIBYTE,
        of_few / MEBIBYTE
    );
    assert!(bytes > 96 * MEBIBYTE, "{bytes} bytes would show in no memory");
    assert!(growth <= 64, "{growth} MiB more for {MANY} instances than for {FEW}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_work() {
    let bench = Bench::start().await;
    let mut parts = bench.ask(MANY).await;
    for _ in 0..3 {
        parts.next().await.unwrap().unwrap();
    }
    drop(parts);
    let calls = bench.calls_at_rest().await;
    let whole = MANY as usize;
    assert!(calls < whole / 2, "{calls} calls for a client that left after 3 of {MANY} parts");
    // What was begun has ended: others are served.
    read_all(bench.ask(FEW).await, FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_is_waited_for() {
    let bench = Bench::start().await;
    read_all(bench.ask(FEW).await, FEW).await;
    let before = bench.proxy.peak_memory();
    let mut parts = bench.ask(MANY).await;
    assert_eq!(number(&parts.next().await.unwrap().unwrap()), 1);
    let calls = bench.calls_at_rest().await;
    // What the sockets hold, and a few parts ahead.
    assert!(calls < MANY as usize / 2, "{calls} calls for a client that reads nothing");
    let growth = (bench.proxy.peak_memory() - before) / MEBIBYTE;
    assert!(growth <= 64, "{growth} MiB are kept for a client that reads nothing");
    for expected in 2..=MANY {
        assert_eq!(number(&parts.next().await.unwrap().unwrap()), expected);
    }
    assert_eq!(parts.next().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_holds_up_nobody() {
    let bench = Bench::start_with(&[("upstream_concurrency", "1")]).await;
    let mut paused = bench.ask(MANY).await;
    assert_eq!(number(&paused.next().await.unwrap().unwrap()), 1);
    bench.calls_at_rest().await;
    let others = async { read_all(bench.ask(FEW).await, FEW).await };
    let served = tokio::time::timeout(Duration::from_secs(30), others).await;
    assert!(served.is_ok(), "the only turn at the archive is held for a client that reads nothing");
    assert_eq!(number(&paused.next().await.unwrap().unwrap()), 2);
}
