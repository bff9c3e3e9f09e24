//! Activations as int8: each run of 32 with a scale of its own.

use crate::cpu::parallel::{SharedMut, for_each};
use crate::cpu::simd::simd_fn;

/// Activations that share a scale: as many as weights do.
const BLOCK: usize = 32;
/// Lanes in which the largest is looked for.
const LANES: usize = 16;

/// Rows of activations.
#[derive(Default)]
pub struct Int8Blocks {
    /// Blocks of a row.
    blocks: usize,
    /// `[rows, blocks · 32]`
    values: Vec<i8>,
    /// `[rows, blocks, 2]`: of each half of a block.
    sums: Vec<i32>,
    /// `[rows, blocks]`
    scales: Vec<f32>,
}

impl Int8Blocks {
    /// Take in `x` `[rows, cols]`.
    ///
    /// # Panics
    /// Rows are no whole blocks.
    pub fn set(&mut self, x: &[f32], cols: usize) {
        assert!(cols.is_multiple_of(BLOCK), "{cols} activations are no whole blocks");
        self.blocks = cols / BLOCK;
        let count = x.len() / BLOCK;
        self.values.resize(x.len(), 0);
        self.sums.resize(2 * count, 0);
        self.scales.resize(count, 0.0);
        let (width, blocks) = (cols.max(1), self.blocks.max(1));
        let (values, sums) = (SharedMut::new(&mut self.values), SharedMut::new(&mut self.sums));
        let scales = SharedMut::new(&mut self.scales);
        for_each(x.len() / width, x.len(), |i| {
            // SAFETY: this row's own.
            let (values, sums, scales) = unsafe {
                (
                    values.slice(i * width, width),
                    sums.slice(2 * i * blocks, 2 * blocks),
                    scales.slice(i * blocks, blocks),
                )
            };
            quantise(&x[i * width..][..width], values, sums, scales);
        });
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Where a row's values, sums and scales begin.
    pub fn row(&self, row: usize) -> (*const i8, *const i32, *const f32) {
        let at = row * self.blocks;
        (self.values[at * BLOCK..].as_ptr(), self.sums[2 * at..].as_ptr(), self.scales[at..].as_ptr())
    }
}

simd_fn! {
    /// One row; zeros have a scale of 0.
    fn quantise(x: &[f32], values: &mut [i8], sums: &mut [i32], scales: &mut [f32]) {
        // Adding 1.5 · 2²³ leaves the nearest integer in the low bits of the significand.
        const ROUND: f32 = 12_582_912.0;
        let blocks = x.as_chunks::<BLOCK>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0);
        for ((x, values), (sums, scale)) in blocks.zip(sums.as_chunks_mut::<2>().0.iter_mut().zip(scales)) {
            let mut lanes = [0.0f32; LANES];
            for x in x.as_chunks::<LANES>().0 {
                for l in 0..LANES {
                    let a = x[l].abs();
                    lanes[l] = if a > lanes[l] { a } else { lanes[l] };
                }
            }
            let largest = lanes.iter().fold(0.0f32, |m, v| if *v > m { *v } else { m });
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            *sums = [0; 2];
            for (half, sum) in sums.iter_mut().enumerate() {
                for i in half * BLOCK / 2..(half + 1) * BLOCK / 2 {
                    let q = (x[i] * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
                    values[i] = q as i8;
                    *sum += q;
                }
            }
            *scale = largest / 127.0;
        }
    }
}
