//! Packing without padding: from a list of lengths to steps, micro-batches and packed tokens.
//!
//! Examples (here called segments) are laid end to end. Attention is block-diagonal, positions
//! restart at 0 in each segment, and no segment's first token is ever predicted from the last
//! token of the segment before it.

use crate::token_example::{IGNORED, TokenExample};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::Range;

/// How much one optimizer step takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepSize {
    /// As many examples as fit in so many tokens; at least one.
    Tokens(usize),
    /// So many examples.
    Examples(usize),
}

/// One optimizer step: its micro-batches, each a list of example indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlan {
    pub micro_batches: Vec<Vec<usize>>,
}

/// Segments laid end to end, T tokens in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// [T]
    pub input_ids: Vec<u32>,
    /// [T], unshifted: the label of a token stands at that token's own index.
    pub labels: Vec<i32>,
    /// [T], 0, 1, 2 … from each segment's start.
    pub positions: Vec<u32>,
    /// The token range of each segment, in order.
    pub segments: Vec<Range<usize>>,
}

/// The order of the examples in one epoch: shuffled by `seed` and `epoch`, or the file's own.
///
/// The shuffle depends on nothing else (neither on threads nor on what came before), so a resumed
/// run finds the same order.
pub fn epoch_order(count: usize, seed: u64, epoch: u64, shuffle: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if shuffle {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        key[16..].copy_from_slice(b"tolmach shuffle "); // the stream's name
        let mut rng = ChaCha8Rng::from_seed(key);
        for i in (1..count).rev() {
            order.swap(i, below(&mut rng, i as u64 + 1) as usize); // Fisher and Yates
        }
    }
    order
}

/// A uniform number below `bound`, by rejection: no modulo bias.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let draw = rng.next_u64();
        if draw < limit {
            return draw % bound;
        }
    }
}

/// Divide an epoch into steps, and each step into micro-batches of at most `micro_batch_tokens`.
///
/// `lengths[i]` is example i's length in tokens; `order` lists the examples of the epoch. Steps,
/// and micro-batches within them, take examples greedily in that order: without padding, a
/// half-full micro-batch wastes nothing. An example is never split: one longer than
/// `micro_batch_tokens` gets a micro-batch of its own, one longer than a step's tokens its own step.
/// A `StepSize` of 0 counts as 1.
pub fn plan_steps(
    lengths: &[usize],
    order: &[usize],
    step: StepSize,
    micro_batch_tokens: usize,
) -> Vec<StepPlan> {
    let in_step = match step {
        StepSize::Examples(examples) => {
            order.chunks(examples.max(1)).map(<[usize]>::to_vec).collect::<Vec<_>>()
        }
        StepSize::Tokens(tokens) => fill(lengths, order, tokens),
    };
    in_step
        .iter()
        .map(|examples| StepPlan { micro_batches: fill(lengths, examples, micro_batch_tokens) })
        .collect()
}

/// Cut `order` into runs of at most `limit` tokens and at least one example.
fn fill(lengths: &[usize], order: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for &index in order {
        match runs.last_mut() {
            Some(run) if tokens + lengths[index] <= limit => run.push(index),
            _ => {
                runs.push(vec![index]);
                tokens = 0;
            }
        }
        tokens += lengths[index];
    }
    runs
}

impl StepPlan {
    /// All examples of the step, in order.
    pub fn examples(&self) -> impl Iterator<Item = usize> {
        self.micro_batches.iter().flatten().copied()
    }
}

impl PackedBatch {
    /// Lay these examples end to end.
    pub fn pack(examples: &[&TokenExample]) -> PackedBatch {
        let total = examples.iter().map(|example| example.len()).sum();
        let mut batch = PackedBatch {
            input_ids: Vec::with_capacity(total),
            labels: Vec::with_capacity(total),
            positions: Vec::with_capacity(total),
            segments: Vec::with_capacity(examples.len()),
        };
        for example in examples {
            let start = batch.tokens();
            batch.input_ids.extend_from_slice(&example.input_ids);
            batch.labels.extend_from_slice(&example.labels);
            batch.positions.extend(0..example.len() as u32);
            batch.segments.push(start..start + example.len());
        }
        batch
    }

    /// T, the number of tokens.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// What the loss is taken over: the rows `t`, ascending, whose NEXT token in the same segment
    /// is labelled, and those labels. A segment's last row predicts nothing and its first label is
    /// nobody's target: packing cannot leak from one example into the next.
    pub fn targets(&self) -> (Vec<usize>, Vec<u32>) {
        let rows = self.segments.iter().flat_map(|segment| segment.start..segment.end.saturating_sub(1));
        rows.filter(|&t| self.labels[t + 1] != IGNORED).map(|t| (t, self.labels[t + 1] as u32)).unzip()
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
