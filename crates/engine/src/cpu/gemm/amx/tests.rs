//! The tile unit against its manual, and products on it against f64 and the f32 kernel.

use super::super::kernel::Kernel;
use super::super::{Layout, Operand, product};
use super::*;
use crate::random::mix;
use crate::{Dtype, FrozenMatrix};
use half::{bf16, f16};

/// Says why nothing is tested where there are no tiles.
fn no_tiles() -> bool {
    if !available() {
        eprintln!("skipped: this processor has no tile unit (AMX), or the system does not give it");
    }
    !available()
}

/// In [-1, 1).
fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| (mix(mix(seed) ^ i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[derive(Clone, Copy)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
}

fn plain<'a>(shape: Shape, a: &'a [f32], b: Operand<'a>) -> Product<'a> {
    let Shape { m, n, k } = shape;
    let a = Operand::new(a, Layout::Lines, k);
    Product { m, n, k, alpha: 1.0, a, b, beside: None, to: Out::Set, parallel: true }
}

/// The product by tiles, whether or not it pays.
fn tiled(p: &Product<'_>) -> Vec<f32> {
    let mut c = vec![f32::NAN; p.m * p.n];
    run(Output { c: c.as_mut_ptr(), row_stride: p.n, col_stride: 1 }, p);
    c
}

fn by_multiply_adds(p: Product<'_>) -> Vec<f32> {
    let kernel = Kernel::available().into_iter().find(|k| !k.tiles).unwrap();
    let mut c = vec![f32::NAN; p.m * p.n];
    product(kernel, &mut c, p.n, p);
    c
}

/// Products of `a [m, k]` and `b [n, k]` in f64, and Σ |a| |b|.
fn exact(shape: Shape, a: &[f32], b: &[f32]) -> Vec<(f64, f64)> {
    let Shape { m, n, k } = shape;
    let cell = |i: usize, j: usize| {
        let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[j * k + p]));
        terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()))
    };
    (0..m * n).map(|at| cell(at / n, at % n)).collect()
}

/// Root mean square and largest error, relative to Σ |a| |b|.
fn errors(c: &[f32], exact: &[(f64, f64)]) -> (f64, f64) {
    let error = c.iter().zip(exact).map(|(&c, &(sum, size))| (f64::from(c) - sum).abs() / size.max(1e-300));
    let (squares, most) = error.fold((0.0, 0.0), |(s, m), e| (s + e * e, f64::max(m, e)));
    ((squares / c.len() as f64).sqrt(), most)
}

#[test]
fn the_tile_unit_sums_in_the_order_of_its_manual() {
    if no_tiles() {
        return;
    }
    // Magnitudes that differ enough for every other order to round otherwise.
    let value = |i: usize, seed: u64| {
        let bits = mix(seed ^ mix(i as u64));
        let scale = 2f32.powi((bits >> 8) as i32 % 12);
        bf16::from_f32(((bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale)
    };
    let tile = |seed| -> Vec<bf16> { (0..16 * 32).map(|i| value(i, seed)).collect() };
    let (a, b): (Vec<_>, Vec<_>) = ((0..3).flat_map(tile).collect(), tile(7));
    let mut c = vec![0.0f32; 4 * 256];
    let old: Vec<f32> = noise(256, 9);
    c[..256].copy_from_slice(&old);
    let [pa, pb] = [&a, &b].map(|v| Panel { start: v.as_ptr().cast(), strips: 1 });
    // SAFETY: tiles are available; the panels are one step long, of three parts and of one.
    unsafe { Tiles::configure().multiply(1, pa, pb, 1, true, c.as_mut_ptr().cast()) };
    for i in 0..16 {
        for j in 0..16 {
            let mut expected = old[i * 16 + j];
            for part in 0..3 {
                let mut sums = [0.0f32; 2];
                for pair in 0..16 {
                    for (odd, sum) in sums.iter_mut().enumerate() {
                        let x = a[part * 512 + i * 32 + 2 * pair + odd].to_f32();
                        *sum = x.mul_add(b[pair * 32 + 2 * j + odd].to_f32(), *sum);
                    }
                }
                expected += sums[0] + sums[1];
            }
            assert_eq!(c[i * 16 + j].to_bits(), expected.to_bits(), "C[{i}, {j}]");
        }
    }
}

#[test]
fn errors_are_not_larger_than_those_of_f32_multiply_adds() {
    if no_tiles() {
        return;
    }
    for k in [1, 2, 31, 64, 300, 2048, 12_000] {
        let shape = Shape { m: 40, n: 48, k };
        let Shape { m, n, .. } = shape;
        for scaled in [false, true] {
            let (mut a, mut b) = (noise(m * k, 1), noise(n * k, 2));
            if scaled {
                // Rows of A from 1e-20 to 1e20, and numbers within a row of B over eight magnitudes.
                for (i, x) in a.iter_mut().enumerate() {
                    *x *= 10f32.powi((i / k) as i32 - 20);
                }
                for (i, x) in b.iter_mut().enumerate() {
                    *x *= 10f32.powi((mix(i as u64) % 9) as i32 - 4);
                }
            }
            let halves: Vec<f32> = b.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
            let sixteen: Vec<f32> = b.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
            for (dtype, b) in [(Dtype::F32, &b), (Dtype::BF16, &halves), (Dtype::F16, &sixteen)] {
                let weight = frozen(n, k, b, dtype);
                let p = plain(shape, &a, Operand::frozen(&weight, Layout::Lines));
                let exact = exact(shape, &a, b);
                let (ours, f32s) = (errors(&tiled(&p), &exact), errors(&by_multiply_adds(p), &exact));
                println!(
                    "k {k:>5} {dtype:>4} scaled {scaled:>5}: {:.1e} {:.1e}, f32 {:.1e} {:.1e}",
                    ours.0, ours.1, f32s.0, f32s.1
                );
                // Of few depths an f32 product errs by half a bit, which is the last rounding; ours by as much as one.
                let least = f64::from(f32::EPSILON) / if k < 16 { 1.25 } else { 2.0 };
                assert!(ours.0 <= 1.25 * f32s.0, "{dtype}, {k}, {scaled}: {ours:?}, {f32s:?}");
                assert!(ours.1 <= 1.25 * f32s.1.max(least), "{dtype}, {k}, {scaled}: {ours:?}, {f32s:?}");
            }
        }
    }
}

fn frozen(rows: usize, cols: usize, values: &[f32], dtype: Dtype) -> FrozenMatrix {
    let bytes: Vec<u8> = match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
    };
    FrozenMatrix::from_bytes(rows, cols, dtype, &bytes).unwrap()
}

#[test]
fn every_layout_edge_and_cut_gives_the_same_bits() {
    if no_tiles() {
        return;
    }
    let shapes =
        [(1, 1, 1), (16, 17, 31), (33, 15, 33), (70, 95, 300), (600, 40, 290), (2100, 33, 5), (40, 700, 600)];
    for (m, n, k) in shapes {
        let (a, b) = (noise(m * k, 1), noise(n * k, 2));
        let across = |v: &[f32], lines: usize| -> Vec<f32> {
            (0..k * lines).map(|at| v[at % lines * k + at / lines]).collect()
        };
        let (at, bt) = (across(&a, m), across(&b, n));
        let shape = Shape { m, n, k };
        let exact = exact(shape, &a, &b);
        let p = plain(shape, &a, Operand::new(&b, Layout::Lines, k));
        let lines = pool(1).install(|| tiled(&p));
        assert!(errors(&lines, &exact).1 < 3e-7, "[{m}, {n}, {k}]");
        for a in [p.a, Operand::new(&at, Layout::Depths, m)] {
            for b in [p.b, Operand::new(&bt, Layout::Depths, n)] {
                for threads in [1, 2, 5, 16] {
                    let c = pool(threads).install(|| tiled(&Product { a, b, ..p }));
                    assert!(c == lines, "[{m}, {n}, {k}] {:?} {:?}, {threads} threads", a.layout, b.layout);
                }
            }
        }
    }
}

#[test]
fn numbers_at_the_ends_of_the_range_keep_their_value_or_are_documented() {
    if no_tiles() {
        return;
    }
    // Rounded to bf16 these would be ∞.
    let shape = Shape { m: 2, n: 2, k: 2 };
    let p = |a: &[f32], b: &[f32]| tiled(&plain(shape, a, Operand::new(b, Layout::Lines, 2)));
    let large = [f32::MAX, 0.0, -3.4e38, 0.0];
    assert_eq!(p(&large, &[1.0, 0.0, -0.5, 0.0]), [f32::MAX, -f32::MAX / 2.0, -3.4e38, 1.7e38]);
    assert_eq!(p(&[1.0, 0.0, -0.5, 0.0], &large), [f32::MAX, -3.4e38, -f32::MAX / 2.0, 1.7e38]);
    // What is lost of a small number is below 2⁻¹²⁵.
    let small = [1.2345678e-30f32, 1.2345678e-34, 1.2345678e-37, 1e-40];
    for (x, y) in small.iter().zip(p(&[small[0], 0.0, small[1], 0.0], &[1.0, 0.0, 0.0, 1.0]).chunks(2)) {
        assert!((x - y[0]).abs() <= 2f32.powi(-125), "{x:e} became {:e}", y[0]);
    }
    let c = p(&[small[2], 0.0, small[3], 0.0], &[1.0, 0.0, 1.0, 0.0]);
    assert!((c[0] - small[2]).abs() <= 2f32.powi(-125) && c[2].abs() <= 1e-40, "{c:?}");
}

#[test]
fn what_is_not_finite_stays_so() {
    if no_tiles() {
        return;
    }
    let shape = Shape { m: 20, n: 20, k: 70 };
    for bad in
        [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7F80_0001), f32::from_bits(0x7FFF_FFFF)]
    {
        let (mut a, b) = (noise(20 * 70, 1), noise(20 * 70, 2));
        a[3 * 70 + 41] = bad;
        let check = |c: Vec<f32>, hit: fn(usize) -> bool| {
            assert!(c.iter().enumerate().all(|(at, x)| x.is_finite() != hit(at)), "{bad}");
        };
        check(tiled(&plain(shape, &a, Operand::new(&b, Layout::Lines, 70))), |at| at / 20 == 3);
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            let weight = frozen(20, 70, &a, dtype);
            check(tiled(&plain(shape, &b, Operand::frozen(&weight, Layout::Lines))), |at| at % 20 == 3);
        }
    }
}
