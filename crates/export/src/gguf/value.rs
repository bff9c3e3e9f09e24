//! A metadata value of a GGUF file, and how it lies in the file (little-endian).
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3.

use super::cursor::{Cursor, Reason};

/// The type of a value, numbered as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::F32,
    Kind::Bool,
    Kind::Text,
    Kind::Array,
    Kind::U64,
    Kind::I64,
    Kind::F64,
];

/// Arrays in arrays are allowed by the format, but nobody has use for more than this.
const MAX_DEPTH: usize = 4;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Array(Kind, Vec<Value>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Kind {
    fn read(cursor: &mut Cursor) -> Result<Self, Reason> {
        let number = cursor.u32()?;
        KINDS.get(number as usize).copied().ok_or_else(|| format!("there is no value type {number}"))
    }
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    pub fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Value::Array(Kind::Text, texts.into_iter().map(Value::Text).collect())
    }

    pub fn i32s(numbers: impl IntoIterator<Item = i32>) -> Self {
        Value::Array(Kind::I32, numbers.into_iter().map(Value::I32).collect())
    }

    pub fn f32s(numbers: impl IntoIterator<Item = f32>) -> Self {
        Value::Array(Kind::F32, numbers.into_iter().map(Value::F32).collect())
    }

    pub fn kind(&self) -> Kind {
        match self {
            Value::U8(_) => Kind::U8,
            Value::I8(_) => Kind::I8,
            Value::U16(_) => Kind::U16,
            Value::I16(_) => Kind::I16,
            Value::U32(_) => Kind::U32,
            Value::I32(_) => Kind::I32,
            Value::F32(_) => Kind::F32,
            Value::Bool(_) => Kind::Bool,
            Value::Text(_) => Kind::Text,
            Value::Array(..) => Kind::Array,
            Value::U64(_) => Kind::U64,
            Value::I64(_) => Kind::I64,
            Value::F64(_) => Kind::F64,
        }
    }

    /// Any whole number that is not negative.
    pub fn as_count(&self) -> Option<u64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(_, items) => Some(items),
            _ => None,
        }
    }

    /// With its type before it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend((self.kind() as u32).to_le_bytes());
        self.write_bare(out);
    }

    fn write_bare(&self, out: &mut Vec<u8>) {
        match self {
            Value::U8(n) => out.push(*n),
            Value::I8(n) => out.extend(n.to_le_bytes()),
            Value::U16(n) => out.extend(n.to_le_bytes()),
            Value::I16(n) => out.extend(n.to_le_bytes()),
            Value::U32(n) => out.extend(n.to_le_bytes()),
            Value::I32(n) => out.extend(n.to_le_bytes()),
            Value::F32(x) => out.extend(x.to_le_bytes()),
            Value::Bool(b) => out.push(u8::from(*b)),
            Value::Text(text) => write_text(text, out),
            Value::Array(kind, items) => {
                out.extend((*kind as u32).to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                for item in items {
                    debug_assert_eq!(item.kind(), *kind);
                    item.write_bare(out);
                }
            }
            Value::U64(n) => out.extend(n.to_le_bytes()),
            Value::I64(n) => out.extend(n.to_le_bytes()),
            Value::F64(x) => out.extend(x.to_le_bytes()),
        }
    }

    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, Reason> {
        let kind = Kind::read(cursor)?;
        Self::read_bare(cursor, kind, 0)
    }

    fn read_bare(cursor: &mut Cursor, kind: Kind, depth: usize) -> Result<Self, Reason> {
        Ok(match kind {
            Kind::U8 => Value::U8(u8::from_le_bytes(cursor.array()?)),
            Kind::I8 => Value::I8(i8::from_le_bytes(cursor.array()?)),
            Kind::U16 => Value::U16(u16::from_le_bytes(cursor.array()?)),
            Kind::I16 => Value::I16(i16::from_le_bytes(cursor.array()?)),
            Kind::U32 => Value::U32(cursor.u32()?),
            Kind::I32 => Value::I32(i32::from_le_bytes(cursor.array()?)),
            Kind::F32 => Value::F32(f32::from_le_bytes(cursor.array()?)),
            Kind::Bool => Value::Bool(cursor.array::<1>()? != [0]),
            Kind::Text => Value::Text(cursor.text()?),
            Kind::U64 => Value::U64(cursor.u64()?),
            Kind::I64 => Value::I64(i64::from_le_bytes(cursor.array()?)),
            Kind::F64 => Value::F64(f64::from_le_bytes(cursor.array()?)),
            Kind::Array if depth == MAX_DEPTH => return Err("arrays in arrays in arrays".into()),
            Kind::Array => {
                let kind = Kind::read(cursor)?;
                let count = cursor.count(1)?;
                let mut items = Vec::new(); // grows with what is there, not with what is promised
                for _ in 0..count {
                    items.push(Self::read_bare(cursor, kind, depth + 1)?);
                }
                Value::Array(kind, items)
            }
        })
    }
}

/// A text: its length in bytes, then the bytes.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_reads_back() {
        let values = [
            Value::U8(200),
            Value::I8(-3),
            Value::U16(60_000),
            Value::I16(-300),
            Value::U32(4_000_000_000),
            Value::I32(-70_000),
            Value::F32(1e-5),
            Value::Bool(true),
            Value::text("толмач"),
            Value::texts(["a".into(), "я".into()]),
            Value::i32s([1, -2]),
            Value::f32s([0.5]),
            Value::U64(1 << 40),
            Value::I64(-(1 << 40)),
            Value::F64(0.1),
        ];
        for (number, value) in values.iter().enumerate() {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            assert_eq!(&Value::read(&mut Cursor::new(&bytes)).unwrap(), value, "{number}");
            let cut = Value::read(&mut Cursor::new(&bytes[..bytes.len() - 1]));
            assert!(cut.unwrap_err().contains("cut short"), "{number}");
        }
    }

    #[test]
    fn an_array_that_promises_too_much_is_refused_without_memory_for_it() {
        let mut bytes = Vec::new();
        bytes.extend((Kind::Array as u32).to_le_bytes());
        bytes.extend((Kind::Text as u32).to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(Value::read(&mut Cursor::new(&bytes)).unwrap_err().contains("cut short"));
    }
}
