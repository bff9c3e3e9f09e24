//! Products against plain loops, on every instruction set of this processor.

use super::int8::{Int8Matrix, Int8Rows};
use super::kernels::Kernel;
use super::*;
use crate::{FrozenMatrix, random};

fn values(count: usize, key: u64) -> Vec<f32> {
    (0..count).map(|i| (random::mix(key ^ random::mix(i as u64)) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn plain(x: &[f32], w: &[f32], bias: &[f32], k: usize) -> Vec<f32> {
    let row = |x: &[f32]| {
        let dot = |w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
        w.chunks(k).zip(bias).map(|(w, b)| (dot(w) + f64::from(*b)) as f32).collect::<Vec<_>>()
    };
    x.chunks(k).flat_map(row).collect()
}

/// M, N, K
const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (1, 16, 4), (3, 70, 13), (7, 64, 64), (15, 200, 600), (29, 33, 1040), (6, 130, 512)];

#[test]
fn f32_products_are_those_of_plain_loops() {
    for (m, n, k) in SHAPES {
        let (x, w, bias) = (values(m * k, 1), values(n * k, 2), values(n, 3));
        let packed = PackedMatrix::new(&[&FrozenMatrix::from_f32(n, k, &w).unwrap()], Precision::F32);
        let (mut rows, mut out) = (Rows::default(), vec![f32::NAN; m * n]);
        packed.take(&x, &mut rows);
        packed.product(&rows, 0..n, &bias, &mut out);
        for (got, want) in out.iter().zip(plain(&x, &w, &bias, k)) {
            assert!((got - want).abs() < 1e-5 * k as f32, "[{m}, {n}, {k}]: {got}, expected {want}");
        }
    }
}

#[test]
fn int8_products_are_exact_on_what_was_quantised() {
    for (m, n, k) in SHAPES {
        let (x, w, bias) = (values(m * k, 4), values(n * k, 5), values(n, 6));
        let matrix = Int8Matrix::new(n, k, |i, row| row.copy_from_slice(&w[i * k..][..k]));
        let mut rows = Int8Rows::default();
        rows.set(&x, k);
        let step = |row: &[f32]| row.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
        let rounded = |all: &[f32]| -> Vec<f32> {
            let row = |row: &[f32]| {
                let step = step(row);
                row.iter().map(|v| (v / step).round() * step).collect::<Vec<_>>()
            };
            all.chunks(k).flat_map(row).collect()
        };
        let want = plain(&rounded(&x), &rounded(&w), &bias, k);
        for kernel in Kernel::available() {
            let mut out = vec![f32::NAN; m * n];
            matrix.product(kernel, &rows, 0..n, &bias, &mut out);
            for (got, want) in out.iter().zip(&want) {
                // A value halfway between two steps may be rounded to either.
                let near = (got - want).abs() < 2e-5 * k as f32 + 0.02;
                assert!(near, "{} [{m}, {n}, {k}]: {got}, expected {want}", kernel.name);
            }
            let kernels = Kernel::available();
            let mut portable = vec![f32::NAN; m * n];
            matrix.product(kernels[kernels.len() - 1], &rows, 0..n, &bias, &mut portable);
            for (got, want) in out.iter().zip(&portable) {
                assert!((got - want).abs() <= 4.0 * f32::EPSILON * want.abs().max(1.0), "{}", kernel.name);
            }
        }
    }
}

#[test]
fn the_largest_bytes_do_not_saturate() {
    let (k, n) = (2048, 16);
    let matrix = Int8Matrix::new(n, k, |_, row| row.fill(1.0));
    let mut rows = Int8Rows::default();
    rows.set(&vec![-1.0; k], k);
    for kernel in Kernel::available() {
        let mut out = vec![0.0; n];
        matrix.product(kernel, &rows, 0..n, &[0.0; 16], &mut out);
        assert!(out.iter().all(|v| (v + k as f32).abs() < 0.01), "{}: {out:?}", kernel.name);
    }
}

#[test]
fn ranges_of_outputs_are_parts_of_the_whole() {
    let (m, n, k) = (5, 150, 24);
    let (x, w, bias) = (values(m * k, 7), values(n * k, 8), values(n, 9));
    for precision in [Precision::F32, Precision::Int8] {
        let packed = PackedMatrix::new(&[&FrozenMatrix::from_f32(n, k, &w).unwrap()], precision);
        let mut rows = Rows::default();
        packed.take(&x, &mut rows);
        let mut whole = vec![0.0; m * n];
        packed.product(&rows, 0..n, &bias, &mut whole);
        for from in (0..n).step_by(PackedMatrix::STEP) {
            let range = from..n.min(from + PackedMatrix::STEP);
            let mut part = vec![0.0; m * range.len()];
            packed.product(&rows, range.clone(), &bias, &mut part);
            for i in 0..m {
                assert_eq!(part[i * range.len()..][..range.len()], whole[i * n..][range.clone()]);
            }
        }
    }
}

#[test]
fn rows_of_several_matrices_come_back() {
    let (first, second) = (values(3 * 10, 10), values(2 * 10, 11));
    let frozen = [&first, &second].map(|v| FrozenMatrix::from_f32(v.len() / 10, 10, v).unwrap());
    for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::Int8, 0.5 / 127.0 + 1e-6)] {
        let packed = PackedMatrix::new(&[&frozen[0], &frozen[1]], precision);
        assert_eq!((packed.rows(), packed.cols()), (5, 10));
        for (i, want) in first.chunks(10).chain(second.chunks(10)).enumerate() {
            let mut row = [0.0; 10];
            packed.row(i, &mut row);
            assert!(row.iter().zip(want).all(|(a, b)| (a - b).abs() <= tolerance), "{row:?} {want:?}");
        }
    }
}

#[test]
fn layer_norm_has_mean_and_variance_of_its_parameters() {
    let (mut x, y) = (values(3 * 50, 12), values(3 * 50, 13));
    let sum: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    let (weight, bias) = (values(50, 14), values(50, 15));
    add_layer_norm(&mut x, &y, &weight, &bias, 1e-5);
    for (got, sum) in x.chunks(50).zip(sum.chunks(50)) {
        let mean = sum.iter().map(|v| f64::from(*v)).sum::<f64>() / 50.0;
        let variance = sum.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / 50.0;
        for i in 0..50 {
            let normal = (f64::from(sum[i]) - mean) / (variance + 1e-5).sqrt();
            let want = normal * f64::from(weight[i]) + f64::from(bias[i]);
            assert!((f64::from(got[i]) - want).abs() < 1e-5, "{}, expected {want}", got[i]);
        }
    }
}

#[test]
fn attention_is_a_weighted_mean_of_the_rows_seen() {
    let (heads, dim, scale) = (3, 10, 0.3);
    let width = heads * dim;
    let (q, cache) = (values(width, 16), values(6 * 2 * width, 17));
    let rows = [4u32, 0, 5, 4];
    let (mut scores, mut out) = (Scores::default(), vec![0.0; width]);
    attend(&q, Attend { cache: &cache, rows: &rows, heads, scale }, &mut scores, &mut out);
    for h in 0..heads {
        let key = |r: u32, d: usize| f64::from(cache[r as usize * 2 * width + h * dim + d]);
        let value = |r: u32, d: usize| f64::from(cache[(r as usize * 2 + 1) * width + h * dim + d]);
        let score = |r: u32| (0..dim).map(|d| f64::from(q[h * dim + d]) * key(r, d)).sum::<f64>();
        let weights: Vec<f64> = rows.iter().map(|&r| (score(r) * f64::from(scale)).exp()).collect();
        let total: f64 = weights.iter().sum();
        for d in 0..dim {
            let want = rows.iter().zip(&weights).map(|(&r, w)| w / total * value(r, d)).sum::<f64>();
            assert!((f64::from(out[h * dim + d]) - want).abs() < 1e-5);
        }
    }
    attend(&q, Attend { cache: &cache, rows: &[], heads, scale }, &mut scores, &mut out);
    assert!(out.iter().all(|v| *v == 0.0));
}

#[test]
fn log_sum_exp_in_parts_is_that_of_the_whole() {
    let x: Vec<f32> = values(1000, 18).iter().map(|v| v * 30.0).collect();
    let want = x.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
    let mut sum = LogSumExp::default();
    sum.add(&[], f32::NEG_INFINITY);
    x.chunks(333).for_each(|part| sum.add(part, max(part)));
    assert!((f64::from(sum.value()) - want).abs() < 1e-5, "{}, expected {want}", sum.value());
}

#[test]
fn gates_are_those_of_torch() {
    let mut x = [[-3.0f32, -0.5, 0.0, 0.7, 4.0]; 3];
    let want = [
        [-0.142_277_6, -0.188_770_3, 0.0, 0.467_731_4, 3.928_055],
        [0.0, 0.0, 0.0, 0.7, 4.0],
        [-0.004_049_7, -0.154_268_8, 0.0, 0.530_625_4, 3.999_873_3],
    ];
    for ((kind, x), want) in [Gate::Silu, Gate::Relu, Gate::Gelu].into_iter().zip(&mut x).zip(want) {
        gate(kind, x);
        assert!(x.iter().zip(want).all(|(x, want)| (x - want).abs() < 1e-6), "{kind:?}: {x:?}, {want:?}");
    }
}
