//! `config.json` of a Llama model: only what changes the arithmetic, and a refusal of what we do not do.

use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The shape and constants of a decoder, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub rope: Rope,
}

/// Rotary frequencies: the base, and how a long-context variant bends them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub scaling: RopeScaling,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    /// All frequencies divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1's: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
}

impl Config {
    /// Read and check `config.json`.
    ///
    /// # Errors
    /// A missing or malformed file; an architecture, activation, bias or RoPE variant that this
    /// decoder does not compute: named, never ignored.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let value: Value =
            serde_json::from_str(&text).map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
        Fields { path, value: &value }.config()
    }

    /// As `transformers` would write it for a `LlamaForCausalLM`.
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": false,
            "mlp_bias": false,
        });
        json["rope_scaling"] = match &self.rope.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => serde_json::json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => serde_json::json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": *original_max_position_embeddings as u64,
            }),
        };
        json
    }

    /// Number of weights of the whole model.
    pub fn parameters(&self) -> usize {
        let (c, f, d) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (h, k) = (self.num_attention_heads, self.num_key_value_heads);
        let block = 2 * c * h * d + 2 * c * k * d + 3 * c * f + 2 * c;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        self.num_hidden_layers * block + tables * self.vocab_size * c + c
    }
}

impl Rope {
    /// Angle per position of each pair, `[head_dim / 2]`.
    ///
    /// Source: `transformers/modeling_rope_utils.py`, `_compute_llama3_parameters` for the ramp.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|i| {
                let plain = self.theta.powf(-(2.0 * i as f64) / head_dim as f64);
                match self.scaling {
                    RopeScaling::None => plain,
                    RopeScaling::Linear { factor } => plain / factor,
                    RopeScaling::Llama3 {
                        factor,
                        low_freq_factor,
                        high_freq_factor,
                        original_max_position_embeddings: original,
                    } => {
                        let wavelength = 2.0 * std::f64::consts::PI / plain;
                        if wavelength > original / low_freq_factor {
                            plain / factor
                        } else if wavelength < original / high_freq_factor {
                            plain
                        } else {
                            let smooth = (original / wavelength - low_freq_factor)
                                / (high_freq_factor - low_freq_factor);
                            (1.0 - smooth) * plain / factor + smooth * plain
                        }
                    }
                }
            })
            .collect()
    }
}

/// Settings of Llama's relatives that change the arithmetic, with the number that leaves it as it is. (So do
/// null and false.)
const RELATIVES: [(&str, f64); 17] = [
    ("partial_rotary_factor", 1.0),
    ("embedding_multiplier", 1.0),
    ("residual_multiplier", 1.0),
    ("attention_multiplier", f64::NAN),
    ("logits_scaling", 1.0),
    ("logit_scale", 1.0),
    ("scale_emb", 1.0),
    ("scale_depth", f64::NAN),
    ("dim_model_base", f64::NAN),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("clip_qkv", 0.0),
    ("use_qk_norm", 0.0),
    ("qk_layernorm", 0.0),
    ("use_parallel_residual", 0.0),
    ("num_local_experts", 0.0),
    ("num_experts", 0.0),
];

fn is_neutral(value: &Value, neutral: f64) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        value => value.as_f64() == Some(neutral),
    }
}

/// Typed access to the JSON, with errors that name the key.
struct Fields<'a> {
    path: &'a Path,
    value: &'a Value,
}

impl Fields<'_> {
    fn config(&self) -> Result<Config> {
        self.refuse_unsupported()?;
        let heads = self.count("num_attention_heads")?;
        let hidden = self.count("hidden_size")?;
        let config = Config {
            hidden_size: hidden,
            intermediate_size: self.count("intermediate_size")?,
            num_hidden_layers: self.count("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: self.count_or("num_key_value_heads", heads)?,
            head_dim: self.count_or("head_dim", hidden / heads)?,
            vocab_size: self.count("vocab_size")?,
            max_position_embeddings: self.count_or("max_position_embeddings", 2048)?,
            rms_norm_eps: self.real_or(self.value, "rms_norm_eps", 1e-6)?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            rope: self.rope()?,
        };
        if heads % config.num_key_value_heads != 0 {
            return Err(self.bad(
                "num_key_value_heads",
                &format!("a divisor of num_attention_heads ({heads})"),
                &config.num_key_value_heads.to_string(),
            ));
        }
        if !config.head_dim.is_multiple_of(2) {
            return Err(self.bad("head_dim", "an even number", &config.head_dim.to_string()));
        }
        Ok(config)
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let architecture = match &self.value["architectures"][0] {
            Value::String(name) => name.as_str(),
            _ => self.value["model_type"].as_str().unwrap_or("nothing"),
        };
        if !matches!(architecture, "LlamaForCausalLM" | "LLaMAForCausalLM" | "llama") {
            return Err(self.bad("architectures", "LlamaForCausalLM", architecture));
        }
        let act = self.value["hidden_act"].as_str().unwrap_or("silu");
        if !matches!(act, "silu" | "swish") {
            return Err(self.bad("hidden_act", "silu", act));
        }
        for key in ["attention_bias", "mlp_bias"] {
            if self.flag(key)? {
                return Err(self.bad(key, "false (a Llama without biases)", "true"));
            }
        }
        for (key, neutral) in RELATIVES {
            if !is_neutral(&self.value[key], neutral) {
                let found = self.value[key].to_string();
                return Err(self.bad(key, "nothing: no Llama has it, and it changes the arithmetic", &found));
            }
        }
        let window = &self.value["sliding_window"];
        if !is_neutral(window, 0.0) && self.value["use_sliding_window"] != false {
            return Err(self.bad(
                "sliding_window",
                "nothing: attention over all tokens",
                &window.to_string(),
            ));
        }
        let layers = self.value["layer_types"].as_array().into_iter().flatten();
        if let Some(other) = layers.into_iter().find(|layer| *layer != "full_attention") {
            return Err(self.bad("layer_types", "full_attention everywhere", &other.to_string()));
        }
        if !self.value["quantization_config"].is_null() {
            return Err(self.bad("quantization_config", "an unquantised model", "a quantised one"));
        }
        Ok(())
    }

    /// `rope_theta` and `rope_scaling`, or `rope_parameters` as transformers 5 writes them.
    fn rope(&self) -> Result<Rope> {
        let parameters = &self.value["rope_parameters"];
        let (theta_at, scaling) = if parameters.is_object() {
            (parameters, parameters)
        } else {
            (self.value, &self.value["rope_scaling"])
        };
        let theta = self.real_or(theta_at, "rope_theta", 10_000.0)?;
        let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str()).unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: self.real(scaling, "factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: self.real(scaling, "factor")?,
                low_freq_factor: self.real(scaling, "low_freq_factor")?,
                high_freq_factor: self.real(scaling, "high_freq_factor")?,
                original_max_position_embeddings: self.real(scaling, "original_max_position_embeddings")?,
            },
            other => return Err(self.bad("rope_scaling.rope_type", "default, linear or llama3", other)),
        };
        Ok(Rope { theta, scaling })
    }

    fn count(&self, key: &str) -> Result<usize> {
        match self.value[key].as_u64() {
            Some(n) if n > 0 => Ok(n as usize),
            _ => Err(self.bad(key, "a positive whole number", &self.value[key].to_string())),
        }
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.value[key].is_null() { Ok(default) } else { self.count(key) }
    }

    fn real(&self, object: &Value, key: &str) -> Result<f64> {
        match object[key].as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            _ => Err(self.bad(key, "a positive number", &object[key].to_string())),
        }
    }

    fn real_or(&self, object: &Value, key: &str, default: f64) -> Result<f64> {
        if object[key].is_null() { Ok(default) } else { self.real(object, key) }
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match &self.value[key] {
            Value::Null => Ok(false),
            Value::Bool(b) => Ok(*b),
            other => Err(self.bad(key, "true or false", &other.to_string())),
        }
    }

    fn bad(&self, key: &str, expected: &str, found: &str) -> Error {
        let found = if found == "null" { "nothing" } else { found };
        Error::Field {
            path: self.path.to_path_buf(),
            key: key.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &Value) -> Result<Config> {
        Fields { path: Path::new("config.json"), value: json }.config()
    }

    fn small() -> Value {
        serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96
        })
    }

    #[test]
    fn defaults_are_transformers_own() {
        let config = read(&small()).unwrap();
        assert_eq!(config.num_key_value_heads, 4);
        assert_eq!(config.head_dim, 8);
        assert_eq!(config.rope.theta, 10_000.0);
        assert!(!config.tie_word_embeddings);
    }

    #[test]
    fn what_we_write_we_read() {
        let mut config = read(&small()).unwrap();
        config.rope.scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        assert_eq!(read(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn what_leaves_the_arithmetic_as_it_is_is_taken() {
        let mut json = small();
        json["partial_rotary_factor"] = serde_json::json!(1.0);
        json["sliding_window"] = serde_json::json!(4096);
        json["use_sliding_window"] = serde_json::json!(false);
        json["layer_types"] = serde_json::json!(["full_attention", "full_attention"]);
        json["final_logit_softcapping"] = Value::Null;
        json["pretraining_tp"] = serde_json::json!(2);
        assert_eq!(read(&json).unwrap(), read(&small()).unwrap());
    }

    #[test]
    fn rope_parameters_of_transformers_5_are_read() {
        let mut json = small();
        json["rope_parameters"] = serde_json::json!({"rope_theta": 500000.0, "rope_type": "default"});
        assert_eq!(read(&json).unwrap().rope.theta, 500_000.0);
    }

    #[test]
    fn what_changes_the_arithmetic_is_refused_by_name() {
        for (key, value, said) in [
            ("architectures", serde_json::json!(["MambaForCausalLM"]), "MambaForCausalLM"),
            ("hidden_act", serde_json::json!("gelu"), "gelu"),
            ("attention_bias", serde_json::json!(true), "attention_bias"),
            ("rope_scaling", serde_json::json!({"rope_type": "yarn", "factor": 2}), "yarn"),
            ("num_key_value_heads", serde_json::json!(3), "divisor"),
            ("partial_rotary_factor", serde_json::json!(0.5), "`partial_rotary_factor`: expected nothing"),
            ("final_logit_softcapping", serde_json::json!(30.0), "final_logit_softcapping"),
            ("attention_multiplier", serde_json::json!(0.125), "found 0.125"),
            ("use_qk_norm", serde_json::json!(true), "use_qk_norm"),
            ("sliding_window", serde_json::json!(4096), "attention over all tokens, found 4096"),
            ("layer_types", serde_json::json!(["full_attention", "sliding_attention"]), "sliding_attention"),
            ("vocab_size", serde_json::json!("many"), "vocab_size"),
        ] {
            let mut json = small();
            json[key] = value;
            let message = read(&json).unwrap_err().to_string();
            assert!(message.contains(said), "{key}: {message}");
        }
    }
}
