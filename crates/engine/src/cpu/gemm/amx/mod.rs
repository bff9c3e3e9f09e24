//! The general product on processors with a tile unit (Intel AMX): f32 accuracy from products of bf16.
//!
//! Both operands are split in parts of bf16 while they are packed (`split.rs`); the tile unit sums the products of
//! parts in f32 (`tile.rs`), at several times the rate of f32 multiply-adds. So fast that what bounds a product is
//! how often its operands come from beyond the second-level cache: a task is a rectangle of C whose sums stay there,
//! beside a block of A. It packs all it needs for itself, which is no dearer than to fetch what another has packed,
//! one and a half times as long as f32, and waits for nobody.
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

use super::scratch::with_buffer;
use super::{Layout, Output, Product};
use crate::Out;
use crate::cpu::parallel::for_each_task;
use split::For;
use std::ops::Range;
use tile::{DEPTHS, LINES, Panel, TILE, Tiles};

pub use tile::available;

/// Parts of A, which is f32.
const PARTS: usize = 3;
/// Lines of a panel.
const PANEL: usize = 2 * LINES;
/// Bytes of the sums of two panels.
const CELL: usize = 4 * TILE;
/// Bytes of sums of a task, at most: they stay in the second-level cache.
const SUMS: usize = 768 << 10;
/// Panels of rows of a task, at most.
const ROWS: usize = 16;
/// Depths of a block: a panel of A stays in the first-level cache while the panels of B pass by.
const BLOCK: usize = 128;
/// Depths that are summed in one chain, at most: longer ones would err more than those of f32 kernels, which are cut
/// too. A multiple of every block.
const CHAIN: usize = 1024;

/// Rows of A from which on tiles are taken, by parts of B: fewer do not pay for packing B. A server's 64 rows over f32
/// weights took an eighth longer with tiles than without.
const FEWEST: [usize; 3] = [48, 48, super::STEADY_ROWS];

/// Whether the tile unit is faster than f32 multiply-adds; by the shape only. In cycles, about, as measured.
///
/// From [`FEWEST`] rows on it is the same for any number of rows, and so are the bits of a row: a prompt may be
/// computed in runs.
pub fn pays(p: &Product<'_>) -> bool {
    /// Of a step of training, or of a long prompt.
    const MANY: usize = 512;
    let parts = split::parts(p.b.format());
    if p.m < FEWEST[parts - 1] {
        return false;
    }
    let padded = MANY * p.n.next_multiple_of(LINES) * p.k.next_multiple_of(DEPTHS);
    let tiles = padded * products(parts) / 340;
    let (packed, stored) = ((MANY + p.n) * p.k, MANY * p.n);
    tiles + 3 * packed / 2 + 3 * stored / 2 < MANY * p.n * p.k / 26 + packed + stored / 2
}

/// Products of parts: of three parts of A with those of B.
fn products(parts: usize) -> usize {
    [3, 5, 6][parts - 1]
}

/// A product whose A is f32, C with neighbouring columns.
pub fn run(out: Output, p: &Product<'_>) {
    debug_assert!(out.col_stride == 1 && split::parts(p.a.format()) == PARTS);
    let threads = p.threads();
    let grid = Grid::new(p, threads);
    if threads == 1 || grid.tasks() == 1 {
        (0..grid.tasks()).for_each(|task| grid.run(task, out, p));
    } else {
        for_each_task(grid.tasks(), |task| grid.run(task, out, p));
    }
}

/// Bytes of the buffer that each thread of a product holds.
pub fn buffer_bytes(p: &Product<'_>) -> usize {
    Grid::new(p, p.threads()).buffer()
}

/// How C is cut into tasks.
struct Grid {
    /// Panels of rows and of columns of a task.
    rows: usize,
    cols: usize,
    /// Tasks above each other, and beside.
    row_cuts: usize,
    col_cuts: usize,
    /// Depths of a block.
    block: usize,
    /// Parts of B.
    parts: usize,
}

impl Grid {
    /// The cut whose longest thread is done first.
    fn new(p: &Product<'_>, threads: usize) -> Self {
        let (rows, cols) = (p.m.div_ceil(PANEL), p.n.div_ceil(PANEL));
        let fewest_rows = rows.div_ceil(ROWS);
        let cuts = (fewest_rows..=rows.min(fewest_rows + threads)).flat_map(|row_cuts| {
            let fewest_cols = cols.div_ceil((SUMS / CELL / rows.div_ceil(row_cuts)).min(cols));
            (fewest_cols..=cols.min(fewest_cols + 2 * threads)).map(move |col_cuts| (row_cuts, col_cuts))
        });
        let grids = cuts.map(|(row_cuts, col_cuts)| Grid::cut(p, rows, cols, row_cuts, col_cuts));
        grids.min_by_key(|g| g.time(p.k, threads)).unwrap_or_else(|| Grid::cut(p, rows, cols, rows, cols))
    }

    fn cut(p: &Product<'_>, rows: usize, cols: usize, row_cuts: usize, col_cuts: usize) -> Self {
        // Blocks of numbers that run across the columns are not decoded twice, if a few columns do not matter.
        let granule = if p.b.layout == Layout::Depths { p.b.granule().div_ceil(PANEL) } else { 1 };
        let (r, c) = (rows.div_ceil(row_cuts), cols.div_ceil(col_cuts));
        let c = if c > granule { c / granule * granule } else { c };
        let block = p.b.granule().max(BLOCK);
        let parts = split::parts(p.b.format());
        Grid { rows: r, cols: c, row_cuts: rows.div_ceil(r), col_cuts: cols.div_ceil(c), block, parts }
    }

    /// Cycles of the longest thread, about.
    fn time(&self, k: usize, threads: usize) -> usize {
        /// Cycles for two panels over a depth and a product of parts; to pack a panel over a depth.
        const MULTIPLY: usize = 3;
        const PACK: usize = 48;
        /// Cycles to store the sums of two panels.
        const STORE: usize = 1500;
        let (r, c) = (self.rows, self.cols);
        let depth = r * c * MULTIPLY * products(self.parts) + PACK * (r + c);
        self.tasks().div_ceil(threads) * (k * depth + STORE * r * c)
    }

    fn tasks(&self) -> usize {
        self.row_cuts * self.col_cuts
    }

    /// Bytes of the sums, of a panel of A, and of a block of B.
    fn sizes(&self) -> [usize; 3] {
        let steps = self.block / DEPTHS;
        [self.rows * self.cols * CELL, steps * PARTS * 2 * TILE, self.cols * steps * self.parts * 2 * TILE]
    }

    fn buffer(&self) -> usize {
        self.sizes().iter().sum()
    }

    /// One rectangle of C.
    fn run(&self, task: usize, out: Output, p: &Product<'_>) {
        let part =
            |at: usize, panels: usize, all: usize| at * panels * PANEL..all.min((at + 1) * panels * PANEL);
        let rows = part(task % self.row_cuts, self.rows, p.m);
        let cols = part(task / self.row_cuts, self.cols, p.n);
        with_buffer(self.buffer() / size_of::<f32>(), |buffer| {
            let [sums, left, _] = self.sizes();
            let start: *mut u8 = buffer.as_mut_ptr().cast();
            let sums = Sums {
                start,
                cols: self.cols,
                left: start.wrapping_add(sums),
                right: start.wrapping_add(sums + left),
            };
            for first in (0..p.k).step_by(CHAIN) {
                let chain = first..p.k.min(first + CHAIN);
                {
                    // SAFETY: this way is only taken where tiles are available.
                    let tiles = unsafe { Tiles::configure() };
                    for from in chain.clone().step_by(self.block) {
                        let block = from..chain.end.min(from + self.block);
                        // SAFETY: the rows, columns and depths exist; the buffer has room for all.
                        unsafe { sums.add(&tiles, p, &rows, &cols, &block, self.parts, from > first) };
                    }
                }
                let add = p.to == Out::Add || first > 0;
                // SAFETY: tasks have disjoint rectangles of C; all its sums are there.
                unsafe { sums.store(out, rows.clone(), cols.clone(), p.alpha, add) };
            }
        });
    }
}

/// A task's tiles of C: `[panels of rows, panels of columns, 2, 2, tile]`.
struct Sums {
    start: *mut u8,
    /// Panels of columns.
    cols: usize,
    /// Where a panel of A is packed, and a block of B.
    left: *mut u8,
    right: *mut u8,
}

impl Sums {
    /// `sums (+)= A · B` over a block of depths.
    ///
    /// # Safety
    /// The rows, columns and depths exist, and there is room for them.
    unsafe fn add(
        &self,
        tiles: &Tiles,
        p: &Product<'_>,
        rows: &Range<usize>,
        cols: &Range<usize>,
        block: &Range<usize>,
        parts: usize,
        add: bool,
    ) {
        let steps = block.len().div_ceil(DEPTHS);
        let strips = cols.len().div_ceil(LINES);
        // SAFETY: by this function's contract.
        unsafe { split::pack(&p.b, For::B, cols.clone(), block, self.right) };
        for (i, first) in rows.clone().step_by(PANEL).enumerate() {
            let lines = first..rows.end.min(first + PANEL);
            let a = Panel { start: self.left, strips: lines.len().div_ceil(LINES) };
            // SAFETY: likewise.
            unsafe { split::pack(&p.a, For::A, lines, block, self.left) };
            for j in 0..strips.div_ceil(2) {
                let start = self.right.wrapping_add(2 * j * steps * parts * TILE);
                let b = Panel { start, strips: (strips - 2 * j).min(2) };
                let sum = self.start.wrapping_add((i * self.cols + j) * CELL);
                // SAFETY: both panels were packed for this block; nobody else has the sums.
                unsafe { tiles.multiply(steps, a, b, parts, add, sum) };
            }
        }
    }

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
            let line = i / PANEL * self.cols * CELL + i % PANEL / LINES * 2 * TILE + i % LINES * 64;
            for j in (0..cols.len()).step_by(LINES) {
                let at = line + j / PANEL * CELL + j % PANEL / LINES * TILE;
                let mask = u16::MAX >> (LINES - LINES.min(cols.len() - j));
                let c = out.at(row, cols.start + j);
                // SAFETY: by this function's contract.
                unsafe {
                    let sum = _mm512_load_ps(self.start.add(at).cast());
                    let old = if add { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(alpha, sum, old));
                }
            }
        }
    }
}
