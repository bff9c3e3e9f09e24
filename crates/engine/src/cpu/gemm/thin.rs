//! Products with a thin side, as dot products over lines that are read where they are stored:
//! packing would cost more than the product.

use super::kernel::{Kernel, Tile};
use super::pack::unpack;
use super::scratch::with_buffer;
use super::{Layout, Operand, Output, Product, Stored};
use crate::cpu::parallel::for_each_task;
use crate::{Dtype, Out};
use std::ops::Range;

/// Rows of activations up to which frozen rows are read in place (decoding).
pub(super) const FEW_ROWS: usize = 16;
/// Columns up to which rows of A are read in place (LoRA's A).
pub const FEW_COLS: usize = 16;

/// Values of the few lines that stay in the first-level cache while the many pass by.
const FEW_BLOCK: usize = 6144;

/// Lines of blocks that are unpacked at a time: they stay in a near cache, and are whole blocks of every
/// kernel's lines.
const UNPACKED_LINES: usize = 6;

/// `p.a` has few lines; `p.b` has many, stored as lines.
pub fn dots(kernel: &Kernel, out: Output, p: &Product<'_>) {
    debug_assert_eq!(p.b.layout, Layout::Lines);
    if let (Layout::Lines, Some(few)) = (p.a.layout, p.a.f32()) {
        return dots_with(kernel, out, p, few, p.a.stride);
    }
    with_buffer(p.m * p.k, |few| {
        // One panel as wide as k, with lines and depths in each other's place, is the lines themselves.
        let layout = if p.a.layout == Layout::Lines { Layout::Depths } else { Layout::Lines };
        let (lines, to) = (Operand { layout, ..p.a }, few.as_mut_ptr());
        // SAFETY: all lines, all depths, and room for them.
        unsafe { lines.pack(kernel, 0..p.k, &(0..p.m), p.k, to, p.k * p.m) };
        dots_with(kernel, out, p, few.as_ptr(), p.k);
    });
}

fn dots_with(kernel: &Kernel, out: Output, p: &Product<'_>, few: *const f32, few_stride: usize) {
    let threads = p.threads();
    let few = Shared(few);
    let depth = if p.m.min(8) * p.k > FEW_BLOCK { FEW_BLOCK / 8 } else { p.k };
    let run = |first: usize, count: usize| {
        for from in (0..p.k).step_by(depth) {
            let tile = Tile {
                c: out.at(0, first),
                row_stride: out.row_stride,
                col_stride: out.col_stride,
                rows: p.m,
                cols: count,
                alpha: p.alpha,
                add: p.to == Out::Add || from > 0,
            };
            let few = few.get().wrapping_add(from);
            let depths = from..p.k.min(from + depth);
            // SAFETY: the operands' shapes were checked; tasks write disjoint columns of C.
            unsafe { many_dots(kernel, few, few_stride, &p.b, first, &depths, tile) };
        }
    };
    if threads == 1 {
        return run(0, p.n);
    }
    // A multiple of every kernel's block of lines.
    let step = p.n.div_ceil(threads * 4).next_multiple_of(6);
    for_each_task(p.n.div_ceil(step), |i| {
        run(i * step, step.min(p.n - i * step));
    });
}

/// The dot products of a few lines of f32 with `tile.cols` lines of `many` from `first` on.
///
/// # Safety
/// The lines and depths exist; nobody else touches the tile's part of C; the kernel runs here.
unsafe fn many_dots(
    kernel: &Kernel,
    few: *const f32,
    few_stride: usize,
    many: &Operand<'_>,
    first: usize,
    depths: &Range<usize>,
    tile: Tile,
) {
    match many.stored {
        Stored::Plain { bytes, dtype } => {
            let lines = bytes.as_ptr().wrapping_add(many.value(first, depths.start) * dtype.size());
            let dots = kernel.typed(dtype).dots;
            // SAFETY: by this function's contract.
            unsafe { dots(depths.len(), few, few_stride, lines, many.stride, &tile) };
        }
        Stored::Blocks(matrix) => with_buffer(UNPACKED_LINES * depths.len(), |values| {
            let dots = kernel.typed(Dtype::F32).dots;
            for from in (0..tile.cols).step_by(UNPACKED_LINES) {
                let cols = UNPACKED_LINES.min(tile.cols - from);
                unpack(matrix, first + from..first + from + cols, depths, values);
                let c = tile.c.wrapping_add(from * tile.col_stride);
                let (lines, stride) = (values.as_ptr().cast(), depths.len());
                // SAFETY: the lines were just unpacked; the rest by this function's contract.
                unsafe { dots(depths.len(), few, few_stride, lines, stride, &Tile { c, cols, ..tile }) };
            }
        }),
    }
}

#[derive(Clone, Copy)]
struct Shared(*const f32);
// SAFETY: only read.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    fn get(self) -> *const f32 {
        self.0
    }
}
