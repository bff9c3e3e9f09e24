//! A pickle read as data: tensors of `torch.save`, and nothing else.
//!
//! Python's pickle format is a program for a stack machine whose instructions may call any function.
//! This machine knows four of them by name, all of which only describe data: `OrderedDict`, a storage
//! type, `_rebuild_tensor_v2` and `_rebuild_parameter`. Any other name is an error that says it. No
//! value is ever executed, nested values are kept in flat lists (so that no nesting can exhaust the
//! stack), and the number of steps is bounded.
//!
//! Format: the comments of Python's `pickletools`; protocols 2 to 5.

use safetensors::Dtype;
use std::collections::HashMap;

/// A state dictionary takes some fifty steps a tensor.
const MAX_STEPS: usize = 1 << 22;
const MAX_RANK: usize = 8;

/// Where a tensor's values lie in its storage; sizes in elements.
#[derive(Clone, Debug)]
pub(crate) struct PickledTensor {
    /// The name of the storage's entry in the archive.
    pub storage: String,
    pub storage_len: usize,
    pub dtype: Dtype,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The tensors of a pickled state dictionary, by name.
///
/// # Errors
/// What is in it that is no tensor, or what is wrong with it.
pub(crate) fn read(pickle: &[u8]) -> Result<Vec<(String, PickledTensor)>, String> {
    let mut machine = Machine { pickle, ..Machine::default() };
    let Value::Dict(result) = machine.run()? else {
        return Err("it is no dictionary from names to tensors".into());
    };
    let mut tensors = Vec::new();
    for (key, value) in &machine.dicts[result] {
        let Value::Text(name) = key else {
            return Err(format!("{} is a key; expected names of tensors", key.kind()));
        };
        let Value::Tensor(tensor) = value else {
            return Err(format!("`{name}` is {}, not a tensor", value.kind()));
        };
        tensors.push((name.to_string(), machine.tensors[*tensor].clone()));
    }
    Ok(tensors)
}

/// Compound values are places in the machine's lists.
#[derive(Clone, Copy)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    /// A float or bytes, which no tensor needs.
    Other,
    Text(&'a str),
    /// Tuples and lists.
    List(usize),
    Dict(usize),
    Callable(Callable),
    Storage(usize),
    Tensor(usize),
}

/// The names that a pickle may use.
#[derive(Clone, Copy)]
enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Dtype),
}

impl Callable {
    fn named(module: &str, name: &str) -> Result<Self, String> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "DoubleStorage") => Self::StorageType(Dtype::F64),
            ("torch", "FloatStorage") => Self::StorageType(Dtype::F32),
            ("torch", "HalfStorage") => Self::StorageType(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::StorageType(Dtype::BF16),
            ("torch", "LongStorage") => Self::StorageType(Dtype::I64),
            ("torch", "IntStorage") => Self::StorageType(Dtype::I32),
            ("torch", "ShortStorage") => Self::StorageType(Dtype::I16),
            ("torch", "CharStorage") => Self::StorageType(Dtype::I8),
            ("torch", "ByteStorage") => Self::StorageType(Dtype::U8),
            ("torch", "BoolStorage") => Self::StorageType(Dtype::BOOL),
            _ => {
                return Err(format!(
                    "it wants to call {module}.{name}; only tensors are read, nothing is called"
                ));
            }
        })
    }
}

struct Storage {
    key: String,
    dtype: Dtype,
    len: usize,
}

#[derive(Default)]
struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
    lists: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage>,
    tensors: Vec<PickledTensor>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value<'a>, String> {
        for _ in 0..MAX_STEPS {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(format!("it takes more than {MAX_STEPS} steps"))
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            // Protocol and frame: nothing that matters.
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            // Constants.
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => self.push_integer(1, false),
            b'M' => self.push_integer(2, false),
            b'J' => self.push_integer(4, true),
            0x8A => {
                let size = self.number(1)?;
                self.push_integer(size, true)
            }
            b'G' => self.take(8).map(|_| self.stack.push(Value::Other)),
            b'C' | b'B' | 0x8E => {
                let length = self.number(if opcode == b'C' {
                    1
                } else if opcode == b'B' {
                    4
                } else {
                    8
                })?;
                self.take(length).map(|_| self.stack.push(Value::Other))
            }
            b'X' | b'T' => self.push_text(4),
            0x8C | b'U' => self.push_text(1),
            0x8D => self.push_text(8),
            // The stack and the memory.
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => self.top().and_then(|top| self.push(top)),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'q' => self.number(1).and_then(|key| self.remember(key)),
            b'r' => self.number(4).and_then(|key| self.remember(key)),
            0x94 => self.remember(self.memo.len()),
            b'h' => self.number(1).and_then(|key| self.recall(key)),
            b'j' => self.number(4).and_then(|key| self.recall(key)),
            _ => self.step_compound(opcode),
        }
    }

    /// Containers, names and calls.
    fn step_compound(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b')' | b']' => self.push_list(Vec::new()),
            0x85..=0x87 => {
                let size = usize::from(opcode - 0x84);
                let below = self.stack.len().checked_sub(size).filter(|&below| below >= self.floor());
                let items = self.stack.split_off(below.ok_or(EMPTY_STACK)?);
                self.push_list(items)
            }
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.push_list(items)
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)
            }
            b'}' => self.push_dict(),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(&items)
            }
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = Callable::named(module, name)?;
                if opcode == b'i' { Err(unknown(opcode)) } else { self.push(Value::Callable(callable)) }
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => {
                    let callable = Callable::named(module, name)?;
                    self.push(Value::Callable(callable))
                }
                _ => Err("a name to call is no text".into()),
            },
            b'Q' => self.push_storage(),
            b'R' => self.call(),
            b'b' => {
                // Attributes of a state dictionary (`_metadata`): versions of modules.
                self.pop()?;
                match self.top()? {
                    Value::Dict(_) => Ok(()),
                    other => Err(format!("it sets attributes of {}", other.kind())),
                }
            }
            _ => Err(unknown(opcode)),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        self.stack.push(value);
        Ok(())
    }

    /// Nothing below the last mark can be popped one by one.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        self.stack[self.floor()..].last().copied().ok_or_else(|| EMPTY_STACK.to_string())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("broken: no mark is left")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, key: usize) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), String> {
        let value = self.memo.get(&key).copied();
        self.push(value.ok_or_else(|| format!("broken: nothing is remembered as {key}"))?)
    }

    fn push_list(&mut self, items: Vec<Value<'a>>) -> Result<(), String> {
        self.lists.push(items);
        self.push(Value::List(self.lists.len() - 1))
    }

    fn extend_list(&mut self, items: Vec<Value<'a>>) -> Result<(), String> {
        match self.top()? {
            Value::List(list) => self.lists[list].extend(items),
            other => return Err(format!("it appends to {}", other.kind())),
        }
        Ok(())
    }

    fn push_dict(&mut self) -> Result<(), String> {
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    fn extend_dict(&mut self, items: &[Value<'a>]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => {
                self.dicts[dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Value::Dict(_) => return Err("broken: a key without a value".into()),
            other => return Err(format!("it sets entries of {}", other.kind())),
        }
        Ok(())
    }

    fn push_integer(&mut self, size: usize, signed: bool) -> Result<(), String> {
        let bytes = self.take(size)?;
        if size > 8 {
            return self.push(Value::Other);
        }
        let negative = signed && bytes.last().is_some_and(|&high| high >= 0x80);
        let mut value = if negative { [0xFF; 8] } else { [0; 8] };
        value[..size].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(value)))
    }

    /// A text whose length comes first, in so many bytes.
    fn push_text(&mut self, length_size: usize) -> Result<(), String> {
        let length = self.number(length_size)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?;
        self.push(Value::Text(text))
    }

    /// `('storage', type, key, device, elements)`
    fn push_storage(&mut self) -> Result<(), String> {
        let storage = match self.pop_items()? {
            [
                Value::Text("storage"),
                Value::Callable(Callable::StorageType(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(len),
            ] => Storage { key: key.to_string(), dtype: *dtype, len: size(*len, "a storage's length")? },
            _ => return Err("it refers to something that is no storage".into()),
        };
        self.storages.push(storage);
        self.push(Value::Storage(self.storages.len() - 1))
    }

    fn call(&mut self) -> Result<(), String> {
        let Value::List(arguments) = self.pop()? else {
            return Err("broken: a call without arguments".into());
        };
        let Value::Callable(callable) = self.pop()? else { return Err("it calls what is no name".into()) };
        match (callable, &self.lists[arguments][..]) {
            (Callable::OrderedDict, []) => self.push_dict(),
            (Callable::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                let tensor = *tensor;
                self.push(tensor)
            }
            (
                Callable::RebuildTensor,
                [Value::Storage(storage), Value::Int(offset), Value::List(shape), Value::List(strides), ..],
            ) => {
                let storage = &self.storages[*storage];
                let tensor = PickledTensor {
                    storage: storage.key.clone(),
                    storage_len: storage.len,
                    dtype: storage.dtype,
                    offset: size(*offset, "an offset")?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                self.tensors.push(tensor);
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err("it calls a known name with unknown arguments".into()),
        }
    }

    fn pop_items(&mut self) -> Result<&[Value<'a>], String> {
        match self.pop()? {
            Value::List(list) => Ok(&self.lists[list]),
            other => Err(format!("{} stands where a tuple belongs", other.kind())),
        }
    }

    fn sizes(&self, list: usize) -> Result<Vec<usize>, String> {
        let list = &self.lists[list];
        if list.len() > MAX_RANK {
            return Err(format!("a tensor has {} dimensions; at most {MAX_RANK} are read", list.len()));
        }
        let one = |value: &Value| match value {
            Value::Int(value) => size(*value, "a size"),
            other => Err(format!("{} stands where a size belongs", other.kind())),
        };
        list.iter().map(one).collect()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.pickle[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            format!("it ends too early: {length} more bytes announced, {} left", rest.len())
        })?;
        self.at += length;
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, size: usize) -> Result<usize, String> {
        let bytes = self.take(size)?;
        let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).map_err(|_| "a number is too large".into())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.pickle[self.at..];
        let length =
            rest.iter().position(|&byte| byte == b'\n').ok_or("it ends too early: a name has no end")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a name is not UTF-8".into())
    }
}

const EMPTY_STACK: &str = "broken: a value is missing";

impl Value<'_> {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool => "a truth value",
            Value::Int(_) => "a number",
            Value::Other => "a number or bytes",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Callable(_) => "a name",
            Value::Storage(_) => "a bare storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

fn size(value: i64, what: &str) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("{what} is {value}"))
}

fn unknown(opcode: u8) -> String {
    format!("instruction {opcode:#04x} is none that describes tensors")
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
