//! Run-time choice of the instruction set: one body of plain loops, compiled for several.

use std::sync::OnceLock;

/// Instruction sets that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Portable,
    /// AVX2, FMA and F16C
    Avx2,
    /// AVX-512 F, DQ, VL, BW
    Avx512,
}

/// What this processor has, looked up once.
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw");
            if avx2 && avx512 {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Portable
    })
}

#[cfg(test)]
thread_local! {
    /// What tests make of this thread's processor.
    pub static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Define a function whose body is compiled for each instruction set; the compiler vectorises it.
///
/// The body may use the constants `FMA` (fused multiply-add is an instruction, see [`fma`]) and
/// `WIDE` (512-bit registers).
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[allow(dead_code)]
            #[inline(always)]
            fn body<const FMA: bool, const WIDE: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true, false>($($arg),*) }
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,f16c")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true, true>($($arg),*) }
                match $crate::cpu::simd::level() {
                    // SAFETY: the processor has the features, as just looked up.
                    $crate::cpu::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: likewise.
                    $crate::cpu::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::simd::Level::Portable => {}
                }
            }
            body::<false, false>($($arg),*)
        }
    };
}
pub(crate) use simd_fn;

/// Sums and maxima run in this many independent lanes, whatever the registers' width: the compiler
/// may not reorder a sum of floats by itself.
pub const LANES: usize = 32;

/// `a · b + c`, fused where that is one instruction; elsewhere it would be a library call.
#[inline(always)]
pub fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Ask for the cache line of `p`, which need not be valid.
#[inline(always)]
pub fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}

/// `x · y`, and the same sum order for every length.
#[inline(always)]
pub fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for l in 0..LANES {
            lanes[l] = fma::<FMA>(x[l], y[l], lanes[l]);
        }
    }
    for (l, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        lanes[l] = fma::<FMA>(*x, *y, lanes[l]);
    }
    sum_lanes(lanes)
}

/// The lanes' sum, pairwise.
#[inline(always)]
pub fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest value; a NaN is passed over. −∞ for nothing.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (x, rest) = x.as_chunks::<LANES>();
    for x in x {
        for l in 0..LANES {
            lanes[l] = larger(lanes[l], x[l]);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// `scores` become exp(score − max); the maximum and the sum. A NaN stays in the sum.
#[inline(always)]
pub fn exponentials<const FMA: bool>(scores: &mut [f32]) -> (f32, f32) {
    let max = max(scores);
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for scores in whole {
        for l in 0..LANES {
            scores[l] = exp::<FMA>(scores[l] - max);
            lanes[l] += scores[l];
        }
    }
    for (score, lane) in rest.iter_mut().zip(&mut lanes) {
        *score = exp::<FMA>(*score - max);
        *lane += *score;
    }
    (max, sum_lanes(lanes))
}

/// eˣ within 2 ulp for x in −80..88.3; above as for 88.3; below 0, for what is multiplied with such
/// values would fall below the normal numbers, where processors are slow. A NaN stays one.
/// In operations that vectorise: 2ⁿ · eʳ with n = round(x / ln 2), |r| ≤ ln 2 / 2, and eʳ by the degree-6 polynomial
/// of Cephes' `expf`.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // ln 2 in two parts: n times the first is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ leaves the nearest integer in the low bits of the significand.
    const ROUND: f32 = 12_582_912.0;
    const SMALLEST: f32 = -80.0;
    let tiny = x < SMALLEST;
    let x = x.clamp(SMALLEST, 88.3);
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN2_LO, fma::<FMA>(n, -LN2_HI, x));
    let mut p = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, coefficient);
    }
    let e = fma::<FMA>(p, r * r, r) + 1.0;
    // n is in −116..=127, so that 2ⁿ is a normal number: its bits are (n + 127) << 23.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if tiny { 0.0 } else { e * power }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[cfg(test)]
mod tests {
    simd_fn! {
        fn exp_all(x: &mut [f32]) {
            for x in x {
                *x = super::exp::<FMA>(*x);
            }
        }
    }

    fn portable(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = super::exp::<false>(*x));
    }

    #[test]
    fn exp_is_within_2_ulp_of_f64() {
        for exp_all in [exp_all as fn(&mut [f32]), portable] {
            let x: Vec<f32> = (-799_999..=883_000).map(|i| i as f32 * 1e-4).collect();
            let mut got = x.clone();
            exp_all(&mut got);
            for (x, got) in x.iter().zip(&got) {
                let want = f64::from(*x).exp();
                let ulp = f64::from(want as f32).abs() * f64::from(f32::EPSILON);
                assert!((f64::from(*got) - want).abs() <= 2.0 * ulp, "exp({x}) = {got}, expected {want}");
            }
        }
    }

    #[test]
    fn exp_at_the_ends() {
        for exp_all in [exp_all as fn(&mut [f32]), portable] {
            let mut x = [0.0, f32::NAN, f32::NEG_INFINITY, -1e30, f32::INFINITY];
            exp_all(&mut x);
            assert_eq!(x[0], 1.0);
            assert!(x[1].is_nan());
            assert_eq!(x[2..4], [0.0, 0.0]);
            assert!(x[4] > 2e38 && x[4].is_finite());
        }
    }

    #[test]
    fn sums_and_maxima_of_every_length() {
        for len in 0..100 {
            let x: Vec<f32> = (0..len).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
            let y: Vec<f32> = (0..len).map(|i| ((i * 53) % 97) as f32 - 40.0).collect();
            let want: f32 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            assert_eq!(super::dot::<false>(&x, &y), want, "integers: exact in f32");
            assert_eq!(super::max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
