//! The frames that are measured, and the bare decoders they are measured against.

use std::path::{Path, PathBuf};

use core_render::{
    FrameChoice, Framing, Limits, Output, Overlays, Quality, RenderJob, RenderSpec, Source,
};

/// Name, and path within the corpus.
const FRAMES: &[(&str, &str)] = &[
    ("ct_512_native", "ct/ct2_unc.dcm"),
    ("ct_512_j2k", "ct/ct1_j2kr.dcm"),
    ("ct_512_jpeg_ls", "ct/ct2_jlsn.dcm"),
    ("mr_1024_jpeg_lossless", "mr/mr2_jpeg_lossless_process14.dcm"),
    ("mr_512_rle", "mr/mr4_rle.dcm"),
    ("us_640_jpeg", "us/us_ybr422_jpeg_baseline.dcm"),
    ("cr_1760_jpeg_12bit", "cr-dx-mg/rg2_jply.dcm"),
    ("mg_7mp_jpeg_lossless", "cr-dx-mg/mg_sigmoid_voilut_three_windows.dcm"),
    ("mg_14mp_j2k", "cr-dx-mg/mg1_j2ki.dcm"),
];

/// A frame to measure: the first of its file.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Frames of the corpus where it is there, else of samples made in code, which live in `folder`.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let corpus = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let found: Vec<Case> = FRAMES
        .iter()
        .map(|(name, path)| Case { name: (*name).to_owned(), path: corpus.join(path) })
        .filter(|case| case.path.is_file())
        .collect();
    if found.is_empty() { samples(folder) } else { found }
}

/// The first object of each modality of the demo's studies.
fn samples(folder: &Path) -> Vec<Case> {
    folder_origin::samples::write(folder).expect("the samples can be written");
    let mut files: Vec<PathBuf> = files_below(folder);
    files.sort();
    let drawn = files.into_iter().filter(|path| {
        let file = std::fs::read(path).unwrap_or_default().into();
        core_render::render(&job(&file, Size::Thumbnail), &mut |_| Ok(())).is_ok()
    });
    let case = |path: PathBuf| {
        Some(Case { name: path.file_stem()?.to_str()?.to_owned(), path: path.clone() })
    };
    drawn.filter_map(case).step_by(8).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// How large a picture is made.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Size {
    /// The native size, quality 90.
    Full,
    /// 256 pixels, quality 80.
    Thumbnail,
}

/// A JPEG of the first frame.
pub(crate) fn job(file: &bytes::Bytes, size: Size) -> RenderJob {
    let frame = FrameChoice::Number(dicomweb_types::FrameNumber::FIRST);
    RenderJob::new(Source::File { bytes: file.clone(), frame }, spec(size), Limits::default())
}

pub(crate) fn spec(size: Size) -> RenderSpec {
    let (framing, quality) = match size {
        Size::Full => (Framing::Native, Quality::RENDERED),
        Size::Thumbnail => {
            (Framing::FitWithin(256.try_into().expect("above 0")), Quality::THUMBNAIL)
        }
    };
    RenderSpec { overlays: Overlays::Omit, ..RenderSpec::new(framing, Output::Jpeg(quality)) }
}

/// A codestream, with the C decoder that it calls for.
pub(crate) enum Bare {
    Jpeg2000 { stream: bytes::Bytes, reduce: u8 },
    Jpeg(bytes::Bytes),
    JpegLs(bytes::Bytes),
}

impl Bare {
    /// What is in a file; JPEG 2000 at the reduction that the size needs. `None`: native cells or RLE.
    pub(crate) fn find(case: &Case, file: &bytes::Bytes, size: Size) -> Option<Self> {
        // Bytes that look like a codestream may be none.
        if case.name.ends_with("native") || case.name.ends_with("rle") {
            return None;
        }
        if let Some(stream) = codestream(file, &[0xFF, 0x4F, 0xFF, 0x51]) {
            let header = native_codecs::jpeg2000::header(&stream).ok()?;
            // Two pixels for one of the thumbnail along the longest side, as the renderer keeps.
            let spare = match size {
                Size::Full => 1,
                Size::Thumbnail => (header.width.max(header.height) / 512).max(1),
            };
            let reduce = (spare.ilog2() as u8).min(header.levels);
            return Some(Self::Jpeg2000 { stream, reduce });
        }
        let stream = codestream(file, &[0xFF, 0xD8, 0xFF])?;
        match native_codecs::jpeg::header(&stream) {
            Ok(_) => Some(Self::Jpeg(stream)),
            Err(_) => Some(Self::JpegLs(stream)),
        }
    }

    pub(crate) fn decode(&self) {
        use native_codecs::{jpeg, jpeg_ls, jpeg2000};
        use std::hint::black_box;
        let done = match self {
            Self::Jpeg2000 { stream, reduce } => {
                jpeg2000::decode(stream, *reduce, 1).map(|image| drop(black_box(image)))
            }
            Self::Jpeg(stream) => {
                jpeg::decode(stream, jpeg::Reduction::Full).map(|image| drop(black_box(image)))
            }
            Self::JpegLs(stream) => jpeg_ls::decode(stream).map(|image| drop(black_box(image))),
        };
        done.expect("the codestream decodes");
    }
}

/// The last codestream that begins so, its fragments joined: an icon may come before the image.
fn codestream(file: &bytes::Bytes, mark: &[u8]) -> Option<bytes::Bytes> {
    const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    let begins = |window: &[u8]| window.starts_with(&ITEM) && window[8..] == *mark;
    let mut at = file.windows(8 + mark.len()).rposition(begins)?;
    // Pages that are never written to cost nothing.
    let mut stream = Vec::with_capacity(file.len() - at);
    while file[at..].starts_with(&ITEM) {
        let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().expect("four bytes"));
        let end = at + 8 + length as usize;
        stream.extend_from_slice(&file[at + 8..end]);
        at = end;
    }
    Some(stream.into())
}
