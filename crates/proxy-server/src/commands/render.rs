//! `lightbox render`: one file → one picture, by the same renderer as the proxy's.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use core_render::{
    Annotation, FrameChoice, Framing, Limits, Output, Overlays, Quality, RenderJob, RenderSpec,
    Source, Viewport, Window,
};
use dicomweb_types::{FrameNumber, MediaType};

use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct Render {
    /// The DICOM file
    file: PathBuf,
    /// The picture to write; its ending (.jpg, .png) says the type unless --accept does
    out: PathBuf,
    /// Frame number, from 1 [default: the representative frame]
    #[arg(long, value_name = "N")]
    frame: Option<FrameNumber>,
    /// Window, as CENTER,WIDTH,FUNCTION with linear, linear-exact or sigmoid [default: the file's own]
    #[arg(long, value_name = "C,W,FUNCTION", allow_hyphen_values = true)]
    window: Option<Window>,
    /// Size, and part of the image, as W,H[,X,Y,W,H] [default: the native size]
    #[arg(long, value_name = "W,H[,X,Y,W,H]")]
    viewport: Option<Viewport>,
    /// JPEG quality, 1 to 100 [default: 90]
    #[arg(long, value_name = "Q")]
    quality: Option<Quality>,
    /// Media type: image/jpeg or image/png
    #[arg(long, value_name = "TYPE", value_parser = media_type)]
    accept: Option<MediaType>,
    /// Whether overlay planes are drawn
    #[arg(long, value_enum, default_value_t = YesNo::Yes)]
    overlays: YesNo,
}

#[derive(Clone, Copy, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

pub(crate) fn run(args: &Render) -> Outcome {
    let media_type = args.accept.or_else(|| by_ending(&args.out)).ok_or_else(|| {
        Failure::Usage(format!(
            "{}: the ending is neither .jpg nor .png; name the type with --accept",
            args.out.display()
        ))
    })?;
    let limits = Limits::default();
    let failed = |file: &Path, error: &dyn std::fmt::Display| {
        Failure::Work(format!("{}: {error}", file.display()))
    };
    let bytes = read(&args.file, limits.source_bytes).map_err(|e| failed(&args.file, &e))?;
    let frame = args.frame.map_or(FrameChoice::Representative, FrameChoice::Number);
    let job = RenderJob::new(Source::File { bytes, frame }, spec(args, media_type), limits);
    let picture = core_render::render(&job, &mut |_| ()).map_err(|e| failed(&args.file, &e))?;
    for warning in &picture.warnings {
        eprintln!("lightbox: {}: warning: {warning}", args.file.display());
    }
    fs::write(&args.out, &picture.bytes).map_err(|e| failed(&args.out, &e))
}

fn spec(args: &Render, media_type: MediaType) -> RenderSpec {
    RenderSpec {
        window: args.window,
        framing: args.viewport.map_or(Framing::Native, Framing::Viewport),
        output: match media_type {
            MediaType::Jpeg => Output::Jpeg(args.quality.unwrap_or(Quality::RENDERED)),
            MediaType::Png => Output::Png,
            MediaType::Gif => Output::Gif,
            MediaType::WebP => Output::WebP(args.quality.unwrap_or(Quality::RENDERED)),
            MediaType::Jp2 => Output::Jp2(args.quality.unwrap_or(Quality::RENDERED)),
        },
        overlays: match args.overlays {
            YesNo::Yes => Overlays::Draw,
            YesNo::No => Overlays::Omit,
        },
        annotation: Annotation::default(),
        icc_profile: None,
    }
}

fn by_ending(path: &Path) -> Option<MediaType> {
    MediaType::from_extension(path.extension()?.to_str()?)
}

fn media_type(text: &str) -> Result<MediaType, String> {
    MediaType::ALL
        .into_iter()
        .find(|media_type| media_type.as_str() == text)
        .ok_or_else(|| "must be image/jpeg or image/png".to_owned())
}

/// The file, unless it is larger than the limit: what is read never exceeds that by more than a byte.
fn read(path: &Path, limit: u64) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("larger than the limit of {limit} bytes")));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_type() {
        assert_eq!(by_ending(Path::new("a/b.JPEG")), Some(MediaType::Jpeg));
        assert_eq!(by_ending(Path::new("b.png")), Some(MediaType::Png));
        assert_eq!(by_ending(Path::new("b.gif")), None);
        assert_eq!(by_ending(Path::new("png")), None);
    }

    #[test]
    fn files_above_the_limit_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        fs::write(&file, [0; 11]).unwrap();
        assert!(read(&file, 10).is_err());
        assert_eq!(read(&file, 11).unwrap().len(), 11);
    }
}
