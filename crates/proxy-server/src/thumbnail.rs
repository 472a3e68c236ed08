//! Thumbnails: exactly one picture of anything (R1.10), a card where there is no image (R5.6).

use std::sync::Arc;

use core_render::{Card, CardKind, Category, RenderError};
use dicomweb_types::{InstancePath, MediaType};

use crate::asked::Asked;
use crate::error::ServerError;
use crate::forms::{self, Made};
use crate::picture::{self, Answer, Subject};
use crate::remember;
use crate::render_service::Answered;
use crate::representative::Candidates;
use crate::route::{FrameList, Scope};
use crate::source::{Opened, Which};
use crate::state;

/// The thumbnail of what was asked for.
pub(crate) async fn of(asked: &Arc<Asked>) -> Result<Answered, ServerError> {
    let offer = asked.wishes.choose(&forms::of_thumbnail())?;
    let Made::Picture(media_type) = offer.form else { return Err(ServerError::Broke) };
    let answer = match &asked.scope {
        Scope::Study(study) => {
            let candidates = asked.lookup().study(study).await?;
            of_many(asked, &candidates, media_type).await
        }
        Scope::Series(series) => {
            let candidates = asked.lookup().series(series).await?;
            of_many(asked, &candidates, media_type).await
        }
        Scope::Instance(path) => of_instance(asked, path, media_type).await,
        Scope::Frames(path, frames) => of_frames(asked, path, frames, media_type).await,
    };
    Ok(Answered::Picture(Box::new(answer?)))
}

async fn of_many(
    asked: &Arc<Asked>,
    candidates: &Candidates,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let answer = image_or_card(asked, candidates, media_type).await?;
    remember::standing(asked, &answer, None, Some(candidates.listing)).await;
    Ok(answer)
}

async fn image_or_card(
    asked: &Arc<Asked>,
    candidates: &Candidates,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    if !candidates.images.is_empty() {
        let answer = picture::first_that_can_be_drawn(asked, candidates, media_type).await;
        match answer {
            // What looked like images in the search were none.
            Err(error) if error.is_no_picture() => {}
            other => return other,
        }
    }
    let card = candidates.card.clone().unwrap_or(OTHER);
    picture::draw_card(asked, card, media_type).await
}

const OTHER: Card = Card { kind: CardKind::Other, modality: None, series_number: None };

async fn of_instance(
    asked: &Arc<Asked>,
    path: &InstancePath,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let opened = asked.open(path).await?;
    let answer = of_opened(asked, &opened, media_type).await?;
    if remember::is_by_reference(asked, &answer) {
        remember::standing(asked, &answer, Some(opened.category()), None).await;
    }
    Ok(answer)
}

async fn of_opened(
    asked: &Arc<Asked>,
    opened: &Arc<Opened>,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    let card = || async { picture::draw_card(asked, Card::of(opened.dataset()), media_type).await };
    let drawn = match opened.category() {
        Category::SingleFrame | Category::MultiFrame(_) | Category::Video => {
            let subject = Subject::new(opened.clone());
            let answer = picture::draw(asked, &subject, media_type).await;
            answer.map(|answer| picture::with_frame_explained(answer, opened.category()))
        }
        Category::PresentationState => match state::first_image(asked, opened).await {
            Ok(subject) => picture::draw(asked, &subject, media_type).await,
            Err(error) => Err(error),
        },
        Category::Report => match picture::first_key_image(opened) {
            Some(image) => picture::draw_reference(asked, opened, image, media_type).await,
            None => return card().await,
        },
        Category::Document | Category::Other => {
            return card().await;
        }
    };
    match drawn {
        Err(error) if is_for_a_card(opened.category(), &error) => card().await,
        other => other,
    }
}

/// Whether a card says more than the error: of a slide's label, of a video that nothing here plays, of a
/// state or key objects whose images are gone.
fn is_for_a_card(category: Category, error: &ServerError) -> bool {
    let ServerError::Render { error, .. } = error else {
        let by_reference = matches!(category, Category::PresentationState | Category::Report);
        return by_reference && error.is_about_one_object();
    };
    match category {
        Category::SingleFrame | Category::MultiFrame(_) => *error == RenderError::ShowsLabel,
        Category::Video => matches!(error, RenderError::Unsupported { .. }),
        Category::PresentationState | Category::Report => true,
        Category::Document | Category::Other => false,
    }
}

async fn of_frames(
    asked: &Arc<Asked>,
    path: &InstancePath,
    frames: &FrameList,
    media_type: MediaType,
) -> Result<Answer, ServerError> {
    if let [frame] = *frames.as_slice() {
        return picture::draw_frame(asked, path, frame, media_type).await;
    }
    let opened = asked.open(path).await?;
    let there = picture::frames_there(&opened, frames)?;
    let which = Which::Frame(picture::representative_of(&opened, &there));
    let subject = Subject { which, ..Subject::new(opened) };
    let answer = picture::draw(asked, &subject, media_type).await?;
    Ok(picture::with_frame_explained(answer, Category::MultiFrame(there.len() as u32)))
}
