//! One row of logits `[V]` on its way to a token: the passes over the whole vocabulary, in vector code.
//!
//! Sums are taken in lanes over parts of [`PART`] values: without a chain of V additions, and a draw is looked for
//! in one part alone.

use super::simd::{LANES, exp, max, simd_fn, sum_lanes};

/// Values whose sum is one entry of [`weigh`]'s sums.
pub const PART: usize = 512;

simd_fn! {
    /// The largest value; a NaN is passed over, and −∞ stands for nothing.
    pub fn largest(logits: &[f32]) -> f32 {
        max(logits)
    }
}

/// Unnormalised probabilities e^((l − largest) / temperature) into `weights`, and the sum of every [`PART`] of them
/// into `sums`. What both held before is lost.
pub fn weigh(logits: &[f32], temperature: f32, weights: &mut Vec<f32>, sums: &mut Vec<f64>) {
    weights.clear();
    weights.extend_from_slice(logits);
    sums.clear();
    sums.resize(logits.len().div_ceil(PART), 0.0);
    exponentials(weights, largest(logits), 1.0 / temperature, sums);
}

simd_fn! {
    fn exponentials(values: &mut [f32], max: f32, factor: f32, sums: &mut [f64]) {
        for (part, sum) in values.chunks_mut(PART).zip(sums) {
            for value in part.iter_mut() {
                *value = exp::<FMA>((*value - max) * factor);
            }
            let mut lanes = [0.0f64; LANES];
            let (whole, rest) = part.as_chunks::<LANES>();
            for values in whole {
                for l in 0..LANES {
                    lanes[l] += f64::from(values[l]);
                }
            }
            *sum = lanes.iter().sum::<f64>() + rest.iter().copied().map(f64::from).sum::<f64>();
        }
    }
}

/// ln Σ eˡ.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = largest(logits);
    f64::from(max) + sum_exp(logits, max).ln()
}

simd_fn! {
    /// Σ e^(l − max).
    fn sum_exp(logits: &[f32], max: f32) -> f64 {
        let mut sum = 0.0;
        for part in logits.chunks(PART) {
            let mut lanes = [0.0f32; LANES];
            let (whole, rest) = part.as_chunks::<LANES>();
            for values in whole {
                for l in 0..LANES {
                    lanes[l] += exp::<FMA>(values[l] - max);
                }
            }
            for (value, lane) in rest.iter().zip(&mut lanes) {
                *lane += exp::<FMA>(*value - max);
            }
            sum += f64::from(sum_lanes(lanes));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919) % 1013) as f32 * 0.02 - 9.0).collect()
    }

    #[test]
    fn weights_and_their_sums_are_those_of_f64() {
        for len in [1, 31, 512, 513, 2048, 5000] {
            for temperature in [0.3f32, 1.0, 1.7] {
                let logits = logits(len);
                let most = f64::from(largest(&logits));
                let want: Vec<f64> =
                    logits.iter().map(|&l| ((f64::from(l) - most) / f64::from(temperature)).exp()).collect();
                let (mut weights, mut sums) = (vec![9.0; 3], vec![9.0; 99]);
                weigh(&logits, temperature, &mut weights, &mut sums);
                assert_eq!((weights.len(), sums.len()), (len, len.div_ceil(PART)));
                for (found, want) in weights.iter().zip(&want) {
                    assert!((f64::from(*found) - want).abs() <= 1e-5 * want + 1e-30, "{found}, not {want}");
                }
                for (sum, part) in sums.iter().zip(want.chunks(PART)) {
                    let want: f64 = part.iter().sum();
                    assert!((sum - want).abs() <= 1e-5 * want, "{sum}, not {want}");
                }
            }
            let want: f64 = logits(len).iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
            assert!((log_sum_exp(&logits(len)) - want).abs() < 1e-6, "{len}");
        }
    }

    #[test]
    fn a_nan_is_never_the_largest() {
        assert_eq!(largest(&[1.0, f32::NAN, 3.0]), 3.0);
        assert_eq!(largest(&[f32::NAN]), f32::NEG_INFINITY);
    }
}
