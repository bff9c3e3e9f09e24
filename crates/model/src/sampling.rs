//! From logits to the next token: repetition penalty, temperature, top-k, top-p, a seeded draw.
//!
//! The order is that of `transformers`' logits processors: penalty, temperature, top-k, top-p.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::borrow::Cow;
use std::cell::RefCell;
use tolmach_engine::cpu::logits::{PART, largest, log_sum_exp, weigh};

thread_local! {
    /// Weights of one row and the sums of their parts, for one draw after the other.
    static ROW: RefCell<(Vec<f32>, Vec<f64>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

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
        self.weighed(&logits, |weights, sums| {
            if self.config.top_k == 0 && self.config.top_p >= 1.0 {
                // Any order will do for a draw among all, and none has to be sorted for it.
                return among_all(weights, sums, draw);
            }
            let kept = self.kept(weights, sums);
            let total: f64 = kept.iter().map(|c| c.1).sum();
            at(kept.into_iter(), draw * total)
        })
    }

    /// (token, probability) of every token that may come next, most likely first.
    pub fn probabilities(&self, logits: &[f32], seen: &[u32]) -> Vec<(u32, f64)> {
        let logits = self.penalised(logits, seen);
        if self.config.temperature <= 0.0 {
            return vec![(argmax(&logits), 1.0)];
        }
        let mut kept = self.weighed(&logits, |weights, sums| self.kept(weights, sums));
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

    /// With the unnormalised probabilities `[V]`, the largest 1, and the sums of their parts.
    fn weighed<R>(&self, logits: &[f32], f: impl FnOnce(&[f32], &[f64]) -> R) -> R {
        ROW.with_borrow_mut(|(weights, sums)| {
            weigh(logits, self.config.temperature, weights, sums);
            f(weights, sums)
        })
    }

    /// What top-k and top-p leave, most likely first.
    fn kept(&self, weights: &[f32], sums: &[f64]) -> Vec<(u32, f64)> {
        if self.config.top_k == 0 && self.config.top_p < 1.0 {
            return nucleus(weights, f64::from(self.config.top_p) * sums.iter().sum::<f64>());
        }
        let mut all: Vec<(u32, f64)> = numbered(weights).collect();
        if (1..all.len()).contains(&self.config.top_k) {
            all.select_nth_unstable_by(self.config.top_k - 1, heaviest_first);
            all.truncate(self.config.top_k);
        }
        all.sort_unstable_by(heaviest_first);
        if self.config.top_p < 1.0 {
            let enough = f64::from(self.config.top_p) * all.iter().map(|c| c.1).sum::<f64>();
            cut_at(&mut all, enough);
        }
        all
    }
}

/// A draw among all tokens: first the part of the vocabulary where the point lies, then the token in it.
fn among_all(weights: &[f32], sums: &[f64], draw: f64) -> u32 {
    let mut point = draw * sums.iter().sum::<f64>();
    let mut part = 0;
    while part + 1 < sums.len() && point >= sums[part] {
        point -= sums[part];
        part += 1;
    }
    let start = part * PART;
    let weights = &weights[start..weights.len().min(start + PART)];
    start as u32 + at(numbered(weights).filter(|c| c.1 > 0.0), point)
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

fn heaviest_first(a: &(u32, f64), b: &(u32, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Tokens of at least this weight, heaviest first.
fn heavier(weights: &[f32], least: f64) -> Vec<(u32, f64)> {
    let mut heavy: Vec<(u32, f64)> = numbered(weights).filter(|c| c.1 >= least).collect();
    heavy.sort_unstable_by(heaviest_first);
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
    let log_sum = log_sum_exp(logits);
    let of = |id: u32| f64::from(logits[id as usize]) - log_sum;
    (of(token), likeliest(logits, most).into_iter().map(|id| (id, of(id))).collect())
}

/// The `most` likeliest tokens, likeliest first and of equals the first; those asked for are few.
fn likeliest(logits: &[f32], most: usize) -> Vec<u32> {
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(most + 1);
    let mut least = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if most == 0 || logit.is_nan() || (top.len() == most && logit <= least) {
            continue;
        }
        let at = top.partition_point(|&(_, other)| other >= logit);
        top.insert(at, (id as u32, logit));
        top.truncate(most);
        least = top.last().map_or(least, |last| last.1);
    }
    top.into_iter().map(|(id, _)| id).collect()
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
    let most = largest(logits);
    logits.iter().position(|&l| l == most).unwrap_or(0) as u32
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
    fn a_draw_among_all_finds_the_token_that_a_scan_finds() {
        // Every hundredth token may come; the rest weighs nothing at all.
        let logits: Vec<f32> = (0..5000).map(|i| if i % 100 == 7 { (i % 13) as f32 } else { -1e4 }).collect();
        let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l - 12.0).exp()).collect();
        let total: f64 = weights.iter().sum();
        let (mut row, mut sums) = (Vec::new(), Vec::new());
        weigh(&logits, 1.0, &mut row, &mut sums);
        for i in 0..1000 {
            // In the middle between the borders, where rounding decides nothing.
            let draw = (f64::from(i) + 0.5) / 1000.0;
            let mut sum = 0.0;
            let expected = weights.iter().position(|w| {
                sum += w;
                draw * total < sum
            });
            let found = among_all(&row, &sums, draw) as usize;
            let near = |border: f64| (draw * total - border).abs() < 1e-6 * total;
            assert!(Some(found) == expected || near(sum), "{draw}: {found}, not {expected:?}");
            assert_eq!(found % 100, 7);
        }
        assert_eq!(among_all(&row, &sums, 1.0), 4907, "rounding leaves it at the last that may come");
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
