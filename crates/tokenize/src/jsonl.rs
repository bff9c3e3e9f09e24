//! Pre-tokenised examples: JSONL of `{"input_ids": […], "labels": […]}`, with an optional `id`.

use crate::error::Error;
use crate::token_example::{IGNORED, TokenExample};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// A line as written. Other columns that data sets carry along (`length`, `text`) are passed over.
#[derive(Deserialize)]
struct Row {
    id: Option<serde_json::Value>,
    input_ids: Vec<i64>,
    labels: Vec<i64>,
    attention_mask: Option<Vec<i64>>,
}

#[derive(Serialize)]
struct RowOut<'a> {
    id: &'a str,
    input_ids: &'a [u32],
    labels: &'a [i32],
}

/// The first line of the file is an object with `input_ids`: pre-tokenised, not text.
pub fn looks_pretokenized(path: &Path) -> Result<bool, Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let mut first = Vec::new();
    BufReader::new(File::open(path).map_err(io)?).read_until(b'\n', &mut first).map_err(io)?;
    let value: Result<serde_json::Value, _> = serde_json::from_slice(&first);
    Ok(value.is_ok_and(|v| v.get("input_ids").is_some()))
}

/// Read and check a file; `vocab_size` is the model's, if known. Errors name `file:row`.
pub fn read_token_examples(path: &Path, vocab_size: Option<usize>) -> Result<Vec<TokenExample>, Error> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
    parse_token_examples(BufReader::new(file), &path.display().to_string(), vocab_size)
}

/// The same from any reader; `file` is its name in errors. An example without an id gets its row.
pub fn parse_token_examples(
    reader: impl BufRead,
    file: &str,
    vocab_size: Option<usize>,
) -> Result<Vec<TokenExample>, Error> {
    let mut examples = Vec::new();
    for (line, row) in reader.lines().zip(1..) {
        let bad = |reason: String| Error::Row { file: file.to_string(), row, reason };
        let line = line.map_err(|e| bad(e.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let parsed: Row = serde_json::from_str(&line)
            .map_err(|e| bad(format!("expected {{\"input_ids\": [...], \"labels\": [...]}}: {e}")))?;
        examples.push(parsed.check(row, vocab_size).map_err(bad)?);
    }
    if examples.is_empty() {
        return Err(Error::NoExamples { file: file.to_string() });
    }
    Ok(examples)
}

impl Row {
    fn check(self, row: usize, vocab_size: Option<usize>) -> Result<TokenExample, String> {
        let (tokens, labels) = (self.input_ids.len(), self.labels.len());
        if tokens == 0 {
            return Err("input_ids is empty".into());
        }
        if tokens != labels {
            return Err(format!("{tokens} input_ids but {labels} labels; they must be equally many (unshifted)"));
        }
        if let Some(mask) = &self.attention_mask
            && (mask.len() != tokens || mask.iter().any(|&m| m != 1))
        {
            return Err("attention_mask hides tokens; write the examples without padding".into());
        }
        // Labels are i32, so ids must fit there too.
        let limit = vocab_size.map_or(i64::from(i32::MAX), |v| v as i64);
        let in_range = |id: i64| (0..limit).contains(&id);
        if let Some(at) = self.input_ids.iter().position(|&id| !in_range(id)) {
            return Err(format!("input_ids[{at}] is {}, not in 0..{limit} (the vocabulary)", self.input_ids[at]));
        }
        let ignored = i64::from(IGNORED);
        if let Some(at) = self.labels.iter().position(|&label| label != ignored && !in_range(label)) {
            return Err(format!("labels[{at}] is {}, neither {IGNORED} nor in 0..{limit}", self.labels[at]));
        }
        let id = match self.id {
            None | Some(serde_json::Value::Null) => row.to_string(),
            Some(serde_json::Value::String(id)) => id,
            Some(other) => other.to_string(),
        };
        let example = TokenExample {
            id,
            input_ids: self.input_ids.iter().map(|&id| id as u32).collect(),
            labels: self.labels.iter().map(|&label| label as i32).collect(),
        };
        if example.trained_tokens() == 0 {
            return Err(format!("no label is trained (all are {IGNORED}; labels[0] has nothing before it)"));
        }
        Ok(example)
    }
}

/// Write examples: to a temporary name, synced, renamed. An existing file is overwritten only with `force`.
pub fn write_token_examples(path: &Path, examples: &[TokenExample], force: bool) -> Result<(), Error> {
    if !force && path.exists() {
        return Err(Error::Exists { path: path.to_path_buf() });
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_rows(&temporary, examples).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The error at hand matters more than one of tidying up after it.
        let _ = fs::remove_file(&temporary);
        Error::Io { path: path.to_path_buf(), source }
    })
}

fn write_rows(path: &Path, examples: &[TokenExample]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut writer = BufWriter::new(file);
    for TokenExample { id, input_ids, labels } in examples {
        serde_json::to_writer(&mut writer, &RowOut { id, input_ids, labels })?;
        writer.write_all(b"\n")?;
    }
    writer.into_inner()?.sync_all()
}
