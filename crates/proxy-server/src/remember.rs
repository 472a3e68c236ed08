//! What is kept of a request that went the long way.

use core_render::{Category, EncodedFrame, Picture, RenderSpec};
use wadors_client::Version;

use crate::asked::Asked;
use crate::cache::{Digest, DrawnFrom, Identity, Key, Shown, Standing, SubjectKey};
use crate::conditional::ETag;
use crate::fingerprint::Told;
use crate::picture::Answer;

/// What is known of a subject, beside what it is drawn from.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) subject: SubjectKey,
    pub(crate) category: Category,
    pub(crate) corner: Option<String>,
    pub(crate) shows_label: bool,
    /// By what the archive knows again what it is drawn from.
    pub(crate) versions: Vec<Version>,
    /// Whether it is a slide of which each view has tiles of its own.
    pub(crate) is_tiled: bool,
}

/// Keeps what a subject is drawn from.
pub(crate) fn subject(asked: &Asked, facts: &Facts, told: &Told, spec: &RenderSpec) {
    let (cache, began) = (&asked.app.cache, asked.began);
    let identity = Identity {
        drawn_from: DrawnFrom::One(told.source, told.state),
        category: facts.category,
        corner: facts.corner.clone(),
        shows_label: facts.shows_label,
        versions: facts.versions.clone(),
        checked: began.at(),
    };
    let subject = &facts.subject;
    let place = |view| asked.place(Key::Identity { subject, view });
    if facts.is_tiled {
        let by_view = Identity { drawn_from: DrawnFrom::ByView, ..identity.clone() };
        cache.keep_identity(&place(None), began, by_view);
        let view = Some((asked.kind, spec.framing));
        cache.keep_identity(&place(view), began, identity);
    } else {
        cache.keep_identity(&place(None), began, identity);
    }
}

/// Keeps what a subject is drawn from, itself.
pub(crate) fn source(asked: &Asked, facts: &Facts, told: &Told, frame: EncodedFrame) {
    let key = Key::Source { instance: &facts.subject.instance, hash: told.source };
    asked.app.cache.keep_source(&asked.place(key), asked.began, frame);
}

/// Keeps a picture; of a card, where there is no subject.
pub(crate) fn picture(asked: &Asked, of: Option<&SubjectKey>, tag: &ETag, picture: Picture) {
    let key = Key::picture(of.map(|subject| &subject.instance), tag);
    asked.app.cache.keep_picture(&asked.place(key), asked.began, picture);
}

/// Keeps what is shown for the resource that was asked for.
pub(crate) async fn standing(
    asked: &Asked,
    answer: &Answer,
    category: Option<Category>,
    listing: Option<Digest>,
) {
    if !asked.may_keep() {
        return;
    }
    let place = asked.place(Key::Standing { kind: asked.kind, scope: &asked.scope });
    let shown = answer.shown.clone();
    let checked = asked.began.at();
    let before = asked.app.cache.standing(&place).await;
    let same = before.filter(|old| old.shown == shown);
    // What a client holds already was not drawn, so that it is not said which frame it is.
    let explained = match (&answer.drawn, &same) {
        (Some(_), _) => answer.representative.clone(),
        (None, Some(old)) => old.explained.clone(),
        (None, None) => return,
    };
    let unchanged = same.filter(|old| old.listing == listing);
    let since = unchanged.map_or(checked, |old| old.since.min(checked));
    let standing = Standing { shown, explained, category, listing, since, checked };
    asked.app.cache.keep_standing(&place, asked.began, standing);
}

/// Whether an answer is of an image or a card that was looked up.
pub(crate) fn is_by_reference(asked: &Asked, answer: &Answer) -> bool {
    match (&answer.shown, &asked.scope) {
        (Shown::Image(subject), crate::route::Scope::Instance(path)) => {
            subject.instance != *path || subject.state.is_some()
        }
        _ => true,
    }
}
