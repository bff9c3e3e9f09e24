//! A tokenizer as GGUF has it (`tokenizer.ggml.*`).
//!
//! Two of llama.cpp's tokenizers serve a Llama: `llama`, SentencePiece's BPE (pieces with `▁` for a space,
//! bytes as `<0x0A>`, merged by the scores of the pieces), and `gpt2`, byte-level BPE (merged by a list, cut
//! into words by a pattern that llama.cpp knows under a name).

use super::Value;
use crate::error::{Error, Result};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;
use tolmach_tokenize::{ModelProto, ModelType, PieceKind, Tokenizer};

/// What a token is for, numbered as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Normal = 1,
    Unknown,
    /// `<s>`, `</s>`: not printed, never found in a text.
    Control,
    /// One token wherever a text spells it.
    UserDefined,
    /// A row of the embedding that no text leads to.
    Unused,
    Byte,
}

#[derive(Clone, Debug, PartialEq)]
pub enum VocabularyModel {
    Llama {
        /// Of each token; the pair whose piece has the highest is merged first.
        scores: Vec<f32>,
        /// Texts begin with a space that is not theirs.
        add_space_prefix: bool,
    },
    Gpt2 {
        /// Pairs with a space between, the first to be merged first.
        merges: Vec<String>,
        /// How texts are cut into words: llama.cpp's name of the pattern.
        pre: String,
    },
}

/// All tokens, and which of them are special.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    pub model: VocabularyModel,
    pub tokens: Vec<String>,
    pub kinds: Vec<TokenKind>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    pub add_bos: bool,
    /// Runs of spaces count as one. llama.cpp does not do that for `llama`, only SentencePiece does.
    pub remove_extra_whitespaces: bool,
    pub chat_template: Option<String>,
}

/// Splitting patterns of `tokenizer.json` that llama.cpp knows: (its name, the pattern).
pub(crate) const SPLITS: [(&str, &str); 2] = [
    (
        "llama-bpe",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

impl Vocabulary {
    /// The tokenizer of a model folder, for an embedding of `vocab_size` rows.
    ///
    /// # Errors
    /// Files are missing or broken; a tokenizer that llama.cpp has no counterpart of; more tokens than rows.
    pub fn read(folder: &Path, tokenizer: &Tokenizer, vocab_size: usize) -> Result<Self> {
        tokenizer.check_vocab_size(vocab_size)?;
        let (json_path, model_path) = (folder.join("tokenizer.json"), folder.join("tokenizer.model"));
        let proto = read(&model_path)?.map(|bytes| {
            let broken = |reason| Error::Vocabulary { path: model_path.clone(), reason };
            ModelProto::parse(&bytes).map_err(broken)
        });
        let parts = match (read(&json_path)?, proto.transpose()?) {
            (Some(bytes), proto) => {
                let json = serde_json::from_slice(&bytes)
                    .map_err(|source| Error::Json { path: json_path.clone(), source })?;
                from_json(&json, proto.as_ref())
                    .map_err(|reason| Error::Vocabulary { path: json_path.clone(), reason })?
            }
            (None, Some(proto)) => {
                from_proto(&proto).map_err(|reason| Error::Vocabulary { path: model_path.clone(), reason })?
            }
            (None, None) => {
                let reason = "there is neither tokenizer.json nor tokenizer.model".into();
                return Err(Error::Vocabulary { path: folder.to_path_buf(), reason });
            }
        };
        Ok(parts.finish(tokenizer, vocab_size))
    }

    /// `tokenizer.*`.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        let mut pairs: Vec<(&str, Value)> = Vec::new();
        match &self.model {
            VocabularyModel::Llama { scores, add_space_prefix } => {
                pairs.push(("ggml.model", Value::text("llama")));
                pairs.push(("ggml.pre", Value::text("default")));
                pairs.push(("ggml.scores", Value::f32s(scores.iter().copied())));
                pairs.push(("ggml.add_space_prefix", Value::Bool(*add_space_prefix)));
            }
            VocabularyModel::Gpt2 { merges, pre } => {
                pairs.push(("ggml.model", Value::text("gpt2")));
                pairs.push(("ggml.pre", Value::text(pre)));
                pairs.push(("ggml.merges", Value::texts(merges.iter().cloned())));
            }
        }
        pairs.push(("ggml.tokens", Value::texts(self.tokens.iter().cloned())));
        pairs.push(("ggml.token_type", Value::i32s(self.kinds.iter().map(|k| *k as i32))));
        for (key, id) in [
            ("ggml.bos_token_id", self.bos),
            ("ggml.eos_token_id", self.eos),
            ("ggml.unknown_token_id", self.unk),
            ("ggml.padding_token_id", self.pad),
        ] {
            pairs.extend(id.map(|id| (key, Value::U32(id))));
        }
        pairs.push(("ggml.add_bos_token", Value::Bool(self.add_bos)));
        pairs.push(("ggml.add_eos_token", Value::Bool(false)));
        if self.remove_extra_whitespaces {
            pairs.push(("ggml.remove_extra_whitespaces", Value::Bool(true)));
        }
        pairs.extend(self.chat_template.as_ref().map(|text| ("chat_template", Value::text(text))));
        pairs.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)).collect()
    }

    /// What a file's metadata says; what it does not say is what llama.cpp takes then.
    ///
    /// # Errors
    /// A key is missing or of another type; a kind of tokenizer that is none of the two.
    pub(super) fn of_metadata(get: impl Fn(&str) -> Option<Value>) -> Result<Self, Reason> {
        let get = |key: &str| get(&format!("tokenizer.{key}"));
        let need = |key: &str| get(key).ok_or_else(|| format!("no `tokenizer.{key}` in its metadata"));
        let id = |key: &str| get(key).and_then(|v| v.as_count()).and_then(|n| u32::try_from(n).ok());
        let flag = |key: &str| get(key).and_then(|v| v.as_bool());
        let text = |key: &str| get(key).and_then(|v| v.as_text().map(String::from));
        let tokens = list(&need("ggml.tokens")?, |v| v.as_text().map(String::from))
            .ok_or("its tokens are no texts")?;
        let kind = need("ggml.model")?;
        let (model, adds_bos) = match kind.as_text().unwrap_or_default() {
            "llama" => {
                let scores = list(&need("ggml.scores")?, Value::as_f32).ok_or("its scores are no numbers")?;
                let add_space_prefix = flag("ggml.add_space_prefix").unwrap_or(true);
                (VocabularyModel::Llama { scores, add_space_prefix }, true)
            }
            "gpt2" => {
                let merges = list(&need("ggml.merges")?, |v| v.as_text().map(String::from));
                let merges = merges.ok_or("its merges are no texts")?;
                let pre = text("ggml.pre").ok_or("no `tokenizer.ggml.pre` in its metadata")?;
                let adds_bos = pre.starts_with("llama");
                (VocabularyModel::Gpt2 { merges, pre }, adds_bos)
            }
            other => return Err(format!("tokenizer `{other}`; expected llama or gpt2")),
        };
        let kinds = match get("ggml.token_type") {
            Some(kinds) => list(&kinds, |v| kind_of(v.as_count()?)).ok_or("a token of no known type")?,
            None => vec![TokenKind::Normal; tokens.len()],
        };
        Ok(Self {
            model,
            kinds,
            bos: id("ggml.bos_token_id"),
            eos: id("ggml.eos_token_id"),
            unk: id("ggml.unknown_token_id"),
            pad: id("ggml.padding_token_id"),
            add_bos: flag("ggml.add_bos_token").unwrap_or(adds_bos),
            remove_extra_whitespaces: flag("ggml.remove_extra_whitespaces").unwrap_or(false),
            chat_template: text("chat_template"),
            tokens,
        })
    }
}

/// All items of an array; `None` where one of them is of another type.
fn list<T>(value: &Value, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(item).collect()
}

fn kind_of(number: u64) -> Option<TokenKind> {
    use TokenKind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
    [Normal, Unknown, Control, UserDefined, Unused, Byte].into_iter().find(|k| *k as u64 == number)
}

/// A vocabulary without its special ids.
struct Parts {
    model: VocabularyModel,
    remove_extra_whitespaces: bool,
    tokens: HashMap<u32, (String, TokenKind)>,
}

impl Parts {
    fn finish(self, tokenizer: &Tokenizer, vocab_size: usize) -> Vocabulary {
        let Parts { mut model, remove_extra_whitespaces, tokens: mut known } = self;
        let mut tokens = Vec::with_capacity(vocab_size);
        let mut kinds = Vec::with_capacity(vocab_size);
        for id in 0..vocab_size as u32 {
            // What a file names as special is special, whatever the vocabulary calls it.
            let (text, kind) = match known.remove(&id) {
                Some((text, TokenKind::Normal | TokenKind::UserDefined)) if tokenizer.is_special(id) => {
                    (text, TokenKind::Control)
                }
                Some(token) => token,
                None => match tokenizer.token_text(id) {
                    Some(text) if tokenizer.is_special(id) => (text, TokenKind::Control),
                    Some(text) => (text, TokenKind::UserDefined),
                    None => (format!("[PAD{id}]"), TokenKind::Unused),
                },
            };
            tokens.push(text);
            kinds.push(kind);
        }
        if let VocabularyModel::Llama { scores, .. } = &mut model {
            scores.resize(vocab_size, 0.0);
        }
        Vocabulary {
            model,
            tokens,
            kinds,
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            unk: tokenizer.unk(),
            pad: tokenizer.pad(),
            add_bos: tokenizer.adds_bos(),
            remove_extra_whitespaces,
            chat_template: None,
        }
    }
}

type Reason = String;

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}

fn from_proto(proto: &ModelProto) -> Result<Parts, Reason> {
    if proto.trainer.model_type != ModelType::Bpe {
        return Err("llama.cpp runs a Llama with SentencePiece's BPE, this model is none (unigram?)".into());
    }
    let kind = |kind| match kind {
        PieceKind::Normal => TokenKind::Normal,
        PieceKind::Unknown => TokenKind::Unknown,
        PieceKind::Control => TokenKind::Control,
        PieceKind::UserDefined => TokenKind::UserDefined,
        PieceKind::Unused => TokenKind::Unused,
        PieceKind::Byte => TokenKind::Byte,
    };
    let pieces = (0u32..).zip(&proto.pieces);
    Ok(Parts {
        model: VocabularyModel::Llama {
            scores: proto.pieces.iter().map(|piece| piece.score).collect(),
            add_space_prefix: proto.normalizer.add_dummy_prefix,
        },
        remove_extra_whitespaces: proto.normalizer.remove_extra_whitespaces,
        tokens: pieces.map(|(id, piece)| (id, (piece.text.clone(), kind(piece.kind)))).collect(),
    })
}

/// From `tokenizer.json`; `proto` is the `tokenizer.model` beside it, whose scores are the original ones.
fn from_json(json: &Json, proto: Option<&ModelProto>) -> Result<Parts, Reason> {
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(format!("its model is {}; expected \"BPE\"", model["type"]));
    }
    let vocabulary = model["vocab"].as_object().ok_or("it has no model.vocab")?;
    let mut tokens = HashMap::with_capacity(vocabulary.len());
    for (text, id) in vocabulary {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        tokens.insert(id.ok_or_else(|| format!("{text:?} has no id"))?, (text.clone(), TokenKind::Normal));
    }
    let added = json["added_tokens"].as_array().into_iter().flatten();
    for token in added {
        if let (Some(id), Some(text)) = (token["id"].as_u64(), token["content"].as_str()) {
            let special = token["special"].as_bool().unwrap_or(false);
            let kind = if special { TokenKind::Control } else { TokenKind::UserDefined };
            tokens.insert(id as u32, (text.into(), kind));
        }
    }
    let merges = merges(&model["merges"])?;
    if let Some(pre) = byte_level_pattern(json)? {
        let merges = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        return Ok(Parts {
            model: VocabularyModel::Gpt2 { merges, pre: pre.into() },
            remove_extra_whitespaces: false,
            tokens,
        });
    }
    let add_space_prefix = space_prefix(json)?;
    for (text, kind) in tokens.values_mut() {
        if is_byte(text) && *kind == TokenKind::Normal {
            *kind = TokenKind::Byte;
        } else if model["unk_token"].as_str() == Some(text) {
            *kind = TokenKind::Unknown;
        }
    }
    let scores = match proto.filter(|proto| has_pieces(proto, &tokens)) {
        Some(proto) => proto.pieces.iter().map(|piece| piece.score).collect(),
        None => scores(&tokens, &merges),
    };
    let model = VocabularyModel::Llama { scores, add_space_prefix };
    Ok(Parts { model, remove_extra_whitespaces: false, tokens })
}

/// Written as `"a b"` or as `["a", "b"]`.
fn merges(list: &Json) -> Result<Vec<(&str, &str)>, Reason> {
    let list = list.as_array().ok_or("it has no model.merges")?;
    fn pair(merge: &Json) -> Option<(&str, &str)> {
        match merge {
            Json::String(text) => text.split_once(' '),
            Json::Array(two) if two.len() == 2 => two[0].as_str().zip(two[1].as_str()),
            _ => None,
        }
    }
    list.iter().map(|merge| pair(merge).ok_or_else(|| format!("{merge} is no merge"))).collect()
}

/// llama.cpp's name of the pattern that cuts texts into words; `None` for a tokenizer that is not
/// byte-level.
fn byte_level_pattern(json: &Json) -> Result<Option<&'static str>, Reason> {
    let steps = match &json["pre_tokenizer"] {
        Json::Null => return Ok(None),
        sequence if sequence["type"] == "Sequence" => {
            sequence["pretokenizers"].as_array().cloned().unwrap_or_default()
        }
        one => vec![one.clone()],
    };
    let Some((last, before)) = steps.split_last().filter(|(last, _)| last["type"] == "ByteLevel") else {
        return Ok(None);
    };
    if !json["normalizer"].is_null() {
        return Err(format!("it normalises texts, which llama.cpp's does not: {}", json["normalizer"]));
    }
    if last["add_prefix_space"] == true {
        return Err("it puts a space before texts (add_prefix_space), which llama.cpp's does not".into());
    }
    let own_pattern = last["use_regex"].as_bool().unwrap_or(true);
    let pattern = match before {
        [] if own_pattern => Some("gpt-2"),
        [digits] if own_pattern && digits["type"] == "Digits" && digits["individual_digits"] == true => {
            Some("smollm")
        }
        [split] if !own_pattern && split["type"] == "Split" && split["behavior"] == "Isolated" => {
            let pattern = split["pattern"]["Regex"].as_str().unwrap_or_default();
            SPLITS.iter().find(|(_, known)| *known == pattern).map(|(name, _)| *name)
        }
        _ => None,
    };
    pattern.map(Some).ok_or_else(|| {
        format!("it cuts texts in a way that has no name in llama.cpp: {}", json["pre_tokenizer"])
    })
}

/// Whether a SentencePiece-like `tokenizer.json` puts a space before texts.
fn space_prefix(json: &Json) -> Result<bool, Reason> {
    if json["model"]["byte_fallback"] != true {
        return Err("it is neither byte-level nor SentencePiece's BPE with byte fallback".into());
    }
    let normalizer = &json["normalizer"];
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.clone(),
        None => [normalizer].into_iter().filter(|n| !n.is_null()).cloned().collect(),
    };
    let mut prefix = false;
    for step in &steps {
        match step["type"].as_str() {
            Some("Prepend") if step["prepend"] == "▁" => prefix = true,
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == "▁" => {}
            _ => return Err(format!("it normalises texts in a way that llama.cpp's does not: {step}")),
        }
    }
    let words = &json["pre_tokenizer"];
    if words["type"] == "Metaspace" && words["split"] == false && words["replacement"] == "▁" {
        prefix |= words["prepend_scheme"] != "never";
    } else if !words.is_null() {
        return Err(format!("it cuts texts into words, which llama.cpp's does not: {words}"));
    }
    Ok(prefix)
}

fn is_byte(text: &str) -> bool {
    let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn has_pieces(proto: &ModelProto, tokens: &HashMap<u32, (String, TokenKind)>) -> bool {
    let same = |(id, piece): (u32, &tolmach_tokenize::Piece)| {
        tokens.get(&id).is_some_and(|(text, _)| *text == piece.text)
    };
    proto.trainer.model_type == ModelType::Bpe && (0u32..).zip(&proto.pieces).all(same)
}

/// Scores that make llama.cpp merge in the order of the list: SentencePiece's own, minus the rank.
fn scores(tokens: &HashMap<u32, (String, TokenKind)>, merges: &[(&str, &str)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, (a, b)) in merges.iter().enumerate() {
        ranks.entry(format!("{a}{b}")).or_insert(rank);
    }
    let size = tokens.keys().max().map_or(0, |&id| id as usize + 1);
    let mut scores = vec![0.0; size];
    for (&id, (text, kind)) in tokens {
        if *kind == TokenKind::Normal {
            scores[id as usize] = -(ranks.get(text).copied().unwrap_or(merges.len()) as f32);
        }
    }
    scores
}

#[cfg(test)]
#[path = "vocabulary_tests.rs"]
mod tests;
