//! The rate limiter: when the next request may start.

use crate::engine::Limits;
use std::time::{Duration, Instant};

/// Requests at even distances, as far apart as both rates of the service demand. Bursts of requests are
/// never right: services count in windows that we do not know. Characters may come in one burst.
pub(super) struct Pace {
    /// Seconds between two requests.
    distance: f64,
    characters: Option<Characters>,
    next: Option<Instant>,
}

/// Leaves room for `burst` characters and refills at `rate` (a leaky bucket).
struct Characters {
    rate: f64,
    burst: f64,
    /// When everything sent so far has leaked.
    empty_at: Option<Instant>,
}

impl Pace {
    pub fn new(limits: &Limits) -> Self {
        let characters = limits.characters_per_second.map(|rate| Characters {
            rate,
            burst: limits.character_burst as f64,
            empty_at: None,
        });
        let distance = limits.requests_per_second.map_or(0.0, |rate| 1.0 / rate);
        Self { distance, characters, next: None }
    }

    /// Take the next turn, for a request of so many characters; it may start at the moment returned.
    pub fn take(&mut self, characters: usize, now: Instant) -> Instant {
        let mut start = self.next.map_or(now, |next| next.max(now));
        if let Some(bucket) = &mut self.characters {
            let empty_at = bucket.empty_at.map_or(start, |at| at.max(start));
            // What is still in the bucket beyond the burst has to leak first.
            let ahead = empty_at - start;
            start += ahead.saturating_sub(seconds(bucket.burst / bucket.rate));
            bucket.empty_at = Some(empty_at + seconds(characters as f64 / bucket.rate));
        }
        self.next = Some(start + seconds(self.distance));
        start
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX / 4)
}

/// The seconds that so many requests and characters take at the rates of `limits`, if it names any.
pub(crate) fn seconds_at_the_limit(limits: &Limits, requests: usize, characters: usize) -> Option<f64> {
    let by_requests = limits.requests_per_second.map(|rate| requests as f64 / rate);
    let beyond_burst = characters.saturating_sub(limits.character_burst) as f64;
    let by_characters = limits.characters_per_second.map(|rate| beyond_burst / rate);
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
    fn a_burst_of_characters_comes_first_and_the_rate_after_it() {
        let start = Instant::now();
        let mut pace = Pace::new(&Limits { character_burst: 300, ..limits(None, Some(100.0)) });
        let at: Vec<u128> =
            [200, 200, 200, 200].iter().map(|&c| (pace.take(c, start) - start).as_millis()).collect();
        assert_eq!(at, [0, 0, 1000, 3000], "400 characters are sent, 300 may be ahead of the rate");
        let all = Limits { character_burst: 300, ..limits(None, Some(100.0)) };
        assert_eq!(seconds_at_the_limit(&all, 4, 800), Some(5.0));
    }

    #[test]
    fn the_slower_rate_says_how_long_it_takes() {
        assert_eq!(seconds_at_the_limit(&limits(Some(1.0), None), 90, 9000), Some(90.0));
        assert_eq!(seconds_at_the_limit(&limits(Some(1.0), Some(10.0)), 90, 9000), Some(900.0));
        assert_eq!(seconds_at_the_limit(&limits(None, None), 90, 9000), None);
    }
}
