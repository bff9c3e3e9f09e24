//! The general product: packed panels, blocks that fit the caches, tasks over one side of C.
//!
//! One side of C is *cut* among the tasks; each task packs its own part of that operand. The other
//! operand is *common*. A few threads pack it each for itself: its panels then lie in that core's
//! cache, and nobody waits. Many threads pack it together first, a run of depths at a time, and
//! then share out small tasks.

use super::kernel::{Kernel, Tile};
use super::scratch::with_buffer;
use super::{Layout, Operand, Output, Product};
use crate::Out;
use crate::cpu::parallel::for_each_task;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Depths in a block, but for those beside: a panel of A of this depth stays in the first-level cache.
const DEPTH: usize = 576;
/// Threads up to which each packs the common operand for itself.
const FEW_THREADS: usize = 4;
/// Parts of a task's last depths, at least: what one thread may take over from another.
const PARTS: usize = 16;
/// Multiply-adds that take as long as packing one value.
const PACKING: usize = 18;
/// Values of the common operand that many threads pack at a time.
const COMMON: usize = 1 << 18;
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

/// A side of C with its operand.
struct Side<'a> {
    operand: &'a Operand<'a>,
    /// Of the product beside.
    beside: Option<&'a Operand<'a>>,
    lines: usize,
    /// Lines in a panel.
    width: usize,
}

impl Side<'_> {
    fn padded(&self) -> usize {
        self.lines.next_multiple_of(self.width)
    }

    /// Lines in each of `count` parts of whole panels.
    fn part(&self, count: usize) -> usize {
        self.lines.div_ceil(self.width).div_ceil(count) * self.width
    }
}

/// Depths that are packed and multiplied together: some of the product's, and behind the last of them those
/// of the product beside it.
struct Block {
    depths: Range<usize>,
    beside: usize,
}

impl Block {
    fn len(&self) -> usize {
        self.depths.len() + self.beside
    }
}

/// What is left of a task: parts of its last depths.
#[derive(Default)]
struct Rest {
    /// All other depths are done.
    open: AtomicBool,
    taken: AtomicUsize,
}

/// A plan for one product; see the module's head.
struct Plan<'a> {
    kernel: &'a Kernel,
    p: &'a Product<'a>,
    out: Output,
    threads: usize,
    cut: Cut,
    /// The side that is cut, and the common one.
    own: Side<'a>,
    common: Side<'a>,
    /// Depths of a block.
    depth: usize,
    /// B is read where it is stored, where a whole panel is.
    in_place: bool,
}

pub fn run(kernel: &Kernel, out: Output, p: &Product<'_>) {
    let plan = Plan::new(kernel, out, p);
    if plan.threads <= FEW_THREADS { plan.each_alone() } else { plan.together() }
}

/// Values of the buffers that each thread of a product holds: of the common operand, and of its own.
pub fn buffer_values(kernel: &Kernel, p: &Product<'_>) -> [usize; 2] {
    let plan = Plan::new(kernel, Output { c: std::ptr::null_mut(), row_stride: 0, col_stride: 0 }, p);
    [plan.common.padded() * plan.longest(), plan.largest().min(plan.own.padded()) * plan.longest()]
}

impl<'a> Plan<'a> {
    fn new(kernel: &'a Kernel, out: Output, p: &'a Product<'a>) -> Self {
        let threads = p.threads();
        let beside = p.beside.as_ref();
        let rows = Side { operand: &p.a, beside: beside.map(|b| &b.a), lines: p.m, width: kernel.mr };
        let cols = Side { operand: &p.b, beside: beside.map(|b| &b.b), lines: p.n, width: kernel.nr };
        let in_place =
            p.b.layout == Layout::Depths && p.b.f32().is_some() && p.m <= IN_PLACE_ROWS && beside.is_none();
        // The longest task's time per depth, when the first side is cut.
        let cost = |own: &Side, common: &Side| {
            let (own, common) = (own.part(threads), common.padded());
            own * common + PACKING * (own + common)
        };
        let by_rows = cost(&rows, &cols);
        let by_cols = cost(&cols, &rows);
        let cut = if in_place || (by_cols, p.m) <= (by_rows, p.n) { Cut::Cols } else { Cut::Rows };
        let (own, common) = if cut == Cut::Cols { (cols, rows) } else { (rows, cols) };
        let most = if in_place { IN_PLACE_DEPTH } else { DEPTH };
        let granule = p.a.granule().max(p.b.granule()).max(16);
        let depth = p.k.div_ceil(p.k.div_ceil(most)).next_multiple_of(granule);
        Plan { kernel, p, out, threads, cut, own, common, depth, in_place }
    }
}

impl Plan<'_> {
    /// One task for each thread, which packs the common operand for itself. Who is done with a task helps with the
    /// last depths of the others: for those the common operand lies packed in front of every thread.
    fn each_alone(&self) {
        let step = self.own.part(self.threads);
        let count = self.own.lines.div_ceil(step);
        let rest: [Rest; FEW_THREADS] = std::array::from_fn(|_| Rest::default());
        let lines = |i: usize| i * step..((i + 1) * step).min(self.own.lines);
        self.for_each(count, |i| {
            with_buffer(self.common.padded() * self.longest(), |common| {
                for block in self.blocks(0..self.p.k) {
                    // SAFETY: all lines, and room for them.
                    unsafe { self.pack(&self.common, 0..self.common.lines, &block, common.as_mut_ptr()) };
                    if count == 1 || block.depths.end < self.p.k {
                        self.block(lines(i), &block, common);
                        continue;
                    }
                    // What was added to C so far is there for whoever sees this.
                    rest[i].open.store(true, Ordering::Release);
                    for of in (i..count).chain(0..i) {
                        if rest[of].open.load(Ordering::Acquire) {
                            self.rest(lines(of), &rest[of], &block, common);
                        }
                    }
                }
            });
        });
    }

    /// Parts of a task's last depths, as long as there are any that nobody has taken.
    fn rest(&self, lines: Range<usize>, rest: &Rest, block: &Block, common: &[f32]) {
        let width = self.own.width;
        let step = lines.len().div_ceil(width).div_ceil(PARTS) * width;
        let step = step.min(self.largest());
        loop {
            let from = lines.start + rest.taken.fetch_add(1, Ordering::Relaxed) * step;
            if from >= lines.end {
                return;
            }
            self.block(from..(from + step).min(lines.end), block, common);
        }
    }

    /// The common operand packed by all threads, then small tasks; again for each run of depths.
    fn together(&self) {
        let padded = self.common.padded();
        let run = (COMMON / padded / self.depth).max(1) * self.depth;
        let step = self.own.part(4 * self.threads).min(self.largest());
        let values = run.min(self.p.k.next_multiple_of(self.depth)) + self.beside();
        with_buffer(padded * values, |common| {
            for from in (0..self.p.k).step_by(run) {
                let depths = from..(from + run).min(self.p.k);
                self.pack_together(&depths, common);
                self.for_each(self.own.lines.div_ceil(step), |i| {
                    let lines = i * step..((i + 1) * step).min(self.own.lines);
                    for block in self.blocks(depths.clone()) {
                        let common = &common[(block.depths.start - depths.start) * padded..];
                        self.block(lines.clone(), &block, common);
                    }
                });
            }
        });
    }

    /// Blocks of depths one after another, each with all its panels.
    fn pack_together(&self, depths: &Range<usize>, buffer: &mut [f32]) {
        let to = Pointer(buffer.as_mut_ptr());
        let side = &self.common;
        let step = side.part(2 * self.threads);
        self.for_each(side.lines.div_ceil(step), |i| {
            let lines = i * step..((i + 1) * step).min(side.lines);
            for block in self.blocks(depths.clone()) {
                let at = (block.depths.start - depths.start) * side.padded() + lines.start * block.len();
                // SAFETY: inside the buffer; each task has panels of its own.
                unsafe { self.pack(side, lines.clone(), &block, to.at(at)) };
            }
        });
    }

    /// The part of C in `lines` of the cut side, over one block of depths.
    fn block(&self, lines: Range<usize>, block: &Block, common: &[f32]) {
        let step = self.largest();
        with_buffer(step.min(lines.len().next_multiple_of(self.own.width)) * block.len(), |packed| {
            for from in lines.clone().step_by(step) {
                let part = from..(from + step).min(lines.end);
                // What is read in place need not be packed, but for a last panel that is not whole.
                let first = if self.in_place { part.len() / self.own.width * self.own.width } else { 0 };
                if first < part.len() {
                    let to = packed[first * block.len()..].as_mut_ptr();
                    // SAFETY: the lines exist and fit the buffer.
                    unsafe { self.pack(&self.own, part.start + first..part.end, block, to) };
                }
                match self.cut {
                    Cut::Cols => self.tiles(block, 0..self.p.m, part, common, packed),
                    Cut::Rows => self.tiles(block, part, 0..self.p.n, packed, common),
                }
            }
        });
    }

    /// All tiles of `rows × cols` over one block of depths; `a` and `b` hold just these panels.
    fn tiles(&self, block: &Block, rows: Range<usize>, cols: Range<usize>, a: &[f32], b: &[f32]) {
        let (mr, nr) = (self.kernel.mr, self.kernel.nr);
        let depth = block.len();
        let add = self.p.to == Out::Add || block.depths.start > 0;
        let step = (self.kernel.own / depth / nr).max(1) * nr;
        for left in cols.clone().step_by(step) {
            for i in rows.clone().step_by(mr) {
                let a = a[(i - rows.start) * depth..].as_ptr();
                // Along the rows of C: the next tile is on the same pages.
                for j in (left..cols.end.min(left + step)).step_by(nr) {
                    let width = nr.min(cols.end - j);
                    let stored = self.p.b.f32().filter(|_| self.in_place && width == nr);
                    let (b, b_stride) = match stored {
                        Some(first) => {
                            (first.wrapping_add(self.p.b.value(j, block.depths.start)), self.p.b.stride)
                        }
                        None => (b[(j - cols.start) * depth..].as_ptr(), nr),
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

    /// # Safety
    /// The lines and depths exist; `dst` has room for their panels.
    unsafe fn pack(&self, side: &Side, lines: Range<usize>, block: &Block, dst: *mut f32) {
        let distance = side.width * block.len();
        // SAFETY: by this function's contract; a kernel is only had where it runs.
        unsafe { side.operand.pack(self.kernel, lines.clone(), &block.depths, side.width, dst, distance) };
        if let Some(beside) = side.beside.filter(|_| block.beside > 0) {
            let dst = dst.wrapping_add(side.width * block.depths.len());
            // SAFETY: likewise; each panel has room behind the product's own depths.
            unsafe { beside.pack(self.kernel, lines, &(0..block.beside), side.width, dst, distance) };
        }
    }

    /// Lines of the cut side packed at a time.
    fn largest(&self) -> usize {
        (self.kernel.own / self.longest() / self.own.width).max(1) * self.own.width
    }

    /// Depths of the product beside.
    fn beside(&self) -> usize {
        self.p.beside.as_ref().map_or(0, |beside| beside.depth)
    }

    /// Depths of the longest block.
    fn longest(&self) -> usize {
        self.depth + self.beside()
    }

    fn blocks(&self, depths: Range<usize>) -> impl Iterator<Item = Block> + use<> {
        let (depth, beside, k) = (self.depth, self.beside(), self.p.k);
        depths.clone().step_by(depth).map(move |from| {
            let end = (from + depth).min(depths.end);
            Block { depths: from..end, beside: if end == k { beside } else { 0 } }
        })
    }

    fn for_each(&self, count: usize, task: impl Fn(usize) + Sync + Send) {
        if self.threads == 1 || count == 1 {
            (0..count).for_each(task);
        } else {
            for_each_task(count, task);
        }
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
