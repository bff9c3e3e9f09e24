//! The head: from hidden rows to the next tokens. The logits `[M, V]` never exist whole; a block of
//! the vocabulary is looked at while it lies in the cache.

use super::model::Model;
use tolmach_engine::cpu::infer::{LogSumExp, PackedMatrix, Rows, max};

/// Tokens of a block.
const BLOCK: usize = 8 * PackedMatrix::STEP;

/// Buffers kept from step to step.
#[derive(Default)]
pub struct HeadWorkspace {
    rows: Rows,
    logits: Vec<f32>,
}

/// The likeliest next tokens of one row.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Log probability and token, the likeliest first; of equals, the lower token.
    pub tokens: Vec<(f32, u32)>,
}

impl Model {
    /// The likeliest token of each row of `hidden` `[M, C]`, the `banned` ones left out.
    pub fn best_tokens(&self, hidden: &[f32], banned: &[u32], work: &mut HeadWorkspace) -> Vec<u32> {
        let mut best = vec![(f32::NEG_INFINITY, 0); hidden.len() / self.shape.hidden_size];
        self.for_each_block(hidden, work, |row, first, logits| {
            ban(banned, first, logits);
            let largest = max(logits);
            if largest > best[row].0 {
                let at = logits.iter().position(|&x| x == largest).unwrap_or_default();
                best[row] = (largest, first + at as u32);
            }
        });
        best.into_iter().map(|(_, token)| token).collect()
    }

    /// The `count` likeliest tokens of each row of `hidden` `[M, C]`, the `banned` ones left out. With
    /// `renormalize`, log probabilities are those among the tokens that are not banned.
    pub fn top_tokens(
        &self,
        hidden: &[f32],
        count: usize,
        banned: &[u32],
        renormalize: bool,
        work: &mut HeadWorkspace,
    ) -> Vec<Top> {
        let rows = hidden.len() / self.shape.hidden_size;
        let mut tops = vec![Top::default(); rows];
        let mut sums = vec![LogSumExp::default(); rows];
        self.for_each_block(hidden, work, |row, first, logits| {
            if renormalize {
                ban(banned, first, logits);
            }
            let mut largest = max(logits);
            sums[row].add(logits, largest);
            if !renormalize && ban(banned, first, logits) {
                largest = max(logits);
            }
            tops[row].offer(first, logits, largest, count);
        });
        for (top, sum) in tops.iter_mut().zip(sums) {
            let sum = sum.value();
            top.tokens.iter_mut().for_each(|(score, _)| *score -= sum);
        }
        tops
    }

    /// `f(row, first token, logits)` for each block of each row.
    pub fn for_each_block(
        &self,
        hidden: &[f32],
        work: &mut HeadWorkspace,
        mut f: impl FnMut(usize, u32, &mut [f32]),
    ) {
        let vocab = self.head.rows();
        self.head.take(hidden, &mut work.rows);
        for first in (0..vocab).step_by(BLOCK) {
            let tokens = first..vocab.min(first + BLOCK);
            let width = tokens.len();
            work.logits.resize(hidden.len() / self.shape.hidden_size * width, 0.0);
            self.head.product(&work.rows, tokens, &self.head_bias, &mut work.logits);
            for (row, logits) in work.logits.chunks_exact_mut(width).enumerate() {
                f(row, first as u32, logits);
            }
        }
    }
}

/// Whether one of the `banned` tokens was in this block.
fn ban(banned: &[u32], first: u32, logits: &mut [f32]) -> bool {
    let mut any = false;
    for token in banned {
        if let Some(logit) = token.checked_sub(first).and_then(|at| logits.get_mut(at as usize)) {
            *logit = f32::NEG_INFINITY;
            any = true;
        }
    }
    any
}

impl Top {
    /// Keep the `count` best of these too.
    fn offer(&mut self, first: u32, logits: &[f32], largest: f32, count: usize) {
        let worst = |tokens: &[(f32, u32)]| match tokens.last() {
            Some((score, _)) if tokens.len() == count => *score,
            _ => f32::NEG_INFINITY,
        };
        let mut bar = worst(&self.tokens);
        if largest <= bar {
            return;
        }
        for (part, first) in logits.chunks(PackedMatrix::STEP).zip((first..).step_by(PackedMatrix::STEP)) {
            if max(part) <= bar {
                continue;
            }
            for (logit, token) in part.iter().zip(first..) {
                if *logit > bar {
                    let at = self.tokens.partition_point(|(score, _)| score >= logit);
                    self.tokens.insert(at, (*logit, token));
                    self.tokens.truncate(count);
                    bar = worst(&self.tokens);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order_whatever_the_parts() {
        let logits: Vec<f32> = (0..700u32).map(|i| (i * 7919 % 701) as f32).collect();
        let mut top = Top::default();
        for (part, first) in logits.chunks(512).zip([0, 512]) {
            top.offer(first, part, max(part), 5);
        }
        let mut all: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        assert_eq!(top.tokens, all[..5]);
    }

    #[test]
    fn of_equals_the_lower_token_comes_first() {
        let mut top = Top::default();
        top.offer(10, &[1.0, 3.0, 3.0, 3.0], 3.0, 2);
        assert_eq!(top.tokens, [(3.0, 11), (3.0, 12)]);
    }
}
