//! The inner loops: a tile of C in registers, a tile of dot products, the packing of panels.
//!
//! Written once over [`Simd`] and compiled once per instruction set; [`Kernel`] is the table of one
//! such compilation, chosen at run time.

use super::simd::{Bf16, Element, F16, F32, MAX_LANES, NV, Portable, Simd};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};
use crate::Dtype;
use crate::cpu::simd::prefetch;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// See [`super::allow_tiles`].
pub static TILES_ALLOWED: AtomicBool = AtomicBool::new(true);

/// Where a tile of results goes: `C[i, j] (+)= alpha · tile[i, j]`.
#[derive(Clone, Copy)]
pub struct Tile {
    pub c: *mut f32,
    pub row_stride: usize,
    pub col_stride: usize,
    pub rows: usize,
    pub cols: usize,
    pub alpha: f32,
    pub add: bool,
}

/// `tile[i, j] = Σ_p a[p · MR + i] · b[p · b_stride + j]` for p below `depth`.
///
/// # Safety
/// Rows of b are readable over `NR` values, `a` over `depth · MR`; `rows ≤ MR`, `cols ≤ NR`; nobody
/// else touches the tile's part of C; the instruction set is present.
type TileFn = unsafe fn(depth: usize, a: *const f32, b: *const f32, b_stride: usize, out: &Tile);

/// `tile[i, j] = Σ_p few[i · few_stride + p] · many[j · many_stride + p]`.
///
/// # Safety
/// Both operands are readable as the shapes say; nobody else touches the tile's part of C; the
/// instruction set is present.
type DotsFn = unsafe fn(
    depth: usize,
    few: *const f32,
    few_stride: usize,
    many: *const u8,
    many_stride: usize,
    out: &Tile,
);

/// Pack `lines` lines of an operand in panels of `width` lines, `distance` values from one to the next:
/// `panel[p · width + i] = line i at depth p`. The last panel's missing lines hold anything.
///
/// # Safety
/// `src` is readable as the shapes say, `dst` writable over `width · depth` values of each panel;
/// the instruction set is present.
type PackFn = unsafe fn(
    src: *const u8,
    stride: usize,
    lines: usize,
    depth: usize,
    width: usize,
    dst: *mut f32,
    distance: usize,
);

/// What is compiled once per storage type.
pub struct Typed {
    pub dots: DotsFn,
    /// From an operand whose stored rows run along the depth.
    pub pack_lines: PackFn,
    /// From an operand whose stored rows run across the lines.
    pub pack_depths: PackFn,
}

/// One instruction set's inner loops.
pub struct Kernel {
    pub name: &'static str,
    /// Tile height and width.
    pub mr: usize,
    pub nr: usize,
    /// Values of packed panels of B that stay in the second-level cache while rows of A pass by.
    pub own: usize,
    pub tile: TileFn,
    /// Large products take the tile unit, see `amx`.
    pub tiles: bool,
    f32: Typed,
    bf16: Typed,
    f16: Typed,
}

impl Kernel {
    pub fn typed(&self, dtype: Dtype) -> &Typed {
        match dtype {
            Dtype::F32 => &self.f32,
            Dtype::BF16 => &self.bf16,
            Dtype::F16 => &self.f16,
        }
    }

    /// The fastest that this processor runs.
    pub fn best() -> &'static Kernel {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| Kernel::available()[0])
    }

    /// The fastest that this processor runs and [`super::allow_tiles`] allows.
    pub fn chosen() -> &'static Kernel {
        static OTHER: OnceLock<&Kernel> = OnceLock::new();
        let best = Kernel::best();
        if !best.tiles || TILES_ALLOWED.load(Ordering::Relaxed) {
            return best;
        }
        OTHER.get_or_init(|| Kernel::available().into_iter().find(|k| !k.tiles).unwrap_or(&PORTABLE))
    }

    /// All that this processor runs, the fastest first.
    pub fn available() -> Vec<&'static Kernel> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            if is_x86_feature_detected!("avx512f") {
                #[cfg(target_os = "linux")]
                if super::amx::available() {
                    kernels.push(&AMX);
                }
                kernels.push(&AVX512);
            }
            kernels.push(&AVX2);
        }
        kernels.push(&PORTABLE);
        kernels
    }
}

/// Compile the generic loops below for one instruction set.
macro_rules! kernel {
    ($table:ident, $module:ident, $name:literal, $simd:ty, [$($rows:literal)*] $(, features = $features:literal)?) => {
        mod $module {
            use super::*;

            $(#[target_feature(enable = $features)])?
            unsafe fn tile(depth: usize, a: *const f32, b: *const f32, b_stride: usize, out: &Tile) {
                unsafe {
                    if out.cols > <$simd>::LANES {
                        match out.rows {
                            $($rows => super::tile::<$simd, $rows, NV>(depth, a, b, b_stride, out),)*
                            _ => unreachable!("a tile has at most MR rows"),
                        }
                    } else {
                        match out.rows {
                            $($rows => super::tile::<$simd, $rows, 1>(depth, a, b, b_stride, out),)*
                            _ => unreachable!("a tile has at most MR rows"),
                        }
                    }
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn dots<E: Element>(
                depth: usize,
                few: *const f32,
                few_stride: usize,
                many: *const u8,
                many_stride: usize,
                out: &Tile,
            ) {
                unsafe { super::dots::<$simd, E>(depth, few, few_stride, many, many_stride, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn pack_lines<E: Element>(
                src: *const u8, stride: usize, lines: usize, depth: usize, width: usize, dst: *mut f32, distance: usize,
            ) {
                unsafe { super::pack_lines::<$simd, E>(src, stride, lines, depth, width, dst, distance) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn pack_depths<E: Element>(
                src: *const u8, stride: usize, lines: usize, depth: usize, width: usize, dst: *mut f32, distance: usize,
            ) {
                unsafe { super::pack_depths::<$simd, E>(src, stride, lines, depth, width, dst, distance) }
            }

            const fn typed<E: Element>() -> Typed {
                Typed { dots: dots::<E>, pack_lines: pack_lines::<E>, pack_depths: pack_depths::<E> }
            }

            pub const fn kernel(name: &'static str, tiles: bool) -> Kernel {
                Kernel {
                    name,
                    mr: <$simd>::MR,
                    nr: NV * <$simd>::LANES,
                    own: <$simd>::OWN,
                    tile,
                    tiles,
                    f32: typed::<F32>(),
                    bf16: typed::<Bf16>(),
                    f16: typed::<F16>(),
                }
            }

            pub static $table: Kernel = kernel($name, false);
        }
        use $module::$table;
    };
}

kernel!(PORTABLE, portable, "portable", Portable, [1 2 3 4]);
#[cfg(target_arch = "x86_64")]
kernel!(AVX2, avx2, "AVX2 + FMA", Avx2, [1 2 3 4 5 6], features = "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX512, avx512, "AVX-512", Avx512, [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
    features = "avx512f,avx2,fma,f16c"
);

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
static AMX: Kernel = avx512::kernel("AMX + AVX-512", true);

/// See [`TileFn`]; `W` registers wide.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const W: usize>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    b_stride: usize,
    out: &Tile,
) {
    unsafe {
        for i in 0..ROWS {
            let row = out.c.wrapping_add(i * out.row_stride);
            prefetch(row);
            prefetch(row.wrapping_add(out.cols - 1));
        }
        let mut acc = [[S::zero(); W]; ROWS];
        for p in 0..depth {
            let row = b.add(p * b_stride);
            let mut bv = [S::zero(); W];
            for j in 0..W {
                bv[j] = S::load(row.add(j * S::LANES));
            }
            for i in 0..ROWS {
                let x = S::splat(*a.add(p * S::MR + i));
                for j in 0..W {
                    acc[i][j] = S::fma(x, bv[j], acc[i][j]);
                }
            }
        }
        // Short loops of one kind each: they unroll, and the accumulators never leave their registers.
        let alpha = S::splat(out.alpha);
        if out.cols < W * S::LANES || out.col_stride != 1 {
            let mut values = [MaybeUninit::<[f32; NV * MAX_LANES]>::uninit(); ROWS];
            for i in 0..ROWS {
                for j in 0..W {
                    S::store(values[i].as_mut_ptr().cast::<f32>().add(j * S::LANES), acc[i][j]);
                }
            }
            store_part::<S>(values.as_ptr().cast(), out);
        } else if out.add {
            for i in 0..ROWS {
                for j in 0..W {
                    let p = out.c.add(i * out.row_stride + j * S::LANES);
                    S::store(p, S::fma(alpha, acc[i][j], S::load(p)));
                }
            }
        } else {
            for i in 0..ROWS {
                for j in 0..W {
                    let p = out.c.add(i * out.row_stride + j * S::LANES);
                    S::store(p, S::fma(alpha, acc[i][j], S::zero()));
                }
            }
        }
    }
}

/// A tile that is narrower than its registers, or whose columns are not neighbours in C.
#[inline(always)]
unsafe fn store_part<S: Simd>(values: *const f32, out: &Tile) {
    unsafe {
        for i in 0..out.rows {
            for j in 0..out.cols {
                put::<S>(out, i, j, *values.add(i * NV * MAX_LANES + j));
            }
        }
    }
}

/// Rounded like a full tile's store, so that a value does not depend on the tile it lies in.
#[inline(always)]
unsafe fn put<S: Simd>(out: &Tile, i: usize, j: usize, value: f32) {
    unsafe {
        let p = out.c.add(i * out.row_stride + j * out.col_stride);
        let old = if out.add { *p } else { 0.0 };
        *p = S::fma1(out.alpha, value, old);
    }
}

/// See [`DotsFn`]. Every result is summed in the same order, whatever block it lies in.
#[inline(always)]
unsafe fn dots<S: Simd, E: Element>(
    depth: usize,
    few: *const f32,
    few_stride: usize,
    many: *const u8,
    many_stride: usize,
    out: &Tile,
) {
    unsafe {
        let mut j = 0;
        while j < out.cols {
            let wide = out.cols - j >= S::MANY;
            let many = many.add(j * many_stride * E::SIZE);
            let mut i = 0;
            while i < out.rows {
                let few = few.add(i * few_stride);
                macro_rules! block {
                    ($few:expr, $many:expr) => {
                        dots_block::<S, E, { $few }, { $many }>(
                            depth,
                            few,
                            few_stride,
                            many,
                            many_stride,
                            out,
                            i,
                            j,
                        )
                    };
                }
                // Block sizes that both instruction sets' register files hold; see `Simd::FEW`.
                i += match (S::FEW, out.rows - i, wide) {
                    (8, 8.., true) => block!(8, 3),
                    (8, 8.., false) => block!(8, 1),
                    (4.., 4.., true) if S::MANY == 3 => block!(4, 3),
                    (4.., 4.., true) => block!(4, 2),
                    (4.., 4.., false) => block!(4, 1),
                    (_, 2.., true) if S::MANY == 3 => block!(2, 3),
                    (_, 2.., true) => block!(2, 2),
                    (_, 2.., false) => block!(2, 1),
                    (_, _, true) if S::MANY == 3 => block!(1, 3),
                    (_, _, true) => block!(1, 2),
                    (_, _, false) => block!(1, 1),
                };
            }
            j += if wide { S::MANY } else { 1 };
        }
    }
}

/// Returns the rows done.
#[inline(always)]
unsafe fn dots_block<S: Simd, E: Element, const X: usize, const W: usize>(
    depth: usize,
    few: *const f32,
    few_stride: usize,
    many: *const u8,
    many_stride: usize,
    out: &Tile,
    i0: usize,
    j0: usize,
) -> usize {
    unsafe {
        let mut acc = [[S::zero(); W]; X];
        let whole = depth / S::LANES * S::LANES;
        let mut p = 0;
        while p < whole {
            let mut w = [S::zero(); W];
            for j in 0..W {
                let line = many.wrapping_add((j * many_stride + p) * E::SIZE);
                w[j] = E::load::<S>(line);
                prefetch(line.wrapping_add(W * many_stride * E::SIZE).cast());
            }
            for i in 0..X {
                let x = S::load(few.add(i * few_stride + p));
                for j in 0..W {
                    acc[i][j] = S::fma(x, w[j], acc[i][j]);
                }
            }
            p += S::LANES;
        }
        // Through memory, so that the accumulators stay in registers until here; see `tile`.
        let mut lanes = [[MaybeUninit::<[f32; MAX_LANES]>::uninit(); W]; X];
        for i in 0..X {
            for j in 0..W {
                S::store(lanes[i][j].as_mut_ptr().cast(), acc[i][j]);
            }
        }
        for i in 0..X {
            for j in 0..W {
                let mut sum = S::sum(S::load(lanes[i][j].as_ptr().cast()));
                for p in whole..depth {
                    let w = E::load1(many.add((j * many_stride + p) * E::SIZE));
                    sum = S::fma1(*few.add(i * few_stride + p), w, sum);
                }
                put::<S>(out, i0 + i, j0 + j, sum);
            }
        }
    }
    X
}

/// See [`PackFn`]: a transpose of blocks of `LANES` lines by `LANES` depths.
#[inline(always)]
unsafe fn pack_lines<S: Simd, E: Element>(
    src: *const u8,
    stride: usize,
    lines: usize,
    depth: usize,
    width: usize,
    dst: *mut f32,
    distance: usize,
) {
    unsafe {
        let (mut first, mut panel) = (0, dst);
        while first < lines {
            let mut from = 0;
            while from < width && first + from < lines {
                let block = src.add((first + from) * stride * E::SIZE);
                let valid = (lines - first - from).min(S::LANES);
                let keep = (width - from).min(S::LANES);
                pack_block::<S, E>(block, stride, valid, depth, width, keep, panel.add(from));
                from += S::LANES;
            }
            first += width;
            panel = panel.wrapping_add(distance);
        }
    }
}

/// Up to `LANES` lines into a panel's columns; `valid` lines exist, `keep` columns are written.
#[inline(always)]
unsafe fn pack_block<S: Simd, E: Element>(
    src: *const u8,
    stride: usize,
    valid: usize,
    depth: usize,
    width: usize,
    keep: usize,
    dst: *mut f32,
) {
    unsafe {
        let mut block = [S::zero(); MAX_LANES];
        let whole = depth / S::LANES * S::LANES;
        // Whether a whole register may be stored because the next row overwrites what spills.
        let spill = keep == width && 2 * width >= S::LANES;
        let mut p = 0;
        while p < whole {
            if (p * E::SIZE).is_multiple_of(64) {
                // The next lines: each is a new stream, which the processor foresees only when it has begun.
                for i in S::LANES..2 * S::LANES {
                    prefetch(src.wrapping_add((i * stride + p) * E::SIZE).cast());
                }
            }
            for i in 0..S::LANES {
                // A line that does not exist repeats the last one: its results are never stored.
                let line = i.min(valid - 1);
                block[i] = E::load::<S>(src.add((line * stride + p) * E::SIZE));
            }
            S::transpose(&mut block[..S::LANES]);
            for d in 0..S::LANES {
                let to = dst.add((p + d) * width);
                if keep == S::LANES || spill && p + d + 1 < depth {
                    S::store(to, block[d]);
                } else {
                    let mut row = [0.0f32; MAX_LANES];
                    S::store(row.as_mut_ptr(), block[d]);
                    std::ptr::copy_nonoverlapping(row.as_ptr(), to, keep);
                }
            }
            p += S::LANES;
        }
        for p in whole..depth {
            for i in 0..keep {
                let line = i.min(valid - 1);
                *dst.add(p * width + i) = E::load1(src.add((line * stride + p) * E::SIZE));
            }
        }
    }
}

/// Stored rows ahead of the one being packed that are asked for: their distance is no stride that the
/// processor foresees.
const AHEAD: usize = 4;

/// See [`PackFn`]: copies of runs of `width`.
#[inline(always)]
unsafe fn pack_depths<S: Simd, E: Element>(
    src: *const u8,
    stride: usize,
    lines: usize,
    depth: usize,
    width: usize,
    dst: *mut f32,
    distance: usize,
) {
    unsafe {
        for p in 0..depth {
            let row = src.add(p * stride * E::SIZE);
            let (mut first, mut panel) = (0, dst);
            while first < lines {
                let run = row.add(first * E::SIZE);
                let to = panel.add(p * width);
                let count = width.min(lines - first);
                let ahead = run.wrapping_add(AHEAD * stride * E::SIZE);
                prefetch(ahead.cast());
                if width * E::SIZE > 64 {
                    prefetch(ahead.wrapping_add(64).cast());
                }
                let mut i = 0;
                while i + S::LANES <= count {
                    S::store(to.add(i), E::load::<S>(run.add(i * E::SIZE)));
                    i += S::LANES;
                }
                // A whole register again where there is more to read, and the next row of the
                // panel overwrites what spills.
                if i < count && p + 1 < depth && first + i + S::LANES <= lines && 2 * width >= S::LANES {
                    S::store(to.add(i), E::load::<S>(run.add(i * E::SIZE)));
                    i = count;
                }
                for i in i..count {
                    *to.add(i) = E::load1(run.add(i * E::SIZE));
                }
                // What does not exist must still be a number that multiplies fast.
                for i in count..width {
                    *to.add(i) = 0.0;
                }
                first += width;
                panel = panel.wrapping_add(distance);
            }
        }
    }
}
