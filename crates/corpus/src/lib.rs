//! Examples and their formats, cleaning rules, duplicates, split, data sets to be published.
//!
//! The way of a data set through this crate:
//!
//! ```text
//! file ──read_examples──▶ Vec<Example> ──clean──▶ Cleaned { kept, dropped, report }
//!                                                   kept ──write_examples──▶ JSONL, Parquet
//!                                                   kept ──split──▶ (train, validation)
//!                         translated ──write_data_set──▶ folder: train, validation, test, card
//! ```
//!
//! An [`Example`] keeps what its file said: the id, foreign fields, and later its source text. Every later
//! stage reads and writes the same JSONL lines.
//!
//! Invariant: nothing here depends on the number of threads, the time or the platform: the same file and
//! the same [`CleanConfig`] give the same bytes.

mod clean;
mod config;
mod data_set;
mod error;
mod example;
mod files;
mod language;
mod parquet;
mod read;
mod repair;
mod report;
mod row;
mod rules;
mod split;
mod text;
mod write;

pub use clean::{Cleaned, DroppedExample, clean};
pub use config::{CleanConfig, Switch};
pub use data_set::{
    CARD_FILE, DataFormat, DataSetFacts, DataSetFile, DataSetReport, DataSetSplit, data_set_files,
    write_data_set,
};
pub use error::{Error, RowError};
pub use example::{Body, Example, FieldName, Message, Role, Translation};
pub use files::{data_files, is_pattern};
pub use language::{Language, Script};
pub use read::{read_examples, read_examples_from};
pub use repair::Counts as RepairCounts;
pub use report::{CleanReport, RuleCount, ShownExample};
pub use rules::{RULES, Rule, RuleDescriptor};
pub use split::{Shares, Split, split, split_in_three};
pub use write::{write_examples, write_jsonl, write_jsonl_to};
