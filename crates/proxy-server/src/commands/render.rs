//! `lightbox render`: one file → one picture, by the same renderer as the proxy's; or the report, the
//! document or the video that the file holds.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use core_render::{
    AnnotationParameter, BurnedIn, Cine, EncapsulatedDocument, FrameChoice, Framing, IccProfile,
    Limits, Output, Overlays, Presentation, PresentationState, Quality, RenderError, RenderJob,
    RenderSpec, Source, VideoStream, Viewport, Window, frames_of_file,
};
use dicomweb_types::{DocumentType, FrameNumber, MediaType};
use report_render::{Report, native_xml};

use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct Render {
    /// The DICOM file
    file: PathBuf,
    /// What to write; its ending says the type unless --accept does: a picture (.jpg, .png), a report
    /// (.html, .txt, .xml), an encapsulated document (.pdf, .xml, .stl, .obj, .mtl) or a video
    /// (.mp4, .mpg)
    out: PathBuf,
    /// Frame number, from 1 [default: the representative frame; all of them in a GIF or WebP]
    #[arg(long, value_name = "N")]
    frame: Option<FrameNumber>,
    /// Window, as CENTER,WIDTH,FUNCTION with linear, linear-exact or sigmoid [default: the file's own]
    #[arg(long, value_name = "C,W,FUNCTION", allow_hyphen_values = true)]
    window: Option<Window>,
    /// Size, and part of the image, as W,H[,X,Y,W,H] [default: the native size]
    #[arg(long, value_name = "W,H[,X,Y,W,H]")]
    viewport: Option<Viewport>,
    /// Quality of JPEG, WebP and JPEG 2000, 1 to 100; JPEG 2000 is lossless at 100 [default: 90]
    #[arg(long, value_name = "Q")]
    quality: Option<Quality>,
    /// Media type: image/jpeg, image/png, text/html …
    #[arg(long, value_name = "TYPE", value_parser = target)]
    accept: Option<Target>,
    /// Texts in the corners, as KEYWORD[,KEYWORD] with patient and technique [default: none]
    #[arg(long, value_name = "KEYWORDS")]
    annotation: Option<AnnotationParameter>,
    /// Draws the image as this presentation state wants it, which must refer to it
    #[arg(long, value_name = "FILE", conflicts_with = "window")]
    presentation_state: Option<PathBuf>,
    /// Whether overlay planes are drawn [default: yes]
    #[arg(long, value_enum)]
    overlays: Option<YesNo>,
    /// Profile to embed, and colours to convert to: no, yes, srgb, adobergb or rommrgb
    /// [default: sRGB, none embedded]
    #[arg(long, value_name = "PROFILE")]
    iccprofile: Option<IccProfile>,
}

#[derive(Clone, Copy, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Target {
    Picture(MediaType),
    Document(DocumentType),
}

pub(crate) fn run(args: &Render) -> Outcome {
    let target = args.accept.or_else(|| by_ending(&args.out)).ok_or_else(|| {
        Failure::Usage(format!(
            "{}: the ending says no type that can be written; name one with --accept",
            args.out.display()
        ))
    })?;
    let limits = Limits::default();
    if matches!(target, Target::Document(_)) {
        refuse_options_of_pictures(args)?;
    }
    let file = read(&args.file, limits.source_bytes).map_err(|e| failed(&args.file, &e))?;
    let bytes = match target {
        Target::Picture(media_type) => picture(args, file, media_type, limits)?.into(),
        Target::Document(document_type) => document(args, &file, document_type, &limits)?,
    };
    fs::write(&args.out, &bytes).map_err(|e| failed(&args.out, &e))
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Work(format!("{}: {error}", file.display()))
}

fn picture(
    args: &Render,
    bytes: Bytes,
    media_type: MediaType,
    limits: Limits,
) -> Result<Vec<u8>, Failure> {
    for unknown in args.annotation.iter().flat_map(|annotation| &annotation.unknown) {
        eprintln!("lightbox: warning: there is no annotation of {unknown}");
    }
    let spec = spec(args, media_type);
    let (source, presentation) = match &args.presentation_state {
        Some(state) => {
            let frame = args.frame.map_or(FrameChoice::Representative, FrameChoice::Number);
            let (frame, presentation) = presented(state, &args.file, &bytes, frame, &limits)?;
            (Source::File { bytes, frame }, presentation)
        }
        None => {
            let source = source(bytes, args.frame, spec.output, &limits);
            (source.map_err(|e| failed(&args.file, &e))?, None)
        }
    };
    let job = RenderJob { presentation, ..RenderJob::new(source, spec, limits) };
    let picture = core_render::render(&job, &mut |_| Ok(())).map_err(|e| failed(&args.file, &e))?;
    for warning in &picture.warnings {
        eprintln!("lightbox: {}: warning: {warning}", args.file.display());
    }
    Ok(picture.bytes.into())
}

/// The frame that is named; else all of them, if the output can show them, and the representative one
/// if not.
fn source(
    bytes: Bytes,
    frame: Option<FrameNumber>,
    output: Output,
    limits: &Limits,
) -> Result<Source, RenderError> {
    let frame = match (frame, output) {
        (Some(frame), _) => FrameChoice::Number(frame),
        (None, Output::Gif | Output::WebP(_)) => {
            let frames = frames_of_file(&bytes, limits)?;
            if frames.len() > 1 {
                return Ok(Source::Cine(Box::new(Cine::File { bytes, frames })));
            }
            FrameChoice::Representative
        }
        (None, Output::Jpeg(_) | Output::Png | Output::Jp2(_)) => FrameChoice::Representative,
    };
    Ok(Source::File { bytes, frame })
}

/// The report, the encapsulated document or the video in a file.
fn document(
    args: &Render,
    file: &Bytes,
    wanted: DocumentType,
    limits: &Limits,
) -> Result<Bytes, Failure> {
    use DocumentType::*;
    let found = match wanted {
        Html | PlainText => report(file, wanted, limits),
        // A stored CDA is XML as it is.
        Xml => match encapsulated(file, Xml, limits) {
            Ok(None) => report(file, Xml, limits),
            other => other,
        },
        Pdf | Stl | Obj | Mtl => encapsulated(file, wanted, limits),
        Mp4 | Mpeg => video(file, wanted, limits),
    };
    let kind = match wanted {
        Html | PlainText | Xml => "report",
        Pdf => "PDF",
        Stl | Obj | Mtl => "model of this type",
        Mp4 => "video",
        Mpeg => "MPEG-2 video",
    };
    found
        .map_err(|error| failed(&args.file, &error))?
        .ok_or_else(|| Failure::Work(format!("{} holds no {kind}", args.file.display())))
}

type Found = Result<Option<Bytes>, Box<dyn std::error::Error>>;

fn report(file: &Bytes, wanted: DocumentType, limits: &Limits) -> Found {
    let dataset = core_render::FileAttributes::read(file, limits)?.dataset;
    let written = Report::read(&dataset)?.map(|report| match wanted {
        DocumentType::PlainText => report.to_text(),
        DocumentType::Xml => native_xml(&dataset),
        _ => report.to_html(),
    });
    Ok(written.map(Bytes::from))
}

fn encapsulated(file: &Bytes, wanted: DocumentType, limits: &Limits) -> Found {
    let document = EncapsulatedDocument::open(file, limits)?;
    Ok(document.filter(|found| found.media_type == wanted).map(|found| found.bytes))
}

fn video(file: &Bytes, wanted: DocumentType, limits: &Limits) -> Found {
    let Some(stream) = VideoStream::open(file, limits)? else { return Ok(None) };
    match wanted {
        DocumentType::Mp4 => Ok(Some(stream.to_mp4(limits)?)),
        _ => Ok(Some(stream).filter(|s| s.media_type() == Some(wanted)).map(|s| s.bytes)),
    }
}

/// What is accepted is not dropped: these say something about pictures only.
fn refuse_options_of_pictures(args: &Render) -> Outcome {
    let given = [
        ("--frame", args.frame.is_some()),
        ("--window", args.window.is_some()),
        ("--viewport", args.viewport.is_some()),
        ("--quality", args.quality.is_some()),
        ("--overlays", args.overlays.is_some()),
        ("--annotation", args.annotation.is_some()),
        ("--iccprofile", args.iccprofile.is_some()),
        ("--presentation-state", args.presentation_state.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::Usage(format!("{option} is for pictures"))),
        None => Ok(()),
    }
}

/// The frame that is drawn, and how the presentation state in a file wants it.
fn presented(
    state: &Path,
    image: &Path,
    bytes: &Bytes,
    frame: FrameChoice,
    limits: &Limits,
) -> Result<(FrameChoice, Option<Box<Presentation>>), Failure> {
    let stored = read(state, limits.source_bytes).map_err(|e| failed(state, &e))?;
    let state_of = PresentationState::of_file(&stored, limits).map_err(|e| failed(state, &e))?;
    let state_of = state_of.ok_or_else(|| failed(state, &"it is no presentation state"))?;
    let presented = state_of.for_file(bytes, frame, limits).map_err(|e| failed(image, &e))?;
    let (frame, presentation) =
        presented.ok_or_else(|| failed(state, &"it does not refer to this frame of this image"))?;
    Ok((FrameChoice::Number(frame), Some(Box::new(presentation))))
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
            Some(YesNo::Yes) | None => Overlays::Draw,
            Some(YesNo::No) => Overlays::Omit,
        },
        annotation: args.annotation.as_ref().map(|a| a.annotation).unwrap_or_default(),
        corner_label: false,
        icc_profile: args.iccprofile,
        burned_in: BurnedIn::Render,
    }
}

fn by_ending(path: &Path) -> Option<Target> {
    let ending = path.extension()?.to_str()?;
    let picture = MediaType::from_extension(ending).map(Target::Picture);
    picture.or_else(|| DocumentType::from_extension(ending).map(Target::Document))
}

fn target(name: &str) -> Result<Target, String> {
    let picture = MediaType::ALL.into_iter().find(|media_type| media_type.as_str() == name);
    picture
        .map(Target::Picture)
        .or_else(|| DocumentType::from_name(name).map(Target::Document))
        .ok_or_else(|| "must be a type such as image/jpeg, image/png or text/html".to_owned())
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
        let picture = |media_type| Some(Target::Picture(media_type));
        assert_eq!(by_ending(Path::new("a/b.JPEG")), picture(MediaType::Jpeg));
        assert_eq!(by_ending(Path::new("b.png")), picture(MediaType::Png));
        let document = |document_type| Some(Target::Document(document_type));
        assert_eq!(by_ending(Path::new("b.htm")), document(DocumentType::Html));
        assert_eq!(by_ending(Path::new("b.mp4")), document(DocumentType::Mp4));
        assert_eq!(by_ending(Path::new("b.bmp")), None);
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
