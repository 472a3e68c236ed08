//! What earlier processes have left: counted in the background, while everything is found by its path
//! already.

use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::Shared;
use crate::file::{ASIDE, room};
use crate::layout::{Id, id_of, remove_all};
use crate::table::{Second, second};

/// A file that is being written is younger than that, by whatever process.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// Counts of a group that is written to all the time.
const TRIES: u32 = 3;

/// Counts all groups, and removes what is none of ours.
pub(crate) fn scan(shared: &Shared) {
    for shard in entries(shared.layout.root()) {
        let name = shard.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.len() == 2) && is_dir(&shard);
        if !is_ours {
            let _ = remove_all(&shard.path());
            continue;
        }
        for group in entries(&shard.path()) {
            let whole = format!("{}{}", name.display(), group.file_name().display());
            match id_of(&whole).filter(|_| is_dir(&group)) {
                Some(id) => count(shared, id),
                None => drop(remove_all(&group.path())),
            }
        }
        shared.keep_within_limit();
    }
}

/// Counts the files of a group.
pub(crate) fn count(shared: &Shared, id: Id) {
    for _ in 0..TRIES {
        let before = shared.table().writes(&id);
        let Some((bytes, used)) = counted(shared, &shared.layout.group_dir(&id)) else { return };
        if shared.table().counted(id, bytes, used, before) {
            return;
        }
    }
}

/// What the files of a directory take, and when it was last used; nothing of one that is not there.
fn counted(shared: &Shared, dir: &Path) -> Option<(u64, Second)> {
    let now = SystemTime::now();
    let used = fs::symlink_metadata(dir).ok()?.modified().unwrap_or(now);
    let mut bytes = 0;
    for file in entries(dir) {
        let name = file.file_name();
        let Ok(meta) = file.metadata() else { continue };
        let is_named_so = name.to_str().is_some_and(|name| id_of(name).is_some());
        if is_named_so && !meta.is_file() {
            shared.found_damaged();
        }
        if is_named_so && meta.is_file() {
            bytes += room(meta.len());
        } else if !is_being_written(&name.display().to_string(), &meta, now) {
            let _ =
                if meta.is_dir() { remove_all(&file.path()) } else { fs::remove_file(file.path()) };
        }
    }
    // A clock that was ahead is not to keep it for ever.
    Some((bytes, second(used.min(now))))
}

fn is_being_written(name: &str, meta: &fs::Metadata, now: SystemTime) -> bool {
    let age = meta.modified().ok().and_then(|at| now.duration_since(at).ok());
    name.starts_with(ASIDE) && meta.is_file() && age.is_some_and(|age| age < WRITTEN_WITHIN)
}

fn is_dir(entry: &DirEntry) -> bool {
    // Not of what a link leads to.
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}
