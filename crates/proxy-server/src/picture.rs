//! One picture: of a frame, of an animation, as a presentation state has it, or a card.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core_render::{
    Card, Category, Labels, Picture, Presentation, PresentationState, RenderError, RenderJob,
    RenderSpec, Slide, Source, number_of_frames, representative_frame,
};
use dicomweb_types::{FrameNumber, ImageReference, InstancePath, MediaType};
use report_render::KeyObjects;
use wadors_client::UpstreamError;

use crate::asked::Asked;
use crate::cache::{Found, Key, Seen, Shown, SubjectKey};
use crate::conditional::{ETag, Held};
use crate::error::{Level, ServerError};
use crate::fingerprint::{self, Told};
use crate::plan;
use crate::recall::{self, Aged};
use crate::remember::{self, Facts};
use crate::representative::{Candidate, Candidates, Rule};
use crate::route::FrameList;
use crate::source::{Fetch, Opened, Which};
use crate::state;
use crate::workers::{Rendered, WorkError};

/// A picture to send, or that the client holds it.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) etag: ETag,
    /// What it was rendered from.
    pub(crate) content_location: String,
    /// `None` where the client holds it already.
    pub(crate) drawn: Option<Drawn>,
    /// Which image stands for what was asked for, and why.
    pub(crate) representative: Option<String>,
    /// The same, as it is kept.
    pub(crate) shown: Shown,
    pub(crate) origin: Origin,
    /// How long caches on the way to the client may keep it; those of nobody else may.
    pub(crate) public_for: Option<Duration>,
    /// Those of the request, which others that share the picture do not have; the picture has its own.
    pub(crate) warnings: Vec<String>,
}

/// A picture with what is to be said about it.
#[derive(Clone)]
pub(crate) struct Drawn {
    pub(crate) picture: Picture,
    /// Of one that was drawn for this request.
    pub(crate) timings: Option<Timings>,
}

/// Where an answer comes from, for `Cache-Status` (RFC 9211).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The archive was asked.
    Made { why: Asking, collapsed: bool },
    /// All of it was kept.
    Kept { found: Found, seen: Seen, stale: Option<Stale> },
    /// It was drawn from a source that was kept.
    DrawnAgain { found: Found, seen: Seen, stale: Option<Stale> },
}

impl Origin {
    /// The same some time later.
    pub(crate) fn as_old_as(self, seen: Seen) -> Self {
        match self {
            Self::Kept { found, stale, .. } => Self::Kept { found, seen, stale },
            Self::DrawnAgain { found, stale, .. } => Self::DrawnAgain { found, seen, stale },
            made @ Self::Made { .. } => made,
        }
    }

    /// As somebody else asked the archive for this request, too.
    pub(crate) fn collapsed(self, followed: bool) -> Self {
        match self {
            Self::Made { why, .. } => Self::Made { why, collapsed: followed },
            kept => kept,
        }
    }
}

/// Why the archive was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    /// Nothing was kept.
    Missing,
    /// What was kept was too old.
    Stale,
    /// It was, and the archive said that it is still so.
    Unchanged,
    /// Nothing is kept of this request.
    Bypass,
}

/// Why something is shown that is no longer fresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stale {
    /// The archive is being asked.
    Renewing,
    /// It cannot be asked.
    ArchiveDown,
}

/// Where the time of one picture went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) queue: Duration,
    pub(crate) upstream: Duration,
    pub(crate) decode: Duration,
    pub(crate) render: Duration,
    pub(crate) encode: Duration,
}

/// What is drawn.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) opened: Arc<Opened>,
    pub(crate) which: Which,
    /// As a presentation state has it.
    pub(crate) state: Option<AsStated>,
}

/// A presentation state, and where it is.
#[derive(Clone)]
pub(crate) struct AsStated {
    pub(crate) path: InstancePath,
    pub(crate) state: Arc<PresentationState>,
}

impl Subject {
    /// An instance as it stands for itself.
    pub(crate) fn new(opened: Arc<Opened>) -> Self {
        Self { opened, which: Which::Representative, state: None }
    }

    fn path(&self) -> &InstancePath {
        &self.opened.path
    }

    /// The frame that a location names: none where it is the instance itself that was drawn.
    fn named_frame(&self) -> Option<FrameNumber> {
        match (&self.which, self.opened.category()) {
            (Which::Frame(frame), Category::MultiFrame(_)) => Some(*frame),
            _ => None,
        }
    }

    /// The resource that is drawn, as a path on this server.
    pub(crate) fn location(&self, asked: &Asked) -> String {
        plan::content_location(&asked.upstream.base_path, self.path(), self.named_frame())
    }

    fn level(&self) -> Level {
        if matches!(self.which, Which::Frame(_)) { Level::Frame } else { Level::Instance }
    }

    pub(crate) fn key(&self) -> SubjectKey {
        SubjectKey {
            instance: self.path().clone(),
            which: self.which.clone(),
            state: self.state.as_ref().map(|state| state.path.clone()),
        }
    }

    fn facts(&self, labels: &Labels, frame: FrameNumber) -> Facts {
        let slide = Slide::of(self.opened.dataset());
        let is_tiled =
            self.which == Which::Representative && slide.as_ref().is_some_and(Slide::is_tiled);
        // A state has a version of its own, tiles and animations many.
        let is_plain = self.state.is_none() && !is_tiled && !matches!(self.which, Which::Cine(_));
        Facts {
            versions: if is_plain { self.opened.versions(frame) } else { Vec::new() },
            subject: self.key(),
            category: self.opened.category(),
            corner: labels.series.clone(),
            shows_label: slide.as_ref().is_some_and(Slide::shows_label),
            is_tiled,
        }
    }
}

/// Draws a subject, once for all who ask for this picture at the same time.
pub(crate) async fn draw(
    asked: &Arc<Asked>,
    subject: &Subject,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let work = ("draw", subject.key(), asked.kind, spec.clone(), asked.held());
    let (owner, subject) = (asked.clone(), subject.clone());
    let drawing = move || async move {
        match drawn_meanwhile(&owner, &subject, media_type).await {
            Some(answer) => Ok(answer),
            None => draw_alone(&owner, &subject, spec).await,
        }
    };
    Ok(asked.once(&asked.app.together.drawings, &work, drawing).await?.value)
}

/// What was drawn, for a study, a series or the object itself, since what is kept was looked at.
async fn drawn_meanwhile(
    asked: &Arc<Asked>,
    subject: &Subject,
    media_type: MediaType,
) -> Option<Answer> {
    if !asked.is_more_kept() {
        return None;
    }
    let recalled = recall::of_image(asked, subject.key(), media_type, Aged::Left).await?;
    Some(Answer { origin: asked.origin(), ..recalled.into_answer(asked, None) })
}

async fn draw_alone(
    asked: &Asked,
    subject: &Subject,
    spec: RenderSpec,
) -> Result<Answer, ServerError> {
    let began = Instant::now();
    let (level, opened) = (subject.level(), &subject.opened);
    let fetch = asked.fetch(subject.path());
    let source = fetch.source(opened, &subject.which).await;
    let source = source.map_err(|error| ServerError::of_source(error, level))?;
    let frame = first_frame(&fetch, opened, &subject.which);
    let labels = opened.labels(frame);
    let facts = subject.facts(&labels, frame);
    let presentation = match &subject.state {
        Some(stated) => Some(presentation(&stated.state, subject, frame)?),
        None => None,
    };
    let limits = asked.app.config.limits();
    let job = RenderJob {
        labels: needed_of(labels, &spec),
        presentation: presentation.map(Box::new),
        ..RenderJob::new(source, spec, limits)
    };
    let (location, upstream) = (subject.location(asked), opened.took + began.elapsed());
    finish(asked, Work { job, facts, location, upstream, level }).await
}

/// Draws a frame of an instance of which nothing is known yet.
pub(crate) async fn draw_frame(
    asked: &Arc<Asked>,
    path: &InstancePath,
    frame: FrameNumber,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let work = ("draw frame", path, frame, asked.kind, spec.clone(), asked.held());
    let (owner, path) = (asked.clone(), path.clone());
    let drawing = move || async move { draw_frame_alone(&owner, &path, frame, spec).await };
    Ok(asked.once(&asked.app.together.drawings, &work, drawing).await?.value)
}

async fn draw_frame_alone(
    asked: &Arc<Asked>,
    path: &InstancePath,
    frame: FrameNumber,
    spec: RenderSpec,
) -> Result<Answer, ServerError> {
    let began = Instant::now();
    let (opened, source) = asked.open_frame(path, frame).await?;
    let subject = Subject { which: Which::Frame(frame), ..Subject::new(opened) };
    let labels = subject.opened.labels(frame);
    let facts = subject.facts(&labels, frame);
    let labels = needed_of(labels, &spec);
    let job = RenderJob { labels, ..RenderJob::new(source, spec, asked.app.config.limits()) };
    let location = plan::content_location(&asked.upstream.base_path, path, Some(frame));
    let upstream = began.elapsed();
    finish(asked, Work { job, facts, location, upstream, level: Level::Frame }).await
}

/// Draws a card that stands for what was asked for, unless it is kept.
pub(crate) async fn draw_card(
    asked: &Asked,
    card: Card,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let job = RenderJob::new(Source::Card(card.clone()), spec, asked.app.config.limits());
    let etag = fingerprint::told(&job).tag;
    let content_location = plan::scope_location(&asked.upstream.base_path, &asked.scope);
    let (shown, origin) = (Shown::Card(card), asked.origin());
    let answer = |drawn, origin| {
        let (etag, shown) = (etag.clone(), shown.clone());
        Answer {
            etag,
            content_location,
            drawn,
            representative: None,
            shown,
            origin,
            public_for: None,
            warnings: Vec::new(),
        }
    };
    if asked.held().is_held(&etag) {
        return Ok(answer(None, origin));
    }
    if let Some((picture, _)) = kept(asked, None, &etag).await {
        let drawn = Drawn { picture, timings: None };
        return Ok(answer(Some(drawn), origin));
    }
    let drawn = drawn(asked, job, Duration::ZERO).await;
    let drawn = drawn.map_err(|error| ServerError::of_work(error, Level::Instance))?;
    if asked.may_keep() {
        remember::picture(asked, None, &etag, drawn.picture.clone());
    }
    Ok(answer(Some(drawn), origin))
}

/// A picture to be drawn, and what is known of it.
struct Work {
    job: RenderJob,
    facts: Facts,
    location: String,
    upstream: Duration,
    level: Level,
}

/// Draws it, unless it is held by the client or kept; and keeps it.
async fn finish(asked: &Asked, work: Work) -> Result<Answer, ServerError> {
    let Work { job, facts, location, upstream, level } = work;
    // What is drawn from was shown by the archive to who asks: the picture of it may be one that is kept.
    let may_keep = asked.may_keep();
    let spec = job.spec.clone();
    let (told, drawn) = if is_probably_there(asked, &facts.subject, may_keep).await {
        let (told, job) = told(job).await?;
        let kept = if may_keep { kept(asked, Some(&facts.subject), &told.tag).await } else { None };
        let drawn = match (asked.held().names(&told.tag), kept) {
            (true, _) => None,
            (false, Some((picture, _))) => Some(Ok(Drawn { picture, timings: None })),
            (false, None) => Some(drawn(asked, job, upstream).await),
        };
        (told, drawn)
    } else {
        // Hashing and drawing take their time: side by side, since the hash will not spare the drawing.
        let (told, drawn) = tokio::join!(told(job.clone()), drawn(asked, job, upstream));
        (told?.0, Some(drawn))
    };
    let drawn = drawn.transpose();
    let drawn = drawn
        .map_err(|error| ServerError::of_work(error, level))
        .map_err(|error| remembered(asked, &facts.subject.instance, error))?;
    if may_keep {
        keep(asked, &facts, told.clone(), &spec, drawn.as_ref());
    }
    Ok(Answer {
        etag: told.tag,
        content_location: location,
        drawn: drawn.filter(|_| *asked.held() != Held::Anything),
        representative: None,
        shown: Shown::Image(facts.subject),
        origin: asked.origin(),
        public_for: None,
        warnings: Vec::new(),
    })
}

/// Whether the hash may spare the drawing: the client holds something, something of the subject is kept,
/// or it was kept until the study changed.
async fn is_probably_there(asked: &Asked, subject: &SubjectKey, may_keep: bool) -> bool {
    let (cache, study) = (&asked.app.cache, asked.upstream.realm.groups(asked.scope.study()));
    if asked.held().may_spare_work() || (may_keep && cache.last_change(&study) > 0) {
        return true;
    }
    let place = asked.place(Key::Identity { subject, view: None });
    may_keep && cache.identity(&place).await.is_some()
}

/// Found by the hash of what it is drawn from, which who asks has been shown.
async fn kept(asked: &Asked, of: Option<&SubjectKey>, tag: &ETag) -> Option<(Picture, Found)> {
    if !asked.may_keep() {
        return None;
    }
    let key = Key::picture(of.map(|subject| &subject.instance), tag);
    asked.app.cache.picture(&asked.place(key)).await
}

fn keep(asked: &Asked, facts: &Facts, told: Told, spec: &RenderSpec, drawn: Option<&Drawn>) {
    remember::subject(asked, facts, &told, spec);
    if let Some(drawn) = drawn.filter(|drawn| drawn.timings.is_some()) {
        remember::picture(asked, Some(&facts.subject), &told.tag, drawn.picture.clone());
    }
    if let Some(frame) = told.frame.clone() {
        remember::source(asked, facts, &told, frame);
    }
}

/// Draws a job.
pub(crate) async fn drawn(
    asked: &Asked,
    job: RenderJob,
    upstream: Duration,
) -> Result<Drawn, WorkError> {
    let Rendered { picture, queue, decode, render, encode } =
        asked.app.workers.draw(job, asked.class).await?;
    let timings = Some(Timings { queue, upstream, decode, render, encode });
    Ok(Drawn { picture, timings })
}

/// An error, and the object remembered over which a worker was lost.
fn remembered(asked: &Asked, path: &InstancePath, error: ServerError) -> ServerError {
    if matches!(error, ServerError::WorkerLost { .. }) {
        asked.upstream.poison.remember(path, Instant::now());
    }
    error
}

async fn told(job: RenderJob) -> Result<(Told, RenderJob), ServerError> {
    let told = tokio::task::spawn_blocking(move || (fingerprint::told(&job), job));
    told.await.map_err(|_| ServerError::Broke)
}

/// How the picture of a request is drawn.
pub(crate) fn spec(asked: &Asked, media_type: MediaType) -> Result<RenderSpec, ServerError> {
    Ok(plan::spec(asked.kind, &asked.params, media_type, &asked.app.config)?)
}

/// The texts that a picture shows, and no others.
fn needed_of(labels: Labels, spec: &RenderSpec) -> Option<Labels> {
    let Labels { patient, technique, series } = labels;
    let annotation = spec.annotation;
    (annotation.patient || annotation.technique || spec.may_name_series()).then(|| Labels {
        patient: if annotation.patient { patient } else { Vec::new() },
        technique: if annotation.technique { technique } else { Vec::new() },
        series: series.filter(|_| spec.may_name_series()),
    })
}

fn first_frame(fetch: &Fetch<'_>, opened: &Opened, which: &Which) -> FrameNumber {
    match which {
        Which::Representative => fetch.standing_for(opened.dataset()),
        Which::Frame(frame) => *frame,
        Which::Cine(frames) => frames.first().copied().unwrap_or(FrameNumber::FIRST),
    }
}

fn presentation(
    state: &PresentationState,
    subject: &Subject,
    frame: FrameNumber,
) -> Result<Presentation, ServerError> {
    state.for_image(&subject.path().instance, frame).ok_or_else(|| ServerError::Render {
        error: RenderError::Damaged {
            reason: "the presentation state does not refer to this image".to_owned(),
        },
        level: Level::Instance,
    })
}

// Key objects ----------------------------------------------------------------------------------

/// The image that key objects name first (R5.6).
pub(crate) fn first_key_image(opened: &Opened) -> Option<ImageReference> {
    KeyObjects::read(opened.dataset())?.references.into_iter().next()
}

/// Draws an image that an object of the same study refers to.
pub(crate) async fn draw_reference(
    asked: &Arc<Asked>,
    from: &Opened,
    image: ImageReference,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let path = state::path_of(from, &image);
    let opened = asked.open(&path).await?;
    let which = image.frames.first().map_or(Which::Representative, |&frame| Which::Frame(frame));
    draw(asked, &Subject { which, ..Subject::new(opened) }, media_type).await
}

// Frames ---------------------------------------------------------------------------------------

/// The frames of a list, all of which the object must have (R1.3).
pub(crate) fn frames_there(
    opened: &Opened,
    list: &FrameList,
) -> Result<Vec<FrameNumber>, ServerError> {
    let at_level = |error| ServerError::Render { error, level: Level::Frame };
    match opened.category() {
        Category::SingleFrame | Category::MultiFrame(_) | Category::Video => {}
        Category::PresentationState => return Err(ServerError::StateHasNoFrames),
        Category::Report | Category::Document | Category::Other => {
            return Err(at_level(RenderError::NotAnImage));
        }
    }
    let frames = number_of_frames(opened.dataset());
    match list.as_slice().iter().find(|frame| frame.get() > frames) {
        Some(&frame) => Err(at_level(RenderError::FrameOutOfRange { frame, frames })),
        None => Ok(list.as_slice().to_vec()),
    }
}

/// The frames of an object that its animation shows.
pub(crate) fn frames_of_cine(asked: &Asked, category: Category) -> Vec<FrameNumber> {
    let frames = match category {
        Category::MultiFrame(frames) => frames,
        _ => 1,
    };
    core_render::cine_frames(frames, &asked.app.config.limits())
}

/// The frame that stands for a list: the object's own if it is among them, else the middle one.
pub(crate) fn representative_of(opened: &Opened, frames: &[FrameNumber]) -> FrameNumber {
    let own = representative_frame(opened.dataset());
    if frames.contains(&own) { own } else { frames[frames.len() / 2] }
}

/// With `X-Representative`, where the frame stands for others.
pub(crate) fn with_frame_explained(answer: Answer, category: Category) -> Answer {
    let Category::MultiFrame(of) = category else { return answer };
    let explained = match &answer.drawn {
        Some(drawn) => format!("frame={}; of={of}", drawn.picture.frame),
        None => format!("of={of}"),
    };
    Answer { representative: Some(explained), ..answer }
}

// Representatives ------------------------------------------------------------------------------

/// The picture of the first candidate that can be drawn, with the reason (R5.3, R5.4).
///
/// # Errors
/// That of the first candidate, if none can be drawn; any that would be the same for all.
pub(crate) async fn first_that_can_be_drawn(
    asked: &Arc<Asked>,
    candidates: &Candidates,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let images = richest_first(asked, candidates).await;
    let mut first_error = None;
    for (skipped, candidate) in images.iter().enumerate() {
        match draw_candidate(asked, candidate, media_type).await {
            Ok(mut answer) => {
                answer.representative = Some(explained(candidate, &answer, skipped));
                return Ok(answer);
            }
            Err(error) if error.is_about_one_object() => {
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or(ServerError::NothingThere))
}

/// Draws a candidate, once for all of whose study and series it is shown at the same time.
async fn draw_candidate(
    asked: &Arc<Asked>,
    candidate: &Candidate,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let work = ("candidate", &candidate.path, candidate.frame, asked.kind, spec, asked.held());
    let (owner, candidate) = (asked.clone(), candidate.clone());
    let drawing = move || async move { draw_candidate_alone(&owner, &candidate, media_type).await };
    Ok(asked.once(&asked.app.together.drawings, &work, drawing).await?.value)
}

async fn draw_candidate_alone(
    asked: &Arc<Asked>,
    candidate: &Candidate,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let which = candidate.frame.map_or(Which::Representative, Which::Frame);
    let key = SubjectKey { instance: candidate.path.clone(), which, state: None };
    // The archive has been asked what stands for it; what that is drawn from may be known.
    if let Some(recalled) = recall::of_image(asked, key, media_type, Aged::Checked).await {
        return Ok(Answer { origin: asked.origin(), ..recalled.into_answer(asked, None) });
    }
    let subject = open_candidate(asked, candidate).await?;
    match subject.opened.category() {
        Category::SingleFrame | Category::MultiFrame(_) | Category::Video => {
            draw(asked, &subject, media_type).await
        }
        Category::PresentationState => {
            let image = state::first_image(asked, &subject.opened).await;
            draw(asked, &image.map_err(without_image)?, media_type).await
        }
        Category::Report => {
            let image = first_key_image(&subject.opened).ok_or_else(no_image)?;
            let drawn = draw_reference(asked, &subject.opened, image, media_type).await;
            drawn.map_err(without_image)
        }
        Category::Document | Category::Other => Err(no_image()),
    }
}

/// What refers to an image that is gone shows none, as what refers to none.
fn without_image(error: ServerError) -> ServerError {
    let is_gone = match &error {
        ServerError::Upstream(error) => error.is_absent() || *error == UpstreamError::Empty,
        ServerError::Render { .. } | ServerError::NothingThere => true,
        _ => false,
    };
    if is_gone { no_image() } else { error }
}

fn no_image() -> ServerError {
    ServerError::Render { error: RenderError::NotAnImage, level: Level::Instance }
}

async fn open_candidate(asked: &Arc<Asked>, candidate: &Candidate) -> Result<Subject, ServerError> {
    let opened = asked.open(&candidate.path).await?;
    let which = candidate.frame.map_or(Which::Representative, Which::Frame);
    Ok(Subject { which, ..Subject::new(opened) })
}

/// The candidates that are to be compared by their contrast, the highest first; then the others.
async fn richest_first(asked: &Arc<Asked>, candidates: &Candidates) -> Vec<Candidate> {
    let mut images = candidates.images.clone();
    let compared = candidates.compared.min(images.len());
    if compared < 2 {
        return images;
    }
    let mut ranked = Vec::new();
    for candidate in images.drain(..compared) {
        let contrast = contrast(asked, &candidate).await.unwrap_or(-1.0);
        ranked.push((contrast, candidate));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, candidate)| candidate).chain(images).collect()
}

/// How much the display values of a small picture of it differ.
async fn contrast(asked: &Arc<Asked>, candidate: &Candidate) -> Result<f64, ServerError> {
    let subject = open_candidate(asked, candidate).await?;
    let source = asked.fetch(&candidate.path).source(&subject.opened, &subject.which).await;
    let source = source.map_err(|error| ServerError::of_source(error, Level::Instance))?;
    let job = RenderJob::new(source, plan::for_contrast(), asked.app.config.limits());
    let contrast = asked.app.workers.contrast(job, asked.class).await;
    contrast
        .map_err(|error| ServerError::of_work(error, Level::Instance))
        .map_err(|error| remembered(asked, &candidate.path, error))
}

/// `X-Representative`: which image it is, by which rule, and how many that should have been could not
/// be drawn. Its UIDs are in the Content-Location too.
fn explained(candidate: &Candidate, answer: &Answer, skipped: usize) -> String {
    let Candidate { path, rule, .. } = candidate;
    let rule = if skipped > 0 && *rule == Rule::Middle { Rule::Neighbour } else { *rule };
    let mut text = format!("{path}; rule={}", rule.as_str());
    if let Some(drawn) = &answer.drawn {
        text += &format!("; frame={}", drawn.picture.frame);
    }
    if skipped > 0 {
        text += &format!("; skipped={skipped}");
    }
    text
}
