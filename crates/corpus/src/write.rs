//! Writing rows as JSONL or Parquet: atomic, the format and its compression by the name's extension.

use crate::error::Error;
use crate::example::Example;
use crate::parquet::Columns;
use flate2::write::GzEncoder;
use parquet::errors::ParquetError;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tolmach_durable::AtomicFile;

const ZSTD_LEVEL: i32 = 9;

/// Write examples as JSONL that [`crate::read_examples`] reads back, or as Parquet where the name ends in
/// `.parquet`: whole or not at all. A name that ends in `.gz` or `.zst` is compressed.
///
/// # Errors
/// The file cannot be written; the message names it. The old file, if any, is then untouched.
pub fn write_examples<'a>(path: &Path, examples: impl IntoIterator<Item = &'a Example>) -> Result<(), Error> {
    if !is_parquet(path) {
        return write_jsonl(path, examples);
    }
    let examples: Vec<&Example> = examples.into_iter().collect();
    let columns = columns_of(&examples).map_err(|source| write_error(path, source))?;
    write_parquet(path, &columns, &examples)
}

/// Columns that hold all of the examples.
pub(crate) fn columns_of(examples: &[&Example]) -> io::Result<Columns> {
    Columns::of(examples.iter().map(row)).map_err(parquet_error)
}

/// As [`write_examples`], as Parquet with given columns.
pub(crate) fn write_parquet(path: &Path, columns: &Columns, examples: &[&Example]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let file = AtomicFile::create(path)?;
        columns.write(file, examples.iter().map(row)).map_err(parquet_error)?.commit()
    };
    write().map_err(|source| write_error(path, source))
}

fn row(example: &&Example) -> serde_json::Value {
    serde_json::to_value(example).unwrap_or_default() // an example is texts: it always serialises
}

fn parquet_error(e: ParquetError) -> io::Error {
    match e {
        ParquetError::General(problem) => io::Error::other(problem),
        other => io::Error::other(other),
    }
}

pub(crate) fn write_error(path: &Path, source: io::Error) -> Error {
    Error::Write { file: path.display().to_string(), source }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// As [`write_examples`], for rows of any kind, as JSONL only.
///
/// # Errors
/// As [`write_examples`].
pub fn write_jsonl<T: Serialize>(path: &Path, rows: impl IntoIterator<Item = T>) -> Result<(), Error> {
    if is_parquet(path) {
        return Err(write_error(path, io::Error::other("these rows are written as JSONL only: name it so")));
    }
    let write = || -> io::Result<()> {
        let file = AtomicFile::create(path)?;
        let file = match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => {
                let mut encoder = BufWriter::new(GzEncoder::new(file, flate2::Compression::default()));
                write_jsonl_to(&mut encoder, rows)?;
                encoder.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?
            }
            Some("zst") => {
                let mut encoder = BufWriter::new(zstd::Encoder::new(file, ZSTD_LEVEL)?);
                write_jsonl_to(&mut encoder, rows)?;
                encoder.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?
            }
            _ => {
                let mut file = file;
                write_jsonl_to(&mut file, rows)?;
                file
            }
        };
        file.commit()
    };
    write().map_err(|source| write_error(path, source))
}

/// Write rows as JSONL to any writer (buffer it: rows are written in small pieces).
///
/// # Errors
/// The writer fails.
pub fn write_jsonl_to<T: Serialize>(
    mut writer: impl Write,
    rows: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut writer, &row)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Body;

    #[test]
    fn a_failing_row_leaves_the_old_file() {
        struct Unserialisable;
        impl Serialize for Unserialisable {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let example = Example::new(Body::Text { text: "a".into() });
        write_examples(&path, [&example]).unwrap();
        let error = write_jsonl(&path, [Unserialisable]).unwrap_err().to_string();
        assert!(error.contains("out.jsonl"), "{error}");
        assert_eq!(crate::read_examples(&path).unwrap(), [example]);
    }

    #[test]
    fn rows_that_are_no_examples_do_not_end_up_as_text_named_parquet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dropped.parquet");
        let error = write_jsonl(&path, [1]).unwrap_err().to_string();
        assert!(error.contains("dropped.parquet") && error.contains("JSONL only"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn compressed_output_does_not_depend_on_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let example = Example::new(Body::Text { text: "a".into() });
        let write = |name: &str| {
            let path = dir.path().join(name);
            write_examples(&path, [&example]).unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(write("a.gz")[..2], [0x1f, 0x8b]);
        assert_eq!(write("a.gz"), write("b.gz"));
        assert_eq!(write("a.zst")[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    }
}
