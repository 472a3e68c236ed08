//! An archive as this server sees it: how it is asked, where it is served, and what is known of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use wadors_client::{Client, ClientConfig, ClientError};

use crate::cache::Realm;
use crate::config::{BasePath, Config, UpstreamConfig};
use crate::known::Known;
use crate::pace::Pace;
use crate::poison::Poison;

/// One archive.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Empty for the only one, or that of the flat keys.
    pub(crate) name: String,
    /// Where it is served.
    pub(crate) base_path: BasePath,
    pub(crate) client: Client,
    /// Large sources that may be fetched, or wait to be drawn, at the same time.
    pub(crate) large_calls: Arc<Semaphore>,
    /// Bodies that may be on their way to it: each takes one of its threads.
    pub(crate) uploads: Arc<Semaphore>,
    /// Objects over which a worker was lost.
    pub(crate) poison: Poison,
    /// What is known of its objects before they are asked for.
    pub(crate) known: Known,
    /// Which way its objects come faster.
    pub(crate) pace: Pace,
    /// When it could not be reached, or was silent too long, as it was asked who may see a study.
    pub(crate) silence: Silence,
    /// Under what things of it are kept.
    pub(crate) realm: Realm,
    /// Whether our credentials go with requests that change something.
    pub(crate) allow_writes: bool,
    /// Whether we show it a certificate: what reaches it through us has our rights without any header.
    pub(crate) shows_certificate: bool,
    /// Whether its own URLs in JSON become ours.
    pub(crate) rewrite_urls: bool,
    /// How often it is asked for its changes.
    pub(crate) changes_every: Option<Duration>,
}

/// Why an archive cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// A secret cannot be read.
    #[error("{0}")]
    Secret(String),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Upstream {
    /// The archive of these keys; `None` where they name none.
    pub(crate) fn new(
        keys: &UpstreamConfig,
        config: &Config,
    ) -> Result<Option<Self>, UpstreamSetupError> {
        let Some(url) = &keys.url else { return Ok(None) };
        let client = ClientConfig {
            max_bytes: config.max_source_bytes,
            total_timeout: config.request_timeout,
            ..keys.client(url).map_err(UpstreamSetupError::Secret)?
        };
        Ok(Some(Self {
            name: keys.name.clone(),
            base_path: keys.base_path.clone(),
            client: Client::new(client)?,
            large_calls: Arc::new(Semaphore::new(large_calls(keys.concurrency.get()))),
            uploads: Arc::new(Semaphore::new(uploads(keys.concurrency.get()))),
            poison: Poison::default(),
            known: Known::default(),
            pace: Pace::default(),
            silence: Silence::default(),
            realm: Realm::new(keys, config.representative),
            allow_writes: keys.allow_writes,
            shows_certificate: keys.cert.is_some(),
            rewrite_urls: keys.rewrite_urls,
            changes_every: keys.orthanc_changes,
        }))
    }
}

/// When an archive was found silent last.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// How long it is not waited for after that.
    const LASTS: Duration = Duration::from_secs(10);

    pub(crate) fn lasts(&self) -> bool {
        self.lock().is_some_and(|since| since.elapsed() < Self::LASTS)
    }

    pub(crate) fn begins(&self) {
        *self.lock() = Some(Instant::now());
    }

    pub(crate) fn ends(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than calls, since clients send slowly; no more than a server with 50 threads stands.
fn uploads(concurrency: usize) -> usize {
    concurrency.saturating_mul(4).clamp(16, Semaphore::MAX_PERMITS)
}

/// Half of the calls at once: the others are for what is small.
fn large_calls(concurrency: usize) -> usize {
    (concurrency / 2).clamp(1, Semaphore::MAX_PERMITS)
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Upstreams(Vec<Arc<Upstream>>);

impl Upstreams {
    /// The archives of a configuration, at least one.
    pub(crate) fn new(config: &Config) -> Result<Self, UpstreamSetupError> {
        let mut all = Vec::new();
        for keys in config.archives() {
            all.extend(Upstream::new(keys, config)?.map(Arc::new));
        }
        Ok(Self(all))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.iter()
    }

    /// The archive that serves `path`, and what of the path is below its base: empty, or from a slash on.
    ///
    /// Archives build URLs of the name they were asked under and of their own path; these lead back here,
    /// where it is clear whose they are. The longest base wins; a base of ours over such a path, unless
    /// it is the root, below which everything is.
    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<(&Arc<Upstream>, &'p str)> {
        let own = |upstream: &&Arc<Upstream>| upstream.base_path.as_str().len();
        let at_base = self.0.iter().filter(|u| !u.base_path.as_str().is_empty());
        let at_base =
            at_base.filter(|u| strip(path, u.base_path.as_str()).is_some()).max_by_key(own);
        if let Some(upstream) = at_base {
            return Some((upstream, strip(path, upstream.base_path.as_str())?));
        }
        let built = self.0.iter().filter(|u| self.has_prefix_of_its_own(u));
        let built = built.filter(|u| strip(path, u.client.prefix()).is_some());
        if let Some(upstream) = built.max_by_key(|u| u.client.prefix().len()) {
            return Some((upstream, strip(path, upstream.client.prefix())?));
        }
        let root = self.0.iter().find(|upstream| upstream.base_path.as_str().is_empty())?;
        Some((root, strip(path, "")?))
    }

    fn has_prefix_of_its_own(&self, upstream: &Upstream) -> bool {
        let prefix = upstream.client.prefix();
        let same = self.0.iter().filter(|other| other.client.prefix() == prefix).count();
        !prefix.is_empty() && same == 1
    }
}

fn strip<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(toml: &str, path: &str) -> Option<(String, String)> {
        let config = Config::from_toml(toml).unwrap();
        let upstreams = Upstreams::new(&config).unwrap();
        let (upstream, below) = upstreams.find(path)?;
        Some((upstream.name.clone(), below.to_owned()))
    }

    fn at(name: &str, below: &str) -> Option<(String, String)> {
        Some((name.to_owned(), below.to_owned()))
    }

    #[test]
    fn one_archive_is_served_below_its_base_only() {
        let toml = "upstream = \"http://a/archive/rs\"\nbase_path = \"/dicom-web\"";
        assert_eq!(found(toml, "/"), None);
        assert_eq!(found(toml, "/studies"), None);
        assert_eq!(found(toml, "/dicom-webx"), None);
        assert_eq!(found(toml, "/dicom-web"), at("", ""));
        assert_eq!(found(toml, "/dicom-web/studies"), at("", "/studies"));
    }

    #[test]
    fn urls_that_the_archive_built_of_its_own_path_lead_back() {
        for toml in [
            "upstream = \"http://a/dicom-web\"",
            "upstream = \"http://a/dicom-web\"\nbase_path = \"/images\"",
        ] {
            assert_eq!(found(toml, "/dicom-web/studies/1/bulk/2"), at("", "/studies/1/bulk/2"));
        }
        assert_eq!(
            found("upstream = \"http://a\"", "/dicom-web/studies"),
            at("", "/dicom-web/studies")
        );
    }

    #[test]
    fn of_several_archives_the_longest_base_wins() {
        let toml = "upstream = \"http://a/rs\"\n[upstreams.b]\nupstream = \"http://b/dicom-web\"\n\
                    [upstreams.c]\nupstream = \"http://c/dicom-web\"\nbase_path = \"/b/c\"";
        assert_eq!(found(toml, "/studies"), at("", "/studies"));
        assert_eq!(found(toml, "/b/studies"), at("b", "/studies"));
        assert_eq!(found(toml, "/b/c/studies"), at("c", "/studies"));
        assert_eq!(found(toml, "/rs/studies"), at("", "/studies"));
        // Of two archives with this path nobody knows which one built it.
        assert_eq!(found(toml, "/dicom-web/studies"), at("", "/dicom-web/studies"));
    }
}
