//! A request for a rendering, from its first byte to its last, as one story.

use std::sync::Arc;

use core_render::Category;
use dicomweb_types::{FrameNumber, InstancePath};
use http::request::Parts;
use render_pool::Class;

use crate::access::Visitor;
use crate::app::App;
use crate::asked::Asked;
use crate::cache::Freshness;
use crate::collection::{self, Collection, Items};
use crate::document::{self, Payload};
use crate::error::ServerError;
use crate::flight::Landed;
use crate::forms::{self, Made};
use crate::negotiate::{Container, NegotiationError};
use crate::picture::{self, Answer, Stale, Subject};
use crate::recall::{self, Recalled};
use crate::remember;
use crate::renew;
use crate::representative::Candidates;
use crate::route::{FrameList, Kind, Resource, Scope};
use crate::source::{Opened, Which};
use crate::state;
use crate::thumbnail;
use crate::upstream::Upstream;

/// What a request for a rendering comes to.
pub(crate) enum Outcome {
    /// One picture, or that the client holds it already.
    Picture(Box<Answer>),
    /// A report, a document or a video.
    Document(Payload),
    /// Many payloads, streamed.
    Collection(Collection),
}

/// The same as far as requests that are equal share it.
#[derive(Clone)]
pub(crate) enum Answered {
    Picture(Box<Answer>),
    Document(Payload),
    /// Parts, which each streams by itself: of an instance, or of frames of it.
    Parts(Arc<Opened>, Option<Vec<FrameNumber>>),
}

/// Renders `resource` as the request says. Within the time that one request may take there is an answer,
/// or the first part of one.
pub(crate) async fn rendering(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    resource: &Resource,
    visitor: Visitor,
    request: &Parts,
) -> Result<Outcome, ServerError> {
    let asked = Arc::new(Asked::read(app, upstream, resource, visitor, request)?);
    asked.look_up_proof().await;
    asked.note_look();
    let kept = match recall::answer(&asked).await {
        // Where the archive does not say so, it is asked for the thing itself.
        Some(kept) if asked.prove().await => Some(kept),
        _ => None,
    };
    match kept.as_ref().map(Recalled::freshness) {
        Some(Freshness::Fresh) => return of_kept(&asked, kept, None),
        Some(Freshness::Renewable) => {
            renew::in_background(&asked);
            return of_kept(&asked, kept, Some(Stale::Renewing));
        }
        Some(Freshness::Fallback | Freshness::Over) => asked.note_stale(),
        None => {}
    }
    match from_archive(&asked, kept.is_some()).await {
        Ok(picture @ Outcome::Picture(_)) => {
            // How thumbnails are asked for by those who get them.
            if asked.kind == Kind::Thumbnail && asked.may_keep() {
                asked.app.warm_up.learn(asked.form());
            }
            Ok(picture)
        }
        Err(error) if error.is_for_want_of_an_answer() && kept.is_some() => {
            of_kept(&asked, kept, Some(Stale::ArchiveDown))
        }
        Err(error) if error.says_that_it_is_gone() => {
            asked.note_gone(&error, kept.is_some()).await;
            Err(error)
        }
        other => other,
    }
}

fn of_kept(
    asked: &Asked,
    kept: Option<Recalled>,
    stale: Option<Stale>,
) -> Result<Outcome, ServerError> {
    let mut answer = kept.ok_or(ServerError::Broke)?.into_answer(asked, stale);
    answer.public_for = asked.public_for(&answer.origin);
    answer.warnings = asked.warnings();
    Ok(Outcome::Picture(Box::new(answer)))
}

/// The long way, in the time that a request may take.
async fn from_archive(asked: &Arc<Asked>, is_kept: bool) -> Result<Outcome, ServerError> {
    let story = async {
        let Asked { app, upstream, visitor, scope, .. } = &**asked;
        app.access.stays_within(upstream, visitor, scope).await?;
        if let Some(items) = items_of_many(asked).await? {
            return collection::of_items(asked, items).await;
        }
        if asked.class == Class::Bulk {
            renew::to_the_end(asked, is_kept);
        }
        let Landed { value, followed } = together(asked).await?;
        match value {
            Answered::Picture(mut answer) => {
                answer.origin = answer.origin.collapsed(followed);
                answer.public_for = asked.public_for(&answer.origin);
                answer.warnings = asked.warnings();
                Ok(Outcome::Picture(answer))
            }
            Answered::Document(payload) => Ok(Outcome::Document(payload)),
            Answered::Parts(opened, frames) => {
                asked.admit()?;
                let items = match frames {
                    Some(frames) => collection::items_of_frames(opened, frames),
                    None => collection::items_of_instance(opened),
                };
                collection::of_items(asked, items).await
            }
        }
    };
    let limit = asked.app.config.request_timeout;
    tokio::time::timeout(limit, story).await.map_err(|_| ServerError::TimedOut)?
}

/// What is fetched and drawn once for all requests that are equal, at the same time.
pub(crate) async fn together(asked: &Arc<Asked>) -> Result<Landed<Answered>, ServerError> {
    let Asked { kind, scope, params, wishes, .. } = &**asked;
    let held = asked.held();
    let owner = asked.clone();
    let work = move || async move {
        // Between looking and leading another may have made it.
        if let Some(answer) = kept_meanwhile(&owner).await {
            return Ok(Answered::Picture(Box::new(answer)));
        }
        owner.admit()?;
        answered(&owner).await
    };
    asked
        .once(&asked.app.together.answers, &("answer", kind, scope, params, wishes, held), work)
        .await
}

/// What others had kept since what is kept was looked at.
async fn kept_meanwhile(asked: &Arc<Asked>) -> Option<Answer> {
    if !asked.is_more_kept() || !asked.may_use_cache_by_now().await {
        return None;
    }
    let kept = recall::answer(asked).await?;
    (kept.freshness() == Freshness::Fresh).then(|| kept.into_answer(asked, None))
}

async fn answered(asked: &Arc<Asked>) -> Result<Answered, ServerError> {
    if asked.is_known_stale()
        && let Some(answer) = recall::found_unchanged(asked).await
    {
        return Ok(Answered::Picture(Box::new(answer)));
    }
    match (asked.kind, &asked.scope) {
        (Kind::Thumbnail, _) => thumbnail::of(asked).await,
        (Kind::Rendered, Scope::Study(study)) => {
            let candidates = asked.lookup().study(study).await?;
            one_for_many(asked, &candidates).await
        }
        (Kind::Rendered, Scope::Series(series)) => {
            let candidates = asked.lookup().series(series).await?;
            one_for_many(asked, &candidates).await
        }
        (Kind::Rendered, Scope::Instance(path)) => of_instance(asked, path).await,
        (Kind::Rendered, Scope::Frames(path, frames)) => of_frames(asked, path, frames).await,
    }
}

/// Everything in a study or series, where that is what is wanted of it.
async fn items_of_many(asked: &Arc<Asked>) -> Result<Option<Items>, ServerError> {
    if asked.kind == Kind::Thumbnail {
        return Ok(None);
    }
    let is_wanted = || matches!(choose_of_many(asked), Ok((Container::Parts, _)));
    match &asked.scope {
        Scope::Study(study) if is_wanted() => {
            asked.admit()?;
            Ok(Some(collection::items_of_study(asked, study).await?))
        }
        Scope::Series(series) if is_wanted() => {
            asked.admit()?;
            Ok(Some(collection::items_of_series(asked, series).await?))
        }
        _ => Ok(None),
    }
}

/// How a study or series is sent. What suits none of its pictures may suit the only object there is
/// (R1.6): `None` then.
fn choose_of_many(asked: &Asked) -> Result<(Container, Option<Made>), ServerError> {
    let config = &asked.app.config;
    match asked.wishes.choose(&forms::of_collection(config.collections, config.strict)) {
        Ok(offer) => Ok((offer.container, Some(offer.form))),
        Err(NegotiationError::NotAcceptable { .. }) if !config.strict => {
            Ok((Container::Single, None))
        }
        Err(other) => Err(other.into()),
    }
}

async fn one_for_many(
    asked: &Arc<Asked>,
    candidates: &Candidates,
) -> Result<Answered, ServerError> {
    let (_, made) = choose_of_many(asked)?;
    if let (Some(Made::Picture(media_type)), false) = (made, candidates.images.is_empty()) {
        let answer = picture::first_that_can_be_drawn(asked, candidates, media_type).await?;
        remember::standing(asked, &answer, None, Some(candidates.listing)).await;
        return Ok(Answered::Picture(Box::new(answer)));
    }
    match &candidates.only {
        Some(path) => of_instance(asked, path).await,
        None => {
            let config = &asked.app.config;
            let offers = forms::of_collection(config.collections, config.strict);
            Err(NegotiationError::not_acceptable(&offers).into())
        }
    }
}

async fn of_instance(asked: &Arc<Asked>, path: &InstancePath) -> Result<Answered, ServerError> {
    let opened = asked.open(path).await?;
    let category = opened.category();
    let stored = document::stored(asked, &opened).await?;
    let strict = asked.app.config.strict;
    let stored_as = stored.as_ref().map(document::Stored::media_type);
    let offers = forms::of_object(category, stored_as, strict);
    let offer = asked.wishes.choose(&offers)?;
    if offer.container == Container::Parts {
        return Ok(Answered::Parts(opened, None));
    }
    let subject = Subject::new(opened.clone());
    match offer.form {
        Made::Picture(media_type) if category == Category::PresentationState => {
            let subject = state::first_image(asked, &opened).await?;
            let answer = picture::draw(asked, &subject, media_type).await?;
            remember::standing(asked, &answer, Some(category), None).await;
            Ok(Answered::Picture(Box::new(answer)))
        }
        Made::Picture(media_type) => {
            let answer = picture::draw(asked, &subject, media_type).await?;
            let answer = picture::with_frame_explained(answer, category);
            Ok(Answered::Picture(Box::new(answer)))
        }
        Made::Animation(media_type) => {
            let frames = picture::frames_of_cine(asked, category);
            let subject = Subject { which: Which::Cine(frames), ..subject };
            let answer = picture::draw(asked, &subject, media_type).await?;
            remember::standing(asked, &answer, Some(category), None).await;
            Ok(Answered::Picture(Box::new(answer)))
        }
        Made::Report(form) => Ok(Answered::Document(document::report(asked, &opened, form).await?)),
        Made::Stored(_) => {
            // Offered only where it is there.
            let stored = stored.ok_or(ServerError::Broke)?;
            Ok(Answered::Document(document::payload(asked, path, stored).await?))
        }
    }
}

async fn of_frames(
    asked: &Arc<Asked>,
    path: &InstancePath,
    frames: &FrameList,
) -> Result<Answered, ServerError> {
    let strict = asked.app.config.strict;
    if let [frame] = *frames.as_slice() {
        let offer = asked.wishes.choose(&forms::of_object(Category::SingleFrame, None, strict))?;
        let Made::Picture(media_type) = offer.form else { return Err(ServerError::Broke) };
        if offer.container == Container::Single {
            let answer = picture::draw_frame(asked, path, frame, media_type).await?;
            return Ok(Answered::Picture(Box::new(answer)));
        }
    }
    let offer = asked.wishes.choose(&forms::of_frames(strict))?;
    let opened = asked.open(path).await?;
    let frames = picture::frames_there(&opened, frames)?;
    let (which, media_type) = match (offer.container, offer.form) {
        (Container::Parts, _) => {
            return Ok(Answered::Parts(opened, Some(frames)));
        }
        (_, Made::Animation(media_type)) => (Which::Cine(frames.clone()), media_type),
        (_, Made::Picture(media_type)) => {
            (Which::Frame(picture::representative_of(&opened, &frames)), media_type)
        }
        (_, Made::Report(_) | Made::Stored(_)) => return Err(ServerError::Broke),
    };
    let is_one = matches!(which, Which::Frame(_));
    let subject = Subject { which, ..Subject::new(opened) };
    let mut answer = picture::draw(asked, &subject, media_type).await?;
    if is_one {
        let all = Category::MultiFrame(frames.len() as u32);
        answer = picture::with_frame_explained(answer, all);
    }
    Ok(Answered::Picture(Box::new(answer)))
}
