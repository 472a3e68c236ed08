//! A request for a rendering, from its first byte to its last, as one story.

use std::sync::Arc;

use core_render::Category;
use dicomweb_types::{InstancePath, SeriesPath, Uid};
use http::request::Parts;

use crate::app::App;
use crate::asked::Asked;
use crate::collection::{self, Collection};
use crate::document::{self, Payload};
use crate::error::ServerError;
use crate::forms::{self, Made};
use crate::negotiate::{Container, NegotiationError};
use crate::picture::{self, Answer, Subject};
use crate::representative::Candidates;
use crate::route::{FrameList, Kind, Resource, Scope};
use crate::source::Which;
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

/// Renders `resource` as the request says. Within the time that one request may take there is an answer,
/// or the first part of one.
pub(crate) async fn rendering(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    resource: &Resource,
    request: &Parts,
) -> Result<Outcome, ServerError> {
    let asked = Arc::new(Asked::read(app, upstream, resource.kind, request)?);
    let story = async {
        match (resource.kind, &resource.scope) {
            (Kind::Thumbnail, scope) => thumbnail::of(&asked, scope).await,
            (Kind::Rendered, Scope::Study(study)) => of_study(&asked, study).await,
            (Kind::Rendered, Scope::Series(series)) => of_series(&asked, series).await,
            (Kind::Rendered, Scope::Instance(path)) => of_instance(&asked, path).await,
            (Kind::Rendered, Scope::Frames(path, frames)) => of_frames(&asked, path, frames).await,
        }
    };
    tokio::time::timeout(app.config.request_timeout, story)
        .await
        .map_err(|_| ServerError::TimedOut)?
}

async fn of_study(asked: &Arc<Asked>, study: &Uid) -> Result<Outcome, ServerError> {
    match choose_of_many(asked)? {
        (Container::Parts, _) => {
            let items = collection::items_of_study(asked, study).await?;
            collection::of_items(asked, items).await
        }
        (Container::Single, made) => {
            let candidates = asked.lookup().study(study).await?;
            one_for_many(asked, &candidates, made).await
        }
    }
}

async fn of_series(asked: &Arc<Asked>, series: &SeriesPath) -> Result<Outcome, ServerError> {
    match choose_of_many(asked)? {
        (Container::Parts, _) => {
            let items = collection::items_of_series(asked, series).await?;
            collection::of_items(asked, items).await
        }
        (Container::Single, made) => {
            let candidates = asked.lookup().series(series).await?;
            one_for_many(asked, &candidates, made).await
        }
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
    made: Option<Made>,
) -> Result<Outcome, ServerError> {
    if let (Some(Made::Picture(media_type)), false) = (made, candidates.images.is_empty()) {
        let answer = picture::first_that_can_be_drawn(asked, candidates, media_type).await?;
        return Ok(Outcome::Picture(Box::new(answer)));
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

async fn of_instance(asked: &Arc<Asked>, path: &InstancePath) -> Result<Outcome, ServerError> {
    let opened = Arc::new(asked.open(path).await?);
    let category = opened.category();
    let stored = document::stored(asked, &opened).await?;
    let strict = asked.app.config.strict;
    let stored_as = stored.as_ref().map(document::Stored::media_type);
    let offers = forms::of_object(category, stored_as, strict);
    let offer = asked.wishes.choose(&offers)?;
    if offer.container == Container::Parts {
        return collection::of_items(asked, collection::items_of_instance(opened)).await;
    }
    let subject = Subject::new(opened.clone());
    match offer.form {
        Made::Picture(media_type) if category == Category::PresentationState => {
            let subject = state::first_image(asked, &opened).await?;
            let answer = picture::draw(asked, &subject, media_type).await?;
            Ok(Outcome::Picture(Box::new(answer)))
        }
        Made::Picture(media_type) => {
            let answer = picture::draw(asked, &subject, media_type).await?;
            let answer = picture::with_frame_explained(answer, category);
            Ok(Outcome::Picture(Box::new(answer)))
        }
        Made::Animation(media_type) => {
            let frames = match category {
                Category::MultiFrame(frames) => frames,
                _ => 1,
            };
            let frames = core_render::cine_frames(frames, &asked.app.config.limits());
            let subject = Subject { which: Which::Cine(frames), ..subject };
            let answer = picture::draw(asked, &subject, media_type).await?;
            Ok(Outcome::Picture(Box::new(answer)))
        }
        Made::Report(form) => Ok(Outcome::Document(document::report(asked, &opened, form).await?)),
        Made::Stored(_) => {
            // Offered only where it is there.
            let stored = stored.ok_or(ServerError::Broke)?;
            Ok(Outcome::Document(document::payload(asked, path, stored).await?))
        }
    }
}

async fn of_frames(
    asked: &Arc<Asked>,
    path: &InstancePath,
    frames: &FrameList,
) -> Result<Outcome, ServerError> {
    let strict = asked.app.config.strict;
    if let [frame] = *frames.as_slice() {
        let offer = asked.wishes.choose(&forms::of_object(Category::SingleFrame, None, strict))?;
        let Made::Picture(media_type) = offer.form else { return Err(ServerError::Broke) };
        if offer.container == Container::Single {
            let answer = picture::draw_frame(asked, path, frame, media_type).await?;
            return Ok(Outcome::Picture(Box::new(answer)));
        }
    }
    let offer = asked.wishes.choose(&forms::of_frames(strict))?;
    let opened = Arc::new(asked.open(path).await?);
    let frames = picture::frames_there(&opened, frames)?;
    let (which, media_type) = match (offer.container, offer.form) {
        (Container::Parts, _) => {
            return collection::of_items(asked, collection::items_of_frames(opened, frames)).await;
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
    Ok(Outcome::Picture(Box::new(answer)))
}
