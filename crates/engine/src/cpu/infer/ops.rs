//! Layer norm, activations, attention over cached rows, log-sum-exp.

use crate::cpu::simd::{self, LANES, dot, fma, simd_fn, sum_lanes};

/// What a feed-forward block does between its two linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// x · sigmoid(x), also called swish.
    Silu,
    Relu,
    /// x · Φ(x) with the error function, as torch's `gelu`.
    Gelu,
}

/// [`Gate`] over every value.
pub fn gate(kind: Gate, x: &mut [f32]) {
    match kind {
        Gate::Silu => silu(x),
        Gate::Relu => x.iter_mut().for_each(|x| *x = x.max(0.0)),
        Gate::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
    }
}

simd_fn! {
    fn silu(x: &mut [f32]) {
        for x in x {
            *x *= simd::sigmoid::<FMA>(*x);
        }
    }
}

/// With erf by Abramowitz & Stegun 7.1.26 in f64: within 1.5e-7.
fn gelu(x: f32) -> f32 {
    let z = f64::from(x) * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z.abs());
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let erf = 1.0 - poly.iter().fold(0.0, |sum, c| sum * t + c) * t * (-z * z).exp();
    (0.5 * f64::from(x) * (1.0 + erf.copysign(z))) as f32
}

/// `x = norm(x + y) · weight + bias`, row by row: what follows a sub-layer in post-norm models.
///
/// # Panics
/// Sizes do not fit.
pub fn add_layer_norm(x: &mut [f32], y: &[f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(x.len(), y.len(), "a sum of different sizes");
    for (x, y) in x.chunks_exact_mut(weight.len()).zip(y.chunks_exact(weight.len())) {
        add(x, y);
        norm_row(x, weight, bias, eps);
    }
}

/// `x = norm(x) · weight + bias`, row by row.
///
/// # Panics
/// Sizes do not fit.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    x.chunks_exact_mut(weight.len()).for_each(|x| norm_row(x, weight, bias, eps));
}

simd_fn! {
    /// `x += y`
    pub fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

simd_fn! {
    /// Mean and variance in two passes over the row.
    fn norm_row(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        assert!(x.len() == weight.len() && x.len() == bias.len());
        let mean = sum(x) / x.len() as f32;
        for x in x.iter_mut() {
            *x -= mean;
        }
        let variance = dot::<FMA>(x, x) / x.len() as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..x.len() {
            x[i] = fma::<FMA>(x[i] * scale, weight[i], bias[i]);
        }
    }
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (x, rest) = x.as_chunks::<LANES>();
    for x in x {
        for l in 0..LANES {
            lanes[l] += x[l];
        }
    }
    sum_lanes(lanes) + rest.iter().sum::<f32>()
}

/// Keys and values that queries look at: rows of a buffer, in any order.
#[derive(Clone, Copy)]
pub struct Attend<'a> {
    /// `[rows, 2C]`: of each row, C values of keys, then C of values.
    pub cache: &'a [f32],
    /// The rows seen.
    pub rows: &'a [u32],
    pub heads: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// `out[C] = softmax(scale · q · Kᵀ) · V`, head by head, for one query `q` `[C]`.
///
/// `scores` is scratch memory. Without any row, zeros.
///
/// # Panics
/// A row is not in the cache, or sizes do not fit.
pub fn attend(q: &[f32], seen: Attend<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    scores.resize(scores.len().max(seen.rows.len() * seen.heads), 0.0);
    attend_row(q, seen.cache, seen.rows, seen.heads, seen.scale, scores, out);
}

simd_fn! {
    fn attend_row(
        q: &[f32], cache: &[f32], rows: &[u32], heads: usize, scale: f32, scores: &mut [f32], out: &mut [f32],
    ) {
        let width = q.len();
        let (dim, count) = (width / heads, rows.len());
        for (j, row) in rows.iter().enumerate() {
            let keys = &cache[*row as usize * 2 * width..][..width];
            for h in 0..heads {
                scores[h * count + j] = scale * dot::<FMA>(&q[h * dim..][..dim], &keys[h * dim..][..dim]);
            }
        }
        for scores in scores[..heads * count].chunks_exact_mut(count.max(1)) {
            let largest = simd::max(scores);
            for s in scores.iter_mut() {
                *s = simd::exp::<FMA>(*s - largest);
            }
            let inverse = 1.0 / sum(scores);
            for s in scores.iter_mut() {
                *s *= inverse;
            }
        }
        out.fill(0.0);
        for (j, row) in rows.iter().enumerate() {
            let values = &cache[(*row as usize * 2 + 1) * width..][..width];
            for h in 0..heads {
                let score = scores[h * count + j];
                let (out, values) = (&mut out[h * dim..][..dim], &values[h * dim..][..dim]);
                for d in 0..dim {
                    out[d] = fma::<FMA>(score, values[d], out[d]);
                }
            }
        }
    }
}

simd_fn! {
    /// ln Σ eˣ, given the largest x: `largest + ln Σ e^(x − largest)` is that. Returns the sum alone.
    fn sum_exp(x: &[f32], largest: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (x, rest) = x.as_chunks::<LANES>();
        for x in x {
            for l in 0..LANES {
                lanes[l] += simd::exp::<FMA>(x[l] - largest);
            }
        }
        let mut sum = sum_lanes(lanes);
        for x in rest {
            sum += simd::exp::<FMA>(x - largest);
        }
        sum
    }
}

simd_fn! {
    /// The largest value; −∞ for nothing.
    pub fn max(x: &[f32]) -> f32 {
        simd::max(x)
    }
}

/// ln Σ eˣ of values that come in parts.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExp {
    largest: f32,
    /// Σ e^(x − largest)
    sum: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        LogSumExp { largest: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSumExp {
    /// Take in one more part, whose largest value is `largest`.
    pub fn add(&mut self, part: &[f32], largest: f32) {
        if largest == f32::NEG_INFINITY {
            return;
        }
        if largest > self.largest {
            self.sum *= f64::from(self.largest - largest).exp();
            self.largest = largest;
        }
        self.sum += f64::from(sum_exp(part, self.largest));
    }

    pub fn value(&self) -> f32 {
        (f64::from(self.largest) + self.sum.ln()) as f32
    }
}
