//! What can go wrong in this crate.

use crate::engine::EngineError;
use crate::engines::MemoryError;
use crate::journal::JournalError;
use crate::marian::MarianError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    /// A setting is missing or makes no sense.
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Marian(#[from] Box<MarianError>),
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The service failed for good; `stored` answers of this run are in the journal.
    #[error("the engine `{engine}` failed: {source} ({stored} answers of this run are stored)")]
    Engine { engine: String, stored: usize, source: EngineError },
    /// Known before the first request.
    #[error("the translation would cost about {estimate:.2}, more than the {limit:.2} of `max_cost`")]
    TooDear { estimate: f64, limit: f64 },
    /// Repeated and repaired requests took more than the estimate.
    #[error("`max_cost` is used up: {spent:.2} of {limit:.2} ({stored} answers of this run are stored)")]
    Budget { limit: f64, spent: f64, stored: usize },
    /// `on_miss = "error"` and something has no translation.
    #[error("{missed} of {examples} examples have no complete translation; the first, `{id}`: {reason}")]
    Missed { missed: usize, examples: usize, id: String, reason: String },
    #[error("interrupted: {stored} answers of this run are stored, {left} segments are left")]
    Interrupted { stored: usize, left: usize },
    /// The count behind every run; it can fail only by a fault in this program.
    #[error(
        "{read} examples came in, but {emitted} were translated, {missed} set aside and {dropped} dropped"
    )]
    RowsLost { read: usize, emitted: usize, missed: usize, dropped: usize },
}
