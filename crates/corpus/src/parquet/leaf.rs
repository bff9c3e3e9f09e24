//! One column of a row group: its values as JSON, with their levels.

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Number, Value};

/// Records that are decoded at a time.
const BATCH: usize = 8192;

/// The entries of a column, to be taken one by one. An entry without a value is a null, an empty list or
/// an absent parent: its definition level says which.
pub(super) struct Leaf {
    path: String,
    values: std::vec::IntoIter<Value>,
    /// Empty where every entry has a value.
    definition: Vec<i16>,
    /// Empty where no entry is in a list.
    repetition: Vec<i16>,
    most: i16,
    entries: usize,
    next: usize,
}

impl Leaf {
    /// # Errors
    /// The column is damaged, or holds what JSON cannot.
    pub(super) fn read(reader: ColumnReader, column: &ColumnDescriptor) -> Result<Self> {
        let kind = column.converted_type();
        let is_unsigned = matches!(
            kind,
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
        let is_json = kind == ConvertedType::JSON || column.logical_type_ref() == Some(&LogicalType::Json);
        let path = column.path().string();
        // Dates, times and decimals stay the whole numbers that are stored.
        match reader {
            ColumnReader::BoolColumnReader(r) => Self::collect(r, column, |b| Ok(b.into())),
            ColumnReader::Int32ColumnReader(r) if is_unsigned => {
                Self::collect(r, column, |n| Ok(n.cast_unsigned().into()))
            }
            ColumnReader::Int32ColumnReader(r) => Self::collect(r, column, |n| Ok(n.into())),
            ColumnReader::Int64ColumnReader(r) if is_unsigned => {
                Self::collect(r, column, |n| Ok(n.cast_unsigned().into()))
            }
            ColumnReader::Int64ColumnReader(r) => Self::collect(r, column, |n| Ok(n.into())),
            ColumnReader::Int96ColumnReader(r) => Self::collect(r, column, |n| Ok(n.to_millis().into())),
            ColumnReader::FloatColumnReader(r) => Self::collect(r, column, |n| Ok(number(f64::from(n)))),
            ColumnReader::DoubleColumnReader(r) => Self::collect(r, column, |n| Ok(number(n))),
            ColumnReader::ByteArrayColumnReader(r) => {
                Self::collect(r, column, |bytes| text(&bytes, is_json, &path))
            }
            ColumnReader::FixedLenByteArrayColumnReader(_) => Err(refused(&path, "bytes of a fixed length")),
        }
    }

    fn collect<T: DataType>(
        mut reader: ColumnReaderImpl<T>,
        column: &ColumnDescriptor,
        json: impl Fn(T::T) -> Result<Value>,
    ) -> Result<Self> {
        let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
        let mut entries = 0;
        loop {
            let mut batch = Vec::new();
            let levels = (Some(&mut definition), Some(&mut repetition));
            let (records, _, read) = reader.read_records(BATCH, levels.0, levels.1, &mut batch)?;
            if records == 0 && read == 0 {
                break;
            }
            entries += read;
            for value in batch {
                values.push(json(value)?);
            }
        }
        let (path, most) = (column.path().string(), column.max_def_level());
        Ok(Self { path, values: values.into_iter(), definition, repetition, most, entries, next: 0 })
    }

    /// How much of the path to the next entry's value is there.
    pub(super) fn definition(&self) -> Result<i16> {
        match (self.next < self.entries, self.definition.get(self.next)) {
            (false, _) => Err(self.out_of_step()),
            (true, level) => Ok(level.copied().unwrap_or(self.most)),
        }
    }

    /// Which list the next entry goes on with: 0, and at the end, none.
    pub(super) fn repetition(&self) -> i16 {
        self.repetition.get(self.next).copied().unwrap_or(0)
    }

    /// The next entry's value, null where there is none.
    pub(super) fn take(&mut self) -> Result<Value> {
        let has_value = self.definition()? == self.most;
        self.next += 1;
        match has_value {
            true => self.values.next().ok_or_else(|| self.out_of_step()),
            false => Ok(Value::Null),
        }
    }

    fn out_of_step(&self) -> ParquetError {
        ParquetError::General(format!(
            "column `{}` has another number of rows than its neighbours",
            self.path
        ))
    }
}

/// JSON has no infinity and no NaN: they become null.
fn number(n: f64) -> Value {
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}

fn text(bytes: &ByteArray, is_json: bool, path: &str) -> Result<Value> {
    // Some writers leave texts without their type: what is UTF-8 is a text.
    let Ok(text) = std::str::from_utf8(bytes.data()) else {
        return Err(refused(path, "bytes that are no text"));
    };
    match is_json {
        true => serde_json::from_str(text).map_err(|e| refused(path, &format!("JSON that is none ({e})"))),
        false => Ok(text.into()),
    }
}

fn refused(path: &str, what: &str) -> ParquetError {
    ParquetError::General(format!("column `{path}` holds {what}; leave the column out"))
}
