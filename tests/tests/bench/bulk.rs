//! `lightbox thumbnails`: whole folders, what it says of them, and `./run bench bulk`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lightbox_tests::pictures::jpeg_size;
use lightbox_tests::{
    Corpus, EXPLICIT_LITTLE_ENDIAN, Finished, Object, Place, TestImage, lightbox, lightbox_binary,
};
use serde_json::Value;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn thumbnails(folder: &Path, arguments: &[&str]) -> Finished {
    lightbox(folder, &[&["thumbnails"], arguments].concat())
}

/// Names of all files below a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// A report without an image.
fn report_object() -> Vec<u8> {
    let class = "1.2.840.10008.5.1.4.1.1.88.33";
    Object::new(&Place::new(1, 2, 3), class, "SR").file(EXPLICIT_LITTLE_ENDIAN)
}

#[test]
fn a_folder_becomes_a_folder_of_thumbnails() {
    let dir = folder();
    let image = TestImage::ramp(300, 600).file();
    for name in ["in/IM1", "in/series 2/a.dcm", "in/series 2/a.ima", "in/ÄÖ/1"] {
        write(dir.path(), name, &image);
    }
    write(dir.path(), "in/report", &report_object());
    write(dir.path(), "in/notes.txt", b"nothing of ours, but long enough to be looked at");
    write(dir.path(), "in/empty", b"");
    let done = thumbnails(dir.path(), &["in", "--out", "out", "--json", "report.json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("4 thumbnails, 1 cards instead of an image, 2 no DICOM"),
        "{}",
        done.stderr
    );
    let there = files(&dir.path().join("out"));
    let names = ["IM1.jpg", "report.jpg", "series 2/a.dcm.jpg", "series 2/a.ima.jpg", "ÄÖ/1.jpg"];
    assert_eq!(there, names);
    for name in names {
        let jpeg = std::fs::read(dir.path().join("out").join(name)).unwrap();
        let expected = if name == "report.jpg" { (256, 256) } else { (256, 128) };
        assert_eq!(jpeg_size(&jpeg), Some(expected), "{name}");
    }
    let report = report(dir.path());
    assert_eq!(report["files"].as_array().unwrap().len(), 7);
    let summary = &report["summary"];
    for (name, count) in [
        ("files", 7),
        ("drawn", 4),
        ("cards", 1),
        ("not_dicom", 2),
        ("failed", 0),
        ("up_to_date", 0),
    ] {
        assert_eq!(summary[name], count, "{name} in {summary}");
    }
}

#[test]
fn it_is_the_picture_that_the_proxy_and_render_make() {
    let dir = folder();
    write(dir.path(), "a", &TestImage::ramp(64, 64).file());
    let done = thumbnails(dir.path(), &["a", "--out", "out", "--size", "64"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let words = ["render", "a", "b.jpg", "--quality", "80", "--viewport", "64,64"];
    assert_eq!(lightbox(dir.path(), &words).code, Some(0));
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("out/a.jpg"), read("b.jpg"));
}

#[test]
fn what_is_there_and_newer_is_left_alone() {
    let dir = folder();
    write(dir.path(), "in/1", &TestImage::ramp(8, 8).file());
    write(dir.path(), "in/2", &TestImage::ramp(8, 8).file());
    assert_eq!(thumbnails(dir.path(), &["in", "--out", "out"]).code, Some(0));
    write(dir.path(), "out/1.jpg", b"kept");
    std::fs::remove_file(dir.path().join("out/2.jpg")).unwrap();
    let done = thumbnails(dir.path(), &["in", "--out", "out"]);
    assert!(done.stderr.contains("1 thumbnails, 1 up to date"), "{}", done.stderr);
    assert_eq!(std::fs::read(dir.path().join("out/1.jpg")).unwrap(), b"kept");
    // An image that is newer than its thumbnail is drawn again; an empty thumbnail is none.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    let image = std::fs::File::options().append(true).open(dir.path().join("in/1")).unwrap();
    image.set_modified(later).unwrap();
    write(dir.path(), "out/2.jpg", b"");
    let done = thumbnails(dir.path(), &["in", "--out", "out"]);
    assert!(done.stderr.contains(": 2 thumbnails\n"), "{}", done.stderr);
    // All of it up to date is no failure.
    image.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let done = thumbnails(dir.path(), &["in", "--out", "out"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains(": 2 up to date\n"), "{}", done.stderr);
}

#[test]
fn failures_are_told_by_kind_and_end_in_1() {
    let dir = folder();
    write(dir.path(), "in/good", &TestImage::ramp(8, 8).file());
    for n in 1..=5 {
        let image = TestImage { rows: 0, ..TestImage::ramp(8, 8) };
        write(dir.path(), &format!("in/no rows {n}"), &image.file());
    }
    let mut cut = TestImage::ramp(8, 8).file();
    cut.truncate(200);
    write(dir.path(), "in/cut", &cut);
    let huge = TestImage { columns: 65535, rows: 65535, ..TestImage::ramp(8, 8) };
    write(dir.path(), "in/huge", &huge.file());
    let done = thumbnails(dir.path(), &["in", "--out", "out", "--json", "report.json"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for said in ["7 files have no thumbnail", "damaged (6):", "above a limit (1):", "  …\n"] {
        assert!(done.stderr.contains(said), "{said} in {}", done.stderr);
    }
    assert_eq!(done.stderr.matches("no rows").count() + done.stderr.matches("in/cut").count(), 3);
    assert!(!done.stderr.contains("Doe"), "{}", done.stderr);
    assert_eq!(files(&dir.path().join("out")), ["good.jpg"]);
    let report = report(dir.path());
    assert_eq!(report["summary"]["failures"]["damaged"], 6);
    let failed = report["files"].as_array().unwrap().iter().filter(|f| f["outcome"] == "failed");
    assert_eq!(failed.filter(|f| !f["reason"].as_str().unwrap().is_empty()).count(), 7);
}

#[test]
fn what_was_named_must_be_dicom_and_there() {
    let dir = folder();
    write(dir.path(), "notes.txt", b"nothing of ours");
    write(dir.path(), "image", &TestImage::ramp(8, 8).file());
    let done = thumbnails(dir.path(), &["notes.txt", "image", "--out", "out"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("no DICOM file (1):"), "{}", done.stderr);
    assert_eq!(files(&dir.path().join("out")), ["image.jpg"]);
    for mistake in [
        &["nowhere", "--out", "out2"][..],
        &["image"],
        &["--out", "out2"],
        &["image", "--out", "out2", "--size", "0"],
        &["image", "--out", "out2", "--jobs", "0"],
        &["image", "--out", "notes.txt"],
    ] {
        let done = thumbnails(dir.path(), mistake);
        assert_eq!(done.code, Some(2), "{mistake:?}: {}", done.stderr);
    }
    assert!(!dir.path().join("out2").exists());
    write(dir.path(), "bare/notes.txt", b"nothing of ours");
    let done = thumbnails(dir.path(), &["bare", "--out", "out3"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("no DICOM files"), "{}", done.stderr);
    let done = thumbnails(dir.path(), &["image", "--out", "out", "--json", "no/such/report.json"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("report.json"), "{}", done.stderr);
}

#[test]
fn a_dicomdir_names_its_files() {
    let dir = folder();
    write(dir.path(), "disc/IMAGES/IM1", &TestImage::ramp(8, 8).file());
    write(dir.path(), "disc/images/im2", &TestImage::ramp(8, 8).file());
    write(dir.path(), "disc/IMAGES/OTHER", &TestImage::ramp(8, 8).file());
    write(dir.path(), "secret", &TestImage::ramp(8, 8).file());
    let record = |id: &str| Object::default().text(0x0004_1500, "CS", id);
    let class = "1.2.840.10008.1.3.10";
    let records = [r"IMAGES\IM1", r"IMAGES\IM2", r"IMAGES\GONE", r"..\secret"].map(record);
    let directory = Object::new(&Place::new(1, 2, 3), class, "OT")
        .items(0x0004_1220, records.into_iter().chain([Object::default()]).collect());
    write(dir.path(), "disc/DICOMDIR", &directory.file(EXPLICIT_LITTLE_ENDIAN));
    let done = thumbnails(dir.path(), &["disc/DICOMDIR", "--out", "out"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("cannot be read (1):"), "{}", done.stderr);
    assert!(done.stderr.contains("GONE"), "{}", done.stderr);
    assert_eq!(files(&dir.path().join("out")), ["IMAGES/IM1.jpg", "IMAGES/IM2.jpg"]);
    // A folder is gone through whether or not it has one.
    assert_eq!(thumbnails(dir.path(), &["disc", "--out", "all"]).code, Some(0));
    let all = ["IMAGES/IM1.jpg", "IMAGES/OTHER.jpg", "images/im2.jpg"];
    assert_eq!(files(&dir.path().join("all")), all);
}

/// Four tiles of 8 × 8 pixels that make a slide of 16 × 16.
fn slide(flavour: &str) -> Vec<u8> {
    let class = "1.2.840.10008.5.1.4.1.1.77.1.6";
    let side = 16_u32.to_le_bytes();
    let tiles = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]];
    let pixels: Vec<u8> = tiles.iter().flat_map(|colour| colour.repeat(64)).collect();
    Object::new(&Place::new(1, 2, 3), class, "SM")
        .text(0x0008_0008, "CS", &format!(r"ORIGINAL\PRIMARY\{flavour}\NONE"))
        .matrix(8, 8, "RGB")
        .text(0x0028_0008, "IS", "4")
        .text(0x0020_9311, "CS", "TILED_FULL")
        .bytes(0x0048_0006, "UL", &side)
        .bytes(0x0048_0007, "UL", &side)
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

#[test]
fn a_slide_is_shown_as_a_whole_and_its_label_never() {
    let dir = folder();
    write(dir.path(), "in/volume", &slide("VOLUME"));
    write(dir.path(), "in/label", &slide("LABEL"));
    let done = thumbnails(dir.path(), &["in", "--out", "out"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("1 thumbnails, 1 cards"), "{}", done.stderr);
    let size = |name: &str| jpeg_size(&std::fs::read(dir.path().join(name)).unwrap());
    assert_eq!((size("out/volume.jpg"), size("out/label.jpg")), (Some((16, 16)), Some((256, 256))));
}

#[test]
fn every_file_of_the_corpus_has_an_outcome() {
    let Some(corpus) = Corpus::find_or_say("thumbnails of the corpus") else { return };
    let dir = folder();
    let root = corpus.root().to_owned();
    let words = [root.to_str().unwrap(), "--out", "out", "--json", "report.json"];
    let done = thumbnails(dir.path(), &words);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = report(dir.path());
    let outcomes: BTreeMap<PathBuf, String> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            (file["file"].as_str().unwrap().into(), file["outcome"].as_str().unwrap().into())
        })
        .collect();
    use lightbox_tests::Outcome::{
        Error, ErrorOrBestEffort, NotAnImage, NotDicom, Render, RenderBestEffort,
    };
    for entry in &corpus.entries {
        let outcome = outcomes[&corpus.root().join(&entry.path)].as_str();
        let legal: &[&str] = match entry.expected.outcome {
            Render => &["drawn", "card"],
            RenderBestEffort => &["drawn"],
            NotAnImage => &["card", "failed"],
            Error => &["failed"],
            ErrorOrBestEffort => &["failed", "drawn"],
            NotDicom => &["not-dicom", "failed"],
        };
        assert!(legal.contains(&outcome), "{}: {outcome}, not {legal:?}", entry.path);
    }
    assert_eq!(report["summary"]["failures"].get("worker-lost"), None, "{}", report["summary"]);
}

// The benchmark ------------------------------------------------------------------------------------

/// Name, path within the corpus, and whether it belongs to the folders of CT and MR alone.
type Kind = (&'static str, &'static str, bool);

const KINDS: &[Kind] = &[
    ("CT 512², native", "ct/ct2_unc.dcm", true),
    ("CT 512², JPEG 2000", "ct/ct1_j2kr.dcm", true),
    ("CT 512², JPEG-LS", "ct/ct2_jlsn.dcm", true),
    ("MR 1024², JPEG lossless", "mr/mr2_jpeg_lossless_process14.dcm", true),
    ("XA 1024², JPEG 2000", "xa/xa1_j2kr.dcm", false),
    ("XA 512², 96 frames, JPEG", "xa/xa_rubo_96frames_jpeg.dcm", false),
    ("US 640×480, JPEG", "us/us_ybr422_jpeg_baseline.dcm", false),
    ("US 34 frames, JPEG", "us/us_multiframe_ybr422_jpeg.dcm", false),
    ("CR 2446×2010, JPEG", "cr-dx-mg/monochrome1-jpeg.dcm", false),
    ("DX 4 MP, JPEG 2000", "cr-dx-mg/dx_mono1_inverse_j2k_966_fixed.dcm", false),
    ("MG 14 MP, JPEG 2000", "cr-dx-mg/mg1_j2ki.dcm", false),
    ("MG 7 MP, JPEG lossless", "cr-dx-mg/mg_sigmoid_voilut_three_windows.dcm", false),
];

/// Copies of each kind; of the small ones more, so that a run takes its time.
const COPIES: usize = 20;
const COPIES_OF_SMALL: usize = 200;

/// Each command runs so often, in turn.
const RUNS: usize = 3;

#[test]
#[ignore = "a benchmark: ./run bench bulk"]
fn beside_the_usual_recipe() {
    let corpus = Corpus::find().expect("the corpus: LIGHTBOX_CORPUS names its folder");
    let python = std::env::var("LIGHTBOX_BULK_PYTHON").expect("./run bench bulk names it");
    println!("{:<34}{:>8}{:>12}{:>12}{:>8}", "folder", "files", "ours, /s", "theirs, /s", "ratio");
    let all = |_: &Kind| true;
    let ct_and_mr = |kind: &Kind| kind.2;
    let but_jpeg_2000 = |kind: &Kind| kind.2 && !kind.0.contains("2000");
    compare(&corpus, &python, "12 kinds", COPIES, &all, &[]);
    compare(&corpus, &python, "12 kinds, one frame of cines", COPIES, &all, &["--one-frame"]);
    compare(&corpus, &python, "CT and MR", COPIES_OF_SMALL, &but_jpeg_2000, &[]);
    compare(&corpus, &python, "CT and MR, with JPEG 2000", COPIES_OF_SMALL, &ct_and_mr, &[]);
}

fn compare(
    corpus: &Corpus,
    python: &str,
    name: &str,
    copies: usize,
    is_wanted: &dyn Fn(&Kind) -> bool,
    recipe: &[&str],
) {
    let dir = folder();
    let mut count = 0;
    for (number, (_, path, _)) in KINDS.iter().filter(|kind| is_wanted(kind)).enumerate() {
        for copy in 0..copies {
            write(dir.path(), &format!("in/{copy:03}/{number:02}.dcm"), &corpus.read(path));
            count += 1;
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/bulk/recipe.py");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let [mine, other] =
            [format!("ours{run}"), format!("theirs{run}")].map(|n| dir.path().join(n));
        std::fs::create_dir(&other).unwrap();
        ours.push(timed(
            Command::new(lightbox_binary())
                .args(["thumbnails", "--jobs", "2", "--out"])
                .args([&mine, &dir.path().join("in")]),
        ));
        theirs.push(timed(
            Command::new(python).arg(script).args([&dir.path().join("in"), &other]).args(recipe),
        ));
        for out in [mine, other] {
            assert_eq!(files(&out).len(), count, "{}", out.display());
        }
    }
    let [ours, theirs] = [ours, theirs].map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        count as f64 / seconds[RUNS / 2]
    });
    println!("{name:<34}{count:>8}{ours:>12.1}{theirs:>12.1}{:>8.1}", ours / theirs);
}

fn timed(command: &mut Command) -> f64 {
    let began = Instant::now();
    let done = command.output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    began.elapsed().as_secs_f64()
}
