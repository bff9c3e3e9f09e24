//! What can be wrong with a model's files, named.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },

    #[error("{}: not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },

    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    Field { path: PathBuf, key: String, expected: String, found: String },

    #[error("{}: not a whole safetensors file: {reason}", path.display())]
    Safetensors { path: PathBuf, reason: String },

    #[error("{}: cannot be read as tensors: {reason}", path.display())]
    Pickle { path: PathBuf, reason: String },

    #[error("{}: this part of the weights is missing; {} names it", path.display(), index.display())]
    MissingShard { path: PathBuf, index: PathBuf },

    #[error("{}: no tensor `{name}`", path.display())]
    MissingTensor { path: PathBuf, name: String },

    #[error("{}: tensor `{name}`: expected shape {expected:?}, found {found:?}", path.display())]
    Shape { path: PathBuf, name: String, expected: Vec<usize>, found: Vec<usize> },

    #[error("{}: tensor `{name}`: type {found} is not supported; expected F32, F16 or BF16", path.display())]
    Dtype { path: PathBuf, name: String, found: String },

    #[error("{}: tensor `{name}` belongs to no module of this base model", path.display())]
    UnknownTensor { path: PathBuf, name: String },

    #[error("{} holds no model: {reason}", path.display())]
    NoModel { path: PathBuf, reason: String },

    #[error(
        "{}: this adapter was trained on another base model (fingerprint {expected}, this base has {found})",
        path.display()
    )]
    OtherBase { path: PathBuf, expected: String, found: String },

    #[error("{0}")]
    Lora(String),

    #[error("token id {id} is outside the model's vocabulary of {vocab}")]
    TokenId { id: u32, vocab: usize },

    #[error("{name} cannot be quantised: {reason}")]
    Quantize { name: String, reason: String },

    #[error("{tokens} tokens do not fit: {limit}")]
    TooLong { tokens: usize, limit: String },
}

impl Error {
    /// Of a path where a model's folder should be.
    pub fn no_folder(path: &Path) -> Self {
        let reason = match path.extension() {
            Some(extension) if extension == "gguf" => {
                "a GGUF file can be talked to (chat) and inspected; all else begins with the folder that it was made of"
            }
            _ if path.is_file() => "it is a file",
            _ => "there is no such folder",
        };
        Error::NoModel { path: path.to_path_buf(), reason: reason.into() }
    }

    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Safetensors { .. } => {
                Some("the file is probably truncated: copy or download it again and compare its size")
            }
            Error::Pickle { .. } => Some(
                "such files are only read, never executed; take the model's safetensors, or what \
                 torch.save(model.state_dict(), …) writes",
            ),
            Error::UnknownTensor { .. } | Error::OtherBase { .. } => {
                Some("use the base model that the adapter was trained on (base_model_name_or_path)")
            }
            Error::Shape { .. } => Some(
                "weights and configuration are of different models; an adapter needs the base that it was trained \
                 on (base_model_name_or_path)",
            ),
            Error::MissingShard { .. } => Some("the download was not finished: fetch the missing file"),
            Error::MissingTensor { .. } => Some(
                "the file (or its index) is of another model, or was written incompletely: fetch the whole model \
                 again",
            ),
            Error::Dtype { .. } => {
                Some("a quantised model has to be unpacked first; take the original in f16, bf16 or f32")
            }
            Error::NoModel { .. } => Some(
                "a model is a folder in the Hugging Face layout: config.json, model.safetensors or \
                 pytorch_model.bin, tokenizer.json or tokenizer.model",
            ),
            Error::Lora(_) => Some(
                "target modules are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj or all-linear",
            ),
            Error::Quantize { .. } => Some("train over the weights as they are (no quantize), or as q8_0"),
            Error::TokenId { .. } => Some("the tokenizer or the token file belongs to another model"),
            _ => None,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
