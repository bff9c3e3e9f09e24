//! `Q6_K`: x = d·s · (q − 32). Sixteen groups of 16 numbers q of 6 bits; each group has a signed scale s of
//! 8 bits; d is the block's, of 16: 6.56 bits a number.
//!
//! Layout, for each half of 128 numbers: 64 bytes of low halves, number i (of 0 … 127) in byte i mod 64, the
//! first 64 numbers in the low half of it; 32 bytes of high pairs of bits, number i in byte i mod 32 from
//! bit 2·(i / 32) on. First the low halves of both, then the high pairs of both, then the 16 scales, then d.

use super::{SUPER_BLOCK, half_at, inverse};
use crate::cpu::simd::simd_fn;
use half::f16;

const GROUP: usize = 16;
const GROUPS: usize = SUPER_BLOCK / GROUP;
const HALF: usize = SUPER_BLOCK / 2;
/// Where the high bits, the scales and d begin.
const HIGH: usize = SUPER_BLOCK / 2;
pub(super) const SCALES: usize = HIGH + SUPER_BLOCK / 4;
pub(super) const SCALE: usize = SCALES + GROUPS;
pub(super) const BYTES: usize = SCALE + 2;

/// What is subtracted from the numbers of 6 bits.
const ZERO: f32 = 32.0;
/// Trials of a group: how many steps its extreme is away from zero, around 32.
const TRIALS: [f32; 9] = [0.0, -0.9, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 0.9];

pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let mut scales = [0.0; GROUPS];
    for (scale, group) in scales.iter_mut().zip(x.chunks_exact(GROUP)) {
        *scale = fit(group);
    }
    let mut extreme = 0.0f32;
    for scale in scales {
        if scale.abs() > extreme.abs() {
            extreme = scale;
        }
    }
    let d = extreme / -128.0;
    let per_step = inverse(d);
    out.fill(0);
    out[SCALE..].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    // The numbers are rounded against the scales that a reader will find.
    let d = half_at(out, SCALE);
    for (g, group) in x.chunks_exact(GROUP).enumerate() {
        let step = (scales[g] * per_step).round().clamp(-128.0, 127.0);
        out[SCALES + g] = step as i8 as u8;
        let per_step = inverse(d * step);
        for (i, &v) in group.iter().enumerate() {
            let q = quantize(v, per_step) as u8;
            let (half, i) = ((g * GROUP + i) / HALF, (g * GROUP + i) % HALF);
            out[half * 64 + i % 64] |= (q & 15) << (4 * (i / 64));
            out[HIGH + half * 32 + i % 32] |= (q >> 4) << (2 * (i / 32));
        }
    }
}

fn quantize(v: f32, per_step: f32) -> f32 {
    ((v * per_step).round() + ZERO).clamp(0.0, 63.0)
}

/// The scale s of a group such that s · (q − 32) is close to x for the best q: by least squares, weighted
/// by x², from trial scales around the one that puts the extreme at −32.
fn fit(x: &[f32]) -> f32 {
    let extreme = x.iter().copied().fold(0.0f32, |e, v| if v.abs() > e.abs() { v } else { e });
    if extreme == 0.0 {
        return 0.0;
    }
    let mut best = (f32::NEG_INFINITY, 0.0);
    for trial in TRIALS {
        let per_step = -(ZERO + trial) / extreme;
        let (mut qx, mut qq) = (0.0, 0.0);
        for &v in x {
            let q = quantize(v, per_step) - ZERO;
            let weight = v * v;
            qx += weight * q * v;
            qq += weight * q * q;
        }
        // Σ w (s·q − x)² is least at s = qx / qq, and is then Σ w x² − qx² / qq.
        let gain = qx * qx * inverse(qq);
        if gain > best.0 {
            best = (gain, qx * inverse(qq));
        }
    }
    best.1
}

simd_fn! {
    pub(super) fn decode(bytes: &[u8], values: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<SUPER_BLOCK>().0) {
            let d = half_at(block, SCALE);
            for (group, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                let (half, at) = (group * GROUP / HALF, group * GROUP % HALF);
                let scale = d * f32::from(block[SCALES + group] as i8);
                let low: &[u8; GROUP] = block[half * 64 + at % 64..].first_chunk().expect("16 low halves");
                let high: &[u8; GROUP] = block[HIGH + half * 32 + at % 32..].first_chunk().expect("16 pairs");
                let (low_shift, high_shift) = (4 * (at / 64), 2 * (at / 32));
                for i in 0..GROUP {
                    let q = low[i] >> low_shift & 15 | (high[i] >> high_shift & 3) << 4;
                    out[i] = scale * (f32::from(q) - ZERO);
                }
            }
        }
    }
}
