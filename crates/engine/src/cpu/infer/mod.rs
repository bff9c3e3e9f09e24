//! Operations that only inference needs: products with weights that are packed once, in f32 or int8,
//! layer norm, activations, attention over cached rows.
//!
//! Everything here runs on the calling thread: a batch of sentences is one thread's work from end to
//! end, many batches fill the cores, and no operation waits for another thread.
//!
//! Legend: M rows of activations · K inputs · N outputs · C hidden · H heads · D head dim.

mod int8;
pub(in crate::cpu) mod kernels;
mod ops;
mod packed;
#[cfg(test)]
mod tests;

pub use ops::{Attend, Gate, LogSumExp, Scores, add, add_layer_norm, attend, gate, layer_norm, max};
pub use packed::{PackedMatrix, Precision, Rows};
