//! `Q4_0`: x = d · (q − 8), 32 numbers q of 4 bits and a scale d of 16: 4.5 bits a number. The scale has
//! the sign that puts the number of the largest magnitude at −8, the longer side.
//! Layout: d, then 16 bytes with qᵢ in the low half and qᵢ₊₁₆ in the high one.

use super::{BLOCK, half_at, inverse};
use half::f16;

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

pub(super) fn decode(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..].iter().enumerate() {
        out[i] = d * (f32::from(byte & 15) - 8.0);
        out[i + BLOCK / 2] = d * (f32::from(byte >> 4) - 8.0);
    }
}
