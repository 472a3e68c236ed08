//! Whether a call that failed is made once more, and after what wait.
//!
//! Only calls that change nothing are made here, so each may be repeated. Not after a timeout: who was
//! slow once is not helped by more work. And not beyond a budget, one retry for ten calls, since an archive
//! that fails under load must not get more of it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use crate::error::UpstreamError;
use crate::gate::SHORT_PAUSE;

/// Repetitions of one call.
const MOST: u32 = 2;

/// The wait before the first; three times as long before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(80);

/// Retries that may be saved up, and what each call adds.
const LARGEST_BUDGET: f64 = 10.0;
const PER_CALL: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: Mutex<f64>,
}

/// The tries of one call.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    budget: &'a RetryBudget,
    made: u32,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { left: Mutex::new(LARGEST_BUDGET) }
    }

    pub(crate) fn begin(&self) -> Tries<'_> {
        self.change(PER_CALL);
        Tries { budget: self, made: 0 }
    }

    /// Adds to the budget, or takes from it; whether that was possible.
    fn change(&self, by: f64) -> bool {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *left + by < 0.0 {
            return false;
        }
        *left = (*left + by).min(LARGEST_BUDGET);
        true
    }
}

impl Tries<'_> {
    /// The wait before the call is made again; `None` where it is not.
    pub(crate) fn wait_after(&mut self, error: &UpstreamError) -> Option<Duration> {
        let asked_for = wait_for(error)?;
        if self.made >= MOST || !self.budget.change(-1.0) {
            return None;
        }
        let own = FIRST_WAIT * 3_u32.pow(self.made);
        self.made += 1;
        Some(asked_for.max(own.mul_f64(0.5 + jitter() / 2.0)))
    }
}

/// How long the archive wants to be left alone before the call may succeed; `None` where it is not to be
/// repeated.
fn wait_for(error: &UpstreamError) -> Option<Duration> {
    match error {
        UpstreamError::Unreachable { .. } | UpstreamError::BrokeOff => Some(Duration::ZERO),
        UpstreamError::Status { status: 429 | 502 | 503 | 504, .. } => {
            let asked_for = error.retry_after().unwrap_or_default();
            (asked_for <= SHORT_PAUSE).then_some(asked_for)
        }
        UpstreamError::Status { .. }
        | UpstreamError::Timeout
        | UpstreamError::Untrusted { .. }
        | UpstreamError::Resting { .. }
        | UpstreamError::Paused { .. }
        | UpstreamError::Crowded
        | UpstreamError::Credentials { .. }
        | UpstreamError::Redirected { .. }
        | UpstreamError::Empty
        | UpstreamError::TooLarge { .. }
        | UpstreamError::Malformed { .. }
        | UpstreamError::Foreign => None,
    }
}

/// Between 0 and 1, so that those who failed together do not come back together.
fn jitter() -> f64 {
    // Every state is seeded anew.
    let random = RandomState::new().hash_one(0_u8);
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<&'static str>) -> UpstreamError {
        let retry_after = retry_after.map(http::HeaderValue::from_static);
        UpstreamError::Status { status, www_authenticate: Vec::new(), retry_after }
    }

    #[test]
    fn what_may_pass_is_tried_again_twice_ever_later() {
        let budget = RetryBudget::new();
        let mut tries = budget.begin();
        let error = UpstreamError::BrokeOff;
        let waits = [tries.wait_after(&error).unwrap(), tries.wait_after(&error).unwrap()];
        assert!((40..=80).contains(&waits[0].as_millis()), "{waits:?}");
        assert!((120..=240).contains(&waits[1].as_millis()), "{waits:?}");
        assert_eq!(tries.wait_after(&error), None);
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let budget = RetryBudget::new();
        for error in [
            UpstreamError::Timeout,
            UpstreamError::Empty,
            status(404, None),
            status(500, None),
            status(503, Some("30")),
        ] {
            assert_eq!(budget.begin().wait_after(&error), None, "{error}");
        }
    }

    #[test]
    fn a_short_wait_that_the_archive_asks_for_is_kept() {
        let budget = RetryBudget::new();
        let wait = budget.begin().wait_after(&status(503, Some("1"))).unwrap();
        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn a_budget_ends_the_retries_of_an_archive_that_fails_throughout() {
        let budget = RetryBudget::new();
        let retries = (0..200)
            .filter(|_| budget.begin().wait_after(&UpstreamError::BrokeOff).is_some())
            .count();
        assert!((25..=35).contains(&retries), "{retries}");
    }
}
