//! Nodes that share what they draw by way of a real Redis: one fetch for all of them, what one forgets all
//! forget, and a Redis that is dead or silent costs nobody an answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use lightbox_tests::{
    Answer, Archive, Guard, Keeper, Place, Proxy, Reply, ScriptedOrigin, TestImage, client,
    closed_port, ct, eventually, lightbox_binary,
};

fn status(reply: &Reply) -> &str {
    reply.header("cache-status")
}

fn is_hit(reply: &Reply) -> bool {
    reply.status() == 200 && status(reply).starts_with("lightbox; hit")
}

// A Redis ------------------------------------------------------------------------------------------

/// A real server on a free loopback port; it ends with the value.
struct Redis {
    // Before the folder, so that it ends first.
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    /// Where it is not installed that is said aloud, and a failure with `./run test all`.
    fn start(part: &str) -> Option<Self> {
        for _ in 0..5 {
            let (folder, port) = (tempfile::tempdir().unwrap(), closed_port());
            let child = match spawned(port, folder.path()) {
                Ok(child) => child,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let all = std::env::var("LIGHTBOX_TEST").is_ok_and(|tests| tests == "all");
                    assert!(!all, "{part} cannot run: redis-server is not installed");
                    eprintln!("SKIPPED {part}: redis-server is not installed");
                    return None;
                }
                Err(error) => panic!("redis-server does not start: {error}"),
            };
            let mut redis = Self { child, port, folder };
            if redis.listens() {
                return Some(redis);
            }
        }
        panic!("no free port for redis-server")
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// `false` where it has ended, since somebody else took the port.
    fn listens(&mut self) -> bool {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(40), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        matches!(self.child.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawned(self.port, self.folder.path()).unwrap();
        assert!(self.listens());
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} was sent");
    }

    /// What comes back to commands, a line each, as it stands on the wire.
    fn said(&self, commands: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        said
    }

    /// All that is sent to it from now on.
    fn monitored(&self) -> Arc<Mutex<Vec<u8>>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut first = [0; 5];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"+OK\r\n");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        // It ends with the server.
        std::thread::spawn(move || {
            let mut piece = [0; 1 << 16];
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        seen
    }

    /// Everything in it, not compressed.
    fn dump(&self) -> Vec<u8> {
        let said = self.said("CONFIG SET rdbcompression no\r\nSAVE");
        assert!(said.starts_with(b"+OK\r\n+OK\r\n"), "{}", String::from_utf8_lossy(&said));
        std::fs::read(self.folder.path().join("dump.rdb")).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawned(port: u16, folder: &std::path::Path) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

// Nodes --------------------------------------------------------------------------------------------

struct Node {
    proxy: Proxy,
    _keeper: Keeper,
}

impl Node {
    /// With memory and a disk of its own, for everybody.
    async fn start(upstream: &str, redis: &Redis) -> Self {
        Self::with(upstream, redis, &[]).await
    }

    /// That asks the others each time.
    async fn without_own(upstream: &str, redis: &Redis) -> Self {
        Self::with(upstream, redis, &[("cache_memory", "off"), ("cache_disk", "off")]).await
    }

    async fn with(upstream: &str, redis: &Redis, keys: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let own = [("cache_shared", &*url), ("upstream_credentials", "none")];
        let keeper = Keeper::new(&[&own, keys].concat());
        let node = Self { proxy: keeper.start(upstream).await, _keeper: keeper };
        node.connected().await;
        node
    }

    async fn connected(&self) {
        eventually("it is connected", || async {
            self.proxy.metric("lightbox_cache_shared_connected").await == 1.0
        })
        .await;
    }

    async fn get(&self, path: &str) -> Reply {
        self.proxy.get(path).await
    }
}

async fn archive_of_studies(studies: u32) -> Archive {
    let files: Vec<(String, Vec<u8>)> = (1..=studies)
        .map(|study| Place::new(study, 1, 1))
        .map(|place| (place.instance_uid(), ct(&place, 0)))
        .collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    Archive::of(&named).await
}

/// Until one node shows what the other has drawn, without a call to the archive: each time of another
/// study. Where Redis is not at its quickest, an answer is late and the archive is asked: that is as it
/// should be, but not each time.
async fn shares(archive: &Archive, [a, b]: [&Node; 2], of: fn(&Place) -> String, from: u32) -> u32 {
    let mut seen = Vec::new();
    for study in from..from + 25 {
        let path = of(&Place::new(study, 1, 1));
        let first = a.get(&path).await;
        assert_eq!(first.status(), 200, "{path}: {}", first.text());
        // It is sent behind the answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let calls = archive.between().calls();
        let second = b.get(&path).await;
        assert_eq!((second.status(), &second.body), (200, &first.body), "{path}");
        for name in ["etag", "content-type", "content-location", "x-representative"] {
            assert_eq!(second.header(name), first.header(name), "{path}: {name}");
        }
        if status(&second).ends_with("detail=shared") {
            assert!(is_hit(&second), "{}", status(&second));
            assert_eq!(archive.between().calls(), calls, "{path}");
            return study + 1;
        }
        seen.push(status(&second).to_owned());
        // After several late answers Redis is left alone for a while.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("nothing is shared: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_drew_the_other_shows_without_a_call() {
    let Some(redis) = Redis::start("what nodes share") else { return };
    let archive = archive_of_studies(100).await;
    let a = Node::start(&archive.url(), &redis).await;
    let b = Node::start(&archive.url(), &redis).await;
    let kinds: [fn(&Place) -> String; 4] = [
        |place| format!("{}/thumbnail", place.path()),
        |place| format!("{}/thumbnail?viewport=33,33", place.series_path()),
        |place| format!("{}/thumbnail", place.study_path()),
        |place| format!("{}/rendered?accept=image/png&window=90,60,linear", place.path()),
    ];
    for (n, of) in (0_u32..).zip(kinds) {
        let both = if n % 2 == 0 { [&a, &b] } else { [&b, &a] };
        shares(&archive, both, of, n * 25 + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_kept_by_the_node_too() {
    let Some(redis) = Redis::start("what nodes keep of what they share") else { return };
    let archive = archive_of_studies(25).await;
    let a = Node::start(&archive.url(), &redis).await;
    let b = Node::start(&archive.url(), &redis).await;
    let of = |place: &Place| format!("{}/thumbnail", place.path());
    let study = shares(&archive, [&a, &b], of, 1).await - 1;
    redis.signal("STOP");
    let again = b.get(&of(&Place::new(study, 1, 1))).await;
    redis.signal("CONT");
    assert!(is_hit(&again) && status(&again).ends_with("detail=memory"), "{}", status(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_shown_to_whom_the_archive_shows_the_study() {
    let Some(redis) = Redis::start("what nodes share of what not all may see") else { return };
    let archive = archive_of_studies(25).await;
    let guard = Guard::default();
    archive.between().guarded_by(&guard);
    guard.allow_all("Bearer all");
    guard.allow("Bearer of-another", &[Place::new(77, 1, 1).study_uid()]);
    let callers = [("upstream_credentials", "caller")];
    let a = Node::with(&archive.url(), &redis, &callers).await;
    let b = Node::with(&archive.url(), &redis, &callers).await;
    let by = |credentials| [("authorization", credentials)];
    for study in 1..=25 {
        let path = format!("{}/thumbnail", Place::new(study, 1, 1).path());
        let first = a.proxy.get_with(&path, &by("Bearer all")).await;
        assert_eq!(first.status(), 200, "{}", first.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (credentials, refusal) in
            [("Bearer of-another", 404), ("Bearer nobody", 403), ("", 401)]
        {
            let refused = b.proxy.get_with(&path, &by(credentials)).await;
            assert_eq!(refused.status(), refusal, "{credentials}: {}", status(&refused));
        }
        let calls = archive.between().calls();
        let second = b.proxy.get_with(&path, &by("Bearer all")).await;
        assert_eq!((second.status(), &second.body), (200, &first.body));
        // As it was looked up for those who were refused.
        if is_hit(&second) {
            assert_eq!(archive.between().calls(), calls + 1, "it is asked who may see the study");
            b.proxy.get_with(&path, &by("Bearer all")).await;
            assert_eq!(archive.between().calls(), calls + 1, "and is so once");
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("nothing is shared");
}

// Forgotten ----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_sees_deleted_no_other_shows_any_more() {
    let Some(redis) = Redis::start("what nodes forget") else { return };
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(32, 32);
    image.put_on(&origin);
    let study = format!("/studies/{}", image.path.study);
    origin.on(&study, |_| Answer::status(204));
    let a = Node::start(&origin.url(), &redis).await;
    let b = Node::start(&origin.url(), &redis).await;
    let c = Node::without_own(&origin.url(), &redis).await;
    let path = format!("{}/thumbnail", image.url_path());
    for node in [&a, &b, &c] {
        assert_eq!(node.get(&path).await.status(), 200);
    }
    for node in [&a, &b] {
        assert!(is_hit(&node.get(&path).await));
    }
    for below in ["", "/metadata", "/frames/1"] {
        let path = format!("{}{below}", image.url_path());
        origin.on(&path, |_| Answer::status(404));
    }
    assert_eq!(a.proxy.send(Method::DELETE, &study, &[]).await.status(), 204);
    for node in [&a, &b, &c] {
        eventually("it is not shown", || async { node.get(&path).await.status() == 404 }).await;
    }
    no_uid_in(&[a, b, c]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_through_one_node_the_other_shows_anew() {
    let Some(redis) = Redis::start("what nodes learn of each other") else { return };
    let origin = ScriptedOrigin::start().await;
    let mut image = TestImage::ramp(32, 32);
    image.put_on(&origin);
    let study = format!("/studies/{}", image.path.study);
    let stored = format!(r#"{{"00081190":{{"vr":"UR","Value":["http://x{study}"]}}}}"#);
    origin.on("/studies", move |_| Answer::json(stored.clone()));
    let a = Node::start(&origin.url(), &redis).await;
    let b = Node::start(&origin.url(), &redis).await;
    let path = format!("{}/thumbnail", image.url_path());
    let before = b.get(&path).await;
    assert!(is_hit(&b.get(&path).await));
    image.pixels.reverse();
    image.put_on(&origin);
    let sent = a.proxy.request(Method::POST, "/studies", &[]).body("object").send().await.unwrap();
    assert_eq!(Reply::read(sent).await.status(), 200);
    assert_ne!(a.get(&path).await.body, before.body);
    eventually("the new one is shown", || async { b.get(&path).await.body != before.body }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_at_one_node_the_other_fetches_anew() {
    let Some(redis) = Redis::start("what is purged at nodes") else { return };
    let archive = archive_of_studies(2).await;
    let a = Node::start(&archive.url(), &redis).await;
    let b = Node::start(&archive.url(), &redis).await;
    let [purged, other] = [1, 2].map(|study| Place::new(study, 1, 1));
    for place in [&purged, &other] {
        let path = format!("{}/thumbnail", place.path());
        for node in [&a, &b, &a, &b] {
            assert_eq!(node.get(&path).await.status(), 200);
        }
    }
    let path = format!("{}/thumbnail", purged.path());
    let calls = archive.between().calls();
    assert!(is_hit(&b.get(&path).await));
    assert_eq!(archive.between().calls(), calls);
    let purge = format!("{}/cache/studies/{}", a.proxy.admin_url(), purged.study_uid());
    assert_eq!(client().delete(purge).send().await.unwrap().status(), 204);
    eventually("it is fetched anew", || async {
        b.get(&path).await;
        archive.between().calls() > calls
    })
    .await;
    let calls = archive.between().calls();
    assert!(is_hit(&b.get(&format!("{}/thumbnail", other.path())).await));
    assert_eq!(archive.between().calls(), calls);
    no_uid_in(&[a, b]);
}

// Without Redis ------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_and_comes_back_costs_no_answer() {
    let Some(mut redis) = Redis::start("a Redis that dies") else { return };
    let archive = archive_of_studies(80).await;
    let a = Arc::new(Node::start(&archive.url(), &redis).await);
    let b = Arc::new(Node::without_own(&archive.url(), &redis).await);
    let over = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..6_u32)
        .map(|asker| {
            let (node, over) = (if asker % 2 == 0 { &a } else { &b }.clone(), over.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while !over.load(Relaxed) {
                    let place = Place::new(1 + (asked * 7 + asker) % 20, 1, 1);
                    let size = 20 + asked / 20 % 30;
                    let path = format!("{}/thumbnail?viewport={size},{size}", place.path());
                    let reply = node.get(&path).await;
                    assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.kill();
        for node in [&a, &b] {
            eventually("it is seen to be dead", || async {
                node.proxy.metric("lightbox_cache_shared_connected").await == 0.0
            })
            .await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.restart();
        for node in [&a, &b] {
            node.connected().await;
        }
    }
    over.store(true, Relaxed);
    let mut all = 0;
    for asker in askers {
        all += asker.await.unwrap();
    }
    println!("{all} answers while Redis died three times");
    assert!(all > 200, "{all}");
    shares(&archive, [&a, &b], |place| format!("{}/thumbnail", place.path()), 30).await;
    for node in [&a, &b] {
        let log = node.proxy.log();
        assert!(!log.contains("2.25."), "{log}");
        // Once for each time that it was lost, and that it was back.
        assert!(log.lines().count() < 40, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_nothing_does_not_slow_requests_down() {
    let Some(redis) = Redis::start("a Redis that stands still") else { return };
    let archive = archive_of_studies(60).await;
    let node = Node::without_own(&archive.url(), &redis).await;
    let other = Node::without_own(&archive.url(), &redis).await;
    let plain = Proxy::start(&archive.url()).await;
    let path = |n: u32| format!("{}/thumbnail?viewport={},30", Place::new(1, 1, 1).path(), 30 + n);
    for n in 0..5 {
        node.get(&path(n)).await;
        plain.get(&path(n)).await;
    }
    redis.signal("STOP");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for n in 0..60 {
        for (proxy, times) in [(&node.proxy, &mut with), (&plain, &mut without)] {
            let began = Instant::now();
            let reply = proxy.get(&path(n)).await;
            times.push(began.elapsed());
            assert_eq!(reply.status(), 200, "{}", reply.text());
        }
    }
    redis.signal("CONT");
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (with, without) = (median(&mut with), median(&mut without));
    println!("Redis stands still: {with:.1?} for a request, {without:.1?} without a shared tier");
    assert!(with < without * 2 + Duration::from_millis(15), "{with:?}, {without:?}");
    shares(&archive, [&node, &other], |place| format!("{}/thumbnail", place.path()), 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_redis_it_starts_and_shows_everything() {
    let archive = archive_of_studies(1).await;
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", closed_port());
    let proxy = Keeper::new(&[("cache_shared", url.as_str())]).start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    assert_eq!(proxy.get(&path).await.status(), 200);
    assert!(is_hit(&proxy.get(&path).await));
    assert_eq!(proxy.metric("lightbox_cache_shared_connected").await, 0.0);
    assert!(!proxy.log().contains("hunter2"), "{}", proxy.log());
}

#[test]
fn a_url_that_cannot_be_meant_stops_the_start_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "http://:hunter2@cache.example").unwrap();
    let of_file = format!("file:{}", secret_file.display());
    for url in [
        "http://:hunter2@cache.example:6379/0",
        "redis://:hunter2@cache.example:hunter2/0",
        "redis://:hunter2@",
        "redis://:hunter2@cache.example/none",
        "redis://:hunter2@cache.example/0?hunter2=1",
        "redis://:hunter2@cache.example/0#hunter2",
        "hunter2",
        "",
        "file:/nowhere/at/all",
        of_file.as_str(),
    ] {
        let file = folder.path().join("lightbox.toml");
        let config = format!(
            "upstream = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:{}\"\n\
             admin_listen = \"127.0.0.1:{}\"\ncache_dir = \"{}\"\ncache_shared = \"{url}\"\n",
            closed_port(),
            closed_port(),
            folder.path().join("cache").display()
        );
        std::fs::write(&file, config).unwrap();
        let (code, said) = ended(&file);
        assert!(code.is_some_and(|code| code != 0), "{url}: it starts: {said}");
        assert!(!said.contains("hunter2"), "{url}: {said}");
        let is_clear = said.contains("cache_shared");
        assert!(is_clear && !said.contains("panicked"), "{url}: {said}");
    }
}

/// How `lightbox serve` ends, which it has to.
fn ended(config: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(lightbox_binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LIGHTBOX_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(["serve", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let has_ended = matches!(child.try_wait(), Ok(Some(_)));
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let code = if has_ended { output.status.code() } else { None };
    (code, String::from_utf8_lossy(&said).into_owned())
}

// What others may see ------------------------------------------------------------------------------

fn no_uid_in(nodes: &[Node]) {
    for node in nodes {
        let log = node.proxy.log();
        assert!(!log.contains("2.25."), "{log}");
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Pictures of all kinds, a purge, and what Redis has heard and holds then: names, commands, values.
async fn heard_and_held(part: &str) -> Option<[Vec<u8>; 3]> {
    let redis = Redis::start(part)?;
    let archive = archive_of_studies(5).await;
    let a = Node::start(&archive.url(), &redis).await;
    let b = Node::start(&archive.url(), &redis).await;
    let monitored = redis.monitored();
    for study in 1..=5 {
        let place = Place::new(study, 1, 1);
        for path in [place.path(), place.series_path(), place.study_path()] {
            for node in [&a, &b] {
                assert_eq!(node.get(&format!("{path}/thumbnail")).await.status(), 200);
            }
        }
    }
    let purge =
        format!("{}/cache/studies/{}", a.proxy.admin_url(), Place::new(1, 1, 1).study_uid());
    assert_eq!(client().delete(purge).send().await.unwrap().status(), 204);
    eventually("the purge is heard", || async { has(&monitored.lock().unwrap(), "forgotten") })
        .await;
    let (keys, dump) = (redis.said("KEYS *"), redis.dump());
    assert!(has(&keys, "lightbox:") && has(&dump, "lightbox:"));
    no_uid_in(&[a, b]);
    let monitored = monitored.lock().unwrap().clone();
    assert!(monitored.len() > 1000);
    Some([keys, monitored, dump])
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_redis_say_nothing_and_nobody_is_named() {
    let Some([keys, monitored, dump]) = heard_and_held("what Redis is told").await else { return };
    assert!(!has(&keys, "2.25."), "{}", String::from_utf8_lossy(&keys));
    for bytes in [&monitored, &dump] {
        // Long enough not to be there by chance: much of it is random, and times are in it.
        for text in ["Doe^Jane", "MRN-4711-0815"] {
            assert!(!has(bytes, text), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_uid_is_told_to_redis() {
    let Some([keys, monitored, dump]) = heard_and_held("UIDs in Redis").await else { return };
    for (what, bytes) in [("names", keys), ("commands", monitored), ("values", dump)] {
        assert!(!has(&bytes, "2.25."), "there are UIDs in the {what}");
    }
}
