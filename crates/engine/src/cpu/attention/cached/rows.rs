//! The loops: one query row against all keys of a sequence, for the heads that share a kv head.
//!
//! Plain arrays of sixteen that the compiler turns into registers; every sum has one order.

use super::element::Element;
use crate::backend::CACHE_BLOCK;
use crate::cpu::simd::{exponentials, fma};

/// Keys whose values stay in the first-level cache while the heads of a group pass by.
const RUN: usize = 128;

/// `q, out [G, D]`, `k` blocks of keys, transposed, `v [keys, D]`, `scores` at least `[G, keys]`, keys rounded up to
/// whole blocks.
#[inline(always)]
pub fn attend<E: Element, const FMA: bool, const WIDE: bool>(
    q: &[f32],
    k: &[E::Stored],
    v: &[E::Stored],
    keys: usize,
    dim: usize,
    scale: f32,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let padded = keys.next_multiple_of(CACHE_BLOCK);
    for (block, k) in k.chunks_exact(CACHE_BLOCK * dim).take(padded / CACHE_BLOCK).enumerate() {
        for (g, q) in q.chunks_exact(dim).enumerate() {
            let sums = score::<E, FMA, WIDE>(q, k);
            for (to, sum) in scores[g * padded + block * CACHE_BLOCK..][..CACHE_BLOCK].iter_mut().zip(sums) {
                *to = scale * sum;
            }
        }
    }
    for scores in scores[..q.len() / dim * padded].chunks_exact_mut(padded) {
        softmax::<FMA>(&mut scores[..keys]);
    }
    out.fill(0.0);
    for start in (0..keys).step_by(RUN) {
        let run = start..keys.min(start + RUN);
        let v = &v[run.start * dim..run.end * dim];
        for (g, out) in out.chunks_exact_mut(dim).enumerate() {
            let p = &scores[g * padded..][run.clone()];
            let mut column = 0;
            while WIDE && column + 32 <= dim {
                add_values::<E, FMA, WIDE, 2>(p, v, dim, column, out);
                column += 32;
            }
            while column + 16 <= dim {
                add_values::<E, FMA, WIDE, 1>(p, v, dim, column, out);
                column += 16;
            }
            for (p, v) in p.iter().zip(v.chunks_exact(dim)) {
                for d in column..dim {
                    out[d] = fma::<FMA>(*p, E::widen(v[d]), out[d]);
                }
            }
        }
    }
}

/// `q · k[j]` for a block of keys, in four sums of every fourth product.
#[inline(always)]
fn score<E: Element, const FMA: bool, const WIDE: bool>(q: &[f32], k: &[E::Stored]) -> [f32; CACHE_BLOCK] {
    let mut sums = [[0.0f32; CACHE_BLOCK]; 4];
    let (rows, _) = k.as_chunks::<CACHE_BLOCK>();
    let (q_fours, q_rest) = q.as_chunks::<4>();
    let (fours, rest) = rows.as_chunks::<4>();
    for (k, q) in fours.iter().zip(q_fours) {
        for i in 0..4 {
            let k = E::widen16::<FMA, WIDE>(&k[i]);
            for j in 0..CACHE_BLOCK {
                sums[i][j] = fma::<FMA>(q[i], k[j], sums[i][j]);
            }
        }
    }
    for (k, q) in rest.iter().zip(q_rest) {
        let k = E::widen16::<FMA, WIDE>(k);
        for j in 0..CACHE_BLOCK {
            sums[0][j] = fma::<FMA>(*q, k[j], sums[0][j]);
        }
    }
    std::array::from_fn(|j| (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]))
}

/// Scores become probabilities. A NaN stays one.
#[inline(always)]
fn softmax<const FMA: bool>(scores: &mut [f32]) {
    let (_, sum) = exponentials::<FMA>(scores);
    let inverse = 1.0 / sum;
    scores.iter_mut().for_each(|p| *p *= inverse);
}

/// `out[column ..][..16 · W] += Σ_j p[j] · v[j][column ..]`, in four sums of every fourth key.
#[inline(always)]
fn add_values<E: Element, const FMA: bool, const WIDE: bool, const W: usize>(
    p: &[f32],
    v: &[E::Stored],
    dim: usize,
    column: usize,
    out: &mut [f32],
) {
    let mut sums = [[[0.0f32; 16]; W]; 4];
    let (fours, rest) = p.as_chunks::<4>();
    for (j, p) in fours.iter().enumerate() {
        for i in 0..4 {
            add_value::<E, FMA, WIDE, W>(&mut sums[i], p[i], &v[(4 * j + i) * dim + column..]);
        }
    }
    for (i, p) in rest.iter().enumerate() {
        add_value::<E, FMA, WIDE, W>(&mut sums[0], *p, &v[(fours.len() * 4 + i) * dim + column..]);
    }
    let (out, _) = out[column..][..16 * W].as_chunks_mut::<16>();
    for w in 0..W {
        for l in 0..16 {
            out[w][l] += (sums[0][w][l] + sums[1][w][l]) + (sums[2][w][l] + sums[3][w][l]);
        }
    }
}

/// `sums += p · v`. Not a closure: those are not always compiled into the instruction set of their caller.
#[inline(always)]
fn add_value<E: Element, const FMA: bool, const WIDE: bool, const W: usize>(
    sums: &mut [[f32; 16]; W],
    p: f32,
    v: &[E::Stored],
) {
    let (v, _) = v[..16 * W].as_chunks::<16>();
    for w in 0..W {
        let v = E::widen16::<FMA, WIDE>(&v[w]);
        for l in 0..16 {
            sums[w][l] = fma::<FMA>(p, v[l], sums[w][l]);
        }
    }
}
