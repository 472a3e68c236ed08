//! The images that a presentation state refers to, as it has them (R2.11).

use std::sync::Arc;

use core_render::{PresentationState, RenderError, representative_frame, slice_position};
use dicomweb_types::{ImageReference, InstancePath};
use futures_util::stream::{self, StreamExt};

use crate::asked::Asked;
use crate::error::{Level, ServerError};
use crate::picture::{AsStated, Subject};
use crate::plan;
use crate::route::Kind;
use crate::source::{Opened, Which};

/// Images whose position is looked up, so that they come in the order of space.
const MOST_ORDERED: usize = 256;

/// Metadata asked for at once.
const AT_ONCE: usize = 6;

/// A presentation state, and its images.
pub(crate) struct StateImages {
    pub(crate) state: Arc<PresentationState>,
    /// Each image with the frames that are meant; all of them if none is named.
    pub(crate) images: Vec<ImageReference>,
}

/// Reads the state that an object is.
///
/// # Errors
/// A state that is none of ours; parameters that the state decides itself; a state of no image.
pub(crate) fn read(asked: &Asked, opened: &Opened) -> Result<StateImages, ServerError> {
    if asked.kind == Kind::Rendered {
        plan::check_for_state(&asked.params)?;
    }
    let failed = |error| ServerError::Render { error, level: Level::Instance };
    let state = PresentationState::read(opened.dataset()).map_err(failed)?;
    let state = Arc::new(state.ok_or(ServerError::Broke)?);
    let images = state.references();
    if images.is_empty() {
        let reason = "the presentation state refers to no image".to_owned();
        return Err(failed(RenderError::Damaged { reason }));
    }
    Ok(StateImages { state, images })
}

/// The first image of a state.
pub(crate) async fn first_image(
    asked: &Arc<Asked>,
    opened: &Opened,
) -> Result<Subject, ServerError> {
    let StateImages { state, images } = in_order(asked, opened, read(asked, opened)?).await;
    let Some(first) = images.into_iter().next() else { return Err(ServerError::Broke) };
    let image = asked.open(&path_of(opened, &first)).await?;
    let frame =
        first.frames.first().copied().unwrap_or_else(|| representative_frame(image.dataset()));
    let state = Some(AsStated { path: opened.path.clone(), state });
    Ok(Subject { opened: image, which: Which::Frame(frame), state })
}

/// Where an image that a state refers to is: in the state's own study.
pub(crate) fn path_of(state: &Opened, image: &ImageReference) -> InstancePath {
    let (study, series, instance) =
        (state.path.study.clone(), image.series.clone(), image.instance.clone());
    InstancePath { study, series, instance }
}

/// The images by their position in space where all of them have one, else as the state lists them.
pub(crate) async fn in_order(
    asked: &Arc<Asked>,
    opened: &Opened,
    state: StateImages,
) -> StateImages {
    if !(2..=MOST_ORDERED).contains(&state.images.len()) {
        return state;
    }
    let paths: Vec<InstancePath> = state.images.iter().map(|i| path_of(opened, i)).collect();
    let ask = |path| async move {
        let metadata = asked.upstream.client.metadata(path, &asked.caller).await.ok()?;
        slice_position(&metadata.dataset)
    };
    let asks: Vec<_> = paths.iter().map(ask).collect();
    let positions: Vec<Option<f64>> = stream::iter(asks).buffered(AT_ONCE).collect().await;
    let StateImages { state, images } = state;
    StateImages { state, images: sorted(images, positions) }
}

fn sorted<T>(images: Vec<T>, positions: Vec<Option<f64>>) -> Vec<T> {
    let Some(positions) = positions.into_iter().collect::<Option<Vec<f64>>>() else {
        return images;
    };
    let mut placed: Vec<(f64, T)> = positions.into_iter().zip(images).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|(_, image)| image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_in_the_order_of_space_if_all_have_a_place() {
        let images = || vec!["a", "b", "c"];
        assert_eq!(sorted(images(), vec![Some(3.0), Some(-1.0), Some(2.0)]), ["b", "c", "a"]);
        assert_eq!(sorted(images(), vec![Some(3.0), None, Some(2.0)]), ["a", "b", "c"]);
        assert_eq!(sorted(images(), vec![Some(1.0); 3]), ["a", "b", "c"]);
    }
}
