//! The learning rate of each step, as a multiple of the configured one.

use serde::{Deserialize, Serialize};

/// What follows the linear warm-up from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The full rate to the end.
    Constant,
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine: long near the full rate, long near 0.
    #[default]
    Cosine,
}

impl Schedule {
    /// The multiplier of update `step` (from 0) of `steps`.
    ///
    /// As `transformers.get_scheduler` has it: the first of `warmup` warm-up updates runs at 0, the
    /// last update just above 0. Source: `transformers/optimization.py`.
    pub fn multiplier(self, step: usize, warmup: usize, steps: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => (1.0 - done).max(0.0),
            Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * done).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_are_those_of_transformers() {
        let text = include_str!("../../../fixtures/golden/schedules.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let steps = golden["steps"].as_u64().unwrap() as usize;
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 6);
        for case in cases {
            let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
            let warmup = case["warmup_steps"].as_u64().unwrap() as usize;
            for (step, expected) in case["multipliers"].as_array().unwrap().iter().enumerate() {
                let (found, expected) =
                    (schedule.multiplier(step, warmup, steps), expected.as_f64().unwrap());
                assert!((found - expected).abs() < 1e-12, "{schedule:?} {warmup} {step}: {found} {expected}");
            }
        }
    }
}
