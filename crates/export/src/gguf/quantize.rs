//! Numbers to the bytes of a tensor type and back, in parallel.

use super::TensorType;
use half::{bf16, f16};
use rayon::prelude::*;
use tolmach_engine::{BlockType, Dtype, Format};

/// Numbers that one task handles: enough to be worth it, a multiple of every block.
const TASK: usize = 1 << 14;

/// The bytes of `values`, a whole number of blocks.
pub fn encode(tensor_type: TensorType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; tensor_type.bytes(values.len())];
    let (block, size) = (tensor_type.block(), tensor_type.block_bytes());
    assert!(values.len().is_multiple_of(block), "{} values are no whole blocks of {block}", values.len());
    bytes.par_chunks_mut(TASK / block * size).zip(values.par_chunks(TASK)).for_each(|(bytes, values)| {
        match tensor_type.format() {
            Format::Blocks(block) => block.encode(values, bytes),
            Format::Plain(dtype) => encode_plain(dtype, values, bytes),
        }
    });
    bytes
}

fn encode_plain(dtype: Dtype, values: &[f32], bytes: &mut [u8]) {
    for (out, &v) in bytes.chunks_exact_mut(dtype.size()).zip(values) {
        match dtype {
            Dtype::F32 => out.copy_from_slice(&v.to_le_bytes()),
            Dtype::F16 => out.copy_from_slice(&f16::from_f32(v).to_le_bytes()),
            Dtype::BF16 => out.copy_from_slice(&bf16::from_f32(v).to_le_bytes()),
        }
    }
}

/// The numbers in `bytes`, a whole number of blocks.
pub fn decode(tensor_type: TensorType, bytes: &[u8], values: &mut [f32]) {
    let (block, size) = (tensor_type.block(), tensor_type.block_bytes());
    assert_eq!(bytes.len(), tensor_type.bytes(values.len()), "the bytes of {} values", values.len());
    values.par_chunks_mut(TASK).zip(bytes.par_chunks(TASK / block * size)).for_each(|(values, bytes)| {
        match tensor_type.format() {
            Format::Blocks(block) => block.decode(bytes, values),
            Format::Plain(dtype) => decode_plain(dtype, bytes, values),
        }
    });
}

fn decode_plain(dtype: Dtype, bytes: &[u8], values: &mut [f32]) {
    for (v, b) in values.iter_mut().zip(bytes.chunks_exact(dtype.size())) {
        *v = match dtype {
            Dtype::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Dtype::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Dtype::BF16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        };
    }
}

/// The most that a format can hold without its scale becoming an infinity in f16.
pub(super) fn limit(format: Format) -> Option<f32> {
    let f16_max = f16::MAX.to_f32();
    match format {
        Format::Plain(Dtype::F32 | Dtype::BF16) | Format::Blocks(BlockType::Nf4) => None,
        Format::Plain(Dtype::F16) => Some(f16_max),
        Format::Blocks(BlockType::Q8_0) => Some(f16_max * 127.0),
        Format::Blocks(BlockType::Q4_0) => Some(f16_max * 8.0),
        Format::Blocks(BlockType::Q4K) => Some(f16_max * 15.0),
        Format::Blocks(BlockType::Q6K) => Some(f16_max * 32.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_depend_on_what_lies_beside_them() {
        let values: Vec<f32> = (0..3 * TASK + 256).map(|i| ((i * 7919) % 1013) as f32 * 0.01 - 5.0).collect();
        for tensor_type in TensorType::ALL {
            let whole = encode(tensor_type, &values);
            let part = encode(tensor_type, &values[TASK - 256..TASK + 256]);
            let at = tensor_type.bytes(TASK - 256);
            assert_eq!(whole[at..at + part.len()], part, "{tensor_type}");
            let (mut all, mut back) = (vec![0.0; values.len()], vec![0.0; 512]);
            decode(tensor_type, &whole, &mut all);
            decode(tensor_type, &part, &mut back);
            assert_eq!(all[TASK - 256..TASK + 256], back, "{tensor_type}");
        }
    }
}
