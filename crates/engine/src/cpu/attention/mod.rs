//! Causal attention over segments, in blocks of query rows: the scores of a block exist in one
//! thread's scratch memory only, never as `[T, T]`; the backward computes them again from the saved
//! log-denominators (Dao et al. 2022).
//!
//! A block of queries times all its keys is a small matrix product. For it the keys and values of
//! one kv head are laid out in panels once per task, and used by all query
//! heads of the group. Each task owns rows and heads of the outputs; sums run in one order, whatever
//! the number of threads.

mod backward;
mod cached;
mod few;
mod forward;

pub use backward::{Inputs, backward};
pub use cached::{CpuCache, NewRows, attention as cached};
pub use forward::forward;

use crate::backend::{Attention, Segment};
use crate::cpu::buffer::LINE;
use crate::cpu::product::COLUMNS;
use std::cell::RefCell;
use std::ops::Range;

/// Query rows of a block.
const BLOCK: usize = 48;

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Run `f` on scratch memory of `len` values, whatever they are. It is taken off the thread's stack
/// meanwhile: `f` may wait for other tasks, and these may run on this thread.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < len + LINE {
        scratch.resize(len + LINE, 0.0);
    }
    // A register may be as wide as a line; one that lies in two takes two accesses.
    let first = scratch.as_ptr().align_offset(LINE * size_of::<f32>());
    let result = f(&mut scratch[first..][..len]);
    SCRATCH.with_borrow_mut(|stack| stack.push(scratch));
    result
}

/// Bytes that a thread's backward over a segment of so many keys holds: the layouts of keys and values, a
/// block's scores, and the gradients of one group of heads.
pub fn scratch_bytes(keys: usize, head_dim: usize, group: usize) -> usize {
    let (stride, padded) = (Task::key_stride(keys), head_dim.next_multiple_of(COLUMNS));
    let layouts = 2 * head_dim * keys.next_multiple_of(COLUMNS) + keys * padded;
    let block = BLOCK * (2 * stride + 3 * padded);
    size_of::<f32>() * (layouts + block + group * 2 * keys * padded + LINE)
}

/// Cut the first `len` values off the scratch memory.
pub(super) fn cut<'a>(scratch: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    scratch.split_off_mut(..len).expect("the caller counted the scratch memory")
}

/// Sizes of a task: one segment and one kv head.
#[derive(Clone, Copy)]
struct Task<'a> {
    spec: Attention<'a>,
    segment: &'a Segment,
    /// Of the segment.
    number: usize,
    kv_head: usize,
}

impl<'a> Task<'a> {
    /// Task `i` of segments × kv heads.
    fn new(spec: Attention<'a>, i: usize) -> Self {
        let number = i / spec.kv_heads;
        Self { spec, segment: &spec.segments[number], number, kv_head: i % spec.kv_heads }
    }

    fn queries(&self) -> usize {
        self.segment.q.len()
    }

    /// Prefix and own.
    fn keys(&self) -> usize {
        self.segment.keys()
    }

    /// Keys that the queries before `query` see at most.
    fn visible(&self, query: usize) -> usize {
        self.keys() - self.queries() + query
    }

    /// Head dim, rounded up to the products' columns.
    fn padded_dim(&self) -> usize {
        self.spec.head_dim.next_multiple_of(COLUMNS)
    }

    /// Distance between rows of `keys` values: an odd number of cache lines, so that the same column
    /// of many rows does not compete for the same few sets of the cache.
    fn key_stride(keys: usize) -> usize {
        (keys.div_ceil(COLUMNS) | 1) * COLUMNS
    }

    fn group(&self) -> usize {
        self.spec.heads / self.spec.kv_heads
    }

    fn heads(&self) -> Range<usize> {
        self.kv_head * self.group()..(self.kv_head + 1) * self.group()
    }

    /// Where query `i` of the segment starts in `[Tq, H, D]`.
    fn query_at(&self, i: usize, head: usize) -> usize {
        ((self.segment.q.start + i) * self.spec.heads + head) * self.spec.head_dim
    }

    /// Query `i` of the segment in a buffer `[Tq, H, D]`.
    fn query_row<'x>(&self, x: &'x [f32], i: usize, head: usize) -> &'x [f32] {
        &x[self.query_at(i, head)..][..self.spec.head_dim]
    }

    /// Where key `j` of the segment, the prefix first, starts in `[Tk, K, D]`.
    fn key_at(&self, j: usize) -> usize {
        let Segment { kv, prefix, .. } = self.segment;
        let row = if j < prefix.len() { prefix.start + j } else { kv.start + j - prefix.len() };
        (row * self.spec.kv_heads + self.kv_head) * self.spec.head_dim
    }

    /// Where the log-denominator of query `i` lies in `[Tq, H]`.
    fn lse_at(&self, i: usize, head: usize) -> usize {
        (self.segment.q.start + i) * self.spec.heads + head
    }

    /// Values of [`Task::transpose_keys`].
    fn transposed_values(&self, keys: usize) -> usize {
        self.spec.head_dim * keys.next_multiple_of(COLUMNS)
    }

    /// A `[D, keys]` matrix in packed panels: `factor · x[key j][d]`, padded with zeros.
    fn transpose_keys(&self, x: &[f32], factor: f32, keys: usize, out: &mut [f32]) {
        let dim = self.spec.head_dim;
        for (i, out) in out.chunks_exact_mut(dim * COLUMNS).enumerate() {
            let first = i * COLUMNS;
            for j in 0..COLUMNS.min(keys - first) {
                let x = &x[self.key_at(first + j)..][..dim];
                for d in 0..dim {
                    out[d * COLUMNS + j] = factor * x[d];
                }
            }
            for j in keys - first..COLUMNS {
                (0..dim).for_each(|d| out[d * COLUMNS + j] = 0.0);
            }
        }
    }

    /// A `[keys, padded D]` matrix in packed panels: `x[key j][d]`, padded with zeros.
    fn pack_keys(&self, x: &[f32], keys: usize, out: &mut [f32]) {
        let dim = self.spec.head_dim;
        for (i, out) in out.chunks_exact_mut(keys * COLUMNS).enumerate() {
            let of_panel = i * COLUMNS..dim.min((i + 1) * COLUMNS);
            for (j, out) in out.chunks_exact_mut(COLUMNS).enumerate() {
                let (values, padding) = out.split_at_mut(of_panel.len());
                values.copy_from_slice(&x[self.key_at(j)..][of_panel.clone()]);
                padding.fill(0.0);
            }
        }
    }
}

/// What the contract of [`Attention`] demands of sizes. That ranges are disjoint is what makes the
/// tasks' outputs disjoint.
fn check(spec: Attention, q_len: usize, kv_len: usize, outputs: impl Fn(&Segment) -> Range<usize>) {
    let Attention { heads, kv_heads, head_dim, segments, .. } = spec;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads} kv heads");
    for segment in segments {
        assert!(segment.q.len() <= segment.kv.len(), "{segment:?} has more queries than keys");
        assert!(segment.q.end * heads * head_dim <= q_len, "{segment:?} ends after its buffer of queries");
        let end = segment.kv.end.max(segment.prefix.end);
        assert!(end * kv_heads * head_dim <= kv_len, "{segment:?} ends after its buffer of keys");
    }
    let mut ranges: Vec<Range<usize>> = segments.iter().map(outputs).filter(|r| !r.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "segments overlap: {segments:?}");
}
