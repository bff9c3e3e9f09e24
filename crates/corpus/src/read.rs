//! Reading a data set file: JSON array, JSONL or Parquet, plain or compressed, any format of [`crate::row`].

use crate::error::Error;
use crate::example::Example;
use crate::files::data_files;
use crate::parquet;
use crate::row::example_from_row;
use crate::text::excerpt;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Read every example of a file, or of all files that a pattern stands for ([`data_files`]); `-` is standard input.
/// Parquet, `.gz` and `.zst` are known by their first bytes, not by name. JSONL is read line by line, so only its
/// examples are held in memory.
///
/// An example without an id gets the hash of its content; an id that occurs twice gets `-2`, `-3`… so
/// that ids are unique within the result.
///
/// # Errors
/// The file is missing, truncated, not UTF-8, not JSON, or has a row that is no example. The message
/// names the file and the row (its line in JSONL, its place in an array, from 1).
pub fn read_examples(path: &Path) -> Result<Vec<Example>, Error> {
    if path.as_os_str() == "-" {
        return read_examples_from(io::stdin().lock(), "standard input");
    }
    let files = data_files(path)?;
    let mut examples = Vec::new();
    for path in &files {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Open { file: name.clone(), source })?;
        examples.append(&mut read_examples_from(file, &name)?);
    }
    if files.len() > 1 {
        make_ids_unique(&mut examples);
    }
    Ok(examples)
}

/// As [`read_examples`], from any reader; `name` stands for the file in messages.
///
/// # Errors
/// As [`read_examples`].
pub fn read_examples_from(reader: impl Read, name: &str) -> Result<Vec<Example>, Error> {
    let source = Source { file: name };
    let mut input = source.decompress(reader)?;
    let mut start = Vec::new();
    // Up to the end of the first line that is not blank.
    while start.trim_ascii().is_empty() {
        if input.read_until(b'\n', &mut start).map_err(|e| source.read_error(e))? == 0 {
            return Err(Error::Empty { file: name.into() });
        }
        if start.starts_with(parquet::MAGIC) {
            input.read_to_end(&mut start).map_err(|e| source.read_error(e))?;
            return source.parse_parquet(start);
        }
        if let Some(found) = unsupported_encoding(&start) {
            return Err(Error::Format { file: name.into(), found: found.into() });
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            start.drain(..3);
        }
    }
    let mut examples = match start.trim_ascii_start()[0] {
        b'[' => {
            input.read_to_end(&mut start).map_err(|e| source.read_error(e))?;
            source.parse_array(&start)?
        }
        b'{' => source.parse_lines(&start, input)?,
        _ => {
            let line = String::from_utf8_lossy(start.trim_ascii());
            return Err(Error::Format {
                file: name.into(),
                found: format!("begins with `{}`", excerpt(&line, 20)),
            });
        }
    };
    make_ids_unique(&mut examples);
    Ok(examples)
}

/// The file being read, for its name in errors.
struct Source<'a> {
    file: &'a str,
}

impl Source<'_> {
    fn decompress<'r>(&self, mut reader: impl Read + 'r) -> Result<Box<dyn BufRead + 'r>, Error> {
        let mut magic = Vec::with_capacity(4);
        reader.by_ref().take(4).read_to_end(&mut magic).map_err(|e| self.read_error(e))?;
        let whole = Cursor::new(magic.clone()).chain(reader);
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(whole))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let decoder = zstd::Decoder::new(whole).map_err(|e| self.read_error(e))?;
                Box::new(BufReader::new(decoder))
            }
            _ => Box::new(BufReader::with_capacity(1 << 16, whole)),
        })
    }

    fn read_error(&self, source: io::Error) -> Error {
        let file = self.file.to_string();
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { file },
            _ => Error::Read { file, source },
        }
    }

    /// `start` holds the first lines (blank but for the last), `rest` what follows.
    fn parse_lines(&self, start: &[u8], mut rest: impl BufRead) -> Result<Vec<Example>, Error> {
        let mut examples = Vec::new();
        let mut number = start.iter().filter(|&&b| b == b'\n').count();
        if !start.ends_with(b"\n") {
            number += 1; // the only line, without a line end
        }
        let mut line = start.trim_ascii().to_vec();
        loop {
            if !line.trim_ascii().is_empty() {
                examples.push(self.parse_line(&line, number)?);
            }
            line.clear();
            number += 1;
            if rest.read_until(b'\n', &mut line).map_err(|e| self.read_error(e))? == 0 {
                return Ok(examples);
            }
        }
    }

    fn parse_line(&self, line: &[u8], number: usize) -> Result<Example, Error> {
        let text = std::str::from_utf8(line).map_err(|e| Error::NotUtf8 {
            file: self.file.into(),
            line: number,
            column: e.valid_up_to() + 1,
        })?;
        let row: Value = serde_json::from_str(text).map_err(|e| {
            let mut error = self.json_error(&e, number - 1);
            if let (true, Error::Json { message, .. }) = (e.is_eof(), &mut error) {
                message.push_str(" (in JSONL each line is one whole object)");
            }
            error
        })?;
        example_from_row(row).map_err(|problem| Error::Row { file: self.file.into(), row: number, problem })
    }

    fn parse_array(&self, bytes: &[u8]) -> Result<Vec<Example>, Error> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let good = &bytes[..e.valid_up_to()];
            let line_start = good.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
            Error::NotUtf8 { file: self.file.into(), line, column: good.len() - line_start + 1 }
        })?;
        let mut rows = Rows { file: self.file, examples: Vec::new(), bad_row: None };
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = json.deserialize_seq(&mut rows).and_then(|()| json.end());
        match (rows.bad_row, parsed) {
            (Some(error), _) => Err(error),
            (None, Err(e)) => Err(self.json_error(&e, 0)),
            (None, Ok(())) if rows.examples.is_empty() => Err(Error::Empty { file: self.file.into() }),
            (None, Ok(())) => Ok(rows.examples),
        }
    }

    fn parse_parquet(&self, bytes: Vec<u8>) -> Result<Vec<Example>, Error> {
        let damaged = |problem| Error::Parquet { file: self.file.into(), problem };
        let rows = parquet::rows(bytes).map_err(damaged)?;
        let mut examples = Vec::with_capacity(rows.len());
        for (row, number) in rows.into_iter().zip(1..) {
            let example = example_from_row(row);
            examples.push(example.map_err(|problem| Error::Row {
                file: self.file.into(),
                row: number,
                problem,
            })?);
        }
        if examples.is_empty() {
            return Err(Error::Empty { file: self.file.into() });
        }
        make_ids_unique(&mut examples);
        Ok(examples)
    }

    fn json_error(&self, error: &serde_json::Error, lines_before: usize) -> Error {
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        let line = lines_before + error.line();
        Error::Json { file: self.file.into(), line, column: error.column(), message: message.into() }
    }
}

/// Turns the elements of a JSON array into examples one by one, without a tree of the whole file.
struct Rows<'a> {
    file: &'a str,
    examples: Vec<Example>,
    /// The first row that is no example: its own error says more than serde's wrapping would.
    bad_row: Option<Error>,
}

impl<'de> Visitor<'de> for &mut Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Value>()? {
            match example_from_row(row) {
                Ok(example) => self.examples.push(example),
                Err(problem) => {
                    let row = self.examples.len() + 1;
                    self.bad_row = Some(Error::Row { file: self.file.into(), row, problem });
                    return Err(serde::de::Error::custom("bad row"));
                }
            }
        }
        Ok(())
    }
}

fn unsupported_encoding(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("is UTF-16; convert it to UTF-8 (for example with iconv)")
        }
        [b'P', b'K', 3, 4, ..] => Some("is a zip archive; unpack it first"),
        _ => None,
    }
}

fn make_ids_unique(examples: &mut [Example]) {
    // How often an id was met, so that a file whose rows all share one id costs no square.
    let mut met: HashMap<String, usize> = HashMap::with_capacity(examples.len());
    for example in examples {
        if !met.contains_key(&example.id) {
            met.insert(example.id.clone(), 1);
            continue;
        }
        let id = loop {
            let count = met.entry(example.id.clone()).and_modify(|count| *count += 1).or_insert(1);
            let candidate = format!("{}-{count}", example.id);
            if !met.contains_key(&candidate) {
                break candidate;
            }
        };
        met.insert(id.clone(), 1);
        example.id = id;
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
