//! In front of a real server: what it keeps, and what happens when it is killed, stopped, full or emptied.
#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared_store::{Digest, Notice, Settings, Shared};
use support::{LONG, Server, connected, eventually, found, median_of_gets, patient};

const HOUR: Duration = Duration::from_secs(3600);
const GROUP: Digest = [1; 32];
const KEY: Digest = [2; 32];
const VALUE: Bytes = Bytes::from_static(b"made with much effort");

async fn put(shared: &Shared, group: u8, key: u8) {
    shared.put(&[group; 32], &[key; 32], VALUE, HOUR);
    assert!(shared.settled(LONG).await);
}

async fn get(shared: &Shared, group: u8, key: u8) -> Option<Bytes> {
    shared.get(&[group; 32], &[key; 32]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_puts_another_finds() {
    let Some(server) = Server::start("put and get", &[]) else { return };
    let one = connected(patient(&server.url())).await;
    let two = connected(patient(&server.url())).await;
    put(&one, 1, 2).await;
    assert_eq!(get(&two, 1, 2).await, Some(VALUE));
    assert_eq!(get(&two, 1, 3).await, None);
    assert_eq!(get(&two, 2, 2).await, None);
    let (of_one, of_two) = (one.snapshot(), two.snapshot());
    assert_eq!((of_one.puts, of_one.bytes_out), (1, VALUE.len() as u64));
    assert_eq!((of_two.hits, of_two.misses, of_two.bytes_in), (1, 2, VALUE.len() as u64));
    assert!(of_two.latency_count == 3 && of_two.latency_sum > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_any_size_up_to_the_largest_comes_back_whole() {
    let Some(server) = Server::start("sizes", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    for (key, size) in [0, 1, 1000, 1024 * 1024].into_iter().enumerate() {
        let value: Bytes = (0..size).map(|at: usize| (at % 251) as u8).collect();
        let key = [key as u8; 32];
        shared.put(&GROUP, &key, value.clone(), HOUR);
        assert!(shared.settled(LONG).await);
        assert_eq!(shared.get(&GROUP, &key).await, Some(value));
    }
    shared.put(&GROUP, &KEY, vec![0; 1024 * 1024 + 1].into(), HOUR);
    assert!(shared.settled(LONG).await);
    assert_eq!((shared.snapshot().puts, shared.snapshot().dropped), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_smaller_values_lets_larger_ones_be() {
    let Some(server) = Server::start("largest", &[]) else { return };
    let large = connected(patient(&server.url())).await;
    let small = connected(Settings { largest: 5, ..patient(&server.url()) }).await;
    put(&large, 1, 2).await;
    assert_eq!(get(&small, 1, 2).await, None);
    assert_eq!((small.snapshot().misses, small.snapshot().damaged), (1, 0));
    assert_eq!(get(&large, 1, 2).await, Some(VALUE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_gone_when_its_time_is_over_and_so_is_the_set_after_the_last() {
    let Some(server) = Server::start("TTL", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    shared.put(&GROUP, &[1; 32], VALUE, Duration::from_secs(4));
    shared.put(&GROUP, &[2; 32], VALUE, Duration::from_millis(1));
    assert!(shared.settled(LONG).await);
    assert!(get(&shared, 1, 1).await.is_some(), "the later and shorter did not cut the set's time");
    eventually("all is gone", || server.keys().is_empty()).await;
    assert_eq!(get(&shared, 1, 1).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_forgotten_is_gone_everywhere_and_others_are_told() {
    let Some(server) = Server::start("forget", &[]) else { return };
    let one = connected(patient(&server.url())).await;
    let two = connected(patient(&server.url())).await;
    let (mut told_one, mut told_two) = (one.forgotten(), two.forgotten());
    for key in 0..200 {
        one.put(&GROUP, &[key; 32], VALUE, HOUR);
    }
    put(&one, 7, 7).await;
    assert!(get(&two, 1, 199).await.is_some());
    two.forget(&GROUP);
    assert_eq!(get(&two, 1, 199).await, None, "at once for the node itself");
    assert!(two.settled(LONG).await);
    assert_eq!(get(&one, 1, 199).await, None);
    assert_eq!(get(&one, 7, 7).await, Some(VALUE));
    assert_eq!(server.keys().len(), 2, "the value of the other group, and its set");
    let told = tokio::time::timeout(LONG, told_one.recv()).await.unwrap();
    assert_eq!(told, Ok(Notice::Forgotten(GROUP)));
    one.forget(&[8; 32]);
    let told = tokio::time::timeout(LONG, told_two.recv()).await.unwrap();
    assert_eq!(told, Ok(Notice::Forgotten([8; 32])), "its own is not among them");
    assert_eq!((one.snapshot().heard, two.snapshot().heard), (1, 1));
    // What is put afterwards is a value again.
    put(&one, 1, 1).await;
    assert_eq!(get(&two, 1, 1).await, Some(VALUE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_removed_alone() {
    let Some(server) = Server::start("remove", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    put(&shared, 1, 1).await;
    put(&shared, 1, 2).await;
    shared.remove(&GROUP, &[1; 32]);
    assert!(shared.settled(LONG).await);
    assert_eq!(get(&shared, 1, 1).await, None);
    assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_group_does_not_list_is_not_believed() {
    let Some(server) = Server::start("evicted set", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    put(&shared, 1, 2).await;
    server.run(&["DEL", &server.key_of("set")]);
    assert_eq!(get(&shared, 1, 2).await, None);
    put(&shared, 1, 2).await;
    assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_under_our_names_is_removed_and_the_place_is_free() {
    let Some(server) = Server::start("damage", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    put(&shared, 1, 2).await;
    let (value, set) = (server.key_of("string"), server.key_of("set"));
    let damages: [&[&[&str]]; 5] = [
        &[&["SET", &value, "not what we wrote"]],
        &[&["SETRANGE", &value, "30", "x"]],
        &[&["APPEND", &value, "x"]],
        &[&["DEL", &value], &["LPUSH", &value, "a list"]],
        &[&["SET", &set, "no set"]],
    ];
    for (at, damage) in damages.iter().enumerate() {
        damage.iter().for_each(|command| drop(server.run(command)));
        assert_eq!(get(&shared, 1, 2).await, None, "{damage:?}");
        assert_eq!(shared.snapshot().damaged, at as u64 + 1, "{damage:?}");
        assert!(shared.settled(LONG).await);
        assert!(server.keys().is_empty(), "{damage:?}");
        put(&shared, 1, 2).await;
        found(&shared, 1, 2).await;
    }
    // A put finds it as well.
    server.run(&["SET", &set, "no set"]);
    put(&shared, 1, 3).await;
    put(&shared, 1, 3).await;
    found(&shared, 1, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_salt_is_something_else_nothing_is_done_until_that_is_gone() {
    let Some(server) = Server::start("salt", &[]) else { return };
    for nonsense in [["LPUSH", "lightbox:salt", "x"], ["SET", "lightbox:salt", "too short"]] {
        server.run(&nonsense);
        let shared = Shared::open(patient(&server.url())).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(get(&shared, 1, 2).await, None);
        assert_eq!((shared.snapshot().connections, shared.snapshot().skipped), (0, 1));
        server.run(&["DEL", "lightbox:salt"]);
        eventually("it is connected", || shared.snapshot().connected).await;
        put(&shared, 1, 2).await;
        assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
    }
}

// In one thread: what is logged is caught in this one.
#[tokio::test]
async fn it_is_logged_once_that_it_is_lost_and_once_that_it_is_back_without_the_password() {
    let options = ["--requirepass", "hunter2"];
    let Some(mut server) = Server::start("log", &options) else { return };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let _caught = tracing::subscriber::set_default(subscriber);
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    let shared = connected(patient(&url)).await;
    put(&shared, 1, 2).await;
    server.kill();
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.restart();
    eventually("it is back", || shared.snapshot().connected).await;
    let wrong = Shared::open(patient(&url.replace("hunter2", "hunter3"))).unwrap();
    eventually("the wrong password is told", || log.said().contains("authentication failed")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(wrong);
    let said = log.said();
    println!("{said}");
    let count = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("WARN"), count("out of reach"), count("within reach again")), (2, 2, 1));
    assert!(!said.contains("hunter") && !said.contains("lightbox:"));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn said(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_where_there_is_one() {
    let Some(server) = Server::start("password", &["--requirepass", "hunter2"]) else { return };
    let with = |password: &str| patient(&format!("redis://{password}127.0.0.1:{}/3", server.port));
    let shared = connected(with(":hunter2@")).await;
    put(&shared, 1, 2).await;
    assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
    let (without, wrong) = (Shared::open(with("")).unwrap(), Shared::open(with(":no@")).unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    for refused in [without, wrong] {
        assert_eq!(get(&refused, 1, 2).await, None);
        assert_eq!((refused.snapshot().connections, refused.snapshot().skipped), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_as_good_as_a_port() {
    let Some(server) = Server::start("unix socket", &["--unixsocket", "redis.sock"]) else {
        return;
    };
    let path = server.folder.path().join("redis.sock");
    for scheme in ["unix", "redis+unix"] {
        let shared = connected(patient(&format!("{scheme}://{}", path.display()))).await;
        put(&shared, 1, 2).await;
        assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_a_server_whose_certificate_is_trusted() {
    let certificates = tempfile::tempdir().unwrap();
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), own.cert.pem()).unwrap();
    std::fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
    let port = support::closed_port();
    let options = [
        ["--tls-port", &port.to_string()],
        ["--tls-cert-file", &path("cert")],
        ["--tls-key-file", &path("key")],
        ["--tls-ca-cert-file", &path("cert")],
        ["--tls-auth-clients", "no"],
    ];
    let Some(_server) = Server::start("TLS", &options.concat()) else { return };
    let settings = patient(&format!("rediss://localhost:{port}"));
    let trusting = Settings { ca: Some(path("cert").into()), ..settings.clone() };
    let shared = connected(trusting).await;
    put(&shared, 1, 2).await;
    assert_eq!(get(&shared, 1, 2).await, Some(VALUE));
    let wary = Shared::open(settings).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(wary.snapshot().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_costs_little_and_is_used_again_when_it_is_back() {
    let Some(mut server) = Server::start("kill", &[]) else { return };
    let shared = connected(Settings::new(server.url())).await;
    let mut told = shared.forgotten();
    let is_over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> =
        (0..8).map(|key| tokio::spawn(load(shared.clone(), key, is_over.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    eventually("it is known to be lost", || !shared.snapshot().connected).await;
    let median = median_of_gets(&shared, 100).await;
    assert!(median < Duration::from_millis(20), "{median:?}");
    server.restart();
    eventually("it is back", || shared.snapshot().connected).await;
    let hits = shared.snapshot().hits;
    eventually("there are hits again", || shared.snapshot().hits > hits + 20).await;
    is_over.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no panic");
    }
    assert_eq!(told.try_recv(), Ok(Notice::Missed));
}

async fn load(shared: Shared, key: u8, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        shared.put(&GROUP, &[key; 32], VALUE, HOUR);
        get(&shared, 1, key).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_costs_its_patience_thrice_and_then_nothing() {
    let Some(server) = Server::start("stop", &[]) else { return };
    let shared = connected(Settings::new(server.url())).await;
    put(&shared, 1, 2).await;
    server.signal("STOP");
    let began = Instant::now();
    let median = median_of_gets(&shared, 200).await;
    let stopped = shared.snapshot();
    println!("stopped: median {median:?}, {stopped:?} in {:?}", began.elapsed());
    assert!(median < Duration::from_millis(20), "{median:?}");
    assert!(stopped.skipped > 100 && stopped.late >= 3, "{stopped:?}");
    eventually("the silence is noticed", || !shared.snapshot().connected).await;
    server.signal("CONT");
    found(&shared, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_while_the_server_is_stopped_is_forgotten_when_it_wakes() {
    let Some(server) = Server::start("forget later", &[]) else { return };
    let one = connected(patient(&server.url())).await;
    let two = connected(patient(&server.url())).await;
    let mut told = two.forgotten();
    put(&one, 1, 2).await;
    server.signal("STOP");
    let many = 2000;
    (0..many).for_each(|_| one.put(&[5; 32], &KEY, VALUE, HOUR));
    one.forget(&GROUP);
    assert!(one.snapshot().dropped > 0, "more than may wait");
    assert!(!one.settled(Duration::from_millis(100)).await);
    server.signal("CONT");
    assert!(one.settled(LONG).await);
    assert_eq!((one.snapshot().removals, one.snapshot().removals_lost), (1, 0));
    assert_eq!(get(&one, 1, 2).await, None);
    let heard = tokio::time::timeout(LONG, told.recv()).await.unwrap().unwrap();
    // `Missed` where its own connection was given up in the meantime.
    assert!(matches!(heard, Notice::Forgotten(GROUP) | Notice::Missed), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_takes_nothing_and_gives_what_it_has() {
    let Some(server) = Server::start("maxmemory", &["--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let shared = connected(patient(&server.url())).await;
    put(&shared, 1, 2).await;
    server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    for key in 0..50 {
        put(&shared, 1, 100 + key).await;
    }
    assert_eq!((shared.snapshot().puts, shared.snapshot().dropped), (1, 50));
    found(&shared, 1, 2).await;
    assert!(shared.snapshot().failed == 0 && shared.snapshot().connected);
    // Another node finds the salt, though it could not leave one.
    let other = connected(patient(&server.url())).await;
    found(&other, 1, 2).await;
    shared.forget(&GROUP);
    assert!(shared.settled(LONG).await);
    assert_eq!(get(&other, 1, 2).await, None);
    server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let began = Instant::now();
    while get(&shared, 1, 7).await.is_none() {
        assert!(began.elapsed() < LONG);
        put(&shared, 1, 7).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_is_flushed_nodes_agree_on_a_new_salt() {
    let Some(server) = Server::start("FLUSHALL", &[]) else { return };
    let one = connected(patient(&server.url())).await;
    let two = connected(patient(&server.url())).await;
    put(&one, 1, 2).await;
    let before = server.key_of("string");
    server.run(&["FLUSHALL"]);
    // The first to look makes a new salt; from its message the other learns that it is time to look.
    eventually("one has looked", || {
        one.snapshot().connections + two.snapshot().connections >= 3
            && one.snapshot().connected
            && two.snapshot().connected
    })
    .await;
    one.forget(&[8; 32]);
    two.forget(&[8; 32]);
    eventually("both have looked", || {
        one.snapshot().connections >= 2 && two.snapshot().connections >= 2
    })
    .await;
    eventually("both are back", || one.snapshot().connected && two.snapshot().connected).await;
    put(&one, 1, 2).await;
    assert_eq!(get(&two, 1, 2).await, Some(VALUE));
    assert_ne!(server.key_of("string"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_get_takes() {
    let Some(server) = Server::start("latency", &[]) else { return };
    let shared = connected(patient(&server.url())).await;
    for size in [1000, 20_000, 200_000, 1_000_000] {
        shared.put(&GROUP, &KEY, vec![7; size].into(), HOUR);
        assert!(shared.settled(LONG).await);
        let mut times = Vec::new();
        for _ in 0..300 {
            let began = Instant::now();
            assert!(shared.get(&GROUP, &KEY).await.is_some());
            times.push(began.elapsed());
        }
        times.sort();
        println!(
            "one after the other, {size} bytes: median {:?}, 99 % {:?}",
            times[150], times[297]
        );
        assert!(times[150] < Duration::from_millis(100));
    }
    shared.put(&GROUP, &KEY, vec![7; 20_000].into(), HOUR);
    assert!(shared.settled(LONG).await);
    let began = Instant::now();
    let at_once = (0..32).map(|_| async {
        for _ in 0..100 {
            assert!(shared.get(&GROUP, &KEY).await.is_some());
        }
    });
    futures_util::future::join_all(at_once).await;
    let seen = shared.snapshot();
    println!("32 at once, 20000 bytes: {:.0} a second", 3200.0 / began.elapsed().as_secs_f64());
    println!("all: mean {:?}", seen.latency_sum / seen.latency_count as u32);
}
