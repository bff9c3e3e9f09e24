//! How much memory a training run takes, before it starts.

use crate::plan::TrainPlan;
use tolmach_engine::Backend;
use tolmach_engine::cpu::LOGITS;
use tolmach_model::Decoder;

/// Bytes, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The frozen base, as it lies on disk; memory-mapped, so it gives way when memory is short.
    pub base: u64,
    /// Trained tensors with gradients and AdamW's two moments (and the best weights, if kept).
    pub trained: u64,
    /// Activations of the largest micro-batch.
    pub activations: u64,
}

/// Bytes of a value on the CPU.
const SIZE: u64 = 4;

impl MemoryEstimate {
    /// `base` is the size of the weights on disk in bytes.
    pub fn new<B: Backend>(model: &mut Decoder<B>, plan: &TrainPlan, base: u64) -> Self {
        let trained: u64 = model.parameters_mut().iter().map(|p| p.len() as u64).sum();
        let copies = 4 + u64::from(plan.keep_best);
        let activations = SIZE * activation_values(model, plan.largest_micro_batch);
        Self { base, trained: copies * SIZE * trained, activations }
    }

    pub fn total(&self) -> u64 {
        self.base + self.trained + self.activations
    }
}

/// Values in the buffers of one micro-batch: what `tolmach_model`'s workspace holds.
fn activation_values<B: Backend>(model: &Decoder<B>, (rows, labelled): (usize, usize)) -> u64 {
    let config = &model.config;
    let (c, f, h) = (config.hidden_size, config.intermediate_size, config.num_attention_heads);
    let (q, kv) = (h * config.head_dim, config.num_key_value_heads * config.head_dim);
    let ranks = model.blocks.iter().map(|b| b.linear_layers().map(|l| l.lora.as_ref().map_or(0, |x| x.rank)));
    let (mut of_ranks, mut widest_rank) = (0, 0);
    for ranks in ranks {
        of_ranks += ranks.iter().sum::<usize>();
        widest_rank = ranks.into_iter().fold(widest_rank, usize::max);
    }
    let kept = model.blocks.len() * (2 * c + 2 * q + 2 * kv + h + 2 * f) + of_ranks;
    let dropout = if model.has_dropout() { 2 * c.max(f).max(q) } else { 0 };
    let scratch = 2 * c + 4 * f + 2 * q + 2 * kv + widest_rank + dropout;
    let stream = 2 * c + config.head_dim; // the residual stream, its gradient, the table of RoPE
    let head = 4 * c * labelled + (labelled * config.vocab_size).min(LOGITS.max(config.vocab_size));
    (rows * (kept + scratch + stream) + head) as u64
}
