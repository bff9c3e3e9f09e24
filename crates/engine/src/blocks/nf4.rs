//! `NF4` (Dettmers et al. 2023, QLoRA): 64 numbers as places in a table of 16 quantiles of a normal distribution,
//! times the largest magnitude among them. Values are those of `bitsandbytes` with double quantisation, where
//! that magnitude itself is one of 256 levels (the nearest: its CPU kernel takes the other of two all but equally
//! near ones); it is kept here as the f32 that the levels give, so 4.5 bits a
//! number instead of 4.13, and a block needs nothing but itself.
//! Layout: magnitude, then 32 pairs, the first of a pair in the high bits.

use super::inverse;
use crate::cpu::simd::simd_fn;

/// Numbers that share a magnitude.
pub(super) const NUMBERS: usize = 64;
pub(super) const BYTES: usize = 4 + NUMBERS / 2;
/// Magnitudes that share a scale of their own.
const NESTED: usize = 256;

/// `bitsandbytes.functional.get_4bit_type("nf4")`.
pub(super) const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The place of the nearest of sorted levels; of two equally near the lower.
fn nearest(levels: &[f32], x: f32) -> usize {
    let above = levels.partition_point(|&level| level < x).min(levels.len() - 1);
    let below = above.saturating_sub(1);
    if (levels[below] - x).abs() <= (levels[above] - x).abs() { below } else { above }
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0f32, |max, v| max.max(v.abs()))
}

/// A block with its magnitude as it is.
pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let magnitude = largest(x);
    encode_pairs(x, out);
    out[..4].copy_from_slice(&magnitude.to_le_bytes());
}

fn encode_pairs(x: &[f32], out: &mut [u8]) {
    let inverse = inverse(largest(x));
    let place = |v: f32| nearest(&LEVELS, (v * inverse).clamp(-1.0, 1.0)) as u8;
    for (byte, pair) in out[4..].iter_mut().zip(x.as_chunks::<2>().0) {
        *byte = place(pair[0]) << 4 | place(pair[1]);
    }
}

simd_fn! {
    pub(super) fn decode(bytes: &[u8], values: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<NUMBERS>().0) {
            let magnitude = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            let levels = LEVELS.map(|level| level * magnitude);
            for i in 0..NUMBERS / 2 {
                let pair = block[4 + i];
                out[2 * i] = levels[usize::from(pair >> 4)];
                out[2 * i + 1] = levels[usize::from(pair & 15)];
            }
        }
    }
}

/// Quantise the magnitudes of a whole matrix of such blocks, as `compress_statistics` does: their mean is taken
/// off, runs of 256 share a scale, and each becomes the nearest of 256 levels.
pub(super) fn compress_magnitudes(blocks: &mut [u8]) {
    let mut magnitudes: Vec<f32> =
        blocks.as_chunks::<BYTES>().0.iter().map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let sum: f64 = magnitudes.iter().map(|&m| f64::from(m)).sum();
    let mean = (sum / magnitudes.len().max(1) as f64) as f32;
    magnitudes.iter_mut().for_each(|m| *m -= mean);
    let levels = dynamic_levels();
    for run in magnitudes.chunks_mut(NESTED) {
        let scale = largest(run);
        let inverse = inverse(scale);
        for m in run {
            *m = levels[nearest(&levels, (*m * inverse).clamp(-1.0, 1.0))] * scale + mean;
        }
    }
    for (block, magnitude) in blocks.as_chunks_mut::<BYTES>().0.iter_mut().zip(magnitudes) {
        block[..4].copy_from_slice(&magnitude.to_le_bytes());
    }
}

/// `bitsandbytes.functional.create_dynamic_map()`: a sign, up to seven places for a power of ten, and the rest for
/// a fraction between 0.1 and 1.
pub(super) fn dynamic_levels() -> [f32; 256] {
    let mut levels = vec![0.0f32, 1.0];
    for exponent in 0..7 {
        let parts = 1usize << exponent;
        let step = 0.9f64 / parts as f64;
        let edge = |i: usize| (0.1 + step * i as f64) as f32;
        let power = 10f64.powi(exponent - 6) as f32;
        for i in 0..parts {
            let level = power * ((edge(i) + edge(i + 1)) / 2.0);
            levels.extend([level, -level]);
        }
    }
    levels.sort_by(f32::total_cmp);
    levels.try_into().expect("2 + 2 · (2⁷ − 1) levels")
}
