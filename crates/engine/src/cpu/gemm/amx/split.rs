//! From an operand as it is stored to tiles of bf16.
//!
//! An f32 number is the exact sum of three bf16: x = h + m + l, where h is x rounded to 8 bits, m what is left rounded
//! to 8 bits, l the rest, which has no more. A bf16 number is one part, an f16 number two. As the product of two
//! numbers is the sum of the products of their parts, and of those only l·m, m·l and l·l are below the last bit of an
//! f32, three to six products of bf16 summed in f32 are as good as one of f32 (Henry, Tang, Heinecke, *Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations*, 2019).
//!
//! Every finite x has finite parts: h stops at the largest bf16. Of an infinite x and of a NaN at least one part is
//! not finite. Parts below 2⁻¹²⁶ count as zero, which changes no number by more than 2⁻¹²⁵.
//!
//! Tiles of A have a line in a row; tiles of B a pair of depths in a row. Either is read from stored rows that run
//! along the depth or across the lines: what differs is a transposition of 16 × 16 pairs.

use super::super::simd::Simd;
use super::super::x86::Avx512;
use super::super::{Layout, Operand, Stored};
use super::super::{pack::unpack, scratch::with_buffer};
use super::tile::{DEPTHS, LINES, TILE};
use crate::{Dtype, Format, FrozenMatrix};
use std::arch::x86_64::*;
use std::ops::Range;

/// Which operand the tiles are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    A,
    B,
}

/// Parts that the numbers of a format are split in.
pub fn parts(format: Format) -> usize {
    match format {
        Format::Plain(Dtype::BF16) => 1,
        Format::Plain(Dtype::F16) => 2,
        Format::Plain(Dtype::F32) | Format::Blocks(_) => 3,
    }
}

/// Pack lines over a block of depths, in panels `[steps, parts, strips, tile]` of two strips of [`LINES`] lines, the
/// last of one if the strips are odd. What does not exist is zero.
///
/// # Safety
/// The lines and depths exist; `dst` has room for the panels; tiles are available.
pub unsafe fn pack(operand: &Operand<'_>, to: For, lines: Range<usize>, depths: &Range<usize>, dst: *mut u8) {
    match operand.stored {
        Stored::Plain { bytes, dtype } => {
            let at = operand.value(lines.start, depths.start) * dtype.size();
            let src = Source {
                start: bytes.as_ptr().wrapping_add(at),
                stride: operand.stride * dtype.size(),
                dtype,
                layout: operand.layout,
            };
            // SAFETY: by this function's contract.
            unsafe { pack_plain(&src, to, lines.len(), depths.len(), dst) }
        }
        // SAFETY: likewise.
        Stored::Blocks(matrix) => unsafe { pack_blocks(matrix, operand.layout, to, lines, depths, dst) },
    }
}

/// Numbers that are stored one by one.
struct Source {
    start: *const u8,
    /// Bytes from one stored row to the next.
    stride: usize,
    dtype: Dtype,
    layout: Layout,
}

/// # Safety
/// As [`pack`].
unsafe fn pack_blocks(
    matrix: &FrozenMatrix,
    layout: Layout,
    to: For,
    lines: Range<usize>,
    depths: &Range<usize>,
    dst: *mut u8,
) {
    let panel = depths.len().div_ceil(DEPTHS) * 3 * TILE;
    // As little at a time as stays in a near cache: whole panels, or whole steps of all of them.
    match layout {
        Layout::Lines => with_buffer(2 * LINES * depths.len(), |values| {
            for first in lines.clone().step_by(2 * LINES) {
                let part = first..lines.end.min(first + 2 * LINES);
                unpack(matrix, part.clone(), depths, values);
                let src = Source {
                    start: values.as_ptr().cast(),
                    stride: 4 * depths.len(),
                    dtype: Dtype::F32,
                    layout,
                };
                let dst = dst.wrapping_add((first - lines.start) / LINES * panel);
                // SAFETY: the values are those of the lines; the rest by this function's contract.
                unsafe { pack_plain(&src, to, part.len(), depths.len(), dst) };
            }
        }),
        Layout::Depths => with_buffer(depths.len() * lines.len(), |values| {
            unpack(matrix, depths.clone(), &lines, values);
            let src =
                Source { start: values.as_ptr().cast(), stride: 4 * lines.len(), dtype: Dtype::F32, layout };
            // SAFETY: likewise.
            unsafe { pack_plain(&src, to, lines.len(), depths.len(), dst) }
        }),
    }
}

/// # Safety
/// The source has these lines and depths; as [`pack`].
unsafe fn pack_plain(src: &Source, to: For, lines: usize, depth: usize, dst: *mut u8) {
    let steps = depth.div_ceil(DEPTHS);
    let parts = parts(src.dtype.into());
    let strips = lines.div_ceil(LINES);
    let block = |strip: usize, step: usize| {
        let width = if strip.is_multiple_of(2) && strip + 1 == strips { 1 } else { 2 };
        let panel = dst.wrapping_add(strip / 2 * 2 * steps * parts * TILE);
        // Parts lie in the order in which they are read, see `tile.rs`.
        let (first, part) = if to == For::A { (parts - 1, -1) } else { (0, 1) };
        Block {
            src: src.at(strip * LINES, step * DEPTHS),
            stride: src.stride,
            lines: LINES.min(lines - strip * LINES),
            depths: DEPTHS.min(depth - step * DEPTHS),
            dst: panel.wrapping_add(((step * parts + first) * width + strip % 2) * TILE),
            part: part * (width * TILE) as isize,
        }
    };
    // Along the stored rows, as they lie in memory.
    match src.layout {
        Layout::Lines => {
            for strip in 0..strips {
                for step in 0..steps {
                    let block = block(strip, step);
                    block.ask_ahead(LINES, DEPTHS * src.dtype.size());
                    // SAFETY: by this function's contract.
                    unsafe {
                        match to {
                            For::A => block.along::<false>(src.dtype),
                            For::B => block.along::<true>(src.dtype),
                        }
                    }
                }
            }
        }
        Layout::Depths => {
            for step in 0..steps {
                for strip in 0..strips {
                    let block = block(strip, step);
                    block.ask_ahead(DEPTHS, LINES * src.dtype.size());
                    // SAFETY: likewise.
                    unsafe {
                        match to {
                            For::A => block.across::<true>(src.dtype),
                            For::B => block.across::<false>(src.dtype),
                        }
                    }
                }
            }
        }
    }
}

impl Source {
    fn at(&self, line: usize, depth: usize) -> *const u8 {
        let (row, col) = if self.layout == Layout::Lines { (line, depth) } else { (depth, line) };
        self.start.wrapping_add(row * self.stride + col * self.dtype.size())
    }
}

/// One tile of each part.
struct Block {
    src: *const u8,
    stride: usize,
    /// What there is of it: 1 to [`LINES`], 1 to [`DEPTHS`].
    lines: usize,
    depths: usize,
    /// Of the first part, h.
    dst: *mut u8,
    /// Bytes from one part to the next.
    part: isize,
}

/// One row of a tile.
type Row = __m512i;

impl Block {
    /// Ask for the `bytes` of as many stored rows again: visits to a row are too short for the processor to foresee
    /// the next.
    #[inline(always)]
    fn ask_ahead(&self, rows: usize, bytes: usize) {
        for row in rows..2 * rows {
            for at in (0..bytes).step_by(64) {
                // SAFETY: any address may be asked for.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(self.src.wrapping_add(row * self.stride + at).cast()) };
            }
        }
    }

    /// From stored rows that run along the depth.
    ///
    /// # Safety
    /// The numbers are readable, the tiles writable.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn along<const TRANSPOSE: bool>(&self, dtype: Dtype) {
        // SAFETY: by this function's contract, as all below.
        unsafe {
            match dtype {
                Dtype::BF16 => {
                    let mask = u32::MAX >> (DEPTHS - self.depths);
                    self.rows::<1, TRANSPOSE>(self.lines, |i| {
                        let row = self.src.add(i * self.stride);
                        [_mm512_maskz_loadu_epi16(mask, row.cast())]
                    });
                }
                Dtype::F16 => {
                    let mask = u32::MAX >> (DEPTHS - self.depths);
                    self.rows::<2, TRANSPOSE>(self.lines, |i| {
                        let row = self.src.add(i * self.stride);
                        let row = _mm512_maskz_loadu_epi16(mask, row.cast());
                        let low = _mm512_cvtph_ps(_mm512_castsi512_si256(row));
                        let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(row));
                        let (low, high) = (halve(low), halve(high));
                        [join(low[0], high[0]), join(low[1], high[1])]
                    });
                }
                Dtype::F32 => {
                    let mask = u32::MAX >> (DEPTHS - self.depths);
                    self.rows::<3, TRANSPOSE>(self.lines, |i| {
                        let row = self.src.add(i * self.stride).cast::<f32>();
                        let low = split(_mm512_maskz_loadu_ps(mask as u16, row));
                        let high = split(_mm512_maskz_loadu_ps((mask >> 16) as u16, row.wrapping_add(16)));
                        std::array::from_fn(|part| join(low[part], high[part]))
                    });
                }
            }
        }
    }

    /// From stored rows that run across the lines.
    ///
    /// # Safety
    /// As [`Block::along`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn across<const TRANSPOSE: bool>(&self, dtype: Dtype) {
        let mask = u16::MAX >> (LINES - self.lines);
        let row = |depth: usize| self.src.wrapping_add(depth * self.stride);
        // A depth that does not exist is read from the one before, and nothing of it is kept.
        let pairs = self.depths.div_ceil(2);
        let odd = |i: usize| if 2 * i + 1 < self.depths { mask } else { 0 };
        // SAFETY: by this function's contract, as all below.
        unsafe {
            match dtype {
                Dtype::BF16 => {
                    let load = |mask: u16, depth| {
                        let row = _mm512_maskz_loadu_epi16(u32::from(mask), row(depth).cast());
                        _mm512_cvtepu16_epi32(_mm512_castsi512_si256(row))
                    };
                    self.rows::<1, TRANSPOSE>(pairs, |i| {
                        let (even, odd) = (load(mask, 2 * i), load(odd(i), 2 * i + 1));
                        [_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd))]
                    });
                }
                Dtype::F16 => {
                    let load = |mask: u16, depth| {
                        let row = _mm512_maskz_loadu_epi16(u32::from(mask), row(depth).cast());
                        halve(_mm512_cvtph_ps(_mm512_castsi512_si256(row)))
                    };
                    self.rows::<2, TRANSPOSE>(pairs, |i| {
                        let (even, odd) = (load(mask, 2 * i), load(odd(i), 2 * i + 1));
                        [interleave(even[0], odd[0]), interleave(even[1], odd[1])]
                    });
                }
                Dtype::F32 => {
                    let load = |mask, depth| split(_mm512_maskz_loadu_ps(mask, row(depth).cast()));
                    self.rows::<3, TRANSPOSE>(pairs, |i| {
                        let (even, odd) = (load(mask, 2 * i), load(odd(i), 2 * i + 1));
                        std::array::from_fn(|part| interleave(even[part], odd[part]))
                    });
                }
            }
        }
    }

    fn row(&self, part: usize, row: usize) -> *mut u8 {
        self.dst.wrapping_offset(part as isize * self.part).wrapping_add(64 * row)
    }

    /// Write the tiles whose first `count` rows (before a transposition) are what `row` gives, and the rest zero.
    ///
    /// # Safety
    /// The tiles are writable; AVX-512 F is there.
    #[inline(always)]
    unsafe fn rows<const PARTS: usize, const TRANSPOSE: bool>(
        &self,
        count: usize,
        row: impl Fn(usize) -> [Row; PARTS],
    ) {
        // SAFETY: by this function's contract.
        unsafe {
            if !TRANSPOSE {
                for i in 0..LINES {
                    let parts = if i < count { row(i) } else { [_mm512_setzero_si512(); PARTS] };
                    for (part, value) in parts.into_iter().enumerate() {
                        _mm512_store_si512(self.row(part, i).cast(), value);
                    }
                }
                return;
            }
            let mut tiles = [[_mm512_setzero_ps(); LINES]; PARTS];
            for i in 0..count {
                for (tile, value) in tiles.iter_mut().zip(row(i)) {
                    tile[i] = _mm512_castsi512_ps(value);
                }
            }
            for (part, tile) in tiles.iter_mut().enumerate() {
                Avx512::transpose(tile);
                for (i, &row) in tile.iter().enumerate() {
                    _mm512_store_ps(self.row(part, i).cast(), row);
                }
            }
        }
    }
}

/// The three parts of 16 numbers, each in the upper half of its lane; see the module's head.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(x: __m512) -> [__m512i; 3] {
    let [h, rest] = halve(x);
    let m = _mm512_add_epi32(rest, _mm512_set1_epi32(0x8000));
    let m = _mm512_and_si512(m, _mm512_set1_epi32(UPPER));
    let l = _mm512_sub_ps(_mm512_castsi512_ps(rest), _mm512_castsi512_ps(m));
    [h, m, _mm512_castps_si512(l)]
}

/// The upper half of a lane.
const UPPER: i32 = 0xFFFF_0000_u32 as i32;

/// h and what is left of 16 numbers: their two parts, if they were f16.
#[inline]
#[target_feature(enable = "avx512f")]
fn halve(x: __m512) -> [__m512i; 2] {
    // The largest finite numbers stay finite: as signed integers the negative ones are below the first bound, as
    // unsigned ones the positive ones below the second.
    let h = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    let h = _mm512_min_epi32(h, _mm512_set1_epi32(0x7F7F_FFFF));
    let h = _mm512_min_epu32(h, _mm512_set1_epi32(0xFF7F_FFFF_u32 as i32));
    let h = _mm512_and_si512(h, _mm512_set1_epi32(UPPER));
    [h, _mm512_castps_si512(_mm512_sub_ps(x, _mm512_castsi512_ps(h)))]
}

/// The upper halves of `low`'s lanes, then those of `high`'s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn join(low: __m512i, high: __m512i) -> Row {
    let odd = _mm512_set_epi16(
        63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15,
        13, 11, 9, 7, 5, 3, 1,
    );
    _mm512_permutex2var_epi16(low, odd, high)
}

/// For each lane: the upper half of `even`'s, then that of `odd`'s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(even: __m512i, odd: __m512i) -> Row {
    _mm512_mask_blend_epi16(0xAAAA_AAAA, _mm512_srli_epi32::<16>(even), odd)
}
