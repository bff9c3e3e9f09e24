//! Making a decoder: from a folder, at random, with LoRA, for full training; and writing one.

use crate::block::{Block, LINEAR_LAYERS};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::decoder::{Decoder, Head};
use crate::error::{Error, Result};
use crate::init;
use crate::linear::{Linear, Lora};
use crate::lora::{InitLora, LoraConfig};
use crate::parameter::{NormWeight, Parameter, Side, Weight};
use crate::tensor_writer::TensorWriter;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Backend, BlockType, Dtype, FrozenMatrix, Mat};

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
        if quantize.is_some() {
            // Around each first read the system maps 64 KiB, of neighbours that were given back already; and the
            // fingerprint reads a little of every tensor.
            let given_back = checkpoint.names().filter(|name| name.starts_with("model.layers."));
            given_back.for_each(|name| checkpoint.release(name));
        }
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

    /// Add fresh LoRA branches: A Kaiming-uniform with a = √5, that is U(−1/√I, 1/√I), or Gaussian, B zero; DoRA's
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
                let rank = lora.rank_of(&layer.name);
                let len = rank * layer.inputs;
                let a = match lora.init_lora_weights {
                    InitLora::Kaiming => init::uniform(seed, &name, len, 1.0 / (layer.inputs as f32).sqrt()),
                    InitLora::Gaussian => init::normal(seed, &name, len, 1.0 / rank as f32),
                };
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
            let but = if lora.is_narrowed() { " within exclude_modules and layers_to_transform" } else { "" };
            return Err(Error::Lora(format!("no layer matches {:?}{but}", lora.target_modules)));
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
