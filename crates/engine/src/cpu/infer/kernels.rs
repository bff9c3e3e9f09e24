//! The inner loops of int8 products: exact sums of u8 × s8, the same on every instruction set.
//!
//! Weights are stored as `w + 128`, because the processors' instruction multiplies unsigned by signed
//! bytes; a row of activations brings `-128 · Σ x` along, where its sums start.

use std::sync::OnceLock;

/// Columns of a panel: one cache line holds four depths of each.
pub const PANEL: usize = 16;
/// Depths that one 32-bit lane holds.
pub const QUAD: usize = 4;

/// What a tile is computed from; all for the tile's first row and column.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Depths / 4.
    pub quads: usize,
    /// Activations `[rows][quads · 4]`, with what their sums start from and their scales.
    pub x: *const i8,
    pub starts: *const i32,
    pub x_scales: *const f32,
    /// Panels `[quads][16][4]`, with the columns' scales and biases.
    pub w: *const u8,
    pub w_scales: *const f32,
    pub bias: *const f32,
    pub out: *mut f32,
    pub out_stride: usize,
    /// Rows, at most [`Kernel::rows`].
    pub rows: usize,
    /// Whole panels, at most [`Kernel::panels`].
    pub panels: usize,
}

/// `out[i, j] = x_scales[i] · w_scales[j] · (starts[i] + Σ_p x[i, p] · w[j, p]) + bias[j]`
///
/// # Safety
/// Everything is readable, and `out` writable, as the tile says; the instruction set is present.
type TileFn = unsafe fn(&Tile);

/// One instruction set's inner loop.
pub struct Kernel {
    #[cfg(test)]
    pub name: &'static str,
    pub rows: usize,
    pub panels: usize,
    pub tile: TileFn,
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
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                if is_x86_feature_detected!("avxvnni") {
                    kernels.push(&AVX_VNNI);
                }
                kernels.push(&AVX2);
            }
        }
        kernels.push(&PORTABLE);
        kernels
    }
}

/// A register of 32-bit sums.
///
/// # Safety
/// Every method requires the instruction set of the implementation; pointers must be valid for
/// [`Sums::LANES`] values of 32 bits, of any alignment.
pub(in crate::cpu) trait Sums {
    const LANES: usize;
    type Acc: Copy;
    /// Weights of `LANES` columns, and activations of one row, at four depths.
    type W: Copy;
    type X: Copy;

    unsafe fn start(value: i32) -> Self::Acc;
    unsafe fn weights(p: *const u8) -> Self::W;
    unsafe fn activations(p: *const i8) -> Self::X;
    unsafe fn dot(acc: Self::Acc, w: Self::W, x: Self::X) -> Self::Acc;
    /// `out = acc · (x_scale · w_scales) + bias`
    unsafe fn finish(acc: Self::Acc, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32);
    /// Ask for a cache line, which need not exist.
    unsafe fn prefetch(p: *const u8);
}

/// See [`TileFn`]; `R` rows, `W` registers wide.
#[inline(always)]
unsafe fn tile<S: Sums, const R: usize, const W: usize>(t: &Tile) {
    unsafe {
        let panel = t.quads * PANEL * QUAD;
        let at = |j: usize| t.w.wrapping_add(j * S::LANES / PANEL * panel + j * S::LANES % PANEL * QUAD);
        let columns: [*const u8; W] = std::array::from_fn(at);
        let depth = t.quads * QUAD;
        let mut acc = [[S::start(0); W]; R];
        for i in 0..R {
            acc[i] = [S::start(*t.starts.add(i)); W];
        }
        for q in 0..t.quads {
            let mut w = [S::weights(columns[0].add(q * PANEL * QUAD)); W];
            for j in 1..W {
                w[j] = S::weights(columns[j].add(q * PANEL * QUAD));
            }
            for j in 0..W * S::LANES / PANEL {
                S::prefetch(
                    columns[j * PANEL / S::LANES]
                        .wrapping_add(W * S::LANES / PANEL * panel + q * PANEL * QUAD),
                );
            }
            for i in 0..R {
                let x = S::activations(t.x.add(i * depth + q * QUAD));
                for j in 0..W {
                    acc[i][j] = S::dot(acc[i][j], w[j], x);
                }
            }
        }
        for i in 0..R {
            let scale = *t.x_scales.add(i);
            for j in 0..W {
                let at = j * S::LANES;
                let out = t.out.add(i * t.out_stride + at);
                S::finish(acc[i][j], scale, t.w_scales.add(at), t.bias.add(at), out);
            }
        }
    }
}

/// Compile the generic tile for one instruction set: full groups of panels, and single ones.
macro_rules! kernel {
    ($table:ident, $module:ident, $name:literal, $sums:ty, $panels:literal, [$($rows:literal)*]
     $(, features = $features:literal)?) => {
        mod $module {
            use super::*;

            $(#[target_feature(enable = $features)])?
            unsafe fn tile(t: &Tile) {
                const ONE: usize = PANEL / <$sums>::LANES;
                unsafe {
                    if t.panels == $panels {
                        match t.rows {
                            $($rows => super::tile::<$sums, $rows, { $panels * ONE }>(t),)*
                            _ => unreachable!("a tile has at most `Kernel::rows` rows"),
                        }
                    } else {
                        debug_assert_eq!(t.panels, 1);
                        match t.rows {
                            $($rows => super::tile::<$sums, $rows, ONE>(t),)*
                            _ => unreachable!("a tile has at most `Kernel::rows` rows"),
                        }
                    }
                }
            }

            const ROWS: [usize; [$($rows),*].len()] = [$($rows),*];
            pub static $table: Kernel =
                Kernel { #[cfg(test)] name: $name, rows: ROWS[ROWS.len() - 1], panels: $panels, tile };
        }
        use $module::$table;
    };
}

kernel!(PORTABLE, portable, "portable", Portable, 1, [1 2]);
#[cfg(target_arch = "x86_64")]
kernel!(AVX2, avx2, "AVX2", x86::Avx2, 1, [1 2 3 4], features = "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(AVX_VNNI, avx_vnni, "AVX-VNNI", x86::AvxVnni, 1, [1 2 3 4 5 6], features = "avx2,fma,avxvnni");
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX512_VNNI, avx512_vnni, "AVX-512 VNNI", x86::Avx512Vnni, 4, [1 2 3 4 5 6],
    features = "avx512f,avx512vnni,avx2,fma"
);

pub(in crate::cpu) struct Portable;

impl Sums for Portable {
    const LANES: usize = 16;
    type Acc = [i32; 16];
    type W = [[u8; 4]; 16];
    type X = [i8; 4];

    #[inline(always)]
    unsafe fn start(value: i32) -> Self::Acc {
        [value; 16]
    }
    #[inline(always)]
    unsafe fn weights(p: *const u8) -> Self::W {
        unsafe { p.cast::<Self::W>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn activations(p: *const i8) -> Self::X {
        unsafe { p.cast::<Self::X>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(mut acc: Self::Acc, w: Self::W, x: Self::X) -> Self::Acc {
        for (acc, w) in acc.iter_mut().zip(w) {
            for (w, x) in w.into_iter().zip(x) {
                *acc += i32::from(w) * i32::from(x);
            }
        }
        acc
    }
    #[inline(always)]
    unsafe fn finish(acc: Self::Acc, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32) {
        for (j, acc) in acc.into_iter().enumerate() {
            unsafe { *out.add(j) = acc as f32 * (x_scale * *w_scales.add(j)) + *bias.add(j) };
        }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}

#[cfg(target_arch = "x86_64")]
pub(in crate::cpu) mod x86 {
    use super::Sums;
    use std::arch::x86_64::*;

    pub struct Avx2;
    pub struct AvxVnni;
    pub struct Avx512Vnni;

    #[inline(always)]
    unsafe fn quad(p: *const i8) -> i32 {
        unsafe { p.cast::<i32>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn finish256(acc: __m256i, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32) {
        unsafe {
            let scale = _mm256_mul_ps(_mm256_set1_ps(x_scale), _mm256_loadu_ps(w_scales));
            _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), scale, _mm256_loadu_ps(bias)));
        }
    }

    #[inline(always)]
    unsafe fn prefetch_line(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    impl Sums for Avx2 {
        const LANES: usize = 8;
        type Acc = __m256i;
        /// Even and odd depths as 16-bit values.
        type W = [__m256i; 2];
        type X = [__m256i; 2];

        #[inline(always)]
        unsafe fn start(value: i32) -> __m256i {
            unsafe { _mm256_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn weights(p: *const u8) -> Self::W {
            unsafe {
                let w = _mm256_loadu_si256(p.cast());
                [_mm256_and_si256(w, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(w)]
            }
        }
        #[inline(always)]
        unsafe fn activations(p: *const i8) -> Self::X {
            unsafe {
                let x = _mm256_set1_epi32(quad(p));
                [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x)]
            }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m256i, w: Self::W, x: Self::X) -> __m256i {
            unsafe {
                let sum = _mm256_add_epi32(_mm256_madd_epi16(w[0], x[0]), _mm256_madd_epi16(w[1], x[1]));
                _mm256_add_epi32(acc, sum)
            }
        }
        #[inline(always)]
        unsafe fn finish(acc: __m256i, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32) {
            unsafe { finish256(acc, x_scale, w_scales, bias, out) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { prefetch_line(p) }
        }
    }

    impl Sums for AvxVnni {
        const LANES: usize = 8;
        type Acc = __m256i;
        type W = __m256i;
        type X = __m256i;

        #[inline(always)]
        unsafe fn start(value: i32) -> __m256i {
            unsafe { _mm256_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn weights(p: *const u8) -> __m256i {
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn activations(p: *const i8) -> __m256i {
            unsafe { _mm256_set1_epi32(quad(p)) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
            unsafe { _mm256_dpbusd_avx_epi32(acc, w, x) }
        }
        #[inline(always)]
        unsafe fn finish(acc: __m256i, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32) {
            unsafe { finish256(acc, x_scale, w_scales, bias, out) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { prefetch_line(p) }
        }
    }

    impl Sums for Avx512Vnni {
        const LANES: usize = 16;
        type Acc = __m512i;
        type W = __m512i;
        type X = __m512i;

        #[inline(always)]
        unsafe fn start(value: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn weights(p: *const u8) -> __m512i {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn activations(p: *const i8) -> __m512i {
            unsafe { _mm512_set1_epi32(quad(p)) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
            unsafe { _mm512_dpbusd_epi32(acc, w, x) }
        }
        #[inline(always)]
        unsafe fn finish(acc: __m512i, x_scale: f32, w_scales: *const f32, bias: *const f32, out: *mut f32) {
            unsafe {
                let scale = _mm512_mul_ps(_mm512_set1_ps(x_scale), _mm512_loadu_ps(w_scales));
                _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), scale, _mm512_loadu_ps(bias)));
            }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { prefetch_line(p) }
        }
    }
}
