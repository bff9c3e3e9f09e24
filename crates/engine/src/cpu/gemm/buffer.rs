//! Packing buffers that live as long as their thread: no allocation per product.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read through a slice of values")] [f32; LINE]);

const LINE: usize = 16;

thread_local! {
    /// A stack, because a thread that waits for its tasks may run a whole other product meanwhile.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Lines of a new buffer for `len` values: an eighth to spare, so that slightly larger requests do not make another.
fn lines_for(len: usize) -> usize {
    let count = len.div_ceil(LINE);
    count.next_multiple_of((count.next_power_of_two() / 8).max(1))
}

/// Bytes of the buffer that a request for `len` values leaves behind.
pub fn held_bytes(len: usize) -> usize {
    lines_for(len) * size_of::<Line>()
}

/// Run `f` with a buffer of `len` values of unspecified content, aligned to a cache line.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if lines.len() < len.div_ceil(LINE) {
        drop(std::mem::take(&mut lines)); // nothing in it is needed: never both
        lines = vec![Line([0.0; LINE]); lines_for(len)];
    }
    // SAFETY: a `Line` is exactly 16 values without padding (its size is its alignment), and
    // `len` values lie within `count` lines.
    let values = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), len) };
    let result = f(values);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}
