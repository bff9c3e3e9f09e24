//! How fast matrix products run here, against the multiply-adds that the processor can do at all.
//!
//! `cargo run --release -p tolmach-engine --example gemm_rate [-- PART-OF-A-NAME]`, with
//! `RAYON_NUM_THREADS=1` for one thread. Weights are cycled through 64 MiB, so that they come from
//! memory as in training. Best of several runs; GB/s counts the bytes of the right operand. On a processor with a
//! tile unit each product is timed without it and with it.

use half::{bf16, f16};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tolmach_engine::cpu::gemm::{A, B, allow_tiles, gemm, kernel_name};
use tolmach_engine::random::mix;
use tolmach_engine::{Dtype, FrozenMatrix, Out};

/// Name, m, n, k, A stored transposed, how B is stored.
type Shape = (&'static str, usize, usize, usize, bool, Right);

#[derive(Clone, Copy)]
enum Right {
    /// `[k, n]`
    Rows,
    /// `[n, k]`
    Transposed,
    /// `[k, n]`
    Frozen(Dtype),
    /// `[n, k]`
    FrozenTransposed(Dtype),
}
use Right::{Frozen, FrozenTransposed, Rows, Transposed};

const BF16: Dtype = Dtype::BF16;
const SHAPES: &[Shape] = &[
    ("large f32", 1024, 2048, 2048, false, Transposed),
    ("large f32 [k, n]", 1024, 2048, 2048, false, Rows),
    ("large bf16", 1024, 2048, 2048, false, FrozenTransposed(BF16)),
    ("large f16", 1024, 2048, 2048, false, FrozenTransposed(Dtype::F16)),
    ("large bf16 backward", 1024, 2048, 2048, false, Frozen(BF16)),
    ("half large f32", 512, 2048, 2048, false, Transposed),
    ("half large bf16", 512, 2048, 2048, false, FrozenTransposed(BF16)),
    ("half large bf16 backward", 512, 2048, 2048, false, Frozen(BF16)),
    ("1B down bf16", 512, 2048, 5632, false, FrozenTransposed(BF16)),
    ("1B gate bf16", 512, 5632, 2048, false, FrozenTransposed(BF16)),
    ("1B weight gradient", 2048, 2048, 512, true, Rows),
    ("nano gate f32", 512, 768, 288, false, Transposed),
    ("nano q f32", 256, 288, 288, false, Transposed),
    ("3B gate bf16", 512, 8640, 3200, false, FrozenTransposed(BF16)),
    ("smol q f32", 512, 576, 576, false, Transposed),
    ("smol q bf16", 512, 576, 576, false, FrozenTransposed(BF16)),
    ("smol q bf16 backward", 512, 576, 576, false, Frozen(BF16)),
    ("smol k bf16", 512, 192, 576, false, FrozenTransposed(BF16)),
    ("smol k bf16 backward", 512, 576, 192, false, Frozen(BF16)),
    ("smol gate bf16", 512, 1536, 576, false, FrozenTransposed(BF16)),
    ("smol gate bf16 backward", 512, 576, 1536, false, Frozen(BF16)),
    ("smol down bf16", 512, 576, 1536, false, FrozenTransposed(BF16)),
    ("smol down bf16 backward", 512, 1536, 576, false, Frozen(BF16)),
    ("smol head bf16", 270, 49152, 576, false, FrozenTransposed(BF16)),
    ("smol head bf16 backward", 270, 576, 49152, false, Frozen(BF16)),
    ("head, a chunk, bf16", 85, 49152, 576, false, FrozenTransposed(BF16)),
    ("head, a chunk, backward", 85, 576, 49152, false, Frozen(BF16)),
    ("lora A forward", 512, 8, 576, false, Transposed),
    ("lora A forward, fused", 512, 16, 1536, false, Transposed),
    ("lora B forward", 512, 576, 8, false, Transposed),
    ("lora B backward, input", 512, 8, 576, false, Rows),
    ("lora A backward, input", 512, 576, 8, false, Rows),
    ("lora A backward, weight", 8, 576, 512, true, Rows),
    ("lora B backward, weight", 576, 8, 512, true, Rows),
    ("tiny f32", 512, 64, 64, false, Transposed),
    ("tiny gate f32", 512, 288, 96, false, Transposed),
    ("tiny wide f32", 512, 768, 288, false, Transposed),
    ("attention scores", 128, 128, 64, false, Transposed),
    ("attention values", 128, 64, 128, false, Rows),
    ("decode 1 bf16", 1, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 1 bf16 down", 1, 576, 1536, false, FrozenTransposed(BF16)),
    ("decode 1 bf16 q", 1, 576, 576, false, FrozenTransposed(BF16)),
    ("decode 1 bf16 k", 1, 192, 576, false, FrozenTransposed(BF16)),
    ("decode 1 bf16 head", 1, 49152, 576, false, FrozenTransposed(BF16)),
    ("decode 1 f32 head", 1, 49152, 576, false, Transposed),
    ("decode 2 bf16", 2, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 4 bf16", 4, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 8 bf16", 8, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 8 bf16 head", 8, 49152, 576, false, FrozenTransposed(BF16)),
    ("decode 12 bf16", 12, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 16 bf16", 16, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 24 bf16", 24, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 32 bf16", 32, 1536, 576, false, FrozenTransposed(BF16)),
    ("decode 64 bf16", 64, 1536, 576, false, FrozenTransposed(BF16)),
];

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let threads = rayon::current_num_threads();
    let best = kernel_name();
    allow_tiles(false);
    let tiles = kernel_name() != best;
    let peak = peak(threads);
    println!("{best}, {threads} threads, measured multiply-add peak {peak:.0} GFLOP/s");
    print!(
        "{:<26} {:>5} {:>6} {:>6} {:>10} {:>8} {:>7} {:>7}",
        "", "m", "n", "k", "µs", "GFLOP/s", "%", "GB/s"
    );
    println!(
        "{}",
        if tiles { format!(" {:>10} {:>8} {:>6}", "tiles: µs", "GFLOP/s", "×") } else { String::new() }
    );
    rayon::scope(|_| {
        for &shape in SHAPES.iter().filter(|s| s.0.contains(&filter)) {
            let (name, m, n, k, ..) = shape;
            let operations = 2.0 * (m * n * k) as f64;
            let [plain, tiled] = time(shape, if tiles { &[false, true] } else { &[false] });
            let rate = operations / plain / 1e9;
            print!(
                "{name:<26} {m:>5} {n:>6} {k:>6} {:>10.1} {rate:>8.1} {:>7.1} {:>7.1}",
                plain * 1e6,
                100.0 * rate / peak,
                bytes(shape) as f64 / plain / 1e9
            );
            if tiles {
                let rate = operations / tiled / 1e9;
                print!(" {:>10.1} {rate:>8.1} {:>6.2}", tiled * 1e6, plain / tiled);
            }
            println!();
        }
    });
}

/// Bytes of the right operand.
fn bytes((_, _, n, k, _, right): Shape) -> usize {
    n * k
        * match right {
            Rows | Transposed => 4,
            Frozen(dtype) | FrozenTransposed(dtype) => dtype.size(),
        }
}

/// Best time of one product without tiles, and with them, in turns.
fn time(shape: Shape, ways: &[bool]) -> [f64; 2] {
    let (_, m, n, k, a_transposed, right) = shape;
    let dense = matches!(right, Rows | Transposed);
    let copies = ((64 << 20) / bytes(shape)).clamp(1, 256);
    let a = noise(m * k, 1);
    let mut c = vec![0.0; m * n];
    let values = noise(n * k, 2);
    let dense = vec![values.clone(); if dense { copies } else { 0 }];
    let frozen: Vec<FrozenMatrix> = match right {
        Rows | Transposed => Vec::new(),
        Frozen(dtype) => (0..copies).map(|_| freeze(k, n, &values, dtype)).collect(),
        FrozenTransposed(dtype) => (0..copies).map(|_| freeze(n, k, &values, dtype)).collect(),
    };
    let a = if a_transposed { A::Transposed(&a) } else { A::Rows(&a) };
    let mut best = [f64::INFINITY; 2];
    let start = Instant::now();
    let per_round = (1_usize << 28).div_ceil(m * n * k).min(copies);
    for round in 0.. {
        for &tiles in ways {
            allow_tiles(tiles);
            let started = Instant::now();
            for i in (0..per_round).map(|i| (round * per_round + i) % copies) {
                let b = match right {
                    Rows => B::Rows(&dense[i]),
                    Transposed => B::Transposed(&dense[i]),
                    Frozen(_) => B::Frozen(&frozen[i]),
                    FrozenTransposed(_) => B::FrozenTransposed(&frozen[i]),
                };
                gemm(&mut c, m, n, k, 1.0, a, b, Out::Set);
            }
            let best = &mut best[usize::from(tiles)];
            *best = best.min(started.elapsed().as_secs_f64() / per_round as f64);
        }
        if start.elapsed() > Duration::from_millis(400) && round >= 2 {
            break;
        }
    }
    best
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| (mix(mix(seed) ^ i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn freeze(rows: usize, cols: usize, values: &[f32], dtype: Dtype) -> FrozenMatrix {
    let bytes: Vec<u8> = match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
    };
    FrozenMatrix::from_bytes(rows, cols, dtype, &bytes).expect("rows · cols values")
}

/// GFLOP/s of independent multiply-adds in registers, on all threads.
fn peak(threads: usize) -> f64 {
    const ROUNDS: usize = 1_000_000;
    (0..10).fold(0.0, |best, _| {
        let started = Instant::now();
        let flops: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| multiply_adds(ROUNDS))).collect();
            workers.into_iter().map(|w| w.join().expect("it only computes")).sum()
        });
        f64::max(best, flops as f64 / started.elapsed().as_secs_f64() / 1e9)
    })
}

/// `x = x · a + b` on enough vectors to hide the latency; returns the operations done.
fn multiply_adds(rounds: usize) -> usize {
    const CHAINS: usize = 12;
    /// The same loop with each instruction set's vector of `$lanes`.
    macro_rules! chains {
        ($rounds:ident, $lanes:literal, $splat:expr, $fma:expr) => {{
            let (a, b) = ($splat(black_box(0.5f32)), $splat(black_box(0.25f32)));
            let mut x = [$splat(1.0f32); CHAINS];
            for _ in 0..$rounds {
                for x in &mut x {
                    *x = $fma(*x, a, b);
                }
            }
            black_box(x);
            2 * $rounds * $lanes * CHAINS
        }};
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
        #[target_feature(enable = "avx512f")]
        fn avx512(rounds: usize) -> usize {
            chains!(rounds, 16, _mm512_set1_ps, _mm512_fmadd_ps)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(rounds: usize) -> usize {
            chains!(rounds, 8, _mm256_set1_ps, _mm256_fmadd_ps)
        }
        // SAFETY: `kernel_name` says that the processor has it.
        match kernel_name() {
            "AVX-512" => return unsafe { avx512(rounds) },
            "AVX2 + FMA" => return unsafe { avx2(rounds) },
            _ => {}
        }
    }
    chains!(rounds, 4, |x| [x; 4], |x: [f32; 4], a: [f32; 4], b: [f32; 4]| {
        std::array::from_fn(|l| x[l] * a[l] + b[l])
    })
}
