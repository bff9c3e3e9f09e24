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

/// Bytes of the buffer that a request for `len` values leaves behind.
pub fn held_bytes(len: usize) -> usize {
    len.div_ceil(LINE).next_power_of_two() * size_of::<Line>()
}

/// Run `f` with a buffer of `len` values of unspecified content, aligned to a cache line.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let count = len.div_ceil(LINE);
    if lines.len() < count {
        lines = vec![Line([0.0; LINE]); count.next_power_of_two()];
    }
    // SAFETY: a `Line` is exactly 16 values without padding (its size is its alignment), and
    // `len` values lie within `count` lines.
    let values = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), len) };
    let result = f(values);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}
