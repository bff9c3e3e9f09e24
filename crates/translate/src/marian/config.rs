//! `config.json` and `generation_config.json` of a MarianMT or M2M100 folder, checked.

use super::error::MarianError;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tolmach_engine::cpu::infer::Gate;

/// Kinds of models that differ in little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OPUS-MT (`marian`): sub-layers are normalised at their ends, the head has a bias.
    Marian,
    /// M2M100 and NLLB (`m2m_100`): sub-layers are normalised where they begin, and both stacks at their
    /// ends; positions are counted from the padding token's id; the answer begins with its language.
    M2m100,
}

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub family: Family,
    pub hidden_size: usize,
    pub encoder: Side,
    pub decoder: Side,
    pub gate: Gate,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    pub max_positions: usize,
    /// Tokens read and tokens written have one embedding.
    pub shared_embeddings: bool,
    /// The head is the embedding of the tokens written.
    pub tied_head: bool,
    pub pad: u32,
}

/// One side of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub layers: usize,
    pub heads: usize,
    pub ffn: usize,
    pub vocab: usize,
}

/// How answers are searched for; the names are those of transformers' `GenerationConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    pub num_beams: usize,
    /// Tokens of an answer with its first and last.
    pub max_length: usize,
    pub length_penalty: f64,
    pub early_stopping: EarlyStopping,
    /// Tokens that are never written.
    pub banned: Vec<u32>,
    pub decoder_start: u32,
    pub eos: Vec<u32>,
    /// Written first, whatever the model says: the language of the answer.
    pub forced_bos: Option<u32>,
    /// Written where `max_length` is reached, whatever the model says.
    pub forced_eos: Option<u32>,
    /// Without the banned tokens, probabilities add up to 1 again.
    pub renormalize_logits: bool,
}

/// When the beams of a sentence have found enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyStopping {
    /// As soon as there are as many answers as beams.
    Always,
    /// When no better answer is likely: judged by the present length.
    Heuristic,
    /// When no better answer is possible.
    Never,
}

/// A JSON object of a file; messages name both.
pub struct Settings {
    path: PathBuf,
    /// Objects, the more important one first.
    objects: Vec<Value>,
}

impl Settings {
    pub fn read(path: &Path) -> Result<Self, MarianError> {
        let text =
            std::fs::read(path).map_err(|source| MarianError::Read { path: path.to_path_buf(), source })?;
        let object = serde_json::from_slice(&text)
            .map_err(|source| MarianError::Json { path: path.to_path_buf(), source })?;
        Ok(Settings { path: path.to_path_buf(), objects: vec![object] })
    }

    /// Nothing, if there is no such file.
    pub fn read_if_there(path: &Path) -> Result<Self, MarianError> {
        let nothing = || Settings { path: path.to_path_buf(), objects: Vec::new() };
        if path.is_file() { Settings::read(path) } else { Ok(nothing()) }
    }

    /// Tokens that a `tokenizer_config.json` adds to the vocabulary.
    pub fn added_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        let added = self.value("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
        added.filter_map(|(id, token)| Some((token.get("content")?.as_str()?, id.parse().ok()?)))
    }

    /// The keys that have an id.
    pub fn ids(&self) -> impl Iterator<Item = (&str, u32)> {
        let all = self.objects.iter().filter_map(Value::as_object).flatten();
        all.filter_map(|(token, id)| Some((token.as_str(), u32::try_from(id.as_u64()?).ok()?)))
    }

    /// What `path` says goes first; it need not be there.
    fn and_before(mut self, path: &Path) -> Result<Self, MarianError> {
        if path.is_file() {
            let mut other = Settings::read(path)?;
            self.objects.splice(0..0, other.objects.drain(..));
            self.path = other.path;
        }
        Ok(self)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.objects.iter().find_map(|object| object.get(key)).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &str) -> MarianError {
        let found = self.value(key).map_or("nothing".to_string(), Value::to_string);
        MarianError::Field { path: self.path.clone(), key: key.into(), expected: expected.into(), found }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MarianError> {
        self.value(key).map(|value| read(value).ok_or_else(|| self.wrong(key, expected))).transpose()
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, MarianError> {
        Ok(self.optional(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A number from 1 up.
    fn count(&self, key: &str) -> Result<usize, MarianError> {
        let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let expected = "a whole number above 0";
        self.optional(key, expected, read)?.ok_or_else(|| self.wrong(key, expected))
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize, MarianError> {
        if self.value(key).is_some() { self.count(key) } else { Ok(default) }
    }

    fn token(&self, key: &str) -> Result<Option<u32>, MarianError> {
        Ok(self.tokens(key)?.first().copied())
    }

    /// One token or a list.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, MarianError> {
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let read = |value: &Value| match value {
            Value::Array(ids) => ids.iter().map(one).collect(),
            id => one(id).map(|id| vec![id]),
        };
        Ok(self.optional(key, "a token id, or a list of them", read)?.unwrap_or_default())
    }
}

impl Shape {
    /// From `config.json`.
    ///
    /// # Errors
    /// The file is of another kind of model, or a key is missing or makes no sense.
    pub fn read(config: &Settings) -> Result<Self, MarianError> {
        let family = match config.text("model_type") {
            Some("marian") => Family::Marian,
            Some("m2m_100") => Family::M2m100,
            _ => return Err(config.wrong("model_type", "\"marian\" or \"m2m_100\" (M2M100, NLLB)")),
        };
        let hidden_size = config.count("d_model")?;
        let vocab = config.count("vocab_size")?;
        let decoder_vocab = config.count_or("decoder_vocab_size", vocab)?;
        let side = |name: &str, vocab| -> Result<Side, MarianError> {
            let heads = config.count(&format!("{name}_attention_heads"))?;
            if !hidden_size.is_multiple_of(heads) {
                let expected = format!("a divisor of d_model, {hidden_size}");
                return Err(config.wrong(&format!("{name}_attention_heads"), &expected));
            }
            let layers = config.count(&format!("{name}_layers"))?;
            Ok(Side { layers, heads, ffn: config.count(&format!("{name}_ffn_dim"))?, vocab })
        };
        let gate = match config.text("activation_function") {
            Some("swish" | "silu") => Gate::Silu,
            Some("relu") => Gate::Relu,
            Some("gelu") => Gate::Gelu,
            _ => return Err(config.wrong("activation_function", "swish, relu or gelu")),
        };
        let scale = config.flag("scale_embedding", false)?;
        Ok(Shape {
            family,
            hidden_size,
            encoder: side("encoder", vocab)?,
            decoder: side("decoder", decoder_vocab)?,
            gate,
            embedding_scale: if scale { (hidden_size as f32).sqrt() } else { 1.0 },
            max_positions: config.count_or("max_position_embeddings", 1024)?,
            shared_embeddings: family == Family::M2m100
                || config.flag("share_encoder_decoder_embeddings", true)?,
            tied_head: config.flag("tie_word_embeddings", true)?,
            pad: config
                .token("pad_token_id")?
                .filter(|&id| (id as usize) < vocab.min(decoder_vocab))
                .ok_or_else(|| config.wrong("pad_token_id", "a token of the vocabulary"))?,
        })
    }
}

/// Settings of `generate` that would change the answer and are not done here, with the value at which
/// they do nothing.
const OTHER_SEARCHES: [(&str, f64); 9] = [
    ("do_sample", 0.0),
    ("num_beam_groups", 1.0),
    ("diversity_penalty", 0.0),
    ("repetition_penalty", 1.0),
    ("encoder_repetition_penalty", 1.0),
    ("no_repeat_ngram_size", 0.0),
    ("encoder_no_repeat_ngram_size", 0.0),
    ("min_length", 0.0),
    ("min_new_tokens", 0.0),
];

impl Generation {
    /// From `generation_config.json`, and from `config.json` where that is silent, as older folders have
    /// it.
    ///
    /// # Errors
    /// A key makes no sense, or asks for a search that is not done here.
    pub fn read(folder: &Path, shape: &Shape) -> Result<Self, MarianError> {
        let config = Settings::read(&folder.join("config.json"))?;
        let settings = config.and_before(&folder.join("generation_config.json"))?;
        for (key, neutral) in OTHER_SEARCHES {
            let number = |value: &Value| value.as_f64().or(value.as_bool().map(|on| f64::from(u8::from(on))));
            if settings.value(key).is_some_and(|value| number(value) != Some(neutral)) {
                return Err(settings.wrong(key, &format!("{neutral}: nothing else is done here")));
            }
        }
        let in_vocabulary =
            |key: &str, ids: &[u32]| match ids.iter().find(|&&id| id as usize >= shape.decoder.vocab) {
                Some(_) => Err(settings.wrong(key, &format!("tokens below {}", shape.decoder.vocab))),
                None => Ok(()),
            };
        for key in ["decoder_start_token_id", "eos_token_id", "forced_bos_token_id", "forced_eos_token_id"] {
            in_vocabulary(key, &settings.tokens(key)?)?;
        }
        let eos = settings.tokens("eos_token_id")?;
        if eos.is_empty() {
            return Err(settings.wrong("eos_token_id", "the token that ends an answer"));
        }
        let early_stopping = match settings.value("early_stopping") {
            None | Some(Value::Bool(false)) => EarlyStopping::Heuristic,
            Some(Value::Bool(true)) => EarlyStopping::Always,
            Some(Value::String(word)) if word == "never" => EarlyStopping::Never,
            Some(_) => return Err(settings.wrong("early_stopping", "true, false or \"never\"")),
        };
        let banned = banned_tokens(&settings, &eos)?;
        in_vocabulary("bad_words_ids", &banned)?;
        let new_tokens =
            settings.value("max_new_tokens").map(|_| settings.count("max_new_tokens")).transpose()?;
        let max_length = match new_tokens {
            Some(count) => count.saturating_add(1),
            None => settings.count_or("max_length", 512)?,
        };
        let penalty = settings.optional("length_penalty", "a number", Value::as_f64)?;
        Ok(Generation {
            num_beams: settings.count_or("num_beams", 1)?,
            // The first token has a position too; the last one needs none.
            max_length: max_length.clamp(2, shape.max_positions.saturating_add(1)),
            length_penalty: penalty.unwrap_or(1.0),
            early_stopping,
            banned,
            decoder_start: settings.token("decoder_start_token_id")?.unwrap_or(shape.pad),
            forced_bos: settings.token("forced_bos_token_id")?,
            forced_eos: settings.token("forced_eos_token_id")?,
            eos,
            renormalize_logits: settings.flag("renormalize_logits", false)?,
        })
    }
}

/// `bad_words_ids`: single tokens only, as every MarianMT folder has them. A ban of EOS is not heeded.
fn banned_tokens(settings: &Settings, eos: &[u32]) -> Result<Vec<u32>, MarianError> {
    let one = |word: &Value| match word.as_array().map(Vec::as_slice) {
        Some([id]) => id.as_u64().and_then(|id| u32::try_from(id).ok()),
        _ => None,
    };
    let read = |value: &Value| value.as_array()?.iter().map(one).collect::<Option<Vec<u32>>>();
    let expected = "a list of lists of one token each";
    let mut banned = settings.optional("bad_words_ids", expected, read)?.unwrap_or_default();
    banned.retain(|id| !eos.contains(id));
    Ok(banned)
}
