//! Numbers to blocks of few bits and back, in ggml's layouts.
//!
//! A block of ggml shares one scale (and, in `Q4_K`, one minimum) among its numbers. `Q8_0` and `Q4_0` are
//! fixed by their rounding: our bytes are those of ggml's own reference. In `Q4_K` the layout is fixed, how
//! scales are found is not.

mod q4_0;
mod q4_k;
mod q8_0;

use super::TensorType;
use half::{bf16, f16};
use rayon::prelude::*;

/// Numbers that share a scale.
pub(super) const BLOCK: usize = 32;
/// Numbers of a block of `Q4_K`, eight times 32.
pub(super) const SUPER_BLOCK: usize = 256;

/// Numbers that one task handles: enough to be worth it, a multiple of every block.
const TASK: usize = 64 * SUPER_BLOCK;

/// The bytes of `values`, a whole number of blocks.
pub fn encode(tensor_type: TensorType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; tensor_type.bytes(values.len())];
    let (block, size) = (tensor_type.block(), tensor_type.block_bytes());
    assert!(values.len().is_multiple_of(block), "{} values are no whole blocks of {block}", values.len());
    bytes.par_chunks_mut(TASK / block * size).zip(values.par_chunks(TASK)).for_each(|(bytes, values)| {
        for (out, block) in bytes.chunks_exact_mut(size).zip(values.chunks_exact(block)) {
            match tensor_type {
                TensorType::F32 => out.copy_from_slice(&block[0].to_le_bytes()),
                TensorType::F16 => out.copy_from_slice(&f16::from_f32(block[0]).to_le_bytes()),
                TensorType::Bf16 => out.copy_from_slice(&bf16::from_f32(block[0]).to_le_bytes()),
                TensorType::Q8_0 => q8_0::encode(block, out),
                TensorType::Q4_0 => q4_0::encode(block, out),
                TensorType::Q4K => q4_k::encode(block, out),
            }
        }
    });
    bytes
}

/// The numbers in `bytes`, a whole number of blocks.
pub fn decode(tensor_type: TensorType, bytes: &[u8], values: &mut [f32]) {
    let (block, size) = (tensor_type.block(), tensor_type.block_bytes());
    assert_eq!(bytes.len(), tensor_type.bytes(values.len()), "the bytes of {} values", values.len());
    values.par_chunks_mut(TASK).zip(bytes.par_chunks(TASK / block * size)).for_each(|(values, bytes)| {
        for (out, block) in values.chunks_exact_mut(block).zip(bytes.chunks_exact(size)) {
            match tensor_type {
                TensorType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                TensorType::F16 => out[0] = half_at(block, 0),
                TensorType::Bf16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
                TensorType::Q8_0 => q8_0::decode(block, out),
                TensorType::Q4_0 => q4_0::decode(block, out),
                TensorType::Q4K => q4_k::decode(block, out),
            }
        }
    });
}

/// The f16 at byte `at`.
fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 1 / x, and 0 for 0: a block of zeros has no scale.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

#[cfg(test)]
mod tests;
