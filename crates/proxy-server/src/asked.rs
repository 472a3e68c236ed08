//! What one request for a rendering carries with it on its way.

use std::sync::Arc;

use dicomweb_types::InstancePath;
use http::request::Parts;
use wadors_client::Caller;

use crate::app::App;
use crate::conditional::Held;
use crate::config::Representative;
use crate::error::{Level, ServerError};
use crate::negotiate::Wishes;
use crate::params::RenderParams;
use crate::plan;
use crate::representative::Lookup;
use crate::route::Kind;
use crate::source::{Fetch, Opened};
use crate::upstream::Upstream;
use crate::workers::Place;

/// A request that was read, and admitted.
pub(crate) struct Asked {
    pub(crate) app: Arc<App>,
    /// The archive that is asked.
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) kind: Kind,
    pub(crate) params: RenderParams,
    pub(crate) wishes: Wishes,
    pub(crate) caller: Caller,
    /// What the client holds already.
    pub(crate) held: Held,
    _place: Place,
}

impl Asked {
    /// Reads a request and gives it a place.
    ///
    /// # Errors
    /// What is wrong with the request, before anything is fetched; that there is no place.
    pub(crate) fn read(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        kind: Kind,
        request: &Parts,
    ) -> Result<Self, ServerError> {
        let query = request.uri.query().unwrap_or_default();
        let mut params = RenderParams::parse(query, kind, app.config.strict)?;
        let wishes = Wishes::read(params.accept.take(), &request.headers, app.config.strict)?;
        plan::check(&params, &app.config)?;
        Ok(Self {
            app: app.clone(),
            upstream: upstream.clone(),
            kind,
            params,
            wishes,
            caller: Caller::from_headers(&request.headers),
            held: Held::from_headers(&request.headers),
            _place: app.workers.admit()?,
        })
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
    pub(crate) async fn open(&self, path: &InstancePath) -> Result<Opened, ServerError> {
        let opened = self.fetch(path).open().await;
        opened.map_err(|error| ServerError::of_source(error, Level::Instance))
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
