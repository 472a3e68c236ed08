//! What passes through, beside nginx's `proxy_pass` in front of the same Orthanc: `./run bench stream`.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lightbox_tests::{Nginx, Orthanc, Proxy, TestImage, client, peak_memory};

const TURNS: usize = 7;
const FRAMES: u32 = 50;
const SIDE: u16 = 2048;

fn nginx(upstream: &str) -> Nginx {
    let server = format!(
        "client_max_body_size 0; location / {{ proxy_pass {upstream}/; proxy_buffering off;\n\
         proxy_request_buffering off; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}"
    );
    Nginx::start(1, "", &server, &[]).expect("nginx")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: ./run bench stream"]
async fn streaming() {
    let mut orthanc = Orthanc::start().await.expect("Orthanc with its plugins");
    let cells: Vec<u8> =
        (0..u32::from(SIDE) * u32::from(SIDE) * FRAMES).map(|i| (i >> 7) as u8).collect();
    let image = TestImage::new(SIDE, SIDE, cells).with_frames(FRAMES);
    let file = bytes::Bytes::from(image.file());
    assert!(orthanc.store(&file).await, "Orthanc takes it");
    let (proxy, nginx) = (Proxy::start(&orthanc.url()).await, nginx(&orthanc.url()));
    let (ours, theirs) = (proxy.url(), nginx.url());
    println!("{:<24}{:>12}{:>12}{:>8}{:>16}", "", "Lightbox", "nginx", "ratio", "memory grown by");

    // What is loaded at all is loaded now.
    fetched(&format!("{ours}/studies?limit=1")).await;
    let before = peak_memory(proxy.pid());
    let path = image.url_path();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let [first, second] = if turn % 2 == 0 { [&ours, &theirs] } else { [&theirs, &ours] };
        let times =
            [fetched(&format!("{first}{path}")).await, fetched(&format!("{second}{path}")).await];
        a.push(times[turn % 2]);
        b.push(times[1 - turn % 2]);
    }
    row("GET of 210 MB", &a, &b, peak_memory(proxy.pid()) - before);

    let before = peak_memory(proxy.pid());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let [first, second] = if turn % 2 == 0 { [&ours, &theirs] } else { [&theirs, &ours] };
        let times = [stored(first, &file).await, stored(second, &file).await];
        a.push(times[turn % 2]);
        b.push(times[1 - turn % 2]);
    }
    row("STOW of 210 MB", &a, &b, peak_memory(proxy.pid()) - before);
}

async fn fetched(url: &str) -> Duration {
    let began = Instant::now();
    let accept = r#"multipart/related; type="application/dicom"; transfer-syntax=*"#;
    let accept = if url.contains("limit=") { "application/dicom+json" } else { accept };
    let answer = client().get(url).header("accept", accept).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        drop(chunk.unwrap());
    }
    began.elapsed()
}

async fn stored(base: &str, file: &bytes::Bytes) -> Duration {
    let head = bytes::Bytes::from_static(b"--file\r\nContent-Type: application/dicom\r\n\r\n");
    let tail = bytes::Bytes::from_static(b"\r\n--file--\r\n");
    let length = head.len() + file.len() + tail.len();
    // In pieces, as from a disk.
    let mut pieces = vec![head];
    pieces.extend(
        (0..file.len()).step_by(1 << 20).map(|at| file.slice(at..(at + (1 << 20)).min(file.len()))),
    );
    pieces.push(tail);
    let body = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let began = Instant::now();
    let answer = client()
        .post(format!("{base}/studies"))
        .header("content-type", r#"multipart/related; type="application/dicom"; boundary=file"#)
        .header("content-length", length)
        .header("accept", "application/dicom+json")
        .body(reqwest::Body::wrap_stream(body))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let _ = answer.bytes().await.unwrap();
    began.elapsed()
}

fn row(name: &str, ours: &[Duration], theirs: &[Duration], grown: u64) {
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    };
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{name:<24}{ours:>9.0} ms{theirs:>9.0} ms{:>8.2}{:>12.1} MiB",
        theirs / ours,
        grown as f64 / f64::from(1 << 20)
    );
}
