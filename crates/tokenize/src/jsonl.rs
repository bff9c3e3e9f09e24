//! Pre-tokenised examples: JSONL of `{"input_ids": […], "labels": […]}`, with an optional `id`.

use crate::error::Error;
use crate::token_example::{IGNORED, TokenExample};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use tolmach_durable::AtomicFile;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    input_ids: &'a [u32],
    labels: &'a [i32],
}

/// The first line that is not blank is an object with `input_ids`: pre-tokenised, not text.
///
/// # Errors
/// The file cannot be read.
pub fn looks_pretokenized(path: &Path) -> Result<bool, Error> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(read)? == 0 {
            return Ok(false);
        }
    }
    let value: Result<serde_json::Value, _> = serde_json::from_slice(&line);
    Ok(value.is_ok_and(|v| v.get("input_ids").is_some()))
}

/// Read and check a file; `vocab_size` is the model's, if known.
///
/// # Errors
/// The file cannot be read; a row is malformed (named `file:row`, rows counted from 1): not the
/// two lists, lists of different lengths, an id or label outside the vocabulary. A row without a trained label is
/// read as it is.
pub fn read_token_examples(path: &Path, vocab_size: Option<usize>) -> Result<Vec<TokenExample>, Error> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse_token_examples(BufReader::new(file), &path.display().to_string(), vocab_size)
}

/// The same from any reader; `file` is its name in errors.
///
/// # Errors
/// As [`read_token_examples`].
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
            .map_err(|e| bad(format!("expected {{\"input_ids\": […], \"labels\": […]}}: {e}")))?;
        examples.push(parsed.check(vocab_size).map_err(bad)?);
    }
    if examples.is_empty() {
        return Err(Error::NoExamples { file: file.to_string() });
    }
    Ok(examples)
}

impl Row {
    fn check(self, vocab_size: Option<usize>) -> Result<TokenExample, String> {
        let (tokens, labels) = (self.input_ids.len(), self.labels.len());
        if tokens == 0 {
            return Err("input_ids is empty".into());
        }
        if tokens != labels {
            return Err(format!(
                "{tokens} input_ids but {labels} labels; they must be equally many (unshifted)"
            ));
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
            return Err(format!(
                "input_ids[{at}] is {}, not in 0..{limit} (the vocabulary)",
                self.input_ids[at]
            ));
        }
        let ignored = i64::from(IGNORED);
        if let Some(at) = self.labels.iter().position(|&label| label != ignored && !in_range(label)) {
            return Err(format!(
                "labels[{at}] is {}, neither {IGNORED} nor in 0..{limit} (the vocabulary)",
                self.labels[at]
            ));
        }
        let id = self.id.filter(|id| !id.is_null()).map(|id| match id {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        });
        Ok(TokenExample {
            id,
            input_ids: self.input_ids.iter().map(|&id| id as u32).collect(),
            labels: self.labels.iter().map(|&label| label as i32).collect(),
        })
    }
}

/// Write examples; the file is whole or absent.
///
/// # Errors
/// It cannot be written.
pub fn write_token_examples(path: &Path, examples: &[TokenExample]) -> Result<(), Error> {
    let mut file = AtomicFile::create(path).map_err(Error::Write)?;
    for TokenExample { id, input_ids, labels } in examples {
        let row = RowOut { id: id.as_deref(), input_ids, labels };
        serde_json::to_writer(&mut file, &row).map_err(|e| Error::Write(e.into()))?;
        file.write_all(b"\n").map_err(Error::Write)?;
    }
    file.commit().map_err(Error::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse_token_examples(text.as_bytes(), "data.jsonl", Some(10)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.jsonl");
        let examples = vec![
            TokenExample { id: Some("а".into()), input_ids: vec![1, 2, 3], labels: vec![-100, 2, 3] },
            TokenExample { id: None, input_ids: vec![4, 5], labels: vec![4, 5] },
        ];
        write_token_examples(&path, &examples).unwrap();
        assert!(looks_pretokenized(&path).unwrap());
        assert_eq!(read_token_examples(&path, Some(6)).unwrap(), examples);
    }

    #[test]
    fn files_of_other_tools_are_read() {
        let text = "\n{\"id\": 7, \"length\": 2, \"attention_mask\": [1, 1], \"input_ids\": [1, 2], \"labels\": [-100, 2]}\n";
        let examples = parse_token_examples(text.as_bytes(), "f", None).unwrap();
        assert_eq!(
            examples,
            [TokenExample { id: Some("7".into()), input_ids: vec![1, 2], labels: vec![-100, 2] }]
        );
    }

    #[test]
    fn wrong_rows_are_named() {
        let good = "{\"input_ids\": [1, 2], \"labels\": [-100, 2]}\n";
        let second = |row: &str| error(&format!("{good}{row}"));
        for (row, says) in [
            ("{\"input_ids\": [1, 2]}", "missing field `labels`"),
            ("[1, 2]", "expected {\"input_ids\""),
            ("{\"input_ids\": [1, 2], \"labels\": [2]}", "2 input_ids but 1 labels"),
            ("{\"input_ids\": [], \"labels\": []}", "input_ids is empty"),
            ("{\"input_ids\": [1, 10], \"labels\": [-100, 2]}", "input_ids[1] is 10, not in 0..10"),
            ("{\"input_ids\": [-1, 1], \"labels\": [-100, 2]}", "input_ids[0] is -1"),
            ("{\"input_ids\": [1, 2], \"labels\": [-100, -1]}", "labels[1] is -1, neither -100"),
            ("{\"input_ids\": [1, 2], \"labels\": [-100, 10]}", "labels[1] is 10"),
            ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"attention_mask\": [1, 0]}", "without padding"),
        ] {
            let error = second(row);
            assert!(error.starts_with("data.jsonl:2: ") && error.contains(says), "{row} gave: {error}");
        }
        assert!(error("\n").contains("data.jsonl: no examples"));
    }

    #[test]
    fn text_files_do_not_look_pretokenized() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (text, expected) in [
            ("{\"instruction\": \"input_ids\", \"output\": \"\"}\n", false),
            ("[\n{\"input_ids\": [1]}]", false),
            ("", false),
            ("\n\n{\"input_ids\": [1], \"labels\": [1]}", true),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(looks_pretokenized(&path).unwrap(), expected, "{text}");
        }
        let missing = looks_pretokenized(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(missing.contains("absent"), "{missing}");
    }
}
