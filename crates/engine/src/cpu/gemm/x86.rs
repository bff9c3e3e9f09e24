//! [`Simd`] on x86-64: AVX2 with FMA and F16C, and AVX-512F.

use super::simd::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Avx2;

impl Simd for Avx2 {
    const LANES: usize = 8;
    const MR: usize = 6;
    const FEW: usize = 4;
    const MANY: usize = 2;
    const OWN: usize = 1 << 16;
    type V = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
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
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    unsafe fn sum(v: __m256) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m256 {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [__m256]) {
        unsafe {
            let r: &mut [__m256; 8] = block.try_into().expect("a block has LANES registers");
            let mut t = *r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let pd = |v| _mm256_castps_pd(v);
            for h in [0, 4] {
                for j in 0..2 {
                    let (a, b) = (pd(t[h + j]), pd(t[h + 2 + j]));
                    r[h + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
                    r[h + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
                }
            }
            for j in 0..4 {
                let (a, b) = (r[j], r[4 + j]);
                r[j] = _mm256_permute2f128_ps::<0x20>(a, b);
                r[4 + j] = _mm256_permute2f128_ps::<0x31>(a, b);
            }
        }
    }
}

#[derive(Clone, Copy)]
pub struct Avx512;

impl Simd for Avx512 {
    const LANES: usize = 16;
    const MR: usize = 14;
    const FEW: usize = 8;
    const MANY: usize = 3;
    const OWN: usize = 1 << 17;
    type V = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
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
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [__m512]) {
        unsafe {
            let r: &mut [__m512; 16] = block.try_into().expect("a block has LANES registers");
            let mut t = *r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let pd = |v| _mm512_castps_pd(v);
            for q in [0, 4, 8, 12] {
                for j in 0..2 {
                    let (a, b) = (pd(t[q + j]), pd(t[q + 2 + j]));
                    r[q + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    r[q + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            // Quarter s of r[q + j] is now column 4s + j of rows q..q+4: what is left is, for each j, a
            // 4 × 4 transpose of quarters.
            for j in 0..4 {
                let even_top = _mm512_shuffle_f32x4::<0x88>(r[j], r[4 + j]);
                let odd_top = _mm512_shuffle_f32x4::<0xDD>(r[j], r[4 + j]);
                let even_low = _mm512_shuffle_f32x4::<0x88>(r[8 + j], r[12 + j]);
                let odd_low = _mm512_shuffle_f32x4::<0xDD>(r[8 + j], r[12 + j]);
                t[j] = _mm512_shuffle_f32x4::<0x88>(even_top, even_low);
                t[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even_top, even_low);
                t[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd_top, odd_low);
                t[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd_top, odd_low);
            }
            *r = t;
        }
    }
}
