//! What a translation engine is: one attempt at one batch. Retrying, pausing, splitting and storing are
//! the same for every engine and live in `dispatch.rs`.

use crate::LanguagePair;
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

/// The limits of an engine. A segment longer than `characters` is sent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Characters (Unicode scalar values) per request.
    pub characters: usize,
    /// Segments per request.
    pub segments: usize,
    /// Requests under way at a time.
    pub concurrency: usize,
}

/// The target of one segment, or why there is none.
pub type Answer = Result<String, Miss>;

/// Why a segment has no translation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Miss {
    #[error("not in the translation memory")]
    NotInMemory,
    #[error("the engine returned an empty translation")]
    Empty,
    #[error("the engine refuses it: {0}")]
    Refused(String),
    #[error("the engine fails on it: {0}")]
    Failed(String),
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
            EngineError::Unreachable(_) | EngineError::SlowDown { .. } | EngineError::Fault(_) => {
                Some("run the same command again later: what was answered is stored and is not asked again")
            }
            EngineError::Miscount { .. } | EngineError::TooLarge(_) => None,
        }
    }
}
