//! `lightbox warm`: what a proxy has after it, what it costs when it is begun again, and what it says where
//! it cannot work.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lightbox_tests::{
    Answer, Archive, EXPLICIT_LITTLE_ENDIAN, Finished, Keeper, Object, Place, Proxy,
    ScriptedOrigin, closed_port, ct, lightbox, lightbox_binary, places,
};

/// What stands for a series is not looked up again within a test.
const FOR_LONG: (&str, &str) = ("index_ttl", "1h");

const MEMORY_ONLY: [(&str, &str); 3] = [("cache_disk", "off"), ("cache_memory", "64MB"), FOR_LONG];

/// Runs it to its end, while what it talks to runs on.
async fn warm(proxy: &str, arguments: &[&str]) -> Finished {
    let arguments: Vec<String> =
        ["warm", "--proxy", proxy].iter().chain(arguments).map(ToString::to_string).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        lightbox(&std::env::temp_dir(), &arguments)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Begins it, to be ended by the test.
fn begin(proxy: &str, arguments: &[&str]) -> Child {
    Command::new(lightbox_binary())
        .args(["warm", "--proxy", proxy])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn drawn(proxy: &Proxy) -> f64 {
    proxy.metric("lightbox_pictures_total{outcome=\"drawn\"}").await
}

async fn at_rest(proxy: &Proxy) {
    for _ in 0..500 {
        if proxy.metric("lightbox_requests_in_progress").await == 0.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still at work after 10 s");
}

async fn is_there(proxy: &Proxy, path: &str) -> bool {
    let reply = proxy.get_with(path, &[("accept", "image/jpeg")]).await;
    reply.status() == 200 && reply.header("cache-status").starts_with("lightbox; hit")
}

fn thumbnail_paths(places: &[Place]) -> Vec<String> {
    let mut paths: Vec<String> =
        places.iter().flat_map(|p| [p.study_path(), p.series_path()]).collect();
    paths.sort();
    paths.dedup();
    paths.iter().map(|path| format!("{path}/thumbnail")).collect()
}

// What there is afterwards -------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn every_study_and_series_has_its_thumbnail_and_a_second_run_costs_nothing() {
    let mut archive = Archive::of_ct(1, 3, 2).await;
    archive.put("other.dcm", &ct(&Place::new(2, 1, 1), 0)).await;
    // What a viewer opens is looked after by the proxy itself: this is no viewer.
    let proxy = Keeper::new(&[&MEMORY_ONLY[..], &[("warm_up", "true")]].concat());
    let proxy = proxy.start(&archive.url()).await;
    let done = warm(&proxy.url(), &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("6 thumbnails in "), "{}", done.stderr);
    let pixels = archive.pixel_calls();
    assert!((1..=4).contains(&pixels), "{pixels}");
    for path in thumbnail_paths(&[places(1, 3, 1), places(2, 1, 1)].concat()) {
        assert!(is_there(&proxy, &path).await, "{path}");
    }
    // One picture for each series; a study is shown by one of them.
    let pictures = drawn(&proxy).await;
    assert_eq!(pictures, 4.0);
    let again = warm(&proxy.url(), &["--jobs", "8"]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains(": 6 there already\n"), "{}", again.stderr);
    assert_eq!((archive.pixel_calls(), drawn(&proxy).await), (pixels, pictures));
    assert_eq!(proxy.metric("lightbox_warm_up_pictures_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_changed_is_looked_up_again_and_not_fetched() {
    let archive = Archive::of_ct(1, 2, 1).await;
    let proxy = Keeper::new(&[&MEMORY_ONLY[..2], &[("index_ttl", "1ms")]].concat());
    let proxy = proxy.start(&archive.url()).await;
    assert_eq!(warm(&proxy.url(), &[]).await.code, Some(0));
    let before = (archive.pixel_calls(), drawn(&proxy).await);
    // Ages are whole seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = warm(&proxy.url(), &[]).await;
    assert!(again.stderr.contains(": 3 renewed\n"), "{}", again.stderr);
    assert_eq!((archive.pixel_calls(), drawn(&proxy).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_forms_and_types_are_those_asked_for() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let only = warm(&proxy.url(), &["--level", "study"]).await;
    assert!(only.stderr.starts_with("1 thumbnails in "), "{}", only.stderr);
    assert!(only.stderr.contains(": 1 made\n"), "{}", only.stderr);
    let arguments = ["--level", "instance", "--query", "viewport=32,32", "--query"];
    let more = ["viewport=20,20&quality=50", "--accept", "image/png", "--rate", "500/s"];
    let done = warm(&proxy.url(), &[&arguments[..], &more[..]].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("18 thumbnails in "), "{}", done.stderr);
    let images = places(1, 2, 3);
    let instances = images.iter().map(|place| format!("{}/thumbnail", place.path()));
    for path in thumbnail_paths(&images).into_iter().chain(instances) {
        for query in ["viewport=32,32", "viewport=20,20&quality=50"] {
            let path = format!("{path}?{query}");
            let reply = proxy.get_with(&path, &[("accept", "image/png")]).await;
            assert!(reply.header("cache-status").starts_with("lightbox; hit"), "{path}");
            assert_eq!(reply.header("content-type"), "image/png");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_studies_that_are_named_or_of_late() {
    let mut archive = Archive::of_ct(1, 1, 1).await;
    archive.put("two.dcm", &ct(&Place::new(2, 1, 1), 0)).await;
    let old = Object::new(&Place::new(3, 1, 1), "1.2.840.10008.5.1.4.1.1.2", "CT")
        .text(0x0008_0020, "DA", "20250101")
        .matrix(4, 4, "MONOCHROME2")
        .pixels(&[0; 16])
        .file(EXPLICIT_LITTLE_ENDIAN);
    archive.put("old.dcm", &old).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    for (arguments, made) in [
        (&["--study", "2.25.2"][..], 2),
        (&["--since", "2026-06-02"], 0),
        (&["--since", "20260601"], 4),
        (&["--since", "2025-01-01"], 6),
        (&["--study", "2.25.1", "--study", "2.25.3"], 4),
    ] {
        let done = warm(&proxy.url(), arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?} {}", done.stderr);
        let expected = format!("{made} thumbnails in ");
        assert!(done.stderr.starts_with(&expected), "{arguments:?} {}", done.stderr);
    }
    // None is asked of a study that is not meant.
    assert!(archive.between().received().iter().any(|call| {
        call.query.as_deref().is_some_and(|query| query.contains("StudyDate=20260602-"))
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_path_and_many_pages_of_studies_are_followed() {
    let files: Vec<(String, Vec<u8>)> =
        (1..=25).map(|n| (format!("{n}.dcm"), ct(&Place::new(n, 1, 1), 0))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, f)| (n.as_str(), f.clone())).collect();
    let archive = Archive::of(&files).await;
    archive.between().limit_lists(10);
    let keys = [&MEMORY_ONLY[..], &[("base_path", "/dicom-web")]].concat();
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let done = warm(&format!("{}/dicom-web/", proxy.url()), &["--level", "study"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains(": 25 made\n"), "{}", done.stderr);
    let wrong = warm(&proxy.url(), &[]).await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("list of studies: 404"), "{}", wrong.stderr);
}

// Ended, and begun again ---------------------------------------------------------------------------

/// How often the pixels of each instance were asked for.
fn fetches(archive: &Archive) -> BTreeMap<String, usize> {
    let mut fetches = BTreeMap::new();
    for call in archive.between().received() {
        let Some((_, below)) = call.path.split_once("/instances/") else { continue };
        let instance = match below.split_once('/') {
            None => below,
            Some((instance, rest)) if rest.starts_with("frames/") => instance,
            Some(_) => continue,
        };
        *fetches.entry(instance.to_owned()).or_default() += 1;
    }
    fetches
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_instances_are_all_there_after_a_kill_and_none_was_fetched_twice() {
    let archive = Archive::of_ct(1, 20, 100).await;
    let keeper = Keeper::new(&[("cache_memory", "64MB"), ("cache_disk", "256MB"), FOR_LONG]);
    let proxy = keeper.start(&archive.url()).await;
    let arguments = ["--level", "instance", "--jobs", "4"];
    let start = Instant::now();
    let mut first = begin(&proxy.url(), &arguments);
    while fetches(&archive).len() < 1000 {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(start.elapsed() < Duration::from_secs(120), "{}", fetches(&archive).len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // SIGKILL, to this process alone.
    first.kill().unwrap();
    first.wait().unwrap();
    at_rest(&proxy).await;
    let (half, killed) = (fetches(&archive).len(), start.elapsed());
    assert!((1000..1900).contains(&half), "{half}");

    let start = Instant::now();
    let again = warm(&proxy.url(), &arguments).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let second = start.elapsed();
    let fetched = fetches(&archive);
    assert_eq!(fetched.len(), 2000);
    let twice: Vec<_> = fetched.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(drawn(&proxy).await, 2000.0);

    let start = Instant::now();
    let third = warm(&proxy.url(), &arguments).await;
    assert_eq!(third.code, Some(0), "{}", third.stderr);
    assert!(third.stderr.contains("2021 thumbnails in "), "{}", third.stderr);
    assert!(third.stderr.contains(": 2021 there already\n"), "{}", third.stderr);
    assert_eq!((fetches(&archive).values().sum::<usize>(), drawn(&proxy).await), (2000, 2000.0));
    println!(
        "killed after {killed:.1?} with {half} fetched; the second run: {second:.1?}, {}; all there: {:.1?}",
        again.stderr.trim(),
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_with_what_was_done_so_far() {
    let proxy = scripted().await;
    let slow = "/studies/1.2.4/thumbnail";
    proxy.on(slow, |_| Answer::status(404).after(Duration::from_secs(30)));
    let running = begin(&proxy.url(), &["--jobs", "1"]);
    while !proxy.received().iter().any(|request| request.path == slow) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let start = Instant::now();
    let sent = Command::new("kill").args(["-s", "INT", &running.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let ended = tokio::task::spawn_blocking(|| running.wait_with_output()).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(": 1 made\n") && said.contains("started again"), "{said}");
}

// Where it cannot work -----------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_keeps_nothing_is_told_at_once() {
    let archive = Archive::of_ct(1, 5, 1).await;
    let off = [("cache_disk", "off"), ("cache_memory", "off")];
    let proxy = Keeper::new(&off).start(&archive.url()).await;
    let done = warm(&proxy.url(), &[]).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("keeps nothing"), "{}", done.stderr);
    assert!(done.stderr.contains("cache_memory"), "{}", done.stderr);
    assert!(archive.pixel_calls() <= 2, "{}", archive.pixel_calls());
    // An archive is no proxy.
    let origin = ScriptedOrigin::start().await;
    origin.on("/studies/1.2/thumbnail", |_| Answer::new(200, "image/jpeg", "JPEG"));
    let done = warm(&origin.url(), &["--study", "1.2", "--level", "study"]).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("Cache-Status"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_proxy_it_says_what_to_check() {
    let url = format!("http://127.0.0.1:{}", closed_port());
    for arguments in [&[][..], &["--study", "1.2"], &["--study", "1.2", "--level", "study"]] {
        let start = Instant::now();
        let done = warm(&url, arguments).await;
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(
            done.stderr.contains("cannot be reached") && done.stderr.contains("lightbox serve")
        );
        assert!(done.stderr.contains(&url), "{}", done.stderr);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

const STORED: &str = "lightbox; fwd=uri-miss; stored";

/// A proxy in name: two studies, without series.
async fn scripted() -> ScriptedOrigin {
    let proxy = ScriptedOrigin::start().await;
    proxy.on("/studies", |request| {
        let first = request.query.as_deref().unwrap_or_default().contains("offset=0");
        let uid = |uid| format!(r#"{{"0020000D": {{"vr": "UI", "Value": ["{uid}"]}}}}"#);
        let all = format!("[{}, {}]", uid("1.2.3"), uid("1.2.4"));
        Answer::json(if first { all } else { "[]".to_owned() })
    });
    for study in ["1.2.3", "1.2.4"] {
        proxy.on(&format!("/studies/{study}/series"), |_| Answer::json("[]"));
        proxy.on(&format!("/studies/{study}/thumbnail"), |_| {
            Answer::new(200, "image/jpeg", "JPEG").header("cache-status", STORED)
        });
    }
    proxy
}

fn problem(status: u16, detail: &str, stage: &str) -> Answer {
    let body = format!(r#"{{"status": {status}, "detail": "{detail}", "stage": "{stage}"}}"#);
    Answer::new(status, "application/problem+json", body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_busy_for_a_while_is_asked_again() {
    let proxy = scripted().await;
    let refusals = AtomicUsize::new(0);
    proxy.on("/studies/1.2.3/thumbnail", move |request| {
        assert_eq!(request.header("priority"), "u=7, i");
        match refusals.fetch_add(1, Ordering::SeqCst) {
            0 => problem(503, "no place", "queue").header("retry-after", "1"),
            1 => Answer::status(429).header("retry-after", "1"),
            _ => Answer::new(200, "image/jpeg", "JPEG").header("cache-status", STORED),
        }
    });
    let refusals = AtomicUsize::new(0);
    proxy.on("/studies/1.2.4/series", move |_| match refusals.fetch_add(1, Ordering::SeqCst) {
        0..3 => Answer::status(503).header("retry-after", "1"),
        _ => Answer::json("[]"),
    });
    let start = Instant::now();
    let done = warm(&proxy.url(), &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains(": 2 made\n"), "{}", done.stderr);
    assert!(start.elapsed() >= Duration::from_secs(3), "it waits as long as it is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_counted_by_kind_and_the_rest_is_made() {
    let proxy = scripted().await;
    let detail = "the pixel data of 1.2.840.1 cannot be decoded";
    proxy.on("/studies/1.2.3/thumbnail", move |_| problem(500, detail, "decode"));
    proxy.on("/studies/1.2.4/series", |_| Answer::status(404));
    let done = warm(&proxy.url(), &[]).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for said in [
        ": 1 made, 2 failed\n",
        "500 Internal Server Error (1):\n  the pixel data of … cannot be decoded\n",
        "list of series: 404 Not Found (1):\n",
        "lightbox: 2 requests failed",
    ] {
        assert!(done.stderr.contains(said), "{said} in {}", done.stderr);
    }
    assert!(!done.stderr.contains("1.2."), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_2() {
    for arguments in [
        &["--proxy", "nowhere"][..],
        &["--proxy", "ftp://127.0.0.1"],
        &["--proxy", "http://127.0.0.1/?a=b"],
        &["--study", "not a UID"],
        &["--since", "yesterday"],
        &["--since", "2026-02-30"],
        &["--since", "2026-01-01", "--study", "1.2"],
        &["--level", "frame"],
        &["--query", "?viewport=1,1"],
        &["--accept", "text/html"],
        &["--jobs", "0"],
        &["--rate", "fast"],
        &["1.2.3"],
    ] {
        let done = lightbox(&std::env::temp_dir(), &[&["warm"], arguments].concat());
        assert_eq!(done.code, Some(2), "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.is_empty());
    }
    // What only the proxy knows to be wrong is said after the first answer.
    let archive = Archive::of_ct(1, 3, 1).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    for arguments in [["--query", "viewport=none"], ["--accept", "image/tiff"]] {
        let done = warm(&proxy.url(), &arguments).await;
        assert_eq!(done.code, Some(2), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains("is refused"), "{}", done.stderr);
    }
    assert_eq!(archive.pixel_calls(), 0);
}
