//! The settings of a translation as a user writes them, and what they become.

use crate::dispatch::RetryPolicy;
use crate::engine::{Engine, Limits, Price};
use crate::engines::{
    DeepL, Google, HttpService, HttpTemplate, LibreTranslate, Memory, OpenAi, Setup, Yandex,
};
use crate::marian::{Marian, MarianOptions, Precision};
use crate::{EngineKind, Error, LanguagePair};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// `marian`: how its weights are kept.
    pub model_weights: ModelWeights,
    /// `marian`: beams of its search, 1 for greedy; by default what the model's own files say.
    pub beams: Option<usize>,
    /// The address of the service; for `http` a template with `{text}`, `{from}`, `{to}`, `{key}`.
    pub endpoint: Option<String>,
    /// The environment variable that holds the key of the service.
    pub api_key_env: Option<String>,
    /// `openai`: the model; `marian`: the folder of an OPUS-MT, M2M100 or NLLB model in the Hugging Face layout.
    pub model: Option<String>,
    /// `yandex`: the folder, where the key is the IAM token of a user.
    pub folder_id: Option<String>,
    /// `http`: the method, by default POST with a body and GET without.
    pub method: Option<String>,
    /// `http`: headers; their values are templates.
    pub headers: BTreeMap<String, String>,
    /// `http`: the template of the body: JSON, a form, or text.
    pub body: Option<String>,
    /// `http`: the path to the translation in a JSON answer; without it, the body is the translation.
    pub answer: Option<String>,
    /// Where answers are kept; by default beside the output.
    pub journal: Option<PathBuf>,
    /// Use the journal although it holds answers of other engines or languages only.
    pub share_journal: bool,
    /// What happens to an example with a segment that has no translation.
    pub on_miss: OnMiss,
    /// Translate system messages too.
    pub translate_system: bool,
    /// Requests under way at a time. This and the limits below are the service's own, if not said.
    pub concurrency: Option<usize>,
    /// Characters per request; a longer segment is sent alone.
    pub max_characters: Option<usize>,
    /// Segments per request.
    pub max_segments: Option<usize>,
    /// Requests that may start per second.
    pub requests_per_second: Option<f64>,
    /// Characters that may be sent per second.
    pub characters_per_second: Option<f64>,
    /// Seconds after which a request counts as failed.
    pub timeout_seconds: u64,
    /// Attempts at one request before the run stops.
    pub attempts: u32,
    /// The run starts only if it costs no more, and stops before it does.
    pub max_cost: Option<f64>,
    /// What the service charges for a million characters, if not its list price.
    pub price_per_million: Option<f64>,
    /// The currency of that, as ISO 4217 has it (`USD`).
    pub currency: Option<String>,
    /// Another engine, asked for what this one cannot translate; its languages are those of this one.
    pub fallback: Option<Box<TranslateConfig>>,
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
            folder_id: None,
            method: None,
            headers: BTreeMap::new(),
            body: None,
            answer: None,
            journal: None,
            share_journal: false,
            on_miss: OnMiss::Drop,
            translate_system: true,
            concurrency: None,
            max_characters: None,
            max_segments: None,
            requests_per_second: None,
            characters_per_second: None,
            timeout_seconds: 60,
            attempts: RetryPolicy::default().attempts,
            max_cost: None,
            price_per_million: None,
            currency: None,
            fallback: None,
        }
    }
}

/// How the weights of a local model are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelWeights {
    /// As they are: the answers are those of the model.
    F32,
    /// A quarter of the memory and two to three times as fast; answers may differ in a word here and there.
    #[default]
    Int8,
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
        self.check_fallbacks()?;
        Ok(Options {
            pair: LanguagePair::new(&self.from, &self.to)?,
            on_miss: self.on_miss,
            translate_system: self.translate_system,
            max_cost: self.max_cost()?,
            retry: RetryPolicy { attempts: self.attempts, ..RetryPolicy::default() },
        })
    }

    /// This engine and those behind it, in the order in which they are asked, all for the same languages.
    pub fn engines(&self) -> Vec<TranslateConfig> {
        let mut all = vec![TranslateConfig { fallback: None, ..self.clone() }];
        let mut next = self.fallback.as_deref();
        while let Some(config) = next {
            let (from, to) = (self.from.clone(), self.to.clone());
            all.push(TranslateConfig { from, to, fallback: None, ..config.clone() });
            next = config.fallback.as_deref();
        }
        all
    }

    /// The environment variable that may hold the key of the service.
    pub fn key_variable(&self) -> Option<&str> {
        self.api_key_env.as_deref().or(self.engine.usual_key_variable())
    }

    /// Open the engine. `api_key` is the content of the variable that `key_variable` names.
    ///
    /// # Errors
    /// A setting that the engine needs is missing or wrong, or its memory cannot be read.
    pub fn open_engine(&self, api_key: Option<String>) -> Result<Box<dyn Engine>, Error> {
        let needed = |key: &str| {
            Error::Config(format!("the engine `{}` needs the setting `{key}`", self.engine.name()))
        };
        let setup = self.setup(api_key)?;
        Ok(match self.engine {
            EngineKind::Memory => {
                let path = self.memory.as_ref().ok_or_else(|| needed("memory"))?;
                Box::new(Memory::open(path, &LanguagePair::new(&self.from, &self.to)?)?)
            }
            EngineKind::Marian => Box::new(self.open_marian(&needed)?),
            EngineKind::Yandex => Box::new(Yandex::new(setup, self.folder_id.clone())?),
            EngineKind::Google => Box::new(Google::new(setup)?),
            EngineKind::DeepL => Box::new(DeepL::new(setup)?),
            EngineKind::LibreTranslate if setup.endpoint.is_none() => return Err(needed("endpoint")),
            EngineKind::LibreTranslate => Box::new(LibreTranslate::new(setup)?),
            EngineKind::OpenAi => {
                Box::new(OpenAi::new(setup, self.model.clone().ok_or_else(|| needed("model"))?)?)
            }
            EngineKind::Http => {
                let template = HttpTemplate {
                    url: self.endpoint.clone().ok_or_else(|| needed("endpoint"))?,
                    method: self.method.clone(),
                    headers: self.headers.clone(),
                    body: self.body.clone(),
                    answer: self.answer.clone(),
                };
                Box::new(HttpService::new(setup, &template)?)
            }
        })
    }

    fn setup(&self, api_key: Option<String>) -> Result<Setup, Error> {
        Ok(Setup {
            endpoint: self.endpoint.clone(),
            api_key,
            limits: self.limits()?,
            price: self.price()?,
            timeout: Duration::from_secs(self.timeout_seconds),
        })
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
        Ok(Marian::open(Path::new(folder), &pair, options).map_err(Box::new)?)
    }

    /// What may be spent by all engines together, which takes that their prices are known and of one currency.
    fn max_cost(&self) -> Result<Option<f64>, Error> {
        let Some(limit) = amount("max_cost", self.max_cost)? else { return Ok(None) };
        let mut currency: Option<(String, &'static str)> = None;
        for config in self.engines() {
            let name = config.engine.name();
            match (config.price()?, &currency) {
                (None, _) if matches!(config.engine, EngineKind::OpenAi | EngineKind::Http) => {
                    return Err(Error::Config(format!(
                        "`max_cost` is set, but what the engine `{name}` costs is not known: say `price_per_million`"
                    )));
                }
                (Some(price), Some((first, whose))) if price.currency != *first => {
                    return Err(Error::Config(format!(
                        "`max_cost` cannot be counted in two currencies: `{whose}` has its price in {first}, `{name}` \
                         in {}; say `price_per_million` and `currency` for one of them",
                        price.currency
                    )));
                }
                (Some(price), None) => currency = Some((price.currency, name)),
                _ => {}
            }
        }
        Ok(Some(limit))
    }

    /// What concerns the whole translation is said once, beside the first engine: behind it, it would be ignored.
    fn check_fallbacks(&self) -> Result<(), Error> {
        let usual = Self::default();
        let mut next = self.fallback.as_deref();
        while let Some(config) = next {
            let foreign = [
                ("from", config.from != usual.from && config.from != self.from),
                ("to", !config.to.is_empty() && config.to != self.to),
                ("journal", config.journal.is_some()),
                ("share_journal", config.share_journal),
                ("on_miss", config.on_miss != usual.on_miss),
                ("translate_system", config.translate_system != usual.translate_system),
                ("attempts", config.attempts != usual.attempts),
                ("max_cost", config.max_cost.is_some()),
            ];
            if let Some((key, _)) = foreign.iter().find(|(_, is_set)| *is_set) {
                return Err(Error::Config(format!(
                    "`fallback`: `{key}` is of the whole translation: set it for the first engine, `{}`",
                    self.engine.name()
                )));
            }
            next = config.fallback.as_deref();
        }
        Ok(())
    }

    fn price(&self) -> Result<Option<Price>, Error> {
        let known = self.engine.price();
        let currency = self.currency.clone();
        let currency = currency.or(known.as_ref().map(|p| p.currency.clone())).unwrap_or("USD".to_string());
        let per_million =
            amount("price_per_million", self.price_per_million)?.or(known.map(|p| p.per_million));
        Ok(per_million.map(|per_million| Price { per_million, currency }))
    }

    /// The limits of the service, but for what the recipe says.
    fn limits(&self) -> Result<Limits, Error> {
        let counts = [
            ("concurrency", self.concurrency),
            ("max_characters", self.max_characters),
            ("max_segments", self.max_segments),
            ("timeout_seconds", usize::try_from(self.timeout_seconds).ok()),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::Config(format!("`{key}` is 0: at least 1 is needed")));
        }
        let rates = [
            ("requests_per_second", self.requests_per_second),
            ("characters_per_second", self.characters_per_second),
        ];
        if let Some((key, Some(rate))) =
            rates.into_iter().find(|(_, rate)| rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0))
        {
            return Err(Error::Config(format!("`{key}` is {rate}: expected a rate above 0")));
        }
        let own = self.engine.limits();
        Ok(Limits {
            characters: self.max_characters.unwrap_or(own.characters),
            segments: self.max_segments.unwrap_or(own.segments),
            concurrency: self.concurrency.unwrap_or(own.concurrency),
            requests_per_second: self.requests_per_second.or(own.requests_per_second),
            characters_per_second: self.characters_per_second.or(own.characters_per_second),
            character_burst: if self.characters_per_second.is_some() { 0 } else { own.character_burst },
            ..own
        })
    }
}

/// An amount of money in the setting `key`.
fn amount(key: &str, value: Option<f64>) -> Result<Option<f64>, Error> {
    match value {
        Some(value) if !(value.is_finite() && value >= 0.0) => {
            Err(Error::Config(format!("`{key}` is {value}: expected an amount of money, 0 or more")))
        }
        value => Ok(value),
    }
}
