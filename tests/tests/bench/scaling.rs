//! What docs/scaling.md says: its tables are what the script prints, the script foresees what a real proxy
//! does, and the nginx that is described there sends a study to one node.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use lightbox_tests::{
    Archive, EXPLICIT_LITTLE_ENDIAN, Keeper, Nginx, Object, Place, Proxy, client, closed_port,
    eventually, skip,
};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs")
}

fn page() -> String {
    std::fs::read_to_string(docs().join("scaling.md")).unwrap()
}

/// What the script prints; `None` where there is no Python, which is said aloud.
fn simulated(part: &str, arguments: &[&str]) -> Option<String> {
    let script = docs().join("scaling/simulate.py");
    let Ok(done) = Command::new("python3").arg(script).args(arguments).output() else {
        skip(part, "python3 is not installed");
        return None;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap())
}

// The tables ---------------------------------------------------------------------------------------

#[test]
fn the_tables_are_what_the_script_prints() {
    let Some(printed) = simulated("the tables of docs/scaling.md", &[]) else { return };
    let page = page();
    let tables: Vec<&str> = printed.trim().split("\n\n").collect();
    assert!(tables.len() >= 6, "{printed}");
    for table in tables {
        assert!(page.contains(table), "docs/scaling.md does not have this table:\n{table}");
    }
    assert_eq!(page.matches("<!-- ").count(), printed.matches("<!-- ").count(), "tables of old");
}

// The model and a real proxy -----------------------------------------------------------------------

/// The disk store knows uses by the second. A cache that is replaced within one leaves it to chance what goes;
/// this is slow enough for those below to take longer.
const PACE: Duration = Duration::from_millis(8);

/// One thumbnail that is asked for.
#[derive(Clone, Copy)]
struct Asked {
    study: u32,
    /// 0 for that of the study.
    series: u32,
}

impl Asked {
    fn path(self) -> String {
        let place = Place::new(self.study, self.series, 1);
        let of = if self.series == 0 { place.study_path() } else { place.series_path() };
        format!("{of}/thumbnail")
    }
}

fn trace(text: &str) -> Vec<Asked> {
    let asked = |line: &str| {
        let mut fields = line.split(' ').skip(1).map(|field| field.parse().unwrap());
        Asked { study: fields.next().unwrap(), series: fields.next().unwrap() }
    };
    text.lines().map(asked).collect()
}

/// An archive with an image in each series of a trace.
async fn archive_of(trace: &[Asked], image: fn(&Place) -> Vec<u8>) -> Archive {
    let mut all: Vec<(u32, u32)> = trace.iter().map(|asked| (asked.study, asked.series)).collect();
    all.sort_unstable();
    all.dedup();
    let places = all.into_iter().filter(|(_, series)| *series > 0);
    let files: Vec<(String, Vec<u8>)> = places
        .map(|(study, series)| Place::new(study, series, 1))
        .map(|place| (place.instance_uid(), image(&place)))
        .collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    Archive::of(&named).await
}

/// Grey levels as of a scanner: something round, and noise that tells series apart.
fn grey(place: &Place, side: u32) -> impl Iterator<Item = i32> {
    let mut noise = place
        .instance_uid()
        .bytes()
        .fold(1_u32, |hash, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte));
    (0..side * side).map(move |at| {
        let centre = side.cast_signed() / 2;
        let [x, y] = [at % side, at / side].map(|at| at.cast_signed() - centre);
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let body = if x * x + y * y * 2 < centre * centre { 40 + x / 4 } else { -1000 };
        body + (noise >> 25).cast_signed() - 64
    })
}

fn small_ct(place: &Place) -> Vec<u8> {
    let pixels: Vec<u8> = grey(place, 128).map(|hu| (hu + 128).clamp(0, 255) as u8).collect();
    Object::new(place, CT, "CT")
        .matrix(128, 128, "MONOCHROME2")
        .window("128", "256")
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// 512 × 512 of 16 bits, native.
fn whole_ct(place: &Place) -> Vec<u8> {
    let samples: Vec<i16> = grey(place, 512).map(|hu| hu as i16).collect();
    Object::new(place, CT, "CT")
        .matrix(512, 512, "MONOCHROME2")
        .window("40", "400")
        .signed_words(&samples)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// Bytes of a record of each kind, as the script takes them.
async fn sizes(archive: &Archive, trace: &[Asked]) -> Vec<String> {
    let keys = [("cache_disk", "off"), ("cache_memory", "64MB")];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&archive.url()).await;
    for asked in &trace[..60] {
        assert_eq!(proxy.get(&asked.path()).await.status(), 200, "{}", asked.path());
    }
    let mut sizes = Vec::new();
    for kind in ["picture", "identity", "standing", "source"] {
        let of = |what| format!("lightbox_cache_memory_{what}{{kind=\"{kind}\"}}");
        let (bytes, entries) =
            (proxy.metric(&of("bytes")).await, proxy.metric(&of("entries")).await);
        sizes.extend([format!("--{kind}"), format!("{:.0}", bytes / entries - 200.0)]);
    }
    sizes
}

/// The share of hits of a real proxy, and the same as the script foresees it for when each was asked for.
async fn measured_and_foreseen(
    archive: &Archive,
    trace: &[Asked],
    sizes: &[String],
    (memory, disk): (&str, &str),
) -> (f64, f64) {
    // What stands for a series is not looked up again within the test.
    let keys = [("cache_memory", memory), ("cache_disk", disk), ("index_ttl", "1h")];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&archive.url()).await;
    let (mut hits, mut asked_at) = (0, String::new());
    for asked in trace {
        tokio::time::sleep(PACE).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        writeln!(asked_at, "{now:.3} {} {}", asked.study, asked.series).unwrap();
        let reply = proxy.get(&asked.path()).await;
        assert_eq!(reply.status(), 200, "{}: {}", asked.path(), reply.text());
        hits += usize::from(reply.header("cache-status").starts_with("lightbox; hit"));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), asked_at).unwrap();
    let mut arguments = vec!["--replay", file.path().to_str().unwrap()];
    arguments.extend(["--memory", memory, "--disk", disk]);
    arguments.extend(sizes.iter().map(String::as_str));
    let said = simulated("the prediction of hits", &arguments).unwrap();
    let rate = said.split("rate ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    (100.0 * hits as f64 / trace.len() as f64, rate.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hits_that_are_foreseen_are_those_of_a_real_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let arguments = ["--trace", file.to_str().unwrap(), "--studies", "60"];
    if simulated("the prediction of hits", &arguments).is_none() {
        return;
    }
    let trace = trace(&std::fs::read_to_string(file).unwrap());
    let archive = archive_of(&trace, small_ct).await;
    let sizes = sizes(&archive, &trace).await;
    println!("{} requests, {}", trace.len(), sizes.join(" "));
    let rooms = [("off", "700KB"), ("off", "2MB"), ("1MB", "off"), ("500KB", "1MB")];
    let runs = rooms.map(|rooms| measured_and_foreseen(&archive, &trace, &sizes, rooms));
    let rates = futures_util::future::join_all(runs).await;
    for (rooms, (measured, foreseen)) in rooms.iter().zip(&rates) {
        println!("{rooms:?}: measured {measured:.1} %, foreseen {foreseen:.1} %");
    }
    for (measured, foreseen) in &rates {
        assert!((measured - foreseen).abs() <= 5.0, "{rates:?}");
    }
    // A model that says the same of every cache would pass otherwise.
    assert!(rates[1].0 - rates[0].0 > 10.0, "{rates:?}");
}

// A study and its node -----------------------------------------------------------------------------

/// The configuration in the page, with these nodes, as the blocks `http` and `server`.
fn nginx_of_the_page(nodes: [&str; 2]) -> (String, String) {
    let page = page();
    let block = page.split("```nginx\n").nth(1).expect("a block for nginx");
    let block = block.split("```").next().unwrap();
    let [first, second] = nodes;
    let block = block.replace("10.0.0.1:8080", first).replace("10.0.0.2:8080", second);
    let (http, server) = block.split_once("server {\n    listen 80;").expect("a server");
    let server = server.trim().strip_suffix('}').expect("its end");
    (http.to_owned(), format!("add_header X-Node $upstream_addr always; {server}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_sends_all_of_a_study_to_one_node() {
    const PART: &str = "nginx in front of two nodes";
    let trace: Vec<Asked> =
        (1..=40).flat_map(|study| (0..=2).map(move |series| Asked { study, series })).collect();
    let archive = archive_of(&trace, small_ct).await;
    let keepers = [(); 2].map(|()| Keeper::new(&[("cache_disk", "off"), ("cache_memory", "64MB")]));
    let a = keepers[0].start(&archive.url()).await;
    let b = keepers[1].start(&archive.url()).await;
    let (http, server) = nginx_of_the_page([a.address(), b.address()]);
    let nginx = match Nginx::start(1, &http, &server, &[]) {
        Ok(nginx) => nginx,
        Err(why) if why.contains("installed") => return skip(PART, &why),
        Err(why) => panic!("{why}"),
    };
    let client = client();
    let node_of = async |path: &str| {
        let reply = client.get(format!("{}{path}", nginx.url())).send().await.unwrap();
        assert_eq!(reply.status(), 200, "{path}");
        reply.headers()["x-node"].to_str().unwrap().to_owned()
    };
    let mut nodes = Vec::new();
    for study in 1..=40 {
        let place = Place::new(study, 2, 1);
        let node = node_of(&format!("{}/thumbnail", place.study_path())).await;
        for path in [
            format!("{}/thumbnail", place.series_path()),
            format!("{}/thumbnail?viewport=64,64", place.path()),
            format!("{}/frames/1/rendered?window=100,50,linear", place.path()),
            format!("{}/metadata", place.study_path()),
            format!("{}/series?limit=1", place.study_path()),
        ] {
            assert_eq!(node_of(&path).await, node, "{path}");
        }
        nodes.push(node);
    }
    let of_a = nodes.iter().filter(|node| **node == a.address()).count();
    assert!((8..=32).contains(&of_a), "{of_a} of 40");
    assert_eq!(node_of("/studies?limit=1").await, node_of("/studies?limit=1").await);
    // Where a node is gone, its studies go to the other one, and those of the other stay.
    drop(b);
    for (study, node) in (1..=40).zip(&nodes) {
        let path = format!("{}/thumbnail", Place::new(study, 1, 1).study_path());
        let now = node_of(&path).await;
        assert!(now.ends_with(a.address()), "{now}");
        assert!(node != a.address() || now == *node, "{now}");
    }
}

// What one node does -------------------------------------------------------------------------------

/// A real server on a free loopback port; it ends with the value.
struct Redis {
    child: Child,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    async fn start() -> Self {
        let port = closed_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, port };
        eventually("it listens", || async {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        redis
    }

    /// Bytes of its data, and keys.
    fn holds(&self) -> (f64, f64) {
        let said = |arguments: &[&str]| {
            let mut command = Command::new("redis-cli");
            let output = command.args(["-p", &self.port.to_string()]).args(arguments).output();
            String::from_utf8(output.expect("redis-cli is installed").stdout).unwrap()
        };
        let info = said(&["info", "memory"]);
        let bytes = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        (bytes.trim().parse().unwrap(), said(&["dbsize"]).trim().parse().unwrap())
    }
}

/// What a proxy and its workers have taken of processors.
fn processor_seconds(proxy: &Proxy) -> f64 {
    let ticks = |pid: u32| -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: utime and stime, proc(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?)
    };
    let all = proxy.children().into_iter().chain([proxy.pid()]);
    all.filter_map(ticks).sum::<f64>() / 100.0
}

/// Series of eight to a study, of which each thumbnail is asked for once, so many at a time.
async fn cold(proxy: &Proxy, trace: &[Asked], at_once: usize) -> f64 {
    let began = Instant::now();
    let statuses = futures_util::stream::iter(trace.to_vec())
        .map(|asked| async move { proxy.get(&asked.path()).await.status() })
        .buffer_unordered(at_once);
    assert!(statuses.all(|status| async move { status == 200 }).await);
    trace.len() as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: ./run bench scaling"]
async fn figures() {
    const STUDIES: u32 = 60;
    let trace: Vec<Asked> = (1..=STUDIES)
        .flat_map(|study| (1..=8).map(move |series| Asked { study, series }))
        .collect();
    let archive = archive_of(&trace, whole_ct).await;
    let redis = Redis::start().await;
    let thumbnails = trace.len() as f64;
    for at_once in [1, 4, 16] {
        let (mut rates, mut work) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let keeper = Keeper::new(&[("cache_memory", "256MiB"), ("log", "warn")]);
            let proxy = keeper.start(&archive.url()).await;
            let before = processor_seconds(&proxy);
            rates.push(cold(&proxy, &trace, at_once).await);
            work.push((processor_seconds(&proxy) - before) / thumbnails * 1000.0);
        }
        rates.sort_by(f64::total_cmp);
        work.sort_by(f64::total_cmp);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        println!(
            "cold, {at_once} at a time: {:.0} thumbnails a second ({:.0} to {:.0}), {:.1} ms of a \
             processor each; load {}",
            rates[1],
            rates[0],
            rates[2],
            work[1],
            load.split(' ').next().unwrap()
        );
    }
    let url = format!("redis://127.0.0.1:{}/0", redis.port);
    let keys = [("cache_memory", "1GiB"), ("cache_shared", url.as_str()), ("log", "warn")];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&archive.url()).await;
    eventually("it is connected", || async {
        proxy.metric("lightbox_cache_shared_connected").await == 1.0
    })
    .await;
    let (before, _) = redis.holds();
    cold(&proxy, &trace, 4).await;
    eventually("all of it is in Redis", || async {
        let (_, keys) = redis.holds();
        // Three records of each, two sets of each study, the salt.
        keys >= 3.0 * thumbnails + 2.0 * f64::from(STUDIES) + 1.0
    })
    .await;
    let (after, keys) = redis.holds();
    println!("Redis: {:.0} bytes a thumbnail, {keys} keys", (after - before) / thumbnails);
    for store in ["pictures", "sources"] {
        let bytes = proxy.metric(&format!("lightbox_cache_disk_bytes{{store=\"{store}\"}}")).await;
        println!("disk, {store}: {:.1} KiB a thumbnail", bytes / thumbnails / 1024.0);
    }
    for kind in ["standing", "identity", "source", "picture"] {
        let of = |what| format!("lightbox_cache_memory_{what}{{kind=\"{kind}\"}}");
        let (bytes, entries) =
            (proxy.metric(&of("bytes")).await, proxy.metric(&of("entries")).await);
        println!("memory, {kind}: {entries} of {:.0} bytes", bytes / entries);
    }
}
