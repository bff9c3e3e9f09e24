//! GGUF, the format of llama.cpp and ggml: written and read, with models, vocabularies and adapters in it.
//!
//! `writer` and `reader` know the container, `quantize` the blocks; `names` and `metadata` say what a Llama
//! is called there; `vocabulary` puts a tokenizer into it; `model` and `lora` put all of it together, and
//! `tokenizer` takes one out again.

mod cursor;
mod encode;
mod lora;
mod metadata;
mod model;
mod names;
pub mod quantize;
mod reader;
mod tensor_type;
mod tokenizer;
mod value;
mod vocabulary;
mod writer;

pub use encode::Encoder;
pub use lora::{GgufLora, write_lora};
pub use model::{GgufModel, write_model};
pub use reader::{Gguf, StoredTensor};
pub use tensor_type::TensorType;
pub use value::{Kind, Value};
pub use vocabulary::{TokenKind, Vocabulary, VocabularyModel};
pub use writer::{GgufWriter, TensorHeader};

/// Tensors start at multiples of this many bytes.
const ALIGNMENT: u64 = 32;
const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
