//! What the user asks to be measured: the recipe's section `[eval]`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tolmach_model::SamplingConfig;
use tolmach_tokenize::PromptTemplate;

/// The section `[eval]`. Every field has a default; paths are as the recipe writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Held-out examples in the target language: instructions with answers, or plain texts.
    pub data: Option<PathBuf>,
    /// The same in the source language: what the model could do before and should still do.
    pub source_data: Option<PathBuf>,
    /// Held-out running text in the target language, for bits per byte alone.
    pub text: Option<PathBuf>,
    /// Held-out running text in the source language.
    pub source_text: Option<PathBuf>,
    /// The prompt template of `data`; absent: the one the adapter was trained with, else `alpaca-en`.
    pub template: Option<PromptTemplate>,
    /// The prompt template of `source_data`; absent: `alpaca-en`.
    pub source_template: Option<PromptTemplate>,
    /// The language that replies should be in, as an ISO 639-1 code; absent: the language that the
    /// examples of `data` are marked with, if any.
    pub language: Option<String>,
    /// The same of `source_data`; absent: its examples' mark, else `en`.
    pub source_language: Option<String>,
    /// Longest reply in tokens; absent: 128, or half the model's context if that is less.
    pub max_new_tokens: Option<usize>,
    /// Replies decoded together.
    pub batch: usize,
    /// At most so many examples of each set, evenly spread over it; absent: all.
    pub limit: Option<usize>,
    /// Replies shown on the card.
    pub samples: usize,
    /// 0 is greedy, and the only setting whose figures can be compared between runs.
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: usize,
    pub repetition_penalty: f32,
    pub seed: u64,
    /// Bounds by name of the measure; where one is not met, the command fails (exit code 1).
    pub minimum: BTreeMap<String, f64>,
    pub maximum: BTreeMap<String, f64>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        let SamplingConfig { temperature, top_p, top_k, repetition_penalty, seed } =
            SamplingConfig::default();
        EvalConfig {
            data: None,
            source_data: None,
            text: None,
            source_text: None,
            template: None,
            source_template: None,
            language: None,
            source_language: None,
            max_new_tokens: None,
            batch: 16,
            limit: None,
            samples: 8,
            temperature,
            top_p,
            top_k,
            repetition_penalty,
            seed,
            minimum: BTreeMap::new(),
            maximum: BTreeMap::new(),
        }
    }
}

/// How replies are made, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub max_new_tokens: Option<usize>,
    pub batch: usize,
    pub limit: usize,
    pub samples: usize,
    pub sampling: SamplingConfig,
}

impl EvalConfig {
    /// # Errors
    /// A number outside its range; a bound on a measure that the card does not have.
    pub fn settings(&self) -> Result<Settings> {
        let check = |ok: bool, key, found: String, expected: &str| {
            if ok { Ok(()) } else { Err(Error::Config { key, found, expected: expected.into() }) }
        };
        let at_least_one = "at least 1";
        let new = self.max_new_tokens;
        check(new != Some(0), "max_new_tokens", "0".into(), at_least_one)?;
        check(self.limit != Some(0), "limit", "0".into(), at_least_one)?;
        check(self.batch > 0, "batch", "0".into(), at_least_one)?;
        let t = self.temperature;
        check(t >= 0.0 && t.is_finite(), "temperature", t.to_string(), "0 or more")?;
        let p = self.top_p;
        check(p > 0.0 && p <= 1.0, "top_p", p.to_string(), "above 0, at most 1")?;
        let r = self.repetition_penalty;
        check(r > 0.0 && r.is_finite(), "repetition_penalty", r.to_string(), "above 0")?;
        for name in self.minimum.keys().chain(self.maximum.keys()) {
            crate::card::check_measure_name(name)?;
        }
        let sampling = SamplingConfig {
            temperature: t,
            top_p: p,
            top_k: self.top_k,
            repetition_penalty: r,
            seed: self.seed,
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        Ok(Settings { max_new_tokens: new, batch: self.batch, limit, samples: self.samples, sampling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut EvalConfig)) -> String {
        let mut config = EvalConfig::default();
        change(&mut config);
        config.settings().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_greedy_and_valid() {
        let settings = EvalConfig::default().settings().unwrap();
        assert_eq!(settings.sampling, SamplingConfig::default());
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        assert_eq!(error(|c| c.limit = Some(0)), "[eval] limit = 0: expected at least 1");
        assert!(error(|c| c.top_p = 1.5).contains("top_p = 1.5"));
        assert!(error(|c| c.temperature = f32::NAN).contains("temperature = NaN"));
        let unknown = error(|c| c.minimum = BTreeMap::from([("exactmatch".into(), 0.5)]));
        assert!(unknown.contains("`exactmatch`") && unknown.contains("exact_match"), "{unknown}");
    }
}
