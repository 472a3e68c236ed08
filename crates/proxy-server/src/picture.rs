//! One picture: of a frame, of an animation, as a presentation state has it, or a card.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core_render::{
    Card, Category, Picture, Presentation, PresentationState, RenderError, RenderJob, RenderSpec,
    Source, number_of_frames, representative_frame,
};
use dicomweb_types::{FrameNumber, ImageReference, InstancePath, MediaType};
use report_render::KeyObjects;

use crate::asked::Asked;
use crate::conditional::{ETag, Held};
use crate::error::{Level, ServerError};
use crate::plan;
use crate::representative::{Candidate, Candidates, Rule};
use crate::route::FrameList;
use crate::source::{Fetch, Opened, Which};
use crate::state;
use crate::workers::Rendered;

/// A picture to send, or that the client holds it.
pub(crate) struct Answer {
    pub(crate) etag: ETag,
    /// What it was rendered from.
    pub(crate) content_location: String,
    /// `None` where the client holds it already.
    pub(crate) drawn: Option<Drawn>,
    /// Which image stands for what was asked for, and why.
    pub(crate) representative: Option<String>,
}

/// A picture with what is to be said about it.
pub(crate) struct Drawn {
    pub(crate) picture: Picture,
    pub(crate) timings: Timings,
    /// Those of the request; the picture has its own.
    pub(crate) warnings: Vec<String>,
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
pub(crate) struct Subject {
    pub(crate) opened: Arc<Opened>,
    pub(crate) which: Which,
    /// As a presentation state has it.
    pub(crate) state: Option<Arc<PresentationState>>,
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
}

/// Draws a subject.
pub(crate) async fn draw(
    asked: &Asked,
    subject: &Subject,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let began = Instant::now();
    let (level, opened) = (subject.level(), &subject.opened);
    let fetch = asked.fetch(subject.path());
    let source = fetch.source(opened, &subject.which).await;
    let source = source.map_err(|error| ServerError::of_source(error, level))?;
    let frame = first_frame(&fetch, opened, &subject.which);
    let labels = needs_labels(&spec).then(|| opened.labels(frame));
    let presentation = match &subject.state {
        Some(state) => Some(presentation(state, subject, frame)?),
        None => None,
    };
    let limits = asked.app.config.limits();
    let job = RenderJob {
        labels,
        presentation: presentation.map(Box::new),
        ..RenderJob::new(source, spec, limits)
    };
    let location = subject.location(asked);
    finish(asked, job, location, opened.took + began.elapsed(), level)
        .await
        .map_err(|error| remembered(asked, subject.path(), error))
}

/// Draws a frame of an instance of which nothing is known yet.
pub(crate) async fn draw_frame(
    asked: &Asked,
    path: &InstancePath,
    frame: FrameNumber,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let began = Instant::now();
    let fetched = asked.fetch(path).frame(frame).await;
    let (source, labels) = fetched.map_err(|error| ServerError::of_source(error, Level::Frame))?;
    let labels = needs_labels(&spec).then_some(labels);
    let job = RenderJob { labels, ..RenderJob::new(source, spec, asked.app.config.limits()) };
    let location = plan::content_location(&asked.upstream.base_path, path, Some(frame));
    finish(asked, job, location, began.elapsed(), Level::Frame)
        .await
        .map_err(|error| remembered(asked, path, error))
}

/// Draws a card that stands for the resource at `location`.
pub(crate) async fn draw_card(
    asked: &Asked,
    card: Card,
    location: String,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let spec = spec(asked, media_type)?;
    let job = RenderJob::new(Source::Card(card), spec, asked.app.config.limits());
    finish(asked, job, location, Duration::ZERO, Level::Instance).await
}

async fn finish(
    asked: &Asked,
    job: RenderJob,
    content_location: String,
    upstream: Duration,
    level: Level,
) -> Result<Answer, ServerError> {
    // Hashing and drawing take their time: side by side, unless the hash may spare the drawing.
    let hashing = tag(job.clone());
    let (etag, rendered) = if asked.held.may_spare_work() {
        let etag = hashing.await?;
        if asked.held.names(&etag) {
            return Ok(Answer { etag, content_location, drawn: None, representative: None });
        }
        (Ok(etag), asked.app.workers.draw(job).await)
    } else {
        tokio::join!(hashing, asked.app.workers.draw(job))
    };
    let (etag, rendered) = (etag?, rendered.map_err(|error| ServerError::of_work(error, level))?);
    let Rendered { picture, queue, decode, render, encode } = rendered;
    let timings = Timings { queue, upstream, decode, render, encode };
    let drawn = (asked.held != Held::Anything).then(|| Drawn {
        picture,
        timings,
        warnings: asked.warnings(),
    });
    Ok(Answer { etag, content_location, drawn, representative: None })
}

/// An error, and the object remembered over which a worker was lost.
fn remembered(asked: &Asked, path: &InstancePath, error: ServerError) -> ServerError {
    if matches!(error, ServerError::WorkerLost { .. }) {
        asked.upstream.poison.remember(&path.instance, Instant::now());
    }
    error
}

async fn tag(job: RenderJob) -> Result<ETag, ServerError> {
    tokio::task::spawn_blocking(move || ETag::of(&job)).await.map_err(|_| ServerError::Broke)
}

fn spec(asked: &Asked, media_type: MediaType) -> Result<RenderSpec, ServerError> {
    Ok(plan::spec(asked.kind, &asked.params, media_type, &asked.app.config)?)
}

fn needs_labels(spec: &RenderSpec) -> bool {
    spec.annotation.patient || spec.annotation.technique || spec.corner_label
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
    asked: &Asked,
    from: &Opened,
    image: ImageReference,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let path = state::path_of(from, &image);
    let opened = Arc::new(asked.open(&path).await?);
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

async fn draw_candidate(
    asked: &Arc<Asked>,
    candidate: &Candidate,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let subject = open_candidate(asked, candidate).await?;
    match subject.opened.category() {
        Category::SingleFrame | Category::MultiFrame(_) | Category::Video => {
            draw(asked, &subject, media_type).await
        }
        Category::PresentationState => {
            let subject = state::first_image(asked, &subject.opened).await?;
            draw(asked, &subject, media_type).await
        }
        Category::Report => {
            let image = first_key_image(&subject.opened).ok_or_else(no_image)?;
            draw_reference(asked, &subject.opened, image, media_type).await
        }
        Category::Document | Category::Other => Err(no_image()),
    }
}

fn no_image() -> ServerError {
    ServerError::Render { error: RenderError::NotAnImage, level: Level::Instance }
}

async fn open_candidate(asked: &Asked, candidate: &Candidate) -> Result<Subject, ServerError> {
    let opened = Arc::new(asked.open(&candidate.path).await?);
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
    let contrast = asked.app.workers.contrast(job).await;
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
