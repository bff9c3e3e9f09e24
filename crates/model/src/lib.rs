//! Llama models: configuration, weights, decoder forward and backward, LoRA, KV cache, sampling.
//!
//! Reading order: [`Config`] → [`Decoder`] (the whole model) → `block` (one layer, forward beside
//! backward) → `linear` (a layer with LoRA) → `build` (from a folder, at random, with LoRA) →
//! `adapter` (PEFT's format) → `cache`, `generate`, `sampling` (replies).
//!
//! Invariants: no autograd; the arithmetic is the backend's, this crate only orders it; frozen weights
//! stay in the type they have on disk, memory-mapped; a base is never changed by an adapter beside it.
//! Nothing here knows text: tokens in, logits and tokens out.

mod adapter;
mod block;
mod build;
mod cache;
mod checkpoint;
mod config;
mod decoder;
mod error;
mod generate;
mod init;
mod linear;
mod lora;
mod parameter;
mod pickle;
mod pickle_file;
mod pickle_zip;
mod sampling;
mod shape;
mod share;
mod tensor_writer;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterInfo, snapshot_step};
pub use block::LINEAR_LAYERS;
pub use cache::KvCache;
pub use checkpoint::{Checkpoint, NamedTensor, write_tensors};
pub use config::{Config, Rope, RopeScaling};
pub use decoder::{Batch, BatchSize, Decoder, Head, Keeping, Noise, Noises, Workspace, WorkspaceSpec};
pub use error::{Error, Result};
pub use generate::{Finish, Reply, generate, generate_all};
pub use lora::{InitLora, LoraConfig};
pub use parameter::{Parameter, Side, Weight};
pub use sampling::{Sampler, SamplingConfig, argmax, log_probabilities};
pub use shape::{Shape, Trained};
pub use tensor_writer::TensorWriter;
