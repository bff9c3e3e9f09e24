//! Copying rows: embedding, gathering, dropout.

use super::parallel::{PIECE, for_each_piece, rows_per_piece};
use super::simd::simd_fn;
use crate::backend::{Dropout, Out};
use crate::{FrozenMatrix, random};

/// `out[i] = x[row(i)]` for rows of `width`.
pub fn gather(
    x: &[f32],
    row: impl Fn(usize) -> usize + Send + Sync,
    rows: usize,
    width: usize,
    out: &mut [f32],
) {
    let step = rows_per_piece(width);
    for_each_piece(&mut out[..rows * width], step * width, |piece, out| {
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&x[row(piece * step + i) * width..][..width]);
        }
    });
}

/// Backward of [`gather`]: `dx[row(i)] += dout[i]`. One thread: rows may repeat, and this is a small
/// part of a step.
pub fn scatter_add(dout: &[f32], row: impl Fn(usize) -> usize, rows: usize, width: usize, dx: &mut [f32]) {
    for (i, dout) in dout[..rows * width].chunks_exact(width).enumerate() {
        for (dx, dout) in dx[row(i) * width..][..width].iter_mut().zip(dout) {
            *dx += dout;
        }
    }
}

/// [`gather`] from a frozen table.
pub fn gather_frozen(ids: &[u32], table: &FrozenMatrix, out: &mut [f32]) {
    let width = table.cols();
    let step = rows_per_piece(width);
    for_each_piece(&mut out[..ids.len() * width], step * width, |piece, out| {
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            table.unpack(ids[piece * step + i] as usize, 0, out);
        }
    });
}

/// `out (+)= x · mask / (1 − p)`; the mask of element i is `random::keep(key, i, p)`.
pub fn dropout(x: &[f32], dropout: Dropout, to: Out, out: &mut [f32]) {
    let len = out.len();
    assert!(x.len() >= len, "dropout over {len} values, x has {}", x.len());
    for_each_piece(out, PIECE, |piece, out| {
        let start = piece * PIECE;
        let x = &x[start..start + out.len()];
        match to {
            Out::Set => dropout_set(x, start, dropout, out),
            Out::Add => dropout_add(x, start, dropout, out),
        }
    });
}

#[inline(always)]
fn masked(x: f32, index: usize, dropout: Dropout, scale: f32) -> f32 {
    if random::keep(dropout.key, index as u64, dropout.p) { x * scale } else { 0.0 }
}

simd_fn! {
    fn dropout_set(x: &[f32], start: usize, dropout: Dropout, out: &mut [f32]) {
        let scale = 1.0 / (1.0 - dropout.p);
        for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
            *out = masked(*x, start + i, dropout, scale);
        }
    }
}

simd_fn! {
    fn dropout_add(x: &[f32], start: usize, dropout: Dropout, out: &mut [f32]) {
        let scale = 1.0 / (1.0 - dropout.p);
        for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
            *out += masked(*x, start + i, dropout, scale);
        }
    }
}
