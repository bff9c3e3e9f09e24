//! A weight in int8 with one scale per output, and activations quantised row by row as they come.

use super::kernels::{Kernel, PANEL, QUAD, Tile};
use crate::cpu::simd::{LANES, simd_fn};
use std::ops::Range;

/// `[N, K]`; each output's weights are `scale · q` with q in −127..=127.
pub struct Int8Matrix {
    rows: usize,
    cols: usize,
    /// Panels of 16 outputs, `[N / 16][K / 4][16][4]`, stored as q + 128. What pads is 128, zero.
    bytes: Vec<Line>,
    /// Padded to whole panels.
    scales: Vec<f32>,
}

/// A cache line, for its alignment.
#[derive(Clone)]
#[repr(align(64))]
struct Line([u8; 64]);

/// Rows of activations as int8.
#[derive(Default)]
pub struct Int8Rows {
    values: Vec<i8>,
    starts: Vec<i32>,
    scales: Vec<f32>,
    /// Depth, padded to whole quads.
    depth: usize,
}

impl Int8Matrix {
    /// `row` writes row i, `cols` values, where it is asked for.
    pub fn new(rows: usize, cols: usize, mut row: impl FnMut(usize, &mut [f32])) -> Self {
        let quads = cols.div_ceil(QUAD);
        let padded = rows.next_multiple_of(PANEL);
        let mut matrix = Int8Matrix {
            rows,
            cols,
            bytes: vec![Line([128; 64]); padded / PANEL * quads],
            scales: vec![0.0; padded],
        };
        let mut values = vec![0.0; cols];
        for i in 0..rows {
            row(i, &mut values);
            let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            matrix.scales[i] = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            for (p, value) in values.iter().enumerate() {
                let q = (value * inverse).round_ties_even() as i32;
                matrix.bytes[i / PANEL * quads + p / QUAD].0[i % PANEL * QUAD + p % QUAD] = (q + 128) as u8;
            }
        }
        matrix
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row i as f32.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.rows && out.len() == self.cols, "row {i} of [{}, {}]", self.rows, self.cols);
        let quads = self.cols.div_ceil(QUAD);
        let lines = &self.bytes[i / PANEL * quads..][..quads];
        for (out, line) in out.chunks_mut(QUAD).zip(lines) {
            let quad = &line.0[i % PANEL * QUAD..];
            for (out, q) in out.iter_mut().zip(quad) {
                *out = (i32::from(*q) - 128) as f32 * self.scales[i];
            }
        }
    }

    /// `out[M, outputs] = x · wᵀ + bias` for a range of outputs that begins with a whole panel.
    ///
    /// # Panics
    /// The range, the bias or `out` do not fit.
    pub fn product(
        &self,
        kernel: &Kernel,
        x: &Int8Rows,
        outputs: Range<usize>,
        bias: &[f32],
        out: &mut [f32],
    ) {
        let (rows, width) = (x.scales.len(), outputs.len());
        let quads = self.cols.div_ceil(QUAD);
        assert!(outputs.start.is_multiple_of(PANEL) && outputs.end <= self.rows, "outputs {outputs:?}");
        assert_eq!(x.depth, quads * QUAD, "activations of another depth");
        assert_eq!((bias.len(), out.len()), (width, rows * width), "bias and result of {rows} rows");
        let tile_at = |j: usize, i: usize| Tile {
            quads,
            x: x.values[i * x.depth..].as_ptr(),
            starts: x.starts[i..].as_ptr(),
            x_scales: x.scales[i..].as_ptr(),
            w: self.bytes[(outputs.start + j) / PANEL * quads..].as_ptr().cast(),
            w_scales: self.scales[outputs.start + j..].as_ptr(),
            bias: std::ptr::null(),
            out: std::ptr::null_mut(),
            out_stride: width,
            rows: kernel.rows.min(rows - i),
            panels: 1,
        };
        let mut j = 0;
        while j < width {
            let whole = (width - j) / PANEL;
            let panels = if whole >= kernel.panels { kernel.panels } else { 1 };
            for i in (0..rows).step_by(kernel.rows) {
                let mut tile = Tile { panels, ..tile_at(j, i) };
                if whole == 0 {
                    part(kernel, tile, &bias[j..], &mut out[i * width + j..]);
                    continue;
                }
                tile.bias = bias[j..].as_ptr();
                tile.out = out[i * width + j..].as_mut_ptr();
                // SAFETY: the panels, rows and columns exist by the assertions; the kernel runs here.
                unsafe { (kernel.tile)(&tile) };
            }
            j += panels * PANEL;
        }
    }
}

/// A last panel that is not whole: by way of a result that is.
fn part(kernel: &Kernel, mut tile: Tile, bias: &[f32], out: &mut [f32]) {
    const ROWS: usize = 8;
    let mut whole = [0.0; ROWS * PANEL];
    let mut padded = [0.0; PANEL];
    padded[..bias.len()].copy_from_slice(bias);
    let stride = tile.out_stride;
    assert!(tile.rows <= ROWS);
    (tile.bias, tile.out, tile.out_stride) = (padded.as_ptr(), whole.as_mut_ptr(), PANEL);
    // SAFETY: weights and scales are padded to whole panels, the rest is here.
    unsafe { (kernel.tile)(&tile) };
    for i in 0..tile.rows {
        out[i * stride..][..bias.len()].copy_from_slice(&whole[i * PANEL..][..bias.len()]);
    }
}

impl Int8Rows {
    /// Take in `x` `[M, K]`: each row becomes `scale · q`, q in −127..=127.
    pub fn set(&mut self, x: &[f32], cols: usize) {
        let rows = x.len() / cols.max(1);
        self.depth = cols.next_multiple_of(QUAD);
        self.values.clear();
        self.values.resize(rows * self.depth, 0);
        self.starts.resize(rows, 0);
        self.scales.resize(rows, 0.0);
        for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
            let largest = largest(x);
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            self.scales[i] = largest / 127.0;
            self.starts[i] = -128 * quantise(x, inverse, &mut self.values[i * self.depth..][..cols]);
        }
    }
}

simd_fn! {
    /// The largest magnitude.
    fn largest(x: &[f32]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (x, rest) = x.as_chunks::<LANES>();
        for x in x {
            for l in 0..LANES {
                let a = x[l].abs();
                lanes[l] = if a > lanes[l] { a } else { lanes[l] };
            }
        }
        rest.iter().chain(&lanes).fold(0.0f32, |m, v| m.max(v.abs()))
    }
}

simd_fn! {
    /// The nearest integers of `x · inverse`, and their sum.
    fn quantise(x: &[f32], inverse: f32, out: &mut [i8]) -> i32 {
        // Adding 1.5 · 2²³ leaves the nearest integer in the low bits of the significand.
        const ROUND: f32 = 12_582_912.0;
        let mut sum = 0i32;
        for (x, out) in x.iter().zip(out) {
            let q = (x * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            *out = q as i8;
            sum += q;
        }
        sum
    }
}
