//! A real Chromium without a window, driven through the DevTools protocol.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long it may take until it does a thing.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Chromium with a profile of its own and one tab; ends with the value.
///
/// Its calls block: tests that also serve something need a second thread.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    // Deleted after the process has ended.
    folder: TempDir,
    commands: File,
    messages: Receiver<Value>,
    last_command: u64,
    session: Option<String>,
    seen: Vec<Value>,
}

/// What the browser was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The whole URL.
    pub url: String,
    /// What for: `Document`, `Image`, `Media`, `Preflight` …
    pub kind: String,
    /// The status.
    pub status: u64,
    /// The media type as the browser understood it.
    pub media_type: String,
}

impl Browser {
    /// Starts it; the reason where it is not installed.
    ///
    /// Panics where it is and does not work.
    pub fn start() -> Result<Self, String> {
        let binary = binary()?;
        let folder = tempfile::tempdir().expect("a folder for its profile");
        let [to, from] = ["to", "from"].map(|name| fifo(&folder.path().join(name)));
        let child = spawn(&binary, folder.path(), &to, &from);
        // Opened for both directions, a FIFO does not wait for its other end.
        let open = |path| File::options().read(true).write(true).open(path);
        let commands = open(&to).expect("a FIFO opens");
        let messages = follow(open(&from).expect("a FIFO opens"));
        let mut browser = Self {
            child,
            folder,
            commands,
            messages,
            last_command: 0,
            session: None,
            seen: Vec::new(),
        };
        browser.attach();
        Ok(browser)
    }

    /// Opens a page and waits until it and all that it shows are loaded.
    pub fn open(&mut self, url: &str) {
        self.seen.clear();
        let answer = self.command("Page.navigate", json!({"url": url}));
        assert_eq!(answer.get("errorText"), None, "{url}");
        self.wait_for("Page.loadEventFired");
    }

    /// The value of a JavaScript expression in the page, awaited if it is a promise.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let answer = self.command("Runtime.evaluate", asked);
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer.pointer("/result/value").cloned().unwrap_or_default()
    }

    /// Every answer since the page was opened.
    pub fn loaded(&mut self) -> Vec<Loaded> {
        // What has happened before this answer has been read with it.
        self.evaluate("0");
        self.seen.iter().filter_map(loaded).collect()
    }

    /// The errors since the page was opened: requests that failed or were blocked, exceptions that nobody
    /// caught, and what scripts called an error.
    pub fn problems(&mut self) -> Vec<String> {
        self.evaluate("0");
        self.seen.iter().filter_map(problem).collect()
    }

    /// Forgets what it keeps of answers.
    pub fn clear_cache(&mut self) {
        self.command("Network.clearBrowserCache", json!({}));
    }

    /// Gives pages this much room from now on, in CSS pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.command("Emulation.setDeviceMetricsOverride", size);
    }

    /// What the page shows, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.command("Page.captureScreenshot", json!({"format": "png"}));
        let text = answer.pointer("/data").and_then(Value::as_str).expect("a picture");
        BASE64.decode(text).expect("base64")
    }

    fn attach(&mut self) {
        let target = self.command("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.command("Target.attachToTarget", attach);
        self.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        // Frames in processes of their own, such as that of a PDF, are told of too.
        let also = json!({"autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true});
        self.command("Target.setAutoAttach", also);
        for domain in ["Page.enable", "Network.enable", "Runtime.enable", "Log.enable"] {
            self.command(domain, json!({}));
        }
    }

    /// Sends a command and waits for its result.
    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last_command += 1;
        let id = self.last_command;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut line = message.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line).expect("the browser reads");
        let answer = self.until(method, |message| message["id"] == id);
        answer.get("result").cloned().unwrap_or_else(|| panic!("{method}: {answer}"))
    }

    fn wait_for(&mut self, event: &str) {
        if !self.seen.iter().any(|message| message["method"] == event) {
            self.until(event, |message| message["method"] == event);
        }
    }

    /// Reads messages up to the one that is waited for.
    fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(message) => {
                    self.seen.push(message.clone());
                    if is_it(&message) {
                        return message;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what} from Chromium; it said:\n{}", self.log());
                }
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the processes that it has started; failing means that it has ended already.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "Chromium is not installed (Debian: apt-get install chromium)".into())
}

fn fifo(path: &Path) -> PathBuf {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "{} is made", path.display());
    path.to_owned()
}

/// The protocol goes over the descriptors 3 and 4, which a shell opens.
fn spawn(binary: &Path, folder: &Path, to: &Path, from: &Path) -> Child {
    let log = File::create(folder.join("log")).expect("its log is opened");
    Command::new("sh")
        .args(["-c", r#"exec "$0" "$@" 3<"$TO_BROWSER" 4>"$FROM_BROWSER""#])
        .arg(binary)
        .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"])
        .args(["--autoplay-policy=no-user-gesture-required", "--window-size=1000,800"])
        // The pages are on loopback.
        .arg("--no-proxy-server")
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .env("TO_BROWSER", to)
        .env("FROM_BROWSER", from)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("a shell runs")
}

/// Messages end with a NUL.
fn follow(stream: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(stream).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

fn loaded(message: &Value) -> Option<Loaded> {
    if message["method"] != "Network.responseReceived" {
        return None;
    }
    let (parameters, response) = (&message["params"], &message["params"]["response"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Loaded {
        url: text(&response["url"]),
        kind: text(&parameters["type"]),
        status: response["status"].as_u64()?,
        media_type: text(&response["mimeType"]),
    })
}

fn problem(message: &Value) -> Option<String> {
    let parameters = &message["params"];
    let text = |pointer: &str| {
        parameters.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match message["method"].as_str()? {
        "Log.entryAdded" if text("/entry/level") == "error" => {
            Some(format!("{} {}", text("/entry/text"), text("/entry/url")))
        }
        "Runtime.exceptionThrown" => {
            let details = text("/exceptionDetails/exception/description");
            Some(format!("{}: {details}", text("/exceptionDetails/text")))
        }
        "Runtime.consoleAPICalled" if text("/type") == "error" => {
            let values = parameters["args"].as_array()?.iter();
            let said = values.map(|v| v["value"].as_str().or(v["description"].as_str()));
            Some(said.map(Option::unwrap_or_default).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    }
}
