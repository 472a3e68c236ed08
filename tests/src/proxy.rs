//! The real binary: as a server behind its real door, and as a command.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::{Reply, client, closed_port};

/// How long the binary may take until it listens.
const START: Duration = Duration::from_secs(60);

/// `lightbox serve` as a child process on free ports; killed with the value.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    door: String,
    admin: String,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
    /// With its configuration file, if it has one.
    _folder: Option<tempfile::TempDir>,
}

impl Proxy {
    /// Serves in front of this upstream with the default configuration.
    pub async fn start(upstream: &str) -> Self {
        Self::start_with(upstream, &[]).await
    }

    /// The same with configuration keys set, through the environment.
    pub async fn start_with(upstream: &str, keys: &[(&str, &str)]) -> Self {
        let arguments = ["serve", "--upstream", upstream].map(OsString::from);
        let keys = keys.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect();
        Self::spawn(arguments.to_vec(), keys).await
    }

    /// Serves as this file says, but on ports of its own.
    pub async fn configured(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the file");
        let file = folder.path().join("lightbox.toml");
        std::fs::write(&file, toml).expect("the file is written");
        let arguments = vec![OsString::from("serve"), OsString::from("--config"), file.into()];
        let mut proxy = Self::spawn(arguments, Vec::new()).await;
        proxy._folder = Some(folder);
        proxy
    }

    /// `lightbox demo` over a folder, or over its own sample studies.
    pub async fn demo(folder: Option<&Path>) -> Self {
        let mut arguments = vec![OsString::from("demo")];
        if let Some(folder) = folder {
            arguments.extend([OsString::from("--folder"), folder.into()]);
        }
        Self::spawn(arguments, Vec::new()).await
    }

    async fn spawn(arguments: Vec<OsString>, keys: Vec<(String, String)>) -> Self {
        // Waiting must not stop the origin that runs on the test's own thread.
        let started = tokio::task::spawn_blocking(move || {
            // A port that was free a moment ago may be another test's by now.
            (0..5).find_map(|_| Self::try_spawn(&arguments, &keys))
        });
        started.await.expect("the proxy starts").expect("a free port is found")
    }

    /// `None` where it ended because an address was taken.
    fn try_spawn(arguments: &[OsString], keys: &[(String, String)]) -> Option<Self> {
        let [door, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", closed_port()));
        let mut child = command()
            .args(arguments)
            .args(["--listen", &door])
            .env("LIGHTBOX_ADMIN_LISTEN", &admin)
            .envs(without_caches(arguments, keys))
            .envs(keys.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(String::new()));
        follow(child.stdout.take().expect("piped"), log.clone());
        follow(child.stderr.take().expect("piped"), log.clone());
        let mut proxy = Self { child, door, admin, log, client: client(), _folder: None };
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if proxy.serves() {
                return Some(proxy);
            }
            if !proxy.is_alive() {
                let said = proxy.log();
                assert!(said.contains("cannot listen"), "the proxy ended at its start:\n{said}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the proxy does not listen; it said:\n{}", proxy.log());
    }

    /// Whether it answers. That its ports are open is not enough: they may be another test's, while this
    /// process is about to end for it, and they are open before it has built what it serves with.
    fn serves(&self) -> bool {
        let log = self.log();
        let admin = log.lines().find_map(|line| line.strip_prefix("admin: listening on http://"));
        let address = admin.and_then(|rest| rest.split('/').next());
        address.is_some_and(|address| answers_health(address).is_ok())
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.door)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.door
    }

    /// `http://127.0.0.1:PORT` of the admin listener.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, to both its streams.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// GET of a path with its query, read to the end.
    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// The same with headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(http::Method::GET, path, headers).await
    }

    /// A request without a body.
    pub async fn send(&self, method: http::Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        let response = self.request(method, path, headers).send().await;
        Reply::read(
            response.unwrap_or_else(|e| panic!("{path}: {e}; the proxy said:\n{}", self.log())),
        )
        .await
    }

    /// A request to be completed by the test.
    pub fn request(
        &self,
        method: http::Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url()));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    /// The largest resident memory of the process so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }

    /// The processes that it has started and that still run: its workers.
    pub fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// What it and its workers hold in memory now, in bytes.
    pub fn memory(&self) -> u64 {
        let own = memory(self.pid()).unwrap_or(0);
        own + self.children().into_iter().filter_map(memory).sum::<u64>()
    }

    /// One value of `/metrics`, by its name and labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.client.get(format!("{}/metrics", self.admin_url())).send().await;
        let page = Reply::read(page.expect("the admin listener answers")).await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("there is no {name} in\n{page}")).parse().expect("a number")
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} was sent");
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still running after {within:?}; it said:\n{}", self.log());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `lightbox` with these arguments, in this directory, to its end.
pub fn lightbox(directory: &Path, arguments: &[&str]) -> Finished {
    let output = command()
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where the binary under test is: `LIGHTBOX_BIN`, else built here and now beside this test.
pub fn lightbox_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("LIGHTBOX_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

/// The largest resident memory of a process so far, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kibibytes * 1024
}

/// What a process holds in memory now, in bytes; `None` where it has ended.
fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// The processes that a process has started and that still run.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    let all: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    all.into_iter().filter(|&pid| memory(pid).is_some()).collect()
}

/// The binary without any configuration of the caller's environment.
fn command() -> Command {
    let mut command = Command::new(lightbox_binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LIGHTBOX_") {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo gives a test no path to another package's binary, and builds none for it.
fn build() -> PathBuf {
    let here = std::env::current_exe().expect("a process knows its file");
    // target/PROFILE/deps/TEST
    let directory = here.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--bin", "lightbox"]).current_dir(repository());
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => drop(cargo.args(["--profile", profile])),
    }
    let built = cargo.status().expect("cargo runs");
    assert!(built.success(), "cargo builds the binary");
    directory.join("lightbox")
}

/// The root of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

fn answers_health(address: &str) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    connection.read_exact(&mut [0])
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// Most tests are about what is fetched and drawn, each time anew; those of caches name their keys.
fn without_caches(
    arguments: &[OsString],
    keys: &[(String, String)],
) -> Vec<(&'static str, String)> {
    let names = |text: &str| text.to_ascii_lowercase().contains("cache_");
    let file = arguments.iter().skip_while(|argument| *argument != "--config").nth(1);
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    if names(&text) || keys.iter().any(|(key, _)| names(key)) {
        return Vec::new();
    }
    ["LIGHTBOX_CACHE_MEMORY", "LIGHTBOX_CACHE_DISK"].map(|key| (key, "off".to_owned())).to_vec()
}

/// The environment variable of a configuration key.
fn variable(key: &str) -> String {
    format!("LIGHTBOX_{}", key.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_memory() {
        assert!(peak_memory(std::process::id()) > 1 << 20);
    }
}
