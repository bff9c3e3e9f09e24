//! Parquet, in and out: the rows of JSONL as typed columns.
//!
//! Columns get the type of what is in them ([`shape`]): texts, numbers, lists and groups as such, so that
//! other programs see `messages` as a list of groups with `role` and `content`; what has no one type is
//! kept as JSON text in a column that says so, and read back as what it was. A field that is null reads
//! back as one that is absent: Parquet knows no difference.

mod leaf;
mod read;
mod shape;
mod write;

pub(crate) use read::{MAGIC, rows};
pub(crate) use write::Columns;

#[cfg(test)]
mod tests;
