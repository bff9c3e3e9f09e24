//! Every kernel against the naive product in f64.

use super::kernel::Kernel;
use super::*;
use crate::BlockType;
use crate::random::mix;
use half::{bf16, f16};

fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| (mix(mix(seed) ^ i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn frozen(rows: usize, cols: usize, values: &[f32], format: Format) -> FrozenMatrix {
    let bytes: Vec<u8> = match format {
        Format::Plain(Dtype::F32) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Format::Plain(Dtype::F16) => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        Format::Plain(Dtype::BF16) => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        Format::Blocks(block) => {
            let mut bytes = vec![0; values.len() / block.numbers() * block.bytes()];
            block.encode(values, &mut bytes);
            bytes
        }
    };
    FrozenMatrix::from_bytes(rows, cols, format, &bytes).unwrap()
}

/// One random product in one combination of layouts, with its expected result.
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a_layout: Layout,
    b_layout: Layout,
    a: Vec<f32>,
    b: FrozenMatrix,
    c: Vec<f32>,
    to: Out,
    alpha: f32,
    expected: Vec<f64>,
    /// Σ |a| |b|: what the rounding is relative to.
    scale: Vec<f64>,
}

const LAYOUTS: [Layout; 2] = [Layout::Lines, Layout::Depths];

impl Case {
    fn new(
        shape: (usize, usize, usize),
        a_layout: Layout,
        b_layout: Layout,
        format: impl Into<Format>,
        to: Out,
    ) -> Self {
        let (m, n, k) = shape;
        let alpha = if to == Out::Add { -0.75 } else { 1.0 };
        let (a, c) = (noise(m * k, 1), noise(m * n, 3));
        let (rows, cols) = if b_layout == Layout::Lines { (n, k) } else { (k, n) };
        let b = frozen(rows, cols, &noise(n * k, 2), format.into());
        let b_values = b.to_f32();
        let at = |layout, v: &[f32], lines: usize, line: usize, depth: usize| {
            f64::from(if layout == Layout::Lines { v[line * k + depth] } else { v[depth * lines + line] })
        };
        let (mut expected, mut scale) = (vec![0.0; m * n], vec![0.0; m * n]);
        for i in 0..m {
            for j in 0..n {
                let old = if to == Out::Add { f64::from(c[i * n + j]) } else { 0.0 };
                let terms = (0..k).map(|p| at(a_layout, &a, m, i, p) * at(b_layout, &b_values, n, j, p));
                expected[i * n + j] = old + f64::from(alpha) * terms.clone().sum::<f64>();
                scale[i * n + j] = 1.0 + terms.map(f64::abs).sum::<f64>();
            }
        }
        Case { m, n, k, a_layout, b_layout, a, b, c, to, alpha, expected, scale }
    }

    fn run(&self, kernel: &Kernel, threads: usize) -> Vec<f32> {
        let stride = |layout, lines| if layout == Layout::Lines { self.k } else { lines };
        let p = Product {
            m: self.m,
            n: self.n,
            k: self.k,
            alpha: self.alpha,
            a: Operand::new(&self.a, self.a_layout, stride(self.a_layout, self.m)),
            b: Operand::frozen(&self.b, self.b_layout),
            beside: None,
            to: self.to,
            parallel: true,
        };
        let mut c = self.c.clone();
        pool(threads).install(|| product(kernel, &mut c, self.n, p));
        c
    }

    fn check(&self, kernel: &Kernel) {
        let c = self.run(kernel, 2);
        for i in 0..c.len() {
            let error = (f64::from(c[i]) - self.expected[i]).abs() / self.scale[i];
            assert!(
                error < 1e-6,
                "{}: [{}, {}, {}] A by {:?}, B {} by {:?}, {:?}: C[{}, {}] is {}, expected {}",
                kernel.name,
                self.m,
                self.n,
                self.k,
                self.a_layout,
                self.b.format(),
                self.b_layout,
                self.to,
                i / self.n,
                i % self.n,
                c[i],
                self.expected[i]
            );
        }
    }
}

fn random_shapes(count: usize, seed: u64) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..count as u64).map(move |i| {
        let size = |which: u64| 1 + (mix(seed ^ mix(3 * i + which)) % 70) as usize;
        (size(0), size(1), size(2))
    })
}

/// Around the sizes where a path, a tile, a block or a task ends.
const EDGES: [(usize, usize, usize); 17] = [
    (1, 1, 1),
    (1, 300, 576),
    (3, 41, 2100),
    (8, 257, 129),
    (16, 25, 1000),
    (17, 64, 575),
    (32, 96, 129),
    (33, 95, 128),
    (70, 16, 800),
    (70, 17, 577),
    (300, 8, 130),
    (14, 32, 16),
    (15, 33, 17),
    (113, 130, 577),
    (130, 290, 65),
    (257, 65, 40),
    (40, 96, 1153),
];

/// More than one packed part of either side.
const LARGE: [(usize, usize, usize); 2] = [(40, 600, 600), (500, 260, 580)];

#[test]
fn every_kernel_agrees_with_the_naive_product() {
    for (i, shape) in random_shapes(40, 7).chain(EDGES).enumerate() {
        for a_layout in LAYOUTS {
            for b_layout in LAYOUTS {
                let dtype = [Dtype::F32, Dtype::BF16, Dtype::F16][i % 3];
                for (dtype, to) in [(Dtype::F32, Out::Set), (dtype, Out::Add)] {
                    let case = Case::new(shape, a_layout, b_layout, dtype, to);
                    Kernel::available().into_iter().for_each(|kernel| case.check(kernel));
                }
            }
        }
    }
    for shape in LARGE {
        let case = Case::new(shape, Layout::Lines, Layout::Depths, Dtype::BF16, Out::Add);
        Kernel::available().into_iter().for_each(|kernel| case.check(kernel));
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for kernel in Kernel::available() {
        for shape in [(130, 300, 700), (300, 70, 900), (8, 600, 256), (600, 8, 256), (20, 600, 100)] {
            for a_layout in LAYOUTS {
                for b_layout in LAYOUTS {
                    let case = Case::new(shape, a_layout, b_layout, Dtype::F32, Out::Add);
                    let one = case.run(kernel, 1);
                    for threads in [2, 3, 6] {
                        assert!(one == case.run(kernel, threads), "{} {shape:?} {threads}", kernel.name);
                    }
                }
            }
        }
    }
}

#[test]
fn half_precision_operands_equal_their_f32_values_to_the_bit() {
    for kernel in Kernel::available() {
        // Where f32 rows of B are read in place, their sums have other blocks.
        let cases = [
            ((1, 50, 290), Layout::Lines),
            ((30, 50, 290), Layout::Lines),
            ((70, 90, 400), Layout::Lines),
            ((70, 90, 400), Layout::Depths),
            ((200, 300, 600), Layout::Lines),
            ((200, 300, 600), Layout::Depths),
        ];
        // Whether the tile unit pays depends on the type: both must take it, or neither.
        for (shape, b_layout) in cases.into_iter().filter(|(shape, _)| !kernel.tiles || shape.0 >= 200) {
            for dtype in [Dtype::BF16, Dtype::F16] {
                let mut case = Case::new(shape, Layout::Lines, b_layout, dtype, Out::Set);
                let half = case.run(kernel, 2);
                case.b = FrozenMatrix::from_f32(case.b.rows(), case.b.cols(), &case.b.to_f32()).unwrap();
                assert!(half == case.run(kernel, 2), "{} {shape:?} {dtype} {b_layout:?}", kernel.name);
            }
        }
    }
}

#[test]
fn a_product_takes_another_along() {
    let formats = [Format::Plain(Dtype::F32), Format::Plain(Dtype::BF16), BlockType::Nf4.into()];
    for (i, shape) in
        [(40, 64, 64), (70, 128, 448), (131, 320, 704), (300, 256, 1216)].into_iter().enumerate()
    {
        let (m, n, k) = shape;
        for (b_layout, few) in
            [(Layout::Lines, 8), (Layout::Depths, 24), (Layout::Lines, 1), (Layout::Depths, 5)]
        {
            let to = if i % 2 == 0 { Out::Set } else { Out::Add };
            let case = Case::new(shape, Layout::Lines, b_layout, formats[(i + few) % 3], to);
            let (a, b) = (noise(m * few, 4), noise(few * n, 5));
            let b_stride = if b_layout == Layout::Lines { few } else { n };
            let b_at =
                |p: usize, j: usize| b[if b_layout == Layout::Lines { j * few + p } else { p * n + j }];
            // An AMX kernel would go another way.
            for kernel in Kernel::available().into_iter().filter(|kernel| !kernel.tiles) {
                let run = |threads: usize| {
                    let beside = Beside {
                        depth: few,
                        a: Operand::new(&a, Layout::Lines, few),
                        b: Operand::new(&b, b_layout, b_stride),
                    };
                    let (a, b) =
                        (Operand::new(&case.a, Layout::Lines, k), Operand::frozen(&case.b, b_layout));
                    let p = Product { m, n, k, alpha: 1.0, a, b, beside: Some(beside), to, parallel: true };
                    let mut c = case.c.clone();
                    pool(threads).install(|| product(kernel, &mut c, n, p));
                    c
                };
                let c = run(2);
                for at in 0..m * n {
                    let (i, j) = (at / n, at % n);
                    let terms = (0..few).map(|p| f64::from(a[i * few + p]) * f64::from(b_at(p, j)));
                    let old = if to == Out::Add { f64::from(case.c[at]) } else { 0.0 };
                    let alone = (case.expected[at] - old) / f64::from(case.alpha);
                    let want = old + alone + terms.clone().sum::<f64>();
                    let scale = case.scale[at] + terms.map(f64::abs).sum::<f64>();
                    let error = (f64::from(c[at]) - want).abs() / scale;
                    assert!(
                        error < 1e-6,
                        "{} {shape:?} + {few}: ({i}, {j}) is {}, not {want}",
                        kernel.name,
                        c[at]
                    );
                }
                assert!([1, 6].iter().all(|&threads| run(threads) == c), "{} {shape:?} + {few}", kernel.name);
            }
        }
    }
}

#[test]
fn blocks_are_products_of_the_numbers_in_them() {
    // n and k are whole blocks of every kind, whichever of them runs along the stored rows.
    let shapes =
        [(1, 256, 512), (7, 512, 1280), (16, 256, 256), (17, 256, 768), (40, 512, 256), (300, 256, 512)];
    for block in BlockType::ALL {
        for shape in shapes {
            for b_layout in LAYOUTS {
                let to = if shape.0 % 2 == 0 { Out::Add } else { Out::Set };
                let case = Case::new(shape, Layout::Lines, b_layout, block, to);
                for kernel in Kernel::available() {
                    case.check(kernel);
                    let one = case.run(kernel, 1);
                    assert!(
                        [2, 6].iter().all(|&n| case.run(kernel, n) == one),
                        "{block} {shape:?} {b_layout:?}"
                    );
                }
            }
        }
    }
    // A weight with few rows is the thin side itself; and not all of the stored rows are used.
    for (shape, b_layout) in [((40, 5, 256), Layout::Lines), ((5, 32, 7), Layout::Depths)] {
        let case = Case::new(shape, Layout::Lines, b_layout, BlockType::Q8_0, Out::Set);
        Kernel::available().into_iter().for_each(|kernel| case.check(kernel));
    }
}

#[test]
fn from_steady_rows_on_a_row_is_the_same_bits_whatever_their_number() {
    let pool = pool(2);
    for (n, k) in [(20, 300), (64, 64), (100, 150), (192, 576), (288, 288), (700, 1300)] {
        let (a, values) = (noise(600 * k, 1), noise(n * k, 2));
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            for b_layout in LAYOUTS {
                let (rows, cols) = if b_layout == Layout::Lines { (n, k) } else { (k, n) };
                let b = frozen(rows, cols, &values, dtype.into());
                for kernel in Kernel::available() {
                    let run = |m: usize| {
                        let (a, b) =
                            (Operand::new(&a[..m * k], Layout::Lines, k), Operand::frozen(&b, b_layout));
                        let p =
                            Product { m, n, k, alpha: 1.0, a, b, beside: None, to: Out::Set, parallel: true };
                        let mut c = vec![0.0; m * n];
                        pool.install(|| product(kernel, &mut c, n, p));
                        c
                    };
                    let whole = run(600);
                    for m in [STEADY_ROWS, STEADY_ROWS + 1, 150, 333] {
                        let same = run(m) == whole[..m * n];
                        assert!(same, "{} {m} × {n} × {k} {dtype} {b_layout:?}", kernel.name);
                    }
                }
            }
        }
    }
}

#[test]
fn weights_in_panels_give_the_bits_of_the_same_in_rows() {
    let pool = pool(2);
    for (m, n, k) in [(80, 100, 256), (97, 33, 1280), (333, 256, 512)] {
        let (a, values) = (noise(m * k, 1), noise(n * k, 2));
        for block in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q6K] {
            let rows = frozen(n, k, &values, block.into());
            let panels = rows.clone().in_panels();
            assert!(panels.panels().is_some());
            for kernel in Kernel::available() {
                let run = |b: &FrozenMatrix| {
                    let (a, b) = (Operand::new(&a, Layout::Lines, k), Operand::frozen(b, Layout::Lines));
                    let p = Product { m, n, k, alpha: 1.0, a, b, beside: None, to: Out::Set, parallel: true };
                    let mut c = vec![0.0; m * n];
                    pool.install(|| product(kernel, &mut c, n, p));
                    c
                };
                assert!(run(&panels) == run(&rows), "{} {m} × {n} × {k} {block}", kernel.name);
            }
        }
    }
}

#[test]
fn operands_of_the_public_entry_are_what_their_names_say() {
    // A = [[1, 2], [3, 4]], B = [[5, 6], [7, 8]].
    let (a, at) = ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]);
    let (b, bt) = ([5.0, 6.0, 7.0, 8.0], [5.0, 7.0, 6.0, 8.0]);
    let (frozen, frozen_t) =
        (FrozenMatrix::from_f32(2, 2, &b).unwrap(), FrozenMatrix::from_f32(2, 2, &bt).unwrap());
    for a in [A::Rows(&a), A::Transposed(&at)] {
        for b in [B::Rows(&b), B::Transposed(&bt), B::Frozen(&frozen), B::FrozenTransposed(&frozen_t)] {
            let mut c = [1.0; 4];
            gemm(&mut c, 2, 2, 2, 2.0, a, b, Out::Set);
            assert_eq!(c, [38.0, 44.0, 86.0, 100.0]);
            gemm(&mut c, 2, 2, 2, -1.0, a, b, Out::Add);
            assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
        }
    }
}

#[test]
fn an_empty_depth_clears_or_keeps() {
    let mut c = [3.0; 6];
    gemm(&mut c, 2, 3, 0, 1.0, A::Rows(&[]), B::Rows(&[]), Out::Add);
    assert_eq!(c, [3.0; 6]);
    gemm(&mut c, 2, 3, 0, 1.0, A::Rows(&[]), B::Rows(&[]), Out::Set);
    assert_eq!(c, [0.0; 6]);
}

#[test]
fn products_nest_in_tasks_of_the_pool() {
    use rayon::prelude::*;
    let (m, n, k) = (64, 200, 100);
    let (a, b) = (noise(m * k, 1), noise(k * n, 2));
    let mut alone = vec![0.0; m * n];
    gemm(&mut alone, m, n, k, 1.0, A::Rows(&a), B::Rows(&b), Out::Set);
    let mut many = vec![0.0; 16 * m * n];
    pool(3).install(|| {
        many.par_chunks_mut(m * n).for_each(|c| gemm(c, m, n, k, 1.0, A::Rows(&a), B::Rows(&b), Out::Set));
    });
    assert!(many.chunks(m * n).all(|c| c == alone));
}

#[test]
#[should_panic(expected = "A has 5 values, its shape needs 6")]
fn a_short_operand_is_refused() {
    gemm(&mut [0.0; 4], 2, 2, 3, 1.0, A::Rows(&[0.0; 5]), B::Rows(&[0.0; 6]), Out::Set);
}
