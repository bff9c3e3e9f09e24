//! A recipe: one run of the whole line as a TOML document.
//!
//! [`Recipe`] is what the user typed; every setting may be left out there. [`RunPlan`] is what is valid,
//! with every default filled in; the step between the two is [`RunPlan::new`] alone. Sections hold the
//! same words as the flags of the stages' own commands.
//!
//! ```toml
//! [data]                    # which examples, from which language to which
//! [clean]                   # as `tolmach clean`
//! [translate]               # as `tolmach translate`; left out where nothing is to be translated
//! [base]                    # the model and its prompt templates
//! [lora]                    # the adapter
//! [train]                   # as `tolmach train`
//! [eval]                    # as `tolmach eval`
//! ```

mod parse;
mod plan;

pub use parse::{Source, read};
pub use plan::{RunPlan, Validation, translation};

use crate::stages::train::Quantize;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tolmach_corpus::CleanConfig;
use tolmach_eval::EvalConfig;
use tolmach_model::LoraConfig;
use tolmach_tokenize::PromptTemplate;
use tolmach_train::TrainConfig;
use tolmach_translate::TranslateConfig;

/// What the user typed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    pub data: DataSection,
    pub clean: CleanConfig,
    /// Left out: the data are in the language to be learnt already.
    pub translate: Option<TranslateConfig>,
    pub base: BaseSection,
    pub lora: LoraConfig,
    pub train: TrainConfig,
    pub eval: EvalConfig,
}

/// The section `[data]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSection {
    /// The examples: alpaca, ShareGPT, messages or text, as JSON or JSONL, also .gz and .zst.
    pub path: Option<PathBuf>,
    /// The language that they are in. Without it: `en`.
    pub from: Option<String>,
    /// The language to be learnt.
    pub to: Option<String>,
    /// Held-out examples in the language to be learnt, to watch the loss on.
    pub validation: Option<PathBuf>,
    /// Instead of a file: so large a share of the examples is held out. Without either: 0.02.
    pub validation_share: Option<f64>,
    /// Which examples those are; apart from the seed of the training, so that runs can be compared.
    pub split_seed: Option<u64>,
    /// Untranslated examples mixed into training, per translated one: they keep the source language
    /// alive. Without it: 0.1. Only where something is translated.
    pub replay_share: Option<f64>,
    /// Train the prompts too, not the answers alone.
    pub train_on_prompt: Option<bool>,
}

/// The section `[base]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseSection {
    /// The folder of the model that is taught, in the Hugging Face layout.
    pub model: Option<PathBuf>,
    /// `nf4` or `q8_0`: train over its linear layers in fewer bits. The adapter goes with the original.
    pub quantize: Option<Quantize>,
    /// Prompt template of the language to be learnt. Without it: the alpaca template in that language
    /// where there is one, else in English.
    pub template: Option<PromptTemplate>,
    /// Prompt template of the untranslated examples. Without it: likewise.
    pub source_template: Option<PromptTemplate>,
}

#[cfg(test)]
mod tests;
