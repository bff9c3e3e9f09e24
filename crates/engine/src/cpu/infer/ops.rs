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

/// Scratch memory of [`attend`].
#[derive(Default)]
pub struct Scores {
    /// `[rows, H, PART]`: products of queries and keys, summed but for the last sixteen.
    parts: Vec<f32>,
    /// `[H, rows]`
    weights: Vec<f32>,
}

/// Lanes in which a head's product is summed: one register of the widest. The lanes go through memory,
/// or the compiler would begin with their sum and cut the product into pairs.
const PART: usize = 16;

/// `out[C] = softmax(scale · q · Kᵀ) · V`, head by head, for one query `q` `[C]`.
///
/// Without any row, zeros.
///
/// # Panics
/// A row is not in the cache, or sizes do not fit.
pub fn attend(q: &[f32], seen: Attend<'_>, scores: &mut Scores, out: &mut [f32]) {
    let count = seen.rows.len() * seen.heads;
    scores.parts.resize(scores.parts.len().max(count * PART), 0.0);
    scores.weights.resize(scores.weights.len().max(count), 0.0);
    let (parts, _) = scores.parts[..count * PART].as_chunks_mut::<PART>();
    let weights = &mut scores.weights[..count];
    multiply_keys(q, seen.cache, seen.rows, seen.heads, parts);
    weigh(parts, seen.heads, seen.scale, weights);
    add_values(seen.cache, seen.rows, seen.heads, weights, out);
}

/// Rows between the one that is read and the one that is asked for.
const AHEAD: usize = 2;

/// Ask for the memory of `values` before it is needed.
#[inline(always)]
fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: an instruction of every x86-64 processor, which cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

simd_fn! {
    /// Products of one query and all keys, in lanes.
    fn multiply_keys(q: &[f32], cache: &[f32], rows: &[u32], heads: usize, parts: &mut [[f32; PART]]) {
        let width = q.len();
        let dim = width / heads;
        for (j, (row, parts)) in rows.iter().zip(parts.chunks_exact_mut(heads)).enumerate() {
            let keys = &cache[*row as usize * 2 * width..][..width];
            // The caches of a batch are larger than the processor's, and a row fills a page, beyond which
            // it does not look ahead by itself.
            if let Some(next) = rows.get(j + AHEAD) {
                prefetch(&cache[*next as usize * 2 * width..][..2 * width]);
            }
            for ((q, keys), part) in q.chunks_exact(dim).zip(keys.chunks_exact(dim)).zip(parts) {
                let ((q, q_rest), (k, k_rest)) = (q.as_chunks::<PART>(), keys.as_chunks::<PART>());
                let mut sum = [0.0f32; PART];
                for (q, k) in q.iter().zip(k) {
                    for l in 0..PART {
                        sum[l] = fma::<FMA>(q[l], k[l], sum[l]);
                    }
                }
                for (l, (q, k)) in q_rest.iter().zip(k_rest).enumerate() {
                    sum[l] = fma::<FMA>(*q, *k, sum[l]);
                }
                *part = sum;
            }
        }
    }
}

simd_fn! {
    /// The softmax of each head's scores.
    fn weigh(parts: &[[f32; PART]], heads: usize, scale: f32, weights: &mut [f32]) {
        let count = parts.len() / heads;
        for (j, parts) in parts.chunks_exact(heads).enumerate() {
            for (h, part) in parts.iter().enumerate() {
                let eight: [f32; 8] = std::array::from_fn(|l| part[l] + part[l + 8]);
                let four: [f32; 4] = std::array::from_fn(|l| eight[l] + eight[l + 4]);
                weights[h * count + j] = scale * ((four[0] + four[2]) + (four[1] + four[3]));
            }
        }
        for weights in weights.chunks_exact_mut(count.max(1)) {
            let largest = simd::max(weights);
            for w in weights.iter_mut() {
                *w = simd::exp::<FMA>(*w - largest);
            }
            let inverse = 1.0 / sum(weights);
            for w in weights.iter_mut() {
                *w *= inverse;
            }
        }
    }
}

simd_fn! {
    /// The weighted sum of values, four rows at a time.
    fn add_values(cache: &[f32], rows: &[u32], heads: usize, weights: &[f32], out: &mut [f32]) {
        let (width, count) = (out.len(), rows.len());
        let dim = width / heads;
        let values = |row: u32| &cache[(row as usize * 2 + 1) * width..][..width];
        out.fill(0.0);
        let (fours, rest) = rows.as_chunks::<4>();
        for (i, four) in fours.iter().enumerate() {
            let [a, b, c, d] = four.map(values);
            for (h, out) in out.chunks_exact_mut(dim).enumerate() {
                let w = &weights[h * count + 4 * i..][..4];
                let (a, b) = (&a[h * dim..][..dim], &b[h * dim..][..dim]);
                let (c, d) = (&c[h * dim..][..dim], &d[h * dim..][..dim]);
                for l in 0..dim {
                    let two = fma::<FMA>(w[1], b[l], fma::<FMA>(w[0], a[l], out[l]));
                    out[l] = fma::<FMA>(w[3], d[l], fma::<FMA>(w[2], c[l], two));
                }
            }
        }
        for (row, j) in rest.iter().zip(count - rest.len()..) {
            let values = values(*row);
            for (h, (out, values)) in out.chunks_exact_mut(dim).zip(values.chunks_exact(dim)).enumerate() {
                let w = weights[h * count + j];
                for l in 0..dim {
                    out[l] = fma::<FMA>(w, values[l], out[l]);
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
