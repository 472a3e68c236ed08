//! The commands in the documents work. Every block that begins with ```` ```sh ```` in README.md and
//! docs/*.md is run as a reader would paste it, each file in a folder of its own with the
//! sample studies below `samples`;
//! what cannot be run here (docker, kubectl) stands in ```` ```console ```` blocks.
//!
//! A command that serves (`./run demo`, `lightbox serve …`) goes on in the background until the end of
//! its file or until the next one. The ports of the documents (8080, 9090, 8042) become free ones, and
//! at 8042 a real Orthanc holds the sample studies. Tasks of `./run` that CI runs anyway must exist.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lightbox_tests::{Orthanc, closed_port, lightbox_binary, skip, slow_test};

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
    orthanc.store_folder(samples.path()).await;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let script = script(&shell_blocks(&text).join("\n"));
        let mut failed = run(&script, &orthanc, samples.path());
        // GDCM takes Orthanc with it now and then, which is no fault of the document's.
        if failed.is_some() && orthanc.revive().await {
            failed = run(&script, &orthanc, samples.path());
        }
        if let Some(said) = failed {
            panic!("{}: the last command below fails\n{said}", document.display());
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

/// Runs the blocks of one document as one script, so that its variables live from block to block.
///
/// Returns what was said where a command fails.
fn run(script: &str, orthanc: &Orthanc, samples: &Path) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join(".bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(lightbox_binary(), bin.join("lightbox")).unwrap();
    std::os::unix::fs::symlink(samples, folder.path().join("samples")).unwrap();
    let url = orthanc.url();
    let archive = url.trim_end_matches("/dicom-web").rsplit(':').next().unwrap_or_default();
    let (door, admin) = (closed_port().to_string(), closed_port().to_string());
    let ports = [(":8080", &*door), (":9090", &*admin), (":8042", archive)];
    let script = ports.iter().fold(script.to_owned(), |text, (documented, own)| {
        text.replace(documented, &format!(":{own}"))
    });
    let mut command = Command::new("timeout");
    for name in ["LIGHTBOX_TEST", "LIGHTBOX_BIN", "LIGHTBOX_CORPUS"] {
        command.env_remove(name);
    }
    let done = command
        .args(["300", "bash", "-euxc", &format!("{PRELUDE}{script}")])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()))
        .env("DOOR", &door)
        .env("LIGHTBOX_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (!done.status.success()).then_some(said)
}

/// `curl` fails on an answer that is no success, as the reader's eyes would. A server goes on in the
/// background until the next one or the end.
const PRELUDE: &str = r#"
curl() { command curl --fail --silent --show-error "$@"; }
stop() { [ -z "${server-}" ] || { kill "$server"; wait "$server" || true; server=; }; }
trap stop EXIT
serve() {
    stop
    "$@" --listen "127.0.0.1:$DOOR" >/dev/null 2>&1 &
    server=$!
    set +x
    until curl -o /dev/null "http://127.0.0.1:$DOOR/studies?limit=1" 2>/dev/null; do
        kill -0 "$server"
        sleep 0.1
    done
    set -x
}
"#;

/// The script of a document's blocks: servers in the background, what CI runs anyway left out.
fn script(blocks: &str) -> String {
    let joined = blocks.replace("\\\n", " ");
    joined.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let by_ci = ["git clone", "cd lightbox", "cargo test", "cargo install", "cargo bench"];
    if by_ci.iter().any(|prefix| line.starts_with(prefix)) {
        return format!(": {line}");
    }
    let ours = ["./run ", "cargo run -- ", "lightbox "];
    let Some(rest) = ours.iter().find_map(|prefix| line.strip_prefix(prefix)) else {
        return line.to_owned();
    };
    match rest.split_whitespace().next().unwrap_or_default() {
        "demo" | "serve" => {
            let words = rest.split_whitespace().collect::<Vec<_>>();
            // The listener is ours to choose: another may have the documented port.
            let at = words.iter().position(|word| *word == "--listen").unwrap_or(words.len());
            let others = words.iter().enumerate().filter(|(i, _)| *i != at && *i != at + 1);
            let others: Vec<&str> = others.map(|(_, word)| *word).collect();
            format!("serve lightbox {}", others.join(" "))
        }
        task @ ("test" | "check" | "bench" | "pixels" | "conformance") => {
            assert!(run_lists(task), "./run has no task '{task}'");
            format!(": {line}")
        }
        _ => line.to_owned(),
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

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

#[test]
fn only_blocks_tagged_sh_are_run() {
    let text =
        "a\n```sh\none\n\ntwo\n```\n```console\nno\n```\n```\nno\n```\n  ```sh\nthree\n  ```\n";
    assert_eq!(shell_blocks(text), ["one\n\ntwo", "three"]);
}

#[test]
fn servers_go_to_the_background_and_tasks_of_ci_are_left_out() {
    let blocks = "x=1\n./run test all\n./run demo\nlightbox serve --listen 127.0.0.1:8080 \\\n  --upstream u\nlightbox config";
    let expected = "x=1\n: ./run test all\nserve lightbox demo\nserve lightbox serve --upstream u\nlightbox config";
    assert_eq!(script(blocks), expected);
}

#[test]
fn every_task_of_run_is_listed() {
    for task in ["demo", "serve", "test", "check", "bench", "conformance"] {
        assert!(run_lists(task), "{task}");
    }
    assert!(!run_lists("nonsense"));
}
