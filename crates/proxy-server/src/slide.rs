//! Whole-slide images: which image of a slide a picture is drawn from, and which of its tiles.
//!
//! - A thumbnail is the series' THUMBNAIL image, else its OVERVIEW, else its coarsest VOLUME level
//!   (R4.34); never one that shows the label.
//! - A rendered picture is a part of the Total Pixel Matrix of the image that was asked for. It is
//!   drawn from the smallest level of the same pyramid that is dense enough, of which only the tiles
//!   that are needed are fetched, a few at once.
//! - An image that is in hand as a file is cut from there.

use core_render::{Cut, Flavour, ImageAttributes, RenderError, Slide, SlideFile, Source, View};
use core_render::{FrameChoice, flavour, total_matrix};
use dicomweb_types::{FrameNumber, InstancePath, TransferSyntax};
use futures_util::{StreamExt, stream};
use wadors_client::{FoundInstance, InstanceAnswer, Metadata, SizeLimit, UpstreamError};

use crate::route::Kind;
use crate::source::{Fetch, Result, SMALL, is_final, is_table};

/// Calls to the archive at once, for one picture.
const AT_ONCE: usize = 6;

/// Images of a series whose metadata are asked for because a search does not say enough.
const MOST_ASKED: usize = 32;

/// Other images that are looked at before the one that was asked for has to do.
const MOST_TRIED: usize = 6;

/// Bytes of a tile beyond its pixels: tables and padding of a codestream.
const OVERHEAD: u64 = 1 << 20;

/// An image of a slide, and what its pixels are to be had from.
pub(crate) struct Image {
    path: InstancePath,
    held: Held,
}

enum Held {
    File { file: SlideFile, bytes: bytes::Bytes },
    Metadata { slide: Slide, metadata: Metadata },
}

impl Image {
    pub(crate) fn in_hand(path: &InstancePath, file: SlideFile, bytes: bytes::Bytes) -> Self {
        Self { path: path.clone(), held: Held::File { file, bytes } }
    }

    pub(crate) fn described(path: &InstancePath, slide: Slide, metadata: Metadata) -> Self {
        Self { path: path.clone(), held: Held::Metadata { slide, metadata } }
    }

    fn slide(&self) -> &Slide {
        match &self.held {
            Held::File { file, .. } => file.slide(),
            Held::Metadata { slide, .. } => slide,
        }
    }
}

/// What the picture of `asked` is drawn from.
pub(crate) async fn source(fetch: &Fetch<'_>, asked: Image) -> Result<Source> {
    fetch.may_show(Some(asked.slide()))?;
    if !asked.slide().is_tiled() {
        return single(fetch, asked).await;
    }
    let image = match (fetch.kind, asked.slide().flavour()) {
        (Kind::Thumbnail, Flavour::Volume) => preview(fetch, asked).await?,
        (Kind::Thumbnail, _) => asked,
        (Kind::Rendered, _) => return part(fetch, asked).await,
    };
    if !image.slide().is_tiled() {
        return single(fetch, image).await;
    }
    let view = View::new(fetch.framing, image.slide(), &fetch.limits)?;
    tiles(fetch, &view, image).await
}

/// The frame of an image that is not tiled.
async fn single(fetch: &Fetch<'_>, image: Image) -> Result<Source> {
    match image.held {
        Held::File { bytes, .. } => Ok(Source::File { bytes, frame: FrameChoice::Representative }),
        Held::Metadata { metadata, .. } => {
            Fetch { path: &image.path, ..*fetch }.described(metadata).await
        }
    }
}

/// The image that shows the whole slide best at a small size.
async fn preview(fetch: &Fetch<'_>, asked: Image) -> Result<Image> {
    let mut listed = listed(fetch).await?;
    let (matrix, flavour) = (asked.slide().matrix(), asked.slide().flavour());
    listed.retain(|image| image.path != asked.path && image.flavour != Flavour::Label);
    listed.push(Listed { path: asked.path.clone(), flavour, matrix });
    listed.sort_by_key(|image| {
        let pixels = u64::from(image.matrix.0) * u64::from(image.matrix.1);
        (preference(image.flavour), pixels)
    });
    let better = listed.into_iter().take_while(|image| image.path != asked.path);
    for other in better.take(MOST_TRIED) {
        let Some(image) = open(&Fetch { path: &other.path, ..*fetch }).await? else { continue };
        let slide = image.slide();
        let same = slide.flavour() != Flavour::Volume || asked.slide().is_level_with(slide);
        if slide.flavour() == other.flavour && same && !slide.shows_label() {
            return Ok(image);
        }
    }
    Ok(asked)
}

fn preference(flavour: Flavour) -> u8 {
    match flavour {
        Flavour::Thumbnail => 0,
        Flavour::Overview => 1,
        Flavour::Volume => 2,
        Flavour::Label => 3,
    }
}

/// The part of a slide that a rendered picture shows, from the level that suits it.
async fn part(fetch: &Fetch<'_>, asked: Image) -> Result<Source> {
    let view = View::new(fetch.framing, asked.slide(), &fetch.limits)?;
    let (matrix, flavour) = (asked.slide().matrix(), asked.slide().flavour());
    // Levels halve at least: none that is as dense as the picture is smaller than this one.
    if view.is_served_by(matrix) && view.density(matrix) < 2.0 {
        return tiles(fetch, &view, asked).await;
    }
    let mut levels = listed(fetch).await?;
    levels.retain(|level| level.flavour == flavour && level.path != asked.path);
    levels.insert(0, Listed { path: asked.path.clone(), flavour, matrix });
    view.sort_levels(&mut levels, |level| level.matrix);
    let denser = levels.into_iter().take_while(|level| level.path != asked.path);
    for level in denser.take(MOST_TRIED) {
        let there = Fetch { path: &level.path, ..*fetch };
        let Some(image) = described(&there).await? else { continue };
        if asked.slide().is_level_with(image.slide()) {
            return tiles(&there, &view, image).await;
        }
    }
    tiles(fetch, &view, asked).await
}

/// What a search says of an image.
struct Listed {
    path: InstancePath,
    flavour: Flavour,
    matrix: (u32, u32),
}

/// The images of the series; none where the archive cannot search.
async fn listed(fetch: &Fetch<'_>) -> Result<Vec<Listed>> {
    let InstancePath { study, series, .. } = fetch.path;
    let found = fetch.client.instances_of(study, series, &Slide::FIELDS, fetch.caller).await;
    let found = match found {
        Ok(found) => found,
        // Which level a picture is drawn from must not depend on luck.
        Err(error) if error.is_denied() || error.is_transient() => return Err(error.into()),
        Err(error) => {
            tracing::debug!(kind = error.kind(), "the series cannot be searched");
            Vec::new()
        }
    };
    let (mut listed, mut unclear) = (Vec::new(), Vec::new());
    for FoundInstance { instance, attributes } in found {
        let path = InstancePath { study: study.clone(), series: series.clone(), instance };
        match (flavour(&attributes.dataset), total_matrix(&attributes.dataset)) {
            (Some(flavour), Some(matrix)) => listed.push(Listed { path, flavour, matrix }),
            _ => unclear.push(path),
        }
    }
    let asked = unclear.into_iter().take(MOST_ASKED).map(|path| look_up(fetch, path));
    let mut asked = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE);
    while let Some(image) = asked.next().await {
        listed.extend(image?);
    }
    Ok(listed)
}

async fn look_up(fetch: &Fetch<'_>, path: InstancePath) -> Result<Option<Listed>> {
    let image = described(&Fetch { path: &path, ..*fetch }).await?;
    Ok(image.map(|image| {
        let (flavour, matrix) = (image.slide().flavour(), image.slide().matrix());
        Listed { path, flavour, matrix }
    }))
}

/// An image with its metadata; `None` where it cannot be had, or is none of a slide.
async fn described(fetch: &Fetch<'_>) -> Result<Option<Image>> {
    match fetch.client.metadata(fetch.path, fetch.caller).await {
        Ok(metadata) => {
            Ok(Slide::of(&metadata.dataset)
                .map(|slide| Image::described(fetch.path, slide, metadata)))
        }
        Err(error) if is_final(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// An image that will be shown whole: as a file where that is small, for one round trip.
async fn open(fetch: &Fetch<'_>) -> Result<Option<Image>> {
    let size = SizeLimit::Bytes(SMALL);
    match fetch.client.instance(fetch.path, fetch.caller, size).await {
        Ok(InstanceAnswer::Whole(bytes)) => Ok(SlideFile::open(&bytes, &fetch.limits)
            .ok()
            .flatten()
            .map(|file| Image::in_hand(fetch.path, file, bytes))),
        Ok(InstanceAnswer::LargerThan(_)) => described(fetch).await,
        Err(error) if is_final(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The tiles of `image` that `view` needs.
async fn tiles(fetch: &Fetch<'_>, view: &View, image: Image) -> Result<Source> {
    let fetch = &Fetch { path: &image.path, ..*fetch };
    let cut = view.cut(image.slide(), &fetch.limits)?;
    let (slide, metadata) = match image.held {
        Held::File { file, .. } => return Ok(file.source(cut)?),
        Held::Metadata { slide, metadata } => (slide, metadata),
    };
    let metadata = fetch.complete(metadata).await;
    let attributes = ImageAttributes::of_frame(&metadata.dataset, cut.attributes_frame());
    if let Ok(mut attributes) = attributes
        && let Some(tiles) = frames(fetch, &cut, &slide).await?
    {
        if metadata.bulk.iter().any(is_table) {
            attributes.warnings.push("a table or profile could not be fetched".to_owned());
        }
        return Ok(cut.source(attributes, tiles));
    }
    // Some archives leave attributes out of their metadata, or give no frames; the file has both.
    let file = SlideFile::open(&fetch.whole().await?, &fetch.limits)?;
    Ok(file.ok_or(RenderError::NotAnImage)?.source(cut)?)
}

type EncodedTile = (TransferSyntax, bytes::Bytes);

/// The frames of a cut, in its order; `None` where the archive does not give them, or not what they are.
async fn frames(fetch: &Fetch<'_>, cut: &Cut, slide: &Slide) -> Result<Option<Vec<EncodedTile>>> {
    // Sixteen bits of three samples, and what a codestream that compresses badly has beyond it.
    let largest = slide.tile_pixels().saturating_mul(8).saturating_add(OVERHEAD);
    let wanted: Vec<FrameNumber> = cut.places.iter().map(|place| place.frame).collect();
    let ask = |frame| fetch.client.frame_up_to(largest, fetch.path, frame, fetch.caller);
    let mut answers = stream::iter(wanted.into_iter().map(ask)).buffered(AT_ONCE);
    let (mut tiles, mut sum) = (Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        let frame = match answer {
            Ok(frame) => frame,
            Err(error) if is_final(&error) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        sum += frame.bytes.len() as u64;
        if sum > fetch.limits.source_bytes {
            return Err(UpstreamError::TooLarge { limit: fetch.limits.source_bytes }.into());
        }
        let Some(transfer_syntax) = frame.transfer_syntax else { return Ok(None) };
        tiles.push((transfer_syntax, frame.bytes));
    }
    Ok(Some(tiles))
}
