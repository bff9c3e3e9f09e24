//! What can go wrong in an export, with the thing named.

use crate::certificate::Certificate;
use std::path::PathBuf;
use tolmach_engine::Dtype;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Model(#[from] tolmach_model::Error),
    #[error(transparent)]
    Tokenizer(#[from] tolmach_tokenize::Error),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{}: not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: not a GGUF file that can be used: {reason}", path.display())]
    Gguf { path: PathBuf, reason: String },
    #[error("{}: this tokenizer cannot be written to a GGUF file: {reason}", path.display())]
    Vocabulary { path: PathBuf, reason: String },
    #[error("tensor `{name}`: {value} cannot be stored as {format}; export to {instead}")]
    Range { name: String, value: f32, format: String, instead: Dtype },
    #[error("tensor `{name}` holds {value}; the model is broken, an export would be too")]
    NotFinite { name: String, value: f32 },
    #[error("an adapter in the GGUF format has LoRA matrices only, this one also trained {modules}")]
    SavedModules { modules: String },
    #[error(
        "an adapter in the GGUF format has LoRA matrices only, this one also has DoRA's magnitudes (use_dora)"
    )]
    Magnitudes,
    #[error("{} exists", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a model folder; it is not replaced", path.display())]
    NotOurs { path: PathBuf },
    #[error("{} is the {what}'s own folder", path.display())]
    OwnInput { path: PathBuf, what: &'static str },
    /// The file or folder was written and taken away again.
    #[error("what was written is not the model that was trained: {}", .0.failures.join("; "))]
    NotEqual(Box<Certificate>),
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Model(error) => error.hint(),
            Error::Gguf { reason, .. } if reason.contains("cut short") => {
                Some("the file is probably truncated: copy or download it again and compare its size")
            }
            Error::SavedModules { .. } | Error::Magnitudes => {
                Some("export the merged model instead: `tolmach export gguf --base … --adapter …`")
            }
            Error::Exists { .. } => Some("--force replaces it, another -o keeps it"),
            Error::NotOurs { .. } | Error::OwnInput { .. } => {
                Some("give the result a folder of its own with -o")
            }
            Error::NotEqual(certificate) if certificate.is_coarse() => Some(
                "nothing was left under the final name; this type is too coarse for this model, one with more \
                 bits is not (--type q8_0 or f16, --dtype f32)",
            ),
            Error::NotEqual(_) => Some(
                "nothing was left under the final name; either the format cannot express this model, or this \
                 program has a bug: please report it with these figures",
            ),
            _ => None,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
