//! Numbers of few bits in blocks that share a scale: in ggml's layouts, how GGUF files keep weights, and `NF4`,
//! how QLoRA trains over them.
//!
//! `Q8_0` and `Q4_0` are fixed by their rounding: our bytes are those of ggml's own reference. In `Q4_K` and
//! `Q6_K` the layout is fixed, how scales are found is not.

mod nf4;
pub(crate) mod panels;
mod q4_0;
mod q4_k;
mod q6_k;
mod q8_0;
#[cfg(test)]
mod tests;

use half::f16;
use rayon::prelude::*;

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
    /// See [`BlockType::encode_all`].
    Nf4,
}

impl BlockType {
    pub const ALL: [BlockType; 5] =
        [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4K, BlockType::Q6K, BlockType::Nf4];

    /// Numbers of a block. The length of a row must be a multiple.
    pub fn numbers(self) -> usize {
        match self {
            BlockType::Q8_0 | BlockType::Q4_0 => BLOCK,
            BlockType::Q4K | BlockType::Q6K => SUPER_BLOCK,
            BlockType::Nf4 => nf4::NUMBERS,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            BlockType::Q8_0 => q8_0::BYTES,
            BlockType::Q4_0 => q4_0::BYTES,
            BlockType::Q4K => q4_k::BYTES,
            BlockType::Q6K => q6_k::BYTES,
            BlockType::Nf4 => nf4::BYTES,
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
            BlockType::Nf4 => nf4::encode,
        };
        for (block, out) in values.chunks_exact(self.numbers()).zip(bytes.chunks_exact_mut(self.bytes())) {
            encode(block, out);
        }
    }

    /// A whole matrix, of which `row` fills any row; many at once. `NF4`'s magnitudes are quantised over all of
    /// it (double quantisation), so its bytes are not those of its blocks encoded one by one.
    ///
    /// # Panics
    /// A row of `cols` numbers is no whole number of blocks.
    pub fn encode_all(self, rows: usize, cols: usize, row: impl Fn(usize, &mut [f32]) + Sync) -> Vec<u8> {
        let row_bytes = cols / self.numbers() * self.bytes();
        let mut bytes = vec![0; rows * row_bytes];
        let lines = bytes.par_chunks_exact_mut(row_bytes.max(1)).enumerate();
        lines.for_each_init(
            || vec![0.0; cols],
            |values, (i, out)| {
                row(i, values);
                self.encode(values, out);
            },
        );
        if self == BlockType::Nf4 {
            nf4::compress_magnitudes(&mut bytes);
        }
        bytes
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
            BlockType::Nf4 => nf4::decode(bytes, values),
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
            BlockType::Nf4 => "nf4",
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
