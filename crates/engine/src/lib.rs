//! The arithmetic of training: the [`Backend`] trait, the CPU backend, the naive f64 reference.
//!
//! There is no autograd. Each operation's `backward` stands beside its forward; the decoder
//! (crate `tolmach-model`) calls them in order, and in reverse order.
//!
//! Legend for shapes, here and in `tolmach-model`:
//! T time (packed tokens) · C hidden · F ffn · H heads · K kv heads · D head dim · V vocabulary · R rank.
//! Matrices are row-major. A linear layer's weight is `[out, in]`, as in PyTorch.

// The scenarios of `tests/common` name the crate from outside.
#[cfg(test)]
extern crate self as tolmach_engine;

mod backend;
mod blocks;
pub mod cpu;
mod frozen;
mod lora;
pub mod random;
pub mod reference;

pub use backend::{
    AdamW, Attention, Backend, CACHE_BLOCK, CacheType, Dims, Dropout, Mat, Out, RopeDirection, Segment,
};
pub use blocks::BlockType;
pub use cpu::{Activations, CpuBackend};
pub use frozen::{Dtype, Format, FrozenMatrix, StorageError};
pub use lora::{LoraBackward, LoraIn, LoraOut};
pub use reference::ReferenceBackend;
