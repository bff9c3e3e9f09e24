//! Products with a thin side, as dot products over lines that are read where they are stored:
//! packing would cost more than the product.

use super::buffer::with_buffer;
use super::kernel::{Kernel, Tile};
use super::{Layout, Output, Product};
use crate::{Dtype, Out};
use rayon::prelude::*;

/// Rows of activations up to which frozen rows are read in place (decoding).
pub const FEW_ROWS: usize = 16;
/// Columns up to which rows of A are read in place (LoRA's A).
pub const FEW_COLS: usize = 16;

/// Values of the few lines that stay in the first-level cache while the many pass by.
const FEW_BLOCK: usize = 6144;

/// `p.a` has few lines; `p.b` has many, stored as lines.
pub fn dots(kernel: &Kernel, out: Output, p: &Product<'_>) {
    debug_assert_eq!(p.b.layout, Layout::Lines);
    if p.a.layout == Layout::Lines && p.a.dtype == Dtype::F32 {
        return dots_with(kernel, out, p, p.a.at(0, 0).cast(), p.a.stride);
    }
    with_buffer(p.m * p.k, |few| {
        // One panel as wide as k, with lines and depths in each other's place, is the lines themselves.
        let typed = kernel.typed(p.a.dtype);
        let copy = if p.a.layout == Layout::Lines { typed.pack_depths } else { typed.pack_lines };
        // SAFETY: all lines, all depths, and room for them.
        unsafe { copy(p.a.at(0, 0), p.a.stride, p.k, p.m, p.k, few.as_mut_ptr()) };
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
            let dots = kernel.typed(p.b.dtype).dots;
            let few = few.get().wrapping_add(from);
            let depth = depth.min(p.k - from);
            // SAFETY: the operands' shapes were checked; tasks write disjoint columns of C.
            unsafe { dots(depth, few, few_stride, p.b.at(first, from), p.b.stride, &tile) };
        }
    };
    if threads == 1 {
        return run(0, p.n);
    }
    // A multiple of every kernel's block of lines.
    let step = p.n.div_ceil(threads * 4).next_multiple_of(6);
    (0..p.n.div_ceil(step)).into_par_iter().with_max_len(1).for_each(|i| {
        run(i * step, step.min(p.n - i * step));
    });
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
