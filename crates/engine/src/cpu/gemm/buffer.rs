//! Packing buffers that live as long as their thread: no allocation per product.

use crate::cpu::buffer::{Buffer, zeros_in_large_pages};
use std::cell::RefCell;

const LINE: usize = 16;

thread_local! {
    /// A stack, because a thread that waits for its tasks may run a whole other product meanwhile.
    static FREE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Lines of a new buffer for `len` values: an eighth to spare, so that slightly larger requests do not make another.
fn lines_for(len: usize) -> usize {
    let count = len.div_ceil(LINE);
    count.next_multiple_of((count.next_power_of_two() / 8).max(1))
}

/// Bytes of the buffer that a request for `len` values leaves behind.
pub fn held_bytes(len: usize) -> usize {
    lines_for(len) * LINE * size_of::<f32>()
}

/// Run `f` with a buffer of `len` values of unspecified content, aligned to a cache line.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        drop(std::mem::take(&mut buffer)); // nothing in it is needed: never both
        buffer = zeros_in_large_pages(lines_for(len) * LINE);
    }
    let result = f(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
