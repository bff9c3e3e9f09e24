//! What can be wrong with a model's folder.

use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum MarianError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    Field { path: PathBuf, key: String, expected: String, found: String },
    #[error("{}: {reason}", path.display())]
    Vocabulary { path: PathBuf, reason: String },
    #[error(transparent)]
    Weights(#[from] tolmach_model::Error),
    #[error(transparent)]
    Pieces(#[from] tolmach_tokenize::Error),
    #[error("this model translates {found}, not {wanted}")]
    Languages { found: String, wanted: String },
}

impl MarianError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            MarianError::Languages { .. } => {
                Some("OPUS-MT has a model for most pairs of languages, NLLB one for 200 languages")
            }
            MarianError::Read { .. } => Some(
                "a model is a folder in the Hugging Face layout: config.json, model.safetensors or \
                 pytorch_model.bin, and for OPUS-MT source.spm, target.spm, vocab.json, for M2M100 \
                 sentencepiece.bpe.model and vocab.json, for NLLB sentencepiece.bpe.model",
            ),
            MarianError::Weights(source) => source.hint(),
            _ => None,
        }
    }
}
