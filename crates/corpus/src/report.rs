//! What a cleaning run did, in numbers and with examples.

use crate::repair;
use crate::rules::Rule;
use serde::{Deserialize, Serialize};

/// Counts are of examples. The rules' counts add up to `dropped`: each example has one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CleanReport {
    pub total: usize,
    pub kept: usize,
    pub dropped: usize,
    /// Fields repaired, by kind.
    pub repairs: repair::Counts,
    /// Every rule in the order in which they are tried, also those that found nothing.
    pub rules: Vec<RuleCount>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleCount {
    pub rule: Rule,
    /// Whether the rule was switched on.
    pub on: bool,
    pub dropped: usize,
    /// Of all examples, 0 to 1.
    pub share: f64,
    /// Some dropped examples, spread over the data set.
    pub examples: Vec<ShownExample>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownExample {
    pub id: String,
    pub reason: String,
    /// The beginning of the example's text on one line.
    pub text: String,
}
