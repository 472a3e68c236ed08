//! What a picture is drawn from, fetched with as few round trips and bytes as it can be.
//!
//! - An instance of which nothing is known gives its metadata and a frame, asked for at the same time: an
//!   archive must not be made to load a huge object for one frame of it. Only where the archive has handed
//!   out nothing but small objects so far, it is asked for whole, and given up where its declared length
//!   is large.
//! - One that is known to be small, with one frame, comes whole or in these parts, whichever this archive
//!   has been found to hand out faster.
//! - Lookup tables, palettes, profiles and overlays that the metadata name by URI are fetched too.
//! - A slide that is tiled takes its own way (`slide`): a preview, or tiles.
//! - Where an archive does not give frames, or not enough beside them, the whole object is fetched
//!   after all (R7.8), bounded by `max_source_bytes`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_render::{
    Category, Cine, EncodedFrame, FileAttributes, FrameChoice, Framing, Labels, Limits,
    RenderError, Slide, SlideFile, Source, frame_delays, names_representative_frame,
    representative_frame,
};
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, InstancePath};
use futures_util::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use wadors_client::{
    BulkDataRef, Caller, Client, Frame, InstanceAnswer, Metadata, Resource, SizeLimit,
    UpstreamError, Validator, Version,
};

use crate::assemble::{assemble, is_final, is_table};
use crate::holds::{Hold, Holds};
use crate::known::{Content, Said};
use crate::pace::{Size, Way};
use crate::route::Kind;
use crate::slide::{self, Image};
use crate::upstream::Upstream;
use crate::workers::Overloaded;

/// Up to here an instance of one frame may be fetched whole.
pub(crate) const SMALL: u64 = 32 << 20;

/// What a frame of unknown size is taken to have: that of a CT.
const USUAL: u64 = 512 << 10;

/// Lookup tables, profiles and overlay planes named by URI: more or larger ones are cheaper within the
/// object itself, the sooner where that is small.
const MOST_TABLES: usize = 16;
const MOST_TABLES_OF_SMALL: usize = 3;
const LARGEST_TABLE: u64 = 8 << 20;

/// Tables of one object asked for at once.
const TABLES_AT_ONCE: usize = 4;

/// Frames of one animation asked for at once.
const AT_ONCE: usize = 6;

/// Why there is nothing to draw from.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The metadata already tell that there will be no picture.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// R2.11.
    #[error("a presentation state has no frames; ask for the instance itself")]
    StateHasNoFrames,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A worker was lost over it not long ago.
    #[error("drawing this object ended a worker not long ago")]
    Poisonous { left: Duration },
}

pub(crate) type Result<T> = std::result::Result<T, SourceError>;

/// What is wanted of one instance.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) upstream: &'a Upstream,
    /// The memory for what is fetched.
    pub(crate) holds: &'a Holds,
    pub(crate) path: &'a InstancePath,
    pub(crate) caller: &'a Caller,
    /// Whether it is known that who asks may see it.
    pub(crate) is_proved: bool,
    pub(crate) kind: Kind,
    /// Whether the first of several frames stands for them all, where they do not say another.
    pub(crate) first_of_many: bool,
    pub(crate) framing: Framing,
    pub(crate) limits: Limits,
}

/// An instance that was fetched as far as it takes to know what it is.
pub(crate) struct Opened {
    pub(crate) path: InstancePath,
    held: Held,
    category: Category,
    /// How long it took.
    pub(crate) took: Duration,
    /// The frame that was asked for together with the metadata.
    early: Mutex<Option<Early>>,
    /// The whole object, where it had to be fetched after all.
    whole: OnceCell<Bytes>,
    /// By what the archive knows again what was fetched.
    versions: Mutex<Vec<Version>>,
}

/// A frame that was asked for before it was known whether it is wanted.
struct Early {
    frame: FrameNumber,
    pixels: std::result::Result<Frame, UpstreamError>,
}

enum Held {
    File { bytes: Bytes, file: FileAttributes },
    Metadata(Metadata),
}

/// Which part of an instance is drawn.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Which {
    Representative,
    Frame(FrameNumber),
    /// These, as an animation.
    Cine(Vec<FrameNumber>),
}

impl Opened {
    pub(crate) fn dataset(&self) -> &InMemDicomObject {
        match &self.held {
            Held::File { file, .. } => &file.dataset,
            Held::Metadata(metadata) => &metadata.dataset,
        }
    }

    pub(crate) fn category(&self) -> Category {
        self.category
    }

    /// The study that it says it lies in.
    pub(crate) fn study(&self) -> Option<dicomweb_types::Uid> {
        let uid =
            self.dataset().get(dicom_dictionary_std::tags::STUDY_INSTANCE_UID)?.to_str().ok()?;
        uid.trim_matches([' ', '\0']).parse().ok()
    }

    /// The texts of an annotation.
    pub(crate) fn labels(&self, frame: FrameNumber) -> Labels {
        Labels::of(self.dataset(), frame)
    }

    fn of_file(path: &InstancePath, bytes: Bytes, limits: &Limits) -> Result<Self> {
        let file = FileAttributes::read(&bytes, limits)?;
        let category = Category::of(&file.dataset, Some(&file.transfer_syntax));
        Ok(Self::new(path, Held::File { bytes, file }, category, None))
    }

    fn of_metadata(path: &InstancePath, metadata: Metadata, early: Option<Early>) -> Self {
        // Metadata seldom name the syntax; a frame that came with them does.
        let pixels = early.as_ref().and_then(|early| early.pixels.as_ref().ok());
        let syntax = pixels.and_then(|pixels| pixels.transfer_syntax.as_ref());
        let category = Category::of(&metadata.dataset, syntax);
        let validator = metadata.validator.clone();
        let of_frame = early.as_ref().zip(pixels).map(|(e, p)| (e.frame, p.validator.clone()));
        let opened = Self::new(path, Held::Metadata(metadata), category, early);
        opened.knows(Resource::Metadata, validator);
        if let Some((frame, validator)) = of_frame {
            opened.knows(Resource::Frame(frame), validator);
        }
        opened
    }

    /// Remembers by what the archive knows something again that was fetched.
    fn knows(&self, resource: Resource, validator: Option<Validator>) {
        if let Some(validator) = validator {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.retain(|version| version.resource != resource);
            versions.push(Version { resource, validator });
        }
    }

    /// By what the archive knows again all that a frame is drawn from; nothing where it does not.
    pub(crate) fn versions(&self, frame: FrameNumber) -> Vec<Version> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |resource| versions.iter().find(|v| v.resource == resource).cloned();
        let parts = || Some(vec![of(Resource::Metadata)?, of(Resource::Frame(frame))?]);
        of(Resource::Instance).map(|whole| vec![whole]).or_else(parts).unwrap_or_default()
    }

    fn new(path: &InstancePath, held: Held, category: Category, early: Option<Early>) -> Self {
        let (path, whole, took) = (path.clone(), OnceCell::new(), Duration::ZERO);
        let (early, versions) = (Mutex::new(early), Mutex::default());
        Self { path, held, category, took, early, whole, versions }
    }

    /// Whether the whole object is at hand.
    fn is_in_hand(&self) -> bool {
        matches!(self.held, Held::File { .. }) || self.whole.get().is_some()
    }

    /// Whether what it is drawn from is at hand.
    fn has_pixels(&self) -> bool {
        matches!(self.held, Held::File { .. }) || self.lock_early().is_some()
    }

    /// The frame that came together with the metadata, if it is this one.
    fn early(&self, frame: FrameNumber) -> Option<std::result::Result<Frame, UpstreamError>> {
        let early = self.lock_early();
        early.as_ref().filter(|early| early.frame == frame).map(|early| early.pixels.clone())
    }

    /// Lets go of that frame, and of the memory it takes.
    pub(crate) fn forget_early(&self) {
        self.lock_early().take();
    }

    fn lock_early(&self) -> MutexGuard<'_, Option<Early>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an object is fetched, so that it is known what it is.
#[derive(Clone, Copy)]
enum Plan {
    Whole,
    /// Its metadata, and at the same time the frame that is probably wanted.
    Parts(FrameNumber),
    Metadata,
}

impl Fetch<'_> {
    /// The instance, as far as it takes to know what it is; with a frame at hand that stands for it.
    pub(crate) async fn open(&self) -> Result<Opened> {
        self.open_for(None).await
    }

    /// The same where it is known which frame is wanted.
    async fn open_for(&self, wanted: Option<FrameNumber>) -> Result<Opened> {
        // Who is not known to see it learns from the archive that there is such an object, and not from us.
        if self.is_proved {
            self.is_no_poison()?;
        }
        let asked = Instant::now();
        let content = self.upstream.known.of(&self.path.instance);
        let mut plan = self.plan(content, wanted);
        let hold = match plan {
            Plan::Whole | Plan::Parts(_) => self.hold_for(content).await?,
            Plan::Metadata => None,
        };
        if hold.is_none() {
            plan = Plan::Metadata;
        }
        let opened = match (plan, hold) {
            (Plan::Whole, Some(hold)) => self.whole_if_small(wanted, &hold).await?,
            (Plan::Parts(guess), Some(hold)) => self.parts(guess, wanted, &hold).await?,
            (Plan::Metadata, _) | (_, None) => self.in_steps(wanted).await?,
        };
        let took = asked.elapsed();
        self.learn(content, plan, &opened, took);
        self.is_no_poison()?;
        Ok(Opened { took, ..opened })
    }

    fn is_no_poison(&self) -> Result<()> {
        match self.upstream.poison.left(self.path, Instant::now()) {
            Some(left) => Err(SourceError::Poisonous { left }),
            None => Ok(()),
        }
    }

    /// Memory for what is fetched of an object. `None` where nothing is known of it and there is none at
    /// once: its metadata, which take none, tell how much it is.
    async fn hold_for(&self, content: Option<Content>) -> Result<Option<Hold>> {
        Ok(match content.and_then(bytes_of_frame) {
            Some(bytes) => Some(self.hold(bytes).await?),
            None => self.holds.of_unknown(&self.upstream.large_calls),
        })
    }

    /// Memory for so many bytes, once there is some. Objects may claim any size; more than the limit is
    /// never fetched.
    async fn hold(&self, bytes: u64) -> Result<Hold> {
        let bytes = bytes.min(self.limits.source_bytes);
        Ok(self.holds.of(bytes, &self.upstream.large_calls).await?)
    }

    /// Memory for more of an object that may hold some already: that is let go before it is waited for,
    /// or requests would wait for each other.
    async fn hold_more(&self, opened: &Opened, bytes: u64) -> Result<Hold> {
        if let Some(hold) = self.hold(bytes).now_or_never() {
            return hold;
        }
        opened.forget_early();
        self.hold(bytes).await
    }

    /// A frame, within the memory for what is fetched.
    async fn held_frame(
        &self,
        frame: FrameNumber,
        hold: &Hold,
    ) -> std::result::Result<Frame, UpstreamError> {
        let fetched = self.client().frame(self.path, frame, self.caller).await?;
        Ok(Frame { bytes: hold.keep_only(fetched.bytes), ..fetched })
    }

    fn plan(&self, content: Option<Content>, wanted: Option<FrameNumber>) -> Plan {
        let pace = &self.upstream.pace;
        let first = wanted.unwrap_or(FrameNumber::FIRST);
        match (content, wanted) {
            (Some(Content::Text), _) => Plan::Whole,
            (Some(Content::Other), None) => Plan::Metadata,
            (Some(Content::Frames { count, .. }), None) => Plan::Parts(self.middle(count)),
            (Some(Content::Frame { bytes }), _) if bytes.is_none_or(|bytes| bytes <= SMALL) => {
                match pace.choose(Size::Known(bytes.unwrap_or(USUAL))) {
                    Way::Whole => Plan::Whole,
                    Way::Together | Way::InSteps => Plan::Parts(first),
                }
            }
            (None, None) if pace.is_used_to_small_objects() => Plan::Whole,
            (None, None) => match pace.choose(Size::Unknown) {
                Way::InSteps => Plan::Metadata,
                Way::Together | Way::Whole => Plan::Parts(first),
            },
            (None | Some(Content::Frame { .. } | Content::Frames { .. } | Content::Other), _) => {
                Plan::Parts(first)
            }
        }
    }

    /// Remembers how long it took, and what an object of which nothing was known turned out to be.
    fn learn(&self, content: Option<Content>, plan: Plan, opened: &Opened, took: Duration) {
        let pace = &self.upstream.pace;
        let way = match plan {
            Plan::Whole => Way::Whole,
            Plan::Parts(_) => Way::Together,
            Plan::Metadata => Way::InSteps,
        };
        match content {
            Some(Content::Frame { bytes }) => {
                pace.learn(Size::Known(bytes.unwrap_or(USUAL)), way, took);
            }
            Some(Content::Frames { .. } | Content::Text | Content::Other) => {}
            None => {
                let said = Said::from(opened.dataset());
                self.upstream.known.learn(&said);
                // What gave neither a frame nor a file yet is not done.
                if opened.has_pixels() {
                    pace.learn(Size::Unknown, way, took);
                }
                let is_small = match said.content() {
                    Some(Content::Frame { bytes } | Content::Frames { bytes, .. }) => {
                        bytes.is_some_and(|bytes| bytes <= SMALL)
                    }
                    Some(Content::Text) => true,
                    Some(Content::Other) | None => matches!(opened.held, Held::File { .. }),
                };
                pace.met(is_small);
            }
        }
    }

    fn middle(&self, frames: u32) -> FrameNumber {
        let middle = if self.first_of_many { 1 } else { frames / 2 + 1 };
        FrameNumber::new(middle).unwrap_or(FrameNumber::FIRST)
    }

    async fn whole_if_small(&self, wanted: Option<FrameNumber>, hold: &Hold) -> Result<Opened> {
        let size = SizeLimit::Bytes(SMALL);
        match self.client().instance(self.path, self.caller, size).await {
            Ok(InstanceAnswer::Whole(bytes, validator)) => {
                let opened = Opened::of_file(self.path, hold.keep_only(bytes), &self.limits)?;
                opened.knows(Resource::Instance, validator);
                Ok(opened)
            }
            Err(error) if is_final(&error) => Err(error.into()),
            // What was said of it, or expected, was wrong.
            Ok(InstanceAnswer::LargerThan(_)) => self.in_steps(wanted).await,
            // An archive that hands out no whole objects.
            Err(_) => self.parts(wanted.unwrap_or(FrameNumber::FIRST), wanted, hold).await,
        }
    }

    /// Metadata, then the frame that they tell.
    async fn in_steps(&self, wanted: Option<FrameNumber>) -> Result<Opened> {
        let metadata = self.client().metadata(self.path, self.caller).await;
        let metadata = match metadata {
            Ok(metadata) => self.complete(metadata).await,
            Err(error) => return self.opened(Err(error), None).await,
        };
        let frame = wanted.unwrap_or_else(|| self.standing_for(&metadata.dataset));
        let early = if self.shows(&metadata, frame, wanted) {
            let hold = self.hold(frame_size(&metadata.dataset)).await?;
            let pixels = self.held_frame(frame, &hold).await;
            Some(Early { frame, pixels })
        } else {
            None
        };
        self.opened(Ok(metadata), early).await
    }

    /// Metadata and a frame, asked for at the same time. The frame is given up once the metadata tell that
    /// another one is wanted, or none.
    async fn parts(
        &self,
        guess: FrameNumber,
        wanted: Option<FrameNumber>,
        hold: &Hold,
    ) -> Result<Opened> {
        let mut pixels = Box::pin(self.held_frame(guess, hold));
        let mut metadata = std::pin::pin!(self.client().metadata(self.path, self.caller));
        let mut came = None;
        let metadata = loop {
            tokio::select! {
                // In this order: where calls have to wait for each other, the metadata decide first.
                biased;
                metadata = &mut metadata => break metadata,
                frame = &mut pixels, if came.is_none() => came = Some(frame),
            }
        };
        let is_wanted = match &metadata {
            Ok(metadata) => self.shows(metadata, guess, wanted),
            Err(_) => false,
        };
        let pixels = async move {
            match came {
                Some(pixels) => Some(pixels),
                None if is_wanted => Some(pixels.await),
                // It gives up its place among the calls, which others wait for.
                None => {
                    drop(pixels);
                    None
                }
            }
        };
        let completed = async {
            match metadata {
                Ok(metadata) => Ok(self.complete(metadata).await),
                Err(error) => Err(error),
            }
        };
        let (metadata, pixels) = tokio::join!(completed, pixels);
        self.opened(metadata, pixels.map(|pixels| Early { frame: guess, pixels })).await
    }

    async fn opened(
        &self,
        metadata: std::result::Result<Metadata, UpstreamError>,
        early: Option<Early>,
    ) -> Result<Opened> {
        let has_pixels = early.as_ref().is_some_and(|early| early.pixels.is_ok());
        match metadata {
            Ok(metadata) => Ok(Opened::of_metadata(self.path, metadata, early)),
            Err(error) if error.is_absent() && !has_pixels => Err(error.into()),
            Err(error) if is_final(&error) => Err(error.into()),
            // An archive that gives no metadata.
            Err(_) => Opened::of_file(self.path, self.whole().await?, &self.limits),
        }
    }

    /// Whether a frame of what the metadata describe is what will be drawn.
    fn shows(&self, metadata: &Metadata, frame: FrameNumber, wanted: Option<FrameNumber>) -> bool {
        let is_tiled = Slide::of(&metadata.dataset).is_some_and(|slide| slide.is_tiled());
        match Category::of(&metadata.dataset, None) {
            Category::SingleFrame | Category::MultiFrame(_) => match wanted {
                Some(wanted) => wanted == frame,
                None => !is_tiled && self.standing_for(&metadata.dataset) == frame,
            },
            Category::Video => wanted == Some(frame),
            Category::Report
            | Category::Document
            | Category::PresentationState
            | Category::Other => false,
        }
    }

    /// The frame that stands for an object.
    pub(crate) fn standing_for(&self, dataset: &InMemDicomObject) -> FrameNumber {
        if self.first_of_many && !names_representative_frame(dataset) {
            return FrameNumber::FIRST;
        }
        representative_frame(dataset)
    }

    /// The same of a file, which knows best how many frames it holds.
    fn choice(&self, dataset: &InMemDicomObject) -> FrameChoice {
        if self.first_of_many && !names_representative_frame(dataset) {
            return FrameChoice::Number(FrameNumber::FIRST);
        }
        FrameChoice::Representative
    }

    fn client(&self) -> &Client {
        &self.upstream.client
    }

    /// What `which` of an instance is drawn from.
    pub(crate) async fn source(&self, opened: &Opened, which: &Which) -> Result<Source> {
        self.is_no_poison()?;
        match which {
            Which::Representative => self.representative(opened).await,
            Which::Frame(frame) => self.frame_of(opened, *frame, None).await,
            Which::Cine(frames) => self.cine(opened, frames).await,
        }
    }

    async fn representative(&self, opened: &Opened) -> Result<Source> {
        match &opened.held {
            Held::File { bytes, file } => {
                let is_slide = Slide::of(&file.dataset).is_some();
                let slide = if is_slide { SlideFile::open(bytes, &self.limits)? } else { None };
                match slide {
                    Some(file) => {
                        slide::source(self, Image::in_hand(self.path, file, bytes.clone())).await
                    }
                    None => {
                        Ok(Source::File { bytes: bytes.clone(), frame: self.choice(&file.dataset) })
                    }
                }
            }
            Held::Metadata(metadata) => match Slide::of(&metadata.dataset) {
                Some(slide) => {
                    let image = Image::described(self.path, slide, metadata.clone());
                    slide::source(self, image).await
                }
                None => self.frame_of(opened, self.standing_for(&metadata.dataset), None).await,
            },
        }
    }

    /// A frame of an instance that is known, within memory that is held already or its own.
    async fn frame_of(
        &self,
        opened: &Opened,
        frame: FrameNumber,
        hold: Option<&Hold>,
    ) -> Result<Source> {
        let metadata = match &opened.held {
            Held::File { bytes, file } => {
                self.may_show(Slide::of(&file.dataset).as_ref())?;
                let (bytes, frame) = (bytes.clone(), FrameChoice::Number(frame));
                return Ok(Source::File { bytes, frame });
            }
            Held::Metadata(metadata) => metadata,
        };
        self.may_show(Slide::of(&metadata.dataset).as_ref())?;
        if opened.whole.get().is_none() {
            let pixels = match opened.early(frame) {
                Some(pixels) => pixels,
                None => match hold {
                    Some(hold) => {
                        let fetched = self.client().frame(self.path, frame, self.caller).await;
                        fetched.map(|f| Frame { bytes: hold.keep(f.bytes), ..f })
                    }
                    None => {
                        let own = self.hold_more(opened, frame_size(&metadata.dataset)).await?;
                        self.held_frame(frame, &own).await
                    }
                },
            };
            let validator = pixels.as_ref().ok().and_then(|pixels| pixels.validator.clone());
            opened.knows(Resource::Frame(frame), validator);
            if let Some(source) = assemble(metadata, pixels, frame)? {
                return Ok(source);
            }
        }
        let bytes = self.file(opened).await?;
        Ok(Source::File { bytes, frame: FrameChoice::Number(frame) })
    }

    /// The whole file of an instance, fetched once.
    pub(crate) async fn file(&self, opened: &Opened) -> Result<Bytes> {
        match &opened.held {
            Held::File { bytes, .. } => Ok(bytes.clone()),
            Held::Metadata(_) => Ok(opened.whole.get_or_try_init(|| self.whole()).await?.clone()),
        }
    }

    /// Frames of an instance that is known, for an animation.
    async fn cine(&self, opened: &Opened, frames: &[FrameNumber]) -> Result<Source> {
        let delays = frame_delays(opened.dataset(), frames);
        // All at once: many animations that hold a part each would wait for each other.
        let all = frame_size(opened.dataset()).saturating_mul(frames.len() as u64);
        let hold =
            if opened.is_in_hand() { None } else { Some(self.hold_more(opened, all).await?) };
        let ask = |frame| self.frame_of(opened, frame, hold.as_ref());
        let mut answers = stream::iter(frames.iter().copied().map(ask)).buffered(AT_ONCE);
        let (mut encoded, mut sum) = (Vec::new(), 0);
        while let Some(source) = answers.next().await {
            match source? {
                Source::Frame { attributes, transfer_syntax, bytes } => {
                    sum += bytes.len() as u64;
                    if sum > self.limits.source_bytes {
                        return Err(
                            UpstreamError::TooLarge { limit: self.limits.source_bytes }.into()
                        );
                    }
                    encoded.push(EncodedFrame { attributes: *attributes, transfer_syntax, bytes });
                }
                Source::File { bytes, .. } => {
                    let cine = Cine::File { bytes, frames: frames.to_vec() };
                    return Ok(Source::Cine(Box::new(cine)));
                }
                other => return Ok(other),
            }
        }
        Ok(Source::Cine(Box::new(Cine::Frames { frames: encoded, delays })))
    }

    /// The representative frame of an image whose metadata are known.
    pub(crate) async fn described(&self, metadata: Metadata) -> Result<Source> {
        let frame = representative_frame(&metadata.dataset);
        let metadata = self.complete(metadata).await;
        let hold = self.hold(frame_size(&metadata.dataset)).await?;
        let pixels = self.held_frame(frame, &hold).await;
        match assemble(&metadata, pixels, frame)? {
            Some(source) => Ok(source),
            None => {
                let bytes = self.whole().await?;
                Ok(Source::File { bytes, frame: FrameChoice::Representative })
            }
        }
    }

    /// The instance of which a frame is wanted, with that frame at hand if it could be had.
    pub(crate) async fn open_frame(&self, frame: FrameNumber) -> Result<Opened> {
        let opened = self.open_for(Some(frame)).await?;
        self.has_frames(opened.category)?;
        Ok(opened)
    }

    /// That frame.
    pub(crate) async fn frame(&self, opened: &Opened, frame: FrameNumber) -> Result<Source> {
        self.frame_of(opened, frame, None).await
    }

    fn has_frames(&self, category: Category) -> Result<()> {
        match category {
            Category::SingleFrame | Category::MultiFrame(_) | Category::Video => Ok(()),
            Category::PresentationState => Err(SourceError::StateHasNoFrames),
            Category::Report | Category::Document | Category::Other => {
                Err(RenderError::NotAnImage.into())
            }
        }
    }

    /// R1.11: a thumbnail never shows the label of a slide.
    pub(crate) fn may_show(&self, slide: Option<&Slide>) -> Result<()> {
        if self.kind == Kind::Thumbnail && slide.is_some_and(Slide::shows_label) {
            return Err(RenderError::ShowsLabel.into());
        }
        Ok(())
    }

    /// Fetches what the metadata only point at, as far as it changes the picture. What cannot be had
    /// stays on their list.
    pub(crate) async fn complete(&self, mut metadata: Metadata) -> Metadata {
        self.fill_in(&mut metadata).await;
        metadata
    }

    /// The same in place.
    pub(crate) async fn fill_in(&self, metadata: &mut Metadata) {
        let wanted: Vec<_> = metadata.bulk.iter().filter(|bulk| is_table(bulk)).cloned().collect();
        if wanted.len() > most_tables(metadata) {
            return;
        }
        let ask = |reference: BulkDataRef| async move {
            let asked = self.client().bulk_data(self.path, &reference, self.caller, LARGEST_TABLE);
            (asked.await, reference)
        };
        let asked: Vec<_> = wanted.into_iter().map(ask).collect();
        let mut answers = stream::iter(asked).buffer_unordered(TABLES_AT_ONCE);
        while let Some((answer, reference)) = answers.next().await {
            match answer {
                Ok(bytes) => metadata.fill(&reference, bytes),
                Err(error) => tracing::debug!(kind = error.kind(), "no bulk data"),
            }
        }
    }

    /// The whole object, whatever its size.
    pub(crate) async fn whole(&self) -> Result<Bytes> {
        match self.client().instance(self.path, self.caller, SizeLimit::None).await? {
            InstanceAnswer::Whole(bytes, _) => Ok(bytes),
            InstanceAnswer::LargerThan(limit) => Err(UpstreamError::TooLarge { limit }.into()),
        }
    }
}

/// What a frame has at most, as cells.
fn frame_size(dataset: &InMemDicomObject) -> u64 {
    Said::from(dataset).content().and_then(bytes_of_frame).unwrap_or(USUAL)
}

fn bytes_of_frame(content: Content) -> Option<u64> {
    match content {
        Content::Frame { bytes } => bytes,
        Content::Frames { count, bytes } => bytes.map(|all| all / u64::from(count.max(1))),
        Content::Text => Some(0),
        Content::Other => None,
    }
}

/// Tables that are fetched by themselves: fewer where the object around them is small.
fn most_tables(metadata: &Metadata) -> usize {
    match Said::from(&metadata.dataset).content() {
        Some(Content::Frame { bytes }) if bytes.is_none_or(|bytes| bytes <= SMALL) => {
            MOST_TABLES_OF_SMALL
        }
        _ => MOST_TABLES,
    }
}
