//! What a picture costs in memory: the largest resident size of a process that draws one, over that of
//! a process that does nothing but decode the same codestream.
//!
//! Beside it stands what `memory_needed` says beforehand, with the file: what workers are admitted by.
//!
//! `cargo bench -p core-render --bench memory`. Native cells have no decoder: there it is a process that
//! copies them out of the file. Linux only, which tells a process its own peak (`VmHWM`).

#[allow(dead_code)] // each bench uses its part
mod support;

use std::path::Path;
use std::process::Command;

use support::{Bare, Case, Size, cases, job};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--measure") {
        Some(at) => measure(&arguments[at + 1..]),
        None => table(),
    }
}

fn table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!(
        "{:<28}{:<12}{:>9}{:>9}{:>7}{:>10}",
        "frame", "picture", "decoder", "render", "ratio", "said"
    );
    for case in cases(folder.path()) {
        for size in ["full", "thumbnail"] {
            let bare = peak(&case, "decode", size);
            let render = peak(&case, "render", size);
            let said = peak(&case, "say", size);
            let mebibytes = |kibibytes: f64| format!("{:.1} MiB", kibibytes / 1024.0);
            let (b, r, ratio) = (mebibytes(bare), mebibytes(render), render / bare);
            let said = mebibytes(said);
            println!("{:<28}{size:<12}{b:>9}{r:>9}{ratio:>7.2}{said:>10}", case.name);
        }
    }
}

/// The peak of a process of its own in KiB: the smallest of three, since other work only adds to it.
fn peak(case: &Case, what: &str, size: &str) -> f64 {
    let once = || {
        let this = std::env::current_exe().expect("this program");
        let done = Command::new(this)
            .args(["--measure", what, size, &case.name])
            .arg(&case.path)
            .output()
            .expect("this program starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().parse::<f64>().expect("a number")
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn measure(arguments: &[String]) {
    let [what, size, name, path] = arguments else { panic!("what, size, name and path") };
    let size = if size == "full" { Size::Full } else { Size::Thumbnail };
    let case = Case { name: name.clone(), path: path.into() };
    let file: bytes::Bytes = std::fs::read(&case.path).expect("the file can be read").into();
    if what == "say" {
        let said = core_render::memory_needed(&job(&file, size)) + file.len() as u64;
        println!("{}", said.div_ceil(1024));
        return;
    }
    if what == "render" {
        let picture = core_render::render(&job(&file, size), &mut |_| Ok(())).expect("it renders");
        std::hint::black_box(picture);
    } else if let Some(bare) = Bare::find(&case, &file, size) {
        bare.decode();
    } else {
        let cells: Vec<u16> =
            file.as_chunks::<2>().0.iter().map(|cell| u16::from_le_bytes(*cell)).collect();
        std::hint::black_box(cells);
    }
    println!("{}", own_peak());
}

/// `VmHWM` of this process, in KiB.
fn own_peak() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
