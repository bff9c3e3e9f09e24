//! What a translation engine is: one attempt at one batch. Retrying, pausing, splitting and storing are
//! the same for every engine and live in `dispatch.rs`.

use crate::LanguagePair;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Translates segments: single lines without line breaks, list markers or white space at the edges.
pub trait Engine: Send + Sync {
    /// The name that recipes and emitted examples carry.
    fn name(&self) -> &str;

    /// What the journal files answers under. Two engines of one identity give the same answers.
    fn identity(&self) -> String {
        self.name().to_string()
    }

    /// What one request may hold, and how many may be under way.
    fn limits(&self) -> Limits;

    /// Whether the service takes one text per request and nothing else. Then a request is one segment of
    /// [`Limits::characters`] at most, and it pays to join many short segments into it.
    fn takes_one_text(&self) -> bool {
        false
    }

    /// What the characters sent cost; `None` for a service without a price.
    fn price(&self) -> Option<Price> {
        None
    }

    /// How it wants its texts.
    fn manner(&self) -> Manner {
        Manner::default()
    }

    /// Whether asking again costs neither money nor time, so that answers need no journal.
    fn is_free(&self) -> bool {
        false
    }

    /// Called once before the first batch: is the service there, and does it know both languages?
    ///
    /// # Errors
    /// It does not, or cannot be reached.
    fn check(&self, _pair: &LanguagePair) -> Result<(), EngineError> {
        Ok(())
    }

    /// One request: an answer for each segment, in order.
    ///
    /// # Errors
    /// The request as a whole failed; the kind of error says whether to try again, to split or to stop.
    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError>;
}

/// How an engine wants its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Manner {
    /// Line by line as they are, protected parts included: it looks up and does not translate.
    Lookup,
    /// Line by line, protected parts behind marks, several to a request.
    #[default]
    Lines,
    /// Sentence by sentence, protected parts behind marks, several to a request.
    Sentences,
}

/// The limits of an engine. A segment longer than `characters` is sent alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Characters (Unicode scalar values) per request.
    pub characters: usize,
    /// Segments per request.
    pub segments: usize,
    /// Characters sent between two segments of a request, where the engine puts any.
    pub joint: usize,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Requests that may start per second.
    pub requests_per_second: Option<f64>,
    /// Characters that may be sent per second.
    pub characters_per_second: Option<f64>,
    /// Characters that may be sent at once before that rate holds.
    pub character_burst: usize,
}

impl Limits {
    /// One request at a time, of any size, as fast as it goes.
    pub const UNLIMITED: Limits = Limits {
        characters: usize::MAX,
        segments: usize::MAX,
        joint: 0,
        concurrency: 1,
        requests_per_second: None,
        characters_per_second: None,
        character_burst: 0,
    };
}

/// What a service charges for the characters (Unicode scalar values) it is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Price {
    pub per_million: f64,
    /// ISO 4217: `USD`, `EUR`, `RUB`.
    pub currency: String,
}

impl Price {
    /// What `characters` cost.
    pub fn of(&self, characters: usize) -> f64 {
        self.per_million * characters as f64 / 1e6
    }
}

/// The target of one segment, or why there is none.
pub type Answer = Result<String, Miss>;

/// Why a segment has no translation.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "miss", content = "message", rename_all = "snake_case")]
pub enum Miss {
    #[error("not in the translation memory")]
    NotInMemory,
    #[error("the engine returned an empty translation")]
    Empty,
    #[error("the engine refuses it: {0}")]
    Refused(String),
    #[error("the engine fails on it: {0}")]
    Failed(String),
    /// It was asked for together with others, and the answer cannot be told apart.
    #[error("the answer cannot be attributed: {0}")]
    Garbled(String),
}

/// Why a request failed, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// No answer at all: not reachable, timed out, cut off, a gateway without a server behind it.
    #[error("{0}")]
    Unreachable(String),
    /// Told to slow down; nobody may ask before `retry_after`.
    #[error("{message}")]
    SlowDown { message: String, retry_after: Option<Duration> },
    /// It answered, but not with a translation. Perhaps one segment of the batch is the cause.
    #[error("{0}")]
    Fault(String),
    /// Another number of answers than segments: none can be attributed.
    #[error("{found} answers to {expected} segments")]
    Miscount { expected: usize, found: usize },
    /// The request exceeds a limit of the service.
    #[error("{0}")]
    TooLarge(String),
    /// It will not work however often it is tried: a wrong key, an unknown language, a wrong address.
    #[error("{message}")]
    Rejected { message: String, hint: Option<String> },
}

impl EngineError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            EngineError::Rejected { hint, .. } => hint.as_deref(),
            EngineError::Fault(_) => Some(
                "is the address that of the service's API? If it is, run the same command again later: what was \
                 answered is stored and is not asked again",
            ),
            EngineError::Unreachable(_) | EngineError::SlowDown { .. } => {
                Some("run the same command again later: what was answered is stored and is not asked again")
            }
            EngineError::Miscount { .. } | EngineError::TooLarge(_) => None,
        }
    }
}
