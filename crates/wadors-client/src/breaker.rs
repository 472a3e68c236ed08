//! A circuit breaker: an archive that does not answer is left alone for a moment, so that neither it nor
//! those who wait suffer more calls.
//!
//! What counts is the head of an answer: none at all, or one that says that the service is down. Five of
//! these in a row open the circuit for five seconds; then one call, and one only, is let through as a
//! probe. If it fails too, the time doubles, up to thirty seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
const FAILURES: u32 = 5;

const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, rest: Duration },
    /// The one call that is let through has not ended.
    Probing { rest: Duration },
}

/// A call that the breaker let through. Dropped without a verdict, it says nothing, and the next call
/// is the probe.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    breaker: &'a Breaker,
    probe: Option<Duration>,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// How long the archive is left alone.
    pub(crate) fn begin(&self, now: Instant) -> Result<Watched<'_>, Duration> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => None,
            State::Open { until, .. } if now < until => return Err(until - now),
            State::Open { rest, .. } => Some(rest),
            State::Probing { .. } => return Err(Duration::from_secs(1)),
        };
        if let Some(rest) = probe {
            *state = State::Probing { rest };
        }
        Ok(Watched { breaker: self, probe })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A state is written in one step: what a panic elsewhere left is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Watched<'_> {
    /// The archive answered, whatever it said of the object.
    pub(crate) fn answered(mut self) {
        self.probe = None;
        *self.breaker.lock() = State::Closed { failures: 0 };
    }

    /// It did not, or said that it is down.
    pub(crate) fn failed(mut self, now: Instant) {
        let probe = self.probe.take();
        let mut state = self.breaker.lock();
        let rest = match (probe, *state) {
            (Some(rest), _) => (rest * 2).min(LONGEST_REST),
            (None, State::Closed { failures }) if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            (None, State::Closed { .. }) => FIRST_REST,
            // Begun before the circuit opened: that is known already.
            (None, State::Open { .. } | State::Probing { .. }) => return,
        };
        tracing::warn!(seconds = rest.as_secs(), "the archive does not answer and is left alone");
        *state = State::Open { until: now + rest, rest };
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(rest) = self.probe {
            *self.breaker.lock() = State::Open { until: Instant::now(), rest };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.begin(now).unwrap().failed(now);
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_probe_closes_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..4 {
            fail(&breaker, now);
        }
        breaker.begin(now).unwrap().answered();
        for _ in 0..5 {
            fail(&breaker, now);
        }
        assert_eq!(breaker.begin(now).unwrap_err(), seconds(5));
        assert_eq!(breaker.begin(now + seconds(4)).unwrap_err(), seconds(1));
        let probe = breaker.begin(now + seconds(5)).unwrap();
        assert!(breaker.begin(now + seconds(5)).is_err(), "one probe only");
        probe.answered();
        assert!(breaker.begin(now + seconds(5)).is_ok());
    }

    #[test]
    fn each_failed_probe_doubles_the_rest_up_to_a_limit() {
        let (breaker, mut now) = (Breaker::new(), Instant::now());
        (0..5).for_each(|_| fail(&breaker, now));
        for rest in [5, 10, 20, 30, 30] {
            assert_eq!(breaker.begin(now).unwrap_err(), seconds(rest));
            now += seconds(rest);
            fail(&breaker, now);
        }
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_room_for_the_next() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        (0..5).for_each(|_| fail(&breaker, now));
        let later = now + seconds(5);
        drop(breaker.begin(later).unwrap());
        breaker.begin(Instant::now() + seconds(6)).unwrap().answered();
        assert!(breaker.begin(later).is_ok());
    }

    #[test]
    fn calls_that_began_before_do_not_prolong_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let early: Vec<_> = (0..8).map(|_| breaker.begin(now).unwrap()).collect();
        for call in early {
            call.failed(now);
        }
        assert_eq!(breaker.begin(now).unwrap_err(), seconds(5));
    }
}
