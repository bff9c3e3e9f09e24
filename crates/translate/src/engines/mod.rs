//! The engines: one file per protocol.

mod codes;
mod deepl;
mod google;
mod http;
mod libretranslate;
mod memory;
mod openai;
mod tmx;
mod yandex;

pub(crate) use deepl::DeepL;
pub(crate) use google::Google;
pub(crate) use http::{HttpService, HttpTemplate};
pub(crate) use libretranslate::LibreTranslate;
pub use memory::{Memory, MemoryError, MemoryReport};
pub(crate) use openai::OpenAi;
pub(crate) use yandex::Yandex;

use crate::Error;
use crate::engine::{Answer, EngineError, Limits, Miss, Price};
use serde_json::Value;
use std::time::Duration;

/// What every service over HTTP is told.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Its address; `None` for the public one.
    pub endpoint: Option<String>,
    pub api_key: Option<String>,
    pub limits: Limits,
    pub price: Option<Price>,
    /// After how long a request counts as failed.
    pub timeout: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits { characters: 2000, segments: 50, ..Limits::UNLIMITED };
        Self { endpoint: None, api_key: None, limits, price: None, timeout: Duration::from_secs(60) }
    }
}

impl Setup {
    /// The key, for a service that does nothing without.
    ///
    /// # Errors
    /// There is none; the message says where to put it.
    fn key(&self, engine: &str, variable: &str) -> Result<&str, Error> {
        self.api_key.as_deref().ok_or_else(|| {
            Error::Config(format!(
                "the engine `{engine}` needs an API key: put it into the environment variable {variable}, \
                 or name another one with `api_key_env`"
            ))
        })
    }
}

/// The answers in a list of objects that hold each translation under `key`; `None` if it is no such list.
fn answers(list: Option<&Value>, key: &str, expected: usize) -> Option<Result<Vec<Answer>, EngineError>> {
    let list = list?.as_array()?;
    if list.len() != expected {
        return Some(Err(EngineError::Miscount { expected, found: list.len() }));
    }
    let texts: Option<Vec<&str>> = list.iter().map(|item| item.get(key)?.as_str()).collect();
    Some(Ok(texts?.into_iter().map(answer).collect()))
}

/// A translation, if it is one.
fn answer(text: &str) -> Answer {
    if text.trim().is_empty() { Err(Miss::Empty) } else { Ok(text.to_string()) }
}

/// What will not work, and what to do about it.
fn rejected(message: String, hint: &str) -> EngineError {
    EngineError::Rejected { message, hint: Some(hint.to_string()) }
}

/// A language that a service does not know.
fn unknown_language(code: &str, known: &[String]) -> EngineError {
    rejected(
        format!("the service does not know the language `{code}`"),
        &format!("it knows: {}", known.join(", ")),
    )
}
