//! A weight packed once for many products, in f32 or int8, and the activations that meet it.

use super::int8::{Int8Matrix, Int8Rows};
use super::kernels;
use crate::cpu::gemm::kernel::{Kernel, Tile};
use crate::{Dtype, FrozenMatrix};
use std::ops::Range;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As they are: results agree with other programs' to rounding.
    F32,
    /// One byte a weight, and products of bytes: a quarter of the memory, two to three times as fast.
    Int8,
}

/// A linear layer's weight `[N, K]`, or an embedding of N tokens.
pub struct PackedMatrix(Storage);

enum Storage {
    F32(F32Matrix),
    Int8(Int8Matrix),
}

/// Rows of activations `[M, K]` as the products with one [`Precision`] read them. Kept from product to
/// product, so that its memory is asked for once.
#[derive(Default)]
pub struct Rows {
    f32: F32Rows,
    int8: Int8Rows,
}

impl PackedMatrix {
    /// `weights` one below the other; all have the same number of columns.
    pub fn new(weights: &[&FrozenMatrix], precision: Precision) -> Self {
        let rows: usize = weights.iter().map(|w| w.rows()).sum();
        let cols = weights.first().map_or(0, |w| w.cols());
        assert!(weights.iter().all(|w| w.cols() == cols), "weights of different widths");
        let row = |mut i: usize, out: &mut [f32]| {
            for w in weights {
                if i < w.rows() {
                    return w.unpack(i, 0, out);
                }
                i -= w.rows();
            }
        };
        PackedMatrix(match precision {
            Precision::F32 => Storage::F32(F32Matrix::new(rows, cols, row)),
            Precision::Int8 => Storage::Int8(Int8Matrix::new(rows, cols, row)),
        })
    }

    /// N
    pub fn rows(&self) -> usize {
        match &self.0 {
            Storage::F32(w) => w.rows,
            Storage::Int8(w) => w.rows(),
        }
    }

    /// K
    pub fn cols(&self) -> usize {
        match &self.0 {
            Storage::F32(w) => w.cols,
            Storage::Int8(w) => w.cols(),
        }
    }

    /// Row i as f32: the embedding of token i.
    ///
    /// # Panics
    /// There is no such row, or `out` has another length.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        match &self.0 {
            Storage::F32(w) => w.row(i, out),
            Storage::Int8(w) => w.row(i, out),
        }
    }

    /// `x` `[M, K]` as [`Self::product`] wants it.
    ///
    /// # Panics
    /// `x` is no whole number of rows.
    pub fn take(&self, x: &[f32], rows: &mut Rows) {
        assert!(x.len().is_multiple_of(self.cols().max(1)), "{} values of {} columns", x.len(), self.cols());
        match &self.0 {
            Storage::F32(w) => rows.f32.set(x, w.cols),
            Storage::Int8(w) => rows.int8.set(x, w.cols()),
        }
    }

    /// `out[M, outputs] = x · wᵀ + bias[outputs]` for the activations taken in last and a range of
    /// outputs that begins at a multiple of [`Self::STEP`].
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn product(&self, x: &Rows, outputs: Range<usize>, bias: &[f32], out: &mut [f32]) {
        let bias = &bias[outputs.clone()];
        match &self.0 {
            Storage::F32(w) => w.product(Kernel::best(), &x.f32, outputs, bias, out),
            Storage::Int8(w) => w.product(kernels::Kernel::best(), &x.int8, outputs, bias, out),
        }
    }

    /// Ranges of outputs begin at multiples of this.
    pub const STEP: usize = 64;
}

/// Depths of a block: a panel of activations of this depth stays in the first-level cache.
const DEPTH: usize = 512;
/// Values of a cache line.
const LINE: usize = 16;
/// Values of panels of weights that stay in the second-level cache while rows of activations pass by.
const GROUP: usize = 1 << 17;

/// Blocks of [`DEPTH`] depths one after another, each with all its panels of `Kernel::nr` outputs.
pub struct F32Matrix {
    rows: usize,
    cols: usize,
    /// Outputs, padded to whole panels.
    padded: usize,
    values: Vec<f32>,
    /// Where they begin: at a cache line.
    start: usize,
}

/// Blocks of [`DEPTH`] depths one after another, each with all its panels of `Kernel::mr` rows.
#[derive(Default)]
struct F32Rows {
    rows: usize,
    padded: usize,
    values: Vec<f32>,
}

impl F32Matrix {
    fn new(rows: usize, cols: usize, mut row: impl FnMut(usize, &mut [f32])) -> Self {
        let width = Kernel::best().nr;
        let padded = rows.next_multiple_of(width);
        let mut values = vec![0.0; padded * cols + LINE];
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut line = vec![0.0; cols];
        for i in 0..rows {
            row(i, &mut line);
            for block in blocks(cols) {
                let panel = start + padded * block.start + i / width * width * block.len();
                for (p, value) in line[block].iter().enumerate() {
                    values[panel + p * width + i % width] = *value;
                }
            }
        }
        F32Matrix { rows, cols, padded, values, start }
    }

    fn row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.rows && out.len() == self.cols, "row {i} of [{}, {}]", self.rows, self.cols);
        let width = Kernel::best().nr;
        for block in blocks(self.cols) {
            let panel = self.start + self.padded * block.start + i / width * width * block.len();
            for (p, out) in out[block].iter_mut().enumerate() {
                *out = self.values[panel + p * width + i % width];
            }
        }
    }

    fn product(&self, kernel: &Kernel, x: &F32Rows, outputs: Range<usize>, bias: &[f32], out: &mut [f32]) {
        let (mr, nr, width) = (kernel.mr, kernel.nr, outputs.len());
        assert!(outputs.start.is_multiple_of(nr) && outputs.end <= self.rows, "outputs {outputs:?}");
        assert_eq!((bias.len(), out.len()), (width, x.rows * width), "bias and result of {} rows", x.rows);
        assert_eq!(x.values.len(), x.padded * self.cols, "activations of another depth");
        for out in out.chunks_exact_mut(width.max(1)) {
            out.copy_from_slice(bias);
        }
        for block in blocks(self.cols) {
            let depth = block.len();
            let (x_block, w_block) = (x.padded * block.start, self.start + self.padded * block.start);
            let step = (GROUP / depth / nr).max(1) * nr;
            for left in (0..width).step_by(step) {
                for i in (0..x.rows).step_by(mr) {
                    let a = x.values[x_block + i * depth..].as_ptr();
                    for j in (left..width.min(left + step)).step_by(nr) {
                        let b = self.values[w_block + (outputs.start + j) * depth..].as_ptr();
                        let tile = Tile {
                            c: out[i * width + j..].as_mut_ptr(),
                            row_stride: width,
                            col_stride: 1,
                            rows: mr.min(x.rows - i),
                            cols: nr.min(width - j),
                            alpha: 1.0,
                            add: true,
                        };
                        // SAFETY: panels are whole by their padding, the tile's part of C is inside
                        // `out`, and the kernel runs here.
                        unsafe { (kernel.tile)(depth, a, b, nr, &tile) };
                    }
                }
            }
        }
    }
}

impl F32Rows {
    fn set(&mut self, x: &[f32], cols: usize) {
        let kernel = Kernel::best();
        self.rows = x.len() / cols.max(1);
        self.padded = self.rows.next_multiple_of(kernel.mr);
        self.values.resize(self.padded * cols, 0.0);
        if self.rows == 0 {
            return;
        }
        for block in blocks(cols) {
            let to = self.values[self.padded * block.start..][..self.padded * block.len()].as_mut_ptr();
            let from = x[block.start..].as_ptr().cast();
            // SAFETY: all rows of these depths exist, and there is room for their panels.
            unsafe {
                (kernel.typed(Dtype::F32).pack_lines)(
                    from,
                    cols,
                    self.rows,
                    block.len(),
                    kernel.mr,
                    to,
                    kernel.mr * block.len(),
                );
            }
        }
    }
}

fn blocks(cols: usize) -> impl Iterator<Item = Range<usize>> {
    (0..cols).step_by(DEPTH).map(move |from| from..(from + DEPTH).min(cols))
}
