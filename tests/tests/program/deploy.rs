//! What deploys the proxy names things that exist: files, settings, commands. Containers cannot be
//! built here; what can be checked without their engine is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use lightbox_tests::lightbox;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn deploy(file: &str) -> String {
    std::fs::read_to_string(repository().join("deploy").join(file)).expect("a file of deploy/")
}

/// The keys that the binary knows, as environment variables.
fn known_variables() -> BTreeSet<String> {
    let printed = lightbox(&repository(), &["config"]);
    let keys = printed.stdout.lines().filter_map(|line| {
        let (key, _) = line.trim_start_matches(['#', ' ']).split_once(" = ")?;
        key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(key)
    });
    keys.map(|key| format!("LIGHTBOX_{}", key.to_uppercase())).collect()
}

#[test]
fn every_variable_named_is_a_setting() {
    let known = known_variables();
    assert!(known.contains("LIGHTBOX_UPSTREAM"), "{known:?}");
    for file in ["Dockerfile", "compose.yaml"] {
        let text = deploy(file);
        let named: BTreeSet<String> = text
            .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .filter(|word| word.starts_with("LIGHTBOX_") && *word != "LIGHTBOX_")
            .map(str::to_owned)
            .collect();
        assert!(!named.is_empty(), "{file}");
        assert!(named.is_subset(&known), "{file}: {:?}", named.difference(&known));
    }
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let dockerfile = deploy("Dockerfile");
    let build = dockerfile.lines().find(|line| line.contains("cargo build")).unwrap();
    assert!(build.contains("--locked") && repository().join("Cargo.lock").exists());
    assert!(build.contains("--package proxy-server --bin lightbox"), "{build}");
    let command = dockerfile.lines().find(|line| line.starts_with("CMD")).unwrap();
    assert!(command.contains("serve"), "{command}");
    let compose = deploy("compose.yaml");
    for file in ["deploy/Dockerfile", "deploy/ohif-app-config.js"] {
        let name = file.trim_start_matches("deploy/");
        assert!(compose.contains(name) && repository().join(file).exists(), "{file}");
    }
}

#[test]
fn the_viewer_is_configured_as_documented() {
    let script = deploy("ohif-app-config.js");
    let config = script.split_once('\n').expect("a comment, then the configuration").1;
    let docs = std::fs::read_to_string(repository().join("docs/ohif.md")).unwrap();
    // tests/ohif.rs runs the blocks of the document.
    assert!(docs.contains(&format!("```js\n{config}```\n")), "docs/ohif.md has {config}");
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = deploy("lightbox.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[1..], ["serve", "--config", "/etc/lightbox/lightbox.toml"]);
    // A copy whose program exists, since systemd looks.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("lightbox.service");
    std::fs::write(&copy, unit.replace("/usr/local/bin/lightbox", "/bin/true")).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&copy).output() {
        // No part of the project needs systemd: a machine without it is no failure in CI either.
        Err(_) => eprintln!("SKIPPED: systemd's own check of the unit: it is not installed"),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            let about_ours = said.lines().any(|line| line.contains("lightbox.service"));
            assert!(!about_ours, "{said}");
        }
    }
}

#[test]
fn the_viewers_configuration_asks_the_proxy() {
    let config = deploy("ohif-app-config.js");
    for line in ["thumbnailRendering: 'thumbnail'", "thumbnailRequestStrategy: 'fetch'"] {
        assert!(config.contains(line), "{line}");
    }
    let script = repository().join("deploy/ohif-app-config.js");
    let read = format!(
        "globalThis.window = {{}}; require({script:?}); \
         const c = window.config.dataSources[0].configuration; \
         if (c.wadoRoot !== 'http://localhost:8080' || c.qidoRoot !== c.wadoRoot) process.exit(1);"
    );
    match Command::new("node").args(["-e", &read]).status() {
        Err(_) => eprintln!("SKIPPED: running OHIF's configuration: node is not installed"),
        Ok(status) => assert!(status.success()),
    }
}
