//! Numbers of few bits in blocks that share a scale, in ggml's layouts: how GGUF files keep weights.
//!
//! `Q8_0` and `Q4_0` are fixed by their rounding: our bytes are those of ggml's own reference. In `Q4_K` and
//! `Q6_K` the layout is fixed, how scales are found is not.

mod q4_0;
mod q4_k;
mod q6_k;
mod q8_0;
#[cfg(test)]
mod tests;

use half::f16;

/// Numbers that share a scale.
const BLOCK: usize = 32;
/// Numbers of a block of `Q4_K` or `Q6_K`, which hold scales of scales.
const SUPER_BLOCK: usize = 256;
/// No block has more numbers.
pub(crate) const LONGEST: usize = SUPER_BLOCK;

/// A kind of block. `Q4K` and `Q6K` are ggml's `Q4_K` and `Q6_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    Q8_0,
    Q4_0,
    Q4K,
    Q6K,
}

impl BlockType {
    pub const ALL: [BlockType; 4] = [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4K, BlockType::Q6K];

    /// Numbers of a block. The length of a row must be a multiple.
    pub fn numbers(self) -> usize {
        match self {
            BlockType::Q8_0 | BlockType::Q4_0 => BLOCK,
            BlockType::Q4K | BlockType::Q6K => SUPER_BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            BlockType::Q8_0 => q8_0::BYTES,
            BlockType::Q4_0 => q4_0::BYTES,
            BlockType::Q4K => q4_k::BYTES,
            BlockType::Q6K => q6_k::BYTES,
        }
    }

    /// Numbers, a whole number of blocks, into bytes.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn encode(self, values: &[f32], bytes: &mut [u8]) {
        self.check(values.len(), bytes.len());
        let encode = match self {
            BlockType::Q8_0 => q8_0::encode,
            BlockType::Q4_0 => q4_0::encode,
            BlockType::Q4K => q4_k::encode,
            BlockType::Q6K => q6_k::encode,
        };
        for (block, out) in values.chunks_exact(self.numbers()).zip(bytes.chunks_exact_mut(self.bytes())) {
            encode(block, out);
        }
    }

    /// The numbers in `bytes`, a whole number of blocks.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        self.check(values.len(), bytes.len());
        match self {
            BlockType::Q8_0 => q8_0::decode(bytes, values),
            BlockType::Q4_0 => q4_0::decode(bytes, values),
            BlockType::Q4K => q4_k::decode(bytes, values),
            BlockType::Q6K => q6_k::decode(bytes, values),
        }
    }

    fn check(self, numbers: usize, bytes: usize) {
        let (block, size) = (self.numbers(), self.bytes());
        assert!(numbers.is_multiple_of(block), "{numbers} numbers are no whole blocks of {block}");
        assert_eq!(bytes, numbers / block * size, "the bytes of {numbers} numbers");
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlockType::Q8_0 => "q8_0",
            BlockType::Q4_0 => "q4_0",
            BlockType::Q4K => "q4_k",
            BlockType::Q6K => "q6_k",
        })
    }
}

/// The f16 at byte `at`.
#[inline(always)]
fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 1 / x, and 0 for 0: a block of zeros has no scale.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}
