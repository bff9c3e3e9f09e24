//! Packing buffers that live as long as their thread: no allocation per product.

use crate::cpu::buffer::{Buffer, bytes_alone, zeros_alone};
use std::cell::RefCell;

thread_local! {
    /// A stack, because a thread that waits for its tasks may run a whole other product meanwhile.
    static FREE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Values of a new buffer for `len`: an eighth to spare, so that slightly larger requests do not make another.
fn values_for(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 8).max(1))
}

/// Bytes of the buffer that a request for `len` values leaves behind.
pub fn held_bytes(len: usize) -> usize {
    bytes_alone(values_for(len))
}

/// Run `f` with a buffer of `len` values of unspecified content, aligned to a cache line.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        drop(std::mem::take(&mut buffer)); // nothing in it is needed: never both
        buffer = zeros_alone(values_for(len));
    }
    let result = f(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
