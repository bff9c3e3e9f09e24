//! Gradients of q, k and v. With P the probabilities, all products over one segment and head:
//! dP = dout · vᵀ;  dS = P · (dP − Σ dout · out) · scale;  dq = dS · k;  dk = dSᵀ · q;  dv = Pᵀ · dout.

use super::{BLOCK, Task, check, cut, with_scratch};
use crate::backend::{Attention, Out, Segment};
use crate::cpu::parallel::{SharedMut, for_each, for_each_task};
use crate::cpu::product::{COLUMNS, Panels, Seen, Strided, product};
use crate::cpu::simd::{dot, exp, simd_fn};

/// What the backward reads: `q, out, dout [Tq, H, D]`, `k, v [Tk, K, D]`, `lse [Tq, H]`.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub lse: &'a [f32],
    pub dout: &'a [f32],
}

/// Sets `dq`, `dk`, `dv` on all rows of the segments.
pub fn backward(spec: Attention, inputs: Inputs, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
    let q_len = [inputs.q.len(), inputs.out.len(), inputs.dout.len(), dq.len()].into_iter().min();
    let kv_len = [inputs.k.len(), inputs.v.len(), dk.len(), dv.len()].into_iter().min();
    for outputs in [|s: &Segment| s.q.clone(), |s: &Segment| s.kv.clone()] {
        check(spec, q_len.unwrap_or(0), kv_len.unwrap_or(0), outputs);
    }
    check_prefixes(spec.segments);
    let [dq, dk, dv] = [dq, dk, dv].map(SharedMut::new);
    let tasks = spec.segments.len() * spec.kv_heads;
    let work = |s: &Segment| s.q.len() * s.keys() * spec.heads * spec.head_dim;
    with_scratch(prefix_values(spec), |prefixes| {
        let shared = SharedMut::new(prefixes);
        for_each(tasks, spec.segments.iter().map(work).sum(), |i| {
            let task = Task::new(spec, i);
            // SAFETY: each task has a part of its own.
            let part = unsafe { shared.slice(task.prefix_start(), task.prefix_values()) };
            attend_backward(task, inputs, &dq, &dk, &dv, part);
        });
        add_prefixes(spec, prefixes, &dk, &dv);
    });
}

/// Values of the gradients of shared prefixes, which are kept apart for each segment and kv head until all tasks are
/// done: per task dk, then dv, `[prefix, D]` each.
fn prefix_values(spec: Attention) -> usize {
    spec.segments.iter().map(|s| 2 * s.prefix.len() * spec.head_dim * spec.kv_heads).sum()
}

/// Add them to the prefix's own rows, in the order of the segments.
fn add_prefixes(spec: Attention, prefixes: &[f32], dk: &SharedMut, dv: &SharedMut) {
    for_each(spec.kv_heads, prefixes.len(), |kv_head| {
        for i in (kv_head..spec.segments.len() * spec.kv_heads).step_by(spec.kv_heads) {
            let task = Task::new(spec, i);
            let prefix = task.segment.prefix.len();
            let part = &prefixes[task.prefix_start()..][..task.prefix_values()];
            for (n, row) in part.chunks_exact(spec.head_dim).enumerate() {
                let output = if n < prefix { dk } else { dv };
                // SAFETY: rows of one kv head, and that head is this call's alone.
                let output = unsafe { output.slice(task.key_at(n % prefix), spec.head_dim) };
                output.iter_mut().zip(row).for_each(|(output, x)| *output += x);
            }
        }
    });
}

/// A prefix's gradient adds to what the prefix's own segment has set.
fn check_prefixes(segments: &[Segment]) {
    for segment in segments.iter().filter(|s| !s.prefix.is_empty()) {
        let inside = |s: &Segment| s.kv.start <= segment.prefix.start && segment.prefix.end <= s.kv.end;
        assert!(segments.iter().any(inside), "the prefix of {segment:?} is in no segment");
    }
}

/// Keys and values of one kv head, laid out for the products.
struct Layout<'a> {
    /// `[D, keys]`, times the scale.
    keys_t: Panels<'a>,
    /// `[D, keys]`.
    values_t: Panels<'a>,
    /// `[keys, padded_dim]`.
    keys: Panels<'a>,
}

impl Task<'_> {
    /// Values of the gradients of this task's prefix.
    fn prefix_values(&self) -> usize {
        2 * self.segment.prefix.len() * self.spec.head_dim
    }

    /// Where they start among those of all tasks.
    fn prefix_start(&self) -> usize {
        let before = Attention { segments: &self.spec.segments[..self.number], ..self.spec };
        prefix_values(before) + self.kv_head * self.prefix_values()
    }
}

/// One segment, all heads of one kv head. `prefix_gradients` holds what the prefix gets from it.
fn attend_backward(
    task: Task,
    inputs: Inputs,
    dq: &SharedMut,
    dk: &SharedMut,
    dv: &SharedMut,
    prefix_gradients: &mut [f32],
) {
    let (dim, padded, keys) = (task.spec.head_dim, task.padded_dim(), task.keys());
    let transposed = task.transposed_values(keys);
    let of_head = 2 * keys * padded;
    with_scratch(2 * transposed + keys * padded + task.group() * of_head, |mut scratch| {
        let [keys_t, values_t] = [(); 2].map(|()| cut(&mut scratch, transposed));
        task.transpose_keys(inputs.k, task.spec.scale as f32, keys, keys_t);
        task.transpose_keys(inputs.v, 1.0, keys, values_t);
        let packed = cut(&mut scratch, keys * padded);
        task.pack_keys(inputs.k, keys, packed);
        let [keys_t, values_t] = [keys_t, values_t].map(|values| Panels::packed(values, dim));
        let layout = Layout { keys_t, values_t, keys: Panels::packed(packed, keys) };
        // Every head sums by itself, then the heads are added in order.
        let gradients = scratch;
        let shared = SharedMut::new(gradients);
        for_each_task(task.group(), |i| {
            // SAFETY: this head's own.
            let gradients = unsafe { shared.slice(i * of_head, of_head) };
            head_backward(task, task.heads().start + i, inputs, &layout, dq, gradients);
        });
        add_heads(task, gradients, dk, dv, prefix_gradients);
    });
}

/// Sets the gradients of keys and values to the sums of those of the heads: `dk [keys, padded_dim]`, then `dv`, of each.
fn add_heads(task: Task, gradients: &[f32], dk: &SharedMut, dv: &SharedMut, prefix_gradients: &mut [f32]) {
    let (dim, padded, keys) = (task.spec.head_dim, task.padded_dim(), task.keys());
    let prefix = task.segment.prefix.len();
    for (part, output) in [dk, dv].into_iter().enumerate() {
        for j in 0..keys {
            let output = if j < prefix {
                &mut prefix_gradients[(part * prefix + j) * dim..][..dim]
            } else {
                // SAFETY: the keys of this segment and kv head are this task's.
                unsafe { output.slice(task.key_at(j), dim) }
            };
            output.fill(0.0);
            for gradients in gradients.chunks_exact(2 * keys * padded) {
                let row = &gradients[(part * keys + j) * padded..];
                output.iter_mut().zip(row).for_each(|(output, x)| *output += x);
            }
        }
    }
}

/// One query head: sets its `dq`, and `gradients`: its `dk [keys, padded_dim]` followed by its `dv`.
fn head_backward(
    task: Task,
    head: usize,
    inputs: Inputs,
    layout: &Layout,
    dq: &SharedMut,
    gradients: &mut [f32],
) {
    let (dim, padded) = (task.spec.head_dim, task.padded_dim());
    let stride = Task::key_stride(task.keys());
    gradients.fill(0.0);
    let (dk, dv) = gradients.split_at_mut(task.keys() * padded);
    with_scratch(BLOCK * (2 * stride + 3 * padded), |mut scratch| {
        let p = cut(&mut scratch, BLOCK * stride);
        let ds = cut(&mut scratch, BLOCK * stride);
        let [q_rows, dout_rows, dq_rows] = [(); 3].map(|()| cut(&mut scratch, BLOCK * padded));
        for start in (0..task.queries()).step_by(BLOCK) {
            let block = start..task.queries().min(start + BLOCK);
            let (rows, visible) = (block.len(), task.visible(block.end));
            pad_rows(block.clone().map(|i| task.query_row(inputs.q, i, head)), padded, q_rows);
            pad_rows(block.clone().map(|i| task.query_row(inputs.dout, i, head)), padded, dout_rows);
            let by_column = |values| Strided::transposed(values, stride);
            let columns = visible.next_multiple_of(COLUMNS);
            let first = task.visible(start + 1);
            let (shape, seen) = ((rows, columns, dim), Seen::Columns(first));
            product(shape, Strided::rows(q_rows, padded), layout.keys_t, seen, Out::Set, p, stride);
            product(shape, Strided::rows(dout_rows, padded), layout.values_t, seen, Out::Set, ds, stride);
            for (i, query) in block.clone().enumerate() {
                let (p, ds) = (&mut p[i * stride..][..visible], &mut ds[i * stride..][..visible]);
                let (p, hidden_p) = p.split_at_mut(task.visible(query + 1));
                let (ds, hidden_ds) = ds.split_at_mut(p.len());
                let lse = inputs.lse[task.lse_at(query, head)];
                let [out, dout] = [inputs.out, inputs.dout].map(|x| task.query_row(x, query, head));
                score_gradients(p, ds, lse, out, dout, task.spec.scale as f32);
                hidden_p.fill(0.0);
                hidden_ds.fill(0.0);
            }
            let padded_rows = |values| Panels::rows(values, padded);
            let (shape, seen) = ((visible, padded, rows), Seen::Rows(first));
            product(shape, by_column(&*p), padded_rows(&*dout_rows), seen, Out::Add, dv, padded);
            product(shape, by_column(&*ds), padded_rows(&*q_rows), seen, Out::Add, dk, padded);
            let (shape, seen) = ((rows, padded, visible), Seen::Depths(first));
            product(shape, Strided::rows(ds, stride), layout.keys, seen, Out::Set, dq_rows, padded);
            for (i, query) in block.enumerate() {
                // SAFETY: this query and head belong to this call.
                let dq = unsafe { dq.slice(task.query_at(query, head), dim) };
                dq.copy_from_slice(&dq_rows[i * padded..][..dim]);
            }
        }
    });
}

/// Rows one after another, each padded with zeros.
fn pad_rows<'x>(rows: impl Iterator<Item = &'x [f32]>, padded: usize, out: &mut [f32]) {
    for (row, out) in rows.zip(out.chunks_exact_mut(padded)) {
        let (values, padding) = out.split_at_mut(row.len());
        values.copy_from_slice(row);
        padding.fill(0.0);
    }
}

simd_fn! {
    /// One row: `p` from scores to probabilities, `ds` from dP to dS.
    fn score_gradients(p: &mut [f32], ds: &mut [f32], lse: f32, out: &[f32], dout: &[f32], scale: f32) {
        let mean = dot::<FMA>(out, dout);
        for (p, ds) in p.iter_mut().zip(ds) {
            *p = exp::<FMA>(*p - lse);
            *ds = *p * (*ds - mean) * scale;
        }
    }
}
