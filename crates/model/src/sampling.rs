//! From logits to the next token: repetition penalty, temperature, top-k, top-p, a seeded draw.
//!
//! The order is that of `transformers`' logits processors: penalty, temperature, top-k, top-p.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::borrow::Cow;

/// How tokens are chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingConfig {
    /// 0 means greedy.
    pub temperature: f32,
    /// Keep the smallest set of tokens with at least this much probability; 1 keeps all.
    pub top_p: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Above 1 makes tokens already seen less likely (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// Draws tokens for one sequence.
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub fn new(config: SamplingConfig) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        Self { config, rng }
    }

    /// The next token, given logits `[V]` and all tokens so far (prompt included).
    pub fn next(&mut self, logits: &[f32], seen: &[u32]) -> u32 {
        // 53 random bits: uniform in [0, 1).
        let draw = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let logits = self.penalised(logits, seen);
        if self.config.temperature <= 0.0 {
            return argmax(&logits);
        }
        let weights = self.weights(&logits);
        if self.config.top_k == 0 && self.config.top_p >= 1.0 {
            // Any order will do for a draw among all, and none has to be sorted for it.
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            return at(numbered(&weights), draw * total);
        }
        let kept = self.kept(&weights);
        let total: f64 = kept.iter().map(|c| c.1).sum();
        at(kept.into_iter(), draw * total)
    }

    /// (token, probability) of every token that may come next, most likely first.
    pub fn probabilities(&self, logits: &[f32], seen: &[u32]) -> Vec<(u32, f64)> {
        let logits = self.penalised(logits, seen);
        if self.config.temperature <= 0.0 {
            return vec![(argmax(&logits), 1.0)];
        }
        let mut kept = self.kept(&self.weights(&logits));
        let total: f64 = kept.iter().map(|c| c.1).sum();
        kept.iter_mut().for_each(|c| c.1 /= total);
        kept
    }

    fn penalised<'a>(&self, logits: &'a [f32], seen: &[u32]) -> Cow<'a, [f32]> {
        let mut logits = Cow::Borrowed(logits);
        if self.config.repetition_penalty != 1.0 {
            penalise(logits.to_mut(), seen, self.config.repetition_penalty);
        }
        logits
    }

    /// Unnormalised probabilities `[V]`, the largest 1.
    fn weights(&self, logits: &[f32]) -> Vec<f32> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        logits.iter().map(|&l| exp((l - max) / self.config.temperature)).collect()
    }

    /// What top-k and top-p leave, most likely first.
    fn kept(&self, weights: &[f32]) -> Vec<(u32, f64)> {
        if self.config.top_k == 0 && self.config.top_p < 1.0 {
            let enough = f64::from(self.config.top_p) * numbered(weights).map(|c| c.1).sum::<f64>();
            return nucleus(weights, enough);
        }
        let mut all = heavier(weights, 0.0);
        if self.config.top_k > 0 {
            all.truncate(self.config.top_k);
        }
        if self.config.top_p < 1.0 {
            let enough = f64::from(self.config.top_p) * all.iter().map(|c| c.1).sum::<f64>();
            cut_at(&mut all, enough);
        }
        all
    }
}

/// The token at `point` of the weights laid end to end; rounding can leave it at the very end.
fn at(candidates: impl Iterator<Item = (u32, f64)>, point: f64) -> u32 {
    let (mut sum, mut last) = (0.0, 0);
    for (token, weight) in candidates {
        sum += weight;
        if point < sum {
            return token;
        }
        last = token;
    }
    last
}

fn numbered(weights: &[f32]) -> impl Iterator<Item = (u32, f64)> {
    weights.iter().enumerate().map(|(i, &w)| (i as u32, f64::from(w)))
}

/// eˣ for x ≤ 0, within 3e-7 of it (Cephes' `expf`); below −87, where nothing is drawn any more, e⁻⁸⁷.
/// Without a branch or a call, so that a loop over a vocabulary becomes vector code: one draw from 32,000
/// tokens needs as many of them.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5 · 2²³: what is added to it is rounded to a whole number, which its last bits then hold.
    const SHIFT: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let power_of_two = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    (p * r * r + r + 1.0) * power_of_two
}

/// Tokens of at least this weight, heaviest first.
fn heavier(weights: &[f32], least: f64) -> Vec<(u32, f64)> {
    let mut heavy: Vec<(u32, f64)> = numbered(weights).filter(|c| c.1 >= least).collect();
    heavy.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    heavy
}

/// The heaviest tokens that weigh `enough` together. Those are few as a rule, so the light ones are looked
/// at only where the heavy ones do not suffice.
fn nucleus(weights: &[f32], enough: f64) -> Vec<(u32, f64)> {
    for least in [1e-2, 1e-4, 0.0] {
        let mut heavy = heavier(weights, least);
        if cut_at(&mut heavy, enough) || least == 0.0 {
            return heavy;
        }
    }
    unreachable!("the last bound lets all pass")
}

/// Drop what comes after the first that weigh `enough` together; false where all do not.
fn cut_at(candidates: &mut Vec<(u32, f64)>, enough: f64) -> bool {
    let mut sum = 0.0;
    let last = candidates.iter().position(|c| {
        sum += c.1;
        sum >= enough
    });
    if let Some(last) = last {
        candidates.truncate(last + 1);
    }
    last.is_some()
}

/// Log-probabilities (natural) under the model itself, before temperature and penalties: of `token`, and of
/// the `most` likeliest, likeliest first.
pub fn log_probabilities(logits: &[f32], token: u32, most: usize) -> (f64, Vec<(u32, f64)>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(exp(l - max))).sum();
    let log_sum = f64::from(max) + sum.ln();
    let of = |id: u32| f64::from(logits[id as usize]) - log_sum;
    if most == 0 {
        return (of(token), Vec::new());
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if most < order.len() {
        order.select_nth_unstable_by(most - 1, by_logit);
    }
    order.truncate(most);
    order.sort_unstable_by(by_logit);
    (of(token), order.into_iter().map(|id| (id, of(id))).collect())
}

/// Divide positive logits of seen tokens by the penalty, multiply negative ones: each token once.
fn penalise(logits: &mut [f32], seen: &[u32], penalty: f32) {
    let mut done = std::collections::HashSet::new();
    for &token in seen {
        if done.insert(token) {
            let l = &mut logits[token as usize];
            *l = if *l > 0.0 { *l / penalty } else { *l * penalty };
        }
    }
}

/// The first of the largest; NaN never wins.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &l) in logits.iter().enumerate() {
        if l > best.1 {
            best = (i, l);
        }
    }
    best.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut sampler = Sampler::new(SamplingConfig::default());
        assert_eq!(sampler.next(&[0.0, 3.0, 3.0, f32::NAN], &[]), 1);
    }

    #[test]
    fn the_penalty_works_on_both_signs_and_once_per_token() {
        let mut logits = [2.0, -2.0, 1.0];
        penalise(&mut logits, &[0, 0, 1], 2.0);
        assert_eq!(logits, [1.0, -4.0, 1.0]);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let config = SamplingConfig { temperature: 1.0, seed: 7, ..Default::default() };
        let mut sampler = Sampler::new(config);
        let logits = [0.0f32, 1.0, 2.0];
        let mut counts = [0usize; 3];
        for _ in 0..20_000 {
            counts[sampler.next(&logits, &[]) as usize] += 1;
        }
        let total: f32 = logits.iter().map(|l| l.exp()).sum();
        for (count, l) in counts.iter().zip(logits) {
            assert!((*count as f32 / 20_000.0 - l.exp() / total).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [5.0f32, 4.0, 3.0, 2.0, 1.0];
        let tokens = |config: SamplingConfig| {
            let mut sampler = Sampler::new(config);
            (0..500).map(|_| sampler.next(&logits, &[])).collect::<std::collections::BTreeSet<_>>()
        };
        let base = SamplingConfig { temperature: 2.0, seed: 1, ..Default::default() };
        assert_eq!(tokens(SamplingConfig { top_k: 2, ..base.clone() }), [0, 1].into());
        // At temperature 1 the probabilities are .64 .23 .09 .03 .01: .8 takes two tokens.
        let nucleus = SamplingConfig { temperature: 1.0, top_p: 0.8, ..base };
        assert_eq!(tokens(nucleus), [0, 1].into());
    }

    #[test]
    fn a_seed_gives_the_same_tokens() {
        let config = SamplingConfig { temperature: 1.0, seed: 3, ..Default::default() };
        let draw = || {
            let mut s = Sampler::new(config.clone());
            (0..50).map(|_| s.next(&[0.1, 0.2, 0.3, 0.4], &[])).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn the_exponential_is_that_of_f64() {
        for i in 0..=87_000 {
            let x = -(i as f32) / 1000.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - expected).abs() < 3e-7 * expected, "{x}: {found:e}, not {expected:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        for x in [-100.0, f32::NEG_INFINITY, f32::NAN] {
            assert!(exp(x) < 1e-37, "{x}");
        }
    }

    #[test]
    fn the_nucleus_is_that_of_a_full_sort() {
        // Weights over twelve orders of magnitude, so that every bound is reached.
        let logits: Vec<f32> = (0..500).map(|i| ((i * 37) % 500) as f32 * 0.06).collect();
        let mut sorted: Vec<(u32, f64)> =
            logits.iter().map(|&l| f64::from(l).exp()).enumerate().map(|(i, w)| (i as u32, w)).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f64 = sorted.iter().map(|c| c.1).sum();
        for top_p in [0.01, 0.5, 0.9, 0.999, 0.999_999_9] {
            let config = SamplingConfig { temperature: 1.0, top_p, ..Default::default() };
            let mut sum = 0.0;
            let expected = sorted.iter().position(|c| {
                sum += c.1;
                sum >= f64::from(top_p) * total
            });
            let found: Vec<u32> =
                Sampler::new(config).probabilities(&logits, &[]).iter().map(|c| c.0).collect();
            let expected = expected.map_or(500, |last| last + 1);
            assert!(found.len().abs_diff(expected) <= 1, "{top_p}: {} against {expected}", found.len());
            assert!(found.iter().zip(&sorted).all(|(a, b)| *a == b.0), "{top_p}");
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits = [1.0f32, 3.0, 2.0, -1.0];
        let (of, top) = log_probabilities(&logits, 3, 2);
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        assert!((of - (-1.0 - total.ln())).abs() < 1e-6);
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
        assert!((top[0].1.exp() - 3f64.exp() / total).abs() < 1e-6);
        assert_eq!(log_probabilities(&logits, 0, 9).1.len(), 4);
        assert!(log_probabilities(&logits, 0, 0).1.is_empty());
    }
}
