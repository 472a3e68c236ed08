//! Whole-slide images: which image of a slide a picture is drawn from, and which of its tiles.
//!
//! - A thumbnail is the series' THUMBNAIL image, else its OVERVIEW, else its coarsest VOLUME level
//!   (R4.34); never one that shows the label.
//! - A rendered picture is a part of the Total Pixel Matrix of the image that was asked for. It is
//!   drawn from the smallest level of the same pyramid that is dense enough, of which only the tiles
//!   that are needed are fetched, a few at once.
//! - An image that is in hand as a file is cut from there.
//! - An image that is split into a concatenation (PS3.3 C.7.6.16.2.2.4) is put together from all of its
//!   parts, whichever of them was asked for.

use core_render::{Cut, Flavour, ImageAttributes, RenderError, Slide, SlideFile, Source, View};
use core_render::{FrameChoice, concatenation, flavour, total_matrix};
use dicomweb_types::{FrameNumber, InstancePath, TransferSyntax, Uid};
use futures_util::{StreamExt, stream};
use wadors_client::{InstanceAnswer, Metadata, SizeLimit, UpstreamError};

use crate::assemble::{is_final, is_table, syntax_of};
use crate::route::Kind;
use crate::source::{Fetch, Result, SMALL};

/// Calls to the archive at once, for one picture.
const AT_ONCE: usize = 6;

/// Images of a series whose metadata are asked for because a search does not say enough.
const MOST_ASKED: usize = 32;

/// Other images that are looked at before the one that was asked for has to do.
const MOST_TRIED: usize = 6;

/// Bytes of a tile beyond its pixels: tables and padding of a codestream.
const OVERHEAD: u64 = 1 << 20;

/// Instances that are looked at to find the parts of a concatenation.
const MOST_PARTS: usize = 128;

/// An image of a slide: an instance or, of a concatenation, as many of its parts as are there.
pub(crate) struct Image {
    /// Of several parts what they make up.
    joined: Option<Slide>,
    part: Part,
    others: Vec<Part>,
}

/// An instance, and what its pixels are to be had from.
struct Part {
    path: InstancePath,
    held: Held,
}

enum Held {
    File { file: SlideFile, bytes: bytes::Bytes },
    Metadata { slide: Slide, metadata: Metadata },
}

impl Image {
    pub(crate) fn in_hand(path: &InstancePath, file: SlideFile, bytes: bytes::Bytes) -> Self {
        Self::of(path, Held::File { file, bytes })
    }

    pub(crate) fn described(path: &InstancePath, slide: Slide, metadata: Metadata) -> Self {
        Self::of(path, Held::Metadata { slide, metadata })
    }

    fn of(path: &InstancePath, held: Held) -> Self {
        Self { joined: None, part: Part { path: path.clone(), held }, others: Vec::new() }
    }

    fn slide(&self) -> &Slide {
        self.joined.as_ref().unwrap_or(self.part.slide())
    }

    fn path(&self) -> &InstancePath {
        &self.part.path
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.part).chain(&self.others)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.part).chain(&mut self.others)
    }

    /// The part that holds a frame of the image, and the number that it has there.
    fn locate(&self, frame: FrameNumber) -> Option<(&Part, FrameNumber)> {
        self.parts().find_map(|part| Some((part, part.slide().own_frame(frame)?)))
    }
}

impl Part {
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
    let Part { path, held } = image.part;
    match held {
        Held::File { bytes, .. } => Ok(Source::File { bytes, frame: FrameChoice::Representative }),
        Held::Metadata { metadata, .. } => {
            Fetch { path: &path, ..*fetch }.described(metadata).await
        }
    }
}

/// The image that shows the whole slide best at a small size.
async fn preview(fetch: &Fetch<'_>, asked: Image) -> Result<Image> {
    let mut listed = listed(fetch).await?;
    let (matrix, flavour) = (asked.slide().matrix(), asked.slide().flavour());
    listed.retain(|image| image.path != *asked.path() && image.flavour != Flavour::Label);
    listed.push(Listed { path: asked.path().clone(), flavour, matrix });
    listed.sort_by_key(|image| {
        let pixels = u64::from(image.matrix.0) * u64::from(image.matrix.1);
        (preference(image.flavour), pixels)
    });
    let better = listed.into_iter().take_while(|image| image.path != *asked.path());
    for other in better.take(MOST_TRIED) {
        let Some(image) = open(&Fetch { path: &other.path, ..*fetch }, other.matrix).await? else {
            continue;
        };
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
    levels.retain(|level| level.flavour == flavour && level.path != *asked.path());
    levels.insert(0, Listed { path: asked.path().clone(), flavour, matrix });
    view.sort_levels(&mut levels, |level| level.matrix);
    let denser = levels.into_iter().take_while(|level| level.path != *asked.path());
    for level in denser.take(MOST_TRIED) {
        let there = Fetch { path: &level.path, ..*fetch };
        let Some(image) = described(&there).await? else { continue };
        if asked.slide().is_level_with(image.slide()) {
            return tiles(&there, &view, image).await;
        }
    }
    tiles(fetch, &view, asked).await
}

/// The instances of the series; none where the archive cannot search.
async fn instances(fetch: &Fetch<'_>) -> Result<Vec<(Uid, Metadata)>> {
    let mut all = Vec::new();
    let mut found = |instance, attributes| all.push((instance, attributes));
    let series = fetch.path.series_path();
    let search =
        fetch.upstream.client.instances_of(&series, &Slide::FIELDS, fetch.caller, &mut found).await;
    match search {
        Ok(()) => {}
        // Which level a picture is drawn from must not depend on luck.
        Err(error) if error.is_denied() || error.is_transient() => return Err(error.into()),
        Err(error) => tracing::debug!(kind = error.kind(), "the series cannot be searched"),
    }
    Ok(all)
}

fn path_of(fetch: &Fetch<'_>, instance: Uid) -> InstancePath {
    fetch.path.series_path().instance(instance)
}

/// What a search says of an image.
struct Listed {
    path: InstancePath,
    flavour: Flavour,
    matrix: (u32, u32),
}

/// The images of the series.
async fn listed(fetch: &Fetch<'_>) -> Result<Vec<Listed>> {
    let (mut listed, mut unclear) = (Vec::new(), Vec::new());
    for (instance, attributes) in instances(fetch).await? {
        let path = path_of(fetch, instance);
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

/// A part of a concatenation, together with the others.
async fn joined(fetch: &Fetch<'_>, mut image: Image) -> Result<Image> {
    let Some(whole) = image.slide().concatenation().map(str::to_owned) else { return Ok(image) };
    let missing = image.slide().missing_parts().map_or(MOST_PARTS, |n| n as usize);
    let mut others: Vec<_> = instances(fetch).await?;
    others.retain(|(_, attributes)| {
        let dataset = &attributes.dataset;
        let matrix = total_matrix(dataset).is_none_or(|matrix| matrix == image.slide().matrix());
        matrix && concatenation(dataset).is_none_or(|uid| uid == whole)
    });
    // Who names the concatenation before who may merely not have been asked for it.
    others.sort_by_key(|(_, attributes)| concatenation(&attributes.dataset).is_none());
    let paths = others.into_iter().map(|(instance, _)| path_of(fetch, instance));
    let paths = paths.filter(|path| path != image.path()).take(MOST_PARTS);
    let asked = paths.map(|path| part_of(fetch, path, &whole)).collect::<Vec<_>>();
    let mut asked = stream::iter(asked).buffered(AT_ONCE);
    while image.others.len() < missing
        && let Some(part) = asked.next().await
    {
        image.others.extend(part?);
    }
    drop(asked);
    image.joined = Slide::joined(image.parts().map(|part| part.slide().clone()).collect());
    Ok(image)
}

/// The instance at `path`, if it is a part of this concatenation.
async fn part_of(fetch: &Fetch<'_>, path: InstancePath, whole: &str) -> Result<Option<Part>> {
    let image = described(&Fetch { path: &path, ..*fetch }).await?;
    Ok(image.map(|image| image.part).filter(|part| part.slide().concatenation() == Some(whole)))
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
    match fetch.upstream.client.metadata(fetch.path, fetch.caller).await {
        Ok(metadata) => {
            Ok(Slide::of(&metadata.dataset)
                .map(|slide| Image::described(fetch.path, slide, metadata)))
        }
        Err(error) if is_final(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// An image that will be shown whole: as a file where that is small, for one round trip.
async fn open(fetch: &Fetch<'_>, (columns, rows): (u32, u32)) -> Result<Option<Image>> {
    // Three samples of a byte each, as slides have.
    if u64::from(columns) * u64::from(rows) * 3 > SMALL {
        return described(fetch).await;
    }
    let size = SizeLimit::Bytes(SMALL);
    match fetch.upstream.client.instance(fetch.path, fetch.caller, size).await {
        Ok(InstanceAnswer::Whole(bytes, _)) => Ok(SlideFile::open(&bytes, &fetch.limits)
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
    let fetch = &Fetch { path: &image.path().clone(), ..*fetch };
    let mut image = joined(fetch, image).await?;
    let cut = view.cut(image.slide(), &fetch.limits)?;
    let drawn = match pieces(fetch, &cut, &mut image).await? {
        Some(drawn) => Some(drawn),
        // Some archives leave attributes out of their metadata, or give no frames; the files have both.
        None => {
            open_needed(fetch, &cut, &mut image).await?;
            pieces(fetch, &cut, &mut image).await?
        }
    };
    let (mut attributes, tiles) = drawn.ok_or(RenderError::NotAnImage)?;
    if let Some(missing) = image.slide().missing_parts().filter(|&missing| missing > 0) {
        let warning =
            format!("parts of the slide's concatenation are missing ({missing}), and blank");
        attributes.warnings.push(warning);
    }
    Ok(cut.source(attributes, tiles))
}

type EncodedTile = (TransferSyntax, bytes::Bytes);

/// The attributes and the tiles of a cut, these in its order; `None` where metadata or frames do not
/// suffice and whole files may.
async fn pieces(
    fetch: &Fetch<'_>,
    cut: &Cut,
    image: &mut Image,
) -> Result<Option<(ImageAttributes, Vec<EncodedTile>)>> {
    let first = cut.places.first().map(|place| place.frame);
    let Some(attributes) = attributes(fetch, first, image).await? else { return Ok(None) };
    // Sixteen bits of three samples, and what a codestream that compresses badly has beyond it.
    let largest = image.slide().tile_pixels().saturating_mul(8).saturating_add(OVERHEAD);
    let places = cut.places.iter().filter_map(|place| image.locate(place.frame));
    let one = |(part, frame)| piece(fetch, part, frame, &attributes, largest);
    let asked = places.map(one).collect::<Vec<_>>();
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let (mut tiles, mut sum) = (Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        let Some((transfer_syntax, bytes)) = answer? else { return Ok(None) };
        sum += bytes.len() as u64;
        if sum > fetch.limits.source_bytes {
            return Err(UpstreamError::TooLarge { limit: fetch.limits.source_bytes }.into());
        }
        tiles.push((transfer_syntax, bytes));
    }
    drop(answers);
    Ok((tiles.len() == cut.places.len()).then_some((attributes, tiles)))
}

/// The attributes of the tiles: those of the frame `first`, or of any where no tile is needed.
async fn attributes(
    fetch: &Fetch<'_>,
    first: Option<FrameNumber>,
    image: &mut Image,
) -> Result<Option<ImageAttributes>> {
    let holder =
        |part: &&mut Part| first.is_none_or(|frame| part.slide().own_frame(frame).is_some());
    let Some(part) = image.parts_mut().find(holder) else { return Ok(None) };
    let frame = first.and_then(|frame| part.slide().own_frame(frame)).unwrap_or(FrameNumber::FIRST);
    let metadata = match &mut part.held {
        Held::File { file, .. } => return Ok(Some(file.attributes(frame)?)),
        Held::Metadata { metadata, .. } => metadata,
    };
    Fetch { path: &part.path, ..*fetch }.fill_in(metadata).await;
    let Ok(mut attributes) = ImageAttributes::of_frame(&metadata.dataset, frame) else {
        return Ok(None);
    };
    if metadata.bulk.iter().any(is_table) {
        attributes.warnings.push("a table or profile could not be fetched".to_owned());
    }
    Ok(Some(attributes))
}

/// A tile; `None` where the archive does not give it, or not what it is.
async fn piece(
    fetch: &Fetch<'_>,
    part: &Part,
    frame: FrameNumber,
    attributes: &ImageAttributes,
    largest: u64,
) -> Result<Option<EncodedTile>> {
    if let Held::File { file, .. } = &part.held {
        return Ok(Some(file.tile(frame, attributes)?));
    }
    match fetch.upstream.client.frame_up_to(largest, &part.path, frame, fetch.caller).await {
        Ok(frame) => {
            let Held::Metadata { metadata, .. } = &part.held else { return Ok(None) };
            Ok(syntax_of(&frame, metadata, attributes).map(|syntax| (syntax, frame.bytes)))
        }
        Err(error) if is_final(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Fetches the files of the parts that a cut needs.
async fn open_needed(fetch: &Fetch<'_>, cut: &Cut, image: &mut Image) -> Result<()> {
    let mut held = 0;
    for part in image.parts_mut() {
        let needed = cut.places.is_empty()
            || cut.places.iter().any(|place| part.slide().own_frame(place.frame).is_some());
        if !needed || matches!(part.held, Held::File { .. }) {
            continue;
        }
        let bytes = Fetch { path: &part.path, ..*fetch }.whole().await?;
        held += bytes.len() as u64;
        if held > fetch.limits.source_bytes {
            return Err(UpstreamError::TooLarge { limit: fetch.limits.source_bytes }.into());
        }
        let file = SlideFile::open(&bytes, &fetch.limits)?.ok_or(RenderError::NotAnImage)?;
        part.held = Held::File { file, bytes };
    }
    Ok(())
}
