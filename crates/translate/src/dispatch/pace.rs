//! The rate limiter: when the next request may start.

use crate::engine::Limits;
use std::time::{Duration, Instant};

/// Requests at even distances, as far apart as both rates of the service demand. There are no bursts:
/// services count in windows that we do not know.
pub(super) struct Pace {
    requests_per_second: Option<f64>,
    characters_per_second: Option<f64>,
    next: Option<Instant>,
}

impl Pace {
    pub fn new(limits: &Limits) -> Self {
        let Limits { requests_per_second, characters_per_second, .. } = *limits;
        Self { requests_per_second, characters_per_second, next: None }
    }

    /// Take the next turn, for a request of so many characters; it may start at the moment returned.
    pub fn take(&mut self, characters: usize, now: Instant) -> Instant {
        let start = self.next.map_or(now, |next| next.max(now));
        self.next = Some(start + self.distance(characters));
        start
    }

    /// How long a request keeps the line busy.
    fn distance(&self, characters: usize) -> Duration {
        let seconds = |amount: f64, rate: Option<f64>| rate.map_or(0.0, |rate| amount / rate);
        let longest = seconds(1.0, self.requests_per_second)
            .max(seconds(characters as f64, self.characters_per_second));
        Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX / 4)
    }
}

/// The seconds that so many requests and characters take at the rates of `limits`, if it names any.
pub(crate) fn seconds_at_the_limit(limits: &Limits, requests: usize, characters: usize) -> Option<f64> {
    let by_requests = limits.requests_per_second.map(|rate| requests as f64 / rate);
    let by_characters = limits.characters_per_second.map(|rate| characters as f64 / rate);
    [by_requests, by_characters].into_iter().flatten().reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_second: Option<f64>, characters_per_second: Option<f64>) -> Limits {
        Limits { requests_per_second, characters_per_second, ..Limits::UNLIMITED }
    }

    #[test]
    fn both_rates_are_kept() {
        let start = Instant::now();
        let mut pace = Pace::new(&limits(Some(2.0), Some(100.0)));
        let at: Vec<u128> =
            [10, 200, 10, 10].iter().map(|&c| (pace.take(c, start) - start).as_millis()).collect();
        assert_eq!(at, [0, 500, 2500, 3000], "the 200 characters keep the line busy for 2 s");
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(1, later), later, "an idle minute is not saved up");
        assert_eq!(pace.take(1, later), later + Duration::from_millis(500));
        let mut free = Pace::new(&limits(None, None));
        assert!((0..5).all(|_| free.take(9999, start) == start));
    }

    #[test]
    fn the_slower_rate_says_how_long_it_takes() {
        assert_eq!(seconds_at_the_limit(&limits(Some(1.0), None), 90, 9000), Some(90.0));
        assert_eq!(seconds_at_the_limit(&limits(Some(1.0), Some(10.0)), 90, 9000), Some(900.0));
        assert_eq!(seconds_at_the_limit(&limits(None, None), 90, 9000), None);
    }
}
