//! Making a decoder: from a folder, at random, with LoRA, for full training; and writing one.

use crate::block::{Block, LINEAR_LAYERS};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::decoder::{Decoder, Head};
use crate::error::{Error, Result};
use crate::init;
use crate::linear::{Linear, Lora};
use crate::parameter::{NormWeight, Parameter, Side, Weight};
use crate::tensor_writer::TensorWriter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Backend, BlockType, Dtype, FrozenMatrix, Mat};

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
        self.target_modules.iter().any(|t| t == "all-linear" || is_suffix(t, layer))
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
        for target in self.target_modules.iter().filter(|t| *t != "all-linear") {
            let known = LINEAR_LAYERS.iter().any(|l| target == l || target.ends_with(&format!(".{l}")));
            if !known {
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

/// The kind of a linear layer by its place in [`LINEAR_LAYERS`]: (name, inputs, outputs).
pub(crate) fn linear_shapes(config: &Config, block: usize) -> [(String, usize, usize); 7] {
    let (c, f) = (config.hidden_size, config.intermediate_size);
    let (hd, kd) =
        (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let sizes = [(c, hd), (c, kd), (c, kd), (hd, c), (c, f), (c, f), (f, c)];
    std::array::from_fn(|i| {
        let part = if i < 4 { "self_attn" } else { "mlp" };
        (format!("model.layers.{block}.{part}.{}", LINEAR_LAYERS[i]), sizes[i].0, sizes[i].1)
    })
}

impl<B: Backend> Decoder<B> {
    /// A model folder in the Hugging Face layout, all weights frozen and used in place.
    ///
    /// # Errors
    /// Anything missing, misshapen or unsupported in `config.json` or the weights.
    pub fn load(backend: Arc<B>, folder: &Path) -> Result<Self> {
        Self::load_as(backend, folder, None)
    }

    /// [`Decoder::load`] with the blocks' linear layers quantised, one matrix after the other, if `quantize` says
    /// so; embedding, head and norms stay as they are.
    ///
    /// # Errors
    /// Those of [`Decoder::load`]; a layer whose rows are no whole blocks.
    pub fn load_as(backend: Arc<B>, folder: &Path, quantize: Option<BlockType>) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::no_folder(folder));
        }
        let config = Config::read(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open_folder(folder)?;
        let matrix = |name: &str, rows, cols| {
            let stored = checkpoint.matrix(name, rows, cols)?;
            let Some(block) = quantize.filter(|_| name.starts_with("model.layers.")) else {
                return Ok(stored);
            };
            let small = stored.quantized(block);
            checkpoint.release(name);
            small.map_err(|e| Error::Quantize { name: name.into(), reason: e.to_string() })
        };
        let vector = |name: &str, len| checkpoint.values(name, &[len]);
        let mut model = Self::from_weights(backend, config, &matrix, &vector)?;
        model.fingerprint = Some(checkpoint.fingerprint());
        Ok(model)
    }

    /// Random weights, N(0, 0.02²), norms 1; the two layers that write to the residual stream
    /// are scaled by 1/√(2 · layers) (GPT-2). For full training from nothing.
    pub fn random(backend: Arc<B>, config: Config, seed: u64) -> Result<Self> {
        let residual = 1.0 / (2.0 * config.num_hidden_layers as f32).sqrt();
        let matrix = |name: &str, rows: usize, cols: usize| {
            let deep = name.contains("o_proj") || name.contains("down_proj");
            let std = if deep { 0.02 * residual } else { 0.02 };
            FrozenMatrix::from_f32(rows, cols, &init::normal(seed, name, rows * cols, std))
                .map_err(|e| Error::Lora(e.to_string()))
        };
        Self::from_weights(backend, config, &matrix, &|_, len| Ok(vec![1.0; len]))
    }

    /// From weights under Hugging Face's names, wherever they come from: `matrix(name, rows, cols)` and
    /// `vector(name, len)`.
    ///
    /// # Errors
    /// Those of the two functions.
    pub fn from_weights<E>(
        backend: Arc<B>,
        config: Config,
        matrix: &dyn Fn(&str, usize, usize) -> Result<FrozenMatrix, E>,
        vector: &dyn Fn(&str, usize) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let (c, v) = (config.hidden_size, config.vocab_size);
        let frozen =
            |name: &str, rows, cols| Ok(Weight::Frozen(Arc::new(backend.matrix(matrix(name, rows, cols)?))));
        let embed_tokens = frozen("model.embed_tokens.weight", v, c)?;
        let blocks = (0..config.num_hidden_layers).map(|i| block(&*backend, &config, i, matrix, vector));
        let blocks = blocks.collect::<Result<Vec<_>, E>>()?;
        let last_norm = norm(&*backend, "model.norm.weight".into(), c, vector)?;
        let head =
            if config.tie_word_embeddings { Head::Tied } else { Head::Own(frozen("lm_head.weight", v, c)?) };
        Ok(Self {
            backend,
            config,
            embed_tokens,
            blocks,
            norm: last_norm,
            head,
            fingerprint: None,
            recompute: 0,
        })
    }

    /// Add fresh LoRA branches: A Kaiming-uniform with a = √5, that is U(−1/√I, 1/√I), B zero; DoRA's
    /// magnitudes are the norms of the weight's rows, so that nothing changes yet.
    ///
    /// # Errors
    /// A configuration that fits no module.
    pub fn add_lora(&mut self, lora: &LoraConfig, seed: u64) -> Result<()> {
        lora.check()?;
        let backend = Arc::clone(&self.backend);
        let mut added = 0;
        for layer in self.blocks.iter_mut().flat_map(Block::linear_layers_mut) {
            if lora.targets(&layer.name) {
                let name = format!("base_model.model.{}.lora_A.weight", layer.name);
                let bound = 1.0 / (layer.inputs as f32).sqrt();
                let rank = lora.rank_of(&layer.name);
                let a = init::uniform(seed, &name, rank * layer.inputs, bound);
                let b = vec![0.0; layer.outputs * rank];
                layer.lora = Some(new_lora(&*backend, layer, lora, &a, &b));
                if lora.dora {
                    let mut norms = vec![0.0; layer.outputs];
                    backend.download(&layer.row_norms(&*backend), &mut norms);
                    layer.add_dora(&*backend, &norms);
                }
                added += 1;
            }
        }
        if added == 0 && !lora.target_modules.is_empty() {
            return Err(Error::Lora(format!("no layer matches {:?}", lora.target_modules)));
        }
        if added == 0 && lora.modules_to_save.is_empty() {
            return Err(Error::Lora("nothing to train: no target module and no module to save".into()));
        }
        self.train_modules(lora);
        Ok(())
    }

    /// Give `embed_tokens` and `lm_head` trained copies beside the originals.
    pub(crate) fn train_modules(&mut self, lora: &LoraConfig) {
        let modules = &lora.modules_to_save;
        let (backend, v, c) = (Arc::clone(&self.backend), self.config.vocab_size, self.config.hidden_size);
        let has = |m: &str| modules.iter().any(|x| x == m);
        if modules.is_empty() {
            return;
        }
        if let (Head::Tied, Weight::Frozen(matrix), false) =
            (&self.head, &self.embed_tokens, lora.ensure_weight_tying)
        {
            self.head = Head::Own(Weight::Frozen(Arc::clone(matrix)));
        }
        let copy = |weight: &mut Weight<B>, name: &str| {
            if let Weight::Frozen(matrix) = weight {
                let value = backend.dense(matrix);
                let name = format!("base_model.model.{name}.weight");
                let parameter = Parameter { name, rows: v, cols: c, value, grad: backend.zeros(v * c) };
                *weight = Weight::Trained { parameter, base: Some(Arc::clone(matrix)) };
            }
        };
        // Tied ends are one matrix: to train either is to train both.
        if has("embed_tokens") || (matches!(self.head, Head::Tied) && has("lm_head")) {
            copy(&mut self.embed_tokens, "model.embed_tokens");
        }
        if let (true, Head::Own(weight)) = (has("lm_head"), &mut self.head) {
            copy(weight, "lm_head");
        }
    }

    /// Train every weight of the model itself (no adapter).
    pub fn train_all(&mut self) {
        let backend = Arc::clone(&self.backend);
        let (v, c) = (self.config.vocab_size, self.config.hidden_size);
        let train = |weight: &mut Weight<B>, name: String, rows: usize, cols: usize| {
            if let Weight::Frozen(matrix) = weight {
                let value = backend.dense(matrix);
                let parameter = Parameter { name, rows, cols, value, grad: backend.zeros(rows * cols) };
                *weight = Weight::Trained { parameter, base: None };
            }
        };
        train(&mut self.embed_tokens, "model.embed_tokens.weight".into(), v, c);
        for block in &mut self.blocks {
            block.input_layernorm.trained = true;
            block.post_attention_layernorm.trained = true;
            for layer in block.linear_layers_mut() {
                let name = format!("{}.weight", layer.name);
                train(&mut layer.weight, name, layer.outputs, layer.inputs);
            }
        }
        self.norm.trained = true;
        if let Head::Own(weight) = &mut self.head {
            train(weight, "lm_head.weight".into(), v, c);
        }
    }

    /// Write `config.json` and `model.safetensors` of the model itself (an adapter is not merged in).
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, dtype: Dtype) -> Result<()> {
        let (v, c) = (self.config.vocab_size, self.config.hidden_size);
        let mut pieces: Vec<(String, Vec<usize>, Mat<B>)> = Vec::new();
        pieces.push(("model.embed_tokens.weight".into(), vec![v, c], self.embed_tokens.mat(Side::Base)));
        for layer in self.blocks.iter().flat_map(Block::linear_layers) {
            let name = format!("{}.weight", layer.name);
            pieces.push((name, vec![layer.outputs, layer.inputs], layer.weight.mat(Side::Base)));
        }
        if let (Head::Own(weight), false) = (&self.head, self.config.tie_word_embeddings) {
            pieces.push(("lm_head.weight".into(), vec![v, c], weight.mat(Side::Base)));
        }
        let norms = self.blocks.iter().flat_map(|b| [&b.input_layernorm, &b.post_attention_layernorm]);
        for norm in norms.chain([&self.norm]) {
            pieces.push((norm.parameter.name.clone(), vec![c], Mat::Dense(&norm.parameter.value)));
        }
        pieces.sort_by(|a, b| a.0.cmp(&b.0));
        let header: Vec<(&str, &[usize])> =
            pieces.iter().map(|(name, shape, _)| (name.as_str(), &shape[..])).collect();
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        let mut file = TensorWriter::create(&folder.join("model.safetensors"), &header, dtype, &metadata)?;
        for (_, shape, mat) in &pieces {
            let mut values = vec![0.0; shape.iter().product()];
            match mat {
                Mat::Dense(buffer) => self.backend.download(buffer, &mut values),
                Mat::Frozen(matrix) => self.backend.download(&self.backend.dense(matrix), &mut values),
            }
            file.push(&values)?;
        }
        file.commit()?;
        let mut config = self.config.to_json();
        config["torch_dtype"] = match dtype {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        }
        .into();
        let path = folder.join("config.json");
        let text = format!("{config:#}\n");
        tolmach_durable::write(&path, text).map_err(|source| Error::Write { path, source })
    }
}

/// One block from weights, as in [`Decoder::from_weights`].
pub(crate) fn block<B: Backend, E>(
    backend: &B,
    config: &Config,
    i: usize,
    matrix: &dyn Fn(&str, usize, usize) -> Result<FrozenMatrix, E>,
    vector: &dyn Fn(&str, usize) -> Result<Vec<f32>, E>,
) -> Result<Block<B>, E> {
    let c = config.hidden_size;
    let mut layers = linear_shapes(config, i).into_iter().map(|(name, inputs, outputs)| {
        let weight = matrix(&format!("{name}.weight"), outputs, inputs)?;
        let weight = Weight::Frozen(Arc::new(backend.matrix(weight)));
        Ok(Linear { name, inputs, outputs, weight, lora: None })
    });
    let mut next = || layers.next().expect("a block has seven linear layers");
    let norm = |part: &str| norm(backend, format!("model.layers.{i}.{part}.weight"), c, vector);
    Ok(Block {
        input_layernorm: norm("input_layernorm")?,
        q_proj: next()?,
        k_proj: next()?,
        v_proj: next()?,
        o_proj: next()?,
        post_attention_layernorm: norm("post_attention_layernorm")?,
        gate_proj: next()?,
        up_proj: next()?,
        down_proj: next()?,
    })
}

fn norm<B: Backend, E>(
    backend: &B,
    name: String,
    len: usize,
    vector: &dyn Fn(&str, usize) -> Result<Vec<f32>, E>,
) -> Result<NormWeight<B>, E> {
    let values = vector(&name, len)?;
    Ok(NormWeight { parameter: Parameter::new(backend, name, 1, len, &values), trained: false })
}

pub(crate) fn new_lora<B: Backend>(
    backend: &B,
    layer: &Linear<B>,
    config: &LoraConfig,
    a: &[f32],
    b: &[f32],
) -> Lora<B> {
    let name = |side: &str| format!("base_model.model.{}.lora_{side}.weight", layer.name);
    let rank = config.rank_of(&layer.name);
    Lora {
        a: Parameter::new(backend, name("A"), rank, layer.inputs, a),
        b: Parameter::new(backend, name("B"), layer.outputs, rank, b),
        rank,
        scaling: config.scaling_of(&layer.name),
        dropout: config.dropout,
        dora: None,
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
}
