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

/// `dup = dout · silu(gate)` in the place of dout, `dgate = dout · up · silu′(gate)` with
/// silu′(x) = σ · (1 + x · (1 − σ)).
pub fn backward(gate: &[f32], up: &[f32], dout: &mut [f32], dgate: &mut [f32]) {
    let len = dgate.len();
    let (dout, dgate) = (SharedMut::new(dout), SharedMut::new(dgate));
    for_each(len.div_ceil(PIECE), len, |piece| {
        let start = piece * PIECE;
        let at = start..len.min(start + PIECE);
        // SAFETY: pieces are disjoint.
        let (dout, dgate) = unsafe { (dout.slice(start, at.len()), dgate.slice(start, at.len())) };
        backward_piece(&gate[at.clone()], &up[at], dout, dgate);
    });
}

simd_fn! {
    fn backward_piece(gate: &[f32], up: &[f32], dout: &mut [f32], dgate: &mut [f32]) {
        for ((g, u), (d, dg)) in gate.iter().zip(up).zip(dout.iter_mut().zip(dgate)) {
            let s = sigmoid::<FMA>(*g);
            *dg = *d * u * s * fma::<FMA>(*g, 1.0 - s, 1.0);
            *d = *d * g * s;
        }
    }
}
