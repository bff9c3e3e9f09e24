//! Packing without padding: from a list of lengths to steps, micro-batches and packed tokens.
//!
//! Examples are laid end to end, each a segment. Attention is block-diagonal, positions restart at 0
//! in each example, and no example's first token is ever predicted from the last token of the one
//! before it. A prefix that several examples of a micro-batch share ([`SharedPrefixes`]) is a segment of
//! its own, laid down once; the examples behind it go on at its positions and attend to it too.

use crate::shared::{Share, SharedPrefixes};
use crate::token_example::{IGNORED, TokenExample};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
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

/// Segments laid end to end, T rows in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// [T]
    pub input_ids: Vec<u32>,
    /// [T], unshifted: the label of a token stands at that token's own index.
    pub labels: Vec<i32>,
    /// [T], 0, 1, 2 … from each example's start.
    pub positions: Vec<u32>,
    /// The rows of each segment, in order.
    pub segments: Vec<Range<usize>>,
    /// Per segment the rows of the prefix that it goes on from; empty where it has none.
    pub prefixes: Vec<Range<usize>>,
    /// Per segment its place among the packed examples; `None` for a shared prefix.
    pub members: Vec<Option<usize>>,
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
/// `lengths[i]` is example i's length in tokens; `order` lists the examples of the epoch. Steps take
/// examples greedily in that order: without padding, a half-full step wastes nothing. An example is never
/// split: one longer than `micro_batch_tokens` gets a micro-batch of its own, one longer than a step's tokens
/// its own step. A `StepSize` of 0 counts as 1. A step counts the data's own tokens, a micro-batch the rows that are
/// left of them where prefixes are shared ([`best_fit`]).
pub fn plan_steps(
    lengths: &[usize],
    prefixes: &SharedPrefixes,
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
        .into_iter()
        .map(|examples| StepPlan { micro_batches: best_fit(lengths, prefixes, examples, micro_batch_tokens) })
        .collect()
}

/// Cut `order` into runs of at most `limit` tokens and at least one example.
fn fill(lengths: &[usize], order: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for &index in order {
        match runs.last_mut() {
            Some(run) if tokens + lengths[index] <= limit => {
                tokens += lengths[index];
                run.push(index);
            }
            _ => {
                tokens = lengths[index];
                runs.push(vec![index]);
            }
        }
    }
    runs
}

/// Put the examples of a step into few micro-batches of at most `limit` rows, with few rows in all.
///
/// Best fit decreasing (Johnson 1973), one group of examples that share a prefix after the other: the longest
/// example first, each where its prefix is already laid down if it fits there, and of such places where least room
/// is left. Which examples stand together changes the step's gradient by rounding only.
fn best_fit(
    lengths: &[usize],
    prefixes: &SharedPrefixes,
    mut examples: Vec<usize>,
    limit: usize,
) -> Vec<Vec<usize>> {
    examples.sort_by_key(|&i| (prefixes.of(i).group, Reverse(lengths[i])));
    let mut micro_batches: Vec<Vec<usize>> = Vec::new();
    // (room left, micro-batch): those that hold the prefix of the present group, and the others.
    let (mut with_prefix, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut present = Share::default();
    for example in examples {
        let share = prefixes.of(example);
        if share != present {
            others.append(&mut with_prefix);
            present = share;
        }
        let tightest =
            |places: &BTreeSet<(usize, usize)>, rows: usize| places.range((rows, 0)..).next().copied();
        let rest = lengths[example] - share.len;
        let (place, rows) = match tightest(&with_prefix, rest) {
            Some(place) => (Some(place), rest),
            None => (tightest(&others, lengths[example]), lengths[example]),
        };
        let (room, at) = place.unwrap_or_else(|| {
            micro_batches.push(Vec::new());
            (limit.max(rows), micro_batches.len() - 1)
        });
        with_prefix.remove(&(room, at));
        others.remove(&(room, at));
        micro_batches[at].push(example);
        with_prefix.insert((room - rows, at));
    }
    micro_batches
}

impl StepPlan {
    /// All examples of the step, in order.
    pub fn examples(&self) -> impl Iterator<Item = usize> {
        self.micro_batches.iter().flatten().copied()
    }
}

impl PackedBatch {
    /// Lay these examples end to end, each whole.
    pub fn pack(examples: &[&TokenExample]) -> PackedBatch {
        Self::pack_shared(&vec![Share::default(); examples.len()], examples)
    }

    /// Lay these examples end to end, with what several of them share laid down once. `shares[i]`
    /// belongs to `examples[i]`.
    pub fn pack_shared(shares: &[Share], examples: &[&TokenExample]) -> PackedBatch {
        let mut batch = PackedBatch::default();
        let mut prefixes: HashMap<usize, Range<usize>> = HashMap::new();
        for (member, (example, share)) in examples.iter().zip(shares).enumerate() {
            let alone = shares.iter().filter(|s| *s == share).count() < 2;
            if share.len == 0 || alone {
                batch.push(example, 0..example.len(), 0..0, Some(member));
                continue;
            }
            let prefix = prefixes
                .entry(share.group)
                .or_insert_with(|| batch.push(example, 0..share.len, 0..0, None))
                .clone();
            batch.push(example, share.len..example.len(), prefix, Some(member));
        }
        batch
    }

    /// Add these tokens of an example as a segment; its rows.
    fn push(
        &mut self,
        example: &TokenExample,
        tokens: Range<usize>,
        prefix: Range<usize>,
        member: Option<usize>,
    ) -> Range<usize> {
        let rows = self.rows()..self.rows() + tokens.len();
        self.input_ids.extend_from_slice(&example.input_ids[tokens.clone()]);
        self.labels.extend_from_slice(&example.labels[tokens.clone()]);
        self.positions.extend(tokens.start as u32..tokens.end as u32);
        self.segments.push(rows.clone());
        self.prefixes.push(prefix);
        self.members.push(member);
        rows
    }

    /// T, the number of rows: of tokens, less what is shared.
    pub fn rows(&self) -> usize {
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
