//! How long to insist, and how long to pause.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long to insist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts at one request; as many failures in a row, of all requests, open the circuit breaker.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one, up to `longest_pause`.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// A service that asks for a longer pause (`Retry-After`) is not waited for.
    pub longest_retry_after: Duration,
    /// How often a service that went down in the middle of a run is tried again, after `longest_pause`,
    /// twice that, four times that… up to `longest_retry_after`, before the run stops.
    pub probes: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(600),
            probes: 4,
        }
    }
}

impl RetryPolicy {
    /// The pause after failure number `attempt` (from 1) of one request: doubling, with jitter between half
    /// and the whole of the nominal pause.
    pub(super) fn backoff(&self, attempt: u32) -> Duration {
        let nominal = self.first_pause.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest_pause);
        // A fresh `RandomState` is seeded by the system: enough for jitter.
        let random = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
        nominal.mul_f64(0.5 + 0.5 * random)
    }

    /// How long a service that is down is left alone before probe number `probe` (from 0).
    pub(super) fn outage_pause(&self, probe: u32) -> Duration {
        self.longest_pause.saturating_mul(1 << probe.min(16)).min(self.longest_retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_a_bound() {
        let retry = RetryPolicy::default();
        for (attempt, nominal) in [(1, 0.5), (2, 1.0), (3, 2.0), (30, 30.0)] {
            for _ in 0..20 {
                let pause = retry.backoff(attempt).as_secs_f64();
                assert!((nominal / 2.0..=nominal).contains(&pause), "{attempt}: {pause}");
            }
        }
        let different: std::collections::HashSet<_> = (0..20).map(|_| retry.backoff(5)).collect();
        assert!(different.len() > 10, "clients must not come back in step");
        assert_eq!(retry.outage_pause(2).as_secs(), 120);
        assert_eq!(retry.outage_pause(40).as_secs(), 600);
    }
}
