//! How long what is kept may be shown (RFC 9111 §4.2, RFC 5861).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A millisecond of the wall clock since 1970: what is kept outlives this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Before all others.
    pub(crate) fn never() -> Self {
        Self(0)
    }

    /// How long ago it was; nothing where the clock has jumped and it lies ahead.
    pub(crate) fn age(self, now: Self) -> Option<Duration> {
        now.0.checked_sub(self.0).map(Duration::from_millis)
    }

    /// No age, of what another node's clock has put a little ahead.
    fn is_nearly(self, now: Self) -> Option<Duration> {
        (self.0 <= now.0.saturating_add(APART)).then_some(Duration::ZERO)
    }
}

/// Clocks of nodes that share what they keep may differ by so much.
const APART: u64 = 2_000;

/// How long what is kept may be shown, as configured.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Without asking the archive: an object.
    cache_ttl: Duration,
    /// The same: which image stands for a study or a series that may grow.
    index_ttl: Duration,
    /// After that, while it is asked.
    while_revalidate: Duration,
    /// While it cannot be asked.
    if_error: Duration,
    /// What was checked before this moment is shown, but checked anew.
    distrusted_before: AtomicU64,
}

/// What may be done with something that is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Freshness {
    /// Shown.
    Fresh,
    /// Shown, and renewed meanwhile.
    Renewable,
    /// Shown if the archive cannot be asked.
    Fallback,
    /// Not shown.
    Over,
}

/// Something kept, seen at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) freshness: Freshness,
    /// How long ago the archive was asked.
    pub(crate) age: Duration,
    /// Seconds for which it is fresh; below 0 since when it is not (RFC 9211 §2.2).
    pub(crate) ttl: i64,
}

/// A study that has just changed will change again: what stands for it is trusted for half as long as it
/// has been so (a heuristic as of RFC 9111 §4.2.2).
const OF_ITS_AGE: u32 = 2;

/// What has stood for so long without a change is shown while it is looked up again.
const SETTLED: Duration = Duration::from_secs(600);

impl Terms {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            cache_ttl: config.cache_ttl,
            index_ttl: config.index_ttl,
            while_revalidate: config.stale_while_revalidate,
            if_error: config.stale_if_error,
            distrusted_before: AtomicU64::new(0),
        }
    }

    /// How long what was just asked of the archive is fresh.
    pub(crate) fn lifetime(&self, of_collection: bool) -> Duration {
        if of_collection { self.index_ttl } else { self.cache_ttl }
    }

    /// Something may have changed that is not known: all that was checked before is checked anew.
    pub(crate) fn distrust_before(&self, moment: Moment) {
        self.distrusted_before.fetch_max(moment.0, Relaxed);
    }

    /// An object that was as it is when it was last checked.
    pub(crate) fn of_object(&self, checked: Moment, now: Moment) -> Seen {
        self.seen(checked, now, self.cache_ttl, self.while_revalidate)
    }

    /// What stands for a study or a series, unchanged since a moment.
    pub(crate) fn of_collection(&self, since: Moment, checked: Moment, now: Moment) -> Seen {
        let unchanged = since.age(checked).unwrap_or_default();
        let most = self.cache_ttl.max(self.index_ttl);
        let lifetime = (unchanged / OF_ITS_AGE).clamp(self.index_ttl, most);
        // One that still arrives is looked up before it is shown again, which takes one search.
        let meanwhile = if unchanged < SETTLED { Duration::ZERO } else { self.while_revalidate };
        self.seen(checked, now, lifetime, meanwhile)
    }

    /// A moment that was told while the clock was ahead must not hold until that time comes: then nothing
    /// would be trusted for as long.
    fn distrusted_before(&self, now: Moment) -> Moment {
        let before = self.distrusted_before.load(Relaxed);
        if before > now.0.saturating_add(AHEAD) {
            return Moment(self.distrusted_before.fetch_min(now.0, Relaxed).min(now.0));
        }
        Moment(before)
    }

    fn seen(&self, checked: Moment, now: Moment, lifetime: Duration, meanwhile: Duration) -> Seen {
        let Some(age) = checked.age(now).or_else(|| checked.is_nearly(now)) else {
            // The clock was set back: how old it is cannot be told.
            return Seen { freshness: Freshness::Renewable, age: Duration::ZERO, ttl: 0 };
        };
        let is_distrusted = checked < self.distrusted_before(now);
        let lifetime = if is_distrusted { lifetime.min(age) } else { lifetime };
        let freshness = if age < lifetime {
            Freshness::Fresh
        } else if age < lifetime.saturating_add(meanwhile) {
            Freshness::Renewable
        } else if age < lifetime.saturating_add(self.if_error) {
            Freshness::Fallback
        } else {
            Freshness::Over
        };
        Seen { freshness, age, ttl: seconds(lifetime).saturating_sub(seconds(age)) }
    }
}

/// What a moment may lie ahead by without the clock having been set back: it is seen before or after.
const AHEAD: u64 = 60_000;

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Seen {
    /// The same some time later.
    pub(crate) fn later(self, by: Duration) -> Self {
        Self { age: self.age.saturating_add(by), ttl: self.ttl.saturating_sub(seconds(by)), ..self }
    }

    /// Of two that a picture depends on: the worse, the older.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            freshness: self.freshness.max(other.freshness),
            age: self.age.max(other.age),
            ttl: self.ttl.min(other.ttl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    /// After so many seconds.
    fn moment(seconds: u64) -> Moment {
        Moment(seconds.saturating_mul(1000))
    }

    fn terms() -> Terms {
        Terms {
            cache_ttl: Duration::from_secs(HOUR),
            index_ttl: Duration::from_secs(10),
            while_revalidate: Duration::from_secs(24 * HOUR),
            if_error: Duration::from_secs(240 * HOUR),
            distrusted_before: AtomicU64::new(0),
        }
    }

    fn object(age: u64) -> Freshness {
        let now = 1_000_000_000;
        terms().of_object(moment(now - age), moment(now)).freshness
    }

    #[test]
    fn an_object_is_fresh_then_renewed_then_a_fallback() {
        assert_eq!(object(0), Freshness::Fresh);
        assert_eq!(object(HOUR - 1), Freshness::Fresh);
        assert_eq!(object(HOUR), Freshness::Renewable);
        assert_eq!(object(25 * HOUR), Freshness::Fallback);
        assert_eq!(object(241 * HOUR), Freshness::Over);
    }

    #[test]
    fn a_clock_of_another_node_may_be_a_little_ahead() {
        let at = |ahead| terms().of_object(Moment(1_000_000 + ahead), Moment(1_000_000));
        assert_eq!((at(APART).freshness, at(APART).age), (Freshness::Fresh, Duration::ZERO));
        assert_eq!(at(APART + 1).freshness, Freshness::Renewable);
    }

    #[test]
    fn what_is_distrusted_is_renewed_and_what_is_checked_since_is_fresh() {
        let (terms, now) = (terms(), moment(1_000_000));
        terms.distrust_before(moment(999_990));
        assert_eq!(terms.of_object(moment(999_980), now).freshness, Freshness::Renewable);
        assert_eq!(terms.of_object(moment(999_990), now).freshness, Freshness::Fresh);
    }

    #[test]
    fn a_clock_that_jumps_makes_it_older_or_to_be_checked_and_nothing_else() {
        let seen = terms().of_object(moment(2_000_000_000), moment(1_000_000_000));
        assert_eq!((seen.freshness, seen.age), (Freshness::Renewable, Duration::ZERO));
        let seen = terms().of_object(moment(0), moment(u64::MAX));
        assert_eq!(seen.freshness, Freshness::Over);
        let seen = terms().of_collection(moment(9), moment(5), moment(6));
        assert_eq!(seen.freshness, Freshness::Fresh);
    }

    #[test]
    fn what_was_distrusted_while_the_clock_was_ahead_is_trusted_once_it_is_checked() {
        let (terms, now) = (terms(), 1_000_000);
        terms.distrust_before(moment(2_000_000_000));
        let at = |checked, now| terms.of_object(moment(checked), moment(now)).freshness;
        assert_eq!(at(now - 1, now), Freshness::Renewable);
        assert_eq!(at(now, now + 1), Freshness::Fresh);
        assert_eq!(at(now - 1, now + 1), Freshness::Renewable);
        // What was checked while it was ahead cannot be told from what will be.
        assert_eq!(at(1_999_999_999, now), Freshness::Renewable);
    }

    #[test]
    fn no_moments_and_no_times_are_too_large_to_be_told() {
        let terms = Terms {
            cache_ttl: Duration::MAX,
            index_ttl: Duration::MAX,
            while_revalidate: Duration::MAX,
            if_error: Duration::MAX,
            distrusted_before: AtomicU64::new(0),
        };
        for (since, checked, now) in [
            (0, 0, u64::MAX),
            (u64::MAX, 0, u64::MAX),
            (u64::MAX, u64::MAX, u64::MAX),
            (0, u64::MAX, 0),
        ] {
            let [since, checked, now] = [since, checked, now].map(moment);
            let seen = terms.of_collection(since, checked, now).and(terms.of_object(checked, now));
            assert_ne!(seen.freshness, Freshness::Over, "{seen:?}");
            terms.distrust_before(moment(u64::MAX));
            terms.of_object(checked, now);
        }
    }

    #[test]
    fn a_listing_from_before_the_clock_was_set_back_is_shown_and_checked() {
        // It was ahead when the study was seen for the first time, and no more when it was checked.
        let seen = terms().of_collection(moment(2_000_000), moment(1_000_000), moment(1_000_005));
        assert_eq!((seen.freshness, seen.ttl), (Freshness::Fresh, 5));
        let seen = terms().of_collection(moment(2_000_000), moment(2_000_000), moment(1_000_000));
        assert_eq!(seen.freshness, Freshness::Renewable);
    }

    #[test]
    fn what_has_just_changed_is_looked_up_soon_and_what_has_not_is_trusted() {
        let at = |since, checked, now| {
            let seen = terms().of_collection(moment(since), moment(checked), moment(now));
            (seen.freshness, seen.ttl)
        };
        assert_eq!(at(1000, 1000, 1009), (Freshness::Fresh, 1));
        assert_eq!(at(1000, 1000, 1010), (Freshness::Fallback, 0));
        assert_eq!(at(1000, 1100, 1149), (Freshness::Fresh, 1));
        assert_eq!(at(1000, 1100, 1150), (Freshness::Fallback, 0));
        assert_eq!(at(0, 1000, 1500), (Freshness::Renewable, 0));
        assert_eq!(at(0, 100 * HOUR, 100 * HOUR + 5), (Freshness::Fresh, 3595));
    }

    #[test]
    fn a_picture_is_as_fresh_as_the_worse_of_what_it_depends_on() {
        let seen = |freshness, age, ttl| Seen { freshness, age: Duration::from_secs(age), ttl };
        let both = seen(Freshness::Fresh, 100, 3500).and(seen(Freshness::Fresh, 4, 6));
        assert_eq!(both, seen(Freshness::Fresh, 100, 6));
        let stale = seen(Freshness::Renewable, 50, -40).and(seen(Freshness::Fresh, 4, 6));
        assert_eq!(stale, seen(Freshness::Renewable, 50, -40));
    }
}
