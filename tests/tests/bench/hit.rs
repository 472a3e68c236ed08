//! A thumbnail that is kept, beside nginx serving the same bytes with the same headers from a file:
//! `./run bench hit`.

use std::process::Command;

use lightbox_tests::{Archive, Corpus, Keeper, Nginx, Proxy, Reply};

// Short and many: other guests of a machine come and go within seconds.
const TURNS: usize = 21;
const SECONDS: &str = "2s";
const CONNECTIONS: &str = "32";
const IMAGE: &str = "ct/ct2_unc.dcm";

/// What one run of wrk tells.
#[derive(Clone, Copy, Debug)]
struct Run {
    per_second: f64,
    p99_ms: f64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: ./run bench hit"]
async fn hits() {
    let corpus = Corpus::find().expect("the corpus: LIGHTBOX_CORPUS names its folder");
    let archive = Archive::of(&[("image.dcm", corpus.read(IMAGE))]).await;
    let keeper = Keeper::new(&[("log", "warn")]);
    let proxy = keeper.start(&archive.url()).await;
    let path = path_of_the_image(&proxy).await;
    let series = path.rsplit_once("/instances/").unwrap().0.to_owned();
    for path in [format!("{path}/thumbnail"), format!("{series}/thumbnail")] {
        let reply = until_kept(&proxy, &path).await;
        let nginx = beside(&reply);
        let etag = reply.header("etag").to_owned();
        println!("\n{} bytes of {}", reply.body.len(), path.rsplit_once('/').unwrap().1);
        let theirs = |headers: &[&str]| wrk(&format!("{}/thumbnail", nginx.url()), headers);
        let ours = |headers: &[&str]| wrk(&format!("{}{path}", proxy.url()), headers);
        in_turn("200", || ours(&[]), || theirs(&[]));
        let held = format!("If-None-Match: {etag}");
        // nginx makes its own tag of a file's time and length.
        let own = format!("If-None-Match: {}", etag_of(&nginx).await);
        in_turn("304", || ours(&[&held]), || theirs(&[&own]));
    }
}

async fn path_of_the_image(proxy: &Proxy) -> String {
    let all = proxy.get("/instances?limit=1").await.text();
    let all: serde_json::Value = serde_json::from_str(&all).expect("an answer to a search");
    let uid = |tag: &str| all[0][tag]["Value"][0].as_str().unwrap().to_owned();
    let [study, series, instance] = ["0020000D", "0020000E", "00080018"].map(uid);
    format!("/studies/{study}/series/{series}/instances/{instance}")
}

async fn until_kept(proxy: &Proxy, path: &str) -> Reply {
    for _ in 0..100 {
        let reply = proxy.get(path).await;
        if reply.header("cache-status").starts_with("lightbox; hit") {
            return reply;
        }
    }
    panic!("{path} is not kept");
}

/// nginx with the same bytes, and the same headers but for those that it makes itself.
fn beside(reply: &Reply) -> Nginx {
    let own = ["content-length", "date", "etag", "content-type", "connection"];
    let mut headers = String::new();
    for (name, value) in &reply.headers {
        if !own.contains(&name.as_str()) {
            headers += &format!("add_header {name} '{}';\n", value.to_str().unwrap());
        }
    }
    let server = format!("location / {{ root ROOT; default_type image/jpeg; {headers} }}");
    let http = "sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;\n\
                open_file_cache max=100 inactive=600s; open_file_cache_valid 600s;";
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Nginx::start(cores, http, &server, &[("thumbnail", &reply.body)]).expect("nginx")
}

async fn etag_of(nginx: &Nginx) -> String {
    let reply = lightbox_tests::client().get(format!("{}/thumbnail", nginx.url())).send().await;
    Reply::read(reply.unwrap()).await.header("etag").to_owned()
}

fn in_turn(what: &str, ours: impl Fn() -> Run, theirs: impl Fn() -> Run) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        if turn % 2 == 0 {
            a.push(ours());
            b.push(theirs());
        } else {
            b.push(theirs());
            a.push(ours());
        }
    }
    let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a.per_second / b.per_second).collect();
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.per_second).collect());
    let p99 = |runs: &[Run]| median(runs.iter().map(|run| run.p99_ms).collect());
    println!(
        "{what}: Lightbox {:.0}/s, nginx {:.0}/s, ratio {:.2} ({:.2} to {:.2}); p99 {:.2} ms and {:.2} ms",
        rate(&a),
        rate(&b),
        median(ratios.clone()),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
        p99(&a),
        p99(&b),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn wrk(url: &str, headers: &[&str]) -> Run {
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", CONNECTIONS, "-d", SECONDS, "--latency"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(url).output().expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        line.split_whitespace().last().expect("a value").to_owned()
    };
    Run { per_second: field("Requests/sec:").parse().expect("a number"), p99_ms: ms(&field("99%")) }
}

fn ms(text: &str) -> f64 {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let (number, factor) =
        units.iter().find_map(|(unit, f)| Some((text.strip_suffix(unit)?, f))).expect("a time");
    number.parse::<f64>().expect("a number") * factor
}
