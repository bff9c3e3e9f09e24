//! What LoRA adds to a model, and where: PEFT's settings under our names.

use crate::block::LINEAR_LAYERS;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the matrix A of a fresh adapter begins; B is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitLora {
    /// U(−1/√I, 1/√I): PEFT's `true`
    #[default]
    Kaiming,
    /// N(0, 1/R²)
    Gaussian,
}

impl InitLora {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_default(&self) -> bool {
        *self == Self::Kaiming
    }
}

/// What LoRA adds, and where; the section `[lora]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenLora")]
pub struct LoraConfig {
    pub rank: usize,
    /// The update is scaled by alpha / rank. Where it is not written: twice the rank.
    pub alpha: f64,
    pub dropout: f32,
    /// Scale by alpha / √rank (Kalajdzievski 2023) instead of alpha / rank.
    pub rslora: bool,
    /// Train the length of each row of a weight apart from its direction (DoRA, Liu et al. 2024).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dora: bool,
    /// Another rank for some layers: names or suffixes of them, as in peft. At most one fits a layer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Another alpha for some layers, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Layer names or suffixes of them, or `all-linear`.
    pub target_modules: Vec<String>,
    /// Layers that carry no LoRA though they are targets: names or suffixes of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_modules: Vec<String>,
    /// Only in these blocks, counted from 0; in all where none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_to_transform: Vec<usize>,
    /// How A begins.
    #[serde(skip_serializing_if = "InitLora::is_default")]
    pub init_lora_weights: InitLora,
    /// `embed_tokens`, `lm_head`: trained in full beside the adapter. Worth it where the tokenizer
    /// hardly knows the language.
    pub modules_to_save: Vec<String>,
    /// With a tied base: the trained copy of the embedding is the head's as well. Off, as in PEFT, the
    /// head stays at the base's matrix.
    pub ensure_weight_tying: bool,
}

/// A configuration as somebody wrote it, with what they left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLora {
    rank: Option<usize>,
    alpha: Option<f64>,
    dropout: f32,
    rslora: bool,
    dora: bool,
    rank_pattern: BTreeMap<String, usize>,
    alpha_pattern: BTreeMap<String, f64>,
    target_modules: Option<Vec<String>>,
    exclude_modules: Vec<String>,
    layers_to_transform: Vec<usize>,
    init_lora_weights: InitLora,
    modules_to_save: Vec<String>,
    ensure_weight_tying: bool,
}

impl From<WrittenLora> for LoraConfig {
    fn from(written: WrittenLora) -> Self {
        let default = written.rank.map_or_else(Self::default, Self::of_rank);
        Self {
            rank: default.rank,
            alpha: written.alpha.unwrap_or(default.alpha),
            dropout: written.dropout,
            rslora: written.rslora,
            dora: written.dora,
            rank_pattern: written.rank_pattern,
            alpha_pattern: written.alpha_pattern,
            target_modules: written.target_modules.unwrap_or(default.target_modules),
            exclude_modules: written.exclude_modules,
            layers_to_transform: written.layers_to_transform,
            init_lora_weights: written.init_lora_weights,
            modules_to_save: written.modules_to_save,
            ensure_weight_tying: written.ensure_weight_tying,
        }
    }
}

impl Default for LoraConfig {
    /// Rank 16: a language takes more than a style.
    fn default() -> Self {
        Self::of_rank(16)
    }
}

impl LoraConfig {
    /// On all linear layers, alpha twice the rank.
    pub fn of_rank(rank: usize) -> Self {
        Self {
            rank,
            alpha: 2.0 * rank as f64,
            dropout: 0.0,
            rslora: false,
            dora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            target_modules: vec!["all-linear".to_string()],
            exclude_modules: Vec::new(),
            layers_to_transform: Vec::new(),
            init_lora_weights: InitLora::Kaiming,
            modules_to_save: Vec::new(),
            ensure_weight_tying: false,
        }
    }

    /// The rank of a layer, named as in the checkpoint, that carries LoRA.
    pub fn rank_of(&self, layer: &str) -> usize {
        of_pattern(&self.rank_pattern, layer).unwrap_or(self.rank)
    }

    /// What a layer's update is scaled by: alpha / rank, or alpha / √rank with rsLoRA.
    pub fn scaling_of(&self, layer: &str) -> f64 {
        let alpha = of_pattern(&self.alpha_pattern, layer).unwrap_or(self.alpha);
        let rank = self.rank_of(layer) as f64;
        if self.rslora { alpha / rank.sqrt() } else { alpha / rank }
    }

    /// Whether a layer, named as in the checkpoint, carries LoRA.
    pub fn targets(&self, layer: &str) -> bool {
        let is_target = self.target_modules.iter().any(|t| t == "all-linear" || is_suffix(t, layer));
        let is_excluded = self.exclude_modules.iter().any(|t| is_suffix(t, layer));
        let inside = || block_of(layer).is_some_and(|block| self.layers_to_transform.contains(&block));
        is_target && !is_excluded && (self.layers_to_transform.is_empty() || inside())
    }

    /// Whether not every layer with a target's name is one.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.exclude_modules.is_empty() || !self.layers_to_transform.is_empty()
    }

    /// # Errors
    /// A rank of 0, a dropout outside [0, 1), a name that no module of a Llama has.
    pub fn check(&self) -> Result<()> {
        let bad = |message: String| Err(Error::Lora(message));
        if self.rank == 0 {
            return bad("rank must be at least 1, found 0".into());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad(format!("dropout must be at least 0 and below 1, found {}", self.dropout));
        }
        if !self.alpha.is_finite() {
            return bad(format!("alpha must be a finite number, found {}", self.alpha));
        }
        self.check_patterns()?;
        let named = self.target_modules.iter().filter(|t| *t != "all-linear").chain(&self.exclude_modules);
        for target in named {
            if !LINEAR_LAYERS.iter().any(|layer| is_suffix(layer, target)) {
                return bad(format!("`{target}` is no linear layer of a Llama block"));
            }
        }
        match self.modules_to_save.iter().find(|m| !matches!(m.as_str(), "embed_tokens" | "lm_head")) {
            Some(m) => bad(format!("modules_to_save: expected embed_tokens or lm_head, found `{m}`")),
            None => Ok(()),
        }
    }
}

/// Whether `suffix` is `name`, or its end from a dot on.
fn is_suffix(suffix: &str, name: &str) -> bool {
    name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
}

/// The block of a layer named as in the checkpoint: 3 in `model.layers.3.mlp.up_proj`.
fn block_of(layer: &str) -> Option<usize> {
    layer.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}

/// The value of the key that fits a layer.
fn of_pattern<T: Copy>(pattern: &BTreeMap<String, T>, layer: &str) -> Option<T> {
    pattern.iter().find(|(key, _)| is_suffix(key, layer)).map(|(_, &value)| value)
}

impl LoraConfig {
    /// Ranks are positive, alphas numbers, keys names of layers, and no two of one pattern fit the same layer: peft
    /// would take the first, and a map has no first.
    fn check_patterns(&self) -> Result<()> {
        let bad = |message: String| Err(Error::Lora(message));
        if let Some((key, _)) = self.rank_pattern.iter().find(|(_, rank)| **rank == 0) {
            return bad(format!("rank_pattern: the rank of `{key}` must be at least 1, found 0"));
        }
        if let Some((key, alpha)) = self.alpha_pattern.iter().find(|(_, alpha)| !alpha.is_finite()) {
            return bad(format!(
                "alpha_pattern: the alpha of `{key}` must be a finite number, found {alpha}"
            ));
        }
        let ranks: Vec<&String> = self.rank_pattern.keys().collect();
        let alphas: Vec<&String> = self.alpha_pattern.keys().collect();
        for (pattern, keys) in [("rank_pattern", ranks), ("alpha_pattern", alphas)] {
            for key in &keys {
                if !LINEAR_LAYERS.iter().any(|layer| is_suffix(layer, key)) {
                    return bad(format!("{pattern}: `{key}` is no linear layer of a Llama block"));
                }
                if let Some(other) = keys.iter().find(|other| *other != key && is_suffix(other, key)) {
                    return bad(format!("{pattern}: `{key}` and `{other}` both fit a layer"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_follows_from_what_is() {
        let read = |json: &str| serde_json::from_str::<LoraConfig>(json);
        assert_eq!(read("{}").unwrap(), LoraConfig::of_rank(16));
        assert_eq!(read(r#"{"rank": 8}"#).unwrap().alpha, 16.0, "alpha is twice the rank");
        assert_eq!(read(r#"{"alpha": 5}"#).unwrap(), LoraConfig { alpha: 5.0, ..LoraConfig::of_rank(16) });
        let written = LoraConfig { modules_to_save: vec!["lm_head".into()], ..LoraConfig::of_rank(4) };
        assert_eq!(read(&serde_json::to_string(&written).unwrap()).unwrap(), written);
        assert!(read(r#"{"rang": 8}"#).unwrap_err().to_string().contains("rang"));
    }

    #[test]
    fn targets_are_narrowed_by_name_and_by_block() {
        let lora = LoraConfig {
            exclude_modules: vec!["k_proj".into(), "layers.2.mlp.up_proj".into()],
            layers_to_transform: vec![2, 10],
            ..LoraConfig::of_rank(4)
        };
        lora.check().unwrap();
        let targets = |layer: &str| lora.targets(&format!("model.layers.{layer}"));
        assert!(targets("2.self_attn.q_proj") && targets("10.mlp.up_proj"));
        for layer in ["1.self_attn.q_proj", "0.mlp.up_proj", "2.self_attn.k_proj", "2.mlp.up_proj"] {
            assert!(!targets(layer), "{layer}");
        }
        let wrong = LoraConfig { exclude_modules: vec!["lm_head".into()], ..LoraConfig::of_rank(4) };
        assert!(wrong.check().unwrap_err().to_string().contains("lm_head"));
    }
}
