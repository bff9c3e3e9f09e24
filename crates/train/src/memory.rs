//! How much memory a training run takes at its peak, before it starts; and what to do where that is too much.
//!
//! Counted is what the operating system counts as resident: the pages of memory-mapped weights too,
//! though they give way when memory is short.

use crate::config::TrainConfig;
use crate::error::Error;
use crate::evaluate::largest_micro_batch;
use crate::limit::{MemoryLimit, shown};
use crate::plan::TrainPlan;
use std::collections::HashSet;
use tolmach_engine::cpu::gemm::packing_bytes;
use tolmach_engine::cpu::{attention_bytes, logits_bytes, lora_bytes};
use tolmach_engine::{BlockType, CpuBackend, Dtype};
use tolmach_model::{BatchSize, Config, Shape, Trained};
use tolmach_tokenize::TokenExample;

/// Bytes of a value on the CPU.
const SIZE: u64 = 4;

/// Bytes that micro-batches of more than the cutoff may cost where nobody said how long they should be. They share more and
/// unpack the weights less often: training a small model is faster by some percent, and a large one, of which this is a few
/// rows, would not be.
const LARGER_MICRO_BATCHES: u64 = 160 << 20;

/// Bytes at the peak, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Frozen weights, memory-mapped and used in place.
    pub mapped: u64,
    /// Frozen weights in memory of their own.
    pub owned: u64,
    /// Trained tensors.
    pub trained: u64,
    pub gradients: u64,
    /// AdamW's two.
    pub moments: u64,
    /// The best weights so far, where they are kept.
    pub best: u64,
    /// Kept for the backward: activations, and inputs of blocks to be computed again.
    pub activations: u64,
    /// Buffers that all blocks use in turn, and the residual stream.
    pub scratch: u64,
    /// Logits that exist at a time.
    pub head: u64,
    /// Of all threads: panels packed for products, attention's blocks.
    pub packing: u64,
    /// While a state or a result is written.
    pub saving: u64,
    /// The program itself, its tokenizer, the data.
    pub program: u64,
}

impl MemoryPlan {
    pub fn total(&self) -> u64 {
        let Self { mapped, owned, trained, gradients, moments, best, .. } = self;
        let Self { activations, scratch, head, packing, saving, program, .. } = self;
        [
            mapped,
            owned,
            trained,
            gradients,
            moments,
            best,
            activations,
            scratch,
            head,
            packing,
            saving,
            program,
        ]
        .into_iter()
        .sum()
    }
}

/// The base's weights in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseWeights {
    /// Of the linear layers.
    pub linear: Stored,
    pub embedding: Stored,
    /// Of a head of its own; `None` where it is the embedding.
    pub head: Option<Stored>,
}

/// Weights as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    pub mapped: bool,
}

impl BaseWeights {
    /// Memory-mapped weights; `dtype` tells the type of each tensor.
    ///
    /// # Errors
    /// Those of `dtype`.
    pub fn mapped<E>(shape: &Shape, dtype: impl Fn(&str) -> Result<Dtype, E>) -> Result<Self, E> {
        let stored = |name: &str, rows: usize, cols: usize| {
            Ok(Stored { bytes: (rows * cols * dtype(name)?.size()) as u64, mapped: true })
        };
        let (v, c) = (shape.config.vocab_size, shape.config.hidden_size);
        let mut linear = Stored { bytes: 0, mapped: true };
        for (name, rows, cols) in shape.linear_layers() {
            linear.bytes += stored(&format!("{name}.weight"), rows, cols)?.bytes;
        }
        let head = (!shape.config.tie_word_embeddings).then(|| stored("lm_head.weight", v, c)).transpose()?;
        Ok(Self { linear, embedding: stored("model.embed_tokens.weight", v, c)?, head })
    }

    /// The same with the linear layers quantised as they are loaded.
    #[must_use]
    pub fn quantized(self, shape: &Shape, block: BlockType) -> Self {
        let bytes = |rows: usize, cols: usize| rows * cols.div_ceil(block.numbers()) * block.bytes();
        let bytes: usize = shape.linear_layers().map(|(_, rows, cols)| bytes(rows, cols)).sum();
        Self { linear: Stored { bytes: bytes as u64, mapped: false }, ..self }
    }
}

/// What a run's memory follows from, beside its plan.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    pub shape: Shape<'a>,
    pub base: BaseWeights,
    /// Resident before the model is loaded: the program, the tokenizer, the data.
    pub program: u64,
    pub threads: usize,
}

impl Footprint<'_> {
    /// The peak of a run that computes so many blocks again.
    pub fn memory(&self, plan: &TrainPlan, data: &Data, recompute: usize) -> MemoryPlan {
        let (shape, config) = (&self.shape, self.shape.config);
        let tensors = shape.trained_tensors();
        let trained = SIZE * tensors.iter().sum::<usize>() as u64;
        let largest = SIZE * tensors.into_iter().max().unwrap_or(0) as u64;
        let (train, eval) = (plan.largest_micro_batch, data.evaluation(plan));
        // One workspace serves both. In large pages all of a buffer is resident, even where only its first rows are used.
        let spec = shape.workspace(train.max(eval), Some(recompute));
        let labelled = train.labelled.max(eval.labelled);
        let (mapped, owned) = self.weights(data);
        MemoryPlan {
            mapped,
            owned,
            trained,
            gradients: trained,
            moments: 2 * trained,
            best: if plan.keep_best { trained } else { 0 },
            activations: SIZE * spec.kept_values::<CpuBackend>(config) as u64,
            scratch: SIZE * (spec.scratch_values::<CpuBackend>(config) + shape.row_norms()) as u64,
            head: logits_bytes(labelled, config.vocab_size) as u64,
            packing: self.packing(train.max(eval)),
            saving: largest,
            program: self.program,
        }
    }

    /// Bytes of frozen weights: mapped, and owned.
    fn weights(&self, data: &Data) -> (u64, u64) {
        if matches!(self.shape.trained, Trained::All) {
            return (0, 0); // their dense copies are what is trained
        }
        let BaseWeights { linear, embedding, head } = self.base;
        let (copied, _) = self.shape.trains_ends();
        let whole = copied || head.is_none() || !embedding.mapped;
        let embedding = if whole { embedding } else { self.touched(embedding, data) };
        let parts = [Some(linear), Some(embedding), head];
        let sum = |mapped| parts.iter().flatten().filter(|s| s.mapped == mapped).map(|s| s.bytes).sum();
        (sum(true), sum(false))
    }

    /// The pages of an embedding that the data's tokens lie on: the kernel maps 64 KiB around a fault.
    fn touched(&self, embedding: Stored, data: &Data) -> Stored {
        const AROUND: u64 = 64 << 10;
        let row = embedding.bytes / self.shape.config.vocab_size.max(1) as u64;
        let pages: HashSet<u64> = data
            .tokens()
            .flat_map(|id| (id * row / AROUND)..=((id + 1) * row).saturating_sub(1) / AROUND)
            .collect();
        Stored { bytes: (pages.len() as u64 * AROUND).min(embedding.bytes), ..embedding }
    }

    /// Bytes that the threads' own buffers grow to.
    fn packing(&self, size: BatchSize) -> u64 {
        let Config { hidden_size: c, vocab_size: v, .. } = *self.shape.config;
        let t = size.rows;
        let mut products = Vec::new();
        for (_, outputs, inputs) in self.shape.linear_layers().take(7) {
            products.extend([(t, outputs, inputs), (t, inputs, outputs)]);
            if matches!(self.shape.trained, Trained::All) {
                products.push((outputs, inputs, t));
            }
        }
        let logits = logits_bytes(size.labelled, v) / (4 * v.max(1));
        products.extend([(logits, v, c), (logits, c, v)]);
        let (embedding, head) = self.shape.trains_ends();
        if head || (embedding && self.shape.config.tie_word_embeddings) {
            products.push((v, c, logits));
        }
        let buffers = products.into_iter().map(|(m, n, k)| packing_bytes(m, n, k));
        let [common, own] = buffers.fold([0, 0], |[a, b], [c, d]| [a.max(c), b.max(d)]);
        let Config { num_attention_heads, num_key_value_heads, head_dim, .. } = *self.shape.config;
        let attention = attention_bytes(t, head_dim, num_attention_heads / num_key_value_heads);
        // One thread computes all branches of a group, in memory that attention leaves.
        let lora = self.shape.lora_groups().map(|(inputs, branches)| lora_bytes(inputs, branches)).max();
        let lora = lora.unwrap_or(0).saturating_sub(attention);
        (self.threads * (common + own + attention) + lora) as u64
    }

    /// Bytes on disk while the state is replaced: the old one, the new one, and the result beside them.
    pub fn disk(&self, plan: &TrainPlan) -> u64 {
        let trained = SIZE * self.shape.trained_tensors().iter().sum::<usize>() as u64;
        let state = trained * if plan.keep_best { 4 } else { 3 };
        2 * state + trained
    }
}

/// What is trained and evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    pub train: &'a [TokenExample],
    pub validation: &'a [TokenExample],
}

impl Data<'_> {
    fn tokens(&self) -> impl Iterator<Item = u64> {
        let examples = self.train.iter().chain(self.validation);
        examples.flat_map(|e| e.input_ids.iter().map(|&id| u64::from(id)))
    }

    fn evaluation(&self, plan: &TrainPlan) -> BatchSize {
        largest_micro_batch(self.validation, plan.eval_examples, plan.eval_micro_batch_tokens())
    }
}

/// A run that fits.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub plan: TrainPlan,
    /// Blocks to be computed again.
    pub recompute: usize,
    pub memory: MemoryPlan,
}

/// What a run may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// As the user said.
    pub limit: Option<MemoryLimit>,
    /// What the machine has for this program, what it holds already included.
    pub available: Option<u64>,
}

/// The plan of a run that fits: everything is kept if that fits, else some blocks are computed again, else all,
/// else, only where the user set a limit, the micro-batches get smaller (a step stays the same). Where the configuration
/// leaves it open they hold the cutoff, or up to twice that while it costs little and everything is kept within the user's
/// limit. What the machine has at the moment has no say in that: a run must be resumed with the same micro-batches.
///
/// # Errors
/// Those of [`TrainPlan::new`]; the least that would do is still above the limit, or what cannot be mapped is
/// more than the machine has.
pub fn fit(
    config: &TrainConfig,
    max_seq_length: usize,
    data: &Data,
    footprint: &Footprint,
    resources: Resources,
) -> Result<Fitted, Error> {
    let mut config = config.clone();
    let longest = data.train.iter().map(TokenExample::len).max().unwrap_or(0);
    let bounds = [resources.limit.map(|limit| limit.0), resources.available];
    let limit = bounds.into_iter().flatten().min().unwrap_or(u64::MAX);
    let open = config.micro_batch_tokens.is_none();
    if open {
        let limit = resources.limit.map_or(u64::MAX, |limit| limit.0);
        config.micro_batch_tokens =
            Some(micro_batch_tokens(&config, max_seq_length, data, footprint, limit)?);
    }
    loop {
        let plan = TrainPlan::new(&config, max_seq_length, data.train, data.validation.len())?;
        let most = footprint.shape.most_recompute();
        let memory = |blocks: usize| footprint.memory(&plan, data, blocks);
        // One block alone saves nothing: its activations are still there.
        let blocks = (0..=most).filter(|&blocks| blocks != 1);
        if let Some(recompute) = blocks.clone().find(|&blocks| memory(blocks).total() <= limit) {
            return Ok(Fitted { memory: memory(recompute), recompute, plan });
        }
        let recompute = blocks.max().unwrap_or(0);
        let memory = memory(recompute);
        let asked = resources.limit.is_some_and(|asked| memory.total() > asked.0);
        if !asked && memory.total() - memory.mapped <= limit {
            return Ok(Fitted { plan, recompute, memory }); // mapped weights give way
        }
        if open && plan.micro_batch_tokens > max_seq_length {
            config.micro_batch_tokens = Some(max_seq_length); // sooner than refuse
            continue;
        }
        if !asked || plan.micro_batch_tokens <= longest {
            return Err(Error::Memory {
                limit: shown(limit),
                least: shown(memory.total()),
                weights: shown(memory.mapped + memory.owned),
                trained: shown(memory.trained + memory.gradients + memory.moments + memory.best),
            });
        }
        config.micro_batch_tokens = Some((plan.micro_batch_tokens / 2).max(longest));
    }
}

/// Tokens of a micro-batch: the cutoff, and as many more, up to twice that, as take [`LARGER_MICRO_BATCHES`]; fewer than an
/// eighth more are not worth having.
fn micro_batch_tokens(
    config: &TrainConfig,
    cutoff: usize,
    data: &Data,
    footprint: &Footprint,
    limit: u64,
) -> Result<usize, Error> {
    let total = |tokens: usize| -> Result<u64, Error> {
        let config = TrainConfig { micro_batch_tokens: Some(tokens), ..config.clone() };
        let plan = TrainPlan::new(&config, cutoff, data.train, data.validation.len())?;
        Ok(footprint.memory(&plan, data, 0).total())
    };
    let (least, twice) = (total(cutoff)?, total(2 * cutoff)?);
    if twice <= least {
        return Ok(cutoff); // no micro-batch would be any longer
    }
    // Nearly linear between the two.
    let share = LARGER_MICRO_BATCHES as f64 / (twice - least) as f64;
    let more = (cutoff as f64 * share.min(1.0)) as usize / 16 * 16;
    let worth = 8 * more >= cutoff && total(cutoff + more)? <= limit;
    Ok(if worth { cutoff + more } else { cutoff })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_model::{LoraConfig, Rope, RopeScaling};

    #[test]
    fn a_large_model_takes_the_cutoff_a_small_one_twice_that() {
        let config = |hidden_size: usize, num_hidden_layers: usize| Config {
            hidden_size,
            intermediate_size: 5 * hidden_size / 2,
            num_hidden_layers,
            num_attention_heads: hidden_size / 64,
            num_key_value_heads: hidden_size / 64,
            head_dim: 64,
            vocab_size: 32_000,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        };
        let example = |i: u32| TokenExample {
            id: None,
            input_ids: (i..i + 200).collect(),
            labels: (0..200).map(|t| if t < 100 { -100 } else { t }).collect(),
        };
        let train: Vec<TokenExample> = (0..60).map(example).collect();
        let (lora, data) = (LoraConfig::of_rank(8), Data { train: &train, validation: &[] });
        let tokens = |model: &Config, limit: Option<u64>, available: Option<u64>| {
            let shape = Shape { config: model, trained: Trained::Lora(&lora) };
            let base = BaseWeights::mapped(&shape, |_| Ok::<_, Error>(Dtype::BF16)).unwrap();
            let footprint = Footprint { shape, base, program: 0, threads: 2 };
            let resources = Resources { limit: limit.map(MemoryLimit), available };
            fit(&TrainConfig::default(), 512, &data, &footprint, resources).unwrap()
        };
        assert_eq!(tokens(&config(3200, 26), None, None).plan.micro_batch_tokens, 512);
        let small = tokens(&config(256, 6), None, None);
        assert_eq!(small.plan.micro_batch_tokens, 1024);
        let within = tokens(&config(256, 6), Some(small.memory.total() - 1), None);
        assert_eq!((within.plan.micro_batch_tokens, within.recompute), (512, 0));
        // A busier machine computes blocks again: the same micro-batches, or the run could not be resumed.
        let busy = tokens(&config(256, 6), None, Some(small.memory.total() - 1));
        assert!(busy.recompute > 0 && busy.plan.micro_batch_tokens == 1024, "{busy:?}");
        let between = tokens(&config(576, 30), None, None).plan.micro_batch_tokens;
        assert!((576..1024).contains(&between), "{between}");
    }
}
