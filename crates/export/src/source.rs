//! The weights of the tuned model, one tensor at a time.

use crate::error::Result;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Backend, Dtype, FrozenMatrix};
use tolmach_model::{
    ADAPTER_WEIGHTS, AdapterInfo, Batch, Checkpoint, Config, Decoder, LINEAR_LAYERS, LoraConfig,
};

/// Where the tensors of a model come from: the base with its adapter, or a file that was exported.
pub trait Source {
    fn config(&self) -> &Config;

    /// All numbers of a tensor, row-major, under its Hugging Face name.
    ///
    /// # Errors
    /// The tensor is missing or of another shape.
    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()>;
}

/// Name and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
}

impl Tensor {
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All tensors of a Llama, from the embedding to the head.
pub fn tensors(config: &Config) -> Vec<Tensor> {
    let (c, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let q = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let shapes = [[q, c], [kv, c], [kv, c], [c, q], [f, c], [f, c], [c, f]];
    let tensor = |name: String, shape: &[usize]| Tensor { name: name + ".weight", shape: shape.to_vec() };
    let mut all = vec![tensor("model.embed_tokens".into(), &[v, c])];
    for i in 0..config.num_hidden_layers {
        all.push(tensor(format!("model.layers.{i}.input_layernorm"), &[c]));
        for (number, (layer, shape)) in LINEAR_LAYERS.iter().zip(shapes).enumerate() {
            if number == 4 {
                all.push(tensor(format!("model.layers.{i}.post_attention_layernorm"), &[c]));
            }
            let part = if number < 4 { "self_attn" } else { "mlp" };
            all.push(tensor(format!("model.layers.{i}.{part}.{layer}"), &shape));
        }
    }
    all.push(tensor("model.norm".into(), &[c]));
    if !config.tie_word_embeddings {
        all.push(tensor("lm_head".into(), &[v, c]));
    }
    all
}

/// The logits of the model that a source describes, computed in f32 with a block in memory at a time.
///
/// # Errors
/// Those of the source; a token id outside the vocabulary.
pub fn logits<B: Backend>(source: &dyn Source, backend: Arc<B>, batch: Batch) -> Result<Vec<f32>> {
    let read = |name: &str, shape: &[usize]| {
        let mut values = Vec::new();
        source.read(&Tensor { name: name.into(), shape: shape.to_vec() }, &mut values).map(|()| values)
    };
    let matrix = |name: &str, rows: usize, cols: usize| {
        let values = read(name, &[rows, cols])?;
        Ok(FrozenMatrix::from_f32(rows, cols, &values)
            .expect("a source gives the shape that it is asked for"))
    };
    Decoder::logits_of_weights(backend, source.config(), &matrix, &|name, len| read(name, &[len]), batch)
}

/// A base model with its adapter, merged a tensor at a time: W + scaling · B A (Hu et al. 2021), with DoRA
/// each of its rows brought to the trained length (Liu et al. 2024), and in place of `modules_to_save` their trained copies.
///
/// A tied base whose embedding or head was trained alone comes apart, as in PEFT: it gets a head of its own.
pub struct TunedModel {
    config: Config,
    base: Checkpoint,
    base_is_tied: bool,
    adapter: Option<Adapter>,
}

struct Adapter {
    lora: LoraConfig,
    file: Checkpoint,
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

impl TunedModel {
    /// # Errors
    /// Anything missing, misshapen or unsupported in either folder.
    pub fn open(base: &Path, adapter: Option<&Path>) -> Result<Self> {
        let mut config = Config::read(&base.join("config.json"))?;
        let base_is_tied = config.tie_word_embeddings;
        let adapter = match adapter {
            None => None,
            Some(folder) => {
                let lora = AdapterInfo::read(folder)?.lora;
                if !lora.modules_to_save.is_empty() && !lora.ensure_weight_tying {
                    config.tie_word_embeddings = false;
                }
                Some(Adapter { lora, file: Checkpoint::open_file(&folder.join(ADAPTER_WEIGHTS))? })
            }
        };
        Ok(Self { config, base: Checkpoint::open_folder(base)?, base_is_tied, adapter })
    }

    /// The type that most of the base is stored in: that of its embedding.
    ///
    /// # Errors
    /// There is none.
    pub fn base_dtype(&self) -> Result<Dtype> {
        Ok(self.base.dtype(EMBEDDING)?)
    }

    /// The trained copy that stands in for a tensor, if there is one.
    fn saved(&self, name: &str) -> Option<(&Checkpoint, String)> {
        let file = &self.adapter.as_ref()?.file;
        let name = format!("base_model.model.{name}");
        file.contains(&name).then_some((file, name))
    }

    /// Add scaling · B A to W `[O, I]`, if the layer has them.
    fn merge(&self, tensor: &Tensor, w: &mut [f32]) -> Result<()> {
        let Some(Adapter { lora, file }) = &self.adapter else { return Ok(()) };
        let layer = tensor.name.trim_end_matches(".weight");
        if !tensor.is_matrix() || !lora.targets(layer) {
            return Ok(());
        }
        let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
        let stem = format!("base_model.model.{layer}");
        let rank = lora.rank_of(layer);
        let a = file.values(&format!("{stem}.lora_A.weight"), &[rank, inputs])?;
        let b = file.values(&format!("{stem}.lora_B.weight"), &[outputs, rank])?;
        add_product(w, &a, &b, rank, lora.scaling_of(layer) as f32);
        if lora.dora {
            stretch(w, &file.values(&format!("{stem}.lora_magnitude_vector"), &[outputs])?);
        }
        Ok(())
    }
}

impl Source for TunedModel {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()> {
        let (file, name) = match self.saved(&tensor.name) {
            Some(saved) => saved,
            None if tensor.name == HEAD && self.base_is_tied => (&self.base, EMBEDDING.to_string()),
            None => (&self.base, tensor.name.clone()),
        };
        *values = file.values(&name, &tensor.shape)?;
        file.release(&name);
        self.merge(tensor, values)
    }
}

/// W `[O, I]` += scaling · B `[O, R]` A `[R, I]`. Each row by itself, so the number of threads changes
/// nothing.
pub(crate) fn add_product(w: &mut [f32], a: &[f32], b: &[f32], rank: usize, scaling: f32) {
    let inputs = a.len() / rank;
    w.par_chunks_mut(inputs).zip(b.par_chunks(rank)).for_each_init(
        || vec![0.0; inputs],
        |delta, (row, b)| {
            delta.fill(0.0);
            for (&b, a) in b.iter().zip(a.chunks_exact(inputs)) {
                for (d, &a) in delta.iter_mut().zip(a) {
                    *d += b * a;
                }
            }
            for (w, &d) in row.iter_mut().zip(&*delta) {
                *w += scaling * d;
            }
        },
    );
}

/// Give each row of W `[O, I]` its length of `magnitudes [O]`. A row of zeros stays one.
fn stretch(w: &mut [f32], magnitudes: &[f32]) {
    let inputs = w.len() / magnitudes.len().max(1);
    w.par_chunks_mut(inputs).zip(magnitudes).for_each(|(row, &magnitude)| {
        let norm = row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            let gain = (f64::from(magnitude) / norm) as f32;
            row.iter_mut().for_each(|w| *w *= gain);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_their_lengths_and_keep_their_directions() {
        let mut w = [3.0, 4.0, 0.0, 0.0, -1.0, 0.0];
        stretch(&mut w, &[10.0, 7.0, 2.0]);
        assert_eq!(w, [6.0, 8.0, 0.0, 0.0, -2.0, 0.0]);
    }

    #[test]
    fn the_product_is_that_of_the_definition() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 10.0, 100.0, 1000.0]); // [2, 3], [2, 2]
        let mut w = [0.5; 6];
        add_product(&mut w, &a, &b, 2, 2.0);
        assert_eq!(w, [82.5, 104.5, 126.5, 8200.5, 10400.5, 12600.5]);
    }

    #[test]
    fn the_tensors_are_all_of_the_model() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
        for model in ["gqa-tied", "mha-untied"] {
            let config = Config::read(&path.join(model).join("config.json")).unwrap();
            let all = tensors(&config);
            assert_eq!(all.iter().map(Tensor::len).sum::<usize>(), config.parameters());
            let file = Checkpoint::open_folder(&path.join(model)).unwrap();
            for tensor in all {
                assert_eq!(file.shape(&tensor.name).unwrap(), tensor.shape, "{}", tensor.name);
            }
        }
    }
}
