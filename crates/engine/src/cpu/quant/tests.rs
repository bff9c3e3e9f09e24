//! Against the same sums in f64, and against what the products would be without rounded activations.

use super::kernels::Kernel;
use super::product;
use crate::backend::{Backend, Dims, Mat, Out};
use crate::blocks::panels::Panels;
use crate::{Activations, BlockType, CpuBackend, FrozenMatrix, random};
use half::f16;

const KINDS: [BlockType; 3] = [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q6K];

/// Numbers as activations have them: most small, some large.
fn numbers(len: usize, key: u64) -> Vec<f32> {
    let uniform = |i: usize| (random::mix(key ^ (i as u64) << 8) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    (0..len).map(|i| uniform(i) * if i % 41 == 0 { 8.0 } else { 1.0 }).collect()
}

fn weights(block: BlockType, rows: usize, cols: usize) -> FrozenMatrix {
    FrozenMatrix::from_f32(rows, cols, &numbers(rows * cols, 7)).unwrap().quantized(block).unwrap()
}

/// Activations rounded in blocks as `scale` turns the exact scale into the one that is kept.
fn rounded(x: &[f32], scale: impl Fn(f32) -> f32) -> Vec<f64> {
    let block = |x: &[f32]| {
        let exact = x.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
        let inverse = if exact > 0.0 { 1.0 / exact } else { 0.0 };
        let kept = f64::from(scale(exact));
        x.iter().map(|v| f64::from((v * inverse).round_ties_even()) * kept).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(block).collect()
}

/// `x · wᵀ`, and the same of magnitudes.
fn exact(x: &[f64], w: &FrozenMatrix, outputs: usize) -> Vec<(f64, f64)> {
    let (cols, w) = (w.cols(), w.to_f32());
    let mut y = Vec::new();
    for x in x.chunks_exact(cols) {
        for w in w.chunks_exact(cols).take(outputs) {
            let terms = || x.iter().zip(w).map(|(x, w)| x * f64::from(*w));
            y.push((terms().sum(), terms().map(f64::abs).sum()));
        }
    }
    y
}

#[test]
fn every_kernel_is_the_sum_of_rounded_activations() {
    for kernel in Kernel::available() {
        for block in KINDS {
            for (rows, outputs, inputs) in
                [(1, 1, 32), (1, 16, 64), (1, 200, 96), (2, 67, 32), (3, 48, 160), (7, 33, 64), (13, 130, 32)]
            {
                let inputs = inputs * block.numbers() / 32;
                let w = weights(block, outputs, inputs);
                let panels = Panels::new(block, outputs, inputs, w.bytes()).unwrap();
                let x = numbers(rows * inputs, 3);
                let want = exact(&rounded(&x, |scale| scale), &w, outputs);
                let dims = Dims { rows, inputs, outputs };
                for (to, alpha) in [(Out::Set, 1.0), (Out::Add, 0.5)] {
                    let mut y = vec![0.25; rows * outputs];
                    product(kernel, &x, &panels, dims, alpha, to, &mut y);
                    for (i, (y, (sum, magnitude))) in y.iter().zip(&want).enumerate() {
                        let before = if to == Out::Add { 0.25 } else { 0.0 };
                        let want = f64::from(alpha) * sum + before;
                        let error = (f64::from(*y) - want).abs();
                        // A value half-way between two integers may be rounded to either: by 1/127 of a weight.
                        assert!(
                            error <= 1e-5 * magnitude,
                            "{}, {block}, {dims:?}, value {i}: {y}, expected {want}",
                            kernel.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rounding_activations_costs_no_more_than_it_does_in_llama_cpp() {
    let (rows, outputs, inputs) = (4, 64, 1024);
    for block in KINDS {
        let w = weights(block, outputs, inputs);
        let x = numbers(rows * inputs, 5);
        let exactly: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        let want = exact(&exactly, &w, outputs);
        // ggml keeps the scale of a block of activations as f16.
        let theirs = exact(&rounded(&x, |scale| f16::from_f32(scale).to_f32()), &w, outputs);
        let backend = CpuBackend::with_activations(Activations::Int8);
        let mut y = backend.zeros(rows * outputs);
        let dims = Dims { rows, inputs, outputs };
        let matrix = backend.matrix(w);
        backend.linear(&backend.upload(&x), Mat::Frozen(&matrix), dims, 1.0, Out::Set, &mut y);
        let rms = |errors: &mut dyn Iterator<Item = f64>| {
            (errors.map(|e| e * e).sum::<f64>() / want.len() as f64).sqrt()
        };
        let size = rms(&mut want.iter().map(|w| w.0));
        let ours = rms(&mut want.iter().zip(y.iter()).map(|(w, y)| f64::from(*y) - w.0)) / size;
        let theirs = rms(&mut want.iter().zip(&theirs).map(|(w, y)| y.0 - w.0)) / size;
        assert!(ours <= 1.02 * theirs && ours < 0.01, "{block}: {ours:.5} of the result, theirs {theirs:.5}");
    }
}

#[test]
fn rows_and_threads_do_not_change_a_bit() {
    let (rows, outputs, inputs) = (21, 1000, 256);
    for block in KINDS {
        let w = weights(block, outputs, inputs);
        let panels = Panels::new(block, outputs, inputs, w.bytes()).unwrap();
        let x = numbers(rows * inputs, 9);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut y = vec![0.0; rows * outputs];
            let dims = Dims { rows, inputs, outputs };
            pool.install(|| super::linear(&x, &panels, dims, 1.0, Out::Set, &mut y));
            y
        };
        let y = run(1);
        assert_eq!(y, run(3), "{block}: threads");
        for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(outputs)) {
            let mut alone = vec![0.0; outputs];
            let dims = Dims { rows: 1, inputs, outputs };
            super::linear(x, &panels, dims, 1.0, Out::Set, &mut alone);
            assert_eq!(alone, y, "{block}: a row alone");
        }
    }
}

#[test]
fn a_matrix_in_panels_is_the_same_matrix() {
    let (int8, f32) = (CpuBackend::with_activations(Activations::Int8), CpuBackend::new());
    for block in BlockType::ALL {
        let w = weights(block, 35, 256);
        let panels = int8.matrix(w.clone());
        assert_eq!(panels.panels().is_some(), KINDS.contains(&block), "{block}");
        assert_eq!(panels.to_f32(), w.to_f32(), "{block}");
        let mut part = [0.0; 40];
        panels.unpack(34, 50, &mut part);
        assert_eq!(part[..], w.to_f32()[34 * 256 + 50..][..40], "{block}: a part of the last row");
        let dy = f32.upload(&numbers(3 * 35, 1));
        let dims = Dims { rows: 3, inputs: 256, outputs: 35 };
        let (mut dx, mut want) = (int8.zeros(3 * 256), f32.zeros(3 * 256));
        int8.linear_backward_input(&dy, Mat::Frozen(&panels), dims, 1.0, Out::Set, &mut dx);
        f32.linear_backward_input(&dy, Mat::Frozen(&w), dims, 1.0, Out::Set, &mut want);
        assert_eq!(*dx, *want, "{block}: the backward is that of the unrounded product");
    }
}

#[test]
fn zeros_and_extremes() {
    let w = weights(BlockType::Q8_0, 20, 64);
    let panels = Panels::new(BlockType::Q8_0, 20, 64, w.bytes()).unwrap();
    let dims = Dims { rows: 1, inputs: 64, outputs: 20 };
    let mut y = vec![1.0; 20];
    super::linear(&[0.0; 64], &panels, dims, 1.0, Out::Set, &mut y);
    assert_eq!(y, [0.0; 20]);
    // The lowest byte of a foreign file, against the largest activations: no sum overflows.
    let bytes: Vec<u8> =
        (0..32 * 2).flat_map(|_| [f16::ONE.to_le_bytes().to_vec(), vec![128; 32]].concat()).collect();
    let lowest = FrozenMatrix::from_bytes(32, 64, BlockType::Q8_0, &bytes).unwrap();
    for kernel in Kernel::available() {
        let panels = Panels::new(BlockType::Q8_0, 32, 64, lowest.bytes()).unwrap();
        let mut y = vec![0.0; 32];
        product(kernel, &[1.0; 64], &panels, Dims { outputs: 32, ..dims }, 1.0, Out::Set, &mut y);
        assert!(y.iter().all(|y| (y + 128.0 * 64.0).abs() < 0.01), "{}: {y:?}", kernel.name);
    }
}
