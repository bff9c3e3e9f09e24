//! Logits of two models on the same prompts, and how far apart they are.

use crate::gguf::TensorType;
use serde::Serialize;
use std::ops::Range;
use tolmach_engine::Dtype;
use tolmach_model::Batch;

/// Positions at the end of each prompt whose logits are compared.
const ROWS: usize = 4;

/// Logits `[rows, vocab]`.
pub struct Logits {
    pub values: Vec<f32>,
    pub vocab: usize,
}

/// Prompts laid end to end, to be run in one pass; the last positions of each are looked at.
pub struct PackedPrompts {
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Range<usize>>,
    rows: Vec<usize>,
}

impl PackedPrompts {
    pub fn new(prompts: &[Vec<u32>]) -> Self {
        let (ids, positions, segments, rows) = Default::default();
        let mut packed = Self { ids, positions, segments, rows };
        for prompt in prompts {
            let start = packed.ids.len();
            packed.ids.extend(prompt);
            packed.positions.extend(0..prompt.len() as u32);
            packed.segments.push(start..packed.ids.len());
            packed.rows.extend(start + prompt.len().saturating_sub(ROWS)..packed.ids.len());
        }
        packed
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub fn batch(&self) -> Batch<'_> {
        Batch {
            input_ids: &self.ids,
            positions: &self.positions,
            segments: &self.segments,
            prefixes: &[],
            rows: &self.rows,
            targets: &[],
        }
    }
}

/// How much a format may change the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Largest difference of two logits, in nats…
    pub max_abs: f64,
    /// …or over the largest logit, whichever allows more: a model may be sure of itself or not.
    pub max_abs_relative: f64,
    /// Mean Kullback–Leibler divergence of the next-token distributions, in nats.
    pub kl_mean: f64,
    /// Share of the decided rows with the same most likely token.
    pub decided_agreement: f64,
    /// A row is decided where the most likely token leads the next one by more than this, in nats.
    pub lead: f64,
}

impl Bounds {
    /// The same numbers, summed in another order.
    pub const EXACT: Bounds =
        Bounds { max_abs: 1e-4, max_abs_relative: 2e-4, kl_mean: 1e-6, decided_agreement: 1.0, lead: 0.01 };
    const HALF: Bounds =
        Bounds { max_abs: 0.05, max_abs_relative: 0.05, kl_mean: 1e-3, decided_agreement: 0.98, lead: 0.1 };
    const EIGHT_BITS: Bounds =
        Bounds { max_abs: 0.5, max_abs_relative: 0.1, kl_mean: 0.01, decided_agreement: 0.95, lead: 0.5 };
    const SIX_BITS: Bounds =
        Bounds { max_abs: 1.0, max_abs_relative: 0.2, kl_mean: 0.05, decided_agreement: 0.9, lead: 1.0 };
    const FOUR_BITS: Bounds =
        Bounds { max_abs: 4.0, max_abs_relative: 0.5, kl_mean: 0.5, decided_agreement: 0.7, lead: 2.0 };

    /// A bug of the merge shows in the exact comparison beside this one; these say how much of the model a
    /// format may cost.
    pub fn of_dtype(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::EXACT,
            Dtype::F16 => Self::HALF,
            Dtype::BF16 => Self::EIGHT_BITS,
        }
    }

    /// As [`Bounds::of_dtype`].
    pub fn of_type(tensor_type: TensorType) -> Self {
        match tensor_type {
            TensorType::F32 => Self::EXACT,
            TensorType::F16 => Self::HALF,
            TensorType::Bf16 | TensorType::Q8_0 => Self::EIGHT_BITS,
            TensorType::Q6K => Self::SIX_BITS,
            TensorType::Q4_0 | TensorType::Q4K => Self::FOUR_BITS,
        }
    }
}

/// Two models' logits compared.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Next-token distributions compared.
    pub rows: usize,
    pub max_abs: f64,
    pub max_abs_relative: f64,
    pub kl_mean: f64,
    pub kl_max: f64,
    /// Share of all rows with the same most likely token.
    pub top1_agreement: f64,
    pub decided_rows: usize,
    pub decided_agreement: f64,
    pub bounds: Bounds,
}

/// `None` where the shapes differ.
pub fn compare(live: &Logits, other: &Logits, bounds: Bounds) -> Option<Figures> {
    if live.vocab != other.vocab || live.values.len() != other.values.len() || live.values.is_empty() {
        return None;
    }
    let mut figures = Figures {
        rows: live.values.len() / live.vocab,
        max_abs: 0.0,
        max_abs_relative: 0.0,
        kl_mean: 0.0,
        kl_max: 0.0,
        top1_agreement: 0.0,
        decided_rows: 0,
        decided_agreement: 1.0,
        bounds,
    };
    let (mut largest, mut agreed, mut agreed_decided) = (0.0f64, 0, 0);
    for (a, b) in live.values.chunks_exact(live.vocab).zip(other.values.chunks_exact(live.vocab)) {
        for (&a, &b) in a.iter().zip(b) {
            largest = largest.max(f64::from(a.abs()));
            let off = f64::from((a - b).abs());
            // A NaN must not hide behind `max`.
            figures.max_abs = if off.is_nan() { f64::INFINITY } else { figures.max_abs.max(off) };
        }
        let kl = divergence(a, b);
        figures.kl_mean += kl / figures.rows as f64;
        figures.kl_max = figures.kl_max.max(kl);
        let (top, lead) = top(a);
        let same = self::top(b).0 == top;
        agreed += usize::from(same);
        if lead > bounds.lead {
            figures.decided_rows += 1;
            agreed_decided += usize::from(same);
        }
    }
    figures.max_abs_relative = figures.max_abs / largest;
    figures.top1_agreement = agreed as f64 / figures.rows as f64;
    if figures.decided_rows > 0 {
        figures.decided_agreement = f64::from(agreed_decided as u32) / figures.decided_rows as f64;
    }
    Some(figures)
}

impl Figures {
    /// What is out of bounds.
    pub fn failures(&self) -> Vec<String> {
        let Bounds { max_abs, max_abs_relative, kl_mean, decided_agreement, lead } = self.bounds;
        let mut failures = Vec::new();
        if self.max_abs > max_abs && self.max_abs_relative > max_abs_relative {
            failures.push(format!(
                "logits differ by {:.2e}, {:.2e} of the largest (at most {max_abs:.0e}, or {max_abs_relative:.0e})",
                self.max_abs, self.max_abs_relative
            ));
        }
        if self.kl_mean > kl_mean {
            let found = self.kl_mean;
            failures.push(format!("the mean KL divergence is {found:.2e} nats (at most {kl_mean:.0e})"));
        }
        if self.decided_agreement < decided_agreement {
            let found = self.decided_agreement;
            failures.push(format!(
                "where the first token leads by {lead} nats, {found:.3} agree on it (at least {decided_agreement})"
            ));
        }
        failures
    }
}

/// KL(softmax(a) ‖ softmax(b)) in nats.
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let (za, zb) = (log_sum_exp(a), log_sum_exp(b));
    let term = |(&a, &b): (&f32, &f32)| {
        let (log_p, log_q) = (f64::from(a) - za, f64::from(b) - zb);
        log_p.exp() * (log_p - log_q)
    };
    let kl: f64 = a.iter().zip(b).map(term).sum();
    if kl.is_nan() { f64::INFINITY } else { kl.max(0.0) }
}

fn log_sum_exp(x: &[f32]) -> f64 {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = x.iter().map(|&v| f64::from(v - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// The most likely token, and its lead before the next one in nats.
fn top(x: &[f32]) -> (usize, f64) {
    let (mut best, mut second) = ((0, f32::NEG_INFINITY), f32::NEG_INFINITY);
    for (i, &v) in x.iter().enumerate() {
        if v > best.1 {
            second = best.1;
            best = (i, v);
        } else if v > second {
            second = v;
        }
    }
    (best.0, f64::from(best.1 - second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Logits {
        Logits { values: values.to_vec(), vocab: 3 }
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let live = row(&[2.0, 1.0, 0.0, 0.0, 0.5, 4.0]);
        let other = row(&[2.0, 1.5, 0.0, 3.0, 0.5, 1.0]);
        let figures = compare(&live, &other, Bounds::EXACT).unwrap();
        assert_eq!((figures.rows, figures.max_abs, figures.max_abs_relative), (2, 3.0, 0.75));
        assert_eq!((figures.top1_agreement, figures.decided_rows), (0.5, 2));
        // Σ p ln(p/q) of the first row by hand.
        let kl = 0.6652409557748219f64 * (0.6652409557748219f64 / 0.5741963).ln()
            + 0.24472847105479764 * (0.24472847105479764f64 / 0.34826972).ln()
            + 0.09003057317038046 * (0.09003057317038046f64 / 0.0777339).ln();
        assert!((divergence(&live.values[..3], &other.values[..3]) - kl).abs() < 1e-3);
        assert_eq!(figures.failures().len(), 3);
        let same = compare(&live, &live, Bounds::EXACT).unwrap();
        assert_eq!((same.max_abs, same.kl_mean, same.top1_agreement), (0.0, 0.0, 1.0));
        assert!(same.failures().is_empty());
    }

    #[test]
    fn a_nan_fails() {
        let live = row(&[2.0, 1.0, 0.0]);
        for place in 0..3 {
            let mut other = row(&[2.0, 1.0, 0.0]);
            other.values[place] = f32::NAN;
            let failures = compare(&live, &other, Bounds::of_type(TensorType::Q4_0)).unwrap().failures();
            assert!(failures.len() >= 2, "{failures:?}");
        }
        assert!(compare(&live, &Logits { values: vec![0.0; 4], vocab: 4 }, Bounds::EXACT).is_none());
    }
}
