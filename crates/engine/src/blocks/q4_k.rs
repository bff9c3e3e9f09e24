//! `Q4_K`: x = d·s · q − e·m. Eight groups of 32 numbers q of 4 bits; each group has a scale s and a
//! minimum m of 6 bits; d and e are the block's, of 16: 4.5 bits a number.
//!
//! Layout: d, e, 12 bytes of scales and minima, then 4 × 32 bytes: byte i of the j-th has number i of group
//! 2j in its low half and number i of group 2j + 1 in its high one. Of the 12 bytes, 0–3 hold s₀ … s₃ and
//! 4–7 hold m₀ … m₃ in their low six bits; 8–11 hold the low four bits of s₄ … s₇ and, above them, of
//! m₄ … m₇, whose high two bits lie on top of bytes 0–3 and 4–7.

use super::{BLOCK, SUPER_BLOCK, half_at, inverse};
use crate::cpu::simd::simd_fn;
use half::f16;

pub(super) const BYTES: usize = 16 + SUPER_BLOCK / 2;

const GROUPS: usize = SUPER_BLOCK / BLOCK;
/// The largest number of 4 and of 6 bits.
const MAX_Q: f32 = 15.0;
const MAX_SCALE: f32 = 63.0;
/// Trials of a group: how many steps of 4 bits its range is cut into, around 15.
const TRIALS: [f32; 17] =
    [0.0, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let mut scales = [0.0; GROUPS];
    let mut minima = [0.0; GROUPS];
    for (g, group) in x.chunks_exact(BLOCK).enumerate() {
        (scales[g], minima[g]) = fit(group);
    }
    let (d, six_scales) = to_six_bits(scales);
    let (e, six_minima) = to_six_bits(minima);
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..4].copy_from_slice(&f16::from_f32(e).to_le_bytes());
    pack(&six_scales, &six_minima, &mut out[4..16]);
    // The numbers are rounded against the scales that a reader will find.
    let (d, e) = (half_at(out, 0), half_at(out, 2));
    for (pair, bytes) in out[16..].chunks_exact_mut(BLOCK).enumerate() {
        let quantize = |g: usize, i: usize| {
            let minimum = e * f32::from(six_minima[g]);
            let q = (x[g * BLOCK + i] + minimum) * inverse(d * f32::from(six_scales[g]));
            q.round().clamp(0.0, MAX_Q) as u8
        };
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = quantize(2 * pair, i) | quantize(2 * pair + 1, i) << 4;
        }
    }
}

simd_fn! {
    pub(super) fn decode(bytes: &[u8], values: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<SUPER_BLOCK>().0) {
            let (d, e) = (half_at(block, 0), half_at(block, 2));
            let (scales, minima) = unpack(&block[4..16]);
            for (g, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let (scale, minimum) = (d * f32::from(scales[g]), e * f32::from(minima[g]));
                let q: &[u8; BLOCK] = block[16 + g / 2 * BLOCK..].first_chunk().expect("32 pairs of numbers");
                let shift = 4 * (g % 2);
                for i in 0..BLOCK {
                    out[i] = scale * f32::from(q[i] >> shift & 15) - minimum;
                }
            }
        }
    }
}

/// Scale s and minimum m ≥ 0 of a group, such that s·q − m is close to x for the best whole q in 0 … 15.
///
/// Numbers far from zero count for more: an error there meets the larger share of an activation. From each
/// trial range the q follow by rounding, and from them s and m by weighted least squares.
fn fit(x: &[f32]) -> (f32, f32) {
    let low = x.iter().copied().fold(0.0, f32::min); // zero can always be stored: m ≥ 0
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if high <= low {
        return (0.0, -low);
    }
    let spread = (x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32).sqrt();
    let mut best = (f32::INFINITY, 0.0, 0.0);
    for trial in TRIALS {
        let per_step = (MAX_Q + trial) / (high - low);
        let (scale, minimum) = least_squares(x, spread, per_step, low);
        let error = error(x, spread, scale, minimum);
        if error < best.0 {
            best = (error, scale, minimum);
        }
    }
    (best.1, best.2)
}

fn weight(v: f32, spread: f32) -> f32 {
    spread + v.abs()
}

/// Minimise Σ w (s·q − m − x)² over s and m ≥ 0, with q = round((x − low) · per_step).
fn least_squares(x: &[f32], spread: f32, per_step: f32, low: f32) -> (f32, f32) {
    let [mut w_, mut q_, mut qq, mut x_, mut qx] = [0.0f32; 5];
    for &v in x {
        let q = ((v - low) * per_step).round().clamp(0.0, MAX_Q);
        let w = weight(v, spread);
        w_ += w;
        q_ += w * q;
        qq += w * q * q;
        x_ += w * v;
        qx += w * q * v;
    }
    let determinant = w_ * qq - q_ * q_;
    if determinant <= 0.0 {
        return (1.0 / per_step, -low);
    }
    let minimum = (q_ * qx - qq * x_) / determinant;
    if minimum < 0.0 {
        return (qx / qq, 0.0);
    }
    ((w_ * qx - q_ * x_) / determinant, minimum)
}

/// Σ w (s·q − m − x)² for the best q.
fn error(x: &[f32], spread: f32, scale: f32, minimum: f32) -> f32 {
    let inverse = inverse(scale);
    x.iter()
        .map(|&v| {
            let q = ((v + minimum) * inverse).round().clamp(0.0, MAX_Q);
            let off = scale * q - minimum - v;
            weight(v, spread) * off * off
        })
        .sum()
}

/// A common scale, and each value as a multiple of it in six bits.
fn to_six_bits(values: [f32; GROUPS]) -> (f32, [u8; GROUPS]) {
    let largest = values.into_iter().fold(0.0, f32::max);
    let inverse = inverse(largest / MAX_SCALE);
    (largest / MAX_SCALE, values.map(|v| (v * inverse).round().clamp(0.0, MAX_SCALE) as u8))
}

fn pack(scales: &[u8; GROUPS], minima: &[u8; GROUPS], out: &mut [u8]) {
    for i in 0..4 {
        out[i] = scales[i] | scales[i + 4] >> 4 << 6;
        out[i + 4] = minima[i] | minima[i + 4] >> 4 << 6;
        out[i + 8] = scales[i + 4] & 15 | minima[i + 4] << 4;
    }
}

#[inline(always)]
fn unpack(bytes: &[u8]) -> ([u8; GROUPS], [u8; GROUPS]) {
    let mut scales = [0; GROUPS];
    let mut minima = [0; GROUPS];
    for i in 0..4 {
        scales[i] = bytes[i] & 63;
        minima[i] = bytes[i + 4] & 63;
        scales[i + 4] = bytes[i + 8] & 15 | bytes[i] >> 6 << 4;
        minima[i + 4] = bytes[i + 8] >> 4 | bytes[i + 4] >> 6 << 4;
    }
    (scales, minima)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_bytes_hold_sixteen_numbers_of_six_bits() {
        let scales = [0, 1, 31, 63, 5, 17, 48, 62];
        let minima = [63, 62, 7, 0, 33, 16, 15, 1];
        let mut bytes = [0; 12];
        pack(&scales, &minima, &mut bytes);
        assert_eq!(unpack(&bytes), (scales, minima));
    }

    #[test]
    fn a_group_on_a_grid_is_found() {
        let x: Vec<f32> = (0..BLOCK).map(|i| 0.25 * (i % 16) as f32 - 1.5).collect();
        let (scale, minimum) = fit(&x);
        assert!((scale - 0.25).abs() < 1e-6 && (minimum - 1.5).abs() < 1e-5, "{scale} {minimum}");
    }
}
