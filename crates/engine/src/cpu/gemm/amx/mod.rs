//! The general product on processors with a tile unit (Intel AMX): f32 accuracy from products of bf16.
//!
//! Both operands are split in parts of bf16 while they are packed (`split.rs`); the tile unit sums the products of
//! parts in f32 (`tile.rs`), at several times the rate of f32 multiply-adds. A is packed by all threads together, a
//! run of depths at a time. Tasks then take a rectangle of C each: they pack their part of B, a block of depths at a
//! time, and add up in tiles of their own, which are copied to C at the end of the run.
//!
//! Each element of C is summed in one order that depends on the shape alone, whatever the blocks, tasks and tiles it
//! lies in. Against one chain of f32 multiply-adds, 16 products are added before each rounding of the sum: errors
//! are not larger (`tests.rs` compares both with f64).
//!
//! What is not as in f32: numbers below 2⁻¹²⁶ count as zero, also as a part of a number (an error of at most 2⁻¹²⁵)
//! or as a product; and where an f32 product would be ∞, this one may be NaN.

mod split;
#[cfg(test)]
mod tests;
mod tile;

use super::buffer::with_buffer;
use super::{Output, Product, Stored};
use crate::Out;
use rayon::prelude::*;
use split::For;
use std::ops::Range;
use tile::{DEPTHS, LINES, Panel, TILE, Tiles};

pub use tile::available;

/// Parts of A, which is f32.
const PARTS: usize = 3;
/// Lines of a panel.
const PANEL: usize = 2 * LINES;
/// Bytes of a panel's tiles of C.
const CELL: usize = 4 * TILE;
/// Depths of a block: that of A for the rows of a task, the same of B, and their tiles of C stay in the
/// second-level cache.
const BLOCK: usize = 256;
/// Rows of A that are packed at a time, and values of it.
const ROWS: usize = 2048;
const VALUES: usize = 1 << 20;
/// Depths that are summed in one chain, at most: longer ones would err more than those of f32 kernels, which are cut
/// too.
const CHAIN: usize = 1024;
/// Panels of rows and of columns of a task, at most.
const TASK_ROWS: usize = 16;
const TASK_COLS: usize = 8;

/// Whether the tile unit is faster than f32 multiply-adds; by the shape only.
pub fn pays(p: &Product<'_>) -> bool {
    let parts = split::parts(p.b.format());
    let products = if parts == 1 { 3 } else { 2 * parts + [0, 0, 1, 0][parts] };
    let padded = p.m.next_multiple_of(LINES) * p.n.next_multiple_of(LINES) * p.k.next_multiple_of(DEPTHS);
    // In multiply-adds of f32, of which a processor does 16 to 32 where it does 512 of bf16.
    let tiles = padded * products / 12;
    let packed = 8 * p.k * (p.m + p.n) + 4 * p.m * p.n;
    tiles + packed < p.m * p.n * p.k
}

/// A product whose A is f32, C with neighbouring columns.
pub fn run(out: Output, p: &Product<'_>) {
    debug_assert!(out.col_stride == 1 && split::parts(p.a.format()) == PARTS);
    for first in (0..p.m).step_by(ROWS) {
        let rows = first..p.m.min(first + ROWS);
        let run = depths_of_run(rows.len(), p.k);
        for from in (0..p.k).step_by(run) {
            let depths = from..p.k.min(from + run);
            with_buffer(left_bytes(rows.len(), depths.len()) / size_of::<f32>(), |left| {
                let strips = rows.len().div_ceil(LINES);
                let left =
                    Left { start: Pointer(left.as_mut_ptr().cast()), rows: rows.clone(), depths, strips };
                left.pack(p);
                let grid = Grid::new(&left, p);
                for_each(p.threads(), grid.tasks(), |task| grid.run(task, &left, out, p));
            });
        }
    }
}

/// Bytes of the buffers of a product: one of A, and one that each thread holds.
pub fn buffer_bytes(p: &Product<'_>) -> [usize; 2] {
    let rows = p.m.min(ROWS);
    let (run, parts) = (depths_of_run(rows, p.k).min(p.k), split::parts(p.b.format()));
    let panels = |lines: usize, most: usize| lines.div_ceil(PANEL).min(most);
    let task = Shape { rows: panels(rows, TASK_ROWS), cols: panels(p.n, TASK_COLS), parts };
    [left_bytes(rows, run), task.bytes()]
}

/// Depths of A that are packed at a time: whole blocks.
fn depths_of_run(rows: usize, k: usize) -> usize {
    let most = (VALUES / rows.next_multiple_of(LINES)).clamp(BLOCK, CHAIN);
    (most / BLOCK).min(k.div_ceil(BLOCK)) * BLOCK
}

fn left_bytes(rows: usize, depth: usize) -> usize {
    rows.div_ceil(LINES) * depth.div_ceil(DEPTHS) * PARTS * TILE
}

fn for_each(threads: usize, count: usize, task: impl Fn(usize) + Sync + Send) {
    if threads == 1 || count == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Blocks of depths.
fn blocks(depths: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let depths = depths.clone();
    depths.clone().step_by(BLOCK).map(move |from| from..depths.end.min(from + BLOCK))
}

/// Some rows of A over a run of depths: `[blocks, panels, steps, parts, strips, tile]`.
struct Left {
    start: Pointer,
    rows: Range<usize>,
    depths: Range<usize>,
    strips: usize,
}

impl Left {
    /// Each panel over each block is a task.
    fn pack(&self, p: &Product<'_>) {
        let panels = self.strips.div_ceil(2);
        let count = self.depths.len().div_ceil(BLOCK);
        for_each(p.threads(), count * panels, |task| {
            let from = self.depths.start + task / panels * BLOCK;
            let block = from..self.depths.end.min(from + BLOCK);
            let panel = task % panels;
            let first = self.rows.start + panel * PANEL;
            let lines = first..self.rows.end.min(first + PANEL);
            let dst = self.panel(&block, panel).start.cast_mut();
            // SAFETY: the rows and depths exist; each task writes a panel of its own, inside the buffer.
            unsafe { split::pack(&p.a, For::A, lines, &block, dst) };
        });
    }

    fn panel(&self, block: &Range<usize>, panel: usize) -> Panel {
        let before = (block.start - self.depths.start) / DEPTHS * self.strips;
        let tiles = before + 2 * panel * block.len().div_ceil(DEPTHS);
        Panel { start: self.start.at(tiles * PARTS * TILE), strips: (self.strips - 2 * panel).min(2) }
    }
}

/// Panels of a task, and parts of B.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    cols: usize,
    parts: usize,
}

impl Shape {
    /// Of the tiles of C.
    fn sums(&self) -> usize {
        self.rows * self.cols * CELL
    }

    /// Of those and a block of B.
    fn bytes(&self) -> usize {
        self.sums() + self.cols * BLOCK / DEPTHS * self.parts * 2 * TILE
    }
}

/// How C is cut into tasks.
struct Grid {
    task: Shape,
    rows: usize,
    cols: usize,
}

impl Grid {
    /// The cut whose longest thread is done first.
    fn new(left: &Left, p: &Product<'_>) -> Self {
        /// Panels of rows that multiply as long as B is packed.
        const PACKING: usize = 1;
        let parts = split::parts(p.b.format());
        let (rows, cols) = (left.strips.div_ceil(2), p.n.div_ceil(PANEL));
        let threads = p.threads();
        // Blocks are not decoded twice.
        let granule = match (p.b.stored, p.b.layout) {
            (Stored::Blocks(_), super::Layout::Depths) => p.b.granule().div_ceil(PANEL),
            _ => 1,
        };
        let grid = |row_cuts: usize, col_cuts: usize| {
            let (r, c) = (rows.div_ceil(row_cuts), cols.div_ceil(col_cuts).next_multiple_of(granule));
            Grid {
                task: Shape { rows: r, cols: c.min(cols), parts },
                rows: rows.div_ceil(r),
                cols: cols.div_ceil(c),
            }
        };
        let time = |g: &Grid| g.tasks().div_ceil(threads) * (g.task.rows + PACKING) * g.task.cols;
        let (fewest_rows, fewest_cols) = (rows.div_ceil(TASK_ROWS), cols.div_ceil(TASK_COLS));
        let row_cuts = fewest_rows..=rows.min(fewest_rows + threads);
        row_cuts
            .flat_map(|r| (fewest_cols..=cols.min(fewest_cols + 2 * threads)).map(move |c| (r, c)))
            .map(|(r, c)| grid(r, c))
            .filter(|g| g.task.cols <= TASK_COLS.max(granule))
            .min_by_key(time)
            .unwrap_or_else(|| grid(fewest_rows, fewest_cols))
    }

    fn tasks(&self) -> usize {
        self.rows * self.cols
    }

    /// One rectangle of C over the depths of `left`.
    fn run(&self, task: usize, left: &Left, out: Output, p: &Product<'_>) {
        let Shape { rows, cols, parts } = self.task;
        let (row, col) = (task % self.rows * rows, task / self.rows * cols);
        let panels = row..left.strips.div_ceil(2).min(row + rows);
        let columns = col * PANEL..p.n.min((col + cols) * PANEL);
        with_buffer(self.task.bytes() / size_of::<f32>(), |buffer| {
            let sums: *mut u8 = buffer.as_mut_ptr().cast();
            let right = sums.wrapping_add(self.task.sums());
            // SAFETY: this way is only taken where tiles are available.
            let tiles = unsafe { Tiles::configure() };
            for block in blocks(&left.depths) {
                let steps = block.len().div_ceil(DEPTHS);
                let strips = columns.len().div_ceil(LINES);
                // SAFETY: the columns and depths exist, and a block of as many fits.
                unsafe { split::pack(&p.b, For::B, columns.clone(), &block, right) };
                for j in 0..strips.div_ceil(2) {
                    let start = right.wrapping_add(2 * j * steps * parts * TILE);
                    let b = Panel { start, strips: (strips - 2 * j).min(2) };
                    for (i, panel) in panels.clone().enumerate() {
                        let sum = sums.wrapping_add((j * rows + i) * CELL);
                        let add = block.start > left.depths.start;
                        // SAFETY: both panels were packed for this block; the cell is this task's.
                        unsafe { tiles.multiply(steps, left.panel(&block, panel), b, parts, add, sum) };
                    }
                }
            }
            drop(tiles);
            let rows_of_c = left.rows.start + panels.start * PANEL
                ..left.rows.end.min(left.rows.start + panels.end * PANEL);
            let add = p.to == Out::Add || left.depths.start > 0;
            let sums = Sums { start: sums.cast(), rows };
            // SAFETY: tasks have disjoint rectangles of C; all its sums are there.
            unsafe { sums.store(out, rows_of_c, columns, p.alpha, add) };
        });
    }
}

/// A task's tiles of C: `[panels of columns, panels of rows, 2, 2, tile]`.
struct Sums {
    start: *const f32,
    /// Panels of rows.
    rows: usize,
}

impl Sums {
    /// `C (+)= alpha · sums`.
    ///
    /// # Safety
    /// The rows and columns are those of the sums, and nobody else touches this part of C.
    #[allow(unused_unsafe)]
    unsafe fn store(&self, out: Output, rows: Range<usize>, cols: Range<usize>, alpha: f32, add: bool) {
        // SAFETY: by this function's contract; AVX-512 is where tiles are.
        unsafe { self.store_wide(out, rows, cols, alpha, add) }
    }

    /// # Safety
    /// As [`Sums::store`].
    #[target_feature(enable = "avx512f")]
    unsafe fn store_wide(&self, out: Output, rows: Range<usize>, cols: Range<usize>, alpha: f32, add: bool) {
        use std::arch::x86_64::*;
        let alpha = _mm512_set1_ps(alpha);
        for (i, row) in rows.enumerate() {
            let line = i / PANEL * CELL + i % PANEL / LINES * 2 * TILE + i % LINES * 64;
            for j in (0..cols.len()).step_by(LINES) {
                let at = line + j / PANEL * self.rows * CELL + j % PANEL / LINES * TILE;
                let mask = u16::MAX >> (LINES - LINES.min(cols.len() - j));
                let c = out.at(row, cols.start + j);
                // SAFETY: by this function's contract.
                unsafe {
                    let sum = _mm512_loadu_ps(self.start.byte_add(at));
                    let old = if add { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(alpha, sum, old));
                }
            }
        }
    }
}

/// A buffer as tasks share it; each writes a part of its own.
#[derive(Clone, Copy)]
struct Pointer(*mut u8);
// SAFETY: see above.
unsafe impl Send for Pointer {}
unsafe impl Sync for Pointer {}

impl Pointer {
    fn at(self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}
