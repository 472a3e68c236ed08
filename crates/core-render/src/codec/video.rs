//! MPEG-2, H.264 and HEVC (PS3.5 §8.2.5 to 8.2.8): one frame of the stream, through the `ffmpeg`
//! program where it is installed.
//!
//! It runs as a process of its own with bounded memory and processor time and an empty environment. It
//! may read nothing but the stream: no network, no other file, no container that names others.

use std::io::{Seek, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::codec::{Decoded, Encoded, SampleSpace};
use crate::colour::rgb::ColourSpace;
use crate::error::{RenderError, Result};
use crate::pixel::cells::{BitLayout, Cells};

/// Address space in KiB and processor time in seconds. A frame of 8K video takes less than a quarter.
const LIMITS: &str = "ulimit -v 2097152 && ulimit -t 30";

/// Demuxers of the streams and containers that DICOM allows (PS3.5 §8.2.5).
const FORMATS: &str = "mpegvideo,mpeg,mpegts,h264,hevc,mov";

pub(super) fn decode(encoded: &Encoded<'_>) -> Result<Decoded> {
    let program = ffmpeg().ok_or_else(|| RenderError::unsupported("video without ffmpeg"))?;
    let failed = |error: &dyn std::fmt::Display| RenderError::decode("video", error);
    // A file without a name, since containers are read back and forth.
    let mut stream = tempfile::tempfile().map_err(|error| failed(&error))?;
    stream
        .write_all(encoded.bytes)
        .and_then(|()| stream.rewind())
        .map_err(|error| failed(&error))?;
    let frame = format!("select=eq(n\\,{})", encoded.attributes.frame.index());
    let pixels = encoded.limits.source_pixels.to_string();
    let done = Command::new("/bin/sh")
        .args(["-c", &format!("{LIMITS} && exec \"$0\" \"$@\"")])
        .arg(program)
        .args(["-nostdin", "-v", "error", "-threads", "1", "-max_pixels", &pixels])
        .args(["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", "/dev/stdin"])
        .args(["-map", "0:v:0", "-vf", &frame, "-frames:v", "1"])
        .args(["-f", "image2pipe", "-c:v", "png", "-pix_fmt", "rgb24", "-"])
        .env_clear()
        .stdin(stream)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| failed(&error))?;
    if done.stdout.is_empty() {
        return Err(failed(&"no such frame could be decoded"));
    }
    let picture =
        image::load_from_memory(&done.stdout).map_err(|error| failed(&error))?.into_rgb8();
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

/// The program, if it is in the search path.
pub(crate) fn ffmpeg() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).find(|file| file.is_file())
}
