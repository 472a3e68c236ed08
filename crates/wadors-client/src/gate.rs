//! How many calls are under way at once, how many may begin in a span of time, and the pauses that the
//! archive asks for.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::error::UpstreamError;

/// A pause up to here is waited for; callers are told of a longer one.
pub(crate) const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause that an archive is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// At most so many calls in each span: `50/s`, `600/min`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    calls: NonZeroU32,
    span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Span {
    Second,
    Minute,
}

impl Rate {
    /// More in one span could not be kept account of cheaply.
    const MOST: u32 = 100_000;

    /// The time from one call to the next where they are spread evenly.
    pub fn interval(self) -> Duration {
        self.span() / self.calls.get()
    }

    fn span(self) -> Duration {
        match self.span {
            Span::Second => Duration::from_secs(1),
            Span::Minute => Duration::from_secs(60),
        }
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "must be calls per second or minute, such as 50/s or 600/min";
        let (calls, span) = text.split_once('/').ok_or(EXPECTED)?;
        let calls: NonZeroU32 = calls.trim().parse().map_err(|_| EXPECTED)?;
        if calls.get() > Self::MOST {
            return Err("must be at most 100000 calls");
        }
        let span = match span.trim() {
            "s" => Span::Second,
            "min" => Span::Minute,
            _ => return Err(EXPECTED),
        };
        Ok(Self { calls, span })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = match self.span {
            Span::Second => "s",
            Span::Minute => "min",
        };
        write!(f, "{}/{span}", self.calls)
    }
}

/// Whether somebody waits for a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Urgency {
    /// Somebody does.
    #[default]
    Interactive,
    /// What comes of it is for later.
    Background,
}

/// A place among the calls that only look whether something is there.
#[derive(Debug)]
pub struct ProbePlace {
    _place: OwnedSemaphorePermit,
}

/// A place among the calls under way.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    _place: SemaphorePermit<'a>,
    _background: Option<SemaphorePermit<'a>>,
}

/// What every call passes.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    /// Of these, those that calls may take for which nobody waits.
    background: Semaphore,
    /// Of calls that only look whether something is there: they do not stand behind those that fetch.
    probes: Arc<Semaphore>,
    /// Probes that wait.
    waiting: AtomicUsize,
    pace: Mutex<Pace>,
}

/// More probes do not wait.
const MOST_WAITING: usize = 256;

impl Gate {
    pub(crate) fn new(concurrency: NonZeroUsize, rate: Option<Rate>) -> Self {
        Self {
            places: Semaphore::new(concurrency.get().min(Semaphore::MAX_PERMITS)),
            background: Semaphore::new((concurrency.get() / 4).clamp(1, Semaphore::MAX_PERMITS)),
            probes: Arc::new(Semaphore::new((concurrency.get() / 2).clamp(2, 64))),
            waiting: AtomicUsize::new(0),
            pace: Mutex::new(Pace { rate, begun: VecDeque::new(), paused_until: None }),
        }
    }

    /// A place among the calls under way, held until the answer is read. Calls for which nobody waits take
    /// a quarter of all at most, and at least one.
    pub(crate) async fn place(&self, urgency: Urgency) -> Option<Place<'_>> {
        // They are never closed.
        let background = match urgency {
            Urgency::Interactive => None,
            Urgency::Background => Some(self.background.acquire().await.ok()?),
        };
        let place = self.places.acquire().await.ok()?;
        Some(Place { _place: place, _background: background })
    }

    /// A place for a probe, which may begin then.
    ///
    /// # Errors
    /// Too many wait, or the archive wants to be left alone.
    pub(crate) async fn probe(&self) -> Result<ProbePlace, UpstreamError> {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        if before >= MOST_WAITING {
            return Err(UpstreamError::Crowded);
        }
        // They are never closed.
        let place = self.probes.clone().acquire_owned().await;
        let place = place.map_err(|_| UpstreamError::Crowded)?;
        self.pass().await.map_err(|retry_after| UpstreamError::Paused { retry_after })?;
        Ok(ProbePlace { _place: place })
    }

    /// Waits until the next call may begin.
    ///
    /// # Errors
    /// How long the archive wants to be left alone, where that is too long to wait.
    pub(crate) async fn pass(&self) -> Result<(), Duration> {
        let wait = self.lock().next(Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// The archive asked for a pause.
    pub(crate) fn pause(&self, length: Duration) {
        let until = Instant::now() + length.min(LONGEST_PAUSE);
        let mut pace = self.lock();
        pace.paused_until = pace.paused_until.max(Some(until));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// When calls began, as far back as the rate looks.
#[derive(Debug)]
struct Pace {
    rate: Option<Rate>,
    begun: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

impl Pace {
    /// How long the next call has to wait; it is taken to begin then.
    fn next(&mut self, now: Instant) -> Result<Duration, Duration> {
        let mut start = now;
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            if until - now > SHORT_PAUSE {
                return Err(until - now);
            }
            start = until;
        }
        let Some(rate) = self.rate else { return Ok(start - now) };
        if self.begun.len() >= rate.calls.get() as usize
            && let Some(oldest) = self.begun.pop_front()
        {
            start = start.max(oldest + rate.span());
        }
        self.begun.push_back(start);
        Ok(start - now)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn pace(rate: &str) -> Pace {
        Pace { rate: Some(rate.parse().unwrap()), begun: VecDeque::new(), paused_until: None }
    }

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[tokio::test]
    async fn probes_have_places_of_their_own_and_not_all_may_wait() {
        let gate = Gate::new(NonZeroUsize::new(4).unwrap(), None);
        let mut fetching = Vec::new();
        for _ in 0..4 {
            fetching.push(gate.place(Urgency::Interactive).await.unwrap());
        }
        let first = [gate.probe().await.unwrap(), gate.probe().await.unwrap()];
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(gate.probe())).collect();
        for probe in &mut waiting {
            assert!(probe.as_mut().now_or_never().is_none());
        }
        assert_eq!(gate.probe().await.unwrap_err(), UpstreamError::Crowded);
        // One that is withdrawn makes room.
        waiting.pop();
        assert!(gate.probe().now_or_never().is_none());
        drop(first);
        assert!(waiting.remove(0).await.is_ok());
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["1/s", "50/s", "600/min"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("600/min".parse::<Rate>().unwrap().interval(), milliseconds(100));
        for text in ["", "50", "0/s", "-1/s", "5/h", "1.5/s", "999999/s", "/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn calls_that_nobody_waits_for_leave_most_places_to_others() {
        use futures_util::FutureExt;

        let gate = Gate::new(NonZeroUsize::new(8).unwrap(), None);
        let place = |urgency| gate.place(urgency).now_or_never().flatten();
        let background: Vec<_> = (0..3).map(|_| place(Urgency::Background)).collect();
        assert_eq!(background.iter().flatten().count(), 2);
        let interactive: Vec<_> = (0..7).map(|_| place(Urgency::Interactive)).collect();
        assert_eq!(interactive.iter().flatten().count(), 6);
        drop(background);
        assert!(place(Urgency::Background).is_some());
        let narrow = Gate::new(NonZeroUsize::MIN, None);
        assert!(narrow.place(Urgency::Background).now_or_never().flatten().is_some());
    }

    #[test]
    fn a_burst_up_to_the_rate_does_not_wait() {
        let (mut pace, now) = (pace("3/s"), Instant::now());
        let waits: Vec<_> = (0..7).map(|_| pace.next(now).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 1000, 1000, 1000, 2000]);
    }

    #[test]
    fn short_pauses_are_waited_for_and_long_ones_told() {
        let (mut pace, now) = (pace("100/s"), Instant::now());
        pace.paused_until = Some(now + milliseconds(1500));
        assert_eq!(pace.next(now), Ok(milliseconds(1500)));
        pace.paused_until = Some(now + milliseconds(9000));
        assert_eq!(pace.next(now), Err(milliseconds(9000)));
        assert_eq!(pace.next(now + milliseconds(9000)), Ok(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn no_span_ever_holds_more_than_the_rate(
            calls in 1_u32..8,
            gaps in prop::collection::vec(0_u64..700, 1..60),
        ) {
            let mut pace = pace(&format!("{calls}/s"));
            let mut now = Instant::now();
            let mut begun = Vec::new();
            for gap in gaps {
                now += milliseconds(gap);
                begun.push(now + pace.next(now).unwrap());
            }
            for start in &begun {
                let inside = begun.iter().filter(|at| *at >= start && **at < *start + milliseconds(1000));
                prop_assert!(inside.count() <= calls as usize);
            }
        }
    }
}
