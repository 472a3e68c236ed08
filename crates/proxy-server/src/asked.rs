//! What one request for a rendering carries with it on its way.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use core_render::{Annotation, Source};
use dicomweb_types::{FrameNumber, InstancePath};
use http::HeaderMap;
use http::request::Parts;
use render_pool::Class;
use serde::Serialize;
use wadors_client::{Caller, Urgency};

use crate::app::App;
use crate::cache::{self, Began, Key};
use crate::conditional::Held;
use crate::config::{HttpCaching, Representative};
use crate::error::{Level, ServerError};
use crate::flight::{Died, Landed};
use crate::negotiate::Wishes;
use crate::params::RenderParams;
use crate::picture::{Asking, Origin};
use crate::plan;
use crate::representative::Lookup;
use crate::route::{Kind, Resource, Scope};
use crate::source::{Fetch, Opened};
use crate::together::Work;
use crate::upstream::Upstream;
use crate::warm_up::Form;
use crate::workers::Place;

/// A request that was read.
pub(crate) struct Asked {
    pub(crate) app: Arc<App>,
    /// The archive that is asked.
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) params: RenderParams,
    pub(crate) wishes: Wishes,
    pub(crate) caller: Caller,
    /// What the client holds already.
    pub(crate) held: Held,
    /// Whether somebody waits for it.
    pub(crate) class: Class,
    /// When, in the order of purges.
    pub(crate) began: Began,
    /// Whether something is kept that is too old.
    stale: AtomicBool,
    place: OnceLock<Place>,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, before anything is fetched.
    pub(crate) fn read(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        resource: &Resource,
        request: &Parts,
    ) -> Result<Self, ServerError> {
        let query = request.uri.query().unwrap_or_default();
        let kind = resource.kind;
        let mut params = RenderParams::parse(query, kind, app.config.strict)?;
        let wishes = Wishes::read(params.accept.take(), &request.headers, app.config.strict)?;
        plan::check(&params, &app.config)?;
        let class = class_of(&request.headers);
        Ok(Self {
            app: app.clone(),
            upstream: upstream.clone(),
            kind,
            scope: resource.scope.clone(),
            params,
            wishes,
            caller: Caller::from_headers(&request.headers).with_urgency(urgency_of(class)),
            held: Held::from_headers(&request.headers),
            class,
            began: app.cache.now(),
            stale: AtomicBool::new(false),
            place: OnceLock::new(),
        })
    }

    /// The same request, made anew to renew what is kept.
    pub(crate) fn to_renew(&self) -> Self {
        let renewal = Self::for_nobody(&self.app, &self.upstream, self.scope.clone(), self.form());
        Self { kind: self.kind, stale: AtomicBool::new(true), ..renewal }
    }

    /// A request for a thumbnail that nobody waits for.
    pub(crate) fn for_nobody(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        scope: Scope,
        Form { params, wishes }: Form,
    ) -> Self {
        Self {
            app: app.clone(),
            upstream: upstream.clone(),
            kind: Kind::Thumbnail,
            scope,
            params,
            wishes,
            // Nothing that a caller's own credentials open is kept, so that there are none to renew by.
            caller: Caller::anonymous().with_urgency(Urgency::Background),
            held: Held::default(),
            class: Class::Bulk,
            began: app.cache.now(),
            stale: AtomicBool::new(false),
            place: OnceLock::new(),
        }
    }

    /// How it is asked for.
    pub(crate) fn form(&self) -> Form {
        Form { params: self.params.clone(), wishes: self.wishes.clone() }
    }

    /// Gives it a place among the requests under way, which it has until its end.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn admit(&self) -> Result<(), ServerError> {
        if self.place.get().is_none() {
            // Of two that come here at the same time the second place is given back at once.
            let _ = self.place.set(self.app.workers.admit()?);
        }
        Ok(())
    }

    /// Whether the client's own credentials go to the archive: what it is shown is then for it alone.
    pub(crate) fn is_private(&self) -> bool {
        self.upstream.client.forwards_callers() && !self.caller.is_anonymous()
    }

    /// Whether it is answered from what is kept, and what comes of it is kept.
    pub(crate) fn may_use_cache(&self) -> bool {
        // What spells out who the patient is, or what was done, is asked for each time.
        let annotation = self.params.annotation.as_ref().map(|said| said.annotation);
        let is_plain = annotation.unwrap_or_default() == Annotation::default();
        self.app.cache.is_on() && !self.is_private() && is_plain
    }

    /// Notes that what is kept is too old.
    pub(crate) fn is_stale(&self) {
        self.stale.store(true, Relaxed);
    }

    pub(crate) fn is_known_stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// Why the archive is asked.
    pub(crate) fn origin(&self) -> Origin {
        let why = if !self.may_use_cache() {
            Asking::Bypass
        } else if self.stale.load(Relaxed) {
            Asking::Stale
        } else {
            Asking::Missing
        };
        Origin::Made { why, collapsed: false }
    }

    /// How long caches on the way to the client may keep an answer: as long as it is fresh here, in all, so
    /// that `Age` counts from the same moment. None may where the client's own credentials opened it, or
    /// where nobody has said that pictures are for everybody.
    pub(crate) fn public_for(&self, origin: &Origin) -> Option<Duration> {
        if self.app.config.http_caching == HttpCaching::Private || !self.may_use_cache() {
            return None;
        }
        let of_collection = matches!(self.scope, Scope::Study(_) | Scope::Series(_));
        Some(match origin {
            Origin::Made { .. } => self.app.cache.terms.lifetime(of_collection),
            Origin::Kept { seen, .. } | Origin::DrawnAgain { seen, .. } => {
                let left = u64::try_from(seen.ttl).unwrap_or(0);
                seen.age + Duration::from_secs(left)
            }
        })
    }

    /// Where something of the study that was asked for is kept.
    pub(crate) fn place(&self, key: Key<'_>) -> cache::Place {
        self.upstream.realm.place(self.scope.study(), key)
    }

    /// Drops all that is kept of the study that was asked for.
    pub(crate) fn forget(&self) {
        self.app.cache.forget(&self.upstream.realm.groups(self.scope.study()));
    }

    /// Does work once for all requests that need it at the same time; a private one does its own.
    ///
    /// # Errors
    /// Those of the work.
    pub(crate) async fn once<V, F>(
        &self,
        flights: &Work<V>,
        name: &impl Serialize,
        work: impl FnOnce() -> F,
    ) -> Result<Landed<V>, ServerError>
    where
        V: Clone + Send + Sync + 'static,
        F: Future<Output = Result<V, ServerError>> + Send + 'static,
    {
        if self.is_private() {
            // Boxed as what is shared is: the story of a request would else hold itself several times.
            return Ok(Landed { value: Box::pin(work()).await?, followed: false });
        }
        // Work from before a change of the study is not for who asks after it.
        let study = self.upstream.realm.groups(self.scope.study());
        // Nor is that for which nobody waits for who does: it stands behind all others.
        let waits = self.class == Class::Interactive;
        let name = (study.index, self.app.cache.changes(&study), waits, name);
        let landed = flights.share(self.upstream.realm.work(&name), work).await;
        let Landed { value, followed } = landed.map_err(|Died| ServerError::Broke)?;
        Ok(Landed { value: value?, followed })
    }

    /// What is wanted of an instance.
    pub(crate) fn fetch<'a>(&'a self, path: &'a InstancePath) -> Fetch<'a> {
        let config = &self.app.config;
        Fetch {
            upstream: &self.upstream,
            holds: &self.app.holds,
            path,
            caller: &self.caller,
            kind: self.kind,
            first_of_many: config.representative == Representative::First,
            framing: plan::framing(self.kind, &self.params, config),
            limits: config.limits(),
        }
    }

    /// The instance, fetched as far as it takes to know what it is.
    pub(crate) async fn open(
        self: &Arc<Self>,
        path: &InstancePath,
    ) -> Result<Arc<Opened>, ServerError> {
        let (owner, instance) = (self.clone(), path.clone());
        let open = move || async move {
            let opened = owner.fetch(&instance).open().await;
            opened.map(Arc::new).map_err(|error| ServerError::of_source(error, Level::Instance))
        };
        Ok(self.once(&self.app.together.opened, &("open", path), open).await?.value)
    }

    /// A frame of an instance, and the instance as far as it takes to know what it is.
    pub(crate) async fn open_frame(
        self: &Arc<Self>,
        path: &InstancePath,
        frame: FrameNumber,
    ) -> Result<(Arc<Opened>, Source), ServerError> {
        let failed = |error| ServerError::of_source(error, Level::Frame);
        let (owner, instance) = (self.clone(), path.clone());
        let open = move || async move {
            let opened = owner.fetch(&instance).open_frame(frame).await;
            opened.map(Arc::new).map_err(failed)
        };
        let opened =
            self.once(&self.app.together.opened, &("open frame", path, frame), open).await?;
        let source = self.fetch(path).frame(&opened.value, frame).await.map_err(failed)?;
        Ok((opened.value, source))
    }

    /// Looks up what stands for studies and series.
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            upstream: &self.upstream,
            caller: &self.caller,
            choice: self.app.config.representative,
        }
    }

    /// What the request asked for and is not done (R2.5).
    pub(crate) fn warnings(&self) -> Vec<String> {
        let unknown = self.params.annotation.as_ref().map(|a| &a.unknown[..]).unwrap_or_default();
        if unknown.is_empty() {
            return Vec::new();
        }
        let unknown = unknown.join(", ");
        vec![format!("The following annotation values are not supported: {unknown}")]
    }
}

fn urgency_of(class: Class) -> Urgency {
    match class {
        Class::Interactive => Urgency::Interactive,
        Class::Bulk => Urgency::Background,
    }
}

/// A client may say that nobody waits for what it asks for (RFC 9218: urgency 0 to 7, by default 3).
pub(crate) fn class_of(headers: &HeaderMap) -> Class {
    let priority =
        headers.get("priority").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let urgency = priority.split(',').find_map(|member| member.trim().strip_prefix("u="));
    match urgency.and_then(|urgency| urgency.parse::<u8>().ok()) {
        Some(5..=7) => Class::Bulk,
        _ => Class::Interactive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_say_that_nobody_waits() {
        let class = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("priority", value.parse().unwrap());
            class_of(&headers)
        };
        assert_eq!(class_of(&HeaderMap::new()), Class::Interactive);
        for value in ["u=7", "i, u=6", "u=5,i"] {
            assert_eq!(class(value), Class::Bulk, "{value}");
        }
        for value in ["u=3", "u=0", "i", "u=8", "u=x", "7", ""] {
            assert_eq!(class(value), Class::Interactive, "{value}");
        }
    }
}
