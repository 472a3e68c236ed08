//! Servers to be good, bad or absent.
// Each file of tests takes what it needs.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shared_store::{Settings, Shared};
use tempfile::TempDir;

/// Longer than anything here takes, on a slow and busy machine.
pub const LONG: Duration = Duration::from_secs(40);

/// A real server on a free loopback port; ends with the value.
pub struct Server {
    // Before the folder, so that it ends first.
    child: Child,
    pub folder: TempDir,
    pub port: u16,
    options: Vec<String>,
}

impl Server {
    /// Starts it. Where it is not installed that is said aloud, and a failure with `./run test all`.
    pub fn start(part: &str, options: &[&str]) -> Option<Self> {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        match Self::spawned(&options) {
            Ok(server) => Some(server),
            Err(ErrorKind::NotFound) => {
                let all = std::env::var("LIGHTBOX_TEST").is_ok_and(|tests| tests == "all");
                assert!(!all, "{part} cannot run: redis-server is not installed");
                eprintln!("SKIPPED {part}: redis-server is not installed");
                None
            }
            Err(kind) => panic!("redis-server does not start: {kind}"),
        }
    }

    fn spawned(options: &[String]) -> Result<Self, ErrorKind> {
        // Somebody else may take the port first.
        for _ in 0..5 {
            let (folder, port) = (tempfile::tempdir().unwrap(), closed_port());
            let child = spawn(port, &folder, options)?;
            let mut server = Self { child, folder, port, options: options.to_owned() };
            if server.listens() {
                return Ok(server);
            }
        }
        Err(ErrorKind::AddrInUse)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection that does as it is told.
    pub fn cli(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    pub fn run(&self, command: &[&str]) -> redis::Value {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.cli()).unwrap()
    }

    /// All keys, but the salt.
    pub fn keys(&self) -> Vec<String> {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut self.cli()).unwrap();
        keys.into_iter().filter(|key| key != "lightbox:salt").collect()
    }

    /// The one key of a type.
    pub fn key_of(&self, wanted: &str) -> String {
        let mut cli = self.cli();
        let is = |key: &String| -> bool {
            let found: String = redis::cmd("TYPE").arg(key).query(&mut cli).unwrap();
            found == wanted
        };
        self.keys().into_iter().find(is).unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.options).unwrap();
        assert!(self.listens());
    }

    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Waits until it listens, or ends.
    fn listens(&mut self) -> bool {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < LONG, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, options: &[String]) -> Result<Child, ErrorKind> {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.kind())
}

/// A port where nobody listens: none of those that others are given who ask for any, and another one
/// for each process of tests that runs at the same time.
pub fn closed_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 500 * 4;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .map(|place| (10_000 + place % 2000) as u16);
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).unwrap()
}

/// Patient: a busy machine is no slow server.
pub fn patient(url: &str) -> Settings {
    Settings { patience: Duration::from_secs(5), ..Settings::new(url) }
}

pub async fn connected(settings: Settings) -> Shared {
    let shared = Shared::open(settings).unwrap();
    eventually("it is connected", || shared.snapshot().connected).await;
    shared
}

pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a value is found.
pub async fn found(shared: &Shared, group: u8, key: u8) {
    let began = Instant::now();
    while shared.get(&[group; 32], &[key; 32]).await.is_none() {
        assert!(began.elapsed() < LONG, "no value: {shared:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The median time of gets that find nothing.
pub async fn median_of_gets(shared: &Shared, count: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        assert_eq!(shared.get(&[99; 32], &[99; 32]).await, None);
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort();
    times[count / 2]
}
