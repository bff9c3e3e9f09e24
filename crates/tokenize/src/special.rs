//! Which tokens are special: resolved from the files of a model folder, as transformers does.
//!
//! The text of `bos_token`, `eos_token`, `pad_token`, `unk_token` comes from the first of:
//!
//! 1. `special_tokens_map.json`, but only where `tokenizer_config.json` has no
//!    `added_tokens_decoder` (with it, transformers never opens the map);
//! 2. `tokenizer_config.json`;
//! 3. for Llama's tokenizer classes their defaults `<s>`, `</s>`, `<unk>`, where the vocabulary
//!    has them;
//! 4. `tokenizer.model` itself, where that is the tokenizer;
//!
//! and, where none names it, the id comes from `generation_config.json`, then `config.json`
//! (`eos_token_id` may be a list: its first id ends an answer, all of them stop generation).
//!
//! Whether a text starts with BOS: an explicit `add_bos_token` in `tokenizer_config.json` decides;
//! else whatever the post-processor of `tokenizer.json` does; else, where there is no
//! post-processor, BOS is added if the model has one.

use crate::error::Error;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The JSON files beside `tokenizer.json` or `tokenizer.model`; `Null` where a file is absent.
pub(crate) struct FolderConfig {
    tokenizer_config: Value,
    special_tokens_map: Value,
    added_tokens: Value,
    generation_config: Value,
    config: Value,
}

/// A token beyond the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedText {
    pub text: String,
    pub special: bool,
}

impl FolderConfig {
    /// # Errors
    /// A file is there but cannot be read or is not JSON.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| read_json(folder.join(name));
        Ok(FolderConfig {
            tokenizer_config: read("tokenizer_config.json")?,
            special_tokens_map: read("special_tokens_map.json")?,
            added_tokens: read("added_tokens.json")?,
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

    /// Tokens that the files add beyond the vocabulary of `tokenizer.model`, by id:
    /// `added_tokens_decoder` of `tokenizer_config.json`, else `added_tokens.json`.
    pub fn added_tokens(&self) -> BTreeMap<u32, AddedText> {
        let mut added = BTreeMap::new();
        let special_names = self.special_names();
        for (text, id) in self.added_tokens.as_object().into_iter().flatten() {
            if let Some(id) = ids(id).first() {
                let special = special_names.contains(text);
                added.insert(*id, AddedText { text: text.clone(), special });
            }
        }
        let decoder = self.tokenizer_config["added_tokens_decoder"].as_object();
        for (id, token) in decoder.into_iter().flatten() {
            if let (Ok(id), Some(text)) = (id.parse(), content(token)) {
                let special = token["special"].as_bool().unwrap_or(false) || special_names.contains(&text);
                added.insert(id, AddedText { text, special });
            }
        }
        added
    }

    /// The texts that are named as special tokens.
    pub fn special_names(&self) -> Vec<String> {
        let keys = ["bos_token", "eos_token", "pad_token", "unk_token"];
        let mut names: Vec<String> = keys.iter().filter_map(|key| self.token_name(key)).collect();
        for file in [&self.special_tokens_map, &self.tokenizer_config] {
            let more = file["additional_special_tokens"].as_array().into_iter().flatten();
            names.extend(more.filter_map(content));
        }
        names
    }

    pub fn add_bos_token(&self) -> Option<bool> {
        self.tokenizer_config["add_bos_token"].as_bool()
    }
}

fn read_json(path: PathBuf) -> Result<Value, Error> {
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source }),
        // `NotADirectory`: a file was given where a folder was meant; who reads the tokenizer says so.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(Value::Null)
        }
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
