//! What one request for a rendering carries with it on its way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use core_render::{Annotation, Source};
use dicomweb_types::{FrameNumber, InstancePath};
use http::HeaderMap;
use http::request::Parts;
use render_pool::Class;
use serde::Serialize;
use wadors_client::{Caller, Urgency};

use crate::access::{Right, Visitor};
use crate::app::App;
use crate::cache::{self, Began, Digest, Key};
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

/// What a request does at once it does by the proof with which it began.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Until when somebody counts as one who may see the study: a request may take long, and rights end.
#[derive(Debug, Default)]
struct Proved(Mutex<Option<Instant>>);

impl Proved {
    fn lasts(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    fn lasts_for(&self, time: Duration) {
        *self.lock() = Instant::now().checked_add(time);
    }

    /// Whether it has lasted until now.
    fn end(&self) -> bool {
        self.lock().take().is_some_and(|until| Instant::now() < until)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Proved {
    fn clone(&self) -> Self {
        Self(Mutex::new(*self.lock()))
    }
}

/// A request that was read.
pub(crate) struct Asked {
    pub(crate) app: Arc<App>,
    /// The archive that is asked.
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) params: RenderParams,
    pub(crate) wishes: Wishes,
    /// Who asks.
    pub(crate) visitor: Visitor,
    /// The same, as the archive is asked.
    pub(crate) caller: Caller,
    /// What the client holds already.
    held: Held,
    /// Whether it is answered in parts, which are of the whole that is asked for and held by nobody.
    is_in_parts: AtomicBool,
    /// Whether somebody waits for it.
    pub(crate) class: Class,
    /// When.
    pub(crate) began: Began,
    /// Which change of the study was the last by then: work from before is not for who asks after it.
    last_change: u64,
    /// Whether something is kept that is too old.
    stale: AtomicBool,
    /// How much had been kept when it was looked at.
    looked: AtomicU64,
    /// Until when the archive counts as having shown the study to who asks.
    proved: Proved,
    /// Whether what it is drawn from lies in another study than was asked for.
    is_misplaced: AtomicBool,
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
        visitor: Visitor,
        request: &Parts,
    ) -> Result<Self, ServerError> {
        let query = request.uri.query().unwrap_or_default();
        let Resource { kind, scope } = resource;
        let kind = *kind;
        let mut params = RenderParams::parse(query, kind, app.config.strict)?;
        let wishes = Wishes::read(params.accept.take(), &request.headers, app.config.strict)?;
        plan::check(&params, &app.config)?;
        let class = class_of(&request.headers);
        Ok(Self {
            app: app.clone(),
            upstream: upstream.clone(),
            kind,
            scope: scope.clone(),
            params,
            wishes,
            caller: visitor.caller.clone().with_urgency(urgency_of(class)),
            visitor,
            held: Held::from_headers(&request.headers),
            is_in_parts: AtomicBool::new(false),
            class,
            began: app.cache.now(),
            last_change: app.cache.last_change(&upstream.realm.groups(scope.study())),
            stale: AtomicBool::new(false),
            looked: AtomicU64::new(u64::MAX),
            proved: Proved::default(),
            is_misplaced: AtomicBool::new(false),
            place: OnceLock::new(),
        })
    }

    /// The same request, made anew to renew what is kept.
    pub(crate) fn to_renew(&self) -> Self {
        let (scope, visitor) = (self.scope.clone(), self.visitor.clone());
        let renewal = Self::for_nobody(&self.app, &self.upstream, scope, visitor, self.form());
        let proved = self.proved.clone();
        Self { kind: self.kind, stale: AtomicBool::new(true), proved, ..renewal }
    }

    /// A request for a thumbnail that nobody waits for, by the right of a visitor who may be gone.
    pub(crate) fn for_nobody(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        scope: Scope,
        visitor: Visitor,
        Form { params, wishes }: Form,
    ) -> Self {
        let last_change = app.cache.last_change(&upstream.realm.groups(scope.study()));
        Self {
            app: app.clone(),
            upstream: upstream.clone(),
            kind: Kind::Thumbnail,
            scope,
            params,
            wishes,
            caller: visitor.caller.clone().with_urgency(Urgency::Background),
            visitor,
            held: Held::default(),
            is_in_parts: AtomicBool::new(false),
            class: Class::Bulk,
            began: app.cache.now(),
            last_change,
            stale: AtomicBool::new(false),
            looked: AtomicU64::new(u64::MAX),
            proved: Proved::default(),
            is_misplaced: AtomicBool::new(false),
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

    /// Whether what comes of it is kept, and may be shown to others who may see the study.
    pub(crate) fn may_keep(&self) -> bool {
        // What spells out who the patient is, or what was done, is asked for each time.
        let annotation = self.params.annotation.as_ref().map(|said| said.annotation);
        let is_plain = annotation.unwrap_or_default() == Annotation::default();
        self.app.cache.is_on() && is_plain && !self.is_misplaced.load(Relaxed)
    }

    /// Whether it is answered from what is kept, too: who asks may see it.
    pub(crate) fn may_use_cache(&self) -> bool {
        self.may_keep() && self.is_proved()
    }

    /// The same, with a proof that was given since it was looked up.
    pub(crate) async fn may_use_cache_by_now(&self) -> bool {
        if !self.is_proved() {
            self.look_up_proof().await;
        }
        self.may_use_cache()
    }

    /// Whether it is known that who asks may see the study.
    pub(crate) fn is_proved(&self) -> bool {
        match self.visitor.right {
            Right::All | Right::Studies(_) => true,
            Right::AsTheArchiveSays(_) => self.proved.lasts(),
        }
    }

    fn note_proof(&self) {
        self.proved.lasts_for(self.app.config.proof_ttl.max(AT_ONCE));
    }

    /// Looks up whether the archive has shown the study to who asks, a while ago.
    pub(crate) async fn look_up_proof(&self) {
        let Right::AsTheArchiveSays(credential) = &self.visitor.right else { return };
        let study = self.study().index;
        if self.may_keep() && self.app.cache.proofs.is_there(&study, credential).await {
            self.note_proof();
        }
    }

    /// Whether who asks may see the study; the archive is asked where it is not known.
    pub(crate) async fn prove(&self) -> bool {
        if self.is_proved() {
            return true;
        }
        let Right::AsTheArchiveSays(credential) = &self.visitor.right else { return true };
        let (proofs, study) = (&self.app.cache.proofs, self.scope.study());
        let asked = proofs.ask(&self.upstream, study, credential, &self.caller, self.began);
        let is_proved = asked.await;
        match is_proved {
            true => self.note_proof(),
            false => drop(self.proved.end()),
        }
        is_proved
    }

    /// The archive has shown an object: a proof that who asks may see the study, if it lies in that and was not
    /// fetched by another's right. An archive that looks at the object's own UID only would show it in any
    /// study: then it proves nothing, and nothing of it is kept.
    async fn has_opened(&self, opened: &Landed<Arc<Opened>>) -> Result<(), ServerError> {
        let is_misplaced = match opened.value.study() {
            Some(study) => study != *self.scope.study(),
            // It says nothing: what is kept for those who see some studies only must.
            None if self.app.access.may_limit() => true,
            None => return Ok(()),
        };
        if is_misplaced {
            self.is_misplaced.store(true, Relaxed);
            // Others may wait for the same, by the proof of another study than it lies in.
            let is_shared =
                matches!(self.visitor.right, Right::AsTheArchiveSays(_)) && self.is_proved();
            let is_for_him = !is_shared && self.visitor.limit().is_none();
            return if is_for_him { Ok(()) } else { Err(ServerError::NothingThere) };
        }
        let is_own = !opened.followed || !self.is_proved();
        if let Right::AsTheArchiveSays(credential) = &self.visitor.right
            && is_own
            && self.may_keep()
        {
            let (proofs, study) = (&self.app.cache.proofs, self.study().index);
            proofs.give(&study, credential, self.began).await;
            self.note_proof();
        }
        Ok(())
    }

    /// The archive says that something is not there, or not for who asks: he is no longer shown what is kept of
    /// the study, unless the archive shows him this; and if it is gone for all, nobody is.
    pub(crate) async fn note_gone(&self, error: &ServerError, is_kept: bool) {
        if let Right::AsTheArchiveSays(credential) = &self.visitor.right {
            let (proofs, study) = (&self.app.cache.proofs, self.study().index);
            if error.is_denied() || matches!(self.scope, Scope::Study(_)) {
                proofs.take_back(&study, credential, self.began).await;
            } else if proofs.was_given(&study, credential).await {
                // Something of it is not there: the study may be.
                let study = self.scope.study();
                proofs.ask(&self.upstream, study, credential, &self.caller, self.began).await;
            }
            if error.is_denied() || !self.proved.end() {
                return;
            }
        }
        if is_kept {
            self.forget();
        }
    }

    /// What the client holds already of what it is sent.
    pub(crate) fn held(&self) -> &Held {
        static NOTHING: Held = Held::Tags(Vec::new());
        if self.is_in_parts.load(Relaxed) { &NOTHING } else { &self.held }
    }

    /// Notes that it is answered in parts.
    pub(crate) fn note_parts(&self) {
        self.is_in_parts.store(true, Relaxed);
    }

    /// Where things of the study that was asked for are kept.
    pub(crate) fn study(&self) -> cache::Groups {
        self.upstream.realm.groups(self.scope.study())
    }

    /// Notes that what is kept is looked at now.
    pub(crate) fn note_look(&self) {
        self.looked.store(self.app.cache.kept_so_far(), Relaxed);
    }

    /// Whether anything was kept since.
    pub(crate) fn is_more_kept(&self) -> bool {
        self.app.cache.kept_so_far() > self.looked.load(Relaxed)
    }

    /// Notes that what is kept is too old.
    pub(crate) fn note_stale(&self) {
        self.stale.store(true, Relaxed);
    }

    pub(crate) fn is_known_stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// Why the archive is asked.
    pub(crate) fn origin(&self) -> Origin {
        // Frames that are named together are put together for each request.
        let are_several =
            matches!(&self.scope, Scope::Frames(_, frames) if frames.as_slice().len() > 1);
        let why = if !self.may_keep() || are_several {
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
        let is_private = self.app.config.http_caching == HttpCaching::Private;
        if is_private || !self.may_use_cache() || !self.visitor.is_anybody() {
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
        self.app.cache.forget(&self.study());
    }

    /// Does work once for all requests that need it at the same time. Who may not be known to see the study
    /// shares it with himself only: what comes of it is what the archive shows him.
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
        let study = self.study();
        // That for which nobody waits is not for who does: it stands behind all others.
        let waits = self.class == Class::Interactive;
        // And who sees some studies only is told of what lies in another that it is not there.
        let is_limited = self.visitor.limit().is_some();
        let name = |whose: Option<&Digest>| {
            let key = (study.index, self.last_change, waits, is_limited, whose, name);
            self.upstream.realm.work(&key)
        };
        let own = match &self.visitor.right {
            Right::All | Right::Studies(_) => None,
            Right::AsTheArchiveSays(credential) => Some(name(Some(credential.digest()))),
        };
        let shares_with_nobody = match &own {
            // Also where the proof came of work that is still under way.
            Some(own) => !self.is_proved() || flights.is_under_way(own),
            None => false,
        };
        let key = own.filter(|_| shares_with_nobody).unwrap_or_else(|| name(None));
        let mut work = Some(work);
        let landed = flights.share_or_leave(key, &mut work).await;
        let mut landed = landed.map_err(|Died| ServerError::Broke)?;
        // What the archive refuses to who leads it may show to who follows.
        if let (Err(refused), true, Some(own)) = (&landed.value, landed.followed, own)
            && refused.says_that_it_is_gone()
        {
            let again = flights.share_or_leave(own, &mut work).await;
            landed = again.map_err(|Died| ServerError::Broke)?;
        }
        let Landed { value, followed } = landed;
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
            is_proved: self.is_proved(),
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
        let opened = self.once(&self.app.together.opened, &("open", path), open).await?;
        self.has_opened(&opened).await?;
        Ok(opened.value)
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
        self.has_opened(&opened).await?;
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
