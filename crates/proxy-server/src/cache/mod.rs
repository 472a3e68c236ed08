//! What was fetched and drawn before, and how it is found again without a fetch.
//!
//! Four kinds of records (`record`), by study (`key`): what stands for a resource, what that is drawn
//! from (a hash), the source itself, and pictures. Each lies in memory, on disk and, but for sources,
//! with the other nodes (`tier`). How long they may be shown is told in `age`. `recall` in the room
//! above puts an answer together from them.

mod age;
mod doorstep;
mod forgotten;
mod key;
mod memory;
mod outer;
mod record;
mod seal;
mod tier;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use core_render::{EncodedFrame, Picture};
use disk_store::{Settings, Store};
use http::{HeaderMap, Response};
use shared_store::{Notice, Shared};
use tokio::sync::broadcast::error::RecvError;

pub(crate) use age::{Freshness, Moment, Seen, Terms};
pub(crate) use doorstep::{Shows, Words};
pub(crate) use forgotten::{Began, Forgotten};
pub(crate) use key::{Digest, Groups, Key, Place, Realm, SubjectKey};
pub(crate) use outer::Outer;
pub(crate) use record::{DrawnFrom, Identity, Shown, Standing};
pub(crate) use tier::{Found, Tier};

use crate::access::{Proofs, Who};
use crate::body::Body;
use crate::config::Config;
use crate::picture::{Answer, Stale};
use doorstep::{Doorstep, Stepped};
use outer::{Disk, Nodes};

/// How long one look at the shared tier may take. A picture takes three: what stands for it, what that is
/// drawn from, and itself.
const PATIENCE: Duration = Duration::from_micros(1500);

/// All that is kept.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) terms: Terms,
    /// Who may see what of it.
    pub(crate) proofs: Arc<Proofs>,
    standings: Tier<Standing>,
    identities: Tier<Identity>,
    sources: Tier<EncodedFrame>,
    pictures: Tier<Picture>,
    doorstep: Doorstep,
    disk: Option<Arc<Disk>>,
    /// Of sources, which are large: they must not push pictures out.
    source_disk: Option<Arc<Disk>>,
    nodes: Option<Nodes>,
    forgotten: Arc<Forgotten>,
    is_on: bool,
    /// How often it was kept what is shown.
    kept: AtomicU64,
    served: Served,
}

/// Answers that were given out of what is kept.
#[derive(Debug, Default)]
struct Served {
    count: AtomicU64,
    age: AtomicU64,
    while_renewing: AtomicU64,
    archive_down: AtomicU64,
}

/// What is kept of one kind, and how often it was found.
#[derive(Debug)]
pub(crate) struct KindCounts {
    pub(crate) kind: &'static str,
    pub(crate) found: [(&'static str, u64); 4],
    pub(crate) memory_bytes: u64,
    pub(crate) memory_entries: u64,
    pub(crate) evicted: u64,
}

/// What is kept on one disk.
#[derive(Debug)]
pub(crate) struct DiskCounts {
    pub(crate) kind: &'static str,
    pub(crate) seen: disk_store::Snapshot,
    /// Writes that were given up because too many waited.
    pub(crate) dropped: u64,
}

impl Cache {
    /// Room as configured. What cannot be used is done without, and said.
    ///
    /// # Errors
    /// The shared tier cannot be asked as configured.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let memory = config.cache_memory;
        let forgotten = Arc::new(Forgotten::default());
        let [disk, source_disk] = disks(config, &forgotten);
        let nodes = nodes(config)?;
        let terms = Terms::new(config);
        // Others may have changed or purged something while this one was away, and said so to nobody here.
        let hears = nodes.is_some() || config.archives().any(|keys| keys.orthanc_changes.is_some());
        if hears && disk.is_some() {
            terms.distrust_before(Moment::now());
        }
        let pictures_outside = Outer::new(disk.clone(), nodes.clone());
        // What the archive has is near enough for every node.
        let sources_outside = Outer::new(source_disk.clone(), None);
        Ok(Self {
            terms,
            proofs: Arc::new(Proofs::new(
                config,
                Outer::new(disk.clone(), None),
                forgotten.clone(),
            )),
            standings: Tier::new(memory / 16, pictures_outside.clone(), forgotten.clone()),
            identities: Tier::new(memory / 8, pictures_outside.clone(), forgotten.clone()),
            sources: Tier::new(memory / 16 * 5, sources_outside, forgotten.clone()),
            doorstep: Doorstep::new(memory / 8, config.cors_origins.clone()),
            pictures: Tier::new(memory / 8 * 3, pictures_outside, forgotten.clone()),
            is_on: memory > 0 || disk.is_some() || nodes.is_some(),
            nodes,
            disk,
            source_disk,
            forgotten,
            kept: AtomicU64::new(0),
            served: Served::default(),
        })
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A point in time: what is purged after it is not kept of what was begun before.
    pub(crate) fn now(&self) -> Began {
        self.forgotten.now()
    }

    pub(crate) async fn standing(&self, place: &Place) -> Option<Standing> {
        Some(self.standings.get(place).await?.0)
    }

    pub(crate) async fn identity(&self, place: &Place) -> Option<Identity> {
        Some(self.identities.get(place).await?.0)
    }

    /// What a source takes in memory once it is read; nothing where it is there.
    pub(crate) async fn source_length(&self, place: &Place) -> Option<u64> {
        self.sources.length(place).await
    }

    pub(crate) async fn source(&self, place: &Place) -> Option<(EncodedFrame, Found)> {
        self.sources.get(place).await
    }

    pub(crate) async fn picture(&self, place: &Place) -> Option<(Picture, Found)> {
        self.pictures.get(place).await
    }

    pub(crate) fn keep_standing(&self, place: &Place, began: Began, standing: Standing) {
        self.standings.put(place, began, standing);
        self.kept.fetch_add(1, Relaxed);
    }

    pub(crate) fn keep_identity(&self, place: &Place, began: Began, identity: Identity) {
        self.identities.put(place, began, identity);
        self.kept.fetch_add(1, Relaxed);
    }

    pub(crate) fn kept_so_far(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    pub(crate) fn keep_source(&self, place: &Place, began: Began, source: EncodedFrame) {
        self.sources.put(place, began, source);
    }

    pub(crate) fn keep_picture(&self, place: &Place, began: Began, picture: Picture) {
        self.pictures.put(place, began, picture);
    }

    /// The answer to a request in words in which it was asked before, for whom `admit` lets see its study.
    pub(crate) fn ready(
        &self,
        words: Words,
        request: &HeaderMap,
        admit: impl FnOnce(&Shows) -> Option<Who>,
    ) -> Option<(Response<Body>, Arc<Shows>, Who)> {
        let Stepped { answer, seen, shows } =
            self.doorstep.answer(words, request, Moment::now())?;
        let who = admit(&shows)?;
        self.count_served(&seen, None);
        Some((answer, shows, who))
    }

    /// Remembers an answer by the words of its request.
    pub(crate) fn keep_ready(&self, words: Words, shows: Shows, began: Began, answer: &Answer) {
        let study = shows.upstream.realm.groups(&shows.study);
        // How old it was seen to be was told after the request began.
        self.doorstep.keep(words, shows, answer, began.at());
        if self.forgotten.was_purged_since(&study.index, began) {
            self.doorstep.remove(words);
        }
    }

    /// Counts an answer out of what is kept.
    pub(crate) fn count_served(&self, seen: &Seen, stale: Option<Stale>) {
        let Served { count, age, while_renewing, archive_down } = &self.served;
        count.fetch_add(1, Relaxed);
        age.fetch_add(seen.age.as_secs(), Relaxed);
        match stale {
            Some(Stale::Renewing) => while_renewing.fetch_add(1, Relaxed),
            Some(Stale::ArchiveDown) => archive_down.fetch_add(1, Relaxed),
            None => 0,
        };
    }

    /// How many answers were given out of what is kept, and their age in seconds altogether.
    pub(crate) fn ages_served(&self) -> (u64, u64) {
        (self.served.count.load(Relaxed), self.served.age.load(Relaxed))
    }

    /// How many of them were stale, and why.
    pub(crate) fn stale_served(&self) -> [(&'static str, u64); 2] {
        let Served { while_renewing, archive_down, .. } = &self.served;
        [("renewing", while_renewing.load(Relaxed)), ("archive_down", archive_down.load(Relaxed))]
    }

    /// Of each kind.
    pub(crate) fn kinds(&self) -> [KindCounts; 5] {
        [
            self.doorstep.counted(),
            self.standings.counted("standing"),
            self.identities.counted("identity"),
            self.sources.counted("source"),
            self.pictures.counted("picture"),
        ]
    }

    /// Of each disk.
    pub(crate) fn on_disks(&self) -> Vec<DiskCounts> {
        let disks = [("pictures", &self.disk), ("sources", &self.source_disk)];
        let there = disks.into_iter().filter_map(|(kind, disk)| Some((kind, disk.as_ref()?)));
        there
            .map(|(kind, disk)| DiskCounts {
                kind,
                seen: disk.store().snapshot(),
                dropped: disk.dropped(),
            })
            .collect()
    }

    /// Drops everything of a study, here and on disk. From now on nothing of it is found.
    pub(crate) fn forget(&self, study: &Groups) {
        self.drop_group(study.index);
        self.drop_group(study.content);
    }

    /// Has the archive asked anew for what there is of a study. What is still so is not drawn again.
    pub(crate) fn distrust(&self, study: &Groups) {
        self.drop_group(study.index);
    }

    /// Has everything asked for anew as it is shown: something has changed, and it is not known what.
    pub(crate) fn distrust_all(&self) {
        // First: what is under way was asked for before.
        self.forgotten.forget_all();
        self.terms.distrust_before(Moment::now());
        self.doorstep.forget_all();
    }

    /// Which was the last purge of it, or the last time that it was distrusted.
    pub(crate) fn last_change(&self, study: &Groups) -> u64 {
        self.forgotten.last(&study.index)
    }

    /// Waits until what was purged is gone from the disk, for so long at most.
    pub(crate) async fn is_gone_here(&self, within: Duration) -> bool {
        let gone = async {
            while self.forgotten.is_any_leaving() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(within, gone).await.is_ok()
    }

    /// The same, from everywhere.
    pub(crate) async fn is_gone_everywhere(&self, within: Duration) -> bool {
        let of_nodes = async {
            match &self.nodes {
                Some(nodes) => nodes.shared().settled(within).await,
                None => true,
            }
        };
        let (here, there) = tokio::join!(self.is_gone_here(within), of_nodes);
        here && there
    }

    /// Follows what other nodes drop, for ever.
    pub(crate) async fn follow(&self) -> Infallible {
        let Some(nodes) = &self.nodes else { return std::future::pending().await };
        let mut notices = nodes.shared().forgotten();
        loop {
            match notices.recv().await {
                Ok(Notice::Forgotten(group)) => self.drop_here(group),
                // What was dropped meanwhile is not known: all is asked for anew as it is shown.
                Ok(Notice::Missed) | Err(RecvError::Lagged(_)) => {
                    self.distrust_all();
                }
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// What the shared tier does and has done.
    pub(crate) fn on_nodes(&self) -> Option<shared_store::Snapshot> {
        Some(self.nodes.as_ref()?.shared().snapshot())
    }

    fn drop_group(&self, group: Digest) {
        if let Some(nodes) = &self.nodes {
            nodes.shared().forget(&group);
        }
        self.drop_here(group);
    }

    fn drop_here(&self, group: Digest) {
        self.forgotten.forget(group);
        self.doorstep.forget(&group);
        self.proofs.forget(&group);
        self.standings.forget(&group);
        self.identities.forget(&group);
        self.sources.forget(&group);
        self.pictures.forget(&group);
        let (forgotten, disks) = (self.forgotten.clone(), self.disks());
        tokio::spawn(async move {
            for disk in disks {
                disk.forget(group).await;
            }
            forgotten.has_left(&group);
        });
    }

    fn disks(&self) -> Vec<Arc<Disk>> {
        [&self.disk, &self.source_disk].into_iter().flatten().cloned().collect()
    }
}

/// The tier that is shared, if there is one.
fn nodes(config: &Config) -> Result<Option<Nodes>, String> {
    let Some(url) = &config.cache_shared else { return Ok(None) };
    let settings = shared_store::Settings {
        patience: PATIENCE,
        ca: config.cache_shared_ca.clone(),
        ..shared_store::Settings::new(url.read()?.reveal())
    };
    let keep = config.cache_ttl + config.stale_while_revalidate;
    let shared = Shared::open(settings).map_err(|error| error.to_string())?;
    Ok(Some(Nodes::new(shared, keep)))
}

/// A store for pictures with what they are found by, and one for sources: a quarter of the disk.
fn disks(config: &Config, forgotten: &Arc<Forgotten>) -> [Option<Arc<Disk>>; 2] {
    let whole = config.cache_disk;
    let Some(dir) = config.cache_dir.as_ref().filter(|_| whole > 0) else { return [None, None] };
    let sources = whole / 4;
    let stores = [("pictures", whole - sources), ("sources", sources)]
        .map(|(name, limit)| Store::open(Settings { dir: dir.join(name), limit }));
    if let Some(problem) = stores.iter().find_map(Store::problem) {
        tracing::warn!(%problem, "nothing is kept on disk");
    }
    stores.map(|store| {
        store.problem().is_none().then(|| Arc::new(Disk::new(store, forgotten.clone())))
    })
}
