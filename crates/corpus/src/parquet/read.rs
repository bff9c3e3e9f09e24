//! Columns into rows, as the JSON objects that [`crate::row`] reads.

use super::leaf::Leaf;
use bytes::Bytes;
use parquet::basic::{ConvertedType, Repetition};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

/// The first bytes of every Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";

/// The rows of a whole Parquet file, in order; an error is what is wrong with it.
///
/// # Errors
/// It is damaged, or a column holds what JSON cannot.
pub(crate) fn rows(file: Vec<u8>) -> std::result::Result<Vec<Value>, String> {
    // In about one damaged file of four hundred the decoders beneath panic instead of returning an error.
    let read = std::panic::catch_unwind(|| read_rows(file));
    let damaged = || Err(ParquetError::General("it is damaged; copy or download it again".to_string()));
    read.unwrap_or_else(|_| damaged()).map_err(|e| match e {
        ParquetError::General(problem) => problem,
        other => match other.to_string().rsplit_once("Disabled feature at compile time: ") {
            Some((_, codec)) => format!("it is compressed by {codec}; write it again with zstd or snappy"),
            None => other.to_string(),
        },
    })
}

fn read_rows(file: Vec<u8>) -> Result<Vec<Value>> {
    let length = file.len();
    let reader = SerializedFileReader::new(Bytes::from(file))?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let mut rows = Vec::new();
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index)?;
        let mut leaves = Vec::with_capacity(group.num_columns());
        for column in 0..group.num_columns() {
            check_place(group.metadata().column(column), length)?;
            leaves.push(Leaf::read(group.get_column_reader(column)?, &schema.column(column))?);
        }
        let mut leaves = leaves.into_iter();
        let mut columns = Vec::new();
        for column in schema.root_schema().get_fields() {
            columns.push((column.name().to_string(), Node::of(column, Levels::default(), &mut leaves)?));
        }
        for _ in 0..group.metadata().num_rows() {
            rows.push(object(&mut columns)?);
        }
    }
    Ok(rows)
}

/// Refuse what the reader would panic at: a column that lies outside the file.
fn check_place(column: &ColumnChunkMetaData, length: usize) -> Result<()> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let end = match (usize::try_from(start), usize::try_from(column.compressed_size())) {
        (Ok(start), Ok(size)) => start.checked_add(size),
        _ => None,
    };
    match end.is_some_and(|end| end <= length) {
        true => Ok(()),
        false => Err(ParquetError::General(format!(
            "column `{}` lies outside the file; copy or download it again",
            column.column_path().string()
        ))),
    }
}

/// A column with everything below it.
enum Node {
    Leaf(Leaf),
    Group {
        fields: Vec<(String, Node)>,
        /// The definition level from which on it is there.
        there: i16,
    },
    List {
        element: Box<Node>,
        there: i16,
        levels: Levels,
        /// A list of pairs, to become an object.
        is_map: bool,
    },
}

/// The levels of an entry that is there: how many optional or repeated steps lead to it, and how many
/// repeated ones.
#[derive(Clone, Copy, Default)]
struct Levels {
    definition: i16,
    repetition: i16,
}

impl Node {
    /// The node of a column whose parent has `levels`; it takes its leaves in the order of the schema.
    fn of(column: &Type, levels: Levels, leaves: &mut impl Iterator<Item = Leaf>) -> Result<Self> {
        let Levels { definition, repetition } = levels;
        let info = column.get_basic_info();
        let step = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
        match step {
            Repetition::REQUIRED => Node::inside(column, definition, repetition, leaves),
            Repetition::OPTIONAL => Node::inside(column, definition + 1, repetition, leaves),
            // A repeated field without a list around it is a list that is always there.
            Repetition::REPEATED => {
                let levels = Levels { definition: definition + 1, repetition: repetition + 1 };
                let element = Node::inside(column, levels.definition, levels.repetition, leaves)?;
                Ok(Node::List { element: Box::new(element), there: definition, levels, is_map: false })
            }
        }
    }

    fn inside(
        column: &Type,
        there: i16,
        repetition: i16,
        leaves: &mut impl Iterator<Item = Leaf>,
    ) -> Result<Self> {
        if column.is_primitive() {
            let missing = || ParquetError::General(format!("column `{}` has no data", column.name()));
            return leaves.next().map(Node::Leaf).ok_or_else(missing);
        }
        let kind = column.get_basic_info().converted_type();
        let is_map = matches!(kind, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
        if (is_map || kind == ConvertedType::LIST)
            && let [repeated] = column.get_fields()
        {
            let levels = Levels { definition: there + 1, repetition: repetition + 1 };
            let element = match element_type(repeated, column.name(), is_map) {
                Some(element) => Node::of(element, levels, leaves)?,
                None => Node::inside(repeated, levels.definition, levels.repetition, leaves)?,
            };
            return Ok(Node::List { element: Box::new(element), there, levels, is_map });
        }
        let mut fields = Vec::new();
        for field in column.get_fields() {
            let levels = Levels { definition: there, repetition };
            fields.push((field.name().to_string(), Node::of(field, levels, leaves)?));
        }
        Ok(Node::Group { fields, there })
    }

    /// The next value of the column.
    fn value(&mut self) -> Result<Value> {
        let definition = self.first_leaf().map_or(Ok(0), |leaf| leaf.definition())?;
        match self {
            Node::Leaf(leaf) => leaf.take(),
            Node::Group { there, .. } | Node::List { there, .. } if definition < *there => {
                self.skip()?;
                Ok(Value::Null)
            }
            Node::Group { fields, .. } => object(fields),
            Node::List { levels, is_map, .. } if definition < levels.definition => {
                let empty = if *is_map { Value::Object(Map::new()) } else { Value::Array(Vec::new()) };
                self.skip()?;
                Ok(empty)
            }
            Node::List { element, levels, is_map, .. } => {
                let mut elements = vec![element.value()?];
                while element.first_leaf().is_some_and(|leaf| leaf.repetition() == levels.repetition) {
                    elements.push(element.value()?);
                }
                Ok(if *is_map { map(elements) } else { Value::Array(elements) })
            }
        }
    }

    /// Pass over an entry that is not there.
    fn skip(&mut self) -> Result<()> {
        match self {
            Node::Leaf(leaf) => leaf.take().map(drop),
            Node::Group { fields, .. } => fields.iter_mut().try_for_each(|(_, field)| field.skip()),
            Node::List { element, .. } => element.skip(),
        }
    }

    fn first_leaf(&self) -> Option<&Leaf> {
        match self {
            Node::Leaf(leaf) => Some(leaf),
            Node::Group { fields, .. } => fields.first()?.1.first_leaf(),
            Node::List { element, .. } => element.first_leaf(),
        }
    }
}

/// The next row of a group. Fields that are null are left out: they may as well have been absent.
fn object(fields: &mut [(String, Node)]) -> Result<Value> {
    let mut object = Map::new();
    for (name, field) in fields {
        match field.value()? {
            Value::Null => {}
            value => drop(object.insert(name.clone(), value)),
        }
    }
    Ok(Value::Object(object))
}

/// The field inside the repeated part of a list that holds its elements; `None` where that part is the
/// element itself, as older writers have it.
fn element_type<'a>(repeated: &'a Type, list: &str, is_map: bool) -> Option<&'a Type> {
    let is_itself =
        repeated.is_primitive() || repeated.name() == "array" || repeated.name() == format!("{list}_tuple");
    match repeated {
        _ if is_map || is_itself => None,
        group => match group.get_fields() {
            [element] => Some(element),
            _ => None,
        },
    }
}

/// Pairs of a key and a value as an object.
fn map(pairs: Vec<Value>) -> Value {
    let mut object = Map::new();
    for pair in pairs {
        let Value::Object(pair) = pair else { continue };
        let mut fields = pair.into_iter().map(|(_, value)| value);
        let key = match fields.next() {
            Some(Value::String(key)) => key,
            other => other.unwrap_or_default().to_string(),
        };
        object.insert(key, fields.next().unwrap_or_default());
    }
    Value::Object(object)
}
