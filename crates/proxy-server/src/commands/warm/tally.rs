//! What came of all thumbnails.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::progress::Progress;

/// Reasons of one kind of failure that are kept to be shown.
const EXAMPLES: usize = 3;

/// What came of all so far, and how many are known to come.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    made: u64,
    renewed: u64,
    there: u64,
    failed: u64,
    failures: BTreeMap<String, Failures>,
    /// Thumbnails that were found.
    found: u64,
    /// Those that are said to be in studies, and were not found yet.
    ahead: u64,
    /// Studies of which nobody said how much is in them, and that were not looked into yet.
    of_unknown_size: u64,
    all_studies_are_known: bool,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    examples: Vec<String>,
}

/// What came of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Done {
    Made,
    /// The proxy had it, for so long that it asked the archive whether anything has changed.
    Renewed,
    /// The proxy had it.
    There,
}

/// How many thumbnails a study is said to have beyond those that were found.
#[derive(Debug)]
pub(super) struct Ahead(Option<u64>);

impl Tally {
    pub(super) fn is_empty(&self) -> bool {
        self.lock().done() == 0
    }

    pub(super) fn progress(&self) -> Progress {
        let all = self.lock();
        let is_known = all.all_studies_are_known && all.of_unknown_size == 0;
        Progress {
            done: all.done(),
            of: is_known.then_some(all.found + all.ahead),
            failed: all.failed,
        }
    }

    /// A study was listed; `said` is how many thumbnails there should be of it.
    pub(super) fn lists(&self, said: Option<u64>) -> Ahead {
        let mut all = self.lock();
        match said {
            Some(said) => all.ahead += said,
            None => all.of_unknown_size += 1,
        }
        Ahead(said)
    }

    pub(super) fn has_listed_all(&self) {
        self.lock().all_studies_are_known = true;
    }

    /// So many thumbnails were found in a study.
    pub(super) fn found(&self, thumbnails: u64, ahead: &mut Ahead) {
        let mut all = self.lock();
        all.found += thumbnails;
        if let Some(left) = &mut ahead.0 {
            let expected = thumbnails.min(*left);
            *left -= expected;
            all.ahead -= expected;
        }
    }

    /// All that is in a study was found.
    pub(super) fn has_found_all(&self, ahead: Ahead) {
        let mut all = self.lock();
        match ahead.0 {
            Some(left) => all.ahead -= left,
            None => all.of_unknown_size -= 1,
        }
    }

    pub(super) fn done(&self, done: Done) {
        let mut all = self.lock();
        match done {
            Done::Made => all.made += 1,
            Done::Renewed => all.renewed += 1,
            Done::There => all.there += 1,
        }
    }

    pub(super) fn failed(&self, kind: &str, reason: String) {
        let mut all = self.lock();
        all.failed += 1;
        let failures = all.failures.entry(kind.to_owned()).or_default();
        failures.count += 1;
        if failures.examples.len() < EXAMPLES && !failures.examples.contains(&reason) {
            failures.examples.push(reason);
        }
    }

    pub(super) fn summary(&self, elapsed: Duration) -> String {
        let all = self.lock();
        let parts = [
            (all.made, "made"),
            (all.renewed, "renewed"),
            (all.there, "there already"),
            (all.failed, "failed"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let mut text = format!("{} thumbnails in {:.1} s", all.done(), elapsed.as_secs_f64());
        if !parts.is_empty() {
            text.push_str(&format!(": {}", parts.join(", ")));
        }
        text.push('\n');
        for (kind, Failures { count, examples }) in &all.failures {
            text.push_str(&format!("{kind} ({count}):\n"));
            for example in examples {
                text.push_str(&format!("  {example}\n"));
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn done(&self) -> u64 {
        self.made + self.renewed + self.there + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_came_of_all_and_why_some_failed() {
        let tally = Tally::default();
        assert!(tally.is_empty());
        assert_eq!(tally.summary(Duration::ZERO), "0 thumbnails in 0.0 s\n");
        tally.done(Done::Made);
        tally.done(Done::Made);
        tally.done(Done::There);
        tally.done(Done::Renewed);
        for reason in ["a", "a", "b", "c", "d"] {
            tally.failed("500 Internal Server Error", reason.to_owned());
        }
        tally.failed("404 Not Found", "nothing there".to_owned());
        assert_eq!(
            tally.summary(Duration::from_millis(1250)),
            "10 thumbnails in 1.2 s: 2 made, 1 renewed, 1 there already, 6 failed\n\
             404 Not Found (1):\n  nothing there\n\
             500 Internal Server Error (5):\n  a\n  b\n  c\n"
        );
    }

    #[test]
    fn how_many_there_are_is_known_once_every_study_is() {
        let tally = Tally::default();
        let of = || tally.progress().of;
        let (mut first, mut second) = (tally.lists(Some(10)), tally.lists(None));
        tally.has_listed_all();
        assert_eq!(of(), None);
        tally.found(3, &mut second);
        tally.has_found_all(second);
        assert_eq!(of(), Some(13));
        // More are found than the archive said, or fewer.
        tally.found(12, &mut first);
        assert_eq!(of(), Some(15));
        tally.has_found_all(first);
        let mut third = tally.lists(Some(4));
        tally.found(1, &mut third);
        assert_eq!(of(), Some(19));
        tally.has_found_all(third);
        assert_eq!(of(), Some(16));
    }
}
