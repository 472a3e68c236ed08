//! The real binary: as a server behind its real door, and as a command.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Reply, client};

/// How long the binary may take until it listens.
const START: Duration = Duration::from_secs(20);

/// `lightbox serve` as a child process on ports of the system's choice; killed with the value.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    door: String,
    admin: String,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
}

impl Proxy {
    /// Serves in front of this upstream with the default configuration.
    pub async fn start(upstream: &str) -> Self {
        Self::start_with(upstream, &[]).await
    }

    /// The same with configuration keys set, through the environment.
    pub async fn start_with(upstream: &str, keys: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(["serve", "--upstream", upstream, "--listen", "127.0.0.1:0"]);
        for (key, value) in keys {
            command.env(format!("LIGHTBOX_{}", key.to_ascii_uppercase()), value);
        }
        Self::spawn(command).await
    }

    /// `lightbox demo` over a folder, or over its own sample studies.
    pub async fn demo(folder: Option<&Path>) -> Self {
        let mut command = command();
        command.args(["demo", "--listen", "127.0.0.1:0"]);
        if let Some(folder) = folder {
            command.arg("--folder").arg(folder);
        }
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Self {
        command.env("LIGHTBOX_ADMIN_LISTEN", "127.0.0.1:0");
        // Waiting for a line must not stop the origin that runs on the test's own thread.
        tokio::task::spawn_blocking(move || Self::wait_until_it_listens(command))
            .await
            .expect("the proxy starts")
    }

    fn wait_until_it_listens(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        follow(child.stdout.take().expect("piped"), log.clone(), sender.clone());
        follow(child.stderr.take().expect("piped"), log.clone(), sender);
        let (mut door, mut admin) = (None, None);
        let deadline = Instant::now() + START;
        while door.is_none() || admin.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                let _ = child.kill();
                panic!("the proxy does not listen; it said:\n{}", log.lock().unwrap());
            };
            match listening_address(&line) {
                Some(address) if line.contains("admin") || line.contains("health") => {
                    admin.get_or_insert(address);
                }
                Some(address) => drop(door.get_or_insert(address)),
                None => {}
            }
        }
        let (door, admin) = (door.expect("just checked"), admin.expect("just checked"));
        Self { child, door, admin, log, client: client() }
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

fn follow(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    lines: mpsc::Sender<String>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
            // Nobody waits for lines once the proxy listens.
            let _ = lines.send(line);
        }
    })
}

/// `127.0.0.1:PORT` of a line that says where the process listens.
fn listening_address(line: &str) -> Option<String> {
    if !line.contains("listening") {
        return None;
    }
    let from = &line[line.find("127.0.0.1:")?..];
    let end = from.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    Some(from[..end.unwrap_or(from.len())].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_lines_that_announce_them() {
        let found = |line| listening_address(line);
        assert_eq!(found("listening on http://127.0.0.1:81/").as_deref(), Some("127.0.0.1:81"));
        assert_eq!(found("listening address=127.0.0.1:81").as_deref(), Some("127.0.0.1:81"));
        assert_eq!(found("try http://127.0.0.1:81/"), None);
    }

    #[test]
    fn a_process_has_used_memory() {
        assert!(peak_memory(std::process::id()) > 1 << 20);
    }
}
