//! `Q8_0`: x = d · q, 32 numbers q in −127 … 127 of 8 bits and a scale d of 16: 8.5 bits a number.
//! Layout: d, then q₀ … q₃₁.

use super::{BLOCK, half_at, inverse};
use crate::cpu::simd::simd_fn;
use half::f16;

pub(super) const BYTES: usize = 2 + BLOCK;

pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let largest = x.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let d = largest / 127.0;
    let inverse = inverse(d); // of the scale before it is rounded to f16, as in ggml's reference
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, v) in out[2..].iter_mut().zip(x) {
        *q = (v * inverse).round() as i8 as u8;
    }
}

simd_fn! {
    pub(super) fn decode(bytes: &[u8], values: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0) {
            let d = half_at(block, 0);
            for i in 0..BLOCK {
                out[i] = d * f32::from(block[2 + i] as i8);
            }
        }
    }
}
