//! Matrix products on the CPU: `C[M, N] (+)= scale · A[M, K] · B[K, N]`.
//!
//! Blocked and packed as in Goto & van de Geijn (2008). A frozen operand is unpacked from bf16
//! or f16 to f32 while its panel is packed, so the inner loop sees f32 only. Each element of C is
//! computed by one task in a fixed order: results do not depend on the number of threads.

use super::kernel::{self, Simd, Tile};
use super::simd::{Level, level};
use crate::backend::Out;
use crate::frozen::Values;
use rayon::prelude::*;
use std::cell::RefCell;

/// Depth of a packed block: a panel of A (`MR` × this) stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows up to which B is read in place instead of packed.
const THIN_ROWS: usize = 32;
/// Width up to which dot products beat packed tiles.
const THIN_COLS: usize = 16;
/// Rows of activations up to which dot products beat packed tiles (decoding).
const FEW_TOKENS: usize = 4;

/// An operand: lines of the outer dimension (M for A, N for B) against the depth K.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub values: Values<'a>,
    /// Stride between stored rows, in values.
    pub stride: usize,
    /// True where a stored row runs along the depth: `[outer, K]`. False: `[K, outer]`.
    pub outer_major: bool,
}

impl<'a> Operand<'a> {
    /// Stored `[outer, K]`.
    pub fn outer_major(values: Values<'a>, stride: usize) -> Self {
        Operand { values, stride, outer_major: true }
    }
    /// Stored `[K, outer]`.
    pub fn depth_major(values: Values<'a>, stride: usize) -> Self {
        Operand { values, stride, outer_major: false }
    }
}

/// A pointer that tasks share; each writes a region of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: tasks write disjoint regions.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// A method, so that a closure captures the wrapper and not the bare pointer.
    fn at(self, offset: usize) -> *mut f32 {
        unsafe { self.0.add(offset) }
    }
}

thread_local! {
    static PACKED_B: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static PACKED_A: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `C[m, n]` with row stride `c_stride`. Runs on the current rayon pool when `parallel`.
pub fn gemm(
    c: &mut [f32],
    c_stride: usize,
    (m, n, k): (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: Out,
    parallel: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(c.len() >= (m - 1) * c_stride + n, "C of {} values is too short for [{m}, {n}]", c.len());
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => gemm_on::<kernel::Avx512>(c, c_stride, (m, n, k), a, b, out, parallel),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => gemm_on::<kernel::Avx2>(c, c_stride, (m, n, k), a, b, out, parallel),
        _ => gemm_on::<kernel::Portable>(c, c_stride, (m, n, k), a, b, out, parallel),
    }
}

fn gemm_on<S: Simd>(
    c: &mut [f32],
    c_stride: usize,
    (m, n, k): (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: Out,
    parallel: bool,
) {
    let thin = m <= FEW_TOKENS || n <= THIN_COLS;
    if a.outer_major && b.outer_major && thin {
        return thin_dots::<S>(c, c_stride, (m, n, k), a, b, out, parallel);
    }
    if k == 0 {
        if !out.accumulate {
            (0..m).for_each(|i| c[i * c_stride..i * c_stride + n].fill(0.0));
        }
        return;
    }
    PACKED_A.with_borrow_mut(|packed_a| {
        pack_a::<S>(packed_a, a, m, k, parallel);
        let b_in_place = !b.outer_major && m <= THIN_ROWS && matches!(b.values, Values::F32(_));
        let c = Shared(c.as_mut_ptr());
        tasks::<S>(m, n, parallel, |rows, cols| {
            // SAFETY: the tasks' regions of C are disjoint and inside its checked length.
            unsafe { block::<S>(c, c_stride, packed_a, (m, k), b, b_in_place, rows, cols, out) };
        });
    });
}

/// Cut C into regions and run `f(rows, columns)` on each.
fn tasks<S: Simd>(
    m: usize,
    n: usize,
    parallel: bool,
    f: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>) + Sync,
) {
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let width = 2 * S::LANES;
    let wanted = if threads == 1 { 1 } else { threads * 4 };
    let col_panels = n.div_ceil(width).div_ceil(wanted).clamp(1, 4);
    let cols = col_panels * width;
    let col_tasks = n.div_ceil(cols);
    // Few columns: cut the rows too, though each row task then packs B again.
    let row_tasks = if col_tasks >= 2 * threads { 1 } else { threads.min(m.div_ceil(4 * S::MR)).max(1) };
    let rows = m.div_ceil(row_tasks).next_multiple_of(S::MR);
    let run = |i: usize| {
        let (r, c) = (i / col_tasks * rows, i % col_tasks * cols);
        f(r.min(m)..(r + rows).min(m), c..(c + cols).min(n));
    };
    if threads == 1 {
        (0..row_tasks * col_tasks).for_each(run);
    } else {
        (0..row_tasks * col_tasks).into_par_iter().with_max_len(1).for_each(run);
    }
}

/// One region of C over the whole depth.
///
/// # Safety
/// `c` covers the region and no other task writes it; `packed_a` is [`pack_a`]'s for (m, k).
unsafe fn block<S: Simd>(
    c: Shared,
    c_stride: usize,
    packed_a: &[f32],
    (m, k): (usize, usize),
    b: Operand<'_>,
    b_in_place: bool,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    out: Out,
) {
    let width = 2 * S::LANES;
    PACKED_B.with_borrow_mut(|packed_b| {
        packed_b.resize(packed_b.len().max(cols.len().next_multiple_of(width) * DEPTH), 0.0);
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            for (panel, c0) in cols.clone().step_by(width).enumerate() {
                let count = width.min(cols.end - c0);
                if !(b_in_place && count == width) {
                    pack(&mut packed_b[panel * width * depth..][..width * depth], b, c0, count, width, k0, depth);
                }
            }
            for r0 in rows.clone().step_by(S::MR) {
                let height = S::MR.min(m - r0);
                // Panels of A before this one hold r0 rows over the whole depth.
                let a_panel = unsafe { packed_a.as_ptr().add(r0 * k + k0 * height) };
                for (panel, c0) in cols.clone().step_by(width).enumerate() {
                    let count = width.min(cols.end - c0);
                    let (b_panel, b_stride) = match b.values {
                        Values::F32(v) if b_in_place && count == width => {
                            (v[k0 * b.stride + c0..].as_ptr(), b.stride)
                        }
                        _ => (packed_b[panel * width * depth..].as_ptr(), width),
                    };
                    let tile = Tile {
                        c: c.at(r0 * c_stride + c0),
                        stride: c_stride,
                        cols: count,
                        scale: out.scale,
                        accumulate: out.accumulate || k0 > 0,
                    };
                    // SAFETY: by this function's contract and the packing above.
                    unsafe { run_tile::<S>(height, depth, a_panel, b_panel, b_stride, tile) };
                }
            }
        }
    });
}

/// Enter the instruction set's own compilation of the tile.
#[inline(always)]
unsafe fn run_tile<S: Simd>(
    rows: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    b_stride: usize,
    out: Tile,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn avx512(rows: usize, depth: usize, a: *const f32, b: *const f32, b_stride: usize, out: Tile) {
            unsafe { kernel::tile_of_height::<kernel::Avx512>(rows, depth, a, b, b_stride, out) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(rows: usize, depth: usize, a: *const f32, b: *const f32, b_stride: usize, out: Tile) {
            unsafe { kernel::tile_of_height::<kernel::Avx2>(rows, depth, a, b, b_stride, out) }
        }
        match S::MR {
            kernel::Avx512::MR => return unsafe { avx512(rows, depth, a, b, b_stride, out) },
            kernel::Avx2::MR => return unsafe { avx2(rows, depth, a, b, b_stride, out) },
            _ => {}
        }
    }
    unsafe { kernel::tile_of_height::<kernel::Portable>(rows, depth, a, b, b_stride, out) }
}

/// All of A in panels of `MR` rows (the last one lower), each `[K][height]`.
fn pack_a<S: Simd>(packed: &mut Vec<f32>, a: Operand<'_>, m: usize, k: usize, parallel: bool) {
    packed.resize(packed.len().max(m * k), 0.0);
    let pack_panel = |(i, panel): (usize, &mut [f32])| {
        let height = panel.len() / k;
        pack(panel, a, i * S::MR, height, height, 0, k);
    };
    let panels = &mut packed[..m * k];
    if parallel && m * k > 1 << 14 {
        panels.par_chunks_mut(S::MR * k).enumerate().for_each(pack_panel);
    } else {
        panels.chunks_mut(S::MR * k).enumerate().for_each(pack_panel);
    }
}

/// `panel[d][i] = operand(first + i, k0 + d)` for `count` lines, padded with zeros to `width`.
fn pack(
    panel: &mut [f32],
    operand: Operand<'_>,
    first: usize,
    count: usize,
    width: usize,
    k0: usize,
    depth: usize,
) {
    let Operand { values, stride, outer_major } = operand;
    if !outer_major {
        for (d, row) in panel.chunks_exact_mut(width).take(depth).enumerate() {
            values.convert((k0 + d) * stride + first, &mut row[..count]);
            row[count..].fill(0.0);
        }
        return;
    }
    if count < width {
        panel.fill(0.0);
    }
    match values {
        Values::F32(v) => {
            for i in 0..count {
                let line = &v[(first + i) * stride + k0..][..depth];
                transpose_in(panel, width, i, line);
            }
        }
        _ => {
            let mut line = [0.0f32; DEPTH];
            for i in 0..count {
                for from in (0..depth).step_by(DEPTH) {
                    let n = DEPTH.min(depth - from);
                    values.convert((first + i) * stride + k0 + from, &mut line[..n]);
                    transpose_in(&mut panel[from * width..], width, i, &line[..n]);
                }
            }
        }
    }
}

/// `panel[d][i] = line[d]`
#[inline(always)]
fn transpose_in(panel: &mut [f32], width: usize, i: usize, line: &[f32]) {
    for (row, &x) in panel.chunks_exact_mut(width).zip(line) {
        row[i] = x;
    }
}

/// Products with a thin side, both operands running along the depth: dot products, no packing.
fn thin_dots<S: Simd>(
    c: &mut [f32],
    c_stride: usize,
    (m, n, k): (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: Out,
    parallel: bool,
) {
    let Values::F32(a_values) = a.values else {
        unreachable!("activations are f32");
    };
    let c = Shared(c.as_mut_ptr());
    // Cut the long side into tasks.
    let (block, long) = if m > n { (64, m) } else { (32, n) };
    let run = |i: usize| {
        let range = i * block..((i + 1) * block).min(long);
        let (rows, cols) = if m > n { (range, 0..n) } else { (0..m, range) };
        PACKED_B.with_borrow_mut(|scratch| {
            let (w, w_stride) = match b.values {
                Values::F32(v) => (&v[cols.start * b.stride..], b.stride),
                half => {
                    scratch.resize(scratch.len().max(cols.len() * k), 0.0);
                    for (i, j) in cols.clone().enumerate() {
                        half.convert(j * b.stride, &mut scratch[i * k..(i + 1) * k]);
                    }
                    (&scratch[..], k)
                }
            };
            let x = &a_values[rows.start * a.stride..];
            // SAFETY: regions are disjoint; the slices above cover rows × k and cols × k.
            unsafe {
                dot_block::<S>(
                    c.at(rows.start * c_stride + cols.start),
                    c_stride,
                    (rows.len(), cols.len(), k),
                    (x.as_ptr(), a.stride),
                    (w.as_ptr(), w_stride),
                    out,
                );
            }
        });
    };
    let count = long.div_ceil(block);
    if parallel && m * n * k > 1 << 16 {
        (0..count).into_par_iter().for_each(run);
    } else {
        (0..count).for_each(run);
    }
}

/// # Safety
/// The pointers cover the shapes; nobody else writes the region of C.
unsafe fn dot_block<S: Simd>(
    c: *mut f32,
    c_stride: usize,
    shape: (usize, usize, usize),
    x: (*const f32, usize),
    w: (*const f32, usize),
    out: Out,
) {
    #[inline(always)]
    unsafe fn body<S: Simd>(
        c: *mut f32,
        c_stride: usize,
        (m, n, k): (usize, usize, usize),
        (x, x_stride): (*const f32, usize),
        (w, w_stride): (*const f32, usize),
        out: Out,
    ) {
        unsafe {
            let put = |i: usize, j: usize, dot: f32| {
                let p = c.add(i * c_stride + j);
                let old = if out.accumulate { *p } else { 0.0 };
                *p = old + out.scale * dot;
            };
            // The same element must come out the same whatever tile it lies in: every tile adds
            // in the same order, so 4 × 2, 4 × 1, 1 × 2 and 1 × 1 agree bit for bit.
            let mut i = 0;
            while i < m {
                let xi = x.add(i * x_stride);
                let tall = m - i >= 4;
                let mut j = 0;
                while j < n {
                    let wj = w.add(j * w_stride);
                    if n - j >= 2 {
                        if tall {
                            let d = kernel::dots::<S, 4, 2>(k, xi, x_stride, wj, w_stride);
                            (0..4).for_each(|r| (0..2).for_each(|s| put(i + r, j + s, d[r][s])));
                        } else {
                            let d = kernel::dots::<S, 1, 2>(k, xi, x_stride, wj, w_stride);
                            (0..2).for_each(|s| put(i, j + s, d[0][s]));
                        }
                        j += 2;
                    } else {
                        if tall {
                            let d = kernel::dots::<S, 4, 1>(k, xi, x_stride, wj, w_stride);
                            (0..4).for_each(|r| put(i + r, j, d[r][0]));
                        } else {
                            put(i, j, kernel::dots::<S, 1, 1>(k, xi, x_stride, wj, w_stride)[0][0]);
                        }
                        j += 1;
                    }
                }
                i += if tall { 4 } else { 1 };
            }
        }
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn avx512(
            c: *mut f32,
            s: usize,
            d: (usize, usize, usize),
            x: (*const f32, usize),
            w: (*const f32, usize),
            out: Out,
        ) {
            unsafe { body::<kernel::Avx512>(c, s, d, x, w, out) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(
            c: *mut f32,
            s: usize,
            d: (usize, usize, usize),
            x: (*const f32, usize),
            w: (*const f32, usize),
            out: Out,
        ) {
            unsafe { body::<kernel::Avx2>(c, s, d, x, w, out) }
        }
        match S::MR {
            kernel::Avx512::MR => return unsafe { avx512(c, c_stride, shape, x, w, out) },
            kernel::Avx2::MR => return unsafe { avx2(c, c_stride, shape, x, w, out) },
            _ => {}
        }
    }
    unsafe { body::<kernel::Portable>(c, c_stride, shape, x, w, out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrozenMatrix;
    use crate::random::mix;

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        (0..n).map(|i| (mix(seed * 1_000_003 + i as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    /// The naive twin, in f64.
    fn naive(m: usize, n: usize, k: usize, a: impl Fn(usize, usize) -> f32, b: impl Fn(usize, usize) -> f32) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] = (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum();
            }
        }
        c
    }

    fn check<S: Simd>(threads: usize) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let sizes = [(1, 1, 1), (1, 70, 33), (3, 5, 300), (13, 33, 17), (25, 100, 600), (100, 8, 70), (8, 130, 40), (16, 70, 300), (70, 257, 259), (65, 40, 2)];
        for (m, n, k) in sizes {
            for (a_outer, b_outer, accumulate) in
                [(true, true, false), (true, false, true), (false, false, false), (false, true, true)]
            {
                let (a, b, c0) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
                let at = |i: usize, l: usize| if a_outer { a[i * k + l] } else { a[l * m + i] };
                let bt = |l: usize, j: usize| if b_outer { b[j * k + l] } else { b[l * n + j] };
                let want = naive(m, n, k, at, bt);
                let op = |v, outer: bool, outer_len: usize| {
                    if outer { Operand::outer_major(Values::F32(v), k) } else { Operand::depth_major(Values::F32(v), outer_len) }
                };
                let out = Out { accumulate, scale: 0.5 };
                let mut c = c0.clone();
                pool.install(|| gemm_on::<S>(&mut c, n, (m, n, k), op(&a, a_outer, m), op(&b, b_outer, n), out, true));
                for i in 0..m * n {
                    let old = if accumulate { f64::from(c0[i]) } else { 0.0 };
                    let want = old + 0.5 * want[i];
                    assert!(
                        (f64::from(c[i]) - want).abs() < 1e-5 * (k as f64).sqrt() + 1e-6,
                        "[{m}, {n}, {k}] a {a_outer} b {b_outer} element {i}: {} expected {want}", c[i]
                    );
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_naive_product_on_every_instruction_set() {
        for threads in [1, 2] {
            check::<kernel::Portable>(threads);
            #[cfg(target_arch = "x86_64")]
            {
                if level() >= Level::Avx2 {
                    check::<kernel::Avx2>(threads);
                }
                if level() >= Level::Avx512 {
                    check::<kernel::Avx512>(threads);
                }
            }
        }
    }

    #[test]
    fn half_formats_equal_their_f32_values() {
        let (m, n, k) = (30, 50, 290);
        let (a, w) = (noise(m * k, 1), noise(n * k, 2));
        for dtype in [crate::Dtype::Bf16, crate::Dtype::F16] {
            let bytes: Vec<u8> = w
                .iter()
                .flat_map(|&x| match dtype {
                    crate::Dtype::Bf16 => half::bf16::from_f32(x).to_le_bytes(),
                    _ => half::f16::from_f32(x).to_le_bytes(),
                })
                .collect();
            let frozen = FrozenMatrix::from_bytes(&bytes, dtype, n, k).unwrap();
            let plain = frozen.to_f32();
            for m in [1, m] {
                let mut c = [vec![0.0; m * n], vec![0.0; m * n]];
                for (c, w) in c.iter_mut().zip([frozen.values(), Values::F32(&plain)]) {
                    let a = Operand::outer_major(Values::F32(&a), k);
                    gemm(c, n, (m, n, k), a, Operand::outer_major(w, k), Out::SET, true);
                }
                assert_eq!(c[0], c[1]);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, n, k) = (130, 300, 700);
        let (a, b) = (noise(m * k, 1), noise(k * n, 2));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            let (a, b) = (Operand::outer_major(Values::F32(&a), k), Operand::outer_major(Values::F32(&b), k));
            pool.install(|| gemm(&mut c, n, (m, n, k), a, b, Out::SET, true));
            c
        };
        let one = run(1);
        assert!([2, 3, 5].into_iter().all(|t| run(t) == one));
    }
}
