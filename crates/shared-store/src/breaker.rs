//! A circuit breaker: a server that does not answer in time is left alone for a moment, so that requests
//! do not wait for it in vain, again and again.
//!
//! Three calls in a row that were late or failed open the circuit for 250 ms; then one call, and one only,
//! is let through as a probe. If it fails too, the time doubles, up to five seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
const FAILURES: u32 = 3;

const FIRST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        rest: Duration,
    },
    /// The one call that is let through has not ended.
    Probing {
        rest: Duration,
    },
}

/// A call that was let through. Dropped without a verdict (nobody waits for it any more), it says nothing,
/// and the next call is the probe.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Lets a call through, or not.
    pub(crate) fn admit(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, rest } if now >= until => {
                *state = State::Probing { rest };
                true
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(Pass { breaker: self, is_probe })
    }

    /// There is another server, or the same one anew: what was known is out of date.
    pub(crate) fn reset(&self) {
        *self.lock() = State::Closed { failures: 0 };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A state is written in one step: what a panic elsewhere left is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// There was an answer, in time.
    pub(crate) fn answered(mut self) {
        self.is_probe = false;
        self.breaker.reset();
    }

    /// There was none, or one that says nothing.
    pub(crate) fn failed(mut self, now: Instant) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.breaker.lock();
        let rest = match *state {
            State::Probing { rest } if is_probe => (rest * 2).min(LONGEST_REST),
            State::Closed { failures } if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => FIRST_REST,
            // Begun before the circuit opened: that is known already.
            State::Open { .. } | State::Probing { .. } => return,
        };
        *state = State::Open { until: now + rest, rest };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_probe {
            return;
        }
        let mut state = self.breaker.lock();
        if let State::Probing { rest } = *state {
            *state = State::Open { until: Instant::now(), rest };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.admit(now).unwrap().failed(now);
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new();
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        breaker
    }

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_an_answer_closes_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..5 {
            (0..FAILURES - 1).for_each(|_| fail(&breaker, now));
            breaker.admit(now).unwrap().answered();
        }
        let breaker = opened(now);
        assert!(breaker.admit(now + milliseconds(249)).is_none());
        let probe = breaker.admit(now + milliseconds(250)).unwrap();
        assert!(breaker.admit(now + milliseconds(250)).is_none(), "one probe only");
        probe.answered();
        assert!(breaker.admit(now + milliseconds(250)).is_some());
    }

    #[test]
    fn each_failed_probe_doubles_the_rest_up_to_a_limit() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for rest in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            assert!(breaker.admit(now + milliseconds(rest - 1)).is_none(), "{rest}");
            now += milliseconds(rest);
            fail(&breaker, now);
        }
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_room_for_the_next() {
        let now = Instant::now();
        let breaker = opened(now);
        drop(breaker.admit(now + milliseconds(250)).unwrap());
        assert!(breaker.admit(Instant::now()).is_some());
    }

    #[test]
    fn calls_that_began_before_do_not_prolong_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let early: Vec<_> = (0..3 * FAILURES).map(|_| breaker.admit(now).unwrap()).collect();
        early.into_iter().for_each(|call| call.failed(now));
        assert!(breaker.admit(now + milliseconds(250)).is_some());
    }

    #[test]
    fn another_server_begins_with_a_clean_sheet() {
        let now = Instant::now();
        let breaker = opened(now);
        breaker.reset();
        assert!(breaker.admit(now).is_some());
    }
}
