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
    /// What the sums of each block start from, and its scale, `[rows][blocks]`.
    pub starts: *const i32,
    pub x_scales: *const f32,
    /// Panels `[blocks]` of lines, and `[blocks][16]` of f16.
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

/// `out[i, j] (+)= alpha · Σ_b x_scales[i, b] · w_scales[j, b] · (starts[i, b] + Σ_p x[i, p] · w[j, p])`
///
/// # Safety
/// Everything is readable, and `out` writable, as the tile says; the instruction set is present.
type TileFn = unsafe fn(&Tile);

/// One instruction set's inner loops.
pub struct Kernel {
    #[cfg(test)]
    pub name: &'static str,
    /// Panels that go with 1, 2, … rows.
    shapes: &'static [usize],
    /// Weights of 8 and of 4 bits.
    pub bytes: TileFn,
    pub nibbles: TileFn,
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
    /// `out = alpha · total`, or added to it.
    unsafe fn store(total: Self::Reals, alpha: f32, add: bool, out: *mut f32);
}

/// See [`TileFn`]; `R` rows, `W` registers wide, weights of 4 bits or of 8.
#[inline(always)]
unsafe fn tile<S: BlockSums, const R: usize, const W: usize, const NIBBLES: bool>(t: &Tile) {
    unsafe {
        let lines = if NIBBLES { QUADS / 2 } else { QUADS };
        let depth = t.blocks * QUADS * QUAD;
        // Few rows wait for memory: ask for the lines early. Panels follow on each other.
        let prefetch = |columns: &[*const u8; W], at: usize| {
            if R <= FEW {
                for j in (0..W).step_by(COLUMNS / S::LANES) {
                    S::prefetch(columns[j].wrapping_add(AHEAD + at));
                }
            }
        };
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
                sums[i] = [S::start(*t.starts.add(i * t.blocks + b)); W];
            }
            let x = t.x.add(b * QUADS * QUAD);
            for line in 0..lines {
                let at = (b * lines + line) * LINE;
                prefetch(&columns, at);
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

/// Compile the generic tile for one instruction set: each number of rows with so many panels, and with one.
macro_rules! kernel {
    ($table:ident, $module:ident, $name:literal, $sums:ty, [$($rows:literal x $panels:literal),*]
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

            pub static $table: Kernel =
                Kernel { #[cfg(test)] name: $name, shapes: &[$($panels),*], bytes, nibbles };
        }
        use $module::$table;
    };
}

kernel!(PORTABLE, portable, "portable", Portable, [1 x 1, 2 x 1]);
#[cfg(target_arch = "x86_64")]
kernel!(AVX2, avx2, "AVX2", Avx2, [1 x 1, 2 x 1], features = "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX_VNNI, avx_vnni, "AVX-VNNI", AvxVnni, [1 x 1, 2 x 1, 3 x 1],
    features = "avx2,fma,f16c,avxvnni"
);
#[cfg(target_arch = "x86_64")]
kernel!(
    AVX512_VNNI, avx512_vnni, "AVX-512 VNNI", Avx512Vnni, [1 x 1, 2 x 1, 3 x 2, 4 x 2, 5 x 2, 6 x 2],
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
mod x86 {
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
                let part =
                    [w, _mm256_srli_epi16::<8>(w), _mm256_srli_epi16::<4>(w), _mm256_srli_epi16::<12>(w)];
                let [a, b, c, d] = part.map(|w| _mm256_and_si256(w, low));
                [[a, b], [c, d]]
            }
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
        unsafe fn store(total: __m512, alpha: f32, add: bool, out: *mut f32) {
            unsafe {
                let before = if add { _mm512_loadu_ps(out) } else { _mm512_setzero_ps() };
                _mm512_storeu_ps(out, _mm512_fmadd_ps(total, _mm512_set1_ps(alpha), before));
            }
        }
    }
}
