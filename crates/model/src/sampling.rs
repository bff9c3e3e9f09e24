//! From logits to the next token: repetition penalty, temperature, top-k, top-p, a seeded draw.
//!
//! The order is that of `transformers`' logits processors: penalty, temperature, top-k, top-p.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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
        let candidates = self.probabilities(logits, seen);
        // 53 random bits: uniform in [0, 1).
        let draw = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut sum = 0.0;
        for &(token, p) in &candidates {
            sum += p;
            if draw < sum {
                return token;
            }
        }
        // Rounding can leave the draw at the very end.
        candidates.last().map_or(0, |c| c.0)
    }

    /// (token, probability) of every token that may come next, most likely first.
    pub fn probabilities(&self, logits: &[f32], seen: &[u32]) -> Vec<(u32, f64)> {
        let mut logits = logits.to_vec();
        if self.config.repetition_penalty != 1.0 {
            penalise(&mut logits, seen, self.config.repetition_penalty);
        }
        if self.config.temperature <= 0.0 {
            return vec![(argmax(&logits), 1.0)];
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |l: f32| f64::from((l - max) / self.config.temperature).exp();
        let mut all: Vec<(u32, f64)> =
            logits.iter().enumerate().map(|(i, &l)| (i as u32, weight(l))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.config.top_k > 0 {
            all.truncate(self.config.top_k);
        }
        if self.config.top_p < 1.0 {
            let enough = f64::from(self.config.top_p) * all.iter().map(|c| c.1).sum::<f64>();
            let mut sum = 0.0;
            let last = all.iter().position(|c| {
                sum += c.1;
                sum >= enough
            });
            all.truncate(last.map_or(all.len(), |i| i + 1));
        }
        let total: f64 = all.iter().map(|c| c.1).sum();
        all.iter_mut().for_each(|c| c.1 /= total);
        all
    }
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
}
