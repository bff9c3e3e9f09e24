//! From an operand as it is stored to panels of f32.
//!
//! Plain numbers are converted by the kernel on their way. Blocks are unpacked first, so much at a time that
//! it stays in the second-level cache, and then packed as f32; or straight to their place, where they lie in panels already.

use super::kernel::Kernel;
use super::scratch::with_buffer;
use super::{Layout, Operand, Stored};
use crate::blocks::panels::COLUMNS;
use crate::{Dtype, FrozenMatrix};
use std::ops::Range;

/// Lines unpacked at a time where stored rows run across them: whole blocks of every kind.
const ACROSS: usize = 256;

impl Operand<'_> {
    /// Pack lines over a block of depths, in panels of `width` lines, `distance` values apart: see `kernel::PackFn`.
    ///
    /// # Safety
    /// The lines and depths exist; `dst` has room for their panels; the kernel runs here.
    pub unsafe fn pack(
        &self,
        kernel: &Kernel,
        lines: Range<usize>,
        depths: &Range<usize>,
        width: usize,
        dst: *mut f32,
        distance: usize,
    ) {
        match self.stored {
            Stored::Plain { bytes, dtype } => {
                let typed = kernel.typed(dtype);
                let pack = if self.layout == Layout::Lines { typed.pack_lines } else { typed.pack_depths };
                let first = self.value(lines.start, depths.start) * dtype.size();
                let src = bytes.as_ptr().wrapping_add(first);
                // SAFETY: by this function's contract.
                unsafe { pack(src, self.stride, lines.len(), depths.len(), width, dst, distance) }
            }
            Stored::Blocks(matrix) => {
                // Whole panels, so that each lies where it would without the cut.
                let step = if self.layout == Layout::Lines { width } else { (ACROSS / width).max(1) * width };
                for first in lines.clone().step_by(step) {
                    let part = first..(first + step).min(lines.end);
                    let to = dst.wrapping_add((first - lines.start) / width * distance);
                    if let Some(panels) = matrix.panels()
                        && self.layout == Layout::Lines
                        && width.is_multiple_of(COLUMNS)
                        && first.is_multiple_of(COLUMNS)
                    {
                        // SAFETY: by this function's contract there is room for the whole panel.
                        let to = unsafe { std::slice::from_raw_parts_mut(to, depths.len() * width) };
                        for (i, line) in part.step_by(COLUMNS).enumerate() {
                            panels.unpack(line / COLUMNS, depths, &mut to[i * COLUMNS..], width);
                        }
                        continue;
                    }
                    // SAFETY: by this function's contract.
                    unsafe { pack_unpacked(kernel, matrix, self.layout, part, depths, width, to, distance) };
                }
            }
        }
    }
}

/// # Safety
/// As [`Operand::pack`].
unsafe fn pack_unpacked(
    kernel: &Kernel,
    matrix: &FrozenMatrix,
    layout: Layout,
    lines: Range<usize>,
    depths: &Range<usize>,
    width: usize,
    dst: *mut f32,
    distance: usize,
) {
    let typed = kernel.typed(Dtype::F32);
    let (rows, cols, pack) = match layout {
        Layout::Lines => (lines.clone(), depths.clone(), typed.pack_lines),
        Layout::Depths => (depths.clone(), lines.clone(), typed.pack_depths),
    };
    with_buffer(rows.len() * cols.len(), |values| {
        unpack(matrix, rows, &cols, values);
        // SAFETY: the values are those of the lines and depths; the rest by this function's contract.
        unsafe { pack(values.as_ptr().cast(), cols.len(), lines.len(), depths.len(), width, dst, distance) }
    });
}

/// `values[rows, cols]` of a matrix.
pub fn unpack(matrix: &FrozenMatrix, rows: Range<usize>, cols: &Range<usize>, values: &mut [f32]) {
    for (row, out) in rows.zip(values.chunks_exact_mut(cols.len())) {
        matrix.unpack(row, cols.start, out);
    }
}
