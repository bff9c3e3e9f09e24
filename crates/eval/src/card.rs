//! The report card as data: JSON, and the bounds it must meet.

use crate::bits::Bits;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::replies::Counts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a measure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share from 0 to 1, shown in per cent with its interval
    Share,
    Bits,
    Tokens,
}

/// A measure of the card: its key in the JSON and its title.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: Unit,
}

const fn measure(name: &'static str, title: &'static str, unit: Unit) -> Measure {
    Measure { name, title, unit }
}

/// Every measure, in the order of the card. `source_…` are those of the source-language set.
pub const MEASURES: [Measure; 18] = [
    measure("exact_match", "exact match", Unit::Share),
    measure("target_language", "replies in the target language", Unit::Share),
    measure("bits_per_byte", "bits per byte of the answers or texts", Unit::Bits),
    measure("text_bits_per_byte", "bits per byte of running text", Unit::Bits),
    measure("stop_rate", "replies that end by themselves", Unit::Share),
    measure("repetition_rate", "replies that loop", Unit::Share),
    measure("rep_4", "repeated 4-grams of tokens in a reply", Unit::Share),
    measure("empty_rate", "empty replies", Unit::Share),
    measure("reply_tokens", "mean length of a reply", Unit::Tokens),
    measure("source_exact_match", "source: exact match", Unit::Share),
    measure("source_language", "source: replies in the source language", Unit::Share),
    measure("source_bits_per_byte", "source: bits per byte of the answers or texts", Unit::Bits),
    measure("source_text_bits_per_byte", "source: bits per byte of running text", Unit::Bits),
    measure("source_stop_rate", "source: replies that end by themselves", Unit::Share),
    measure("source_repetition_rate", "source: replies that loop", Unit::Share),
    measure("source_rep_4", "source: repeated 4-grams of tokens in a reply", Unit::Share),
    measure("source_empty_rate", "source: empty replies", Unit::Share),
    measure("source_reply_tokens", "source: mean length of a reply", Unit::Tokens),
];

pub(crate) fn check_measure_name(name: &str) -> Result<()> {
    if MEASURES.iter().any(|m| m.name == name) {
        return Ok(());
    }
    let known: Vec<&str> = MEASURES.iter().map(|m| m.name).collect();
    Err(Error::UnknownMeasure { name: name.to_string(), known: known.join(", ") })
}

/// All measures of one side, the base or the tuned model. Shares are from 0 to 1; `None` where there was
/// nothing to measure (no source set, no reference, no language named).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SideCard {
    /// Replies to the target set.
    pub examples: usize,
    pub exact_match: Option<f64>,
    pub target_language: Option<f64>,
    /// Replies of digits and signs alone: in `target_language` neither above nor below the line.
    pub target_language_neutral: usize,
    pub bits_per_byte: Option<f64>,
    pub text_bits_per_byte: Option<f64>,
    pub stop_rate: Option<f64>,
    pub repetition_rate: Option<f64>,
    pub rep_4: Option<f64>,
    pub empty_rate: Option<f64>,
    pub reply_tokens: Option<f64>,
    /// Replies to the source set.
    pub source_examples: usize,
    pub source_exact_match: Option<f64>,
    pub source_language: Option<f64>,
    pub source_language_neutral: usize,
    pub source_bits_per_byte: Option<f64>,
    pub source_text_bits_per_byte: Option<f64>,
    pub source_stop_rate: Option<f64>,
    pub source_repetition_rate: Option<f64>,
    pub source_rep_4: Option<f64>,
    pub source_empty_rate: Option<f64>,
    pub source_reply_tokens: Option<f64>,
    /// 95 % confidence intervals of the shares, by name ([`crate::Share::interval`]).
    pub intervals: BTreeMap<String, [f64; 2]>,
}

impl SideCard {
    pub(crate) fn set_target(&mut self, counts: &Counts, bits: Bits) {
        self.examples = counts.replies;
        self.exact_match = counts.exact.value();
        self.target_language = counts.language.value();
        self.target_language_neutral = counts.neutral;
        self.bits_per_byte = bits.per_byte();
        self.stop_rate = counts.stop.value();
        self.repetition_rate = counts.repetition.value();
        self.rep_4 = counts.rep_4;
        self.empty_rate = counts.empty.value();
        self.reply_tokens = counts.mean_tokens;
        self.add_intervals("", "target_language", counts);
    }

    pub(crate) fn set_source(&mut self, counts: &Counts, bits: Bits) {
        self.source_examples = counts.replies;
        self.source_exact_match = counts.exact.value();
        self.source_language = counts.language.value();
        self.source_language_neutral = counts.neutral;
        self.source_bits_per_byte = bits.per_byte();
        self.source_stop_rate = counts.stop.value();
        self.source_repetition_rate = counts.repetition.value();
        self.source_rep_4 = counts.rep_4;
        self.source_empty_rate = counts.empty.value();
        self.source_reply_tokens = counts.mean_tokens;
        self.add_intervals("source_", "source_language", counts);
    }

    fn add_intervals(&mut self, prefix: &str, language: &str, counts: &Counts) {
        let of = |name: &str| format!("{prefix}{name}");
        let all = [
            (of("exact_match"), counts.exact),
            (language.to_string(), counts.language),
            (of("stop_rate"), counts.stop),
            (of("repetition_rate"), counts.repetition),
            (of("empty_rate"), counts.empty),
        ];
        self.intervals.extend(all.into_iter().filter_map(|(name, share)| Some((name, share.interval()?))));
    }

    /// A measure by its name in [`MEASURES`]; `None` where it was not measured.
    pub fn get(&self, name: &str) -> Option<f64> {
        serde_json::to_value(self).ok()?.get(name)?.as_f64()
    }
}

/// What both sides replied to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplyPair {
    /// `target` or `source`
    pub set: String,
    pub id: String,
    pub prompt: String,
    pub reference: Option<String>,
    pub base: String,
    pub tuned: Option<String>,
}

/// What could not be measured as it is, over all sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Examples whose prompt leaves no room for a reply: not asked.
    pub too_long_prompts: usize,
    /// Examples with neither a prompt nor an answer.
    pub unusable: usize,
    /// Texts scored only up to the end of the model's context.
    pub cut_texts: usize,
}

/// The report card: one base, at most one adapter, both sides from one loaded model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportCard {
    pub version: String,
    pub base_model: String,
    pub adapter: Option<String>,
    pub base: SideCard,
    /// `None` without an adapter.
    pub tuned: Option<SideCard>,
    pub control: Control,
    pub language: Option<String>,
    pub source_language: Option<String>,
    pub template: String,
    pub source_template: Option<String>,
    /// How replies were chosen: `greedy`, or the sampling settings.
    pub decoding: String,
    pub max_new_tokens: usize,
    pub skipped: Skipped,
    /// A few replies, before and after.
    pub samples: Vec<ReplyPair>,
    pub seconds: f64,
}

impl ReportCard {
    /// The side that bounds apply to: the tuned model, or the base where there is no adapter.
    pub fn judged(&self) -> &SideCard {
        self.tuned.as_ref().unwrap_or(&self.base)
    }

    /// Every check that failed, one sentence each: the control, then the bounds.
    pub fn failures(&self, minimum: &BTreeMap<String, f64>, maximum: &BTreeMap<String, f64>) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.control.zero_adapter_equals_base {
            failures.push("control: a fresh adapter changes the base's logits".to_string());
        }
        if self.control.base_side_equals_base == Some(false) {
            failures.push("control: the base side beside this adapter is not the base".to_string());
        }
        let mut check =
            |name: &str, bound: f64, word: &str, met: fn(f64, f64) -> bool| match self.judged().get(name) {
                Some(found) if met(found, bound) => {}
                Some(found) => failures.push(format!("{name} is {found:.4}, {word} {bound}")),
                None => failures.push(format!("{name} was not measured, so its bound {bound} is not met")),
            };
        for (name, bound) in minimum {
            check(name, *bound, "below the minimum of", |found, bound| found >= bound);
        }
        for (name, bound) in maximum {
            check(name, *bound, "above the maximum of", |found, bound| found <= bound);
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::card;

    #[test]
    fn every_measure_is_a_field_of_the_card_and_only_those_bear_bounds() {
        let json = serde_json::to_value(SideCard::default()).unwrap();
        for measure in MEASURES {
            assert!(json.get(measure.name).is_some(), "{}", measure.name);
        }
        for key in json.as_object().unwrap().keys() {
            let counted = key.ends_with("examples") || key.ends_with("neutral") || key == "intervals";
            assert_eq!(check_measure_name(key).is_ok(), !counted, "{key}");
        }
    }

    #[test]
    fn bounds_are_checked_on_the_tuned_side() {
        let card = card();
        let bounds = |name: &str, bound: f64| BTreeMap::from([(name.to_string(), bound)]);
        let none = BTreeMap::new();
        assert!(card.failures(&bounds("exact_match", 0.75), &none).is_empty());
        assert_eq!(
            card.failures(&bounds("exact_match", 0.8), &none),
            ["exact_match is 0.7500, below the minimum of 0.8"]
        );
        assert_eq!(
            card.failures(&none, &bounds("bits_per_byte", 1.0)),
            ["bits_per_byte is 1.2500, above the maximum of 1"]
        );
        assert!(card.failures(&bounds("source_exact_match", 0.1), &none)[0].contains("was not measured"));
    }

    #[test]
    fn a_failed_control_is_a_failure() {
        let mut card = card();
        let none = BTreeMap::new();
        assert!(card.failures(&none, &none).is_empty());
        card.control.base_side_equals_base = Some(false);
        assert!(card.failures(&none, &none)[0].contains("not the base"));
        card.control.zero_adapter_equals_base = false;
        assert_eq!(card.failures(&none, &none).len(), 2);
    }

    #[test]
    fn the_card_reads_back() {
        let text = serde_json::to_string(&card()).unwrap();
        assert_eq!(serde_json::from_str::<ReportCard>(&text).unwrap(), card());
    }
}
