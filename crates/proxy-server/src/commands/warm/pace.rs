//! How many thumbnails are made in a span of time.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Semaphore;
use wadors_client::Rate;

/// Turns that come up in less than this may be taken together: clocks are not finer than this.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Hands out turns, evenly, while [`Self::keep`] runs.
#[derive(Debug)]
pub(super) struct Pace {
    /// `None`: no limit.
    interval: Option<Duration>,
    turns: Semaphore,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { interval: rate.map(Rate::interval), turns: Semaphore::new(0) }
    }

    /// Waits for a turn, and takes it.
    pub(super) async fn turn(&self) {
        if self.interval.is_some()
            // It is never closed.
            && let Ok(turn) = self.turns.acquire().await
        {
            turn.forget();
        }
    }

    /// A turn was not used after all: what is there already costs the archive nothing.
    pub(super) fn give_back(&self) {
        if self.interval.is_some() {
            self.turns.add_permits(1);
        }
    }

    /// Lets turns come up, for ever. Those that nobody takes are not saved up.
    pub(super) async fn keep(&self) -> Infallible {
        let Some(interval) = self.interval else { return std::future::pending().await };
        let most = (AT_ONCE.as_micros() / interval.as_micros().max(1)).max(1) as usize;
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            if self.turns.available_permits() < most {
                self.turns.add_permits(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn time_of(turns: usize, rate: &str, give_back: bool) -> Duration {
        let pace = Pace::new(Some(rate.parse().unwrap()));
        let begun = Instant::now();
        let take = async {
            for _ in 0..turns {
                pace.turn().await;
                if give_back {
                    pace.give_back();
                }
            }
        };
        tokio::select! {
            () = take => begun.elapsed(),
            never = pace.keep() => match never {},
        }
    }

    #[tokio::test]
    async fn turns_come_at_the_rate_and_those_given_back_at_once() {
        assert!(time_of(6, "20/s", false).await >= Duration::from_millis(240));
        assert!(time_of(1000, "1/s", true).await < Duration::from_millis(900));
    }
}
