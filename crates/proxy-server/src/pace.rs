//! Which way an archive hands out objects faster, measured and remembered: a small one whole, or metadata and
//! frame together; one of unknown size by these together, or one after the other (which spares a frame
//! that is not wanted, at the price of a round trip).
//!
//! And whether an object of which nothing is known may be asked for whole: where all that this archive was
//! asked for turned out to be small.

use std::sync::Mutex;
use std::time::Duration;

/// How an object is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The instance.
    Whole,
    /// Metadata and a frame, at the same time.
    Together,
    /// Metadata, then the frame that they tell.
    InSteps,
}

/// What is known of the size of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    /// So many bytes, as cells.
    Known(u64),
    Unknown,
}

impl Size {
    /// The ways to choose from. The second is tried first.
    fn ways(self) -> [Way; 2] {
        match self {
            Self::Known(_) => [Way::Together, Way::Whole],
            Self::Unknown => [Way::InSteps, Way::Together],
        }
    }

    fn slot(self) -> usize {
        match self {
            Self::Known(bytes) => SIZES.iter().take_while(|&&limit| bytes > limit).count(),
            Self::Unknown => SIZES.len() + 1,
        }
    }
}

/// Measurements of each way before one is preferred.
const ENOUGH: u32 = 3;

/// The way that is not preferred is taken once in so many fetches: archives change.
const EXPLORED: u32 = 32;

/// The weight of the newest measurement.
const WEIGHT: f64 = 0.2;

/// Bytes of cells that separate the sizes: the price of a call and that of a byte differ.
const SIZES: [u64; 2] = [1 << 20, 8 << 20];

/// Small objects in a row after which unknown ones are taken to be small, too; four times as many after
/// each that was not.
const HABIT: u32 = 2;

#[derive(Debug)]
pub(crate) struct Pace {
    slots: Mutex<[Slot; SIZES.len() + 2]>,
    habit: Mutex<Habit>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    averages: [Average; 2],
    fetches: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Average {
    seconds: f64,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Habit {
    small_in_a_row: u32,
    needed: u32,
}

impl Default for Pace {
    fn default() -> Self {
        let habit = Habit { small_in_a_row: 0, needed: HABIT };
        Self { slots: Mutex::default(), habit: Mutex::new(habit) }
    }
}

impl Pace {
    /// The way to fetch an object.
    pub(crate) fn choose(&self, size: Size) -> Way {
        let mut slots = lock(&self.slots);
        let slot = &mut slots[size.slot()];
        slot.fetches = slot.fetches.wrapping_add(1);
        let best = slot.best();
        let way = if slot.fetches.is_multiple_of(EXPLORED) { 1 - best } else { best };
        size.ways()[way]
    }

    /// How long it took.
    pub(crate) fn learn(&self, size: Size, way: Way, took: Duration) {
        if let Some(way) = size.ways().iter().position(|&known| known == way) {
            lock(&self.slots)[size.slot()].averages[way].add(took.as_secs_f64());
        }
    }

    /// Whether an object of which nothing is known is probably small.
    pub(crate) fn is_used_to_small_objects(&self) -> bool {
        let habit = lock(&self.habit);
        habit.small_in_a_row >= habit.needed
    }

    /// What an object turned out to be.
    pub(crate) fn met(&self, is_small: bool) {
        let mut habit = lock(&self.habit);
        if is_small {
            habit.small_in_a_row = habit.small_in_a_row.saturating_add(1);
        } else {
            *habit = Habit { small_in_a_row: 0, needed: habit.needed.saturating_mul(4) };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Slot {
    /// The place of the better way.
    fn best(&self) -> usize {
        let [first, second] = self.averages;
        match (first.count, second.count) {
            (first, second) if second < ENOUGH && second <= first => 1,
            (first, _) if first < ENOUGH => 0,
            _ => usize::from(second.seconds <= first.seconds),
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
    fn chosen(pace: &Pace, size: Size, milliseconds: [u64; 3], fetches: usize) -> Vec<Way> {
        (0..fetches)
            .map(|_| {
                let way = pace.choose(size);
                let took = milliseconds[way as usize];
                pace.learn(size, way, Duration::from_millis(took));
                way
            })
            .collect()
    }

    const CT: Size = Size::Known(500_000);

    #[test]
    fn the_faster_way_is_found_and_kept() {
        for (size, milliseconds, best) in [
            (CT, [2, 5, 9], Way::Whole),
            (CT, [5, 2, 1], Way::Together),
            (Size::Unknown, [1, 5, 3], Way::InSteps),
            (Size::Unknown, [1, 5, 9], Way::Together),
        ] {
            let ways = chosen(&Pace::default(), size, milliseconds, 100);
            let taken = ways.iter().filter(|&&way| way == best).count();
            assert!(taken >= 93, "{best:?}: {taken}");
        }
    }

    #[test]
    fn of_unknown_objects_metadata_and_frame_are_asked_for_together_at_first() {
        assert_eq!(Pace::default().choose(Size::Unknown), Way::Together);
    }

    #[test]
    fn an_archive_that_changes_is_found_out() {
        let pace = Pace::default();
        chosen(&pace, CT, [2, 5, 0], 100);
        let ways = chosen(&pace, CT, [50, 5, 0], 100);
        assert!(ways[50..].iter().filter(|&&way| way == Way::Together).count() >= 45, "{ways:?}");
    }

    #[test]
    fn sizes_are_measured_apart() {
        let (pace, large) = (Pace::default(), Size::Known(20 << 20));
        chosen(&pace, CT, [2, 5, 0], 20);
        chosen(&pace, large, [50, 5, 0], 20);
        assert_eq!((pace.choose(CT), pace.choose(large)), (Way::Whole, Way::Together));
    }

    #[test]
    fn small_objects_in_a_row_make_a_habit_that_a_large_one_ends() {
        let pace = Pace::default();
        let small = |count: u32| (0..count).for_each(|_| pace.met(true));
        small(1);
        assert!(!pace.is_used_to_small_objects());
        small(1);
        assert!(pace.is_used_to_small_objects());
        pace.met(false);
        small(7);
        assert!(!pace.is_used_to_small_objects());
        small(1);
        assert!(pace.is_used_to_small_objects());
    }
}
