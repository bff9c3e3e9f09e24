//! Rotary position embedding (Su et al. 2021) in Hugging Face's half-split layout.

use super::parallel::{for_each_piece, rows_per_piece};
use super::simd::{fma, simd_fn};
use crate::backend::RopeDirection;

/// `[T, D]`: cosines, then sines. Angles are taken in f64: an f32 product of a large position and a
/// frequency would lose the phase.
pub fn table(positions: &[u32], inv_freq: &[f64]) -> Vec<f32> {
    let mut table = Vec::with_capacity(positions.len() * 2 * inv_freq.len());
    for &position in positions {
        let angles = || inv_freq.iter().map(|f| f64::from(position) * f);
        table.extend(angles().map(|a| a.cos() as f32));
        table.extend(angles().map(|a| a.sin() as f32));
    }
    table
}

/// In place on `x [rows, heads, D]`, `table [rows, D]`.
pub fn rotate(x: &mut [f32], table: &[f32], heads: usize, head_dim: usize, direction: RopeDirection) {
    let width = heads * head_dim;
    let step = rows_per_piece(width);
    let sign = match direction {
        RopeDirection::Forward => 1.0,
        RopeDirection::Backward => -1.0,
    };
    for_each_piece(x, step * width, |piece, x| {
        rotate_rows(x, &table[piece * step * head_dim..], heads, head_dim, sign);
    });
}

simd_fn! {
    fn rotate_rows(x: &mut [f32], table: &[f32], heads: usize, head_dim: usize, sign: f32) {
        let half = head_dim / 2;
        for (row, angles) in x.chunks_exact_mut(heads * head_dim).zip(table.chunks_exact(head_dim)) {
            let (cos, sin) = angles.split_at(half);
            for head in row.chunks_exact_mut(head_dim) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let s = sign * s;
                    (*a, *b) = (fma::<FMA>(*a, *c, -(*b * s)), fma::<FMA>(*b, *c, *a * s));
                }
            }
        }
    }
}
