//! How keys and values are stored, and the memory that tasks share.

use super::rows;
use crate::cpu::simd::simd_fn;
use half::{bf16, f16};
use std::marker::PhantomData;

/// A storage type with its attention, compiled for each instruction set.
pub trait Element {
    type Stored: Copy + Send + Sync;

    fn narrow(x: f32) -> Self::Stored;
    fn widen(x: Self::Stored) -> f32;
    /// Sixteen at a time, inside code compiled for an instruction set. `WIDE`, `FMA`: as in [`simd_fn`].
    fn widen16<const FMA: bool, const WIDE: bool>(x: &[Self::Stored; 16]) -> [f32; 16];
    /// [`rows::attend`] of this type.
    fn attend(
        q: &[f32],
        k: &[Self::Stored],
        v: &[Self::Stored],
        keys: usize,
        dim: usize,
        scale: f32,
        scores: &mut [f32],
        out: &mut [f32],
    );
}

pub struct F32;
/// Two bytes: f16 if `PRECISE`, else bf16.
pub struct Half<const PRECISE: bool>;

impl Element for F32 {
    type Stored = f32;

    fn narrow(x: f32) -> f32 {
        x
    }
    fn widen(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn widen16<const FMA: bool, const WIDE: bool>(x: &[f32; 16]) -> [f32; 16] {
        *x
    }
    fn attend(
        q: &[f32],
        k: &[f32],
        v: &[f32],
        keys: usize,
        dim: usize,
        scale: f32,
        s: &mut [f32],
        o: &mut [f32],
    ) {
        attend_f32(q, k, v, keys, dim, scale, s, o);
    }
}

impl<const PRECISE: bool> Element for Half<PRECISE> {
    type Stored = u16;

    fn narrow(x: f32) -> u16 {
        if PRECISE { f16::from_f32(x).to_bits() } else { bf16::from_f32(x).to_bits() }
    }
    fn widen(x: u16) -> f32 {
        if PRECISE { f16::from_bits(x).to_f32() } else { bf16::from_bits(x).to_f32() }
    }
    #[inline(always)]
    fn widen16<const FMA: bool, const WIDE: bool>(x: &[u16; 16]) -> [f32; 16] {
        if PRECISE {
            return f16_to_f32::<FMA, WIDE>(x);
        }
        let mut out = [0.0; 16];
        for i in 0..16 {
            out[i] = f32::from_bits(u32::from(x[i]) << 16);
        }
        out
    }
    fn attend(
        q: &[f32],
        k: &[u16],
        v: &[u16],
        keys: usize,
        dim: usize,
        scale: f32,
        s: &mut [f32],
        o: &mut [f32],
    ) {
        if PRECISE {
            attend_f16(q, k, v, keys, dim, scale, s, o);
        } else {
            attend_bf16(q, k, v, keys, dim, scale, s, o);
        }
    }
}

simd_fn! {
    fn attend_f32(q: &[f32], k: &[f32], v: &[f32], keys: usize, dim: usize, scale: f32, s: &mut [f32], o: &mut [f32]) {
        rows::attend::<F32, FMA, WIDE>(q, k, v, keys, dim, scale, s, o);
    }
}

simd_fn! {
    fn attend_f16(q: &[f32], k: &[u16], v: &[u16], keys: usize, dim: usize, scale: f32, s: &mut [f32], o: &mut [f32]) {
        rows::attend::<Half<true>, FMA, WIDE>(q, k, v, keys, dim, scale, s, o);
    }
}

simd_fn! {
    fn attend_bf16(q: &[f32], k: &[u16], v: &[u16], keys: usize, dim: usize, scale: f32, s: &mut [f32], o: &mut [f32]) {
        rows::attend::<Half<false>, FMA, WIDE>(q, k, v, keys, dim, scale, s, o);
    }
}

/// The instruction for it where there is one: the compiler does not find it by itself.
#[inline(always)]
fn f16_to_f32<const FMA: bool, const WIDE: bool>(x: &[u16; 16]) -> [f32; 16] {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm256_cvtph_ps, _mm256_loadu_si256, _mm256_storeu_ps, _mm512_cvtph_ps,
            _mm512_storeu_ps,
        };
        let mut out = [0.0f32; 16];
        if WIDE {
            // SAFETY: sixteen values each; this is compiled for AVX-512 only where the processor has it.
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())));
            }
            return out;
        }
        if FMA {
            for half in 0..2 {
                // SAFETY: eight values each; likewise, and AVX2 is only used together with F16C.
                unsafe {
                    let eight = _mm_loadu_si128(x.as_ptr().add(8 * half).cast());
                    _mm256_storeu_ps(out.as_mut_ptr().add(8 * half), _mm256_cvtph_ps(eight));
                }
            }
            return out;
        }
    }
    x.map(|x| f16::from_bits(x).to_f32())
}

/// Memory that tasks share; each touches rows and heads of its own.
pub struct Area<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it only hands out parts, and whoever asks for one promises that nobody else writes to it.
unsafe impl<T: Send> Send for Area<'_, T> {}
// SAFETY: likewise.
unsafe impl<T: Sync> Sync for Area<'_, T> {}

impl<T> Clone for Area<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Area<'_, T> {}

impl<'a, T: Copy> Area<'a, T> {
    pub fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), lifetime: PhantomData }
    }

    /// # Safety
    /// `at` is inside; nobody else touches this value meanwhile.
    pub unsafe fn set(self, at: usize, value: T) {
        debug_assert!(at < self.len);
        // SAFETY: by this function's contract.
        unsafe { self.start.add(at).write(value) }
    }

    /// # Safety
    /// `at` is inside; nobody writes this value meanwhile.
    pub unsafe fn get(self, at: usize) -> T {
        debug_assert!(at < self.len);
        // SAFETY: by this function's contract.
        unsafe { self.start.add(at).read() }
    }

    /// Values `from .. from + len`; checked to be inside.
    ///
    /// # Safety
    /// As long as the slice lives, nobody writes to these values.
    pub unsafe fn part(self, from: usize, len: usize) -> &'a [T] {
        assert!(from <= self.len && len <= self.len - from, "part {from}, {len} of {} values", self.len);
        // SAFETY: inside the allocation by the assertion, unwritten by this function's contract.
        unsafe { std::slice::from_raw_parts(self.start.add(from), len) }
    }
}
