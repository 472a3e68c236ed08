//! A picture in the place of an error, for who takes nothing but pictures (R3.8): it says the status and
//! that there is no image, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use core_render::{Card, CardKind, Picture, RenderJob, Source};
use dicomweb_types::MediaType;
use http::{HeaderMap, Response, StatusCode};
use render_pool::Class;
use tokio::sync::OnceCell;

use crate::app::App;
use crate::body::Body;
use crate::negotiate::{Container, Offer, Wishes};
use crate::params::RenderParams;
use crate::plan;
use crate::respond;
use crate::route::Kind;

/// What a placeholder is to be, if these headers accept pictures only and one of ours.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<MediaType> {
    let wishes = Wishes::read(None, headers, false).ok()?;
    let offers = MediaType::ALL.map(|form| Offer { container: Container::Single, form });
    wishes.takes_only_pictures().then(|| wishes.choose(&offers).ok())?.map(|offer| offer.form)
}

/// Those that were drawn: there are few, and whoever is refused asks for one.
#[derive(Default)]
pub(crate) struct Placeholders(Mutex<HashMap<(u16, MediaType), Ready>>);

/// One, once it is drawn.
type Ready = Arc<OnceCell<Picture>>;

impl Placeholders {
    fn of(&self, status: StatusCode, media_type: MediaType) -> Ready {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((status.as_u16(), media_type)).or_default().clone()
    }
}

/// `failure` with a picture for its body. While there is too much to do it stays as it is, as it does
/// should the picture fail too.
pub(crate) async fn instead_of(
    app: &App,
    failure: Response<Body>,
    media_type: MediaType,
) -> Response<Body> {
    let status = failure.status();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return failure;
    }
    let place = app.placeholders.of(status, media_type);
    match place.get_or_try_init(|| drawn(app, status, media_type)).await {
        Ok(picture) => respond::with_picture(failure, picture.clone()),
        Err(()) => failure,
    }
}

async fn drawn(app: &App, status: StatusCode, media_type: MediaType) -> Result<Picture, ()> {
    let card = Card {
        kind: CardKind::Image,
        modality: Some(format!("ERROR {}", status.as_u16())),
        series_number: None,
    };
    let params = RenderParams::default();
    let spec = plan::spec(Kind::Thumbnail, &params, media_type, &app.config).map_err(drop)?;
    let job = RenderJob::new(Source::Card(card), spec, app.config.limits());
    let drawn = app.workers.draw(job, Class::Interactive).await.map_err(drop)?;
    Ok(drawn.picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Option<MediaType> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, accept.parse().unwrap());
        wanted(&headers)
    }

    #[test]
    fn placeholders_are_for_who_takes_nothing_but_pictures() {
        assert_eq!(of("image/jpeg"), Some(MediaType::Jpeg));
        assert_eq!(of("image/png, image/gif;q=0.5"), Some(MediaType::Png));
        assert_eq!(of("image/*"), Some(MediaType::Jpeg));
        for accept in ["*/*", "image/tiff", "image/png, */*;q=0.1", "text/html", "application/json"]
        {
            assert_eq!(of(accept), None, "{accept}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
