//! What waits, and whose turn it is.
//!
//! A task's turn is the moment it came at, put off by what it is: one that nobody looks at yet (bulk,
//! warm-up) by seconds, one that takes much by less. So the urgent and the small go first, and nothing starves:
//! whatever waits is overtaken only by what came within that time after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::room::{Room, Weight};

/// Who waits for a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Somebody who looks at a screen.
    Interactive,
    /// Nobody yet.
    Bulk,
}

impl Class {
    fn delay(self) -> Duration {
        match self {
            Self::Interactive => Duration::ZERO,
            Self::Bulk => Duration::from_secs(5),
        }
    }
}

impl Weight {
    fn delay(self) -> Duration {
        match self {
            Self::Light => Duration::ZERO,
            Self::Heavy => Duration::from_millis(500),
        }
    }
}

/// Which tasks a worker takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    All,
    /// Small pictures, however many large ones are being drawn.
    LightOnly,
}

/// Where a task stands: its turn, and a number that makes it the only one there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Turn(Instant, u64);

/// Tasks that wait.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    light: BTreeMap<Turn, (u64, T)>,
    heavy: BTreeMap<Turn, (u64, T)>,
    count: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { light: BTreeMap::new(), heavy: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.light.len() + self.heavy.len()
    }

    /// Puts a task in that takes so many bytes.
    pub(crate) fn push(&mut self, task: T, need: u64, class: Class, came: Instant) -> Turn {
        let weight = Weight::of(need);
        self.count += 1;
        let turn = Turn(came + class.delay() + weight.delay(), self.count);
        self.of(weight).insert(turn, (need, task));
        turn
    }

    /// The next task for which there is room, with what it takes.
    pub(crate) fn pop(&mut self, lane: Lane, room: &Room) -> Option<(u64, T)> {
        let heavy_waits = !self.heavy.is_empty();
        let next = |waiting: &BTreeMap<Turn, (u64, T)>| {
            let (&turn, &(need, _)) = waiting.first_key_value()?;
            room.fits(need, heavy_waits).then_some(turn)
        };
        let light = next(&self.light);
        let heavy = if lane == Lane::All { next(&self.heavy) } else { None };
        let weight = match (light, heavy) {
            (Some(light), Some(heavy)) if heavy < light => Weight::Heavy,
            (Some(_), _) => Weight::Light,
            (None, Some(_)) => Weight::Heavy,
            (None, None) => return None,
        };
        self.of(weight).pop_first().map(|(_, task)| task)
    }

    /// Takes a task out that is still here.
    pub(crate) fn remove(&mut self, turn: Turn) -> Option<T> {
        let found = self.light.remove(&turn).or_else(|| self.heavy.remove(&turn));
        found.map(|(_, task)| task)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let all = [std::mem::take(&mut self.light), std::mem::take(&mut self.heavy)];
        all.into_iter().flat_map(BTreeMap::into_values).map(|(_, task)| task).collect()
    }

    fn of(&mut self, weight: Weight) -> &mut BTreeMap<Turn, (u64, T)> {
        match weight {
            Weight::Light => &mut self.light,
            Weight::Heavy => &mut self.heavy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: u64 = 1 << 20;
    const LARGE: u64 = 100 << 20;

    fn names(queue: &mut Queue<&'static str>, lane: Lane, room: &Room) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop(lane, room)).map(|(_, name)| name).collect()
    }

    #[test]
    fn the_urgent_and_the_small_go_first_and_nothing_starves() {
        let (mut queue, room, now) = (Queue::new(), Room::new(1 << 30), Instant::now());
        let later = |ms| now + Duration::from_millis(ms);
        queue.push("bulk", SMALL, Class::Bulk, now);
        queue.push("large", LARGE, Class::Interactive, now);
        queue.push("small soon", SMALL, Class::Interactive, later(400));
        queue.push("small later", SMALL, Class::Interactive, later(600));
        queue.push("much later", SMALL, Class::Interactive, later(5001));
        let order = names(&mut queue, Lane::All, &room);
        assert_eq!(order, ["small soon", "large", "small later", "bulk", "much later"]);
    }

    #[test]
    fn what_there_is_no_room_for_holds_up_nothing_small() {
        let (mut queue, mut room, now) = (Queue::new(), Room::new(120 << 20), Instant::now());
        room.take(LARGE);
        queue.push("large", LARGE, Class::Interactive, now);
        queue.push("small", SMALL, Class::Interactive, now + Duration::from_secs(9));
        assert_eq!(names(&mut queue, Lane::All, &room), ["small"]);
        room.give_back(LARGE);
        assert!(names(&mut queue, Lane::LightOnly, &room).is_empty());
        assert_eq!(names(&mut queue, Lane::All, &room), ["large"]);
    }

    #[test]
    fn who_leaves_is_taken_out() {
        let (mut queue, room, now) = (Queue::new(), Room::new(1 << 30), Instant::now());
        let turn = queue.push("a", SMALL, Class::Interactive, now);
        queue.push("b", SMALL, Class::Interactive, now);
        assert_eq!(queue.remove(turn), Some("a"));
        assert_eq!(queue.remove(turn), None);
        assert_eq!((queue.len(), names(&mut queue, Lane::All, &room)), (1, vec!["b"]));
    }
}
