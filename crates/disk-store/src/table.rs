//! What is there, by group: how much it takes and when it was last used. Not by file, of which there may be
//! millions.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::file::BLOCK;
use crate::layout::Id;

/// Seconds since 1970, as far as 2106.
pub(crate) type Second = u32;

pub(crate) fn second(time: SystemTime) -> Second {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(since).unwrap_or(u32::MAX)
}

/// How often the disk is told that a group is used: what is lost of it is when, not whether, within that
/// time.
const MARKED_EVERY: Second = 3600;

#[derive(Debug, Default)]
pub(crate) struct Table {
    groups: HashMap<Id, Group>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// Of its files, in whole blocks.
    bytes: u64,
    used: Second,
    /// When the disk was told.
    marked: Second,
    /// How often it was written to, so that a count of its files can tell that it is out of date.
    writes: u32,
}

impl Table {
    /// A file of a group takes so much more, or less.
    pub(crate) fn wrote(&mut self, id: Id, more: u64, less: u64, now: Second) {
        if !self.groups.contains_key(&id) {
            self.bytes += BLOCK;
        }
        let group = self.groups.entry(id).or_default();
        let bytes = (group.bytes + more).saturating_sub(less);
        self.bytes = (self.bytes + bytes).saturating_sub(group.bytes);
        let writes = group.writes.wrapping_add(1);
        *group = Group { bytes, used: now, marked: now, writes };
    }

    /// A file of a group is gone.
    pub(crate) fn removed(&mut self, id: &Id, less: u64) {
        if let Some(group) = self.groups.get_mut(id) {
            let less = less.min(group.bytes);
            group.bytes -= less;
            self.bytes -= less;
            group.writes = group.writes.wrapping_add(1);
        }
    }

    /// A group was read from; whether the disk should be told.
    pub(crate) fn used(&mut self, id: &Id, now: Second) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        group.used = group.used.max(now);
        let is_due = now.saturating_sub(group.marked) >= MARKED_EVERY;
        if is_due {
            group.marked = now;
        }
        is_due
    }

    /// The writes to a group so far.
    pub(crate) fn writes(&self, id: &Id) -> Option<u32> {
        Some(self.groups.get(id)?.writes)
    }

    /// Files of a group were counted. Whether that is certain: it was not written to meanwhile.
    pub(crate) fn counted(
        &mut self,
        id: Id,
        bytes: u64,
        used: Second,
        before: Option<u32>,
    ) -> bool {
        let now_writes = self.writes(&id);
        let is_certain = now_writes == before;
        let old = self.groups.get(&id).copied();
        if old.is_none() {
            self.bytes += BLOCK;
        }
        let group = old.unwrap_or_default();
        // Too much does no harm to the bound.
        let bytes = if is_certain { bytes } else { bytes.max(group.bytes) };
        self.bytes = self.bytes + bytes - group.bytes;
        let used = group.used.max(used);
        self.groups.insert(id, Group { bytes, used, marked: group.marked.max(used), ..group });
        is_certain
    }

    /// Takes a group off.
    pub(crate) fn take(&mut self, id: &Id) -> u64 {
        let Some(group) = self.groups.remove(id) else { return 0 };
        self.bytes -= group.bytes + BLOCK;
        group.bytes + BLOCK
    }

    /// Takes off the groups that were not used for the longest time, until no more than so much is there.
    pub(crate) fn take_oldest(&mut self, until: u64) -> Vec<(Id, u64)> {
        let mut by_age: Vec<(Second, Id)> =
            self.groups.iter().map(|(id, g)| (g.used, *id)).collect();
        by_age.sort_unstable();
        let mut taken = Vec::new();
        for (_, id) in by_age {
            if self.bytes <= until {
                break;
            }
            taken.push((id, self.take(&id)));
        }
        taken
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn groups(&self) -> u64 {
        self.groups.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        [n; 16]
    }

    #[test]
    fn the_oldest_leave_first() {
        let mut table = Table::default();
        for n in 0..4 {
            table.wrote(id(n), 4096, 0, u32::from(n));
        }
        assert_eq!((table.bytes(), table.groups()), (4 * 8192, 4));
        assert!(!table.used(&id(0), 10));
        let taken: Vec<u8> = table.take_oldest(2 * 8192).iter().map(|(id, _)| id[0]).collect();
        assert_eq!(taken, [1, 2]);
        assert_eq!((table.bytes(), table.groups()), (2 * 8192, 2));
    }

    #[test]
    fn the_disk_is_told_once_an_hour() {
        let mut table = Table::default();
        table.wrote(id(1), 1, 0, 1000);
        let told: Vec<bool> =
            [1001, 4599, 4600, 4601, 9000].map(|now| table.used(&id(1), now)).into();
        assert_eq!(told, [false, false, true, false, true]);
        // A clock that was set back.
        assert!(!table.used(&id(1), 5));
    }

    #[test]
    fn a_count_is_certain_unless_it_was_written_to_meanwhile() {
        let mut table = Table::default();
        assert!(table.counted(id(1), 8192, 5, None));
        assert_eq!(table.bytes(), 8192 + BLOCK);
        let before = table.writes(&id(1));
        table.wrote(id(1), 4096, 0, 6);
        assert!(!table.counted(id(1), 8192, 5, before));
        assert_eq!(table.bytes(), 12288 + BLOCK);
        let before = table.writes(&id(1));
        assert!(table.counted(id(1), 4096, 5, before));
        assert_eq!((table.bytes(), table.take(&id(1))), (8192, 8192));
        assert_eq!(table.bytes(), 0);
    }
}
