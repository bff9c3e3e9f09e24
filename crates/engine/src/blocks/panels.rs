//! Blocks laid out for products: of 16 rows side by side, so that one register holds four depths of all of them.
//!
//! A panel is 16 rows, the last one filled up with zeros. The numbers of a block become lines of 64 bytes: a line has
//! four neighbouring bytes of each row's block, `[16 rows][4]`, as they are stored there, low and high bits apart;
//! but `Q8_0` has q + 128. What scales them follows after all lines, block by block: d, `[16]` f16, then for `Q6_K`
//! the 16 groups' scales, `[16 groups][16 rows]`.
//! Nothing is lost: [`Panels::row`] gives a row's blocks back byte by byte.

use super::{BlockType, q6_k};
use crate::cpu::simd::simd_fn;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a panel: columns of the product.
pub const COLUMNS: usize = 16;
/// Bytes of a line.
pub const LINE: usize = 64;
/// Bytes of d.
const SCALE: usize = 2;
/// Bytes of a row in a line.
const QUAD: usize = LINE / COLUMNS;
/// Bytes of 16 rows' d.
const SCALES: usize = SCALE * COLUMNS;

/// See the module's head.
pub struct Panels {
    block: BlockType,
    layout: Layout,
    /// Blocks of a row.
    blocks: usize,
    lines: Vec<Line>,
    scales: Vec<u8>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE]);

/// Where a stored block has what, in bytes.
struct Layout {
    numbers: Range<usize>,
    d: usize,
    groups: Range<usize>,
    /// What turns a signed byte into one that is 128 more.
    flip: u8,
}

impl Layout {
    /// `None` where the kind has no panels.
    fn of(block: BlockType) -> Option<Self> {
        match block {
            BlockType::Q8_0 => Some(Layout { numbers: SCALE..block.bytes(), d: 0, groups: 0..0, flip: 128 }),
            BlockType::Q4_0 => Some(Layout { numbers: SCALE..block.bytes(), d: 0, groups: 0..0, flip: 0 }),
            BlockType::Q6K => {
                let (groups, d) = (q6_k::SCALES..q6_k::SCALE, q6_k::SCALE);
                Some(Layout { numbers: 0..groups.start, d, groups, flip: 0 })
            }
            BlockType::Q4K | BlockType::Nf4 => None,
        }
    }

    /// Lines of a block of 16 rows.
    fn lines(&self) -> usize {
        self.numbers.len() / QUAD
    }

    /// Bytes of what scales them.
    fn scales(&self) -> usize {
        SCALES + self.groups.len() * COLUMNS
    }
}

impl Panels {
    /// From rows of blocks; `None` where this kind of block has no panels.
    ///
    /// # Panics
    /// `bytes` are not those of `rows` rows of `cols` numbers.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &[u8]) -> Option<Self> {
        let (layout, blocks) = (Layout::of(block)?, cols / block.numbers());
        let row_bytes = blocks * block.bytes();
        assert_eq!(bytes.len(), rows * row_bytes, "bytes of {rows} rows of {cols} numbers in {block}");
        let count = rows.div_ceil(COLUMNS) * blocks;
        let mut lines = vec![Line([0; LINE]); count * layout.lines()];
        let mut scales = vec![0; count * layout.scales()];
        lines
            .par_chunks_exact_mut((blocks * layout.lines()).max(1))
            .zip(scales.par_chunks_exact_mut((blocks * layout.scales()).max(1)))
            .zip(bytes.par_chunks((COLUMNS * row_bytes).max(1)))
            .for_each(|((lines, scales), rows)| {
                for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                    let places =
                        lines.chunks_exact_mut(layout.lines()).zip(scales.chunks_exact_mut(layout.scales()));
                    for (block, (lines, scales)) in row.chunks_exact(block.bytes()).zip(places) {
                        layout.put(block, r, lines, scales);
                    }
                }
            });
        Some(Panels { block, layout, blocks, lines, scales })
    }

    /// The blocks of a row, as they were.
    pub fn row(&self, row: usize) -> Vec<u8> {
        let (panel, r) = (row / COLUMNS * self.blocks, row % COLUMNS);
        let (count, scales) = (self.layout.lines(), self.layout.scales());
        let mut bytes = vec![0; self.blocks * self.block.bytes()];
        for (i, block) in bytes.chunks_exact_mut(self.block.bytes()).enumerate() {
            let at = panel + i;
            self.layout.take(
                &self.lines[at * count..][..count],
                &self.scales[at * scales..][..scales],
                r,
                block,
            );
        }
        bytes
    }

    /// `out[p · stride + i]` = row `16 · panel + i` at depth `depths.start + p`, to the bit what decoding a row gives.
    ///
    /// # Panics
    /// The depths are no whole blocks, or `out` is too short.
    pub fn unpack(&self, panel: usize, depths: &Range<usize>, out: &mut [f32], stride: usize) {
        let numbers = self.block.numbers();
        assert!(depths.start.is_multiple_of(numbers) && depths.end.is_multiple_of(numbers), "{depths:?}");
        let (count, scales) = (self.layout.lines(), self.layout.scales());
        for (i, block) in (depths.start / numbers..depths.end / numbers).enumerate() {
            let at = panel * self.blocks + block;
            let lines = &self.lines[at * count..][..count];
            let scales = &self.scales[at * scales..][..scales];
            let out = &mut out[i * numbers * stride..];
            match self.block {
                BlockType::Q8_0 => unpack_bytes(lines, scales, out, stride),
                BlockType::Q4_0 => unpack_nibbles(lines, scales, out, stride),
                BlockType::Q6K => unpack_sixes(lines, scales, out, stride),
                BlockType::Q4K | BlockType::Nf4 => unreachable!("`Panels::new` makes none of these"),
            }
        }
    }

    pub fn block(&self) -> BlockType {
        self.block
    }

    /// Where the lines of a panel begin, and what scales them.
    pub fn panel(&self, index: usize) -> (*const u8, *const u8) {
        let at = index * self.blocks;
        let lines = self.lines[at * self.layout.lines()..].as_ptr().cast();
        (lines, self.scales[at * self.layout.scales()..].as_ptr())
    }

    /// Rows there is room for.
    pub fn padded_rows(&self) -> usize {
        self.scales.len() / self.layout.scales() / self.blocks.max(1) * COLUMNS
    }
}

/// d of the 16 rows.
#[inline(always)]
fn scales_of(scales: &[u8]) -> [f32; COLUMNS] {
    let halves: [f16; COLUMNS] =
        std::array::from_fn(|i| f16::from_le_bytes([scales[SCALE * i], scales[SCALE * i + 1]]));
    let mut d = [0.0; COLUMNS];
    halves.convert_to_f32_slice(&mut d);
    d
}

/// The four bytes of each row of a line, as one number: the lowest bits are the first depth's.
#[inline(always)]
fn quads(line: &Line) -> [u32; COLUMNS] {
    let bytes = line.0.as_chunks::<QUAD>().0;
    std::array::from_fn(|i| u32::from_le_bytes(bytes[i]))
}

/// A depth of 16 rows: `scale · (q − zero)`, where q is in the low bits of `numbers`, under this mask.
#[inline(always)]
fn put_depth(numbers: [u32; COLUMNS], mask: u32, zero: i32, scales: &[f32; COLUMNS], out: &mut [f32]) {
    let out = out.first_chunk_mut::<COLUMNS>().expect("room for 16 rows");
    for i in 0..COLUMNS {
        out[i] = scales[i] * ((numbers[i] & mask) as i32 - zero) as f32;
    }
}

simd_fn! {
    fn unpack_bytes(lines: &[Line], scales: &[u8], out: &mut [f32], stride: usize) {
        let d = scales_of(scales);
        for (l, line) in lines.iter().enumerate() {
            let q = quads(line);
            for k in 0..QUAD {
                put_depth(q.map(|q| q >> (8 * k)), 255, 128, &d, &mut out[(QUAD * l + k) * stride..]);
            }
        }
    }
}

simd_fn! {
    fn unpack_nibbles(lines: &[Line], scales: &[u8], out: &mut [f32], stride: usize) {
        let d = scales_of(scales);
        for (l, line) in lines.iter().enumerate() {
            let q = quads(line);
            for k in 0..QUAD {
                let (low, high) = (QUAD * l + k, QUAD * (lines.len() + l) + k);
                put_depth(q.map(|q| q >> (8 * k)), 15, 8, &d, &mut out[low * stride..]);
                put_depth(q.map(|q| q >> (8 * k + 4)), 15, 8, &d, &mut out[high * stride..]);
            }
        }
    }
}

simd_fn! {
    /// A half of a block has 16 lines of low bits and 8 of high ones; see `q6_k`.
    fn unpack_sixes(lines: &[Line], scales: &[u8], out: &mut [f32], stride: usize) {
        let d = scales_of(scales);
        for run in 0..8 {
            let (half, k) = (run / 4, run % 4);
            for line in 0..8 {
                let groups = &scales[SCALES + (2 * run + line / 4) * COLUMNS..];
                let scales: [f32; COLUMNS] = std::array::from_fn(|i| d[i] * f32::from(groups[i] as i8));
                let low = quads(&lines[half * 16 + k % 2 * 8 + line]);
                let high = quads(&lines[32 + half * 8 + line]);
                for p in 0..QUAD {
                    let q = std::array::from_fn(|i| {
                        (low[i] >> (8 * p + k / 2 * 4) & 15) | (high[i] >> (8 * p + 2 * k) & 3) << 4
                    });
                    put_depth(q, 63, 32, &scales, &mut out[(32 * run + QUAD * line + p) * stride..]);
                }
            }
        }
    }
}

impl Layout {
    /// A block of row `r` of a panel.
    fn put(&self, block: &[u8], r: usize, lines: &mut [Line], scales: &mut [u8]) {
        for (line, quad) in lines.iter_mut().zip(block[self.numbers.clone()].chunks_exact(QUAD)) {
            let to = &mut line.0[r * QUAD..][..QUAD];
            to.iter_mut().zip(quad).for_each(|(to, q)| *to = q ^ self.flip);
        }
        scales[r * SCALE..][..SCALE].copy_from_slice(&block[self.d..][..SCALE]);
        for (groups, scale) in scales[SCALES..].chunks_exact_mut(COLUMNS).zip(&block[self.groups.clone()]) {
            groups[r] = *scale;
        }
    }

    /// The way back.
    fn take(&self, lines: &[Line], scales: &[u8], r: usize, block: &mut [u8]) {
        for (line, quad) in lines.iter().zip(block[self.numbers.clone()].chunks_exact_mut(QUAD)) {
            let from = &line.0[r * QUAD..][..QUAD];
            quad.iter_mut().zip(from).for_each(|(q, from)| *q = from ^ self.flip);
        }
        block[self.d..][..SCALE].copy_from_slice(&scales[r * SCALE..][..SCALE]);
        for (groups, scale) in scales[SCALES..].chunks_exact(COLUMNS).zip(&mut block[self.groups.clone()]) {
            *scale = groups[r];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_byte_by_byte() {
        for block in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q6K] {
            for (rows, cols) in [(1, 256), (16, 512), (37, 768)] {
                let len = rows * cols / block.numbers() * block.bytes();
                let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + i / 251) as u8).collect();
                let panels = Panels::new(block, rows, cols, &bytes).unwrap();
                assert_eq!(panels.padded_rows(), rows.next_multiple_of(COLUMNS));
                for (i, row) in bytes.chunks_exact(len / rows).enumerate() {
                    assert_eq!(panels.row(i), row, "{block}, row {i} of {rows}");
                }
            }
        }
    }

    #[test]
    fn a_panel_unpacked_is_its_rows_decoded() {
        let (rows, cols, stride) = (37, 768, 24);
        for block in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q6K] {
            let values: Vec<f32> = (0..rows * cols).map(|i| (i * 7919 % 1013) as f32 * 0.02 - 9.0).collect();
            let bytes = block.encode_all(rows, cols, |row, out| {
                out.copy_from_slice(&values[row * cols..][..cols]);
            });
            let mut decoded = vec![0.0; rows * cols];
            block.decode(&bytes, &mut decoded);
            let panels = Panels::new(block, rows, cols, &bytes).unwrap();
            for panel in 0..rows.div_ceil(COLUMNS) {
                for depths in [0..768, 256..512] {
                    let mut out = vec![7.0; depths.len() * stride];
                    panels.unpack(panel, &depths, &mut out, stride);
                    for (p, line) in out.chunks_exact(stride).enumerate() {
                        let want = |i: usize| decoded[(panel * COLUMNS + i) * cols + depths.start + p];
                        for i in 0..COLUMNS.min(rows - panel * COLUMNS) {
                            assert_eq!(line[i], want(i), "{block}, row {i} of panel {panel}, depth {p}");
                        }
                        assert!(line[COLUMNS..].iter().all(|v| *v == 7.0), "{block}: what is another's");
                    }
                }
            }
        }
    }
}
