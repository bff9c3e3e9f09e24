//! Which tokens are special: resolved from the files of a model folder, as transformers does.
//!
//! The text of `bos_token`, `eos_token`, `pad_token`, `unk_token` comes from the first of:
//!
//! 1. `special_tokens_map.json`, but only where `tokenizer_config.json` has no
//!    `added_tokens_decoder` (with it, transformers never opens the map);
//! 2. `tokenizer_config.json`;
//! 3. for Llama's tokenizer classes their defaults `<s>`, `</s>`, `<unk>`, where the vocabulary
//!    has them;
//!
//! and, where none names it, the id comes from `generation_config.json`, then `config.json`
//! (`eos_token_id` may be a list: its first id ends an answer, all of them stop generation).
//!
//! Whether a text starts with BOS: an explicit `add_bos_token` in `tokenizer_config.json` decides;
//! else whatever the post-processor of `tokenizer.json` does; else, where there is no
//! post-processor, BOS is added if the model has one.

use crate::error::Error;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The JSON files beside `tokenizer.json`; `Null` where a file is absent.
pub(crate) struct FolderConfig {
    tokenizer_config: Value,
    special_tokens_map: Value,
    generation_config: Value,
    config: Value,
}

impl FolderConfig {
    /// # Errors
    /// A file is there but cannot be read or is not JSON.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| read_json(folder.join(name));
        Ok(FolderConfig {
            tokenizer_config: read("tokenizer_config.json")?,
            special_tokens_map: read("special_tokens_map.json")?,
            generation_config: read("generation_config.json")?,
            config: read("config.json")?,
        })
    }

    /// The text of a special token (`bos_token` …) by files 1 and 2 above.
    pub fn token_name(&self, key: &str) -> Option<String> {
        let has_decoder = self.tokenizer_config.get("added_tokens_decoder").is_some();
        let map = if has_decoder { None } else { content(&self.special_tokens_map[key]) };
        map.or_else(|| content(&self.tokenizer_config[key]))
    }

    /// The ids under `bos_token_id`, `eos_token_id` …: `generation_config.json`, else `config.json`.
    pub fn token_ids(&self, key: &str) -> Vec<u32> {
        let from_generation = ids(&self.generation_config[key]);
        if from_generation.is_empty() { ids(&self.config[key]) } else { from_generation }
    }

    /// The tokenizer is one of Llama's classes (whose code has its own defaults).
    pub fn is_llama_class(&self) -> bool {
        let class = self.tokenizer_config["tokenizer_class"].as_str().unwrap_or_default();
        matches!(class.trim_end_matches("Fast"), "LlamaTokenizer" | "CodeLlamaTokenizer")
    }

    pub fn add_bos_token(&self) -> Option<bool> {
        self.tokenizer_config["add_bos_token"].as_bool()
    }
}

fn read_json(path: PathBuf) -> Result<Value, Error> {
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// A token is written as its text or as an object with `content`.
fn content(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value["content"].as_str())?;
    (!text.is_empty()).then(|| text.to_string())
}

fn ids(value: &Value) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().filter_map(id).collect(),
        single => id(single).into_iter().collect(),
    }
}
