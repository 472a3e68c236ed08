//! The commands in the documents work. Every block that begins with ```` ```sh ```` in README.md and
//! docs/*.md is run as a reader would paste it, one file after the other, in a folder of its own;
//! what cannot be run here (docker, kubectl) stands in ```` ```console ```` blocks.
//!
//! A command that serves (`./run demo`, `lightbox serve …`) goes on in the background until the end of
//! its file or until the next one. The ports of the documents (8080, 9090, 8042) become free ones, and
//! at 8042 a real Orthanc holds the sample studies. Tasks of `./run` that CI runs anyway must exist.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lightbox_tests::{Orthanc, client, closed_port, lightbox_binary, skip, slow_test};

const LONGEST: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_the_documents_works() {
    const PART: &str = "commands of the documents";
    if !slow_test(PART) {
        return;
    }
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let samples = tempfile::tempdir().unwrap();
    folder_origin::samples::write(samples.path()).unwrap();
    for file in std::fs::read_dir(samples.path()).unwrap().map(Result::unwrap) {
        if file.path().is_file() {
            orthanc.store(&std::fs::read(file.path()).unwrap()).await;
        }
    }
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let mut reader = Reader::new(&orthanc, samples.path());
        for block in shell_blocks(&text) {
            reader.paste(&block, &document).await;
        }
    }
}

/// README.md and docs/*.md, as far as they are there.
fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).into_iter().flatten();
    let mut found: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    found.push(repository().join("README.md"));
    found.retain(|path| path.extension().is_some_and(|e| e == "md") && path.exists());
    found.sort();
    found
}

/// Somebody who pastes the blocks of a document into a shell, in order.
struct Reader {
    folder: tempfile::TempDir,
    ports: Vec<(&'static str, String)>,
    serving: Option<Child>,
}

impl Reader {
    /// In a folder that holds the sample files as `samples`.
    fn new(orthanc: &Orthanc, samples: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(samples, folder.path().join("samples")).unwrap();
        let bin = folder.path().join(".bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(lightbox_binary(), bin.join("lightbox")).unwrap();
        let url = orthanc.url();
        let orthanc_port =
            url.trim_end_matches("/dicom-web").rsplit(':').next().unwrap().to_owned();
        let ports = vec![
            (":8080", format!(":{}", closed_port())),
            (":9090", format!(":{}", closed_port())),
            (":8042", format!(":{orthanc_port}")),
        ];
        Self { folder, ports, serving: None }
    }

    async fn paste(&mut self, block: &str, document: &Path) {
        for command in commands(block) {
            let command = self.with_own_ports(&command);
            let what = format!("{}: {command}", document.display());
            match Kind::of(&command) {
                Kind::RunByCi(task) => assert!(run_lists(&task), "{what}: ./run has no such task"),
                Kind::Serves(command) => self.serve(&command, &what).await,
                Kind::Ends => self.run(&command, &what),
            }
        }
    }

    fn with_own_ports(&self, command: &str) -> String {
        self.ports.iter().fold(command.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn run(&self, command: &str, what: &str) {
        let done = self
            .command("timeout")
            .args([&LONGEST.as_secs().to_string(), "bash", "-euc", &format!("{PRELUDE}{command}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{what}\n{}", String::from_utf8_lossy(&done.stderr));
    }

    async fn serve(&mut self, command: &str, what: &str) {
        self.stop();
        let door = &self.ports[0].1;
        let listen = format!("127.0.0.1{door}");
        let child = self
            .command("bash")
            .args(["-euc", &format!("exec {command}")])
            .env("LIGHTBOX_LISTEN", &listen)
            .env("LIGHTBOX_ADMIN_LISTEN", format!("127.0.0.1{}", self.ports[1].1))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.serving = Some(child);
        let deadline = Instant::now() + LONGEST;
        while client().get(format!("http://{listen}/studies")).send().await.is_err() {
            assert!(Instant::now() < deadline, "{what}: nobody listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.folder.path().join(".bin");
        command.current_dir(self.folder.path()).env("PATH", format!("{}:{path}", bin.display()));
        for name in ["LIGHTBOX_TEST", "LIGHTBOX_BIN", "LIGHTBOX_CORPUS"] {
            command.env_remove(name);
        }
        command
    }

    fn stop(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            // Failing means that it has ended already.
            let _ = serving.kill();
            let _ = serving.wait();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer that is no success must fail the command, as the reader's eyes would.
const PRELUDE: &str = "curl() { command curl --fail --silent --show-error \"$@\"; }\n";

enum Kind {
    /// A task of `./run` by its name: running it here would be running ourselves.
    RunByCi(String),
    /// Goes on until it is stopped; as a command of the binary.
    Serves(String),
    /// Does its work and ends.
    Ends,
}

impl Kind {
    fn of(command: &str) -> Self {
        let own = ["./run ", "cargo run -- ", "cargo run --release -- ", "lightbox "];
        let Some(rest) = own.iter().find_map(|prefix| command.strip_prefix(prefix)) else {
            let other = ["git clone", "cd lightbox", "cargo test", "cargo install", "cargo bench"];
            let by_ci = other.iter().any(|prefix| command.starts_with(prefix));
            return if by_ci { Self::RunByCi("test".into()) } else { Self::Ends };
        };
        match rest.split_whitespace().next().unwrap_or_default() {
            "demo" | "serve" => Self::Serves(format!("lightbox {rest}")),
            task @ ("test" | "check" | "bench" | "pixels") => Self::RunByCi(task.to_owned()),
            _ => Self::Ends,
        }
    }
}

fn run_lists(task: &str) -> bool {
    let listed = Command::new(repository().join("run")).output().expect("./run runs");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.lines().any(|line| line.starts_with(&format!("./run {task} ")))
}

/// The contents of all blocks tagged `sh`.
fn shell_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// The commands of a block: lines, joined where they end in a backslash; comments are dropped.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

#[test]
fn only_blocks_tagged_sh_are_run() {
    let text = "a\n```sh\none \\\n  more # why\n# note\n\ntwo\n```\n```console\nno\n```\n```\nno\n```\n  ```sh\nthree\n  ```\n";
    let found: Vec<_> = shell_blocks(text).iter().flat_map(|block| commands(block)).collect();
    assert_eq!(found, ["one    more", "two", "three"]);
}

#[test]
fn every_task_of_run_is_listed() {
    for task in ["demo", "serve", "test", "check", "bench"] {
        assert!(run_lists(task), "{task}");
    }
    assert!(!run_lists("nonsense"));
}
