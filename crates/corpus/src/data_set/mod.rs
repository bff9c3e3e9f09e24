//! A data set to be published: a folder with a file for each split, and a card that tells where it all
//! comes from.
//!
//! ```text
//! README.md                 the card, written last: a folder with a card is whole
//! data/train.parquet        and validation, test; also or instead .jsonl
//! ```

mod card;

use crate::error::Error;
use crate::example::Example;
use crate::report::CleanReport;
use crate::split::{Shares, Split, split_in_three};
use crate::write::{columns_of, write_error, write_examples, write_parquet};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The card: what a hub shows of the folder.
pub const CARD_FILE: &str = "README.md";

const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// A format of the files; also the ending of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    Parquet,
    Jsonl,
}

impl DataFormat {
    pub const ALL: [DataFormat; 2] = [DataFormat::Parquet, DataFormat::Jsonl];

    pub fn name(self) -> &'static str {
        match self {
            DataFormat::Parquet => "parquet",
            DataFormat::Jsonl => "jsonl",
        }
    }
}

/// What the examples themselves do not tell.
#[derive(Clone, Debug)]
pub struct DataSetFacts {
    /// The title of the card.
    pub name: String,
    /// A licence id of the hub (`cc-by-nc-4.0`), or any other name.
    pub license: String,
    /// Where the examples come from: `org/name` of a data set, or an address.
    pub sources: Vec<String>,
    pub shares: Shares,
    pub split_seed: u64,
    /// What was dropped before, and why.
    pub filters: Option<CleanReport>,
    /// How many examples could not be translated and are not in the data set.
    pub set_aside: Option<usize>,
}

/// One file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataSetFile {
    /// From the folder, with `/`.
    pub path: String,
    pub bytes: u64,
    /// BLAKE3 of its content, in hexadecimal.
    pub blake3: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataSetSplit {
    pub name: &'static str,
    pub examples: usize,
    /// One for each format, in the order asked for.
    pub files: Vec<DataSetFile>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataSetReport {
    pub splits: Vec<DataSetSplit>,
    pub card: PathBuf,
}

/// Every file that [`write_data_set`] may write into a folder, or replace there, the card first.
pub fn data_set_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let data = SPLITS.into_iter().flat_map(|split| DataFormat::ALL.map(|format| file_path(split, format)));
    std::iter::once(CARD_FILE.to_string()).chain(data).map(|name| folder.join(name))
}

fn file_path(split: &str, format: DataFormat) -> String {
    format!("data/{split}.{}", format.name())
}

/// Divide the examples by source and write them with their card; a side without examples has no file.
/// Files of an earlier data set in the same folder are replaced or removed, the card first and last.
/// All Parquet files have the same columns.
///
/// # Errors
/// A file cannot be written or read back; the message names it.
pub fn write_data_set(
    folder: &Path,
    examples: Vec<Example>,
    formats: &[DataFormat],
    facts: &DataSetFacts,
) -> Result<DataSetReport, Error> {
    for path in data_set_files(folder) {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(write_error(&path, e)),
            _ => {}
        }
    }
    let split = split_in_three(examples, facts.shares, facts.split_seed);
    let sides = sides(&split);
    let all: Vec<&Example> = sides.iter().flat_map(|(_, examples)| examples.iter()).collect();
    let columns = match formats.contains(&DataFormat::Parquet) {
        true => Some(columns_of(&all).map_err(|e| write_error(folder, e))?),
        false => None,
    };
    let mut splits = Vec::new();
    for (name, examples) in sides {
        let mut files = Vec::new();
        for format in formats {
            let path = file_path(name, *format);
            let place = folder.join(&path);
            match &columns {
                Some(columns) if *format == DataFormat::Parquet => {
                    write_parquet(&place, columns, &examples.iter().collect::<Vec<_>>())?;
                }
                _ => write_examples(&place, examples)?,
            }
            files.push(describe(path, &place)?);
        }
        splits.push(DataSetSplit { name, examples: examples.len(), files });
    }
    let card = folder.join(CARD_FILE);
    let text = card::card(&all, &splits, facts);
    tolmach_durable::write(&card, text).map_err(|e| write_error(&card, e))?;
    Ok(DataSetReport { splits, card })
}

/// The sides that have examples.
fn sides(split: &Split) -> Vec<(&'static str, &[Example])> {
    let all = SPLITS.into_iter().zip([&split.train, &split.validation, &split.test]);
    all.filter(|(_, side)| !side.is_empty()).map(|(name, side)| (name, side.as_slice())).collect()
}

fn describe(path: String, place: &Path) -> Result<DataSetFile, Error> {
    let read = || -> io::Result<(u64, String)> {
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut fs::File::open(place)?, &mut hasher)?;
        Ok((bytes, hasher.finalize().to_hex().to_string()))
    };
    let (bytes, blake3) =
        read().map_err(|source| Error::Read { file: place.display().to_string(), source })?;
    Ok(DataSetFile { path, bytes, blake3 })
}

#[cfg(test)]
mod tests;
