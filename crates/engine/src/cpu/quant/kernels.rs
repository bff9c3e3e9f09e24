//! The inner loops of products of int8 activations with panels of few-bit weights: within a block, exact sums of
//! u8 × s8 as in `cpu::infer`; from block to block, in f32, each with its scales.

use crate::blocks::panels::{COLUMNS, LINE};
use crate::cpu::infer::kernels::{Portable, QUAD, Sums};
use std::sync::OnceLock;

/// Quads of a block of 32 depths.
const QUADS: usize = 8;

/// Rows up to which memory is what a tile waits for.
const FEW: usize = 2;
/// Bytes between the line that is read and the one that is asked for then.
const AHEAD: usize = 18 << 10;

/// What a tile is computed from; all for the tile's first row and column.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Depths / 32.
    pub blocks: usize,
    /// Activations `[rows][blocks · 32]`.
    pub x: *const i8,
    /// The sums of each block's halves, `[rows][blocks][2]`, and its scale, `[rows][blocks]`.
    pub sums: *const i32,
    pub x_scales: *const f32,
    /// Panels of lines, and what scales them: see `blocks::panels`.
    pub w: *const u8,
    pub w_scales: *const u8,
    pub out: *mut f32,
    pub out_stride: usize,
    pub alpha: f32,
    /// To what is there.
    pub add: bool,
    /// A pair that [`Kernel::panels`] gave: rows, and whole panels.
    pub rows: usize,
    pub panels: usize,
}

/// `out[i, j] (+)= alpha · Σ_b x_scales[i, b] · w_scales[j, b] · Σ_p x[i, p] · (w[j, p] − offset)`; weights are stored
/// without a sign, as the processors' instructions want one side, higher by the offset of their kind.
///
/// # Safety
/// Everything is readable, and `out` writable, as the tile says; the instruction set is present.
type TileFn = unsafe fn(&Tile);

/// One instruction set's inner loops.
pub struct Kernel {
    #[cfg(test)]
    pub name: &'static str,
    /// Whether four products of int8 and their sum are one instruction: faster than four multiply-adds in f32.
    pub fused: bool,
    /// Panels that go with 1, 2, … rows.
    shapes: &'static [usize],
    /// Weights of 8, of 4 and of 6 bits: `Q8_0`, `Q4_0`, `Q6_K`.
    pub bytes: TileFn,
    pub nibbles: TileFn,
    pub sixes: TileFn,
}

impl Kernel {
    /// The fastest that this processor runs.
    pub fn best() -> &'static Kernel {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| Kernel::available()[0])
    }

    /// All that this processor runs, the fastest first.
    pub fn available() -> Vec<&'static Kernel> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                kernels.push(&AVX512_VNNI);
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("f16c") {
                if is_x86_feature_detected!("avxvnni") {
                    kernels.push(&AVX_VNNI);
                }
                kernels.push(&AVX2);
            }
        }
        kernels.push(&PORTABLE);
        kernels
    }

    /// Rows of a tile, at most.
    pub fn rows(&self) -> usize {
        self.shapes.len()
    }

    /// Panels that a tile of so many rows is fastest with; it may have one, too.
    pub fn panels(&self, rows: usize) -> usize {
        self.shapes[rows - 1]
    }
}

/// What [`Sums`] lacks for blocks.
///
/// # Safety
/// As [`Sums`].
trait BlockSums: Sums {
    /// `LANES` numbers.
    type Reals: Copy;

    unsafe fn zero() -> Self::Reals;
    /// From f16.
    unsafe fn scales(p: *const u8) -> Self::Reals;
    /// `total + sums · scales · factor`
    unsafe fn add(total: Self::Reals, sums: Self::Acc, scales: Self::Reals, factor: f32) -> Self::Reals;
    /// Weights of 4 bits: the low halves, and the high ones.
    unsafe fn nibbles(p: *const u8) -> [Self::W; 2];
    /// Weights of 6 bits at depth 32 · K and further on in a half of a block, from the lines of their low and high bits.
    unsafe fn sixes<const K: usize>(low: *const u8, high: *const u8) -> Self::W;
    /// `sums · scales`, these signed bytes.
    unsafe fn weigh(sums: Self::Acc, scales: *const u8) -> Self::Acc;
    unsafe fn plus(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// `out = alpha · total`, or added to it.
    unsafe fn store(total: Self::Reals, alpha: f32, add: bool, out: *mut f32);
}

/// See [`TileFn`]; `R` rows, `W` registers wide, weights of 4 bits or of 8.
#[inline(always)]
unsafe fn tile<S: BlockSums, const R: usize, const W: usize, const NIBBLES: bool>(t: &Tile) {
    unsafe {
        let (lines, offset) = if NIBBLES { (QUADS / 2, 8) } else { (QUADS, 128) };
        let depth = t.blocks * QUADS * QUAD;
        // Register j has columns of panel j · LANES / 16.
        let columns: [*const u8; W] = std::array::from_fn(|j| {
            let (panel, column) = (j * S::LANES / COLUMNS, j * S::LANES % COLUMNS);
            t.w.wrapping_add(panel * t.blocks * lines * LINE + column * QUAD)
        });
        let scales: [*const u8; W] = std::array::from_fn(|j| {
            let (panel, column) = (j * S::LANES / COLUMNS, j * S::LANES % COLUMNS);
            t.w_scales.wrapping_add((panel * t.blocks * COLUMNS + column) * 2)
        });
        let mut total = [[S::zero(); W]; R];
        for b in 0..t.blocks {
            let mut sums = [[S::start(0); W]; R];
            for i in 0..R {
                let x_sums = t.sums.add(2 * (i * t.blocks + b));
                sums[i] = [S::start(-offset * (*x_sums + *x_sums.add(1))); W];
            }
            let x = t.x.add(b * QUADS * QUAD);
            for line in 0..lines {
                let at = (b * lines + line) * LINE;
                ask_ahead::<S, R, W>(&columns, at);
                if NIBBLES {
                    let mut w = [S::nibbles(columns[0].add(at)); W];
                    for j in 1..W {
                        w[j] = S::nibbles(columns[j].add(at));
                    }
                    for half in 0..2 {
                        for i in 0..R {
                            let x = S::activations(x.add(i * depth + (half * lines + line) * QUAD));
                            for j in 0..W {
                                sums[i][j] = S::dot(sums[i][j], w[j][half], x);
                            }
                        }
                    }
                } else {
                    let mut w = [S::weights(columns[0].add(at)); W];
                    for j in 1..W {
                        w[j] = S::weights(columns[j].add(at));
                    }
                    for i in 0..R {
                        let x = S::activations(x.add(i * depth + line * QUAD));
                        for j in 0..W {
                            sums[i][j] = S::dot(sums[i][j], w[j], x);
                        }
                    }
                }
            }
            for j in 0..W {
                let scales = S::scales(scales[j].add(b * COLUMNS * 2));
                for i in 0..R {
                    let factor = *t.x_scales.add(i * t.blocks + b);
                    total[i][j] = S::add(total[i][j], sums[i][j], scales, factor);
                }
            }
        }
        for i in 0..R {
            for j in 0..W {
                S::store(total[i][j], t.alpha, t.add, t.out.add(i * t.out_stride + j * S::LANES));
            }
        }
    }
}

/// [`tile`] for weights of 6 bits in blocks of 256, whose groups of 16 have scales of their own: a half of a block has
/// 16 lines of low bits and 8 of high ones.
#[inline(always)]
unsafe fn tile_of_sixes<S: BlockSums, const R: usize, const W: usize>(t: &Tile) {
    /// Lines, and bytes of scales, of a block.
    const LINES: usize = 48;
    const SCALES: usize = 18 * COLUMNS;
    unsafe {
        let blocks = t.blocks / 8;
        let columns: [*const u8; W] = std::array::from_fn(|j| {
            let (panel, column) = (j * S::LANES / COLUMNS, j * S::LANES % COLUMNS);
            t.w.wrapping_add(panel * blocks * LINES * LINE + column * QUAD)
        });
        let scales: [*const u8; W] =
            std::array::from_fn(|j| t.w_scales.wrapping_add(j * S::LANES / COLUMNS * blocks * SCALES));
        let mut total = [[S::zero(); W]; R];
        for b in 0..blocks {
            let mut d = [S::zero(); W];
            for j in 0..W {
                d[j] = S::scales(scales[j].add(b * SCALES + 2 * (j * S::LANES % COLUMNS)));
            }
            for half in 0..2 {
                let at = Sixes {
                    low: (b * LINES + half * 16) * LINE,
                    high: (b * LINES + 32 + half * 8) * LINE,
                    groups: b * SCALES + 2 * COLUMNS + half * 8 * COLUMNS,
                    x: b * 8 + half * 4,
                };
                for line in 0..16 {
                    ask_ahead::<S, R, W>(&columns, at.low + line * LINE);
                }
                for line in 0..8 {
                    ask_ahead::<S, R, W>(&columns, at.high + line * LINE);
                }
                run_of_sixes::<S, R, W, 0>(t, &columns, &scales, &at, &d, &mut total);
                run_of_sixes::<S, R, W, 1>(t, &columns, &scales, &at, &d, &mut total);
                run_of_sixes::<S, R, W, 2>(t, &columns, &scales, &at, &d, &mut total);
                run_of_sixes::<S, R, W, 3>(t, &columns, &scales, &at, &d, &mut total);
            }
        }
        for i in 0..R {
            for j in 0..W {
                S::store(total[i][j], t.alpha, t.add, t.out.add(i * t.out_stride + j * S::LANES));
            }
        }
    }
}

/// Where a half of a block is: bytes to its lines and groups' scales, and its first block of activations.
struct Sixes {
    low: usize,
    high: usize,
    groups: usize,
    x: usize,
}

/// The 32 depths of a half of a block that begin at 32 · K: two groups.
#[inline(always)]
unsafe fn run_of_sixes<S: BlockSums, const R: usize, const W: usize, const K: usize>(
    t: &Tile,
    columns: &[*const u8; W],
    scales: &[*const u8; W],
    at: &Sixes,
    d: &[S::Reals; W],
    total: &mut [[S::Reals; W]; R],
) {
    const OFFSET: i32 = 32;
    unsafe {
        let block = at.x + K;
        let mut sums = [[S::start(0); W]; R];
        for group in 0..2 {
            let mut part = [[S::start(0); W]; R];
            for i in 0..R {
                part[i] = [S::start(-OFFSET * *t.sums.add(2 * (i * t.blocks + block) + group)); W];
            }
            for line in 4 * group..4 * group + 4 {
                let (low, high) = (at.low + (K % 2 * 8 + line) * LINE, at.high + line * LINE);
                let mut w = [S::sixes::<K>(columns[0].add(low), columns[0].add(high)); W];
                for j in 1..W {
                    w[j] = S::sixes::<K>(columns[j].add(low), columns[j].add(high));
                }
                for i in 0..R {
                    let x = S::activations(t.x.add((i * t.blocks + block) * QUADS * QUAD + line * QUAD));
                    for j in 0..W {
                        part[i][j] = S::dot(part[i][j], w[j], x);
                    }
                }
            }
            for j in 0..W {
                let scales = scales[j].add(at.groups + (2 * K + group) * COLUMNS + j * S::LANES % COLUMNS);
                for i in 0..R {
                    sums[i][j] = S::plus(sums[i][j], S::weigh(part[i][j], scales));
                }
            }
        }
        for i in 0..R {
            let factor = *t.x_scales.add(i * t.blocks + block);
            for j in 0..W {
                total[i][j] = S::add(total[i][j], sums[i][j], d[j], factor);
            }
        }
    }
}

/// Few rows wait for memory: ask for the lines early. Panels follow on each other.
#[inline(always)]
unsafe fn ask_ahead<S: BlockSums, const R: usize, const W: usize>(columns: &[*const u8; W], at: usize) {
    if R <= FEW {
        for j in (0..W).step_by(COLUMNS / S::LANES) {
            // SAFETY: by the caller's contract; the line need not exist.
            unsafe { S::prefetch(columns[j].wrapping_add(AHEAD + at)) };
        }
    }
}

/// Compile the generic tile for one instruction set: each number of rows with so many panels, and with one.
macro_rules! kernel {
    ($table:ident, $module:ident, $name:literal, $sums:ty, fused: $fused:literal, [$($rows:literal x $panels:literal),*]
     $(, features = $features:literal)?) => {
        mod $module {
            use super::*;

            const ONE: usize = COLUMNS / <$sums>::LANES;

            $(#[target_feature(enable = $features)])?
            unsafe fn bytes(t: &Tile) {
                unsafe { pick::<false>(t) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn nibbles(t: &Tile) {
                unsafe { pick::<true>(t) }
            }

            #[inline(always)]
            unsafe fn pick<const NIBBLES: bool>(t: &Tile) {
                unsafe {
                    match (t.rows, t.panels) {
                        $(($rows, 1) => super::tile::<$sums, $rows, ONE, NIBBLES>(t),)*
                        $(#[allow(unreachable_patterns)]
                        ($rows, $panels) => super::tile::<$sums, $rows, { $panels * ONE }, NIBBLES>(t),)*
                        _ => unreachable!("a tile has a shape of its kernel"),
                    }
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn sixes(t: &Tile) {
                unsafe {
                    match (t.rows, t.panels) {
                        $(($rows, 1) => super::tile_of_sixes::<$sums, $rows, ONE>(t),)*
                        $(#[allow(unreachable_patterns)]
                        ($rows, $panels) => super::tile_of_sixes::<$sums, $rows, { $panels * ONE }>(t),)*
                        _ => unreachable!("a tile has a shape of its kernel"),
                    }
                }
            }

            pub static $table: Kernel =
                Kernel { #[cfg(test)] name: $name, fused: $fused, shapes: &[$($panels),*], bytes, nibbles, sixes };
        }
        use $module::$table;
    };
}

kernel!(PORTABLE, portable, "portable", Portable, fused: false, [1 x 1, 2 x 1]);
#[cfg(target_arch = "x86_64")]
kernel!(AVX2, avx2, "AVX2", Avx2, fused: false, [1 x 1, 2 x 1], features = "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX_VNNI, avx_vnni, "AVX-VNNI", AvxVnni, fused: true, [1 x 1, 2 x 1, 3 x 1],
    features = "avx2,fma,f16c,avxvnni"
);
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX512_VNNI, avx512_vnni, "AVX-512 VNNI", Avx512Vnni, fused: true, [1 x 1, 2 x 1, 3 x 2, 4 x 2, 5 x 2, 6 x 2],
    features = "avx512f,avx512vnni,avx2,fma"
);

impl BlockSums for Portable {
    type Reals = [f32; 16];

    #[inline(always)]
    unsafe fn zero() -> Self::Reals {
        [0.0; 16]
    }
    #[inline(always)]
    unsafe fn scales(p: *const u8) -> Self::Reals {
        let halves = unsafe { p.cast::<[[u8; 2]; 16]>().read_unaligned() };
        halves.map(|half| half::f16::from_le_bytes(half).to_f32())
    }
    #[inline(always)]
    unsafe fn add(mut total: Self::Reals, sums: Self::Acc, scales: Self::Reals, factor: f32) -> Self::Reals {
        for j in 0..16 {
            total[j] += sums[j] as f32 * (scales[j] * factor);
        }
        total
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> [Self::W; 2] {
        let w = unsafe { Self::weights(p) };
        [w.map(|quad| quad.map(|q| q & 15)), w.map(|quad| quad.map(|q| q >> 4))]
    }
    #[inline(always)]
    unsafe fn sixes<const K: usize>(low: *const u8, high: *const u8) -> Self::W {
        let (mut w, high) = unsafe { (Self::weights(low), Self::weights(high)) };
        for (w, high) in w.as_flattened_mut().iter_mut().zip(high.as_flattened()) {
            *w = *w >> (K / 2 * 4) & 15 | (high >> (2 * K) & 3) << 4;
        }
        w
    }
    #[inline(always)]
    unsafe fn weigh(mut sums: Self::Acc, scales: *const u8) -> Self::Acc {
        let scales = unsafe { scales.cast::<[i8; 16]>().read_unaligned() };
        sums.iter_mut().zip(scales).for_each(|(sum, scale)| *sum *= i32::from(scale));
        sums
    }
    #[inline(always)]
    unsafe fn plus(mut a: Self::Acc, b: Self::Acc) -> Self::Acc {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    }
    #[inline(always)]
    unsafe fn store(total: Self::Reals, alpha: f32, add: bool, out: *mut f32) {
        for (j, total) in total.into_iter().enumerate() {
            unsafe {
                let out = out.add(j);
                *out = if add { alpha * total + *out } else { alpha * total };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512Vnni, AvxVnni};

#[cfg(target_arch = "x86_64")]
mod x86;
