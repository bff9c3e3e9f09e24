//! `Q8_0`: x = d · q, 32 numbers q in −127 … 127 of 8 bits and a scale d of 16: 8.5 bits a number.
//! Layout: d, then q₀ … q₃₁.

use super::{half_at, inverse};
use half::f16;

pub(super) fn encode(x: &[f32], out: &mut [u8]) {
    let largest = x.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let d = largest / 127.0;
    let inverse = inverse(d); // of the scale before it is rounded to f16, as in ggml's reference
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, v) in out[2..].iter_mut().zip(x) {
        *q = (v * inverse).round() as i8 as u8;
    }
}

pub(super) fn decode(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (v, &q) in out.iter_mut().zip(&block[2..]) {
        *v = d * f32::from(q as i8);
    }
}
