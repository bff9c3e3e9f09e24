//! What can go wrong with a data set file.

use std::io;

/// Every message names the file, the row where there is one, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open {file}: {source}")]
    Open { file: String, source: io::Error },
    #[error("no file matches {pattern}; a `*` in the name stands for any part of it")]
    NoMatch { pattern: String },
    #[error("cannot read {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file} is truncated: its compressed data end too early; copy or download it again")]
    Truncated { file: String },
    #[error(
        "{file}: line {line}: byte {column} is not UTF-8; convert the file to UTF-8 (for example with iconv)"
    )]
    NotUtf8 { file: String, line: usize, column: usize },
    #[error("{file}: line {line}, column {column}: {message}")]
    Json { file: String, line: usize, column: usize, message: String },
    #[error("{file}: row {row}: {problem}")]
    Row { file: String, row: usize, problem: RowError },
    #[error("{file} {found}; expected a JSON array of objects, JSONL with one object per line, or Parquet")]
    Format { file: String, found: String },
    #[error("{file} holds no examples: it is empty")]
    Empty { file: String },
    #[error("{file}: the Parquet file cannot be read: {problem}")]
    Parquet { file: String, problem: String },
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error("[clean] {key} = {found}: expected {expected}")]
    Config { key: &'static str, found: String, expected: &'static str },
}

/// Why a row that is good JSON is no example.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum RowError {
    #[error("expected an object, found {found}")]
    NotAnObject { found: &'static str },
    #[error("no {missing}; found keys: {found}; {advice}")]
    MissingKey { missing: &'static str, found: String, advice: String },
    #[error("`{key}` is {found}, expected {expected}")]
    WrongType { key: String, found: &'static str, expected: &'static str },
    #[error("`{key}` is `{found}`, expected one of {expected}")]
    UnknownRole { key: String, found: String, expected: &'static str },
    #[error("`{key}` holds a part of type `{found}`; only text can be learnt: remove the row or the part")]
    NotText { key: String, found: String },
}
