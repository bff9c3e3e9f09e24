//! Attention over a KV cache: the new rows are put away and attended to in one operation.
//!
//! A cache is laid out for a single query per sequence, the shape of decoding. Each kv head has an area of its own,
//! so that a sequence's keys are one stream of memory. Keys lie transposed in blocks of [`CACHE_BLOCK`] rows: a score
//! is then a sum of registers and never a sum across one, and sixteen keys are scored at a time. Values lie row
//! by row. Rows of a block that belong to another sequence are read with it and not used; that is why a slot
//! begins at a block's border.
//!
//! More than [`FEW`] queries of a sequence (a prompt) go the general way, over f32 copies of its rows.

mod element;
mod rows;

use super::{forward, with_scratch};
use crate::backend::{Attention, CACHE_BLOCK, CacheType, Segment};
use crate::cpu::parallel::{SharedMut, for_each};
use element::{Area, Element, F32, Half};
use std::ops::Range;

/// Query rows up to which the keys are read where they lie.
const FEW: usize = 4;
/// Multiply-adds that take as long as touching one value: what a task of one query does is little.
const CHEAP: usize = 8;

/// Keys and values of one layer.
#[derive(Debug)]
pub struct CpuCache {
    heads: usize,
    dim: usize,
    /// A multiple of [`CACHE_BLOCK`].
    rows: usize,
    stored: Stored,
}

#[derive(Debug)]
enum Stored {
    F32([Vec<f32>; 2]),
    F16([Vec<u16>; 2]),
    Bf16([Vec<u16>; 2]),
}

impl CpuCache {
    pub fn new(rows: usize, heads: usize, dim: usize, kind: CacheType) -> Self {
        let rows = rows.next_multiple_of(CACHE_BLOCK);
        let len = rows * heads * dim;
        // Zeros that the system hands out as they are touched.
        let stored = match kind {
            CacheType::F32 => Stored::F32([vec![0.0; len], vec![0.0; len]]),
            CacheType::F16 => Stored::F16([vec![0; len], vec![0; len]]),
            CacheType::Bf16 => Stored::Bf16([vec![0; len], vec![0; len]]),
        };
        Self { heads, dim, rows, stored }
    }

    /// See [`crate::Backend::cache_copy`].
    pub fn copy(&mut self, from: usize, to: usize, rows: usize) {
        let shape = Shape { heads: self.heads, dim: self.dim, rows: self.rows };
        let whole = [from, to, rows].iter().all(|n| n.is_multiple_of(CACHE_BLOCK));
        assert!(whole && from.max(to) + rows <= shape.rows, "rows {from} to {to}, {rows} of {}", shape.rows);
        match &mut self.stored {
            Stored::F32(both) => both.iter_mut().for_each(|x| shape.copy(x, from, to, rows)),
            Stored::F16(both) | Stored::Bf16(both) => {
                both.iter_mut().for_each(|x| shape.copy(x, from, to, rows));
            }
        }
    }
}

/// The rows of a pass: `q [Tq, H, D]`, `k, v [Tq, K, D]`.
#[derive(Clone, Copy)]
pub struct NewRows<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
}

/// See [`crate::Backend::attention_cached`].
pub fn attention(spec: Attention, new: NewRows, cache: &mut CpuCache, out: &mut [f32]) {
    let CpuCache { heads, dim, rows, stored } = cache;
    let shape = Shape { heads: *heads, dim: *dim, rows: *rows };
    assert_eq!((spec.kv_heads, spec.head_dim), (shape.heads, shape.dim), "the cache's heads");
    check(spec, new, shape.rows, out.len());
    match stored {
        Stored::F32([k, v]) => attend_all::<F32>(spec, new, shape, k, v, out),
        Stored::F16([k, v]) => attend_all::<Half<true>>(spec, new, shape, k, v, out),
        Stored::Bf16([k, v]) => attend_all::<Half<false>>(spec, new, shape, k, v, out),
    }
}

/// Sizes of a cache: K, D and its rows.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    dim: usize,
    rows: usize,
}

impl Shape {
    /// Where the area of a head begins.
    fn area(self, head: usize) -> usize {
        head * self.rows * self.dim
    }

    /// Whole blocks of rows lie together, transposed or not.
    fn copy<T: Copy>(self, values: &mut [T], from: usize, to: usize, rows: usize) {
        for head in 0..self.heads {
            let at = self.area(head) + from * self.dim;
            values.copy_within(at..at + rows * self.dim, self.area(head) + to * self.dim);
        }
    }
}

fn attend_all<E: Element>(
    spec: Attention,
    new: NewRows,
    shape: Shape,
    k: &mut [E::Stored],
    v: &mut [E::Stored],
    out: &mut [f32],
) {
    let (k, v) = (Area::new(k), Area::new(v));
    let is_few = |segment: &&Segment| segment.q.len() <= FEW;
    let few: Vec<&Segment> = spec.segments.iter().filter(is_few).collect();
    let group = spec.heads / spec.kv_heads;
    let work = few.iter().map(|s| s.q.len() * s.kv.len()).sum::<usize>() * spec.heads * shape.dim;
    let shared = SharedMut::new(out);
    for_each(few.len() * shape.heads, work / CHEAP, |i| {
        let (segment, head) = (few[i / shape.heads], i % shape.heads);
        // SAFETY: the rows of a segment are its own, and begin at a block's border; a task has a head of it.
        unsafe {
            append::<E>(segment, head, new, shape, k, v);
            attend_few::<E>(spec, segment, head, group, new.q, shape, k, v, &shared);
        }
    });
    for segment in spec.segments.iter().filter(|segment| !is_few(segment)) {
        for_each(shape.heads, segment.q.len() * shape.heads * shape.dim, |head| {
            // SAFETY: as above.
            unsafe { append::<E>(segment, head, new, shape, k, v) }
        });
        // SAFETY: nobody writes to the cache now.
        unsafe { attend_many::<E>(spec, segment, new.q, shape, k, v, out) };
    }
}

/// Put the new rows of a segment and head away.
///
/// # Safety
/// Nobody else reads or writes this head's rows of the segment meanwhile.
unsafe fn append<E: Element>(
    segment: &Segment,
    head: usize,
    new: NewRows,
    shape: Shape,
    k: Area<E::Stored>,
    v: Area<E::Stored>,
) {
    let dim = shape.dim;
    let first = segment.kv.end - segment.q.len();
    for (i, query) in segment.q.clone().enumerate() {
        let at = (query * shape.heads + head) * dim;
        let (row, area) = (first + i, shape.area(head));
        let key = area + row / CACHE_BLOCK * CACHE_BLOCK * dim + row % CACHE_BLOCK;
        // SAFETY: inside the cache by `check`; by this function's contract.
        unsafe {
            for d in 0..dim {
                k.set(key + d * CACHE_BLOCK, E::narrow(new.k[at + d]));
            }
            for d in 0..dim {
                v.set(area + row * dim + d, E::narrow(new.v[at + d]));
            }
        }
    }
}

/// The few queries of a segment, all heads of one kv head.
///
/// # Safety
/// Nobody else writes this head's rows of the segment, or these queries' part of the output, meanwhile.
unsafe fn attend_few<E: Element>(
    spec: Attention,
    segment: &Segment,
    head: usize,
    group: usize,
    q: &[f32],
    shape: Shape,
    k: Area<E::Stored>,
    v: Area<E::Stored>,
    out: &SharedMut,
) {
    let dim = shape.dim;
    // SAFETY: as this function's contract says; rows of others in the last block are not written by
    // anybody, for their slots begin at a border too.
    let (k, v) = unsafe {
        let (start, len) = (segment.kv.start, segment.kv.len());
        let padded = len.next_multiple_of(CACHE_BLOCK);
        let from = shape.area(head) + start * dim;
        (k.part(from, padded * dim), v.part(from, len * dim))
    };
    for (i, query) in segment.q.clone().enumerate() {
        let keys = segment.kv.len() - segment.q.len() + i + 1;
        let at = (query * spec.heads + head * group) * dim;
        // SAFETY: by this function's contract.
        let out = unsafe { out.slice(at, group * dim) };
        with_scratch(group * keys.next_multiple_of(CACHE_BLOCK), |scores| {
            E::attend(&q[at..at + group * dim], k, v, keys, dim, spec.scale as f32, scores, out);
        });
    }
}

/// The queries of a prompt, over f32 copies of the segment's rows.
///
/// # Safety
/// Nobody writes to the cache meanwhile.
unsafe fn attend_many<E: Element>(
    spec: Attention,
    segment: &Segment,
    q: &[f32],
    shape: Shape,
    k: Area<E::Stored>,
    v: Area<E::Stored>,
    out: &mut [f32],
) {
    let (keys, width) = (segment.kv.len(), shape.heads * shape.dim);
    let lse = segment.q.end * spec.heads;
    with_scratch(2 * keys * width + lse, |scratch| {
        let (copies, lse) = scratch.split_at_mut(2 * keys * width);
        let (copied_k, copied_v) = copies.split_at_mut(keys * width);
        let tasks = keys.div_ceil(CACHE_BLOCK);
        let (to_k, to_v) = (SharedMut::new(copied_k), SharedMut::new(copied_v));
        for_each(tasks, 2 * keys * width, |block| {
            let rows = block * CACHE_BLOCK..keys.min((block + 1) * CACHE_BLOCK);
            // SAFETY: a task writes rows of its own; nobody writes to the cache.
            unsafe {
                let to_k = to_k.slice(rows.start * width, rows.len() * width);
                let to_v = to_v.slice(rows.start * width, rows.len() * width);
                widen::<E>(segment, rows, shape, k, v, to_k, to_v);
            }
        });
        let copied = [Segment::new(segment.q.clone(), 0..keys)];
        forward(Attention { segments: &copied, ..spec }, q, copied_k, copied_v, out, lse);
    });
}

/// Rows of a segment, as `[rows, K, D]`.
///
/// # Safety
/// Nobody writes these rows meanwhile.
unsafe fn widen<E: Element>(
    segment: &Segment,
    rows: Range<usize>,
    shape: Shape,
    k: Area<E::Stored>,
    v: Area<E::Stored>,
    to_k: &mut [f32],
    to_v: &mut [f32],
) {
    let dim = shape.dim;
    for (i, row) in rows.map(|row| segment.kv.start + row).enumerate() {
        for head in 0..shape.heads {
            let (area, at) = (shape.area(head), (i * shape.heads + head) * dim);
            let key = area + row / CACHE_BLOCK * CACHE_BLOCK * dim + row % CACHE_BLOCK;
            for d in 0..dim {
                // SAFETY: inside the cache by `check`; by this function's contract.
                unsafe {
                    to_k[at + d] = E::widen(k.get(key + d * CACHE_BLOCK));
                    to_v[at + d] = E::widen(v.get(area + row * dim + d));
                }
            }
        }
    }
}

/// What makes the tasks' parts of cache and output disjoint, and inside.
fn check(spec: Attention, new: NewRows, rows: usize, out: usize) {
    let Attention { heads, kv_heads, head_dim, segments, .. } = spec;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads} kv heads");
    let queries =
        (new.q.len().min(out) / (heads * head_dim)).min(new.k.len().min(new.v.len()) / (kv_heads * head_dim));
    for segment in segments {
        assert!(segment.prefix.is_empty(), "a cached segment has no prefix: {segment:?}");
        assert!(segment.q.end <= queries && segment.kv.end <= rows, "{segment:?} ends after its buffers");
        assert!(segment.q.len() <= segment.kv.len(), "{segment:?} has more queries than keys");
        assert!(segment.kv.start.is_multiple_of(CACHE_BLOCK), "{segment:?} begins inside a block");
    }
    for range in [|s: &Segment| s.q.clone(), |s: &Segment| s.kv.clone()] {
        let mut ranges: Vec<Range<usize>> = segments.iter().map(range).filter(|r| !r.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "segments overlap: {segments:?}");
    }
}
