//! The circuit breaker: a service that is down is left alone, then tried with one request at a time.

use super::retry::RetryPolicy;
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Breaker {
    /// Whether the service ever answered. One that never did has a wrong address, not an outage.
    answered: bool,
    failures_in_a_row: u32,
    /// The batch whose requests these were, and whether there were others.
    batch: Option<usize>,
    several: bool,
    /// How often it opened since the last answer.
    openings: u32,
    open: Option<Open>,
}

struct Open {
    until: Instant,
    probing: bool,
}

/// What a worker may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Go,
    /// Go, alone: everybody waits for the outcome.
    Probe,
    Wait(Instant),
}

/// What a failure means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A failure among others; the request is tried again.
    Passing,
    /// The service seems down: nobody asks before so much time has passed.
    Open(Duration),
    /// It was tried again often enough.
    Down,
}

impl Breaker {
    pub fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.open {
            None => Admission::Go,
            Some(open) if now < open.until => Admission::Wait(open.until),
            Some(open) if open.probing => Admission::Wait(now + Duration::from_millis(50)),
            Some(open) => {
                open.probing = true;
                Admission::Probe
            }
        }
    }

    /// The service did its work.
    pub fn worked(&mut self) {
        *self = Breaker { answered: true, ..Breaker::default() };
    }

    /// The service answered with an error that may be the fault of one segment: it is there, no more.
    pub fn reached(&mut self) {
        *self = Breaker { answered: self.answered, openings: self.openings, ..Breaker::default() };
    }

    /// A request for a part of `batch` got no answer. Requests for one batch only may fail by a text in it;
    /// no text can be the fault of so many failures that halving the batch does not explain.
    pub fn failed(&mut self, batch: usize, probe: bool, retry: &RetryPolicy, now: Instant) -> Verdict {
        self.failures_in_a_row += 1;
        self.several |= *self.batch.get_or_insert(batch) != batch;
        let bearable = if self.several || !self.answered { retry.attempts } else { 4 * retry.attempts };
        if self.failures_in_a_row < bearable && self.open.is_none() {
            return Verdict::Passing;
        }
        self.trip(probe, retry, now)
    }

    /// Open, or open again. While it is open, only the probe tells something new.
    pub fn trip(&mut self, probe: bool, retry: &RetryPolicy, now: Instant) -> Verdict {
        if let Some(open) = &self.open
            && !probe
        {
            return Verdict::Open(open.until.saturating_duration_since(now));
        }
        if !self.answered || self.openings >= retry.probes {
            return Verdict::Down;
        }
        let pause = retry.outage_pause(self.openings);
        self.openings += 1;
        self.open = Some(Open { until: now + pause, probing: false });
        Verdict::Open(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: RetryPolicy = RetryPolicy {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(10),
        longest_retry_after: Duration::from_secs(100),
        probes: 2,
    };

    #[test]
    fn it_opens_probes_alone_and_closes_with_an_answer() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.worked();
        assert_eq!(breaker.failed(0, false, &RETRY, now), Verdict::Passing);
        breaker.worked();
        for batch in 0..2 {
            assert_eq!(
                breaker.failed(batch, false, &RETRY, now),
                Verdict::Passing,
                "counted from the last answer"
            );
        }
        assert_eq!(breaker.failed(0, false, &RETRY, now), Verdict::Open(Duration::from_secs(10)));
        // Requests that were under way fail too, and tell nothing new.
        assert_eq!(breaker.failed(0, false, &RETRY, now), Verdict::Open(Duration::from_secs(10)));
        assert_eq!(breaker.admit(now), Admission::Wait(now + Duration::from_secs(10)));
        let later = now + Duration::from_secs(11);
        assert_eq!(breaker.admit(later), Admission::Probe);
        assert!(matches!(breaker.admit(later), Admission::Wait(_)), "one probe at a time");
        assert_eq!(breaker.failed(0, true, &RETRY, later), Verdict::Open(Duration::from_secs(20)));
        let latest = later + Duration::from_secs(21);
        assert_eq!(breaker.admit(latest), Admission::Probe);
        breaker.worked();
        assert_eq!(breaker.admit(latest), Admission::Go);
    }

    #[test]
    fn one_batch_alone_has_more_patience() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.worked();
        for _ in 0..11 {
            assert_eq!(breaker.failed(5, false, &RETRY, now), Verdict::Passing);
        }
        assert!(matches!(breaker.failed(5, false, &RETRY, now), Verdict::Open(_)));
        breaker.worked();
        for _ in 0..5 {
            breaker.failed(5, false, &RETRY, now);
        }
        assert!(matches!(breaker.failed(6, false, &RETRY, now), Verdict::Open(_)), "it is not the batch");
    }

    #[test]
    fn probes_are_not_without_end_and_a_service_that_never_answered_gets_none() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(0, false, &RETRY, now);
        breaker.failed(0, false, &RETRY, now);
        assert_eq!(breaker.failed(0, false, &RETRY, now), Verdict::Down);

        breaker.worked();
        assert!(matches!(breaker.trip(false, &RETRY, now), Verdict::Open(_)));
        assert!(matches!(breaker.failed(0, true, &RETRY, now), Verdict::Open(_)));
        assert_eq!(breaker.failed(0, true, &RETRY, now), Verdict::Down);
    }
}
