//! `y (+)= alpha · x · wᵀ` for replies, with weights of 8, 6 or 4 bits and activations in int8.
//!
//! As llama.cpp does it: each run of 32 activations is scaled to −127 … 127 and rounded, and a block of weights meets
//! it in whole numbers, which is exact; scales multiply the blocks' sums. What it costs is the rounding of the
//! activations, at most half of 1/127 of the largest of 32. Training, evaluation and proofs never come here: see
//! [`super::Activations`].
//!
//! Invariants: results do not depend on the number of threads, nor on how many rows are asked for together; but whether
//! rows come here at all may, see [`serves`].

mod activations;
mod kernels;
#[cfg(test)]
mod tests;

use super::gemm::STEADY_ROWS;
use super::parallel::{SharedMut, for_each_task};
use crate::backend::{Dims, Out};
use crate::blocks::BlockType;
use crate::blocks::panels::{COLUMNS, Panels};
use activations::Int8Blocks;
use kernels::{Kernel, Tile};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of activations that stay in a near cache while panels pass by.
const NEAR: usize = 1 << 19;
/// Weights below which waking another thread costs more than it saves.
const SERIAL: usize = 1 << 16;

thread_local! {
    static ACTIVATIONS: RefCell<Int8Blocks> = RefCell::default();
}

/// Rows from which on products of f32 with unpacked weights are faster than those of int8 without an instruction for them.
const UNPACKED_ROWS: usize = 32;
const _: () = assert!(UNPACKED_ROWS <= STEADY_ROWS, "all runs of a prompt go one way");

/// Whether so many rows are multiplied here. Where int8 products are slow, many rows are worth unpacking the weights
/// for (`cpu::gemm`): 1.3 to 1.8 × the rate with AVX2, and activations need not be rounded.
pub fn serves(rows: usize) -> bool {
    rows < UNPACKED_ROWS || Kernel::best().fused
}

/// `y [rows, outputs] (+)= alpha · x [rows, inputs] · wᵀ`.
///
/// # Panics
/// A buffer is shorter than its shape.
pub fn linear(x: &[f32], w: &Panels, dims: Dims, alpha: f32, to: Out, y: &mut [f32]) {
    product(Kernel::best(), x, w, dims, alpha, to, y);
}

fn product(kernel: &Kernel, x: &[f32], w: &Panels, dims: Dims, alpha: f32, to: Out, y: &mut [f32]) {
    let Dims { rows, inputs, outputs } = dims;
    assert!(outputs <= w.padded_rows(), "{outputs} outputs of {}", w.padded_rows());
    // Taken off the thread meanwhile: while it waits for its tasks, other products may run on it.
    let mut activations = ACTIVATIONS.take();
    activations.set(&x[..rows * inputs], inputs);
    let job =
        Job { kernel, x: &activations, w, dims, alpha, to, y: SharedMut::new(&mut y[..rows * outputs]) };
    job.run();
    ACTIVATIONS.set(activations);
}

struct Job<'a> {
    kernel: &'a Kernel,
    x: &'a Int8Blocks,
    w: &'a Panels,
    dims: Dims,
    alpha: f32,
    to: Out,
    y: SharedMut<'a>,
}

impl Job<'_> {
    fn run(&self) {
        let Dims { rows, inputs, outputs } = self.dims;
        let panels = outputs.div_ceil(COLUMNS);
        let threads = rayon::current_num_threads();
        if threads == 1 || outputs * inputs * rows.div_ceil(4) < SERIAL {
            return self.panels(0..panels);
        }
        // Whole groups of panels, and a few tasks for each thread, in case one is held up.
        let step = panels.div_ceil(threads * if rows > 8 { 4 } else { 2 }).next_multiple_of(4);
        for_each_task(panels.div_ceil(step), |i| {
            self.panels(i * step..panels.min((i + 1) * step));
        });
    }

    /// These panels' columns of all rows.
    fn panels(&self, panels: Range<usize>) {
        let Dims { rows, inputs, .. } = self.dims;
        let step = (NEAR / inputs.max(1) / self.kernel.rows()).max(1) * self.kernel.rows();
        for from in (0..rows).step_by(step) {
            self.block(from..rows.min(from + step), panels.clone());
        }
    }

    fn block(&self, rows: Range<usize>, panels: Range<usize>) {
        let most = self.kernel.rows();
        let whole = self.dims.outputs / COLUMNS;
        let mut panel = panels.start;
        while panel < panels.end {
            let wide = self.kernel.panels(rows.len().min(most));
            let count = if panel + wide <= panels.end.min(whole) { wide } else { 1 };
            for row in rows.clone().step_by(most) {
                let height = most.min(rows.end - row);
                // A last tile of fewer rows may have another shape.
                if count == 1 || self.kernel.panels(height) == count {
                    self.tile(row, height, panel, count);
                } else {
                    (0..count).for_each(|i| self.tile(row, height, panel + i, 1));
                }
            }
            panel += count;
        }
    }

    fn tile(&self, row: usize, rows: usize, panel: usize, panels: usize) {
        let outputs = self.dims.outputs;
        let column = panel * COLUMNS;
        let columns = (panels * COLUMNS).min(outputs - column);
        let (w, w_scales) = self.w.panel(panel);
        let (x, sums, x_scales) = self.x.row(row);
        let mut tile = Tile {
            blocks: self.x.blocks(),
            x,
            sums,
            x_scales,
            w,
            w_scales,
            out: std::ptr::null_mut(),
            out_stride: outputs,
            alpha: self.alpha,
            add: self.to == Out::Add,
            rows,
            panels,
        };
        if columns == panels * COLUMNS {
            tile.out = self.y.start(row * outputs + column, (rows - 1) * outputs + columns);
            return self.multiply(&tile);
        }
        // A last panel that is not whole: by way of a result that is.
        const MOST: usize = 8;
        let mut whole = [0.0; MOST * COLUMNS];
        assert!(rows <= MOST && panels == 1, "the last panel has a tile of its own");
        (tile.out, tile.out_stride, tile.add) = (whole.as_mut_ptr(), COLUMNS, false);
        self.multiply(&tile);
        for (i, whole) in whole.chunks_exact(COLUMNS).take(rows).enumerate() {
            // SAFETY: this tile's own.
            let out = unsafe { self.y.slice((row + i) * outputs + column, columns) };
            for (out, value) in out.iter_mut().zip(whole) {
                *out = if self.to == Out::Add { *out + value } else { *value };
            }
        }
    }

    fn multiply(&self, tile: &Tile) {
        let multiply = match self.w.block() {
            BlockType::Q8_0 => self.kernel.bytes,
            BlockType::Q4_0 => self.kernel.nibbles,
            BlockType::Q6K => self.kernel.sixes,
            BlockType::Q4K | BlockType::Nf4 => unreachable!("`Panels::new` makes none of these"),
        };
        // SAFETY: the panels and rows exist, rows and columns of the output are this tile's, the kernel runs here.
        unsafe { multiply(tile) };
    }
}
