//! MPEG-2, H.264 and HEVC (PS3.5 §8.2.5 to 8.2.8): one frame of the stream, through the `ffmpeg`
//! program where it is installed; and how that program is run.
//!
//! It runs as a process of its own, as tightly as a plain process can be held: bounded memory,
//! processor time, real time and output; no file may grow and few may be open; no environment, and no
//! descriptor but the three it is given. It may read nothing but the stream: no network, no other file,
//! no container that names others.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::codec::{Decoded, Encoded, SampleSpace};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::pixel::cells::{BitLayout, Cells};

/// Address space in KiB (a frame of 8K video takes less than a quarter), seconds of processor time, open
/// files, no core.
const BOUNDS: &str = "ulimit -v 2097152 && ulimit -t 30 && ulimit -n 32 && ulimit -c 0";

/// The memory of its data is bounded with its addresses: not by what this process allows itself for the
/// picture at hand.
const DATA: &str = "ulimit -S -d \"$(ulimit -H -d)\"";

/// What this process itself was started with is closed: Rust's own descriptors are not handed on, but
/// those of whoever started it would be.
const CLOSED: &str = "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";

/// In real time, for a process that waits rather than works.
const PATIENCE: Duration = Duration::from_secs(40);

/// A frame of 8K video takes 100 MB before it is compressed.
const MOST_OUTPUT: u64 = 256 << 20;

/// What of it a shell counts the size of a file in (POSIX `ulimit -f`).
const FILE_BLOCK: u64 = 512;

/// Demuxers of the streams and containers that DICOM allows (PS3.5 §8.2.5).
const FORMATS: &str = "mpegvideo,mpeg,mpegts,h264,hevc,mov";

pub(super) fn decode(encoded: &Encoded<'_>) -> Result<Decoded> {
    let program = ffmpeg().ok_or_else(|| RenderError::unsupported("video without ffmpeg"))?;
    let png = frame_as_png(&program, encoded, PATIENCE).map_err(failed)?;
    if png.is_empty() {
        return Err(failed("no such frame could be decoded"));
    }
    let picture = image::load_from_memory_with_format(&png, image::ImageFormat::Png)
        .map_err(failed)?
        .into_rgb8();
    let (columns, rows) = picture.dimensions();
    encoded.limits.check_source(rows, columns)?;
    Ok(Decoded {
        columns,
        rows,
        full: (columns, rows),
        cells: Cells::U8(picture.into_raw().into()),
        layout: BitLayout { bits: 8, shift: 0, signed: false },
        // ffmpeg undoes YBR_PARTIAL_420.
        space: SampleSpace::Colour(ColourSpace::Rgb),
    })
}

/// What `program` makes of the frame: nothing where it could not be decoded.
fn frame_as_png(program: &Path, encoded: &Encoded<'_>, patience: Duration) -> io::Result<Vec<u8>> {
    let frame = format!("select=eq(n\\,{})", encoded.attributes.frame.index());
    let mut ffmpeg = Ffmpeg::of(program, encoded.bytes, encoded.limits, &[])?;
    ffmpeg.args(&["-map", "0:v:0", "-vf", &frame, "-frames:v", "1"]);
    ffmpeg.args(&["-f", "image2pipe", "-c:v", "png", "-pix_fmt", "rgb24"]);
    output_of(&mut ffmpeg.command(0, "-"), patience, MOST_OUTPUT)
}

/// A run of `ffmpeg` on a stream, within its bounds.
pub(crate) struct Ffmpeg {
    program: PathBuf,
    stream: File,
    arguments: Vec<String>,
}

impl Ffmpeg {
    /// `input` are options of what is read, `limits` bound its pictures.
    pub(crate) fn on(bytes: &[u8], limits: &Limits, input: &[&str]) -> Result<Self> {
        let program = ffmpeg().ok_or_else(|| RenderError::unsupported("video without ffmpeg"))?;
        Self::of(&program, bytes, limits, input).map_err(failed)
    }

    fn of(program: &Path, bytes: &[u8], limits: &Limits, input: &[&str]) -> io::Result<Self> {
        // A file without a name, since containers are read back and forth.
        let mut stream = tempfile::tempfile()?;
        stream.write_all(bytes)?;
        stream.rewind()?;
        let mut run = Self { program: program.to_owned(), stream, arguments: Vec::new() };
        let pixels = limits.source_pixels.to_string();
        run.args(&["-nostdin", "-v", "error", "-threads", "1", "-max_pixels", &pixels]);
        run.args(&["-protocol_whitelist", "file", "-format_whitelist", FORMATS]);
        run.args(input);
        run.args(&["-i", "/dev/stdin"]);
        Ok(run)
    }

    /// Adds arguments.
    pub(crate) fn args(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// What it writes into a file, also back and forth: at most `most` bytes.
    pub(crate) fn run_into_file(self, most: u64) -> Result<Vec<u8>> {
        let mut written = tempfile::tempfile().map_err(failed)?;
        let out = written.try_clone().map_err(failed)?;
        let mut command = self.command(most, "/dev/stdout");
        if !ends_well(command.stdout(out).stderr(Stdio::null()), PATIENCE).map_err(failed)? {
            return Err(failed("ffmpeg gave up"));
        }
        let mut bytes = Vec::new();
        written.rewind().map_err(failed)?;
        written.take(most).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// The program within its bounds; its files may grow to `most_in_files` bytes.
    fn command(self, most_in_files: u64, output: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &cage(most_in_files)])
            .arg(self.program)
            .args(self.arguments)
            .arg(output);
        command.env_clear().current_dir("/").stdin(self.stream);
        command
    }
}

/// The script that runs a program within its bounds.
fn cage(most_in_files: u64) -> String {
    let blocks = most_in_files / FILE_BLOCK;
    format!("{DATA} && {BOUNDS} && ulimit -f {blocks} && {CLOSED} && exec \"$0\" \"$@\"")
}

/// Whether a process ends by itself and well; one that takes longer than `patience` is killed.
fn ends_well(command: &mut Command, patience: Duration) -> io::Result<bool> {
    let mut process = command.spawn()?;
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = process.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill()?;
    process.wait()?;
    Ok(false)
}

/// What a process writes until it ends. One that takes longer than `patience`, or writes more than
/// `most` bytes, is killed, and that is an error.
fn output_of(command: &mut Command, patience: Duration, most: u64) -> io::Result<Vec<u8>> {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = process.stdout.take();
    let (sender, written) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more once patience is at its end.
        let _ = sender.send(read_up_to(most, output));
    });
    let written = written.recv_timeout(patience);
    // Whatever came of it: a process that has closed its output has nothing left to do.
    let _ = process.kill();
    process.wait()?;
    written.map_err(|_| io::Error::other("ffmpeg does not come to an end"))?
}

fn read_up_to(most: u64, output: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(most + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("ffmpeg writes more than {most} bytes")));
    }
    Ok(bytes)
}

fn failed(error: impl std::fmt::Display) -> RenderError {
    RenderError::decode("video", error)
}

/// Where the program is searched for without a search path.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program that frames of videos are decoded by: the one that [`use_ffmpeg`] names, else the first in
/// the search path.
pub fn ffmpeg() -> Option<PathBuf> {
    if let Some(named) = NAMED.get() {
        return Some(named.clone());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).find(|file| file.is_file())
}

/// Names the program for the rest of this process, which may have no search path. The first word counts.
pub fn use_ffmpeg(program: PathBuf) {
    NAMED.get_or_init(|| program);
}

static NAMED: OnceLock<PathBuf> = OnceLock::new();

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::attributes::tests::image;

    /// Runs with a shell script in ffmpeg's place, one at a time: a script that is still open for
    /// writing in a process that another test is just starting could not be run.
    fn with_script<T>(script: &str, run: impl FnOnce(&Path) -> T) -> T {
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ffmpeg");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        run(&program)
    }

    fn with_ffmpeg_doing(script: &str, patience: Duration) -> io::Result<String> {
        let encoded = Encoded {
            attributes: &image(8, 8, 8),
            bytes: &Bytes::from_static(b"the stream"),
            lossless: false,
            limits: &Limits::default(),
            density: &|_, _| 1.0,
            tile: None,
        };
        let written = with_script(script, |program| frame_as_png(program, &encoded, patience))?;
        Ok(String::from_utf8_lossy(&written).into_owned())
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn an_ffmpeg_that_hangs_is_killed() {
        let begun = Instant::now();
        let error = with_ffmpeg_doing("exec /bin/sleep 60", Duration::from_millis(300));
        assert!(error.unwrap_err().to_string().contains("does not come to an end"));
        let error = with_ffmpeg_doing("while :; do :; done", Duration::from_millis(300));
        assert!(error.unwrap_err().to_string().contains("does not come to an end"));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn an_ffmpeg_that_floods_is_stopped_at_its_bound() {
        let error = with_ffmpeg_doing("exec /bin/cat /dev/zero", LONG).unwrap_err();
        assert!(error.to_string().contains("writes more than"), "{error}");
    }

    #[test]
    fn the_stream_is_its_standard_input_and_its_frame_is_named() {
        assert_eq!(with_ffmpeg_doing("/bin/cat", LONG).unwrap(), "the stream");
        assert_eq!(with_ffmpeg_doing("/bin/cat /dev/stdin", LONG).unwrap(), "the stream");
        let arguments = with_ffmpeg_doing("echo \"$@\"", LONG).unwrap();
        assert!(arguments.contains("-protocol_whitelist file "), "{arguments}");
        assert!(arguments.contains("select=eq(n\\,0)"), "{arguments}");
    }

    #[test]
    fn it_has_bounds_and_neither_environment_nor_files() {
        let limits = "ulimit -v; ulimit -t; ulimit -n; ulimit -f; ulimit -c; pwd";
        let limits = with_ffmpeg_doing(limits, LONG).unwrap();
        assert_eq!(
            limits.split_whitespace().collect::<Vec<_>>(),
            ["2097152", "30", "32", "0", "0", "/"]
        );
        let environment = with_ffmpeg_doing("exec /usr/bin/env", LONG).unwrap();
        let foreign = environment.lines().filter(|line| !line.starts_with("PWD="));
        assert_eq!(foreign.filter(|line| !line.starts_with("_=")).count(), 0, "{environment}");
        let written = with_ffmpeg_doing("echo x > /tmp/lightbox-test-$$ && echo written", LONG);
        assert_eq!(written.unwrap(), "");
    }

    #[test]
    fn what_this_process_was_started_with_is_closed() {
        let open =
            "[ -e /proc/$$/fd/3 ] && echo open; [ -e /proc/$$/fd/9 ] && echo open; echo done";
        let run = |cage: &str| {
            with_script(open, |program| {
                let leaking = "exec 3</dev/null 9</dev/null && exec /bin/sh -c \"$0\" \"$@\"";
                let done =
                    Command::new("/bin/sh").args(["-c", leaking, cage]).arg(program).output();
                String::from_utf8_lossy(&done.unwrap().stdout).into_owned()
            })
        };
        assert_eq!(run("exec \"$0\" \"$@\""), "open\nopen\ndone\n", "or nothing is tested");
        assert_eq!(run(&cage(0)), "done\n");
    }

    #[test]
    fn memory_beyond_its_bound_is_refused() {
        let hog = "x=0123456789; while :; do x=$x$x; done 2>&1; echo alive";
        let output = with_ffmpeg_doing(hog, LONG);
        assert!(output.is_ok_and(|text| !text.contains("alive")));
    }
}
