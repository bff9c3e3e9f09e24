//! SwiGLU (Shazeer 2020): `out = silu(gate) · up` with silu(x) = x · σ(x).

use super::parallel::{PIECE, SharedMut, for_each, for_each_piece};
use super::simd::{fma, sigmoid, simd_fn};

pub fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for_each_piece(out, PIECE, |piece, out| {
        let at = piece * PIECE..piece * PIECE + out.len();
        forward_piece(&gate[at.clone()], &up[at], out);
    });
}

simd_fn! {
    fn forward_piece(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
            *out = g * sigmoid::<FMA>(*g) * u;
        }
    }
}

/// `dup = dout · silu(gate)`, `dgate = dout · up · silu′(gate)` with silu′(x) = σ · (1 + x · (1 − σ)).
pub fn backward(gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let len = dgate.len();
    let (dgate, dup) = (SharedMut::new(dgate), SharedMut::new(dup));
    for_each(len.div_ceil(PIECE), len, |piece| {
        let start = piece * PIECE;
        let at = start..len.min(start + PIECE);
        // SAFETY: pieces are disjoint.
        let (dgate, dup) = unsafe { (dgate.slice(start, at.len()), dup.slice(start, at.len())) };
        backward_piece(&gate[at.clone()], &up[at.clone()], &dout[at], dgate, dup);
    });
}

simd_fn! {
    fn backward_piece(gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(dout);
        for (((g, u), d), (dg, du)) in inputs.zip(dgate.iter_mut().zip(dup)) {
            let s = sigmoid::<FMA>(*g);
            *du = d * g * s;
            *dg = d * u * s * fma::<FMA>(*g, 1.0 - s, 1.0);
        }
    }
}
