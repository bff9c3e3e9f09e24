//! Work in pieces whose borders do not depend on the number of threads.

use super::team;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Values below which waking another thread costs more than it saves.
pub const SERIAL: usize = 1 << 14;
/// Values of one piece of an element-wise loop: 32 KiB, so that it stays in a first-level cache.
pub const PIECE: usize = 1 << 13;

/// `f(i)` for `i` in `0..count`; on several threads where `work`, in values touched, is worth it.
pub fn for_each(count: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    if work < SERIAL || count < 2 || rayon::current_num_threads() == 1 {
        (0..count).for_each(f);
    } else {
        for_each_task(count, f);
    }
}

/// `f(i)` for `i` in `0..count`, each worth a thread.
pub fn for_each_task(count: usize, f: impl Fn(usize) + Send + Sync) {
    if !team::for_each(count, &f) {
        (0..count).into_par_iter().with_max_len(1).for_each(f);
    }
}

/// What `f(i)` gives for `i` in `0..count`, in order; threads as for [`for_each`].
pub fn collect<T: Clone + Default + Send>(
    count: usize,
    work: usize,
    f: impl Fn(usize) -> T + Send + Sync,
) -> Vec<T> {
    let mut results = vec![T::default(); count];
    let shared = SharedMut::new(&mut results);
    for_each(count, work, |i| {
        // SAFETY: result i is this task's.
        unsafe { shared.slice(i, 1)[0] = f(i) };
    });
    results
}

/// `f(i, piece)` for the pieces `out[i * size..][..size]`, the last one shorter.
pub fn for_each_piece(out: &mut [f32], size: usize, f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    let work = out.len();
    for_each_piece_of(out, size, work, f);
}

/// [`for_each_piece`] where `work` is more than the values of `out`.
pub fn for_each_piece_of(
    out: &mut [f32],
    size: usize,
    work: usize,
    f: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    let shared = SharedMut::new(out);
    for_each(shared.len.div_ceil(size), work, |i| {
        let start = i * size;
        // SAFETY: pieces of different i are disjoint.
        f(i, unsafe { shared.slice(start, size.min(shared.len - start)) });
    });
}

/// Rows per piece for loops over rows of `width` values.
pub fn rows_per_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// An output that tasks share; each writes a part of its own.
pub struct SharedMut<'a, T = f32> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it only hands out parts, and whoever asks for one promises that nobody else has it.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: likewise.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), lifetime: PhantomData }
    }

    /// Where value `from` is, the first of `len`; checked to be inside. Whoever writes there sees to it that nobody
    /// else does.
    pub fn start(&self, from: usize, len: usize) -> *mut T {
        assert!(from <= self.len && len <= self.len - from, "part {from}, {len} of {} values", self.len);
        self.start.wrapping_add(from)
    }

    /// Values `from .. from + len`; checked to be inside.
    ///
    /// # Safety
    /// As long as the slice lives, nobody else reads or writes these values.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, from: usize, len: usize) -> &mut [T] {
        assert!(from <= self.len && len <= self.len - from, "part {from}, {len} of {} values", self.len);
        // SAFETY: inside the allocation by the assertion, unshared by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}
