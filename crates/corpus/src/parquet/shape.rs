//! The type of a column, found from the values that it is to hold.

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;
use std::sync::Arc;

/// A group with more different keys than this is a dictionary, no record: it becomes JSON text.
const MOST_FIELDS: usize = 100;

/// The first integer that a double cannot tell from its neighbour.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// What all values of a column have in common. Any of them may be null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Nothing but null so far.
    Unknown,
    Bool,
    /// Integers; whether each of them is exact as a double.
    Int(bool),
    Double,
    Text,
    /// No one type: JSON text.
    Json,
    List(Box<Shape>),
    Group(Vec<(String, Shape)>),
}

impl Shape {
    /// Widen the shape so that it holds `value` too.
    pub(super) fn include(&mut self, value: &Value) {
        match (&mut *self, value) {
            (_, Value::Null) | (Shape::Json, _) => {}
            (Shape::Unknown, _) => *self = Shape::of(value),
            (Shape::List(element), Value::Array(values)) => values.iter().for_each(|v| element.include(v)),
            (Shape::Group(fields), Value::Object(values)) => {
                for (key, value) in values {
                    match fields.iter_mut().find(|(name, _)| name == key) {
                        Some((_, field)) => field.include(value),
                        None => fields.push((key.clone(), Shape::of(value))),
                    }
                }
                if fields.len() > MOST_FIELDS {
                    *self = Shape::Json;
                }
            }
            (shape, value) => *shape = common(shape, Shape::of(value)),
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Shape::Unknown,
            Value::Bool(_) => Shape::Bool,
            Value::Number(n) => match n.as_i64() {
                Some(n) => Shape::Int(n.unsigned_abs() < EXACT_IN_DOUBLE),
                None if n.is_u64() => Shape::Json,
                None => Shape::Double,
            },
            Value::String(_) => Shape::Text,
            Value::Array(values) => {
                let mut element = Shape::Unknown;
                values.iter().for_each(|v| element.include(v));
                Shape::List(Box::new(element))
            }
            Value::Object(_) => {
                let mut group = Shape::Group(Vec::new());
                group.include(value);
                group
            }
        }
    }

    /// The final shape: columns of which nothing is known hold text, groups without fields JSON.
    pub(super) fn settle(self) -> Self {
        match self {
            Shape::Unknown => Shape::Text,
            Shape::List(element) => Shape::List(Box::new(element.settle())),
            Shape::Group(fields) if fields.is_empty() => Shape::Json,
            Shape::Group(fields) => {
                Shape::Group(fields.into_iter().map(|(name, shape)| (name, shape.settle())).collect())
            }
            known => known,
        }
    }

    /// The schema of a file whose rows have this shape, a group.
    pub(super) fn schema(&self) -> Result<TypePtr> {
        let mut fields = Vec::new();
        if let Shape::Group(columns) = self {
            for (name, shape) in columns {
                fields.push(Arc::new(shape.column(name)?));
            }
        }
        Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
    }

    fn column(&self, name: &str) -> Result<Type> {
        let leaf = |physical, logical| {
            let leaf = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
            leaf.with_logical_type(logical).build()
        };
        match self {
            Shape::Bool => leaf(Physical::BOOLEAN, None),
            Shape::Int(_) => leaf(Physical::INT64, None),
            Shape::Double => leaf(Physical::DOUBLE, None),
            Shape::Text | Shape::Unknown => leaf(Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Shape::Json => leaf(Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Shape::List(element) => {
                let elements = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element.column("element")?)]);
                Type::group_type_builder(name)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::List))
                    .with_fields(vec![Arc::new(elements.build()?)])
                    .build()
            }
            Shape::Group(fields) => {
                let fields: Result<Vec<TypePtr>> =
                    fields.iter().map(|(name, shape)| Ok(Arc::new(shape.column(name)?))).collect();
                let group = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL);
                group.with_fields(fields?).build()
            }
        }
    }
}

/// The narrowest shape that holds values of two shapes which differ.
fn common(a: &Shape, b: Shape) -> Shape {
    match (a, b) {
        (Shape::Bool, Shape::Bool) => Shape::Bool,
        (Shape::Text, Shape::Text) => Shape::Text,
        (Shape::Double, Shape::Double) => Shape::Double,
        (Shape::Int(a), Shape::Int(b)) => Shape::Int(*a && b),
        (Shape::Int(true), Shape::Double) | (Shape::Double, Shape::Int(true)) => Shape::Double,
        _ => Shape::Json,
    }
}
