//! Which way an archive hands out small objects faster: whole, or metadata and frame together. Measured,
//! and remembered for each size of object, since the price of a call and that of a byte differ.

use std::sync::Mutex;
use std::time::Duration;

/// How an object is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The instance.
    Whole,
    /// Metadata and a frame, at the same time.
    Parts,
}

impl Way {
    fn other(self) -> Self {
        match self {
            Self::Whole => Self::Parts,
            Self::Parts => Self::Whole,
        }
    }
}

/// Measurements of each way before one is preferred.
const ENOUGH: u32 = 3;

/// The way that is not preferred is taken once in so many fetches: archives change.
const EXPLORED: u32 = 32;

/// The weight of the newest measurement.
const WEIGHT: f64 = 0.2;

/// Bytes of uncompressed pixels that separate the sizes.
const SIZES: [u64; 2] = [1 << 20, 8 << 20];

#[derive(Debug, Default)]
pub(crate) struct Pace {
    of_sizes: Mutex<[OfSize; SIZES.len() + 1]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfSize {
    whole: Average,
    parts: Average,
    fetches: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Average {
    seconds: f64,
    count: u32,
}

impl Pace {
    /// The way to fetch an object of so many bytes.
    pub(crate) fn choose(&self, bytes: u64) -> Way {
        self.with(bytes, |of_size| {
            of_size.fetches = of_size.fetches.wrapping_add(1);
            let best = of_size.best();
            if of_size.fetches.is_multiple_of(EXPLORED) { best.other() } else { best }
        })
    }

    /// How long it took.
    pub(crate) fn learn(&self, bytes: u64, way: Way, took: Duration) {
        self.with(bytes, |of_size| of_size.average(way).add(took.as_secs_f64()));
    }

    fn with<T>(&self, bytes: u64, change: impl FnOnce(&mut OfSize) -> T) -> T {
        let size = SIZES.iter().take_while(|&&limit| bytes > limit).count();
        let mut of_sizes = self.of_sizes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut of_sizes[size])
    }
}

impl OfSize {
    fn best(&self) -> Way {
        match (self.whole.count, self.parts.count) {
            (whole, parts) if whole < ENOUGH && whole <= parts => Way::Whole,
            (_, parts) if parts < ENOUGH => Way::Parts,
            _ if self.parts.seconds < self.whole.seconds => Way::Parts,
            _ => Way::Whole,
        }
    }

    fn average(&mut self, way: Way) -> &mut Average {
        match way {
            Way::Whole => &mut self.whole,
            Way::Parts => &mut self.parts,
        }
    }
}

impl Average {
    fn add(&mut self, seconds: f64) {
        self.count = self.count.saturating_add(1);
        // The first ones count alike, so that a slow start is soon forgotten.
        let weight = WEIGHT.max(1.0 / f64::from(self.count));
        self.seconds += weight * (seconds - self.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ways chosen of an archive that takes so many milliseconds for each.
    fn chosen(pace: &Pace, bytes: u64, whole: u64, parts: u64, fetches: usize) -> Vec<Way> {
        (0..fetches)
            .map(|_| {
                let way = pace.choose(bytes);
                let took = if way == Way::Whole { whole } else { parts };
                pace.learn(bytes, way, Duration::from_millis(took));
                way
            })
            .collect()
    }

    #[test]
    fn the_faster_way_is_found_and_kept() {
        for (whole, parts, best) in [(2, 5, Way::Whole), (5, 2, Way::Parts)] {
            let ways = chosen(&Pace::default(), 500_000, whole, parts, 100);
            let taken = ways.iter().filter(|&&way| way == best).count();
            assert!(taken >= 93, "{taken}");
        }
    }

    #[test]
    fn an_archive_that_changes_is_found_out() {
        let pace = Pace::default();
        chosen(&pace, 500_000, 2, 5, 100);
        let ways = chosen(&pace, 500_000, 50, 5, 100);
        assert!(ways[50..].iter().filter(|&&way| way == Way::Parts).count() >= 45, "{ways:?}");
    }

    #[test]
    fn sizes_are_measured_apart() {
        let pace = Pace::default();
        chosen(&pace, 500_000, 2, 5, 20);
        chosen(&pace, 20 << 20, 50, 5, 20);
        assert_eq!((pace.choose(500_000), pace.choose(20 << 20)), (Way::Whole, Way::Parts));
    }
}
