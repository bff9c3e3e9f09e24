//! `Q4_0`: x = d · (q − 8), 32 numbers q of 4 bits and a scale d of 16: 4.5 bits a number. The scale has
//! the sign that puts the number of the largest magnitude at −8, the longer side.
//! Layout: d, then 16 bytes with qᵢ in the low half and qᵢ₊₁₆ in the high one.

use super::{BLOCK, half_at, inverse};
use crate::cpu::simd::simd_fn;
use half::f16;

pub(super) const BYTES: usize = 2 + BLOCK / 2;

pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let mut extreme = 0.0f32;
    for &v in x {
        if v.abs() > extreme.abs() {
            extreme = v;
        }
    }
    let d = extreme / -8.0;
    let inverse = inverse(d); // of the scale before it is rounded to f16, as in ggml's reference
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let quantize = |v: f32| ((v * inverse + 8.5) as u8).min(15);
    for (i, byte) in out[2..].iter_mut().enumerate() {
        *byte = quantize(x[i]) | quantize(x[i + BLOCK / 2]) << 4;
    }
}

simd_fn! {
    pub(super) fn decode(bytes: &[u8], values: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0) {
            let d = half_at(block, 0);
            let (low, high) = out.split_at_mut(BLOCK / 2);
            for i in 0..BLOCK / 2 {
                low[i] = d * (f32::from(block[2 + i] & 15) - 8.0);
            }
            for i in 0..BLOCK / 2 {
                high[i] = d * (f32::from(block[2 + i] >> 4) - 8.0);
            }
        }
    }
}
