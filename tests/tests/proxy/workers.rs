//! Workers that break, hang or are ended: what that costs, and what it does not.

#![cfg(target_os = "linux")]
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lightbox_tests::{Fault, Proxy, Reply, ScriptedOrigin, TestImage};

/// Workers beside the one for small pictures.
const WORKERS: usize = 2;

const IN_FLIGHT: u32 = 100;

/// One of many images: a ramp, or one that does something to its worker.
fn image(number: u32, fault: Option<Fault>) -> TestImage {
    let mut image = TestImage::ramp(16, 16);
    image.path.instance = format!("2.25.1001.2.{number}").parse().unwrap();
    if let Some(fault) = fault {
        image.pixels[..8].copy_from_slice(fault.mark());
    }
    image
}

fn thumbnail(number: u32) -> String {
    format!("{}/thumbnail", image(number, None).url_path())
}

/// Images with these numbers, in front of which the workers of tests draw.
async fn started(
    images: &[(u32, Option<Fault>)],
    keys: &[(&str, &str)],
) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    for &(number, fault) in images {
        image(number, fault).put_on(&origin);
    }
    let worker = env!("CARGO_BIN_EXE_faulty-worker");
    let own = [
        ("render_worker", worker),
        ("render_workers", "2"),
        ("queue", "200"),
        // Nobody has to be shown by the archive first.
        ("upstream_credentials", "none"),
    ];
    let proxy = Proxy::start_with(&origin.url(), &[&own, keys].concat()).await;
    within(Duration::from_secs(10), "the workers are there", || is_whole(&proxy)).await;
    (origin, proxy)
}

fn is_whole(proxy: &Proxy) -> bool {
    proxy.children().len() == WORKERS + 1
}

async fn within(time: Duration, what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < time, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} was sent");
}

fn problem(reply: &Reply) -> serde_json::Value {
    assert_eq!(reply.header("content-type"), "application/problem+json", "{}", reply.text());
    for secret in ["2.25.1001", "Doe", "Jane"] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_breaks_costs_its_own_request_alone() {
    for fault in Fault::DEADLY {
        let poison = 50;
        let images: Vec<_> = (1..=IN_FLIGHT).map(|n| (n, (n == poison).then_some(fault))).collect();
        let (origin, proxy) = started(&images, &[("request_timeout", "4s")]).await;
        let began = Instant::now();
        let asked = (1..=IN_FLIGHT).map(|n| {
            let proxy = &proxy;
            async move { (n, proxy.get(&thumbnail(n)).await, began.elapsed()) }
        });
        let mut lost_at = None;
        for (n, reply, took) in join_all(asked).await {
            if n != poison {
                assert_eq!(reply.status(), 200, "{fault:?}, {n}: {}", reply.text());
                continue;
            }
            assert_eq!(reply.status(), 500, "{fault:?}: {}", reply.text());
            assert_eq!(problem(&reply)["stage"], "decode", "{fault:?}");
            assert!(took < Duration::from_secs(4), "{fault:?} after {took:?}");
            lost_at = Some(began + took);
        }
        let lost_at = lost_at.unwrap();
        within(Duration::from_secs(1), "the pool is whole", || is_whole(&proxy)).await;
        assert!(lost_at.elapsed() < Duration::from_secs(5), "{fault:?}");
        assert_eq!(proxy.metric("lightbox_worker_restarts_total").await, 1.0, "{fault:?}");
        assert_eq!(proxy.metric("lightbox_pictures_total{outcome=\"worker_lost\"}").await, 1.0);

        // It is known now: nothing is fetched, no worker sees it, whoever asks and for whatever.
        let asked_before = origin.requests();
        for resource in ["thumbnail", "rendered", "frames/1/rendered", "frames/1/thumbnail"] {
            let path = format!("{}/{resource}", image(poison, None).url_path());
            let reply = proxy.get(&path).await;
            assert_eq!(reply.status(), 500, "{fault:?} {resource}: {}", reply.text());
            assert!(reply.text().contains("not long ago"), "{}", reply.text());
            problem(&reply);
        }
        assert_eq!(origin.requests(), asked_before, "{fault:?}");
        assert_eq!(proxy.metric("lightbox_worker_restarts_total").await, 1.0, "{fault:?}");
        assert_eq!(proxy.get(&thumbnail(1)).await.status(), 200, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_ended_from_outside_are_begun_again() {
    let (_origin, proxy) = started(&[(1, None), (2, None)], &[]).await;
    let before = proxy.children();
    for &pid in &before {
        signal(pid, "KILL");
    }
    // Asked at once, when nobody can have noticed yet.
    let replies = join_all([1, 2].map(|n| proxy.get(&*thumbnail(n).leak()))).await;
    for reply in replies {
        assert_eq!(reply.status(), 200, "{}", reply.text());
    }
    let is_new = || proxy.children().iter().all(|pid| !before.contains(pid)) && is_whole(&proxy);
    within(Duration::from_secs(2), "the workers are new", is_new).await;
    assert_eq!(proxy.metric("lightbox_pictures_total{outcome=\"worker_lost\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_given_up_and_so_is_no_other() {
    let (_origin, proxy) =
        started(&[(1, None), (2, None), (3, None)], &[("request_timeout", "2s")]).await;
    let all = proxy.children();
    for &pid in &all {
        signal(pid, "STOP");
    }
    let began = Instant::now();
    let reply = proxy.get(&thumbnail(1)).await;
    assert_eq!(reply.status(), 500, "{}", reply.text());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    problem(&reply);
    // The two that had nothing to do stand still too; each is found out by what it is given.
    for &pid in &all {
        let _ = Command::new("kill").args(["-s", "CONT", &pid.to_string()]).output();
    }
    within(Duration::from_secs(1), "the pool is whole", || is_whole(&proxy)).await;
    assert_eq!(proxy.get(&thumbnail(2)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_inherit_nothing_and_may_do_little() {
    let (_origin, proxy) = started(&[(1, None)], &[("render_memory", "256MiB")]).await;
    assert_eq!(proxy.get(&thumbnail(1)).await.status(), 200);
    let mut bounded = 0;
    for pid in proxy.children() {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        assert_eq!(read("environ"), "", "no environment");
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
        let mut files: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            .map(|target| target.split(':').next().unwrap().trim_end_matches(" (deleted)").into())
            .collect();
        files.sort();
        files.dedup();
        assert_eq!(files, ["/dev/null", "/memfd", "socket"], "no inherited files");
        let limits = read("limits");
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(limit("Max core file size")[..2], ["0", "0"]);
        assert_eq!(limit("Max open files")[1], "64");
        let data: u64 = limit("Max data size")[1].parse().unwrap();
        assert!(data <= 512 << 20, "{data}");
        bounded += usize::from(limit("Max cpu time")[0] != "unlimited");
        assert!(read("status").contains("NoNewPrivs:\t1"));
    }
    assert_eq!(bounded, 1, "processor time is bounded by the task, of which there was one");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_drawn_for_who_has_left() {
    let images: Vec<_> = (1..=20).map(|n| (n, (n <= 3).then_some(Fault::Nap))).collect();
    let (_origin, proxy) = started(&images, &[]).await;
    let naps = join_all((1..=3).map(|n| proxy.get(&*thumbnail(n).leak())));
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // They wait behind the naps, and leave before these end.
        let leaving = (4..=20).map(|n| {
            let request = proxy.request(http::Method::GET, &thumbnail(n), &[]).send();
            tokio::time::timeout(Duration::from_millis(500), request)
        });
        let left = join_all(leaving).await;
        assert!(left.iter().all(Result::is_err), "all of them left");
    };
    let (naps, ()) = tokio::join!(naps, others);
    assert!(naps.iter().all(|reply| reply.status() == 200));
    assert_eq!(proxy.metric("lightbox_queue_depth").await, 0.0);
    assert_eq!(proxy.metric("lightbox_pictures_total{outcome=\"drawn\"}").await, 3.0);
    assert_eq!(proxy.metric("lightbox_pictures_total{outcome=\"late\"}").await, 17.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_there_is_503_at_once() {
    let images: Vec<_> = (1..=12).map(|n| (n, Some(Fault::Nap))).collect();
    let (_origin, proxy) = started(&images, &[("queue", "4")]).await;
    let asked = (1..=12).map(|n| {
        let proxy = &proxy;
        async move {
            let began = Instant::now();
            (proxy.get(&thumbnail(n)).await, began.elapsed())
        }
    });
    let replies = join_all(asked).await;
    let refused: Vec<_> = replies.iter().filter(|(reply, _)| reply.status() == 503).collect();
    assert_eq!(refused.len(), 12 - 4 - WORKERS);
    for (reply, took) in refused {
        assert!(!reply.header("retry-after").is_empty());
        assert_eq!(problem(reply)["stage"], "queue");
        assert!(*took < Duration::from_secs(1), "{took:?}");
    }
    let drawn = replies.iter().filter(|(reply, _)| reply.status() == 200).count();
    assert_eq!(drawn, 4 + WORKERS);
    assert_eq!(proxy.metric("lightbox_requests_rejected_total").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_draw_the_same_pictures() {
    let (origin, processes) = started(&[(1, None)], &[]).await;
    let threads = Proxy::start_with(&origin.url(), &[("isolation", "thread")]).await;
    assert!(threads.children().is_empty());
    for resource in ["thumbnail", "rendered", "frames/1/rendered?accept=image/png"] {
        let path = format!("{}/{resource}", image(1, None).url_path());
        let (theirs, ours) = tokio::join!(processes.get(&path), threads.get(&path));
        assert_eq!((theirs.status(), ours.status()), (200, 200), "{resource}");
        assert_eq!(theirs.body, ours.body, "{resource}");
    }
    assert_eq!(threads.metric("lightbox_pictures_total{outcome=\"drawn\"}").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_end_with_their_server_however_that_ends() {
    for name in ["KILL", "TERM"] {
        let (_origin, mut proxy) = started(&[(1, None)], &[]).await;
        let workers = proxy.children();
        proxy.signal(name);
        proxy.ended(Duration::from_secs(5)).await;
        let are_gone = || {
            workers.iter().all(|pid| {
                // What nobody waits for any more is a zombie, which holds nothing.
                let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
                status.map_or(true, |status| status.contains("State:\tZ"))
            })
        };
        within(Duration::from_secs(2), name, are_gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_started_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = "admin_listen = \"127.0.0.1:0\"\nrender_worker = \"/nowhere/worker\"\n";
    std::fs::write(folder.path().join("c.toml"), file).unwrap();
    let upstream = "http://127.0.0.1:9";
    let words = ["serve", "--upstream", upstream, "--listen", "127.0.0.1:0", "--config", "c.toml"];
    let run = lightbox_tests::lightbox(folder.path(), &words);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("cannot start a worker"), "{}", run.stderr);
}
