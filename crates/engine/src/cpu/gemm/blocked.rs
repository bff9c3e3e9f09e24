//! The general product: packed panels, blocks that fit the caches, tasks over one side of C.
//!
//! The side of C with more panels to share out is *cut* among the tasks; each task packs its own
//! part of that operand. The other operand is *common*: it is packed once, by all threads, for a run
//! of depths at a time. Nothing is packed twice.

use super::buffer::with_buffer;
use super::kernel::{Kernel, Tile};
use super::{Layout, Operand, Output, Product};
use crate::{Dtype, Out};
use rayon::prelude::*;
use std::ops::Range;

/// Depths in a block: a panel of B of this depth stays in the first-level cache.
const DEPTH: usize = 384;
/// Values of the common operand packed at a time: stays in the last-level cache.
const COMMON: usize = 1 << 20;
/// Values of packed panels of B that stay in the second-level cache while rows of C are computed.
const COLS_BLOCK: usize = 1 << 17;
/// Values of a task's own packed block.
const OWN: usize = 1 << 17;
/// Values up to which the common operand is packed by the calling thread alone.
const PACK_SERIAL: usize = 1 << 14;
/// Rows up to which rows of B that are f32 already are read in place.
const IN_PLACE_ROWS: usize = 32;

/// Depths in a block that is read in place: its rows are read as that many streams.
const IN_PLACE_DEPTH: usize = 64;

/// Which side of C the tasks cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Rows,
    Cols,
}

/// A plan for one product; see the module's head.
struct Plan<'a> {
    kernel: &'a Kernel,
    p: &'a Product<'a>,
    out: Output,
    threads: usize,
    cut: Cut,
    /// Depths of a block.
    depth: usize,
    /// B is read where it is stored, where a whole panel is.
    in_place: bool,
}

pub fn run(kernel: &Kernel, out: Output, p: &Product<'_>) {
    let threads = p.threads();
    let (rows, cols) = (p.m.div_ceil(kernel.mr), p.n.div_ceil(kernel.nr));
    let in_place = p.b.layout == Layout::Depths && p.b.dtype == Dtype::F32 && p.m <= IN_PLACE_ROWS;
    // Share of the threads' time in use when panels are dealt out evenly.
    let even = |panels: usize| panels as f64 / (panels.div_ceil(threads) * threads) as f64;
    let cut = if in_place || even(cols) + 0.02 > even(rows) { Cut::Cols } else { Cut::Rows };
    let most = if in_place { IN_PLACE_DEPTH } else { DEPTH };
    let depth = p.k.div_ceil(p.k.div_ceil(most)).next_multiple_of(16);
    Plan { kernel, p, out, threads, cut, depth, in_place }.run();
}

impl Plan<'_> {
    fn run(&self) {
        let (common, lines, width) = match self.cut {
            Cut::Cols => (&self.p.a, self.p.m, self.kernel.mr),
            Cut::Rows => (&self.p.b, self.p.n, self.kernel.nr),
        };
        let padded = lines.next_multiple_of(width);
        // A whole number of blocks at a time.
        let run = (COMMON / padded / self.depth).max(1) * self.depth;
        with_buffer(padded * run.min(self.p.k), |buffer| {
            for from in (0..self.p.k).step_by(run) {
                let depths = from..(from + run).min(self.p.k);
                self.pack_common(common, lines, width, depths.clone(), buffer);
                self.tasks(depths, buffer);
            }
        });
    }

    /// Blocks of depths one after another, each with all its panels.
    fn pack_common(
        &self,
        operand: &Operand<'_>,
        lines: usize,
        width: usize,
        depths: Range<usize>,
        buffer: &mut [f32],
    ) {
        let padded = lines.next_multiple_of(width);
        let to = Pointer(buffer.as_mut_ptr());
        let pack = |first: usize, count: usize| {
            for block in self.blocks(depths.clone()) {
                let at = (block.start - depths.start) * padded + first * block.len();
                // SAFETY: inside the buffer; each task has panels of its own.
                unsafe {
                    operand.pack(self.kernel, first, count, block.start, block.len(), width, to.at(at));
                }
            }
        };
        if self.threads == 1 || padded * depths.len() <= PACK_SERIAL {
            return pack(0, lines);
        }
        let step = lines.div_ceil(2 * self.threads).next_multiple_of(width);
        (0..lines.div_ceil(step)).into_par_iter().with_max_len(1).for_each(|i| {
            pack(i * step, step.min(lines - i * step));
        });
    }

    /// Share out the cut side.
    fn tasks(&self, depths: Range<usize>, common: &[f32]) {
        let (lines, width) = match self.cut {
            Cut::Cols => (self.p.n, self.kernel.nr),
            Cut::Rows => (self.p.m, self.kernel.mr),
        };
        let largest = (OWN / (self.depth * width)).max(1);
        let panels = lines.div_ceil(width);
        let per_task = if self.threads == 1 { panels } else { panels.div_ceil(4 * self.threads) };
        let step = per_task.clamp(1, largest) * width;
        let run = |i: usize| self.task(i * step..((i + 1) * step).min(lines), depths.clone(), common);
        let count = lines.div_ceil(step);
        if self.threads == 1 {
            (0..count).for_each(run);
        } else {
            (0..count).into_par_iter().with_max_len(1).for_each(run);
        }
    }

    /// The part of C in `lines` of the cut side.
    fn task(&self, lines: Range<usize>, depths: Range<usize>, common: &[f32]) {
        let (own, width, common_padded) = match self.cut {
            Cut::Cols => (&self.p.b, self.kernel.nr, self.p.m.next_multiple_of(self.kernel.mr)),
            Cut::Rows => (&self.p.a, self.kernel.mr, self.p.n.next_multiple_of(self.kernel.nr)),
        };
        with_buffer(lines.len().next_multiple_of(width) * self.depth, |packed| {
            for block in self.blocks(depths.clone()) {
                let common = &common[(block.start - depths.start) * common_padded..];
                // What is read in place need not be packed, but for a last panel that is not whole.
                let first = if self.in_place { lines.len() / width * width } else { 0 };
                if first < lines.len() {
                    let to = &mut packed[first * block.len()..];
                    // SAFETY: the lines and depths exist and fit the buffer.
                    unsafe {
                        own.pack(
                            self.kernel,
                            lines.start + first,
                            lines.len() - first,
                            block.start,
                            block.len(),
                            width,
                            to.as_mut_ptr(),
                        );
                    }
                }
                match self.cut {
                    Cut::Cols => self.tiles(block, 0..self.p.m, lines.clone(), common, packed),
                    Cut::Rows => self.tiles(block, lines.clone(), 0..self.p.n, packed, common),
                }
            }
        });
    }

    /// All tiles of `rows × cols` over one block of depths; `a` and `b` hold just these panels.
    fn tiles(&self, block: Range<usize>, rows: Range<usize>, cols: Range<usize>, a: &[f32], b: &[f32]) {
        let (mr, nr) = (self.kernel.mr, self.kernel.nr);
        let depth = block.len();
        let add = self.p.to == Out::Add || block.start > 0;
        let step = (COLS_BLOCK / depth / nr).max(1) * nr;
        for left in cols.clone().step_by(step) {
            for i in rows.clone().step_by(mr) {
                let a = a[(i - rows.start) * depth..].as_ptr();
                for j in (left..cols.end.min(left + step)).step_by(nr) {
                    let width = nr.min(cols.end - j);
                    let (b, b_stride) = if self.in_place && width == nr {
                        (self.p.b.at(j, block.start).cast(), self.p.b.stride)
                    } else {
                        (b[(j - cols.start) * depth..].as_ptr(), nr)
                    };
                    let tile = Tile {
                        c: self.out.at(i, j),
                        row_stride: self.out.row_stride,
                        col_stride: self.out.col_stride,
                        rows: mr.min(rows.end - i),
                        cols: width,
                        alpha: self.p.alpha,
                        add,
                    };
                    // SAFETY: the panels are packed as the kernel reads them, or are whole in the
                    // checked operand; tasks have disjoint parts of C; the kernel runs here.
                    unsafe { (self.kernel.tile)(depth, a, b, b_stride, &tile) };
                }
            }
        }
    }

    fn blocks(&self, depths: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let depth = self.depth;
        depths.clone().step_by(depth).map(move |from| from..(from + depth).min(depths.end))
    }
}

/// A buffer as tasks share it; each writes a part of its own.
#[derive(Clone, Copy)]
struct Pointer(*mut f32);
// SAFETY: see above.
unsafe impl Send for Pointer {}
unsafe impl Sync for Pointer {}

impl Pointer {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}
