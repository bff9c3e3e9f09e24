//! One vector register of f32, one implementation per instruction set.
//!
//! Kernels are written once over [`Simd`]; each is compiled inside a function that enables the
//! instruction set (see `kernel.rs`), so everything here must be inlined into it.

use half::{bf16, f16};

/// A vector register of [`Simd::LANES`] f32 values.
///
/// # Safety
/// Every method requires the instruction set of the implementation; pointers must be valid for
/// [`Simd::LANES`] values, of any alignment.
pub trait Simd: Copy {
    const LANES: usize;
    /// Rows of a tile: `MR · NV` accumulators, `NV` registers of B and one of A fit the register file.
    const MR: usize;
    /// Accumulators of a tile of dot products: `FEW · MANY`.
    const FEW: usize;
    const MANY: usize;
    /// Values of packed panels that half a second-level cache holds, where this is the widest instruction set.
    const OWN: usize;
    type V: Copy;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// a · b + c; one rounding where the processor has FMA, else two, the same in [`Simd::fma1`].
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32;
    /// Sum of the lanes in one fixed order.
    unsafe fn sum(v: Self::V) -> f32;
    unsafe fn load_bf16(p: *const u8) -> Self::V;
    unsafe fn load_f16(p: *const u8) -> Self::V;
    /// Transpose a square block of `LANES` registers in place.
    unsafe fn transpose(block: &mut [Self::V]);
}

/// Registers of B in a tile: its width is `NV · LANES`.
pub const NV: usize = 2;
/// No instruction set has more lanes.
pub const MAX_LANES: usize = 16;

/// How a stored value becomes f32.
pub trait Element {
    const SIZE: usize;
    /// # Safety
    /// `p` is valid for `S::LANES` stored values; the instruction set of `S` is present.
    unsafe fn load<S: Simd>(p: *const u8) -> S::V;
    /// # Safety
    /// `p` is valid for one stored value.
    unsafe fn load1(p: *const u8) -> f32;
}

pub struct F32;
pub struct Bf16;
pub struct F16;

impl Element for F32 {
    const SIZE: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::V {
        unsafe { S::load(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const u8) -> f32 {
        unsafe { p.cast::<f32>().read_unaligned() }
    }
}

impl Element for Bf16 {
    const SIZE: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::V {
        unsafe { S::load_bf16(p) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const u8) -> f32 {
        unsafe { bf16::from_bits(p.cast::<u16>().read_unaligned()).to_f32() }
    }
}

impl Element for F16 {
    const SIZE: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::V {
        unsafe { S::load_f16(p) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const u8) -> f32 {
        unsafe { f16::from_bits(p.cast::<u16>().read_unaligned()).to_f32() }
    }
}

/// Plain arrays, vectorised by the compiler for whatever the target guarantees (SSE2, NEON).
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    const LANES: usize = 4;
    const MR: usize = 4;
    const FEW: usize = 2;
    const MANY: usize = 2;
    const OWN: usize = 1 << 16;
    type V = [f32; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        (v[0] + v[2]) + (v[1] + v[3])
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self::V {
        std::array::from_fn(|i| unsafe { Bf16::load1(p.add(2 * i)) })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self::V {
        std::array::from_fn(|i| unsafe { F16::load1(p.add(2 * i)) })
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self::V]) {
        for i in 0..4 {
            for j in 0..i {
                let upper = block[j][i];
                block[j][i] = block[i][j];
                block[i][j] = upper;
            }
        }
    }
}
