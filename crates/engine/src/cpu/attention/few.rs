//! Attention of a few queries to many keys, straight from the KV cache.

use super::forward::{Outputs, exponentials};
use super::{Task, with_scratch};
use crate::cpu::simd::{dot, fma, simd_fn};
use std::ops::Range;

/// The queries `queries` of a segment, all heads of one kv head.
pub(super) fn attend(task: Task, queries: Range<usize>, q: &[f32], k: &[f32], v: &[f32], outputs: &Outputs) {
    let (dim, group) = (task.spec.head_dim, task.group());
    for query in queries {
        let keys = task.visible(query + 1);
        // The heads of a group lie side by side.
        let q = &q[task.query_at(query, task.heads().start)..][..group * dim];
        // SAFETY: this query and these heads are this task's.
        let out = unsafe { outputs.out.slice(task.query_at(query, task.heads().start), group * dim) };
        with_scratch(group * keys, |scores| {
            let (first, stride) = (task.key_at(0), task.spec.kv_heads * dim);
            score(q, &k[first..], stride, dim, task.spec.scale as f32, keys, scores);
            out.fill(0.0);
            for (g, head) in task.heads().enumerate() {
                let scores = &mut scores[g * keys..][..keys];
                let (max, sum) = exponentials(scores);
                let inverse = 1.0 / sum;
                scores.iter_mut().for_each(|p| *p *= inverse);
                // SAFETY: likewise.
                unsafe { outputs.lse.slice(task.lse_at(query, head), 1)[0] = max + sum.ln() };
            }
            add_values(scores, &v[first..], stride, dim, keys, out);
        });
    }
}

simd_fn! {
    /// `scores[g][j] = scale · q[g] · k[j]`; each key is read once.
    fn score(q: &[f32], k: &[f32], stride: usize, dim: usize, scale: f32, keys: usize, scores: &mut [f32]) {
        for j in 0..keys {
            let k = &k[j * stride..][..dim];
            for (g, q) in q.chunks_exact(dim).enumerate() {
                scores[g * keys + j] = scale * dot::<FMA>(q, k);
            }
        }
    }
}

simd_fn! {
    /// `out[g] += Σ_j p[g][j] · v[j]`; each value is read once.
    fn add_values(p: &[f32], v: &[f32], stride: usize, dim: usize, keys: usize, out: &mut [f32]) {
        for j in 0..keys {
            let v = &v[j * stride..][..dim];
            for (g, out) in out.chunks_exact_mut(dim).enumerate() {
                let p = p[g * keys + j];
                for (out, v) in out.iter_mut().zip(v) {
                    *out = fma::<FMA>(p, *v, *out);
                }
            }
        }
    }
}
