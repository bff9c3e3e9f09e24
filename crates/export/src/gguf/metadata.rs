//! The shape and constants of a Llama as metadata of a GGUF file, and back.

use super::names::ROPE_FACTORS;
use super::{Gguf, Value};
use crate::error::{Error, Result};
use tolmach_model::{Config, Rope, RopeScaling};

type Pairs = Vec<(String, Value)>;

/// `llama.*`.
pub(super) fn of_config(config: &Config) -> Pairs {
    let count = |n: usize| Value::U32(n as u32);
    let mut pairs: Pairs = [
        ("vocab_size", count(config.vocab_size)),
        ("context_length", count(config.max_position_embeddings)),
        ("embedding_length", count(config.hidden_size)),
        ("block_count", count(config.num_hidden_layers)),
        ("feed_forward_length", count(config.intermediate_size)),
        ("attention.head_count", count(config.num_attention_heads)),
        ("attention.head_count_kv", count(config.num_key_value_heads)),
        ("attention.key_length", count(config.head_dim)),
        ("attention.value_length", count(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32)),
        ("rope.dimension_count", count(config.head_dim)),
        ("rope.freq_base", Value::F32(config.rope.theta as f32)),
    ]
    .into_iter()
    .map(|(key, value)| (format!("llama.{key}"), value))
    .collect();
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        pairs.push(("llama.rope.scaling.type".into(), Value::text("linear")));
        pairs.push(("llama.rope.scaling.factor".into(), Value::F32(factor as f32)));
    }
    pairs
}

/// What Llama 3's scaling divides each frequency by, `[head_dim / 2]`: llama.cpp has it as a tensor.
pub(super) fn rope_factors(config: &Config) -> Option<Vec<f32>> {
    matches!(config.rope.scaling, RopeScaling::Llama3 { .. }).then(|| {
        let plain = Rope { scaling: RopeScaling::None, ..config.rope.clone() }.inv_freq(config.head_dim);
        let bent = config.rope.inv_freq(config.head_dim);
        plain.iter().zip(bent).map(|(plain, bent)| (plain / bent) as f32).collect()
    })
}

/// The configuration that a file describes.
///
/// Llama 3's scaling is only there as its factors; `llama3` (of the model that was written) must have
/// just these.
///
/// # Errors
/// A key is missing or of another type; another architecture; a scaling that is not computed here.
pub(super) fn config(file: &Gguf, tied: bool, llama3: Option<&RopeScaling>) -> Result<Config> {
    let bad = |reason: String| Error::Gguf { path: file.path().to_path_buf(), reason };
    let get = |key: &str| {
        let key = format!("llama.{key}");
        file.metadata(&key).ok_or_else(|| bad(format!("no `{key}` in its metadata")))
    };
    let count = |key: &str| {
        let value = get(key)?.as_count().filter(|n| (1..1 << 32).contains(n));
        value.map(|n| n as usize).ok_or_else(|| bad(format!("`llama.{key}` is no positive whole number")))
    };
    let real = |key: &str| {
        let value = get(key)?.as_f32().filter(|x| x.is_finite() && *x > 0.0);
        value.map(decimal).ok_or_else(|| bad(format!("`llama.{key}` is no positive number")))
    };
    let architecture = file.metadata("general.architecture").and_then(Value::as_text);
    if architecture != Some("llama") {
        return Err(bad(format!("architecture {}; expected llama", architecture.unwrap_or("unknown"))));
    }
    let scaling = match file.metadata("llama.rope.scaling.type").and_then(Value::as_text) {
        Some("linear") => RopeScaling::Linear { factor: real("rope.scaling.factor")? },
        Some("none") | None => RopeScaling::None,
        Some(other) => return Err(bad(format!("RoPE scaling `{other}`; expected linear or none"))),
    };
    let mut config = Config {
        hidden_size: count("embedding_length")?,
        intermediate_size: count("feed_forward_length")?,
        num_hidden_layers: count("block_count")?,
        num_attention_heads: count("attention.head_count")?,
        num_key_value_heads: count("attention.head_count_kv")?,
        head_dim: count("attention.key_length")?,
        vocab_size: count("vocab_size")?,
        max_position_embeddings: count("context_length")?,
        rms_norm_eps: real("attention.layer_norm_rms_epsilon")?,
        tie_word_embeddings: tied,
        rope: Rope { theta: real("rope.freq_base")?, scaling },
    };
    if file.tensor(ROPE_FACTORS).is_some() {
        config.rope.scaling = llama3.cloned().ok_or_else(|| bad(format!("unexpected `{ROPE_FACTORS}`")))?;
        let mut stored = Vec::new();
        file.values(ROPE_FACTORS, &[config.head_dim / 2], &mut stored)?;
        if rope_factors(&config) != Some(stored) {
            return Err(bad(format!("`{ROPE_FACTORS}` does not hold the factors of this model")));
        }
    }
    Ok(config)
}

/// The decimal that an f32 was written from: 1e-5, not 0.000009999999747.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
