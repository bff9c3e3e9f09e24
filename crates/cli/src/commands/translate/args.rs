//! The flags of `tolmach translate`, and the settings they become.

use crate::report::Failure;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tolmach_translate::{EngineKind, ModelWeights, OnMiss, TranslateConfig};

const EXAMPLES: &str = "\
Examples:
  From a translation memory (TMX, or JSONL of {\"source\", \"target\"}):
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru --engine memory --memory en-ru.tmx
  With an OPUS-MT model, on this machine:
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru --engine marian --model opus-mt-en-ru
  With a LibreTranslate server:
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru \\
      --engine libretranslate --endpoint http://localhost:5000
  What it would cost, without key and without sending anything; then for no more (key in DEEPL_API_KEY):
    tolmach translate clean.jsonl -o russian.jsonl --to ru --engine deepl --dry-run
    tolmach translate clean.jsonl -o russian.jsonl --to ru --engine deepl --max-cost 20
  With a chat model on this machine:
    tolmach translate clean.jsonl -o russian.jsonl --to ru --engine openai \\
      --endpoint http://localhost:8080/v1 --model qwen3-8b
  With any service that takes one text, one request a second:
    tolmach translate clean.jsonl -o russian.jsonl --to ru --engine http \\
      --endpoint https://mt.example/translate --body '{\"q\": \"{text}\", \"langs\": \"{from}-{to}\"}' \\
      --answer result.text

Stopped by Ctrl-C, a crash or a dead service, the same command goes on: every answer is in the journal.
Every answer is checked: protected parts, digits, language, length, sentences, loops. What fails is asked for
again in other ways. Examples that still fail go to OUT.review.jsonl, with the reason and a draft: mend the
draft there, run the same command with --force, and they are taken up.
Keys are read from the environment: YANDEX_API_KEY, GOOGLE_API_KEY, DEEPL_API_KEY, OPENAI_API_KEY, or the
variable that --api-key-env names.";

/// Translate a data set; every example stays whole, nothing is asked or paid for twice
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The data set to translate: JSON or JSONL, also .gz or .zst; `-` reads standard input
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,
    /// Where the translated examples go (JSONL)
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
    /// Language of the examples
    #[arg(long, default_value = "en", value_name = "CODE")]
    from: String,
    /// Language to translate into
    #[arg(long, value_name = "CODE")]
    to: String,
    /// Who translates
    #[arg(long, value_enum)]
    engine: EngineName,
    /// The translation memory of the engine `memory`: TMX, or JSONL of {"source", "target"}
    #[arg(long, value_name = "FILE", required_if_eq("engine", "memory"))]
    memory: Option<PathBuf>,
    /// The address of the service; for `http` with {text}, {from}, {to}, {key} where they go
    #[arg(long, value_name = "URL", required_if_eq_any([("engine", "libretranslate"), ("engine", "http")]))]
    endpoint: Option<String>,
    /// The environment variable that holds the key of the service
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// The model of the engine `openai`; of `marian`, a folder in the Hugging Face layout
    #[arg(long, value_name = "MODEL", required_if_eq_any([("engine", "openai"), ("engine", "marian")]))]
    model: Option<String>,
    /// `marian`: how the model's weights are kept
    #[arg(long, value_enum, default_value = "int8")]
    model_weights: WeightsName,
    /// `marian`: beams of the search, 1 for greedy [default: what the model's own files say]
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
    /// The folder of the engine `yandex`, where the key is the IAM token of a user
    #[arg(long, value_name = "ID")]
    folder_id: Option<String>,
    /// `http`: the method [default: POST with --body, GET without]
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// `http`: a header, as often as needed: "Authorization: Bearer {key}"
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// `http`: the body: JSON, a form or text, with {text}, {from}, {to}, {key} where they go
    #[arg(long, value_name = "TEMPLATE")]
    body: Option<String>,
    /// `http`: the path to the translation in a JSON answer: data.translations.0.text
    #[arg(long, value_name = "PATH")]
    answer: Option<String>,
    /// Another engine for what this one cannot translate: a TOML file with keys of [translate]
    #[arg(long, value_name = "FILE")]
    fallback: Option<PathBuf>,
    /// Where answers are kept [default: OUT.journal.sqlite; none for the engine `memory`]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Use the journal although it holds answers of other engines or languages only
    #[arg(long)]
    share_journal: bool,
    /// What happens to an example with a segment that has no translation
    #[arg(long, value_enum, default_value = "drop")]
    on_miss: OnMissName,
    /// Leave system messages as they are
    #[arg(long)]
    keep_system: bool,
    /// Requests under way at a time [default: 4; 1 for `http`]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Characters per request; a longer segment is sent alone [default: the service's limit]
    #[arg(long, value_name = "N")]
    max_characters: Option<usize>,
    /// Segments per request [default: the service's limit]
    #[arg(long, value_name = "N")]
    max_segments: Option<usize>,
    /// Requests that may start per second [default: the service's limit; 1 for `http`]
    #[arg(long, value_name = "N")]
    requests_per_second: Option<f64>,
    /// Characters that may be sent per second [default: the service's limit]
    #[arg(long, value_name = "N")]
    characters_per_second: Option<f64>,
    /// Seconds after which a request counts as failed
    #[arg(long, default_value_t = TranslateConfig::default().timeout_seconds, value_name = "N")]
    timeout_seconds: u64,
    /// Attempts at one request before the run stops
    #[arg(long, default_value_t = TranslateConfig::default().attempts, value_name = "N")]
    attempts: u32,
    /// Start only if it costs no more, and stop before it does
    #[arg(long, value_name = "MONEY")]
    max_cost: Option<f64>,
    /// What the service charges for a million characters [default: its list price of
    /// 2026, where known]
    #[arg(long, value_name = "MONEY")]
    price_per_million: Option<f64>,
    /// The currency of the price [default: USD]
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Show what would be sent and what it costs, and stop
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Overwrite OUT
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// A translation memory, looked up exactly
    Memory,
    /// An OPUS-MT, M2M100 or NLLB model, run here: no service, no key
    Marian,
    /// Yandex Cloud Translate
    Yandex,
    /// Google Cloud Translation, Basic
    Google,
    /// DeepL
    Deepl,
    /// A LibreTranslate server
    Libretranslate,
    /// A chat model behind OpenAI's protocol
    Openai,
    /// Any service that takes one text
    Http,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsName {
    /// As they are
    F32,
    /// A quarter of the memory and several times as fast; a word here and there may differ
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnMissName {
    /// Set it aside in OUT.review.jsonl
    Drop,
    /// Emit it untranslated
    Keep,
    /// Stop with an error
    Error,
}

impl Args {
    /// # Errors
    /// A header is none, or the file of the other engine cannot be read.
    pub(super) fn config(self) -> Result<TranslateConfig, Failure> {
        Ok(TranslateConfig {
            from: self.from,
            to: self.to,
            engine: match self.engine {
                EngineName::Memory => EngineKind::Memory,
                EngineName::Marian => EngineKind::Marian,
                EngineName::Yandex => EngineKind::Yandex,
                EngineName::Google => EngineKind::Google,
                EngineName::Deepl => EngineKind::DeepL,
                EngineName::Libretranslate => EngineKind::LibreTranslate,
                EngineName::Openai => EngineKind::OpenAi,
                EngineName::Http => EngineKind::Http,
            },
            memory: self.memory,
            endpoint: self.endpoint,
            api_key_env: self.api_key_env,
            model: self.model,
            model_weights: match self.model_weights {
                WeightsName::F32 => ModelWeights::F32,
                WeightsName::Int8 => ModelWeights::Int8,
            },
            beams: self.beams,
            folder_id: self.folder_id,
            method: self.method,
            headers: headers(&self.headers)?,
            body: self.body,
            answer: self.answer,
            journal: self.journal,
            share_journal: self.share_journal,
            on_miss: match self.on_miss {
                OnMissName::Drop => OnMiss::Drop,
                OnMissName::Keep => OnMiss::Keep,
                OnMissName::Error => OnMiss::Error,
            },
            translate_system: !self.keep_system,
            concurrency: self.concurrency,
            max_characters: self.max_characters,
            max_segments: self.max_segments,
            requests_per_second: self.requests_per_second,
            characters_per_second: self.characters_per_second,
            timeout_seconds: self.timeout_seconds,
            attempts: self.attempts,
            max_cost: self.max_cost,
            price_per_million: self.price_per_million,
            currency: self.currency,
            fallback: self.fallback.as_deref().map(fallback).transpose()?.map(Box::new),
        })
    }
}

fn headers(lines: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |line: &String| match line.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_string(), value.trim().to_string())),
        None => {
            Err(Failure::usage(format!("--header {line:?} is no header")).hint("write it as \"Name: value\""))
        }
    };
    lines.iter().map(pair).collect()
}

fn fallback(path: &Path) -> Result<TranslateConfig, Failure> {
    let named = |e: &dyn std::fmt::Display| format!("--fallback {}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| Failure::input(named(&e)))?;
    toml::from_str(&text).map_err(|e| {
        Failure::usage(named(&e)).hint("it holds keys of the recipe's section [translate], without its head")
    })
}
