//! From a tuned model to the files that other programs take: a merged model folder, a GGUF file, an
//! adapter in GGUF; and the proof that what they hold is the model that was trained.
//!
//! ```text
//! base + adapter ──TunedModel──▶ tensors, merged one at a time ──▶ folder | GGUF
//!        │                                                             │ read back from disk
//!        └──Live: adapter beside base──▶ logits on 64 texts ◀──compare─┘──▶ Certificate
//! ```
//!
//! Invariants: nothing appears under its final name before its proof holds; the live side shares no code
//! with the merge; nothing is merged into quantised weights; a tensor at a time is in memory.

mod certificate;
mod chat_template;
mod compare;
mod error;
mod export;
#[cfg(test)]
mod export_tests;
mod folder;
pub mod gguf;
#[cfg(test)]
mod planted_tests;
mod prompts;
mod prove;
mod publish;
mod source;
#[cfg(test)]
mod testing;
mod tokenizer_json;

pub use certificate::{Certificate, FileFigures, WeightFigures};
pub use chat_template::{chat_template, prompt_template};
pub use compare::{Bounds, Figures, Logits, PackedPrompts, compare};
pub use error::{Error, Result};
pub use export::{Export, Progress};
pub use prompts::{SPACED, TEXTS};
pub use prove::Live;
pub use source::{Source, Tensor, TunedModel, logits, tensors};
