//! A circuit breaker: an archive that does not answer is left alone for a moment, so that neither it nor
//! those who wait suffer more calls.
//!
//! What counts is the head of an answer: none at all, or one that says that the service is down. Ten calls
//! in a row that come to this, with what was repeated of them, open the circuit for a second; then one call,
//! and one only, is let through as a probe. If it fails too, the time doubles, up to thirty seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::UpstreamError;

/// Failures in a row that open the circuit.
const FAILURES: u32 = 10;

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The rest of a rest that is waited for, rather than told.
const WAITED_FOR: Duration = Duration::from_secs(1);

/// How often it is looked whether a probe has ended.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        rest: Duration,
        last: UpstreamError,
    },
    /// The one call that is let through has not ended.
    Probing {
        rest: Duration,
        last: UpstreamError,
    },
}

/// A call that the breaker let through. Dropped without a verdict, it says nothing, and the next call
/// is the probe.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Lets a call through, after a short wait where that may help.
    ///
    /// # Errors
    /// [`UpstreamError::Resting`] while the archive is left alone.
    pub(crate) async fn admit(&self) -> Result<Watched<'_>, UpstreamError> {
        let until = Instant::now() + WAITED_FOR;
        loop {
            let now = Instant::now();
            match self.begin(now) {
                Ok(watched) => return Ok(watched),
                Err((rest, last)) if now + rest > until => {
                    let last = Box::new(last);
                    return Err(UpstreamError::Resting { retry_after: rest, last });
                }
                Err((rest, _)) => tokio::time::sleep(rest).await,
            }
        }
    }

    /// Whether calls would have to wait, or be refused.
    pub(crate) fn is_open(&self) -> bool {
        match &*self.lock() {
            State::Closed { .. } => false,
            State::Open { until, .. } => Instant::now() < *until,
            State::Probing { .. } => true,
        }
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// How long to wait before it is worth another look, and the last failure.
    fn begin(&self, now: Instant) -> Result<Watched<'_>, (Duration, UpstreamError)> {
        let mut state = self.lock();
        let probe = match &*state {
            State::Closed { .. } => None,
            State::Open { until, last, .. } if now < *until => {
                return Err((*until - now, last.clone()));
            }
            State::Open { rest, last, .. } => Some((*rest, last.clone())),
            State::Probing { last, .. } => return Err((LOOK, last.clone())),
        };
        let is_probe = probe.is_some();
        if let Some((rest, last)) = probe {
            *state = State::Probing { rest, last };
        }
        Ok(Watched { breaker: self, is_probe })
    }

    /// The archive answered, whatever it said of the object.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        if !matches!(*state, State::Closed { failures: 0 }) {
            *state = State::Closed { failures: 0 };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A state is written in one step: what a panic elsewhere left is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Watched<'_> {
    /// It did not answer, or said that it is down.
    pub(crate) fn failed(mut self, error: &UpstreamError, now: Instant) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.breaker.lock();
        let rest = match &*state {
            State::Probing { rest, .. } if is_probe => (*rest * 2).min(LONGEST_REST),
            State::Closed { failures } if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => FIRST_REST,
            // Begun before the circuit opened: that is known already.
            State::Open { .. } | State::Probing { .. } => return,
        };
        tracing::warn!(seconds = rest.as_secs(), "the archive does not answer and is left alone");
        *state = State::Open { until: now + rest, rest, last: error.clone() };
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.is_probe {
            return;
        }
        let mut state = self.breaker.lock();
        if let State::Probing { rest, last } = &*state {
            *state = State::Open { until: Instant::now(), rest: *rest, last: last.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: UpstreamError = UpstreamError::Timeout;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.begin(now).unwrap().failed(&ERROR, now);
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new();
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        breaker
    }

    fn rest(breaker: &Breaker, now: Instant) -> u64 {
        breaker.begin(now).unwrap_err().0.as_secs()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_an_answer_closes_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..3 {
            (0..FAILURES - 1).for_each(|_| fail(&breaker, now));
            breaker.answered();
        }
        let breaker = opened(now);
        assert_eq!(rest(&breaker, now), 1);
        let probe = breaker.begin(now + seconds(1)).unwrap();
        assert!(breaker.begin(now + seconds(1)).is_err(), "one probe only");
        breaker.answered();
        drop(probe);
        assert!(breaker.begin(now + seconds(1)).is_ok());
    }

    #[test]
    fn each_failed_probe_doubles_the_rest_up_to_a_limit() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(rest(&breaker, now), expected);
            now += seconds(expected);
            fail(&breaker, now);
        }
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_room_for_the_next() {
        let now = Instant::now();
        let breaker = opened(now);
        drop(breaker.begin(now + seconds(1)).unwrap());
        assert!(breaker.begin(Instant::now()).is_ok());
    }

    #[test]
    fn calls_that_began_before_do_not_prolong_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let early: Vec<_> = (0..2 * FAILURES).map(|_| breaker.begin(now).unwrap()).collect();
        for call in early {
            call.failed(&ERROR, now);
        }
        assert_eq!(rest(&breaker, now), 1);
    }

    #[tokio::test]
    async fn a_short_rest_is_waited_for_and_a_long_one_told_with_the_failure() {
        let breaker = opened(Instant::now() - FIRST_REST + Duration::from_millis(50));
        breaker.admit().await.unwrap().failed(&ERROR, Instant::now());
        let error = breaker.admit().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{ERROR}; it has failed several times in a row and is left alone for a moment")
        );
    }
}
