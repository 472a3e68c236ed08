//! A bounded store of small blobs in plain files: the disk tier of a cache.
//!
//! A blob lies in a group, which is what is evicted and removed together. It is found by its path alone, so
//! that a store is of use as soon as it is open, however much is in it; what there is of each group is
//! counted in the background. Files are written aside and renamed, and believed only where their checksum
//! fits: after a crash, a full disk or a flipped bit a blob is as it was put, or it is not there. When
//! too much is there, the groups that were not used for the longest time go.
//!
//! ```
//! let dir = tempfile::tempdir().unwrap();
//! let store = disk_store::Store::open(disk_store::Settings {
//!     dir: dir.path().join("cache"),
//!     limit: 1 << 20,
//! });
//! let (group, key) = ([1; 32], [2; 32]);
//! assert!(store.put(&group, &key, &[b"head", b"body"]));
//! assert_eq!(store.get(&group, &key).unwrap(), b"headbody");
//! store.remove_group(&group);
//! assert!(store.get(&group, &key).is_none());
//! ```
//!
//! Calls block. Several processes may share a directory: each counts what it sees and writes itself.
#![deny(missing_docs)]

mod file;
mod layout;
mod scan;
mod table;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use file::{ReadError, room, room_of_value};
use layout::{Id, Layout};
use table::Table;

/// What names a group, or a blob within one: a hash of the caller's.
pub type Digest = [u8; 32];

/// Where a store lies, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory, made where it is not there; for this user alone.
    pub dir: PathBuf,
    /// Bytes on disk, of whole blocks.
    pub limit: u64,
}

/// The store. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Store(Result<Arc<Shared>, Arc<Problem>>);

/// What a store holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Bytes on disk, of whole blocks, as far as it is known.
    pub bytes: u64,
    /// Groups of which something is there.
    pub groups: u64,
    /// The most bytes.
    pub limit: u64,
    /// Bytes that were removed for want of room.
    pub evicted_bytes: u64,
    /// Groups of these.
    pub evicted_groups: u64,
    /// Blobs that were not kept: too large, or the disk refused.
    pub dropped: u64,
    /// Files that were found damaged, and removed.
    pub damaged: u64,
    /// Whether all that earlier processes left is counted.
    pub scanned: bool,
}

/// Of the limit, what one blob may take.
const LARGEST: u64 = 8;

/// When there is too much, so much of the limit is left.
const TENTHS_LEFT: u64 = 9;

/// After a failed write: nothing is tried, so that a full disk costs nothing.
const REST: Duration = Duration::from_secs(5);

/// Others may remove a directory while a file is being written into it, over and over.
const TRIES: u32 = 20;

/// How often failures are told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Problem {
    message: String,
    dropped: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    limit: u64,
    table: Mutex<Table>,
    is_evicting: AtomicBool,
    is_scanned: AtomicBool,
    failure: Mutex<Failure>,
    /// Groups that were to be removed and could not be: nothing of them is there any more.
    stuck: Mutex<HashSet<Id>>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Failure {
    rests_until: Option<Instant>,
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct Counts {
    evicted_bytes: AtomicU64,
    evicted_groups: AtomicU64,
    dropped: AtomicU64,
    damaged: AtomicU64,
}

impl Store {
    /// Opens a store. It never fails: one in a directory that cannot be used keeps nothing, and
    /// [`Store::problem`] says why.
    pub fn open(settings: Settings) -> Self {
        let Settings { dir, limit } = settings;
        let layout = match Layout::open(&dir) {
            Ok(layout) => layout,
            Err(error) => {
                let message = format!("{}: {error}", dir.display());
                return Self(Err(Arc::new(Problem { message, dropped: AtomicU64::new(0) })));
            }
        };
        let shared = Arc::new(Shared {
            layout,
            limit,
            table: Mutex::default(),
            is_evicting: AtomicBool::new(false),
            is_scanned: AtomicBool::new(false),
            failure: Mutex::default(),
            stuck: Mutex::default(),
            counts: Counts::default(),
        });
        let scanned = shared.clone();
        let begun = std::thread::Builder::new().name("disk-store".to_owned()).spawn(move || {
            scan::scan(&scanned);
            scanned.is_scanned.store(true, Relaxed);
            scanned.keep_within_limit();
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "what is kept on disk is not counted");
        }
        Self(Ok(shared))
    }

    /// Why nothing is kept.
    pub fn problem(&self) -> Option<&str> {
        self.0.as_ref().err().map(|problem| problem.message.as_str())
    }

    /// The blob that was put last, or none.
    pub fn get(&self, group: &Digest, key: &Digest) -> Option<Vec<u8>> {
        let shared = self.0.as_ref().ok()?;
        let (group, key) = shared.ids(group, key);
        if shared.is_stuck(&group) {
            return None;
        }
        let path = shared.layout.file(&group, &key);
        match file::read(&path, (&group, &key)) {
            Ok(value) => {
                shared.is_used(&group);
                Some(value)
            }
            Err(ReadError::Absent) => None,
            Err(ReadError::Damaged) => {
                shared.found_damaged();
                shared.remove_file(&group, &path);
                None
            }
            Err(ReadError::Io(error)) => {
                shared.tell(&error);
                None
            }
        }
    }

    /// How much [`Store::get`] would read, of what is there: no less than the blob has.
    pub fn length(&self, group: &Digest, key: &Digest) -> Option<u64> {
        let shared = self.0.as_ref().ok()?;
        let (group, key) = shared.ids(group, key);
        let is_there = !shared.is_stuck(&group);
        let meta = std::fs::symlink_metadata(shared.layout.file(&group, &key)).ok();
        meta.filter(|meta| is_there && meta.is_file()).map(|meta| meta.len())
    }

    /// Keeps a blob, given in parts. Whether it is kept: not if it is too large, or the disk refuses.
    pub fn put(&self, group: &Digest, key: &Digest, value: &[&[u8]]) -> bool {
        match &self.0 {
            Ok(shared) => {
                let kept = shared.put(group, key, value);
                if !kept {
                    shared.counts.dropped.fetch_add(1, Relaxed);
                }
                kept
            }
            Err(problem) => {
                problem.dropped.fetch_add(1, Relaxed);
                false
            }
        }
    }

    /// Removes a blob.
    pub fn remove(&self, group: &Digest, key: &Digest) {
        let Ok(shared) = &self.0 else { return };
        let (group, key) = shared.ids(group, key);
        shared.remove_file(&group, &shared.layout.file(&group, &key));
    }

    /// Removes all of a group.
    pub fn remove_group(&self, group: &Digest) {
        let Ok(shared) = &self.0 else { return };
        shared.remove_group(&shared.layout.group(group));
    }

    /// Removes everything.
    pub fn clear(&self) {
        let Ok(shared) = &self.0 else { return };
        // What is not counted, too.
        let root = shared.layout.root();
        let cleared = layout::remove_all(root).and_then(|()| layout::make(root));
        *shared.table() = Table::default();
        if let Err(error) = cleared {
            shared.tell(&error);
            scan::scan(shared);
        }
    }

    /// What it holds and has done.
    pub fn snapshot(&self) -> Snapshot {
        let shared = match &self.0 {
            Ok(shared) => shared,
            Err(problem) => {
                let dropped = problem.dropped.load(Relaxed);
                return Snapshot { dropped, scanned: true, ..Snapshot::default() };
            }
        };
        let (bytes, groups) = {
            let table = shared.table();
            (table.bytes(), table.groups())
        };
        let Counts { evicted_bytes, evicted_groups, dropped, damaged } = &shared.counts;
        Snapshot {
            bytes,
            groups,
            limit: shared.limit,
            evicted_bytes: evicted_bytes.load(Relaxed),
            evicted_groups: evicted_groups.load(Relaxed),
            dropped: dropped.load(Relaxed),
            damaged: damaged.load(Relaxed),
            scanned: shared.is_scanned.load(Relaxed),
        }
    }
}

impl Shared {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    fn ids(&self, group: &Digest, key: &Digest) -> (Id, Id) {
        (self.layout.group(group), self.layout.key(group, key))
    }

    fn put(&self, group: &Digest, key: &Digest, value: &[&[u8]]) -> bool {
        let more = room_of_value(value.iter().map(|part| part.len() as u64).sum());
        let (group, key) = self.ids(group, key);
        let path = self.layout.file(&group, &key);
        if more > self.limit / LARGEST || self.rests() || self.is_stuck(&group) {
            self.remove_file(&group, &path);
            return false;
        }
        let less = std::fs::symlink_metadata(&path).map_or(0, |meta| room(meta.len()));
        match self.write(&group, &key, value) {
            Ok(()) => {
                self.table().wrote(group, more, less, table::second(SystemTime::now()));
                self.keep_within_limit();
                true
            }
            Err(error) => {
                // What was there before is not what was put last.
                self.remove_file(&group, &path);
                // A directory that goes away again and again says nothing of the disk.
                if error.kind() != io::ErrorKind::NotFound {
                    self.rest();
                }
                self.tell(&error);
                false
            }
        }
    }

    fn write(&self, group: &Id, key: &Id, value: &[&[u8]]) -> io::Result<()> {
        let (dir, path) = (self.layout.group_dir(group), self.layout.file(group, key));
        let mut written = file::write(&dir, &path, (group, key), value);
        for _ in 0..TRIES {
            match &written {
                // Its first file; or it was evicted, or taken away, a moment ago.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = layout::make(&dir).and_then(|()| self.layout.keep_salt());
                    if let Err(error) = made
                        && error.kind() != io::ErrorKind::NotFound
                    {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    layout::remove_all(&path)?;
                }
                _ => break,
            }
            written = file::write(&dir, &path, (group, key), value);
        }
        written
    }

    fn is_used(&self, group: &Id) {
        let now = SystemTime::now();
        if self.table().used(group, table::second(now)) {
            // What is lost if it fails is when it was used.
            let dir = std::fs::File::open(self.layout.group_dir(group));
            let _ = dir.and_then(|dir| dir.set_modified(now));
        }
    }

    fn remove_file(&self, group: &Id, path: &std::path::Path) {
        let Ok(meta) = std::fs::symlink_metadata(path) else { return };
        let removed =
            if meta.is_dir() { layout::remove_all(path) } else { std::fs::remove_file(path) };
        if removed.is_ok() && meta.is_file() {
            self.table().removed(group, room(meta.len()));
        }
    }

    fn remove_group(&self, group: &Id) {
        self.table().take(group);
        if self.remove_taken(group).is_err() {
            lock(&self.stuck).insert(*group);
        }
    }

    /// Whether a group is one that was to be removed: what the disk refused is tried once more.
    fn is_stuck(&self, group: &Id) -> bool {
        if !lock(&self.stuck).contains(group) {
            return false;
        }
        self.table().take(group);
        let is_gone = self.remove_taken(group).is_ok();
        if is_gone {
            lock(&self.stuck).remove(group);
        }
        !is_gone
    }

    /// Removes a group that the table no longer counts.
    fn remove_taken(&self, group: &Id) -> io::Result<()> {
        let removed = layout::remove_all(&self.layout.group_dir(group));
        if let Err(error) = &removed {
            // Written to meanwhile, or refused: what is there is there.
            scan::count(self, *group);
            if error.kind() == io::ErrorKind::DirectoryNotEmpty {
                return Ok(());
            }
            self.tell(error);
        }
        removed
    }

    pub(crate) fn keep_within_limit(&self) {
        if self.table().bytes() <= self.limit || self.is_evicting.swap(true, Relaxed) {
            return;
        }
        let taken = self.table().take_oldest(self.limit / 10 * TENTHS_LEFT);
        for (group, bytes) in taken {
            // Refused: what is there is counted again.
            let _ = self.remove_taken(&group);
            self.counts.evicted_bytes.fetch_add(bytes, Relaxed);
            self.counts.evicted_groups.fetch_add(1, Relaxed);
        }
        self.is_evicting.store(false, Relaxed);
    }

    pub(crate) fn found_damaged(&self) {
        self.counts.damaged.fetch_add(1, Relaxed);
    }

    fn rest(&self) {
        lock(&self.failure).rests_until = Some(Instant::now() + REST);
    }

    fn rests(&self) -> bool {
        lock(&self.failure).rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Says what went wrong, now and then, without any name.
    fn tell(&self, error: &io::Error) {
        let mut failure = lock(&self.failure);
        let now = Instant::now();
        if failure.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY) {
            failure.told = Some(now);
            tracing::warn!(error = %error.kind(), "a cache on disk cannot be used as it should");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
