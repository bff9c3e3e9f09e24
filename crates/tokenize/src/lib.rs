//! Tokenizers, prompt templates, label mask, packing.
//!
//! The way of an example through this crate:
//!
//! ```text
//! Example ──PromptTemplate──▶ Rendered (text + trained byte ranges)
//!         ──ExampleEncoder──▶ TokenExample (input_ids + labels, from ONE encoding)
//!         ──epoch_order, plan_steps──▶ StepPlan (micro-batches of example indices)
//!         ──PackedBatch::pack──▶ PackedBatch (segments laid end to end, no padding)
//! ```
//!
//! Invariants: the prompt is never tokenised apart from its answer; labels stay unshifted
//! everywhere (the model shifts inside a segment, see [`PackedBatch::targets`]); this crate reads
//! files only where a path is handed to it, and knows nothing of the model.

mod backend;
mod chat_template;
mod encode;
mod error;
mod jsonl;
mod loading;
mod pack;
mod parts;
mod pattern;
mod sentencepiece;
mod shared;
mod special;
mod stream;
mod survey;
mod template;
mod template_file;
#[cfg(test)]
mod testing;
mod token_example;
mod tokenizer;

pub use chat_template::ChatTemplate;
pub use encode::{DropReason, Dropped, EncodedExamples, ExampleEncoder, MaskConfig, OverLong};
pub use error::Error;
pub use jsonl::{looks_pretokenized, parse_token_examples, read_token_examples, write_token_examples};
pub use pack::{PackedBatch, StepPlan, StepSize, epoch_order, plan_steps};
pub use parts::{Pieces, TokenizerParts};
pub use sentencepiece::{ModelProto, ModelType, NormalizerSpec, Piece, PieceKind, PieceModel, TrainerSpec};
pub use shared::{Share, SharedPrefixes};
pub use stream::DecodeStream;
pub use survey::{
    Lengths, Lint, LintCount, Measure, Survey, TextSize, measure_examples, measure_token_examples,
};
pub use template::{BUILT_IN_TEMPLATES, BuiltIn, PromptTemplate, RenderError, Rendered, TemplateStrings};
pub use template_file::TEMPLATE_FILE;
pub use token_example::{IGNORED, TokenExample};
pub use tokenizer::{TOKENIZER_FILES, TextTokens, Tokenizer};
