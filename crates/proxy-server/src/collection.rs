//! Many renderings in one answer: `multipart/related`, a part as soon as it is ready (R1.5 to R1.7).
//!
//! Items are opened one after the other and drawn a few at a time, in the order of series number,
//! instance number and frame; what is drawn ahead of the client is bounded, so memory does not grow
//! with the number of parts. The status is decided once the first part is there (design §3): 200 where
//! only objects without a rendered form are left out, 206 where images that should render are known to
//! fail. What fails later is left out and named in a trailer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use core_render::{Category, RenderError, number_of_frames};
use dicomweb_types::{FrameNumber, InstancePath, MediaType, SeriesPath, Uid};
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::asked::Asked;
use crate::document;
use crate::error::ServerError;
use crate::forms::{self, Made};
use crate::listing::{self, Content, ListedInstance};
use crate::negotiate::NegotiationError;
use crate::picture::{self, AsStated, Drawn, Subject};
use crate::plan;
use crate::source::{Opened, Which};
use crate::state::{self, StateImages};
use crate::task::Task;

/// Instances opened ahead of the one that is drawn.
const OPENED_AHEAD: usize = 2;

/// Parts drawn at the same time.
const DRAWN_AHEAD: usize = 2;

/// Searches of a study at the same time.
const SEARCHES_AT_ONCE: usize = 6;

/// Failures of the archive, one after the other, that end a collection: it is gone.
const MOST_OUTAGES: usize = 5;

/// Frames of one instance that fail in a row, after which the others are not tried.
const MOST_FAILED_FRAMES: u32 = 8;

/// Many payloads, streamed.
pub(crate) struct Collection {
    /// The first part, drawn.
    pub(crate) first: Part,
    /// The others, and what is left out, as they come.
    pub(crate) rest: BoxStream<'static, Result<Part, LeftOut>>,
    /// What was left out before the first part.
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) warnings: Vec<String>,
}

/// One part.
pub(crate) struct Part {
    pub(crate) content_type: String,
    pub(crate) content_location: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) bytes: bytes::Bytes,
}

/// An item that is not among the parts.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// The path of the resource.
    pub(crate) resource: String,
    pub(crate) error: ServerError,
}

impl LeftOut {
    /// Whether it has no rendered form as asked, which is no failure (R1.12).
    pub(crate) fn has_no_form(&self) -> bool {
        self.error.is_no_picture()
    }
}

/// What a collection is made of, not fetched yet.
pub(crate) struct Items {
    items: BoxStream<'static, Item>,
    /// How many objects are known to have no rendered form as asked.
    without_form: usize,
}

enum Item {
    /// An instance of which only the path is known.
    Listed(InstancePath),
    Opened(Arc<Opened>),
    /// Frames of an instance.
    Frames(Arc<Opened>, Vec<FrameNumber>),
}

/// Everything in a study.
pub(crate) async fn items_of_study(asked: &Arc<Asked>, study: &Uid) -> Result<Items, ServerError> {
    let series = listing::series_of(&asked.upstream, study, &asked.caller).await?;
    let search = |path: SeriesPath| async move {
        let found = listing::instances_of(&asked.upstream, &path, &asked.caller).await;
        found.map(|instances| (path, instances))
    };
    let searches = series.into_iter().map(|listed| search(listed.path));
    let mut found = stream::iter(searches.collect::<Vec<_>>()).buffered(SEARCHES_AT_ONCE);
    let mut listed = Vec::new();
    while let Some(series) = found.next().await {
        listed.push(series?);
    }
    items_of_listing(asked, listed)
}

/// Everything in a series.
pub(crate) async fn items_of_series(
    asked: &Arc<Asked>,
    series: &SeriesPath,
) -> Result<Items, ServerError> {
    let instances = listing::instances_of(&asked.upstream, series, &asked.caller).await?;
    items_of_listing(asked, vec![(series.clone(), instances)])
}

fn items_of_listing(
    asked: &Asked,
    listed: Vec<(SeriesPath, Vec<ListedInstance>)>,
) -> Result<Items, ServerError> {
    let count: usize = listed.iter().map(|(_, instances)| instances.len()).sum();
    if count == 0 {
        return Err(ServerError::NothingThere);
    }
    let text = forms::as_parts(forms::of_object(Category::Report, None, false));
    let takes_text = asked.wishes.choose(&text).is_ok();
    let has_form = |instance: &ListedInstance| match instance.content {
        Content::Image | Content::Localizer | Content::Label | Content::PresentationState => true,
        // A document may be of a type that is accepted; that is known once it is open.
        Content::Text | Content::KeyObjects => takes_text,
        Content::Nothing => false,
    };
    let paths: Vec<InstancePath> = listed
        .into_iter()
        .flat_map(|(series, instances)| {
            let formed: Vec<ListedInstance> = instances.into_iter().filter(&has_form).collect();
            formed.into_iter().map(move |instance| series.instance(instance.uid))
        })
        .collect();
    let without_form = count - paths.len();
    if paths.is_empty() {
        return Err(NegotiationError::not_acceptable(&text).into());
    }
    Ok(Items { items: stream::iter(paths).map(Item::Listed).boxed(), without_form })
}

/// An instance by itself.
pub(crate) fn items_of_instance(opened: Arc<Opened>) -> Items {
    Items { items: stream::iter([Item::Opened(opened)]).boxed(), without_form: 0 }
}

/// Frames of an instance.
pub(crate) fn items_of_frames(opened: Arc<Opened>, frames: Vec<FrameNumber>) -> Items {
    Items { items: stream::iter([Item::Frames(opened, frames)]).boxed(), without_form: 0 }
}

/// Renders items, until the first part is there.
///
/// # Errors
/// Where there will be no part at all: the first failure, or 406.
pub(crate) async fn of_items(
    asked: &Arc<Asked>,
    items: Items,
) -> Result<crate::render_service::Outcome, ServerError> {
    asked.note_parts();
    let Items { items, without_form } = items;
    let mut parts = parts(asked.clone(), items);
    let mut left_out: Vec<LeftOut> = Vec::new();
    let first = loop {
        match parts.next().await {
            Some(Ok(part)) => break part,
            Some(Err(missing)) => left_out.push(missing),
            None => return Err(no_part(left_out)),
        }
        if left_out.iter().rev().take_while(|l| l.error.is_outage()).count() >= MOST_OUTAGES {
            return Err(no_part(left_out));
        }
    };
    let mut warnings = asked.warnings();
    let without_form = without_form + left_out.iter().filter(|l| l.has_no_form()).count();
    if without_form > 0 {
        warnings
            .push(format!("{without_form} objects without a rendered form as asked are left out"));
    }
    let failed = left_out.iter().filter(|l| !l.has_no_form()).count();
    if failed > 0 {
        warnings.push(format!("{failed} images could not be rendered and are left out"));
    }
    let rest = until_the_archive_is_gone(parts);
    Ok(crate::render_service::Outcome::Collection(Collection { first, rest, left_out, warnings }))
}

/// Why there is no part: a failure before what has no form.
fn no_part(left_out: Vec<LeftOut>) -> ServerError {
    let mut errors: Vec<ServerError> = left_out.into_iter().map(|missing| missing.error).collect();
    let failure = errors.iter().position(|error| !error.is_no_picture()).unwrap_or(0);
    if errors.is_empty() { ServerError::NothingThere } else { errors.swap_remove(failure) }
}

/// The parts, up to the point where the archive fails for good: a body that ends there would pass for
/// whole, so that the last item is marked.
fn until_the_archive_is_gone(
    parts: BoxStream<'static, Result<Part, LeftOut>>,
) -> BoxStream<'static, Result<Part, LeftOut>> {
    let mut outages = 0;
    parts
        .scan(false, move |gone, part| {
            let go_on = !*gone;
            outages = match &part {
                Err(missing) if missing.error.is_outage() => outages + 1,
                _ => 0,
            };
            *gone = outages >= MOST_OUTAGES;
            let part = part.map_err(|missing| match *gone {
                true => LeftOut { error: ServerError::ArchiveGone, ..missing },
                false => missing,
            });
            std::future::ready(go_on.then_some(part))
        })
        .boxed()
}

type Parts = BoxStream<'static, Result<Part, LeftOut>>;

fn parts(asked: Arc<Asked>, items: BoxStream<'static, Item>) -> Parts {
    let opener = asked.clone();
    items
        .map(move |item| Task::spawn(units(opener.clone(), item)))
        .buffered(OPENED_AHEAD)
        .flat_map(|units| units.unwrap_or_else(|_| stream::iter([Err(broke())]).boxed()))
        .map(move |unit| Task::spawn(part(asked.clone(), unit)))
        .buffered(DRAWN_AHEAD)
        .map(|part| part.unwrap_or_else(|_| Err(broke())))
        .boxed()
}

/// A defect of ours.
fn broke() -> LeftOut {
    LeftOut { resource: String::new(), error: ServerError::Broke }
}

/// What becomes one part.
struct Unit {
    subject: Subject,
    made: Made,
    frames: Arc<Frames>,
}

/// How it goes with the frames of one instance.
#[derive(Default)]
struct Frames {
    /// No more of them are tried.
    ended: AtomicBool,
    /// How many failed, one after the other.
    failed: AtomicU32,
}

impl Frames {
    /// Number of Frames may claim anything: once a frame turns out not to be there, or many fail in a
    /// row, those after it are left alone.
    fn failed(&self, error: &ServerError) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let absent =
            matches!(error, ServerError::Render { error: RenderError::FrameOutOfRange { .. }, .. });
        if absent || failed >= MOST_FAILED_FRAMES {
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    fn drawn(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }
}

type Units = BoxStream<'static, Result<Unit, LeftOut>>;

/// The units of an item, which is fetched as far as it takes to know them.
async fn units(asked: Arc<Asked>, item: Item) -> Units {
    let (opened, frames) = match item {
        Item::Opened(opened) => (opened, None),
        Item::Frames(opened, frames) => (opened, Some(frames)),
        Item::Listed(path) => match open(&asked, &path).await {
            Ok(opened) => (opened, None),
            Err(error) => return missing(&asked, &path, error),
        },
    };
    let path = opened.path.clone();
    match units_of(&asked, opened, frames).await {
        Ok(units) => units,
        Err(error) => missing(&asked, &path, error),
    }
}

fn missing(asked: &Asked, path: &InstancePath, error: ServerError) -> Units {
    let resource = plan::content_location(&asked.upstream.base_path, path, None);
    stream::iter([Err(LeftOut { resource, error })]).boxed()
}

async fn open(asked: &Arc<Asked>, path: &InstancePath) -> Result<Arc<Opened>, ServerError> {
    in_time(asked, asked.open(path)).await
}

async fn units_of(
    asked: &Arc<Asked>,
    opened: Arc<Opened>,
    frames: Option<Vec<FrameNumber>>,
) -> Result<Units, ServerError> {
    let category = opened.category();
    let stored = match category {
        Category::Document => document::stored(asked, &opened).await?,
        _ => None,
    };
    let stored = stored.as_ref().map(document::Stored::media_type);
    let offers = forms::as_parts(forms::of_object(category, stored, false));
    let made = asked.wishes.choose(&offers)?.form;
    match (category, frames) {
        (Category::PresentationState, _) => units_of_state(asked, opened, made).await,
        (_, Some(frames)) => Ok(units_of_frames(opened, frames.into_iter(), made, None)),
        (Category::MultiFrame(count), None) => {
            // It is opened ahead of its place: what waits there must hold no memory that frames before
            // it may wait for.
            opened.forget_early();
            Ok(units_of_frames(opened, (1..=count).filter_map(FrameNumber::new), made, None))
        }
        _ => Ok(one_unit(Subject::new(opened), made)),
    }
}

fn one_unit(subject: Subject, made: Made) -> Units {
    stream::iter([Ok(Unit { subject, made, frames: Arc::default() })]).boxed()
}

fn units_of_frames(
    opened: Arc<Opened>,
    frames: impl Iterator<Item = FrameNumber> + Send + 'static,
    made: Made,
    state: Option<AsStated>,
) -> Units {
    let all: Arc<Frames> = Arc::default();
    let seen = all.clone();
    let unit = move |frame| {
        let which = Which::Frame(frame);
        let subject = Subject { opened: opened.clone(), which, state: state.clone() };
        Ok(Unit { subject, made, frames: all.clone() })
    };
    stream::iter(frames.take_while(move |_| !seen.ended.load(Ordering::Relaxed)).map(unit)).boxed()
}

/// All images that a presentation state refers to, as it has them (R2.11); each is opened when it is its
/// place.
async fn units_of_state(
    asked: &Arc<Asked>,
    opened: Arc<Opened>,
    made: Made,
) -> Result<Units, ServerError> {
    let images = state::in_order(asked, &opened, state::read(asked, &opened)?).await;
    let StateImages { state, images } = images;
    let state = AsStated { path: opened.path.clone(), state };
    let asked = asked.clone();
    let units = stream::iter(images).then(move |image| {
        let (asked, state) = (asked.clone(), state.clone());
        let path = state::path_of(&opened, &image);
        let units = Task::spawn(async move {
            match open(&asked, &path).await {
                Ok(opened) => units_of_reference(opened, image.frames, made, state),
                Err(error) => missing(&asked, &path, error),
            }
        });
        units.map(|units| units.unwrap_or_else(|_| stream::iter([Err(broke())]).boxed()))
    });
    Ok(units.flatten().boxed())
}

fn units_of_reference(
    image: Arc<Opened>,
    frames: Vec<FrameNumber>,
    made: Made,
    state: AsStated,
) -> Units {
    if frames.is_empty() {
        let all = (1..=number_of_frames(image.dataset())).filter_map(FrameNumber::new);
        return units_of_frames(image, all, made, Some(state));
    }
    units_of_frames(image, frames.into_iter(), made, Some(state))
}

/// One unit to its part, in the time that a request may take.
async fn part(asked: Arc<Asked>, unit: Result<Unit, LeftOut>) -> Result<Part, LeftOut> {
    let Unit { subject, made, frames } = unit?;
    let drawn = in_time(&asked, part_of(&asked, &subject, made)).await;
    match drawn {
        Ok(part) => {
            frames.drawn();
            Ok(part)
        }
        Err(error) => {
            frames.failed(&error);
            Err(LeftOut { resource: subject.location(&asked), error })
        }
    }
}

async fn part_of(asked: &Arc<Asked>, subject: &Subject, made: Made) -> Result<Part, ServerError> {
    match made {
        Made::Picture(media_type) => picture_part(asked, subject, media_type).await,
        Made::Report(form) => {
            let payload = document::report(asked, &subject.opened, form).await?;
            Ok(payload.into_part())
        }
        Made::Stored(_) => {
            let stored = document::stored(asked, &subject.opened).await?;
            let stored = stored.ok_or(ServerError::Broke)?;
            Ok(document::payload(asked, &subject.opened.path, stored).await?.into_part())
        }
        // No offer in parts is one.
        Made::Animation(_) => Err(ServerError::Broke),
    }
}

async fn picture_part(
    asked: &Arc<Asked>,
    subject: &Subject,
    media_type: MediaType,
) -> Result<Part, ServerError> {
    let answer = picture::draw(asked, subject, media_type).await?;
    let Some(Drawn { picture, .. }) = answer.drawn else { return Err(ServerError::Broke) };
    Ok(Part {
        content_type: picture.media_type.as_str().to_owned(),
        content_location: subject.location(asked),
        warnings: picture.warnings,
        bytes: picture.bytes,
    })
}

async fn in_time<T>(
    asked: &Asked,
    work: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    let limit = asked.app.config.request_timeout;
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ServerError::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Level;

    fn missing(error: ServerError) -> Result<Part, LeftOut> {
        Err(LeftOut { resource: "/studies/1".to_owned(), error })
    }

    fn outage() -> Result<Part, LeftOut> {
        missing(ServerError::Upstream(wadors_client::UpstreamError::Timeout))
    }

    fn damage() -> Result<Part, LeftOut> {
        let error = RenderError::Damaged { reason: "x".to_owned() };
        missing(ServerError::Render { error, level: Level::Instance })
    }

    fn errors(
        parts: impl IntoIterator<Item = Result<Part, LeftOut>, IntoIter: Send + 'static>,
    ) -> Vec<ServerError> {
        let stream = until_the_archive_is_gone(stream::iter(parts).boxed());
        let all: Vec<_> = futures_util::FutureExt::now_or_never(stream.collect()).unwrap();
        all.into_iter().filter_map(Result::err).map(|missing| missing.error).collect()
    }

    #[test]
    fn outages_in_a_row_end_the_body_and_others_do_not() {
        let gone = errors((0..20).map(|_| outage()));
        assert_eq!(gone.len(), MOST_OUTAGES);
        assert!(matches!(gone.last(), Some(ServerError::ArchiveGone)));
        let mixed = errors((0..20).map(|n| if n % 3 == 0 { damage() } else { outage() }));
        assert_eq!(mixed.len(), 20);
    }

    #[test]
    fn a_failure_explains_an_empty_answer_better_than_what_has_no_form() {
        let none = || LeftOut {
            resource: String::new(),
            error: ServerError::Negotiation(NegotiationError::NotAcceptable { available: vec![] }),
        };
        let Err(damaged) = damage() else { panic!("damage is none") };
        assert!(matches!(no_part(vec![none(), damaged, none()]), ServerError::Render { .. }));
        assert!(no_part(vec![none(), none()]).is_no_picture());
        assert!(matches!(no_part(Vec::new()), ServerError::NothingThere));
    }
}
