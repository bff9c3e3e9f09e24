//! Blocks laid out for products: of 16 rows side by side, so that one register holds four depths of all of them.
//!
//! A panel is 16 rows, the last one filled up with zeros. Of each block of 32 numbers it has lines of 64 bytes,
//! `[16 rows][4]`: eight of `Q8_0`, kept as q + 128; four of `Q4_0`, whose low halves are depths 0 … 15 of the block
//! and the high ones 16 … 31, as in the block itself. The scales follow after all lines, `[panels][blocks][16]` f16.
//! Nothing is lost: [`Panels::row`] gives a row's blocks back byte by byte.

use super::{BLOCK, BlockType};
use rayon::prelude::*;

/// Rows of a panel: columns of the product.
pub const COLUMNS: usize = 16;
/// Bytes of a line.
pub const LINE: usize = 64;
/// Bytes of a scale.
const SCALE: usize = 2;
/// Bytes of a row in a line.
const QUAD: usize = LINE / COLUMNS;

/// See the module's head.
pub struct Panels {
    block: BlockType,
    /// Blocks of a row.
    blocks: usize,
    lines: Vec<Line>,
    /// f16.
    scales: Vec<[[u8; SCALE]; COLUMNS]>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE]);

impl BlockType {
    /// Lines of a block in a panel; `None` where the kind has no panels.
    fn lines(self) -> Option<usize> {
        match self {
            BlockType::Q8_0 | BlockType::Q4_0 => Some((self.bytes() - SCALE) / QUAD),
            BlockType::Q4K | BlockType::Q6K | BlockType::Nf4 => None,
        }
    }
}

impl Panels {
    /// From rows of blocks; `None` where this kind of block has no panels.
    ///
    /// # Panics
    /// `bytes` are not those of `rows` rows of `cols` numbers.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &[u8]) -> Option<Self> {
        let (lines, blocks) = (block.lines()?, cols / BLOCK);
        let row_bytes = blocks * block.bytes();
        assert_eq!(bytes.len(), rows * row_bytes, "bytes of {rows} rows of {cols} numbers in {block}");
        let count = rows.div_ceil(COLUMNS) * blocks;
        let mut panels = Panels {
            block,
            blocks,
            lines: vec![Line([0; LINE]); count * lines],
            scales: vec![[[0; SCALE]; COLUMNS]; count],
        };
        let flip = flip(block);
        let of_panels = panels.lines.par_chunks_exact_mut((blocks * lines).max(1));
        let scales_of_panels = panels.scales.par_chunks_exact_mut(blocks.max(1));
        of_panels.zip(scales_of_panels).zip(bytes.par_chunks((COLUMNS * row_bytes).max(1))).for_each(
            |((to, scales), rows)| {
                for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                    for (b, block) in row.chunks_exact(block.bytes()).enumerate() {
                        let (scale, quads) = block.split_at(SCALE);
                        scales[b][r] = [scale[0], scale[1]];
                        for (line, quad) in to[b * lines..].iter_mut().zip(quads.chunks_exact(QUAD)) {
                            let to = &mut line.0[r * QUAD..][..QUAD];
                            to.iter_mut().zip(quad).for_each(|(to, q)| *to = q ^ flip);
                        }
                    }
                }
            },
        );
        Some(panels)
    }

    /// The blocks of a row, as they were.
    pub fn row(&self, row: usize) -> Vec<u8> {
        let (panel, r) = (row / COLUMNS * self.blocks, row % COLUMNS);
        let lines = self.lines.len() / self.scales.len().max(1);
        let mut bytes = Vec::with_capacity(self.blocks * self.block.bytes());
        for b in panel..panel + self.blocks {
            bytes.extend(self.scales[b][r]);
            for line in &self.lines[b * lines..][..lines] {
                bytes.extend(line.0[r * QUAD..][..QUAD].iter().map(|q| q ^ flip(self.block)));
            }
        }
        bytes
    }

    pub fn block(&self) -> BlockType {
        self.block
    }

    /// Where the lines and the scales of a panel begin; a panel has `cols / 32` blocks.
    pub fn panel(&self, index: usize) -> (*const u8, *const u8) {
        let at = index * self.blocks;
        let lines = self.lines.len() / self.scales.len().max(1);
        (self.lines[at * lines..].as_ptr().cast(), self.scales[at..].as_ptr().cast())
    }

    /// Panels there are.
    pub fn count(&self) -> usize {
        self.scales.len() / self.blocks.max(1)
    }
}

/// What turns a signed byte into one that is 128 more.
fn flip(block: BlockType) -> u8 {
    if block == BlockType::Q8_0 { 128 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_byte_by_byte() {
        for block in [BlockType::Q8_0, BlockType::Q4_0] {
            for (rows, cols) in [(1, 32), (16, 64), (37, 96)] {
                let len = rows * cols / BLOCK * block.bytes();
                let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + i / 251) as u8).collect();
                let panels = Panels::new(block, rows, cols, &bytes).unwrap();
                assert_eq!(panels.count(), rows.div_ceil(COLUMNS));
                for (i, row) in bytes.chunks_exact(len / rows).enumerate() {
                    assert_eq!(panels.row(i), row, "{block}, row {i} of {rows}");
                }
            }
        }
    }
}
