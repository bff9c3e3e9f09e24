//! The settings of a translation as a user writes them, and what they become.

use crate::dispatch::RetryPolicy;
use crate::engine::{Engine, Limits};
use crate::engines::{LibreTranslate, Memory};
use crate::marian::{Marian, MarianOptions, Precision};
use crate::{Error, LanguagePair};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The section `[translate]` of a recipe; the flags of `tolmach translate` have the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslateConfig {
    /// Language of the examples.
    pub from: String,
    /// Language to translate into.
    pub to: String,
    pub engine: EngineKind,
    /// `memory`: the translation memory, TMX or JSONL of `{"source", "target"}`.
    pub memory: Option<PathBuf>,
    /// `marian`: the folder of an OPUS-MT model in the Hugging Face layout.
    pub model: Option<PathBuf>,
    /// `marian`: how its weights are kept.
    pub model_weights: ModelWeights,
    /// `marian`: beams of its search, 1 for greedy; by default what the model's own files say.
    pub beams: Option<usize>,
    /// `libretranslate`: the address of the server.
    pub endpoint: Option<String>,
    /// The environment variable that holds the key of the service.
    pub api_key_env: Option<String>,
    /// Where answers are kept; by default beside the output.
    pub journal: Option<PathBuf>,
    /// What happens to an example with a segment that has no translation.
    pub on_miss: OnMiss,
    /// Translate system messages too.
    pub translate_system: bool,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Characters per request; a longer segment is sent alone.
    pub max_characters: usize,
    /// Segments per request.
    pub max_segments: usize,
    /// Seconds after which a request counts as failed.
    pub timeout_seconds: u64,
    /// Attempts at one request before the run stops.
    pub attempts: u32,
    /// The run starts only if it costs no more, and stops before it does.
    pub max_cost: Option<f64>,
}

impl Default for TranslateConfig {
    fn default() -> Self {
        Self {
            from: "en".to_string(),
            to: String::new(),
            engine: EngineKind::Memory,
            memory: None,
            model: None,
            model_weights: ModelWeights::default(),
            beams: None,
            endpoint: None,
            api_key_env: None,
            journal: None,
            on_miss: OnMiss::Drop,
            translate_system: true,
            concurrency: 4,
            max_characters: 2000,
            max_segments: 50,
            timeout_seconds: 60,
            attempts: RetryPolicy::default().attempts,
            max_cost: None,
        }
    }
}

/// Who translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    Memory,
    Marian,
    LibreTranslate,
}

/// How the weights of a local model are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelWeights {
    /// As they are: the answers are those of the model.
    #[default]
    F32,
    /// A quarter of the memory and several times as fast; answers may differ in a word here and there.
    Int8,
}

impl EngineKind {
    pub const ALL: [EngineKind; 3] = [EngineKind::Memory, EngineKind::Marian, EngineKind::LibreTranslate];

    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Memory => "memory",
            EngineKind::Marian => "marian",
            EngineKind::LibreTranslate => "libretranslate",
        }
    }
}

/// What happens to an example with a segment that has no translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMiss {
    /// It is set aside with the reason.
    #[default]
    Drop,
    /// It is emitted in its source language, with the reason in `translation.repairs`.
    Keep,
    /// The run fails and nothing is emitted.
    Error,
}

/// Valid settings of one run.
#[derive(Clone, Debug)]
pub struct Options {
    pub pair: LanguagePair,
    pub on_miss: OnMiss,
    pub translate_system: bool,
    pub retry: RetryPolicy,
    /// What the run may cost, in the currency of the engine's price.
    pub max_cost: Option<f64>,
}

impl TranslateConfig {
    /// Check the settings that do not concern the engine.
    ///
    /// # Errors
    /// A setting is missing or makes no sense; the message names it.
    pub fn options(&self) -> Result<Options, Error> {
        if self.to.is_empty() {
            return Err(Error::Config("`to` is missing: which language to translate into?".to_string()));
        }
        if self.attempts == 0 {
            return Err(Error::Config("`attempts` is 0: at least one is needed".to_string()));
        }
        Ok(Options {
            pair: LanguagePair::new(&self.from, &self.to)?,
            on_miss: self.on_miss,
            translate_system: self.translate_system,
            max_cost: self.max_cost()?,
            retry: RetryPolicy { attempts: self.attempts, ..RetryPolicy::default() },
        })
    }

    /// Open the engine. `api_key` is the content of the variable that `api_key_env` names.
    ///
    /// # Errors
    /// A setting that the engine needs is missing or wrong, or its memory cannot be read.
    pub fn open_engine(&self, api_key: Option<String>) -> Result<Box<dyn Engine>, Error> {
        let needed = |key: &str| {
            Error::Config(format!("the engine `{}` needs the setting `{key}`", self.engine.name()))
        };
        match self.engine {
            EngineKind::Memory => {
                let path = self.memory.as_ref().ok_or_else(|| needed("memory"))?;
                Ok(Box::new(Memory::open(path, &LanguagePair::new(&self.from, &self.to)?)?))
            }
            EngineKind::Marian => Ok(Box::new(self.open_marian(&needed)?)),
            EngineKind::LibreTranslate => {
                let endpoint = self.endpoint.as_ref().ok_or_else(|| needed("endpoint"))?;
                let timeout = Duration::from_secs(self.timeout_seconds);
                Ok(Box::new(LibreTranslate::new(endpoint, api_key, self.limits()?, timeout)?))
            }
        }
    }

    fn open_marian(&self, needed: &impl Fn(&str) -> Error) -> Result<Marian, Error> {
        let folder = self.model.as_ref().ok_or_else(|| needed("model"))?;
        if self.beams == Some(0) {
            return Err(Error::Config("`beams` is 0: at least 1 is needed".to_string()));
        }
        let precision = match self.model_weights {
            ModelWeights::F32 => Precision::F32,
            ModelWeights::Int8 => Precision::Int8,
        };
        let options = MarianOptions { precision, num_beams: self.beams, ..MarianOptions::default() };
        let pair = LanguagePair::new(&self.from, &self.to)?;
        Ok(Marian::open(folder, &pair, options).map_err(Box::new)?)
    }

    fn max_cost(&self) -> Result<Option<f64>, Error> {
        match self.max_cost {
            Some(cost) if !(cost.is_finite() && cost >= 0.0) => {
                Err(Error::Config(format!("`max_cost` is {cost}: expected an amount of money, 0 or more")))
            }
            cost => Ok(cost),
        }
    }

    fn limits(&self) -> Result<Limits, Error> {
        let settings = [
            ("concurrency", self.concurrency),
            ("max_characters", self.max_characters),
            ("max_segments", self.max_segments),
            ("timeout_seconds", usize::try_from(self.timeout_seconds).unwrap_or(usize::MAX)),
        ];
        if let Some((key, _)) = settings.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config(format!("`{key}` is 0: at least 1 is needed")));
        }
        let (characters, segments) = (self.max_characters, self.max_segments);
        Ok(Limits { characters, segments, concurrency: self.concurrency, ..Limits::UNLIMITED })
    }
}
