//! Micro-kernels of the matrix product: a tile of C in registers, one instruction set each.

/// A vector register of f32. The methods are unsafe where the instruction set must be present.
pub trait Simd: Copy {
    const LANES: usize;
    /// Tile height that fits the register file with tile width `2 * LANES`.
    const MR: usize;
    type V: Copy;
    unsafe fn zero() -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn splat(x: f32) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    const LANES: usize = 8;
    const MR: usize = 4;
    type V = [f32; 8];
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Simd for Avx2 {
        const LANES: usize = 8;
        const MR: usize = 6;
        type V = __m256;
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx512;

    impl Simd for Avx512 {
        const LANES: usize = 16;
        const MR: usize = 12;
        type V = __m512;
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// Where a tile goes: `c = scale · tile`, or `c += scale · tile`.
#[derive(Clone, Copy)]
pub struct Tile {
    pub c: *mut f32,
    /// Row stride of C in values.
    pub stride: usize,
    /// Columns of C that the tile really has, at most `2 * LANES`.
    pub cols: usize,
    pub scale: f32,
    pub accumulate: bool,
}

/// `MR` rows times two vectors of columns. A is packed `[depth][MR]`; row k of B starts at
/// `b + k * b_stride` and must be readable over the full tile width.
///
/// # Safety
/// The pointers cover what the shapes say, and the instruction set of `S` is present.
#[inline(always)]
pub unsafe fn tile<S: Simd, const MR: usize>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    b_stride: usize,
    out: Tile,
) {
    unsafe {
        let mut acc = [[S::zero(); 2]; MR];
        for k in 0..depth {
            let row = b.add(k * b_stride);
            let (b0, b1) = (S::load(row), S::load(row.add(S::LANES)));
            for i in 0..MR {
                let x = S::splat(*a.add(k * MR + i));
                acc[i][0] = S::fma(x, b0, acc[i][0]);
                acc[i][1] = S::fma(x, b1, acc[i][1]);
            }
        }
        let scale = S::splat(out.scale);
        if out.cols == 2 * S::LANES {
            for i in 0..MR {
                for j in 0..2 {
                    let p = out.c.add(i * out.stride + j * S::LANES);
                    let old = if out.accumulate { S::load(p) } else { S::zero() };
                    S::store(p, S::fma(scale, acc[i][j], old));
                }
            }
        } else {
            let mut row = [0.0f32; 64];
            for i in 0..MR {
                S::store(row.as_mut_ptr(), acc[i][0]);
                S::store(row.as_mut_ptr().add(S::LANES), acc[i][1]);
                for j in 0..out.cols {
                    let p = out.c.add(i * out.stride + j);
                    let old = if out.accumulate { *p } else { 0.0 };
                    *p = out.scale.mul_add_or_plain::<S>(row[j], old);
                }
            }
        }
    }
}

/// The scalar twin of `Simd::fma`, rounded like it, so that an element's value does not depend on
/// whether its tile was full.
trait ScalarFma {
    fn mul_add_or_plain<S: Simd>(self, x: f32, c: f32) -> f32;
}

impl ScalarFma for f32 {
    #[inline(always)]
    fn mul_add_or_plain<S: Simd>(self, x: f32, c: f32) -> f32 {
        if S::MR == Portable::MR { self * x + c } else { self.mul_add(x, c) }
    }
}

/// [`tile`] for a height known at run time, 1 to `S::MR`.
///
/// # Safety
/// As [`tile`]; `rows <= S::MR`.
#[inline(always)]
pub unsafe fn tile_of_height<S: Simd>(
    rows: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    b_stride: usize,
    out: Tile,
) {
    unsafe {
        match rows {
            1 => tile::<S, 1>(depth, a, b, b_stride, out),
            2 => tile::<S, 2>(depth, a, b, b_stride, out),
            3 => tile::<S, 3>(depth, a, b, b_stride, out),
            4 => tile::<S, 4>(depth, a, b, b_stride, out),
            5 => tile::<S, 5>(depth, a, b, b_stride, out),
            6 => tile::<S, 6>(depth, a, b, b_stride, out),
            7 => tile::<S, 7>(depth, a, b, b_stride, out),
            8 => tile::<S, 8>(depth, a, b, b_stride, out),
            9 => tile::<S, 9>(depth, a, b, b_stride, out),
            10 => tile::<S, 10>(depth, a, b, b_stride, out),
            11 => tile::<S, 11>(depth, a, b, b_stride, out),
            _ => tile::<S, 12>(depth, a, b, b_stride, out),
        }
    }
}

/// Dot products of `X` rows of x with `W` rows of w, `out[i][j] = x_i · w_j` over `k` values. For
/// products with one thin side, where packing would cost more than the product.
///
/// # Safety
/// Row i of x starts at `x + i * x_stride` and has `k` values, likewise w; the instruction set is present.
#[inline(always)]
pub unsafe fn dots<S: Simd, const X: usize, const W: usize>(
    k: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    w_stride: usize,
) -> [[f32; W]; X] {
    unsafe {
        let mut acc = [[S::zero(); W]; X];
        let body = k / S::LANES * S::LANES;
        let mut at = 0;
        while at < body {
            let wv: [S::V; W] = std::array::from_fn(|j| S::load(w.add(j * w_stride + at)));
            for i in 0..X {
                let xv = S::load(x.add(i * x_stride + at));
                for j in 0..W {
                    acc[i][j] = S::fma(xv, wv[j], acc[i][j]);
                }
            }
            at += S::LANES;
        }
        let mut out = [[0.0f32; W]; X];
        for i in 0..X {
            for j in 0..W {
                let mut lanes = [0.0f32; 16];
                S::store(lanes.as_mut_ptr(), acc[i][j]);
                let mut width = S::LANES;
                while width > 1 {
                    width /= 2;
                    for l in 0..width {
                        lanes[l] += lanes[l + width];
                    }
                }
                let mut sum = lanes[0];
                for l in body..k {
                    sum += *x.add(i * x_stride + l) * *w.add(j * w_stride + l);
                }
                out[i][j] = sum;
            }
        }
        out
    }
}
