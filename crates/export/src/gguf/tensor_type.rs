//! How the numbers of a tensor are stored in a GGUF file.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use tolmach_engine::{BlockType, Dtype, Format};

/// A type of stored numbers. `Q4K` and `Q6K` are ggml's `Q4_K` and `Q6_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4K,
    Q6K,
}

impl TensorType {
    pub const ALL: [TensorType; 7] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::Bf16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
    ];

    /// `enum ggml_type`.
    pub(super) fn code(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Q4_0 => 2,
            TensorType::Q8_0 => 8,
            TensorType::Q4K => 12,
            TensorType::Q6K => 14,
            TensorType::Bf16 => 30,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.code() == code)
    }

    /// `enum llama_ftype`, what `general.file_type` says.
    pub(super) fn file_type(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Q4_0 => 2,
            TensorType::Q8_0 => 7,
            TensorType::Q4K => 14,
            TensorType::Q6K => 18,
            TensorType::Bf16 => 32,
        }
    }

    /// How the engine keeps such numbers.
    pub fn format(self) -> Format {
        match self {
            TensorType::F32 => Dtype::F32.into(),
            TensorType::F16 => Dtype::F16.into(),
            TensorType::Bf16 => Dtype::BF16.into(),
            TensorType::Q8_0 => BlockType::Q8_0.into(),
            TensorType::Q4_0 => BlockType::Q4_0.into(),
            TensorType::Q4K => BlockType::Q4K.into(),
            TensorType::Q6K => BlockType::Q6K.into(),
        }
    }

    /// Numbers that are stored together. The length of a row must be a multiple.
    pub fn block(self) -> usize {
        match self.format() {
            Format::Plain(_) => 1,
            Format::Blocks(block) => block.numbers(),
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self.format() {
            Format::Plain(dtype) => dtype.size(),
            Format::Blocks(block) => block.bytes(),
        }
    }

    /// Bytes of so many numbers, a whole number of blocks.
    pub fn bytes(self, numbers: usize) -> usize {
        numbers / self.block() * self.block_bytes()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TensorType::F32 => "f32",
            TensorType::F16 => "f16",
            TensorType::Bf16 => "bf16",
            TensorType::Q8_0 => "q8_0",
            TensorType::Q4_0 => "q4_0",
            TensorType::Q4K => "q4_k",
            TensorType::Q6K => "q6_k",
        })
    }
}

impl FromStr for TensorType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|t| t.to_string().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names = Self::ALL.map(|t| t.to_string()).join(", ");
            format!("`{name}` is none of the types {names}")
        })
    }
}

impl Serialize for TensorType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
