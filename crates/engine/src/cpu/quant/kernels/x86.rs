//! What the kernels need of AVX-512 VNNI, AVX-VNNI and AVX2.

use super::BlockSums;
pub use crate::cpu::infer::kernels::x86::{Avx2, Avx512Vnni, AvxVnni};
use std::arch::x86_64::*;

#[inline(always)]
unsafe fn scales256(p: *const u8) -> __m256 {
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
}

#[inline(always)]
unsafe fn add256(total: __m256, sums: __m256i, scales: __m256, factor: f32) -> __m256 {
    unsafe {
        let scales = _mm256_mul_ps(scales, _mm256_set1_ps(factor));
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, total)
    }
}

#[inline(always)]
unsafe fn nibbles256(p: *const u8) -> [__m256i; 2] {
    unsafe {
        let (w, mask) = (_mm256_loadu_si256(p.cast()), _mm256_set1_epi8(15));
        [_mm256_and_si256(w, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(w), mask)]
    }
}

/// The bytes of a line of low bits and one of high bits, put together.
#[inline(always)]
unsafe fn sixes256<const K: usize>(low: *const u8, high: *const u8) -> __m256i {
    unsafe {
        let (w, h) = (_mm256_loadu_si256(low.cast()), _mm256_loadu_si256(high.cast()));
        let w = if K < 2 { w } else { _mm256_srli_epi16::<4>(w) };
        let h = match K {
            0 => _mm256_slli_epi16::<4>(h),
            1 => _mm256_slli_epi16::<2>(h),
            2 => h,
            _ => _mm256_srli_epi16::<2>(h),
        };
        let w = _mm256_and_si256(w, _mm256_set1_epi8(0x0f));
        _mm256_or_si256(w, _mm256_and_si256(h, _mm256_set1_epi8(0x30)))
    }
}

#[inline(always)]
unsafe fn weigh256(sums: __m256i, scales: *const u8) -> __m256i {
    unsafe { _mm256_mullo_epi32(sums, _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.cast()))) }
}

#[inline(always)]
unsafe fn store256(total: __m256, alpha: f32, add: bool, out: *mut f32) {
    unsafe {
        let before = if add { _mm256_loadu_ps(out) } else { _mm256_setzero_ps() };
        _mm256_storeu_ps(out, _mm256_fmadd_ps(total, _mm256_set1_ps(alpha), before));
    }
}

impl BlockSums for Avx2 {
    type Reals = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn scales(p: *const u8) -> __m256 {
        unsafe { scales256(p) }
    }
    #[inline(always)]
    unsafe fn add(total: __m256, sums: __m256i, scales: __m256, factor: f32) -> __m256 {
        unsafe { add256(total, sums, scales, factor) }
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> [Self::W; 2] {
        unsafe {
            let low = _mm256_set1_epi16(15);
            let w = _mm256_loadu_si256(p.cast());
            let part = [w, _mm256_srli_epi16::<8>(w), _mm256_srli_epi16::<4>(w), _mm256_srli_epi16::<12>(w)];
            let [a, b, c, d] = part.map(|w| _mm256_and_si256(w, low));
            [[a, b], [c, d]]
        }
    }
    #[inline(always)]
    unsafe fn sixes<const K: usize>(low: *const u8, high: *const u8) -> Self::W {
        unsafe {
            let w = sixes256::<K>(low, high);
            [_mm256_and_si256(w, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(w)]
        }
    }
    #[inline(always)]
    unsafe fn weigh(sums: __m256i, scales: *const u8) -> __m256i {
        unsafe { weigh256(sums, scales) }
    }
    #[inline(always)]
    unsafe fn plus(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn store(total: __m256, alpha: f32, add: bool, out: *mut f32) {
        unsafe { store256(total, alpha, add, out) }
    }
}

impl BlockSums for AvxVnni {
    type Reals = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn scales(p: *const u8) -> __m256 {
        unsafe { scales256(p) }
    }
    #[inline(always)]
    unsafe fn add(total: __m256, sums: __m256i, scales: __m256, factor: f32) -> __m256 {
        unsafe { add256(total, sums, scales, factor) }
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> [__m256i; 2] {
        unsafe { nibbles256(p) }
    }
    #[inline(always)]
    unsafe fn sixes<const K: usize>(low: *const u8, high: *const u8) -> __m256i {
        unsafe { sixes256::<K>(low, high) }
    }
    #[inline(always)]
    unsafe fn weigh(sums: __m256i, scales: *const u8) -> __m256i {
        unsafe { weigh256(sums, scales) }
    }
    #[inline(always)]
    unsafe fn plus(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn store(total: __m256, alpha: f32, add: bool, out: *mut f32) {
        unsafe { store256(total, alpha, add, out) }
    }
}

impl BlockSums for Avx512Vnni {
    type Reals = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn scales(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn add(total: __m512, sums: __m512i, scales: __m512, factor: f32) -> __m512 {
        unsafe {
            let scales = _mm512_mul_ps(scales, _mm512_set1_ps(factor));
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scales, total)
        }
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> [__m512i; 2] {
        unsafe {
            let (w, mask) = (_mm512_loadu_si512(p.cast()), _mm512_set1_epi32(0x0f0f_0f0f));
            [_mm512_and_si512(w, mask), _mm512_and_si512(_mm512_srli_epi32::<4>(w), mask)]
        }
    }
    #[inline(always)]
    unsafe fn sixes<const K: usize>(low: *const u8, high: *const u8) -> __m512i {
        unsafe {
            let (w, h) = (_mm512_loadu_si512(low.cast()), _mm512_loadu_si512(high.cast()));
            let w = if K < 2 { w } else { _mm512_srli_epi32::<4>(w) };
            let h = match K {
                0 => _mm512_slli_epi32::<4>(h),
                1 => _mm512_slli_epi32::<2>(h),
                2 => h,
                _ => _mm512_srli_epi32::<2>(h),
            };
            let w = _mm512_and_si512(w, _mm512_set1_epi32(0x0f0f_0f0f));
            _mm512_or_si512(w, _mm512_and_si512(h, _mm512_set1_epi32(0x3030_3030)))
        }
    }
    #[inline(always)]
    unsafe fn weigh(sums: __m512i, scales: *const u8) -> __m512i {
        unsafe { _mm512_mullo_epi32(sums, _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.cast()))) }
    }
    #[inline(always)]
    unsafe fn plus(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn store(total: __m512, alpha: f32, add: bool, out: *mut f32) {
        unsafe {
            let before = if add { _mm512_loadu_ps(out) } else { _mm512_setzero_ps() };
            _mm512_storeu_ps(out, _mm512_fmadd_ps(total, _mm512_set1_ps(alpha), before));
        }
    }
}
