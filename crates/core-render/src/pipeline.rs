//! The order of the stages, and why it is that one.
//!
//! ```text
//! source -> frame -> cells                       decode; of a slide tile by tile, put together in
//!                                                `mosaic` as far as overlays, and one from there on
//!   grey:   modality -> VOI -> polarity          one curve, sampled into a table
//!   colour: palette, or YBR -> RGB
//!   -> overlays, shutter                         before scaling: they are in image pixels
//!   -> burned in texts hidden                    likewise, and never finer by what is shown of them
//!   -> region, size, mirror                      after the VOI: interpolating stored values would
//!                                                mix padding and bend a non-linear VOI
//!   -> ICC profile to sRGB, or as asked          after scaling: fewer pixels
//!   -> annotation                                after everything else (R2.5)
//!   -> bytes                                     encode; an animation frame by frame, in `cine`
//! card                                           no image, or none that may be shown: drawn in its size,
//!                                                and encoded
//! ```
//!
//! A presentation state has stages of its own, which are in `presentation`.

use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;

use crate::annotation;
use crate::attributes::{ImageAttributes, Modality, Voi};
use crate::burned_in;
use crate::card;
use crate::cine;
use crate::codec::{self, Decoded, Encoded, SampleSpace};
use crate::colour::icc::{self, Managed};
use crate::colour::rgb::to_rgb;
use crate::encode;
use crate::error::{RenderError, Result};
use crate::frame::Frame;
use crate::geometry::Plan;
use crate::lut::curve::{Curve, ResolvedVoi};
use crate::mosaic;
use crate::pixel::cells::mask;
use crate::pixel::raster::{Channels, Raster};
use crate::presentation;
use crate::source::{Card, CardKind, Labels, Observer, Picture, RenderJob, Source, Stage};
use crate::spec::{Overlays, RenderSpec};

pub(crate) fn run(job: &RenderJob, observe: &mut Observer<'_>) -> Result<Picture> {
    run_if(job, observe, may_be_decoded_smaller)
}

/// [`run`], decoding at a reduced size where `reducible` says that it does no harm.
fn run_if(
    job: &RenderJob,
    observe: &mut Observer<'_>,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
) -> Result<Picture> {
    encode::check_profile(job.spec.output, job.spec.icc_profile)?;
    if let (Source::Cine(cine), None) = (&job.source, &job.presentation) {
        return cine::render(cine, job, observe);
    }
    picture(finished(job, observe, reducible)?, &job.spec, observe)
}

/// How much the display values of a picture differ: their standard deviation, 0 to 127.5.
pub(crate) fn contrast(job: &RenderJob) -> Result<f64> {
    let Finished { raster, .. } = finished(job, &mut |_| Ok(()), may_be_decoded_smaller)?;
    let count = raster.data.len() as f64;
    let mean = raster.data.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let squares: f64 = raster.data.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    Ok((squares / count).sqrt())
}

/// A still, all but encoded.
fn finished(
    job: &RenderJob,
    observe: &mut Observer<'_>,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
) -> Result<Finished> {
    match (&job.source, &job.presentation) {
        (Source::Card(card), _) => of_card(card, job, observe),
        (_, Some(presentation)) => presentation::draw(presentation, job, observe),
        (_, None) => of_image(job, observe, reducible),
    }
}

fn of_image(
    job: &RenderJob,
    observe: &mut Observer<'_>,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
) -> Result<Finished> {
    observe(Stage::Decode)?;
    match &job.source {
        Source::Tiles(tiles) if tiles.attributes.burned_in.wants_icon(&job.spec) => {
            icon(None, &tiles.attributes, job, observe)
        }
        Source::Tiles(tiles) => finish(mosaic::assemble(tiles, job, reducible, observe)?, job),
        Source::Card(_) => Err(RenderError::NotAnImage),
        Source::Cine(_) => Err(RenderError::unsupported("a still of an animation")),
        Source::File { bytes, frame } => {
            of_frame(Frame::in_file(bytes, *frame, &job.limits)?, job, reducible, observe)
        }
        Source::Frame { attributes, transfer_syntax, bytes } => {
            let frame = Frame::alone(attributes, transfer_syntax, bytes, &job.limits)?;
            of_frame(frame, job, reducible, observe)
        }
    }
}

/// A still of one frame.
pub(crate) fn still(frame: Frame, job: &RenderJob, observe: &mut Observer<'_>) -> Result<Picture> {
    picture(of_frame(frame, job, may_be_decoded_smaller, observe)?, &job.spec, observe)
}

/// A frame of an animation, all but encoded.
pub(crate) fn animated(
    frame: Frame,
    job: &RenderJob,
    observe: &mut Observer<'_>,
) -> Result<Finished> {
    of_frame(frame, job, may_be_decoded_smaller, observe)
}

fn picture(finished: Finished, spec: &RenderSpec, observe: &mut Observer<'_>) -> Result<Picture> {
    observe(Stage::Encode)?;
    let Finished { raster, profile, frame, warnings } = finished;
    Ok(Picture {
        bytes: encode::encode(&raster, profile.as_deref(), spec.output)?.into(),
        media_type: spec.output.media_type(),
        width: raster.width,
        height: raster.height,
        frame,
        warnings,
    })
}

fn of_frame(
    frame: Frame,
    job: &RenderJob,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
    observe: &mut Observer<'_>,
) -> Result<Finished> {
    if frame.attributes.burned_in.wants_icon(&job.spec) {
        return icon(frame.dataset.as_ref(), &frame.attributes, job, observe);
    }
    finish(one_frame(frame, job, reducible, observe)?, job)
}

/// A card carries no annotation: what it may say is on it.
fn of_card(card: &Card, job: &RenderJob, observe: &mut Observer<'_>) -> Result<Finished> {
    observe(Stage::Render)?;
    as_card(card::draw(card, job.spec.framing, &job.limits)?, FrameNumber::FIRST, job)
}

/// The card in place of an image whose texts may not be shown; nothing of it is decoded.
pub(crate) fn icon(
    dataset: Option<&InMemDicomObject>,
    attributes: &ImageAttributes,
    job: &RenderJob,
    observe: &mut Observer<'_>,
) -> Result<Finished> {
    observe(Stage::Render)?;
    let frame = attributes.frame;
    let own = dataset.and_then(|dataset| Labels::of(dataset, frame).series);
    let series = own.or_else(|| job.labels.as_ref().and_then(|labels| labels.series.clone()));
    let raster = card::draw_named(CardKind::Image, series, job.spec.framing, &job.limits)?;
    as_card(raster, frame, job)
}

fn as_card(raster: Raster, frame: FrameNumber, job: &RenderJob) -> Result<Finished> {
    let (asked, mut warnings) = (job.spec.icc_profile, Vec::new());
    let Managed { raster, profile } =
        icc::manage(raster, None, asked, job.spec.output, &mut warnings);
    Ok(Finished { raster, profile, frame, warnings })
}

/// Display values, framed, in the colours of the picture, with its texts.
pub(crate) struct Finished {
    pub raster: Raster,
    /// The ICC profile to embed.
    pub profile: Option<Vec<u8>>,
    /// Which frame it shows.
    pub frame: FrameNumber,
    pub warnings: Vec<String>,
}

fn finish(drawn: Drawn, job: &RenderJob) -> Result<Finished> {
    let Drawn { raster, plan, attributes, labels, mut warnings } = drawn;
    let (own, asked) = (attributes.icc_profile.as_deref(), job.spec.icc_profile);
    let framed = plan.apply(raster)?;
    let Managed { mut raster, profile } =
        icc::manage(framed, own, asked, job.spec.output, &mut warnings);
    let labels = labels.as_ref().or(job.labels.as_ref());
    annotation::burn_in(&mut raster, &job.spec, labels, &attributes);
    Ok(Finished { raster, profile, frame: attributes.frame, warnings })
}

/// Display values, not yet framed.
pub(crate) struct Drawn {
    pub raster: Raster,
    /// How they are to be framed.
    pub plan: Plan,
    pub attributes: ImageAttributes,
    /// The texts of an annotation, where it is asked for and the source holds them.
    pub labels: Option<Labels>,
    pub warnings: Vec<String>,
}

fn one_frame(
    frame: Frame,
    job: &RenderJob,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
    observe: &mut Observer<'_>,
) -> Result<Drawn> {
    let (attributes, mut warnings) = (frame.attributes, frame.warnings);
    let annotated = frame.dataset.filter(|_| annotation::is_asked_for(&job.spec));
    let labels = annotated.map(|dataset| Labels::of(&dataset, attributes.frame));
    job.limits.check_source(attributes.rows, attributes.columns)?;
    let plan_for = |columns, rows| {
        Plan::new(job.spec.framing, columns, rows, attributes.pixel_aspect, &job.limits)
    };
    // Refuses an impossible region or size before the work.
    plan_for(attributes.columns, attributes.rows)?;
    let reducible = reducible(&attributes, &job.spec);
    let density = |columns, rows| match plan_for(columns, rows) {
        Ok(plan) if reducible => plan.density(),
        _ => 1.0,
    };
    let encoded = Encoded {
        attributes: &attributes,
        bytes: &frame.bytes,
        lossless: is_lossless(&frame.transfer_syntax),
        limits: &job.limits,
        density: &density,
        tile: None,
    };
    let decoded = codec::decode(&frame.transfer_syntax, &encoded, &mut warnings)?;
    warn_of_size(&decoded, &attributes, &mut warnings);
    let full = decoded.full;
    let plan = plan_for(full.0, full.1)?;

    observe(Stage::Render)?;
    let mut raster = draw(decoded, &attributes, &job.spec, &mut warnings)?;
    burned_in::hide(&mut raster, full, &attributes, &job.spec);
    Ok(Drawn { raster, plan, attributes, labels, warnings })
}

pub(crate) fn warn_of_size(
    decoded: &Decoded,
    attributes: &ImageAttributes,
    warnings: &mut Vec<String>,
) {
    if decoded.full != (attributes.columns, attributes.rows) {
        warnings
            .push("the codestream has another size than Rows and Columns; it is shown".to_owned());
    }
}

/// Design §3: averaging stored values before the VOI is harmless for colour, and for grey that has
/// nothing but a picture in its cells, through a curve without steps.
fn may_be_decoded_smaller(attributes: &ImageAttributes, spec: &RenderSpec) -> bool {
    let overlays = spec.overlays == Overlays::Draw && !attributes.overlays.is_empty();
    let plain_grey = is_gentle(attributes, spec)
        && attributes.padding.is_none()
        && attributes.palette.is_none()
        && !attributes.segmentation
        && !attributes.overlays.iter().any(|overlay| overlay.is_embedded());
    !overlays && (attributes.samples_per_pixel == 3 || plain_grey)
}

/// Whether the grey curve rises slowly: over an eighth of the stored range or more. Across a steeper
/// one, the mean of two pixels is drawn far from the mean of what they are drawn as.
///
/// Without a window the frame's true extremes are needed, so it counts as steep.
fn is_gentle(attributes: &ImageAttributes, spec: &RenderSpec) -> bool {
    let slope = match attributes.modality {
        Modality::Identity => 1.0,
        Modality::Rescale { slope, .. } => slope.abs(),
        Modality::Lut(_) => return false,
    };
    let width = match (spec.window, &attributes.voi) {
        (Some(window), _) | (None, &Voi::Window(window)) => window.width(),
        (None, Voi::Lut(lut)) => lut.len() as f64,
        (None, Voi::Range { .. } | Voi::None) => return false,
    };
    width / slope * 8.0 >= f64::from(attributes.bits_stored.min(31)).exp2()
}

pub(crate) fn is_lossless(syntax: &dicomweb_types::TransferSyntax) -> bool {
    use dicomweb_types::TransferSyntax::*;
    !matches!(
        syntax,
        JpegBaseline | JpegExtended | JpegLsNearLossless | Jpeg2000 | Htj2k | JpegXl | Other(_)
    )
}

/// Cells to display values, overlays included, at the size that was decoded.
pub(crate) fn draw(
    decoded: Decoded,
    attributes: &ImageAttributes,
    spec: &RenderSpec,
    warnings: &mut Vec<String>,
) -> Result<Raster> {
    let (width, height) = (decoded.columns, decoded.rows);
    let drawn = if spec.overlays == Overlays::Draw { &attributes.overlays[..] } else { &[] };
    let cells = (!drawn.is_empty()).then(|| decoded.cells.clone());
    let (channels, data) = match (decoded.space, &attributes.palette) {
        (SampleSpace::Single, Some(palette)) => {
            let curve = curve(&decoded, attributes, spec);
            let table = || palette.table(decoded.layout, &curve);
            (Channels::Rgb, index_palette(&decoded, table)?)
        }
        (SampleSpace::Single, None) => {
            let curve = curve(&decoded, attributes, spec);
            let table = |range| curve.table(decoded.layout, range);
            let display = |stored| curve.display(stored);
            (Channels::Grey, decoded.cells.map(decoded.layout, table, display))
        }
        (SampleSpace::Colour(space), _) => {
            if attributes.samples_per_pixel == 1 {
                warnings.push("the codestream has colour, the attributes have none".to_owned());
            }
            (Channels::Rgb, to_rgb(decoded.cells, decoded.layout, space))
        }
    };
    let mut raster = Raster { width, height, channels, data };
    if let Some(cells) = cells {
        for overlay in drawn {
            overlay.draw(&mut raster, attributes.frame.get(), &cells);
        }
    }
    if let Some(shutter) = &attributes.shutter {
        shutter.close(&mut raster, decoded.full);
    }
    Ok(raster)
}

/// The grey curve of a frame.
fn curve<'a>(decoded: &Decoded, attributes: &'a ImageAttributes, spec: &RenderSpec) -> Curve<'a> {
    let (modality, padding) = (&attributes.modality, attributes.padding);
    let asked = spec.window.filter(|_| !attributes.segmentation);
    let voi = if attributes.samples_per_pixel == 3 {
        // Colour by its attributes, grey by its codestream: shown over its whole range.
        ResolvedVoi::Range { low: 0.0, high: f64::from(mask(decoded.layout.bits)) }
    } else {
        ResolvedVoi::resolve(asked, &attributes.voi, || {
            decoded.cells.range(decoded.layout, padding, |stored| modality.apply(stored))
        })
    };
    Curve { modality, voi, inverse: attributes.inverse, presentation: None, padding }
}

pub(crate) fn index_palette(
    decoded: &Decoded,
    table: impl FnOnce() -> Vec<[u8; 3]>,
) -> Result<Vec<u8>> {
    use crate::pixel::cells::Cells;
    // Before the table is made: it has 2^bits entries.
    if matches!(decoded.cells, Cells::U32(_) | Cells::F32(_) | Cells::F64(_)) {
        return Err(RenderError::unsupported("PALETTE COLOR of more than 16 bits"));
    }
    let table = table();
    let colour = |cell: u32| table[decoded.layout.index(cell) as usize];
    Ok(match &decoded.cells {
        Cells::U8(cells) => cells.iter().flat_map(|&cell| colour(u32::from(cell))).collect(),
        Cells::U16(cells) => cells.iter().flat_map(|&cell| colour(u32::from(cell))).collect(),
        Cells::U32(_) | Cells::F32(_) | Cells::F64(_) => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::Limits;
    use crate::source::FrameChoice;
    use crate::spec::{Framing, Output};

    fn thumbnail(file: &Path, longest: u32) -> RenderJob {
        RenderJob::new(
            Source::File {
                bytes: std::fs::read(file).unwrap().into(),
                frame: FrameChoice::Number(dicomweb_types::FrameNumber::FIRST),
            },
            spec(longest),
            Limits::default(),
        )
    }

    fn spec(longest: u32) -> RenderSpec {
        RenderSpec {
            overlays: Overlays::Omit,
            ..RenderSpec::new(Framing::FitWithin(longest.try_into().unwrap()), Output::Png)
        }
    }

    fn psnr(a: &[u8], b: &[u8]) -> f64 {
        let read = |png| image::load_from_memory(png).unwrap().to_rgb8().into_raw();
        let (a, b) = (read(a), read(b));
        assert_eq!(a.len(), b.len());
        let squares: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        10.0 * (65025.0 * a.len() as f64 / squares.max(1e-9)).log10()
    }

    #[test]
    fn steep_windows_and_missing_ones_are_decoded_in_full() {
        let window = |text: &str| Some(text.parse().unwrap());
        let reducible = |window, modality| {
            let mut attributes = crate::attributes::tests::image(8, 8, 16);
            attributes.bits_stored = 12;
            attributes.modality = modality;
            let spec = RenderSpec { window, ..spec(64) };
            may_be_decoded_smaller(&attributes, &spec)
        };
        let tenth = || Modality::Rescale { slope: 0.1, intercept: 0.0 };
        assert!(reducible(window("2048,4096,linear"), Modality::Identity));
        assert!(!reducible(window("2048,400,linear"), Modality::Identity));
        assert!(reducible(window("200,400,linear"), tenth()));
        assert!(!reducible(window("40,1,linear"), tenth()));
        assert!(!reducible(None, Modality::Identity));
    }

    /// Design §3: reduced decoding stays within 35 dB of the full path.
    #[test]
    fn reduced_decoding_looks_like_the_full_path() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
        let mut compared = 0;
        for kind in ["ct", "mr", "cr-dx-mg", "us", "xa", "colour", "multiframe", "wsi"] {
            let Ok(files) = std::fs::read_dir(corpus.join(kind)) else { continue };
            for file in files.map(|entry| entry.unwrap().path()) {
                for longest in [64, 256, 512] {
                    let job = thumbnail(&file, longest);
                    let Ok(full) = run_if(&job, &mut |_| Ok(()), |_, _| false) else { continue };
                    let reduced = run(&job, &mut |_| Ok(())).unwrap();
                    if full.bytes == reduced.bytes {
                        continue;
                    }
                    compared += 1;
                    let db = psnr(&full.bytes, &reduced.bytes);
                    println!("{db:5.1} dB at {longest} {}", file.display());
                    assert!(db >= 35.0, "{db:.1} dB at {longest}: {}", file.display());
                }
            }
        }
        println!("{compared} thumbnails were decoded smaller");
    }

    /// The same of slides, whose tiles are decoded smaller each.
    #[test]
    fn slides_of_reduced_tiles_look_like_those_of_whole_ones() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/wsi");
        let Ok(files) = std::fs::read_dir(corpus) else { return };
        let mut compared = 0;
        for file in files.map(|entry| entry.unwrap().path()) {
            for viewport in
                ["64,64", "64,64,37,21,401,300", "100,100", "128,128", "40,40,9,9,333,222"]
            {
                let Some(job) = slide(&file, viewport) else { continue };
                let full = run_if(&job, &mut |_| Ok(()), |_, _| false).unwrap();
                let reduced = run(&job, &mut |_| Ok(())).unwrap();
                if full.bytes == reduced.bytes {
                    continue;
                }
                compared += 1;
                if let Some(folder) = std::env::var_os("LIGHTBOX_KEEP_PICTURES") {
                    let name = format!("{}_{viewport}", file.file_stem().unwrap().display());
                    for (kind, picture) in [("full", &full), ("reduced", &reduced)] {
                        let path = Path::new(&folder).join(format!("{name}_{kind}.png"));
                        std::fs::write(path, &picture.bytes).unwrap();
                    }
                }
                let db = psnr(&full.bytes, &reduced.bytes);
                println!("{db:5.1} dB at {viewport} {}", file.display());
                assert!(db >= 35.0, "{db:.1} dB at {viewport}: {}", file.display());
            }
        }
        println!("{compared} pictures were put together from smaller tiles");
    }

    fn slide(file: &Path, viewport: &str) -> Option<RenderJob> {
        let limits = Limits::default();
        let opened = crate::SlideFile::open(&std::fs::read(file).unwrap().into(), &limits);
        let file = opened.ok()??;
        let framing = Framing::Viewport(viewport.parse().unwrap());
        let view = crate::View::new(framing, file.slide(), &limits).ok()?;
        let cut = view.cut(file.slide(), &limits).ok()?;
        let attributes = file.attributes(cut.attributes_frame()).ok()?;
        let tiles: Vec<_> =
            cut.places.iter().map(|place| file.tile(place.frame, &attributes).unwrap()).collect();
        let spec = RenderSpec { framing, ..spec(1) };
        Some(RenderJob::new(cut.source(attributes, tiles), spec, limits))
    }
}
