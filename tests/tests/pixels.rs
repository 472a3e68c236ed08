//! Every file of the corpus that has a reference, drawn by the command and compared: `./run pixels`.
//!
//! All are within the limits of the corpus, but for those that docs/pixel-exceptions.md names with the
//! requirement that decides against the reference. One that is named and within its limits has no
//! business there.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

use std::collections::BTreeSet;
use std::path::Path;

use lightbox_tests::limits::{Limit, Table};
use lightbox_tests::{Corpus, Entry, lightbox, skip};

#[test]
fn every_file_with_a_reference_is_within_limits_or_a_named_exception() {
    let Some(corpus) = Corpus::find_or_say("pixels against references") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::default();
    let with_video = has_ffmpeg();
    if !with_video {
        skip("frames of videos", "ffmpeg is not installed");
    }
    let drawable =
        |entry: &&Entry| entry.reference.is_some() && (with_video || entry.kind != "video");
    for entry in corpus.entries.iter().filter(drawable) {
        let drawn = draw(&corpus, entry, folder.path());
        let judged = Limit::of(entry).map(|limit| match &drawn {
            Ok(png) => limit.judge(&corpus, entry, png),
            Err(why) => (false, why.clone()),
        });
        table.add(entry, drawn.is_ok(), judged);
    }
    table.print();
    let outside: BTreeSet<&str> = table.outside().collect();
    let named = exceptions();
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    let compared: BTreeSet<&str> = corpus
        .entries
        .iter()
        .filter(|entry| Limit::of(entry).is_some())
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(outside, named.intersection(&compared).copied().collect());
}

fn has_ffmpeg() -> bool {
    std::process::Command::new("ffmpeg").arg("-version").output().is_ok()
}

fn draw(corpus: &Corpus, entry: &Entry, folder: &Path) -> Result<Vec<u8>, String> {
    let file = corpus.root().join(&entry.path);
    let frame = entry.reference.as_ref().map_or(1, |reference| reference.frame).to_string();
    let arguments = ["render", file.to_str().unwrap(), "out.png", "--frame", &frame];
    let done = lightbox(folder, &[&arguments[..], &["--overlays", "no"]].concat());
    match done.code {
        Some(0) => Ok(std::fs::read(folder.join("out.png")).unwrap()),
        _ => Err(done.stderr.trim().to_owned()),
    }
}

/// The corpus files that the document names: `kind/name` in backticks.
fn exceptions() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pixel-exceptions.md");
    let text = std::fs::read_to_string(document).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| name.contains('/'))
        .map(|name| format!("{name}.dcm"))
        .collect()
}
