//! Rows into columns: values with their definition and repetition levels (Dremel, Melnik et al. 2010).

use super::shape::Shape;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;

/// Text that is collected before it is written as a row group, in bytes: what a reader holds at a time.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// The columns of one file, or of several that are to be alike.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    fields: Vec<(String, Shape)>,
}

impl Columns {
    /// Columns that hold all of the rows (JSON objects).
    ///
    /// # Errors
    /// The rows have too many different fields.
    pub(crate) fn of(rows: impl Iterator<Item = Value>) -> Result<Self> {
        let mut shape = Shape::Group(Vec::new());
        rows.for_each(|row| shape.include(&row));
        let Shape::Group(fields) = shape else {
            let problem = "the rows have too many different fields for columns; write them as JSONL";
            return Err(ParquetError::General(problem.to_string()));
        };
        let mut fields: Vec<_> = fields.into_iter().map(|(name, shape)| (name, shape.settle())).collect();
        if fields.is_empty() {
            fields.push(("id".to_string(), Shape::Text)); // a file without rows has to have a column
        }
        Ok(Self { fields })
    }

    /// Write rows that these columns hold as one Parquet file.
    ///
    /// # Errors
    /// The writer fails.
    pub(crate) fn write<W: Write + Send>(&self, writer: W, rows: impl Iterator<Item = Value>) -> Result<W> {
        let schema = Shape::Group(self.fields.clone()).schema()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_created_by(concat!("tolmach ", env!("CARGO_PKG_VERSION")).to_string());
        let mut file = SerializedFileWriter::new(writer, schema, Arc::new(properties.build()))?;
        let mut columns: Vec<(String, Column)> =
            self.fields.iter().map(|(name, shape)| (name.clone(), Column::of(shape, 0))).collect();
        let mut bytes = 0;
        for row in rows {
            for (name, column) in &mut columns {
                bytes += column.push(row.get(name.as_str()), 0, 0);
            }
            if bytes > ROW_GROUP_BYTES {
                write_row_group(&mut file, &mut columns)?;
                bytes = 0;
            }
        }
        if bytes > 0 {
            write_row_group(&mut file, &mut columns)?;
        }
        file.into_inner()
    }
}

fn write_row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    columns: &mut [(String, Column)],
) -> Result<()> {
    let mut leaves = Vec::new();
    columns.iter_mut().for_each(|(_, column)| column.take_leaves(&mut leaves));
    let mut group = file.next_row_group()?;
    for leaf in leaves {
        let Some(mut column) = group.next_column()? else { break };
        let levels = (Some(leaf.definition.as_slice()), Some(leaf.repetition.as_slice()));
        match (column.untyped(), &leaf.values) {
            (ColumnWriter::BoolColumnWriter(w), Values::Bool(v)) => w.write_batch(v, levels.0, levels.1)?,
            (ColumnWriter::Int64ColumnWriter(w), Values::Int(v)) => w.write_batch(v, levels.0, levels.1)?,
            (ColumnWriter::DoubleColumnWriter(w), Values::Double(v)) => {
                w.write_batch(v, levels.0, levels.1)?
            }
            (ColumnWriter::ByteArrayColumnWriter(w), Values::Text(v)) => {
                w.write_batch(v, levels.0, levels.1)?
            }
            _ => return Err(ParquetError::General("a column of another type than its schema".to_string())),
        };
        column.close()?;
    }
    group.close()?;
    Ok(())
}

/// The tree of a column: what is collected for each of its leaves.
enum Column {
    Leaf(Leaf),
    /// Elements, and how many lists they are nested in.
    List(Box<Column>, i16),
    Group(Vec<(String, Column)>),
}

#[derive(Default)]
struct Leaf {
    values: Values,
    /// How much of the path to the value is there: one more for each optional or repeated step.
    definition: Vec<i16>,
    /// Which list the value goes on with: 0 begins a new row.
    repetition: Vec<i16>,
    as_json: bool,
}

enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl Default for Values {
    fn default() -> Self {
        Values::Text(Vec::new())
    }
}

impl Column {
    fn of(shape: &Shape, lists: i16) -> Self {
        let leaf = |values| Column::Leaf(Leaf { values, ..Leaf::default() });
        match shape {
            Shape::Bool => leaf(Values::Bool(Vec::new())),
            Shape::Int(_) => leaf(Values::Int(Vec::new())),
            Shape::Double => leaf(Values::Double(Vec::new())),
            Shape::Text | Shape::Unknown => leaf(Values::default()),
            Shape::Json => Column::Leaf(Leaf { as_json: true, ..Leaf::default() }),
            Shape::List(element) => Column::List(Box::new(Column::of(element, lists + 1)), lists + 1),
            Shape::Group(fields) => Column::Group(
                fields.iter().map(|(name, shape)| (name.clone(), Column::of(shape, lists))).collect(),
            ),
        }
    }

    /// Add a value, whose parents are there up to `definition`; the size of what was added, in bytes.
    fn push(&mut self, value: Option<&Value>, definition: i16, repetition: i16) -> usize {
        let value = value.filter(|v| !v.is_null());
        match (self, value) {
            (Column::Leaf(leaf), value) => leaf.push(value, definition, repetition),
            (Column::Group(fields), Some(Value::Object(object))) => fields
                .iter_mut()
                .map(|(name, field)| field.push(object.get(name.as_str()), definition + 1, repetition))
                .sum(),
            (Column::List(element, lists), Some(Value::Array(values))) => match values.split_first() {
                None => element.push_nothing(definition + 1, repetition),
                Some((first, rest)) => {
                    let size = element.push(Some(first), definition + 2, repetition);
                    size + rest.iter().map(|v| element.push(Some(v), definition + 2, *lists)).sum::<usize>()
                }
            },
            (column, _) => column.push_nothing(definition, repetition),
        }
    }

    /// The path ends at `definition`: a null, or a list without elements.
    fn push_nothing(&mut self, definition: i16, repetition: i16) -> usize {
        match self {
            Column::Leaf(leaf) => leaf.push(None, definition, repetition),
            Column::List(element, _) => element.push_nothing(definition, repetition),
            Column::Group(fields) => {
                fields.iter_mut().map(|(_, field)| field.push_nothing(definition, repetition)).sum()
            }
        }
    }

    /// Move what was collected out, leaf by leaf in the order of the schema.
    fn take_leaves(&mut self, leaves: &mut Vec<Leaf>) {
        match self {
            Column::Leaf(leaf) => {
                let values = match &leaf.values {
                    Values::Bool(_) => Values::Bool(Vec::new()),
                    Values::Int(_) => Values::Int(Vec::new()),
                    Values::Double(_) => Values::Double(Vec::new()),
                    Values::Text(_) => Values::Text(Vec::new()),
                };
                let empty = Leaf { values, as_json: leaf.as_json, ..Leaf::default() };
                leaves.push(std::mem::replace(leaf, empty));
            }
            Column::List(element, _) => element.take_leaves(leaves),
            Column::Group(fields) => fields.iter_mut().for_each(|(_, field)| field.take_leaves(leaves)),
        }
    }
}

impl Leaf {
    fn push(&mut self, value: Option<&Value>, definition: i16, repetition: i16) -> usize {
        self.repetition.push(repetition);
        self.definition.push(definition + i16::from(value.is_some()));
        let levels = 4;
        let Some(value) = value else { return levels };
        match &mut self.values {
            Values::Bool(all) => all.push(value.as_bool().unwrap_or_default()),
            Values::Int(all) => all.push(value.as_i64().unwrap_or_default()),
            Values::Double(all) => all.push(value.as_f64().unwrap_or_default()),
            Values::Text(all) => {
                let text = match value {
                    Value::String(text) if !self.as_json => text.as_bytes().to_vec(),
                    other => other.to_string().into_bytes(),
                };
                let size = text.len();
                all.push(ByteArray::from(text));
                return levels + size;
            }
        }
        levels + 8
    }
}
