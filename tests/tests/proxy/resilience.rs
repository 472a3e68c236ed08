//! Archives that are slow, busy, broken or gone: what clients get, and what the archive is spared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lightbox_tests::{Answer, Proxy, Reply, ScriptedOrigin, TestImage, closed_port};

const MEBIBYTE: u64 = 1 << 20;
const IMAGE: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const OTHER: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.4";
const SHORT: (&str, &str) = ("upstream_timeout", "1s");

fn octets(frame: &[u8]) -> Answer {
    let part = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    Answer::multipart("application/octet-stream", &[(part, frame)])
}

/// An image that is well at `IMAGE`; everything else is answered so.
async fn beside_a_healthy_image(
    fault: impl Fn() -> Answer + Send + Sync + 'static,
) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    TestImage::ramp(8, 8).put_on(&origin);
    origin.otherwise(move |_| fault());
    let proxy = Proxy::start_with(&origin.url(), &[SHORT]).await;
    (origin, proxy)
}

fn assert_problem(reply: &Reply, status: u16, what: &str) {
    assert_eq!(reply.status(), status, "{what}: {}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (&problem["status"], &problem["stage"]),
        (&status.into(), &"upstream".into()),
        "{what}"
    );
    for secret in ["2.25.1001", "Doe", "Jane"] {
        assert!(!reply.text().contains(secret), "{what}: {}", reply.text());
    }
}

// Faults -------------------------------------------------------------------------------------------

type Fault = (&'static str, u16, fn() -> Answer);

const FAULTS: &[Fault] = &[
    ("closed within the body", 502, || Answer::truncated("application/dicom+json", "[{", 500)),
    ("stalled before the head", 504, || Answer::json("[]").after(Duration::from_secs(20))),
    ("stalled in the body", 504, || Answer::stalled("application/dicom+json", "[{")),
    ("garbage", 502, || Answer::new(200, "application/dicom+json", "\u{0}garbage")),
    ("a page for people", 502, || Answer::new(200, "text/html", "<html>hello</html>")),
    ("401", 401, || Answer::status(401).header("www-authenticate", "Basic realm=\"pacs\"")),
    ("403", 403, || Answer::status(403)),
    ("404", 404, || Answer::status(404)),
    ("410", 410, || Answer::status(410)),
    ("500", 502, || Answer::status(500)),
    ("501", 502, || Answer::status(501)),
    ("503", 503, || Answer::status(503)),
    ("503 with a long wait", 503, || Answer::status(503).header("retry-after", "120")),
    ("504", 504, || Answer::status(504)),
    ("a redirect", 502, || Answer::status(302).header("location", "http://127.0.0.1:1/")),
    ("nothing", 404, || Answer::status(204)),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_answer_in_time_and_the_proxy_serves_on() {
    for &(what, status, fault) in FAULTS {
        let (_origin, proxy) = beside_a_healthy_image(fault).await;
        for resource in ["thumbnail", "frames/1/rendered"] {
            let began = Instant::now();
            let reply = proxy.get(&format!("{OTHER}/{resource}")).await;
            assert_problem(&reply, status, what);
            assert!(began.elapsed() < Duration::from_secs(6), "{what}: {:?}", began.elapsed());
            if status == 401 {
                assert_eq!(reply.header("www-authenticate"), "Basic realm=\"pacs\"");
            }
            if status == 503 {
                assert!(!reply.header("retry-after").is_empty(), "{what}");
            }
            assert_eq!(
                proxy.get(&format!("{IMAGE}/{resource}")).await.status(),
                200,
                "after {what}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_at_the_limit() {
    let (_origin, proxy) =
        beside_a_healthy_image(|| Answer::endless("application/dicom+json", vec![b' '; 1 << 16]))
            .await;
    proxy.get(&format!("{IMAGE}/thumbnail")).await;
    let before = proxy.peak_memory();
    assert_problem(&proxy.get(&format!("{OTHER}/thumbnail")).await, 413, "endless");
    assert!(proxy.peak_memory() - before < 300 * MEBIBYTE);
    assert_eq!(proxy.get(&format!("{IMAGE}/thumbnail")).await.status(), 200);
}

#[tokio::test]
async fn where_nobody_is_and_whom_nobody_trusts_says_so() {
    let plain = ScriptedOrigin::start().await;
    for (upstream, said) in [
        (format!("http://127.0.0.1:{}/rs", closed_port()), "connection refused"),
        ("http://no-such-host.invalid/rs".to_owned(), "host name"),
        (plain.url().replace("http://", "https://"), "TLS"),
    ] {
        let proxy = Proxy::start_with(&upstream, &[SHORT]).await;
        let reply = proxy.get(&format!("{IMAGE}/thumbnail")).await;
        assert_problem(&reply, 502, &upstream);
        assert!(reply.text().contains(said), "{upstream}: {}", reply.text());
        assert!(!reply.text().contains("invalid"), "no name of a host: {}", reply.text());
        assert_eq!(proxy.get("/studies").await.status(), 502, "{upstream}");
    }
}

// Again, and not again -----------------------------------------------------------------------------

/// Answers so for the first `count` calls of each resource of the image, and well afterwards.
async fn recovering(count: usize, fault: fn() -> Answer) -> (ScriptedOrigin, Proxy) {
    let (origin, image) = (ScriptedOrigin::start().await, TestImage::ramp(8, 8));
    let (metadata, frame) = (image.metadata().to_string(), image.frame(1).to_vec());
    let calls = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let [first, second] = calls;
    origin.on(&format!("{IMAGE}/metadata"), move |_| {
        let failed = first.fetch_add(1, Ordering::SeqCst) < count;
        if failed { fault() } else { Answer::json(metadata.clone()) }
    });
    origin.on(&format!("{IMAGE}/frames/1"), move |_| {
        let failed = second.fetch_add(1, Ordering::SeqCst) < count;
        if failed { fault() } else { octets(&frame) }
    });
    let proxy = Proxy::start_with(&origin.url(), &[SHORT]).await;
    (origin, proxy)
}

#[tokio::test]
async fn what_passes_by_is_not_seen_by_clients() {
    for fault in [
        (|| Answer::truncated("text/plain", "half", 900)) as fn() -> Answer,
        || Answer::status(503),
        || Answer::status(502),
        || Answer::status(503).header("retry-after", "1"),
        || Answer::status(429).header("retry-after", "1"),
    ] {
        let (_origin, proxy) = recovering(1, fault).await;
        let reply = proxy.get(&format!("{IMAGE}/frames/1/rendered")).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_timeout_is_not_tried_again() {
    let (origin, proxy) = recovering(9, || Answer::status(200).after(Duration::from_secs(9))).await;
    assert_eq!(proxy.get(&format!("{IMAGE}/frames/1/rendered")).await.status(), 504);
    assert!(origin.requests() <= 2, "{}", origin.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_throughout_is_left_alone_and_found_well_again() {
    let (origin, proxy) = recovering(usize::MAX, || Answer::status(503)).await;
    for _ in 0..60 {
        let reply = proxy.get(&format!("{IMAGE}/frames/1/rendered")).await;
        assert_problem(&reply, 503, "down");
        assert!(!reply.header("retry-after").is_empty());
    }
    // Two calls for each and two repetitions of each of these would be 360.
    let made = origin.requests();
    assert!(made < 90, "{made} calls");
    TestImage::ramp(8, 8).put_on(&origin);
    let deadline = Instant::now() + Duration::from_secs(35);
    while proxy.get(&format!("{IMAGE}/frames/1/rendered")).await.status() != 200 {
        assert!(Instant::now() < deadline, "it is well and still not asked");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_pause_that_is_asked_for_holds_for_all_calls() {
    let (origin, proxy) = recovering(1, || Answer::status(429).header("retry-after", "4")).await;
    let reply = proxy.get(&format!("{IMAGE}/frames/1/rendered")).await;
    assert_problem(&reply, 503, "paused");
    let asked = origin.requests();
    let reply = proxy.get(&format!("{IMAGE}/thumbnail")).await;
    assert_problem(&reply, 503, "still paused");
    assert!((1..=4).contains(&reply.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(origin.requests(), asked, "it was asked within the pause");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(proxy.get(&format!("{IMAGE}/thumbnail")).await.status(), 200);
}

// Limits -------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_under_way_than_allowed() {
    let (origin, image) = (ScriptedOrigin::start().await, TestImage::ramp(8, 8));
    let (metadata, frame) = (image.metadata().to_string(), image.frame(1).to_vec());
    let slow = Duration::from_millis(60);
    origin.on(&format!("{IMAGE}/metadata"), move |_| Answer::json(metadata.clone()).after(slow));
    origin.on(&format!("{IMAGE}/frames/1"), move |_| octets(&frame).after(slow));
    let proxy = Proxy::start_with(&origin.url(), &[("upstream_concurrency", "2")]).await;
    // Equal requests would share their calls; those of several clients do not.
    let path = format!("{IMAGE}/frames/1/rendered");
    let ask = |client: usize| {
        let (proxy, path) = (&proxy, &path);
        async move { proxy.get_with(path, &[("cookie", &format!("client={client}"))]).await }
    };
    let began = Instant::now();
    let replies = futures_util::future::join_all((0..10).map(ask)).await;
    assert!(replies.iter().all(|reply| reply.status() == 200));
    // Twenty calls of 60 ms, two at a time.
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_keep_to_the_rate() {
    let origin = ScriptedOrigin::start().await;
    TestImage::ramp(8, 8).put_on(&origin);
    let proxy = Proxy::start_with(&origin.url(), &[("upstream_rate", "5/s")]).await;
    let path = format!("{IMAGE}/frames/1/rendered");
    let began = Instant::now();
    for _ in 0..6 {
        assert_eq!(proxy.get(&path).await.status(), 200);
    }
    let (calls, took) = (origin.requests() as f64, began.elapsed().as_secs_f64());
    assert!(calls <= 5.0 * (took + 1.0), "{calls} calls in {took} s");
    assert!(took >= 1.0, "{took}");
}

#[tokio::test]
async fn an_unknown_object_costs_one_round_trip() {
    let (origin, image) = (ScriptedOrigin::start().await, TestImage::ramp(8, 8));
    let (metadata, frame) = (image.metadata().to_string(), image.frame(1).to_vec());
    let far = Duration::from_millis(500);
    origin.on(&format!("{IMAGE}/metadata"), move |_| Answer::json(metadata.clone()).after(far));
    origin.on(&format!("{IMAGE}/frames/1"), move |_| octets(&frame).after(far));
    let proxy = Proxy::start(&origin.url()).await;
    for resource in ["thumbnail", "frames/1/rendered"] {
        let began = Instant::now();
        assert_eq!(proxy.get(&format!("{IMAGE}/{resource}")).await.status(), 200);
        assert!(began.elapsed() < Duration::from_millis(950), "{resource}: {:?}", began.elapsed());
    }
}

// A huge object ------------------------------------------------------------------------------------

/// 500 frames of 2 MiB, a gigabyte.
#[tokio::test(flavor = "multi_thread")]
async fn one_frame_of_a_huge_object_costs_that_frame() {
    const SIDE: u16 = 1448;
    let origin = ScriptedOrigin::start().await;
    let frame: Vec<u8> = (0..u32::from(SIDE) * u32::from(SIDE)).map(|i| (i % 251) as u8).collect();
    let image = TestImage::new(SIDE, SIDE, frame.clone()).with_frames(500);
    let metadata = image.metadata().to_string();
    let told = metadata.len() as u64;
    origin.on(&format!("{IMAGE}/metadata"), move |_| Answer::json(metadata.clone()));
    origin.otherwise(move |request| {
        if request.path.contains("/frames/") {
            return octets(&frame);
        }
        Answer::endless("application/dicom", vec![0; 1 << 20])
            .header("content-length", "1073741824")
    });
    let proxy = Proxy::start(&origin.url()).await;
    // What is loaded at all is loaded now.
    assert_eq!(proxy.get(&format!("{IMAGE}/frames/1/thumbnail?viewport=9,9")).await.status(), 200);
    let (before, sent) = (proxy.peak_memory(), origin.bytes_out());
    let reply = proxy.get(&format!("{IMAGE}/frames/250/rendered?viewport=256,256")).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let size = u64::from(SIDE) * u64::from(SIDE);
    let cost = origin.bytes_out() - sent - told;
    assert!(cost <= size * 11 / 10 + (64 << 10), "{cost} bytes for a frame of {size}");
    let grown = proxy.peak_memory() - before;
    assert!(grown <= 32 * MEBIBYTE, "{} MiB", grown / MEBIBYTE);
    // The instance as a whole: its middle frame, now that it is known how many there are.
    let sent = origin.bytes_out();
    assert_eq!(proxy.get(&format!("{IMAGE}/thumbnail")).await.status(), 200);
    let cost = origin.bytes_out() - sent - told;
    assert!(cost <= size * 11 / 10 + (64 << 10), "{cost} bytes for a frame of {size}");
    assert!(origin.received().iter().all(|request| request.path != IMAGE), "never the object");
}
