//! Softmax(q · kᵀ · scale) · v.

use super::{BLOCK, Task, check, cut, few, with_scratch};
use crate::backend::{Attention, Out};
use crate::cpu::parallel::{SharedMut, for_each};
use crate::cpu::product::{COLUMNS, Panels, Seen, Strided, product};
use crate::cpu::simd::{self, simd_fn};
use std::ops::Range;

/// Query rows of a task, so that one long segment still keeps all threads busy.
const SPAN: usize = 4 * BLOCK;
/// Up to so many query rows, laying out the keys would cost more than the products: decoding.
const FEW: usize = 4;

/// `q, out [Tq, H, D]`, `k, v [Tk, K, D]`, `lse [Tq, H]`.
pub fn forward(spec: Attention, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], lse: &mut [f32]) {
    check(spec, q.len().min(out.len()), k.len().min(v.len()), |segment| segment.q.clone());
    let mut tasks = Vec::new();
    let mut work = 0;
    for i in 0..spec.segments.len() * spec.kv_heads {
        let task = Task::new(spec, i);
        work += task.queries() * task.keys() * spec.head_dim * task.group();
        let starts = (0..task.queries()).step_by(SPAN);
        tasks.extend(starts.map(|start| (task, start..task.queries().min(start + SPAN))));
    }
    let outputs = Outputs { out: SharedMut::new(out), lse: SharedMut::new(lse) };
    for_each(tasks.len(), work, |i| {
        let (task, queries) = &tasks[i];
        if queries.len() <= FEW && task.segment.prefix.is_empty() {
            few::attend(*task, queries.clone(), q, k, v, &outputs);
        } else {
            attend(*task, queries.clone(), q, k, v, &outputs);
        }
    });
}

/// Rows and heads of a task are its own.
pub(super) struct Outputs<'a> {
    pub out: SharedMut<'a>,
    pub lse: SharedMut<'a>,
}

/// The queries `queries` of a segment, all heads of one kv head.
fn attend(task: Task, queries: Range<usize>, q: &[f32], k: &[f32], v: &[f32], outputs: &Outputs) {
    let (dim, padded) = (task.spec.head_dim, task.padded_dim());
    let keys = task.visible(queries.end);
    let stride = Task::key_stride(keys);
    let transposed = task.transposed_values(keys);
    with_scratch(transposed + keys * padded + BLOCK * (stride + padded), |mut scratch| {
        let keys_t = cut(&mut scratch, transposed);
        let values = cut(&mut scratch, keys * padded);
        let scores = cut(&mut scratch, BLOCK * stride);
        let rows = scratch;
        task.transpose_keys(k, task.spec.scale as f32, keys, keys_t);
        task.pack_keys(v, keys, values);
        let (keys_t, values) = (Panels::packed(keys_t, dim), Panels::packed(values, keys));
        for head in task.heads() {
            for start in queries.clone().step_by(BLOCK) {
                let block = start..queries.end.min(start + BLOCK);
                let visible = task.visible(block.end);
                let q = Strided::rows(&q[task.query_at(start, head)..], task.spec.heads * dim);
                let columns = visible.next_multiple_of(COLUMNS);
                let first = task.visible(start + 1);
                let shape = (block.len(), columns, dim);
                product(shape, q, keys_t, Seen::Columns(first), Out::Set, scores, stride);
                let mut sums = [0.0f32; BLOCK];
                for (i, query) in block.clone().enumerate() {
                    let row = &mut scores[i * stride..][..visible];
                    let (row, hidden) = row.split_at_mut(task.visible(query + 1));
                    let (max, sum) = exponentials(row);
                    hidden.fill(0.0);
                    sums[i] = sum;
                    // SAFETY: this query and head are this task's.
                    unsafe { outputs.lse.slice(task.lse_at(query, head), 1)[0] = max + sum.ln() };
                }
                let p = Strided::rows(scores, stride);
                let shape = (block.len(), padded, visible);
                product(shape, p, values, Seen::Depths(first), Out::Set, rows, padded);
                for (i, query) in block.enumerate() {
                    // SAFETY: this query and head are this task's.
                    let out = unsafe { outputs.out.slice(task.query_at(query, head), dim) };
                    let inverse = 1.0 / sums[i];
                    for (out, x) in out.iter_mut().zip(&rows[i * padded..]) {
                        *out = x * inverse;
                    }
                }
            }
        }
    });
}

simd_fn! {
    /// Scores become exp(score − max); returns the maximum and the sum.
    pub(super) fn exponentials(scores: &mut [f32]) -> (f32, f32) {
        simd::exponentials::<FMA>(scores)
    }
}
