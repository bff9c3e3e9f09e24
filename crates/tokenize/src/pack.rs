//! Packing without padding: from a list of lengths to steps, micro-batches and packed tokens.
//!
//! Examples (here called segments) are laid end to end. Attention is block-diagonal, positions
//! restart at 0 in each segment, and no segment's first token is ever predicted from the last
//! token of the segment before it.

use crate::token_example::{IGNORED, TokenExample};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How much one optimizer step takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepSize {
    /// So many examples.
    Examples(usize),
    /// As many examples as fit in so many tokens; at least one.
    Tokens(usize),
}

/// One optimizer step: its micro-batches, each a list of example indices in the epoch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlan {
    pub micro_batches: Vec<Vec<usize>>,
    /// Examples in the step.
    pub examples: usize,
    /// Tokens in the step.
    pub tokens: usize,
}

/// Segments laid end to end, T tokens in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBatch {
    /// [T]
    pub input_ids: Vec<u32>,
    /// [T], unshifted: the label of a token stands at that token's own index.
    pub labels: Vec<i32>,
    /// [T], 0, 1, 2 … from each segment's start.
    pub positions: Vec<u32>,
    /// [segments + 1]: segment s is `segment_starts[s]..segment_starts[s + 1]`.
    pub segment_starts: Vec<u32>,
    /// [segments]: the index of each segment's example in the data set.
    pub examples: Vec<usize>,
}

/// The order of the examples in one epoch: shuffled by `seed` and `epoch`, or the file's own.
///
/// The shuffle depends on nothing else (neither on threads nor on what came before), so a resumed
/// run finds the same order.
pub fn epoch_order(examples: usize, shuffle: bool, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..examples).collect();
    if shuffle {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        key[16..].copy_from_slice(b"tolmach shuffle ");
        let mut rng = ChaCha8Rng::from_seed(key);
        for i in (1..examples).rev() {
            order.swap(i, below(&mut rng, i as u64 + 1) as usize);
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
/// `lengths[i]` is example i's length in tokens; `order` lists the examples of the epoch. Steps
/// take examples in that order. Within a step examples are placed first-fit-decreasing, which
/// fills micro-batches well and is deterministic. An example is never split: one longer than
/// `micro_batch_tokens` gets a micro-batch of its own, one longer than a step's tokens its own step.
/// A `StepSize` of 0 counts as 1.
pub fn plan_steps(lengths: &[usize], order: &[usize], step: StepSize, micro_batch_tokens: usize) -> Vec<StepPlan> {
    let mut steps = Vec::new();
    let mut first = 0;
    while first < order.len() {
        let end = step_end(lengths, order, first, step);
        steps.push(plan_step(lengths, &order[first..end], micro_batch_tokens));
        first = end;
    }
    steps
}

/// One past the last example (as an index into `order`) of the step that begins at `first`.
fn step_end(lengths: &[usize], order: &[usize], first: usize, step: StepSize) -> usize {
    match step {
        StepSize::Examples(examples) => order.len().min(first.saturating_add(examples.max(1))),
        StepSize::Tokens(limit) => {
            let mut tokens = lengths[order[first]];
            let mut end = first + 1;
            while end < order.len() && tokens + lengths[order[end]] <= limit {
                tokens += lengths[order[end]];
                end += 1;
            }
            end
        }
    }
}

fn plan_step(lengths: &[usize], examples: &[usize], micro_batch_tokens: usize) -> StepPlan {
    // Ranks (places in the epoch's order) rather than indices, to restore that order below.
    let mut ranks: Vec<usize> = (0..examples.len()).collect();
    ranks.sort_by_key(|&rank| (std::cmp::Reverse(lengths[examples[rank]]), rank));
    let mut bins: Vec<(usize, Vec<usize>)> = Vec::new();
    for rank in ranks {
        let length = lengths[examples[rank]];
        match bins.iter_mut().find(|(tokens, _)| tokens + length <= micro_batch_tokens) {
            Some((tokens, bin)) => {
                *tokens += length;
                bin.push(rank);
            }
            None => bins.push((length, vec![rank])),
        }
    }
    let tokens = bins.iter().map(|(tokens, _)| tokens).sum();
    let micro_batches = bins
        .into_iter()
        .map(|(_, mut bin)| {
            bin.sort_unstable();
            bin.into_iter().map(|rank| examples[rank]).collect()
        })
        .collect();
    StepPlan { micro_batches, examples: examples.len(), tokens }
}

impl PackedBatch {
    /// Lay the examples with these indices end to end.
    pub fn pack(examples: &[TokenExample], indices: &[usize]) -> PackedBatch {
        let total = indices.iter().map(|&i| examples[i].len()).sum();
        let mut batch = PackedBatch {
            input_ids: Vec::with_capacity(total),
            labels: Vec::with_capacity(total),
            positions: Vec::with_capacity(total),
            segment_starts: vec![0],
            examples: indices.to_vec(),
        };
        for &index in indices {
            let example = &examples[index];
            batch.input_ids.extend_from_slice(&example.input_ids);
            batch.labels.extend_from_slice(&example.labels);
            batch.positions.extend(0..example.len() as u32);
            batch.segment_starts.push(batch.input_ids.len() as u32);
        }
        batch
    }

    /// T, the number of tokens.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// What each token must predict, [T]: `labels[t + 1]` inside a segment, [`IGNORED`] at each
    /// segment's last token. A segment's first label is therefore nobody's target: packing cannot
    /// leak from one example into the next.
    pub fn targets(&self) -> Vec<i32> {
        let mut targets = vec![IGNORED; self.labels.len()];
        for bounds in self.segment_starts.windows(2) {
            let (start, end) = (bounds[0] as usize, bounds[1] as usize);
            if end > start {
                targets[start..end - 1].copy_from_slice(&self.labels[start + 1..end]);
            }
        }
        targets
    }

    /// How many targets the loss counts.
    pub fn trained_tokens(&self) -> usize {
        self.targets().iter().filter(|&&target| target != IGNORED).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn examples() -> impl Strategy<Value = Vec<TokenExample>> {
        let example = prop::collection::vec((0u32..1000, any::<bool>()), 1..40);
        prop::collection::vec(example, 0..30).prop_map(|all| {
            all.iter()
                .enumerate()
                .map(|(i, tokens)| TokenExample {
                    id: i.to_string(),
                    input_ids: tokens.iter().map(|&(id, _)| id).collect(),
                    labels: tokens.iter().map(|&(id, t)| if t { id as i32 } else { IGNORED }).collect(),
                })
                .collect()
        })
    }

    fn step_size() -> impl Strategy<Value = StepSize> {
        prop_oneof![(0usize..12).prop_map(StepSize::Examples), (0usize..200).prop_map(StepSize::Tokens)]
    }

    proptest! {
        #[test]
        fn every_token_and_label_is_kept_once_and_limits_hold(
            examples in examples(), step in step_size(), micro in 0usize..100,
            shuffle in any::<bool>(), seed in any::<u64>(), epoch in 0u64..5,
        ) {
            let lengths: Vec<usize> = examples.iter().map(TokenExample::len).collect();
            let order = epoch_order(examples.len(), shuffle, seed, epoch);
            let steps = plan_steps(&lengths, &order, step, micro);
            prop_assert_eq!(&steps, &plan_steps(&lengths, &order, step, micro));

            let mut seen = vec![0; examples.len()];
            let mut in_order = Vec::new();
            for plan in &steps {
                let mut members: Vec<usize> = plan.micro_batches.concat();
                prop_assert_eq!(plan.examples, members.len());
                prop_assert_eq!(plan.tokens, members.iter().map(|&i| lengths[i]).sum::<usize>());
                match step {
                    StepSize::Examples(n) => prop_assert!(members.len() <= n.max(1)),
                    StepSize::Tokens(n) => prop_assert!(plan.tokens <= n || members.len() == 1),
                }
                for indices in &plan.micro_batches {
                    let batch = PackedBatch::pack(&examples, indices);
                    prop_assert!(!indices.is_empty());
                    prop_assert!(batch.tokens() <= micro || indices.len() == 1);
                    prop_assert_eq!(&batch.examples, indices);
                    prop_assert_eq!(batch.segment_starts.len(), indices.len() + 1);
                    for (s, &i) in indices.iter().enumerate() {
                        seen[i] += 1;
                        let range = batch.segment_starts[s] as usize..batch.segment_starts[s + 1] as usize;
                        prop_assert_eq!(&batch.input_ids[range.clone()], &examples[i].input_ids[..]);
                        prop_assert_eq!(&batch.labels[range.clone()], &examples[i].labels[..]);
                        let restart: Vec<u32> = (0..lengths[i] as u32).collect();
                        prop_assert_eq!(&batch.positions[range], &restart[..]);
                    }
                    let trained: usize = indices.iter().map(|&i| examples[i].trained_tokens()).sum();
                    prop_assert_eq!(batch.trained_tokens(), trained);
                }
                // A step holds the next examples of the order, whatever bins they went to.
                let place = |i: &usize| order.iter().position(|o| o == i);
                members.sort_by_key(place);
                in_order.extend(members);
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            prop_assert_eq!(in_order, order);
        }

        #[test]
        fn an_order_is_a_permutation(n in 0usize..200, seed in any::<u64>(), epoch in any::<u64>()) {
            let mut order = epoch_order(n, true, seed, epoch);
            prop_assert_eq!(&order, &epoch_order(n, true, seed, epoch));
            order.sort_unstable();
            prop_assert_eq!(order, epoch_order(n, false, seed, epoch));
        }
    }

    #[test]
    fn orders_differ_by_seed_and_by_epoch() {
        let order = epoch_order(100, true, 1, 0);
        assert_ne!(order, epoch_order(100, true, 2, 0));
        assert_ne!(order, epoch_order(100, true, 1, 1));
        // Not the same sequence under another name: seed 1 epoch 0 is not seed 0 epoch 1.
        assert_ne!(order, epoch_order(100, true, 0, 1));
        assert_eq!(epoch_order(3, false, 1, 0), [0, 1, 2]);
    }

    #[test]
    fn a_shuffle_is_fair() {
        // Each of 3! orders of three should come about 1000 times in 6000.
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(epoch_order(3, true, 7, epoch)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    /// unsloth#126: packing that leaks.
    #[test]
    fn a_segments_first_label_is_nobodys_target() {
        let example = |id: u32| TokenExample {
            id: id.to_string(),
            input_ids: vec![id, id + 1],
            labels: vec![id as i32, id as i32 + 1],
        };
        let batch = PackedBatch::pack(&[example(10), example(20)], &[1, 0]);
        assert_eq!(batch.input_ids, [20, 21, 10, 11]);
        assert_eq!(batch.segment_starts, [0, 2, 4]);
        assert_eq!(batch.targets(), [21, IGNORED, 11, IGNORED]);
        assert_eq!(batch.trained_tokens(), 2);
    }

    #[test]
    fn an_example_longer_than_the_micro_batch_stands_alone() {
        let steps = plan_steps(&[3, 50, 4, 5], &[0, 1, 2, 3], StepSize::Examples(4), 10);
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].micro_batches, [vec![1], vec![2, 3], vec![0]]);
        assert_eq!((steps[0].examples, steps[0].tokens), (4, 62));
    }
}
