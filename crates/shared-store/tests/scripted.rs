//! In front of a server that plays a script: silent, wrong, out of step, or half of one.
#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared_store::{Settings, Shared};
use support::{LONG, connected, eventually, median_of_gets, patient};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A get that finds nothing costs less, at the median, on a busy machine too.
const LITTLE: Duration = Duration::from_millis(20);

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Of no use, and harmless: for some attempts of connecting it costs next to nothing.
async fn is_harmless(url: &str) {
    let shared = Shared::open(Settings::new(url)).unwrap();
    shared.forget(&[1; 32]);
    for round in 0..4 {
        let median = median_of_gets(&shared, 50).await;
        assert!(median < LITTLE, "round {round}: {median:?}");
        shared.put(&[1; 32], &[1; 32], vec![0; 1000].into(), LONG);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seen = shared.snapshot();
    assert!(!seen.connected && seen.connections == 0 && seen.puts == 0, "{seen:?}");
    assert_eq!((seen.skipped, seen.dropped), (200, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there() {
    is_harmless(&format!("redis://127.0.0.1:{}", support::closed_port())).await;
    is_harmless("redis+unix:///nowhere/redis.sock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole() {
    let (listener, url) = listener().await;
    let hole = tokio::spawn(async move {
        let mut swallowed = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            swallowed.push(stream);
        }
    });
    is_harmless(&url).await;
    hole.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_of_every_kind() {
    let nested = "*1\r\n".repeat(5000);
    for nonsense in [
        "",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "\0\u{1}\u{2}\u{3}",
        "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
        "*2147483647\r\n",
        "*9223372036854775807\r\n",
        "%9223372036854775807\r\n",
        "|4611686018427387903\r\n",
        "%-2\r\n",
        "~-1\r\n>0\r\n>-1\r\n",
        "$9223372036854775807\r\nx",
        "$-9\r\n!-1\r\n=-1\r\n",
        "-\r\n-\r\n-\r\n-\r\n-\r\n-\r\n",
        "$3\r\nabcdefgh",
        &nested,
    ] {
        let (listener, url) = listener().await;
        let nonsense = nonsense.to_owned();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(nonsense.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        is_harmless(&url).await;
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_everything() {
    for error in [
        "LOADING Redis is loading the dataset in memory",
        "NOAUTH Authentication required.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MOVED 3999 127.0.0.1:1",
        "NOPERM no",
        "ERR no",
    ] {
        let server = Scripted::start().await;
        server.play(move |_| Some(format!("-{error}\r\n").into()));
        is_harmless(&server.url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_older_than_redis_7_is_not_used() {
    let server = Scripted::start().await;
    server.play(|command| match command {
        "PEXPIRE" => Some(b"-ERR wrong number of arguments for 'pexpire' command\r\n".to_vec()),
        other => well(other),
    });
    is_harmless(&server.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_that_are_refused_are_left_for_a_while_and_then_tried_again() {
    for error in ["LOADING x", "MOVED 1 127.0.0.1:1", "OOM x", "NOAUTH x", "ERR x"] {
        let server = Scripted::start().await;
        let shared = connected(patient(&server.url)).await;
        server.play(move |command| match command {
            "GETRANGE" | "SISMEMBER" => Some(format!("-{error}\r\n").into()),
            other => well(other),
        });
        let median = median_of_gets(&shared, 100).await;
        assert!(median < LITTLE, "{error}: {median:?}");
        let seen = shared.snapshot();
        assert!(seen.failed >= 3 && seen.failed < 20 && seen.skipped > 50, "{error}: {seen:?}");
        server.play(well);
        answered_again(&shared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_that_are_not_answered_are_left_for_a_while_and_then_tried_again() {
    let server = Scripted::start().await;
    let shared = connected(Settings::new(&server.url)).await;
    server.play(|command| match command {
        "GETRANGE" => None,
        other => well(other),
    });
    let median = median_of_gets(&shared, 200).await;
    assert!(median < LITTLE, "{median:?}");
    let seen = shared.snapshot();
    assert!(seen.late >= 3 && seen.late < 30 && seen.skipped > 100, "{seen:?}");
    server.play(well);
    answered_again(&shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_out_of_step_are_noticed() {
    let server = Scripted::start().await;
    let shared = connected(patient(&server.url)).await;
    // One answer too many, now and then, while others are waited for.
    for surplus in
        [":1\r\n", "$3\r\nabc\r\n", ":1\r\n$3\r\nabc\r\n", "-ERR\r\n", "-WRONGTYPE x\r\n"]
    {
        let before = shared.snapshot();
        let questions = AtomicUsize::new(0);
        server.play(move |command| match command {
            "SISMEMBER" if questions.fetch_add(1, Ordering::Relaxed) % 10 == 5 => {
                Some(format!("{surplus}:0\r\n").into())
            }
            other => well(other),
        });
        let gets = (0..200).map(|_| async { shared.get(&[1; 32], &[1; 32]).await });
        let found = futures_util::future::join_all(gets).await;
        assert!(found.iter().all(Option::is_none));
        let seen = shared.snapshot();
        assert!(
            seen.failed + seen.damaged > before.failed + before.damaged,
            "{surplus}: {seen:?} {before:?}"
        );
        server.play(well);
        // What looks damaged is removed, and hidden until that is done.
        assert!(shared.settled(LONG).await);
        answered_again(&shared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_an_answer() {
    let server = Scripted::start().await;
    let shared = connected(patient(&server.url)).await;
    server.play(|command| match command {
        "GETRANGE" => Some(b"$1000\r\nhalf of".to_vec()),
        other => well(other),
    });
    let half = tokio::spawn({
        let shared = shared.clone();
        async move { shared.get(&[1; 32], &[1; 32]).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.hang_up();
    assert_eq!(half.await.unwrap(), None);
    server.play(well);
    answered_again(&shared).await;
    assert!(shared.snapshot().failed >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_that_are_dropped_leave_no_answer_to_another() {
    let server = Scripted::start().await;
    let shared = connected(patient(&server.url)).await;
    for _ in 0..200 {
        let get = shared.get(&[1; 32], &[1; 32]);
        let _ = tokio::time::timeout(Duration::from_micros(50), get).await;
    }
    answered_again(&shared).await;
    let seen = shared.snapshot();
    assert_eq!((seen.failed, seen.damaged, seen.connections), (0, 0, 1), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_it_leaves_its_connections() {
    let server = Scripted::start().await;
    let shared = connected(patient(&server.url)).await;
    let clone = shared.clone();
    drop(shared);
    answered_again(&clone).await;
    drop(clone);
    eventually("all are closed", || server.open() == 0).await;
}

#[test]
fn outside_of_a_runtime_it_is_not_opened() {
    let error = Shared::open(Settings::new("redis://127.0.0.1")).err();
    assert_eq!(error, Some(shared_store::SetupError::NoRuntime));
}

async fn answered_again(shared: &Shared) {
    let before = shared.snapshot().misses;
    for _ in 0..4000 {
        assert_eq!(shared.get(&[1; 32], &[1; 32]).await, None);
        if shared.snapshot().misses >= before + 5 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not used again: {shared:?}");
}

/// An empty cache, as Redis would answer.
fn well(command: &str) -> Option<Vec<u8>> {
    let answer = match command {
        "GET" => format!("$32\r\n{}\r\n", "s".repeat(32)),
        "SUBSCRIBE" => "*3\r\n$9\r\nsubscribe\r\n$18\r\nlightbox:forgotten\r\n:1\r\n".to_owned(),
        "PING" => "+PONG\r\n".to_owned(),
        "SISMEMBER" | "PEXPIRE" => ":0\r\n".to_owned(),
        "GETRANGE" => "$0\r\n\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    };
    Some(answer.into_bytes())
}

type Script = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A server that answers each command as its script says, or not.
struct Scripted {
    url: String,
    script: Arc<Mutex<Script>>,
    connections: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Scripted {
    async fn start() -> Self {
        let (listener, url) = listener().await;
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(well)));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn({
            let (script, connections) = (script.clone(), connections.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.lock().unwrap().push(tokio::spawn(serve(stream, script.clone())));
                }
            }
        });
        Self { url, script, connections, accepting }
    }

    fn play(&self, script: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    fn hang_up(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    fn open(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        connections.iter().filter(|connection| !connection.is_finished()).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
        self.hang_up();
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    // Whoever subscribes is answered pings in the form of a message.
    let mut subscribes = false;
    while let Some(command) = command(&mut stream).await {
        subscribes |= command == "SUBSCRIBE";
        let script = script.lock().unwrap().clone();
        let answer = match script(&command) {
            Some(_) if subscribes && command == "PING" => {
                b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec()
            }
            Some(answer) => answer,
            None => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The name of the next command: an array of strings.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut words = Vec::new();
    for _ in 0..number(stream).await? {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    String::from_utf8(words.swap_remove(0)).ok()
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}
