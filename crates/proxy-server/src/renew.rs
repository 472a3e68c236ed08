//! What is kept and has become too old is renewed while it is still shown.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::app::App;
use crate::asked::Asked;
use crate::cache::Digest;
use crate::render_service;

/// Renewals at once: who waits for a picture goes before who has one.
const MOST: usize = 8;

/// What is being renewed.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<HashSet<Digest>>);

/// Asks the archive once more for what `asked` was answered with, unless that is under way, or too much
/// is. What has to wait is renewed the next time it is asked for.
pub(crate) fn in_background(asked: &Asked) {
    let work = (asked.kind, &asked.scope, &asked.params, &asked.wishes);
    let key = asked.upstream.realm.work(&work);
    if !asked.app.renewals.begin(key) {
        return;
    }
    let renewal = Arc::new(asked.to_renew());
    let place = Place { app: renewal.app.clone(), key };
    tokio::spawn(async move {
        let _held = place;
        bring_about(&renewal, true).await;
    });
}

/// A place among the renewals, given back whatever comes of it.
struct Place {
    app: Arc<App>,
    key: Digest,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.renewals.end(&self.key);
    }
}

/// Brings what was asked for at low priority to its end though who asked may go away: it is for those who
/// come later.
pub(crate) fn to_the_end(asked: &Arc<Asked>, is_kept: bool) {
    if asked.may_keep() {
        let asked = asked.clone();
        tokio::spawn(async move { bring_about(&asked, is_kept).await });
    }
}

async fn bring_about(asked: &Arc<Asked>, is_kept: bool) {
    let limit = asked.app.config.request_timeout;
    match tokio::time::timeout(limit, render_service::together(asked)).await {
        Ok(Err(error)) if error.says_that_it_is_gone() => asked.note_gone(&error, is_kept).await,
        Ok(Err(error)) => tracing::debug!(stage = error.stage(), %error, "not renewed"),
        Ok(Ok(_)) | Err(_) => {}
    }
}

impl Renewals {
    fn begin(&self, key: Digest) -> bool {
        let mut under_way = self.lock();
        under_way.len() < MOST && under_way.insert(key)
    }

    fn end(&self, key: &Digest) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
