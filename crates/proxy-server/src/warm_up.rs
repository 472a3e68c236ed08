//! Pictures made before they are asked for: of studies that have come in, and of those that a viewer
//! opens. At low priority: drawing and the archive are there for who waits, first.
//!
//! Of a study its own thumbnail and those of its series are made, in the forms that thumbnails were asked
//! for lately: every viewer has its own size and type.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dicomweb_types::Uid;
use futures_util::{StreamExt, stream};
use lru::LruCache;
use tokio::sync::Notify;
use wadors_client::Urgency;

use crate::access::Visitor;
use crate::app::App;
use crate::asked::Asked;
use crate::cache::{Digest, Freshness};
use crate::listing;
use crate::negotiate::Wishes;
use crate::params::RenderParams;
use crate::recall::{self, Recalled};
use crate::render_service;
use crate::route::Scope;
use crate::upstream::Upstream;

/// Studies that wait. Of more than that those that have waited longest are left out.
const MOST_WAITING: usize = 10_000;

/// Studies that are remembered as looked after.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A study that a viewer opens again within that time is not looked after again.
const LATELY: Duration = Duration::from_secs(600);

/// A study is at rest once nothing has been stored in it for so long.
const AT_REST: Duration = Duration::from_secs(5);

/// Series of one study.
const MOST_SERIES: usize = 500;

/// Pictures made at once.
const AT_ONCE: usize = 2;

/// Forms of thumbnails that are made.
const MOST_FORMS: usize = 3;

/// The longest side of a thumbnail that is made ahead.
const LARGEST_SIDE: u32 = 512;

/// How a thumbnail is asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Form {
    pub(crate) params: RenderParams,
    pub(crate) wishes: Wishes,
}

/// Studies to be looked after.
pub(crate) struct WarmUp {
    is_on: bool,
    waiting: Mutex<VecDeque<Waiting>>,
    lately: Mutex<LruCache<Digest, Instant>>,
    forms: Mutex<VecDeque<Form>>,
    wake: Notify,
    made: AtomicU64,
    left_out: AtomicU64,
}

struct Waiting {
    upstream: Arc<Upstream>,
    study: Uid,
    /// By whose right.
    visitor: Visitor,
    due: Instant,
}

impl WarmUp {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            waiting: Mutex::default(),
            lately: Mutex::new(LruCache::new(REMEMBERED)),
            forms: Mutex::new(VecDeque::from([Form::default()])),
            wake: Notify::new(),
            made: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A viewer opens a study.
    pub(crate) fn soon(&self, upstream: &Arc<Upstream>, study: Uid, visitor: Visitor) {
        let now = Instant::now();
        let key = upstream.realm.groups(&study).index;
        let last = lock(&self.lately).put(key, now);
        if last.is_none_or(|last| now.duration_since(last) >= LATELY) {
            self.add(upstream, study, visitor, now);
        }
    }

    /// Something was stored in a study: more of it may follow.
    pub(crate) fn once_at_rest(&self, upstream: &Arc<Upstream>, study: Uid, visitor: Visitor) {
        self.add(upstream, study, visitor, Instant::now() + AT_REST);
    }

    /// Somebody asks for it.
    pub(crate) fn now(&self, upstream: &Arc<Upstream>, study: Uid, visitor: Visitor) {
        self.add(upstream, study, visitor, Instant::now());
    }

    fn add(&self, upstream: &Arc<Upstream>, study: Uid, visitor: Visitor, due: Instant) {
        if !self.is_on {
            return;
        }
        let mut waiting = lock(&self.waiting);
        waiting.retain(|w| w.study != study || !Arc::ptr_eq(&w.upstream, upstream));
        waiting.push_back(Waiting { upstream: upstream.clone(), study, visitor, due });
        if waiting.len() > MOST_WAITING {
            waiting.pop_front();
            self.left_out.fetch_add(1, Relaxed);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Remembers how thumbnails are asked for.
    pub(crate) fn learn(&self, form: Form) {
        // What is larger somebody wants to see, and not many together.
        let side = form.params.viewport.as_ref().map(|v| v.width.max(v.height).get());
        if side.is_some_and(|side| side > LARGEST_SIDE) {
            return;
        }
        let mut forms = lock(&self.forms);
        forms.retain(|known| *known != form);
        forms.push_front(form);
        forms.truncate(MOST_FORMS);
    }

    /// The study that is due, or how long it is until one is.
    fn next(&self, now: Instant) -> Result<Waiting, Option<Duration>> {
        let mut waiting = lock(&self.waiting);
        if let Some(place) = waiting.iter().position(|w| w.due <= now) {
            return waiting.remove(place).ok_or(None);
        }
        Err(waiting.iter().map(|w| w.due.duration_since(now)).min())
    }

    /// Studies that wait, pictures that were made, studies that were left out.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let waiting = lock(&self.waiting).len() as u64;
        (waiting, self.made.load(Relaxed), self.left_out.load(Relaxed))
    }
}

/// Looks after one study after the other, for ever.
pub(crate) async fn run(app: &Arc<App>) -> Infallible {
    loop {
        let woken = app.warm_up.wake.notified();
        match app.warm_up.next(Instant::now()) {
            Ok(waiting) => warm(app, &waiting).await,
            Err(Some(wait)) => {
                // Whatever comes meanwhile may be due before.
                let _ = tokio::time::timeout(wait, woken).await;
            }
            Err(None) => woken.await,
        }
    }
}

async fn warm(app: &Arc<App>, Waiting { upstream, study, visitor, .. }: &Waiting) {
    let limit = app.config.request_timeout;
    let caller = visitor.caller.clone().with_urgency(Urgency::Background);
    let listed = listing::series_of(upstream, study, &caller);
    let series = match tokio::time::timeout(limit, listed).await {
        Ok(Ok(series)) => series,
        Ok(Err(error)) => return tracing::debug!(kind = error.kind(), "no series to warm up"),
        Err(_) => return,
    };
    let forms: Vec<Form> = lock(&app.warm_up.forms).iter().cloned().collect();
    let scopes = std::iter::once(Scope::Study(study.clone()))
        .chain(series.into_iter().take(MOST_SERIES).map(|listed| Scope::Series(listed.path)));
    let all: Vec<(Scope, Form)> = scopes
        .flat_map(|scope| forms.iter().map(move |form| (scope.clone(), form.clone())))
        .collect();
    let made = all.into_iter().map(|(scope, form)| picture(app, upstream, scope, visitor, form));
    stream::iter(made.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn picture(
    app: &Arc<App>,
    upstream: &Arc<Upstream>,
    scope: Scope,
    visitor: &Visitor,
    form: Form,
) {
    let asked = Arc::new(Asked::for_nobody(app, upstream, scope, visitor.clone(), form));
    asked.look_up_proof().await;
    let kept = recall::answer(&asked).await;
    if kept.as_ref().map(Recalled::freshness) == Some(Freshness::Fresh) {
        return;
    }
    let limit = app.config.request_timeout;
    match tokio::time::timeout(limit, render_service::together(&asked)).await {
        Ok(Ok(_)) => drop(app.warm_up.made.fetch_add(1, Relaxed)),
        Ok(Err(error)) => tracing::debug!(stage = error.stage(), %error, "not warmed up"),
        Err(_) => tracing::debug!("not warmed up in time"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::upstream::Upstreams;

    fn upstream() -> Arc<Upstream> {
        let config = Config::from_toml("upstream = \"http://a\"").unwrap();
        Upstreams::new(&config).unwrap().iter().next().unwrap().clone()
    }

    fn uid(n: u32) -> Uid {
        format!("1.2.{n}").parse().unwrap()
    }

    #[test]
    fn a_study_that_is_still_coming_in_waits_until_it_rests() {
        let (warm_up, upstream, now) = (WarmUp::new(true), upstream(), Instant::now());
        for _ in 0..3 {
            warm_up.once_at_rest(&upstream, uid(1), Visitor::nobody(&upstream));
        }
        assert!(matches!(warm_up.next(now), Err(Some(wait)) if wait > Duration::ZERO));
        assert_eq!(warm_up.counts().0, 1);
        let later = Instant::now() + AT_REST;
        assert!(warm_up.next(later).is_ok_and(|waiting| waiting.study == uid(1)));
        assert!(matches!(warm_up.next(later), Err(None)));
    }

    #[test]
    fn a_study_that_is_opened_again_is_not_looked_after_again() {
        let (warm_up, upstream) = (WarmUp::new(true), upstream());
        warm_up.soon(&upstream, uid(1), Visitor::nobody(&upstream));
        assert!(warm_up.next(Instant::now()).is_ok());
        warm_up.soon(&upstream, uid(1), Visitor::nobody(&upstream));
        assert!(warm_up.next(Instant::now()).is_err());
        warm_up.now(&upstream, uid(1), Visitor::nobody(&upstream));
        assert!(warm_up.next(Instant::now()).is_ok());
    }

    #[test]
    fn too_many_studies_are_left_out_and_counted_and_without_a_cache_none_wait() {
        let (warm_up, upstream) = (WarmUp::new(true), upstream());
        for n in 0..MOST_WAITING as u32 + 5 {
            warm_up.now(&upstream, uid(n), Visitor::nobody(&upstream));
        }
        assert_eq!(warm_up.counts(), (MOST_WAITING as u64, 0, 5));
        assert!(warm_up.next(Instant::now()).is_ok_and(|waiting| waiting.study == uid(5)));
        let off = WarmUp::new(false);
        off.now(&upstream, uid(1), Visitor::nobody(&upstream));
        assert_eq!(off.counts().0, 0);
    }

    #[test]
    fn the_forms_are_those_of_late() {
        let warm_up = WarmUp::new(true);
        let form = |quality: &str| Form {
            params: RenderParams { quality: quality.parse().ok(), ..RenderParams::default() },
            wishes: Wishes::default(),
        };
        for quality in ["1", "2", "1", "3"] {
            warm_up.learn(form(quality));
        }
        let forms: Vec<Form> = lock(&warm_up.forms).iter().cloned().collect();
        assert_eq!(forms, [form("3"), form("1"), form("2")]);
    }
}
