//! Prefixes that many examples have in common: the template's constant preamble, above all.
//!
//! In a micro-batch such a prefix is computed once, and every example that has it attends to it.
//! Causal attention makes that exact: a token's keys, values and hidden states depend on the tokens
//! before it alone, so the prefix's are the same in every example; its gradient is the sum of theirs.

use crate::pack::StepSize;
use crate::token_example::{IGNORED, TokenExample};
use std::ops::Range;

/// What one example shares: examples of one group have their first `len` tokens in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Share {
    pub group: usize,
    /// 0: nothing is shared.
    pub len: usize,
}

/// What each example of a data set shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPrefixes {
    of: Vec<Share>,
}

impl SharedPrefixes {
    /// No example shares anything.
    pub fn none(examples: usize) -> Self {
        Self { of: vec![Share::default(); examples] }
    }

    /// For each example the prefix that is expected to save most when steps are drawn at random: of length
    /// `len`, shared by `m` examples of a micro-batch on average, it saves len · (1 − 1/m) tokens an example.
    /// Within a step examples that share one stand together ([`crate::plan_steps`]): m is how many of them a step
    /// has, but no more than fill a micro-batch.
    pub fn find(examples: &[TokenExample], step: StepSize, micro_batch_tokens: usize) -> Self {
        let mut shares = Self::none(examples.len());
        let tokens: usize = examples.iter().map(TokenExample::len).sum();
        if examples.is_empty() || tokens == 0 {
            return shares;
        }
        // × members = members in a step
        let in_step = match step {
            StepSize::Tokens(step) => step as f64 / tokens as f64,
            StepSize::Examples(step) => step as f64 / examples.len() as f64,
        };
        let in_batch = micro_batch_tokens as f64 * examples.len() as f64 / tokens as f64;
        let keys: Vec<&[u32]> = examples.iter().map(|e| &e.input_ids[..shareable(e)]).collect();
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.sort_by(|&a, &b| keys[a].cmp(keys[b]).then(a.cmp(&b)));

        // Down the trie of the sorted keys. A node is a run of them; what it passes down is the best
        // share on the way to it.
        let mut nodes: Vec<(Range<usize>, Share, f64)> = vec![(0..order.len(), Share::default(), 0.0)];
        let mut groups = 0;
        while let Some((run, mut share, mut saving)) = nodes.pop() {
            let members = (in_step * run.len() as f64).min(in_batch);
            if run.len() < 2 || members <= 1.0 {
                order[run].iter().for_each(|&i| shares.of[i] = share);
                continue;
            }
            let depth = common(keys[order[run.start]], keys[order[run.end - 1]]);
            let own = depth as f64 * (1.0 - 1.0 / members);
            if own > saving {
                groups += 1;
                (share, saving) = (Share { group: groups, len: depth }, own);
            }
            // Keys that end here come first; the others part by their next token.
            let next = |i: usize| keys[order[i]].get(depth);
            let mut start = run.start;
            while start < run.end {
                let end =
                    start + order[start..run.end].partition_point(|&i| keys[i].get(depth) <= next(start));
                match next(start) {
                    None => order[start..end].iter().for_each(|&i| shares.of[i] = share),
                    Some(_) => nodes.push((start..end, share, saving)),
                }
                start = end;
            }
        }
        shares
    }

    #[cfg(test)]
    pub fn of_each(of: Vec<Share>) -> Self {
        Self { of }
    }

    pub fn of(&self, example: usize) -> Share {
        self.of[example]
    }

    /// How many examples share something, and how many tokens each on average.
    pub fn summary(&self) -> (usize, f64) {
        let sharing = self.of.iter().filter(|s| s.len > 0).count();
        let tokens: usize = self.of.iter().map(|s| s.len).sum();
        (sharing, tokens as f64 / sharing.max(1) as f64)
    }
}

/// Tokens that may be shared: the row before the first trained token belongs to its example alone,
/// since its target does, and an example keeps at least one row.
fn shareable(example: &TokenExample) -> usize {
    let first_trained = (1..example.len()).find(|&t| example.labels[t] != IGNORED);
    first_trained.unwrap_or(example.len()).saturating_sub(1)
}

/// Length of the common prefix.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An example of these tokens, the last `trained` of them trained.
    fn example(input_ids: &[u32], trained: usize) -> TokenExample {
        let prompt = input_ids.len() - trained;
        let labels = (0..input_ids.len()).map(|t| if t < prompt { IGNORED } else { input_ids[t] as i32 });
        TokenExample { id: None, labels: labels.collect(), input_ids: input_ids.to_vec() }
    }

    #[test]
    fn two_templates_make_two_groups() {
        // "1 2 3 4" opens all, then "5 6 7 8 9" or "10 11 12 13 14".
        let make =
            |n: u32, tail: [u32; 5]| example(&[&[1, 2, 3, 4][..], &tail, &[20 + n, 30, 31]].concat(), 2);
        let mut all: Vec<TokenExample> = (0..50).map(|n| make(n, [5, 6, 7, 8, 9])).collect();
        all.extend((0..50).map(|n| make(n, [10, 11, 12, 13, 14])));
        let shares = SharedPrefixes::find(&all, StepSize::Tokens(120), 120); // ten examples in a step
        assert!((0..100).all(|i| shares.of(i).len == 9), "{shares:?}");
        assert_eq!((0..50).map(|i| shares.of(i).group).collect::<std::collections::BTreeSet<_>>().len(), 1);
        assert_ne!(shares.of(0).group, shares.of(99).group);
        assert_eq!(shares.summary(), (100, 9.0));
    }

    #[test]
    fn a_rare_long_prefix_gives_way_to_a_common_short_one() {
        // Two of a hundred go on together, but will hardly ever meet in a micro-batch.
        let mut all: Vec<TokenExample> = (0..98).map(|n| example(&[1, 2, 3, 100 + n, 5], 1)).collect();
        all.extend((0..2).map(|n| example(&[1, 2, 3, 50, 51, 52, 53, 54, 55, 60 + n, 5], 1)));
        let shares = SharedPrefixes::find(&all, StepSize::Tokens(30), 30);
        assert!((0..100).all(|i| shares.of(i) == shares.of(0)) && shares.of(0).len == 3, "{shares:?}");
    }

    #[test]
    fn the_row_that_predicts_the_first_trained_token_is_never_shared() {
        let all = vec![example(&[1, 2, 3, 4], 1); 10];
        let shares = SharedPrefixes::find(&all, StepSize::Tokens(1000), 1000);
        assert!((0..10).all(|i| shares.of(i).len == 2), "{shares:?}");
        let trained_from_the_start = vec![example(&[1, 2, 3, 4], 4); 10];
        assert_eq!(
            SharedPrefixes::find(&trained_from_the_start, StepSize::Tokens(1000), 1000),
            SharedPrefixes::none(10)
        );
    }

    #[test]
    fn nothing_in_common_shares_nothing() {
        let all: Vec<TokenExample> = (0..10).map(|n| example(&[n, 50, 51, 52], 1)).collect();
        assert_eq!(SharedPrefixes::find(&all, StepSize::Tokens(1000), 1000), SharedPrefixes::none(10));
        assert_eq!(SharedPrefixes::find(&[], StepSize::Tokens(1000), 1000), SharedPrefixes::none(0));
    }
}
