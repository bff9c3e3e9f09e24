//! The shape and constants of a Llama as metadata of a GGUF file, and back.

use super::names::{HEAD, ROPE_FACTORS};
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

/// The configuration that a file describes; what it does not say is what llama.cpp takes then.
///
/// Llama 3's scaling is only there as its factors: of the model that is `expected`, or of the family.
///
/// # Errors
/// A key is missing or of another type; another architecture; an arithmetic that is not computed here.
pub(super) fn config(file: &Gguf, expected: Option<&RopeScaling>) -> Result<Config> {
    let keys = Keys(file);
    keys.refuse_unsupported()?;
    let hidden_size = keys.count("embedding_length")?;
    let heads = keys.count("attention.head_count")?;
    let head_dim = keys.count_or("attention.key_length", hidden_size / heads)?;
    for key in ["attention.value_length", "rope.dimension_count"] {
        let found = keys.count_or(key, head_dim)?;
        if found != head_dim {
            return Err(file.bad(format!("`llama.{key}` is {found}; expected that of the keys, {head_dim}")));
        }
    }
    let kv_heads = keys.count_or("attention.head_count_kv", heads)?;
    if heads % kv_heads != 0 || head_dim % 2 != 0 {
        return Err(file.bad(format!("{heads} heads of {head_dim} over {kv_heads} for keys and values")));
    }
    let tokens = file.metadata("tokenizer.ggml.tokens").and_then(Value::as_array).map_or(0, <[_]>::len);
    let mut config = Config {
        hidden_size,
        intermediate_size: keys.count("feed_forward_length")?,
        num_hidden_layers: keys.count("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        vocab_size: keys.count_or("vocab_size", tokens)?,
        max_position_embeddings: keys.count("context_length")?,
        rms_norm_eps: keys.real("attention.layer_norm_rms_epsilon")?,
        tie_word_embeddings: file.tensor(HEAD).is_none(),
        rope: Rope { theta: keys.real_or("rope.freq_base", 10_000.0)?, scaling: keys.scaling()? },
    };
    if file.tensor(ROPE_FACTORS).is_some() {
        config.rope.scaling = llama3(file, &config, expected)?;
    }
    Ok(config)
}

/// `llama.*`, with errors that name the key.
struct Keys<'a>(&'a Gguf);

impl Keys<'_> {
    fn refuse_unsupported(&self) -> Result<()> {
        let architecture = self.0.metadata("general.architecture").and_then(Value::as_text);
        if architecture != Some("llama") {
            let found = architecture.unwrap_or("unknown");
            return Err(self.0.bad(format!("architecture {found}; expected llama")));
        }
        if self.0.metadata("general.type").and_then(Value::as_text).is_some_and(|kind| kind != "model") {
            return Err(self.0.bad("it holds no model (general.type), perhaps an adapter".into()));
        }
        match self.get("expert_count").and_then(Value::as_count) {
            Some(experts) if experts > 0 => Err(self.0.bad(format!("a mixture of {experts} experts"))),
            _ => Ok(()),
        }
    }

    fn scaling(&self) -> Result<RopeScaling> {
        match self.get("rope.scaling.type").and_then(Value::as_text) {
            Some("linear") => Ok(RopeScaling::Linear { factor: self.real("rope.scaling.factor")? }),
            Some("none") | None => Ok(RopeScaling::None),
            Some(other) => Err(self.0.bad(format!("RoPE scaling `{other}`; expected linear or none"))),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.metadata(&format!("llama.{key}"))
    }

    fn count(&self, key: &str) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let count = value.as_count().filter(|n| (1..1 << 32).contains(n));
        let bad = || self.0.bad(format!("`llama.{key}` is no positive whole number"));
        count.map(|n| n as usize).ok_or_else(bad)
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() || default == 0 { self.count(key) } else { Ok(default) }
    }

    fn real(&self, key: &str) -> Result<f64> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let real = value.as_f32().filter(|x| x.is_finite() && *x > 0.0);
        real.map(decimal).ok_or_else(|| self.0.bad(format!("`llama.{key}` is no positive number")))
    }

    fn real_or(&self, key: &str, default: f64) -> Result<f64> {
        if self.get(key).is_some() { self.real(key) } else { Ok(default) }
    }

    fn missing(&self, key: &str) -> Error {
        self.0.bad(format!("no `llama.{key}` in its metadata"))
    }
}

/// The scaling whose factors a file holds: the expected one, or one with the constants that all models of
/// Llama 3's family share but for the factor, by which the lowest frequencies are divided.
fn llama3(file: &Gguf, config: &Config, expected: Option<&RopeScaling>) -> Result<RopeScaling> {
    let mut stored = Vec::new();
    file.values(ROPE_FACTORS, &[config.head_dim / 2], &mut stored)?;
    let scaling = expected.cloned().unwrap_or_else(|| RopeScaling::Llama3 {
        factor: decimal(stored.iter().copied().fold(1.0, f32::max)),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    });
    let rope = Rope { scaling: scaling.clone(), ..config.rope.clone() };
    let factors = rope_factors(&Config { rope, ..config.clone() });
    let equal = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs();
    if factors.is_some_and(|factors| factors.iter().zip(&stored).all(equal)) {
        Ok(scaling)
    } else {
        Err(file.bad(format!("`{ROPE_FACTORS}` does not hold the frequency factors of a Llama 3")))
    }
}

/// The decimal that an f32 was written from: 1e-5, not 0.000009999999747.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
