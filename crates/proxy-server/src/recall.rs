//! An answer out of what is kept: no fetch, and most often nothing to draw.
//!
//! What stands for the resource → what that is drawn from → the picture; or the picture drawn anew, in
//! another size or window, from the source that is kept.

use std::sync::Arc;
use std::time::Duration;

use core_render::{Category, EncodedFrame, Labels, RenderJob, RenderSpec, Source};
use dicomweb_types::{FrameNumber, InstancePath, MediaType};
use futures_util::future::try_join_all;

use crate::asked::Asked;
use crate::cache::{
    DrawnFrom, Found, Freshness, Identity, Key, Moment, Seen, Shown, Standing, SubjectKey,
};
use crate::conditional::{ETag, Held};
use crate::error::{Level, ServerError};
use crate::fingerprint::{self, Fingerprint, SourceHash};
use crate::forms::{self, Made};
use crate::negotiate::Container;
use crate::picture::{self, Answer, Asking, Drawn, Origin, Stale};
use crate::plan;
use crate::remember;
use crate::route::{Kind, Scope};
use crate::source::Which;

/// An answer, and how old what it rests on is.
#[derive(Clone)]
pub(crate) struct Recalled {
    answer: Answer,
    seen: Seen,
}

impl Recalled {
    fn new(answer: Answer, seen: Seen) -> Option<Self> {
        (seen.freshness != Freshness::Over).then_some(Self { answer, seen })
    }

    pub(crate) fn freshness(&self) -> Freshness {
        self.seen.freshness
    }

    /// To be sent as fresh, or stale for a reason.
    pub(crate) fn into_answer(self, asked: &Asked, stale: Option<Stale>) -> Answer {
        let seen = self.seen;
        asked.app.cache.count_served(&seen, stale);
        let origin = match self.answer.origin {
            Origin::Kept { found, .. } => Origin::Kept { found, seen, stale },
            Origin::DrawnAgain { found, .. } => Origin::DrawnAgain { found, seen, stale },
            // A card, which costs nothing to draw.
            Origin::Made { .. } => Origin::Kept { found: Found::Memory, seen, stale },
        };
        Answer { origin, ..self.answer }
    }
}

/// The answer to a request, as far as what is kept tells. Whether who asks may see it is another question.
pub(crate) async fn answer(asked: &Arc<Asked>) -> Option<Recalled> {
    if !asked.may_keep() {
        return None;
    }
    match &asked.scope {
        Scope::Frames(path, frames) => match frames.as_slice() {
            [frame] => of_frame(asked, path, *frame).await,
            _ => None,
        },
        Scope::Instance(path) => match of_instance(asked, path).await {
            Some(recalled) => Some(recalled),
            None => of_standing(asked).await,
        },
        Scope::Study(_) | Scope::Series(_) => of_standing(asked).await,
    }
}

/// What becomes of an image that is no longer fresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aged {
    /// The archive is asked whether it has changed.
    Checked,
    /// It is left alone.
    Left,
}

/// An image as it is drawn if nobody says more of it, for what it stands for: fresh, or found unchanged by the
/// archive.
pub(crate) async fn of_image(
    asked: &Arc<Asked>,
    subject: SubjectKey,
    media_type: MediaType,
    aged: Aged,
) -> Option<Recalled> {
    if !asked.may_use_cache_by_now().await {
        return None;
    }
    let identity = identity(asked, &subject, media_type).await?;
    let checked = asked.app.cache.terms.of_object(identity.checked, Moment::now());
    let identity = match (checked.freshness, aged) {
        (Freshness::Fresh, _) => identity,
        (_, Aged::Checked) => unchanged(asked, &subject, identity).await?,
        (_, Aged::Left) => return None,
    };
    of_identity(asked, subject, identity, media_type, Named::IfSeveral).await
}

/// The answer to a request of which something is kept that is too old, where the archive knows it again and
/// says that it has not changed.
pub(crate) async fn found_unchanged(asked: &Arc<Asked>) -> Option<Answer> {
    let (instance, which) = match &asked.scope {
        Scope::Instance(path) => (path, Which::Representative),
        Scope::Frames(path, frames) => match frames.as_slice() {
            [frame] => (path, Which::Frame(*frame)),
            _ => return None,
        },
        Scope::Study(_) | Scope::Series(_) => return None,
    };
    if !asked.may_use_cache() {
        return None;
    }
    let subject = SubjectKey { instance: instance.clone(), which, state: None };
    let (subject, identity) = known(asked, subject, MediaType::Jpeg).await?;
    unchanged(asked, &subject, identity).await?;
    let recalled = answer(asked).await.filter(|kept| kept.freshness() == Freshness::Fresh)?;
    let origin = Origin::Made { why: Asking::Unchanged, collapsed: false };
    Some(Answer { origin, ..recalled.into_answer(asked, None) })
}

/// What a subject is drawn from, as of now, if the archive says that it is as it was.
async fn unchanged(asked: &Asked, subject: &SubjectKey, identity: Identity) -> Option<Identity> {
    if identity.versions.is_empty() {
        return None;
    }
    let client = &asked.upstream.client;
    let ask = |version| client.is_unchanged(&subject.instance, version, &asked.caller);
    let answers = try_join_all(identity.versions.iter().map(ask)).await.ok()?;
    if !answers.into_iter().all(|is_unchanged| is_unchanged) {
        return None;
    }
    let identity = Identity { checked: asked.began.at(), ..identity };
    let place = asked.place(Key::Identity { subject, view: None });
    asked.app.cache.keep_identity(&place, asked.began, identity.clone());
    Some(identity)
}

async fn of_frame(asked: &Arc<Asked>, path: &InstancePath, frame: FrameNumber) -> Option<Recalled> {
    let offers = match asked.kind {
        Kind::Thumbnail => forms::of_thumbnail(),
        Kind::Rendered => forms::of_object(Category::SingleFrame, None, asked.app.config.strict),
    };
    let media_type = one_picture(asked, &offers)?;
    let subject = SubjectKey { instance: path.clone(), which: Which::Frame(frame), state: None };
    let (_, identity) = known(asked, subject.clone(), media_type).await?;
    of_identity(asked, subject, identity, media_type, Named::Always).await
}

/// What a subject is drawn from, and under what that is known: the frame of an image of one is the image.
async fn known(
    asked: &Asked,
    subject: SubjectKey,
    media_type: MediaType,
) -> Option<(SubjectKey, Identity)> {
    if let Some(identity) = identity(asked, &subject, media_type).await {
        return Some((subject, identity));
    }
    let is_first = subject.which == Which::Frame(FrameNumber::FIRST);
    let image = SubjectKey { which: Which::Representative, ..subject };
    let identity = identity(asked, &image, media_type).await?;
    (is_first && identity.category == Category::SingleFrame).then_some((image, identity))
}

async fn of_instance(asked: &Arc<Asked>, path: &InstancePath) -> Option<Recalled> {
    let subject = SubjectKey { instance: path.clone(), which: Which::Representative, state: None };
    // Any type of picture: what it is drawn from does not depend on it.
    let identity = identity(asked, &subject, MediaType::Jpeg).await?;
    let category = identity.category;
    let offer = asked.wishes.choose(&offers_of(asked, category)?).ok()?;
    match (offer.container, offer.form) {
        (Container::Single, Made::Picture(media_type)) => {
            let named = Named::IfSeveral;
            let recalled = of_identity(asked, subject, identity, media_type, named).await?;
            let answer = picture::with_frame_explained(recalled.answer, category);
            Some(Recalled { answer, ..recalled })
        }
        (Container::Single, Made::Animation(media_type)) => {
            let which = Which::Cine(picture::frames_of_cine(asked, category));
            let subject = SubjectKey { which, ..subject };
            let identity = self::identity(asked, &subject, media_type).await?;
            of_identity(asked, subject, identity, media_type, Named::IfSeveral).await
        }
        _ => None,
    }
}

/// What an instance of a category is offered as; `None` where that depends on what it holds.
fn offers_of(asked: &Asked, category: Category) -> Option<Vec<crate::negotiate::Offer<Made>>> {
    match (asked.kind, category) {
        (Kind::Thumbnail, _) => Some(forms::of_thumbnail()),
        (Kind::Rendered, Category::Video | Category::Document) => None,
        (Kind::Rendered, _) => Some(forms::of_object(category, None, asked.app.config.strict)),
    }
}

fn one_picture(asked: &Asked, offers: &[crate::negotiate::Offer<Made>]) -> Option<MediaType> {
    let offer = asked.wishes.choose(offers).ok()?;
    match (offer.container, offer.form) {
        (Container::Single, Made::Picture(media_type)) => Some(media_type),
        _ => None,
    }
}

async fn of_standing(asked: &Arc<Asked>) -> Option<Recalled> {
    let place = asked.place(Key::Standing { kind: asked.kind, scope: &asked.scope });
    let standing = asked.app.cache.standing(&place).await?;
    let offers = match (asked.kind, standing.category) {
        (Kind::Thumbnail, _) => forms::of_thumbnail(),
        (Kind::Rendered, Some(category)) => offers_of(asked, category)?,
        (Kind::Rendered, None) => {
            let config = &asked.app.config;
            forms::of_collection(config.collections, config.strict)
        }
    };
    let offer = asked.wishes.choose(&offers).ok()?;
    let media_type = match (offer.container, offer.form, moves(&standing.shown)) {
        (Container::Single, Made::Picture(media_type), false)
        | (Container::Single, Made::Animation(media_type), true) => media_type,
        _ => return None,
    };
    let seen = seen(asked, &standing);
    let recalled = match &standing.shown {
        Shown::Image(subject) => {
            let is_of_state = subject.state.is_some() && asked.kind == Kind::Rendered;
            if is_of_state && plan::check_for_state(&asked.params).is_err() {
                return None;
            }
            let identity = identity(asked, subject, media_type).await?;
            let subject = subject.clone();
            of_identity(asked, subject, identity, media_type, Named::IfSeveral).await?
        }
        Shown::Card(_) if !asked.prove().await => return None,
        Shown::Card(card) => {
            let answer = picture::draw_card(asked, card.clone(), media_type).await.ok()?;
            Recalled { answer, seen }
        }
    };
    let answer = Answer { representative: standing.explained, ..recalled.answer };
    Recalled::new(answer, recalled.seen.and(seen))
}

fn moves(shown: &Shown) -> bool {
    matches!(shown, Shown::Image(SubjectKey { which: Which::Cine(_), .. }))
}

fn seen(asked: &Asked, standing: &Standing) -> Seen {
    let (terms, now) = (&asked.app.cache.terms, Moment::now());
    match standing.listing {
        Some(_) => terms.of_collection(standing.since, standing.checked, now),
        None => terms.of_object(standing.checked, now),
    }
}

/// What a subject is drawn from, as the request wants to see it.
async fn identity(asked: &Asked, subject: &SubjectKey, media_type: MediaType) -> Option<Identity> {
    let cache = &asked.app.cache;
    let identity = cache.identity(&asked.place(Key::Identity { subject, view: None })).await?;
    if identity.shows_label && asked.kind == Kind::Thumbnail {
        return None;
    }
    match identity.drawn_from {
        DrawnFrom::One(..) => Some(identity),
        DrawnFrom::ByView => {
            let framing = picture::spec(asked, media_type).ok()?.framing;
            let view = Some((asked.kind, framing));
            cache.identity(&asked.place(Key::Identity { subject, view })).await
        }
    }
}

/// Whether the location of a picture names its frame.
#[derive(Clone, Copy)]
enum Named {
    Always,
    /// Where the object has several.
    IfSeveral,
}

impl Named {
    fn frame(self, subject: &SubjectKey, category: Category) -> Option<FrameNumber> {
        match (self, &subject.which, category) {
            (Self::Always, Which::Frame(frame), _)
            | (Self::IfSeveral, Which::Frame(frame), Category::MultiFrame(_)) => Some(*frame),
            _ => None,
        }
    }
}

async fn of_identity(
    asked: &Arc<Asked>,
    subject: SubjectKey,
    identity: Identity,
    media_type: MediaType,
    named: Named,
) -> Option<Recalled> {
    let spec = picture::spec(asked, media_type).ok()?;
    let DrawnFrom::One(source, state) = identity.drawn_from else { return None };
    let labels = labels(&spec, &identity);
    let tag = Fingerprint { source, spec: &spec, labels: labels.as_ref(), state }.tag();
    let base = &asked.upstream.base_path;
    let frame = named.frame(&subject, identity.category);
    let location = plan::content_location(base, &subject.instance, frame);
    let seen = asked.app.cache.terms.of_object(identity.checked, Moment::now());
    let answer = |drawn, origin| Answer {
        etag: tag.clone(),
        content_location: location.clone(),
        drawn,
        representative: None,
        shown: Shown::Image(subject.clone()),
        origin,
        public_for: None,
        warnings: Vec::new(),
    };
    let kept = |drawn, found| answer(drawn, Origin::Kept { found, seen, stale: None });
    if asked.held().names(&tag) || *asked.held() == Held::Anything {
        return Recalled::new(kept(None, Found::Memory), seen);
    }
    let place = asked.place(Key::picture(Some(&subject.instance), &tag));
    if let Some((picture, found)) = asked.app.cache.picture(&place).await {
        let drawn = Drawn { picture, timings: None };
        return Recalled::new(kept(Some(drawn), found), seen);
    }
    // The state itself is not kept.
    if state.is_some() {
        return None;
    }
    // Nothing is drawn for who has no right.
    if !asked.prove().await {
        return None;
    }
    let drawing = Again { subject: subject.clone(), source, spec, labels, tag: tag.clone() };
    let (drawn, found) = drawing.drawn(asked).await?;
    Recalled::new(answer(Some(drawn), Origin::DrawnAgain { found, seen, stale: None }), seen)
}

fn labels(spec: &RenderSpec, identity: &Identity) -> Option<Labels> {
    let series = identity.corner.clone();
    spec.may_name_series().then(|| Labels { series, ..Labels::default() })
}

/// A picture of a source that is kept.
struct Again {
    subject: SubjectKey,
    source: SourceHash,
    spec: RenderSpec,
    labels: Option<Labels>,
    tag: ETag,
}

impl Again {
    /// Drawn, and where its source was found; `None` where it is not kept or cannot be drawn: the long way will
    /// say why.
    async fn drawn(self, asked: &Arc<Asked>) -> Option<(Drawn, Found)> {
        asked.admit().ok()?;
        let work = ("draw again", self.tag.as_str().to_owned());
        let owner = asked.clone();
        let drawing = move || async move {
            let Some((frame, found)) = self.read(&owner).await else { return Ok(None) };
            self.draw(&owner, frame).await.map(|drawn| Some((drawn, found)))
        };
        asked.once(&asked.app.together.again, &work, drawing).await.ok()?.value
    }

    /// The source, under its share of the memory for sources.
    async fn read(&self, asked: &Asked) -> Option<(EncodedFrame, Found)> {
        let cache = &asked.app.cache;
        let key = Key::Source { instance: &self.subject.instance, hash: self.source };
        let place = asked.place(key);
        let hold = match cache.source_length(&place).await? {
            0 => None,
            length => Some(asked.app.holds.of_kept(length).await.ok()?),
        };
        let (mut frame, found) = cache.source(&place).await?;
        if let Some(hold) = hold {
            frame.bytes = hold.keep(frame.bytes);
        }
        Some((frame, found))
    }

    async fn draw(self, asked: &Asked, frame: EncodedFrame) -> Result<Drawn, ServerError> {
        let EncodedFrame { attributes, transfer_syntax, bytes } = frame;
        let source = Source::Frame { attributes: Box::new(attributes), transfer_syntax, bytes };
        let limits = asked.app.config.limits();
        let job = RenderJob { labels: self.labels, ..RenderJob::new(source, self.spec, limits) };
        debug_assert_eq!(fingerprint::told(&job).tag, self.tag);
        let drawn = picture::drawn(asked, job, Duration::ZERO).await;
        let drawn = drawn.map_err(|error| ServerError::of_work(error, Level::Instance))?;
        remember::picture(asked, Some(&self.subject), &self.tag, drawn.picture.clone());
        Ok(drawn)
    }
}
