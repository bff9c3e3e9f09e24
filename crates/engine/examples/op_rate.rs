//! What one training step is made of: the time of every operation on the CPU at the shape of a small
//! Llama (30 layers, hidden 576, 9 heads on 3 kv heads, 512 packed tokens, rank-8 LoRA on all layers).
//!
//! `cargo run --release -p tolmach-engine --example op_rate [-- PART-OF-A-NAME]`. Best of several runs;
//! the last columns count how often a step calls the operation.

use std::time::{Duration, Instant};
use tolmach_engine::cpu::Buffer;
use tolmach_engine::{
    AdamW, Attention, Backend, CpuBackend, Dims, Dropout, Dtype, FrozenMatrix, LoraBackward, LoraIn, LoraOut,
    Mat, Out, RopeDirection, Segment, random,
};

const LAYERS: usize = 30;
/// Packed tokens, of which so many are labelled.
const T: usize = 512;
const LABELLED: usize = 270;
const C: usize = 576;
const F: usize = 1536;
const H: usize = 9;
const K: usize = 3;
const D: usize = 64;
const V: usize = 49_152;
const R: usize = 8;
/// Values of all LoRA matrices: rank times (inputs + outputs) of q, o, k, v, gate, up, down.
const LORA: usize = LAYERS * R * (2 * (C + C) + 2 * (C + K * D) + 3 * (C + F));

fn main() {
    let mut bench = Bench {
        b: CpuBackend::new(),
        filter: std::env::args().nth(1).unwrap_or_default(),
        products: Duration::ZERO,
        rest: Duration::ZERO,
    };
    println!("{}, {} threads", tolmach_engine::cpu::gemm::kernel_name(), rayon::current_num_threads());
    println!("{:<34} {:>10} {:>8} {:>10}", "operation", "one, µs", "calls", "step, ms");
    rayon::scope(|_| {
        bench.products();
        bench.lora_products();
        bench.rows();
        bench.attention("1 segment", &[T]);
        bench.attention("4 segments", &[90, 200, 62, 160]);
        bench.decode();
        bench.head();
        bench.optimizer();
    });
    let (products, rest) = (bench.products.as_secs_f64(), bench.rest.as_secs_f64());
    println!(
        "step: products {:.0} ms, the rest {:.0} ms = {:.1} %",
        1e3 * products,
        1e3 * rest,
        100.0 * rest / (products + rest)
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Product,
    Rest,
    /// Shown, but not a part of this step.
    Aside,
}

struct Bench {
    b: CpuBackend,
    filter: String,
    products: Duration,
    rest: Duration,
}

fn noise(len: usize) -> Buffer {
    let value = |i: u64| (random::mix(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    (0..len as u64).map(value).collect::<Vec<f32>>().into()
}

fn frozen(rows: usize, cols: usize) -> FrozenMatrix {
    let bytes: Vec<u8> =
        noise(rows * cols).iter().flat_map(|v| half::bf16::from_f32(v * 0.05).to_le_bytes()).collect();
    FrozenMatrix::from_bytes(rows, cols, Dtype::BF16, &bytes).expect("bf16 takes two bytes")
}

impl Bench {
    fn time(&mut self, name: &str, part: Part, calls: usize, mut f: impl FnMut(&CpuBackend)) {
        if !name.contains(&self.filter) {
            return;
        }
        let mut best = Duration::MAX;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            let run = Instant::now();
            f(&self.b);
            best = best.min(run.elapsed());
        }
        let step = best * u32::try_from(calls).unwrap_or(u32::MAX);
        match part {
            Part::Product => self.products += step,
            Part::Rest => self.rest += step,
            Part::Aside => {}
        }
        let (one, step) = (1e6 * best.as_secs_f64(), 1e3 * step.as_secs_f64());
        println!("{name:<34} {one:>10.1} {calls:>8} {step:>10.1}");
    }

    fn products(&mut self) {
        for (name, inputs, outputs, per_layer) in
            [("q, o", C, C, 2), ("k, v", C, K * D, 2), ("gate, up", C, F, 2), ("down", F, C, 1)]
        {
            let dims = Dims { rows: T, inputs, outputs };
            let w = frozen(outputs, inputs);
            let (x, mut y) = (noise(T * inputs), noise(T * outputs));
            let calls = per_layer * LAYERS;
            self.time(&format!("linear {name}"), Part::Product, calls, |b| {
                b.linear(&x, Mat::Frozen(&w), dims, 1.0, Out::Set, &mut y);
            });
            let mut dx = Buffer::from(x.to_vec());
            self.time(&format!("linear_backward_input {name}"), Part::Product, calls, |b| {
                b.linear_backward_input(&y, Mat::Frozen(&w), dims, 1.0, Out::Set, &mut dx);
            });
        }
    }

    fn lora_products(&mut self) {
        for (name, inputs, outputs, per_layer) in
            [("q, o", C, C, 2), ("k, v", C, K * D, 2), ("gate, up", C, F, 2), ("down", F, C, 1)]
        {
            let (down, up) = (Dims { rows: T, inputs, outputs: R }, Dims { rows: T, inputs: R, outputs });
            let [mut x, mut mid, mut y] = [T * inputs, T * R, T * outputs].map(noise);
            let [mut a, mut b_] = [R * inputs, outputs * R].map(noise);
            let calls = per_layer * LAYERS;
            self.time(&format!("lora forward {name}"), Part::Product, calls, |b| {
                b.linear(&x, Mat::Dense(&a), down, 1.0, Out::Set, &mut mid);
                b.linear(&mid, Mat::Dense(&b_), up, 1e-6, Out::Add, &mut y);
            });
            self.time(&format!("lora backward {name}"), Part::Product, calls, |b| {
                b.linear_backward_weight(&y, &mid, up, 1e-6, &mut b_);
                b.linear_backward_input(&y, Mat::Dense(&b_), up, 1e-6, Out::Set, &mut mid);
                b.linear_backward_weight(&mid, &x, down, 1e-6, &mut a);
                b.linear_backward_input(&mid, Mat::Dense(&a), down, 1e-6, Out::Add, &mut x);
            });
        }
        let groups: [(&str, usize, &[usize]); 4] =
            [("q, k, v", C, &[C, K * D, K * D]), ("o", C, &[C]), ("gate, up", C, &[F, F]), ("down", F, &[C])];
        for (name, inputs, outputs) in groups {
            let mut dx = noise(T * inputs);
            let x = noise(T * inputs);
            let mut us: Vec<_> = outputs.iter().map(|_| noise(T * R)).collect();
            let mut ys: Vec<_> = outputs.iter().map(|o| noise(T * o)).collect();
            let matrices: Vec<_> = outputs.iter().map(|o| [noise(R * inputs), noise(o * R)]).collect();
            let mut gradients = Vec::new();
            outputs.iter().for_each(|o| gradients.push([noise(R * inputs), noise(o * R)]));
            self.time(&format!("lora in {name}"), Part::Product, LAYERS, |b| {
                let mut branches: Vec<_> =
                    matrices.iter().zip(&mut us).map(|([a, _], u)| LoraIn { a, rank: R, u }).collect();
                b.lora_in(&x, T, inputs, &mut branches);
            });
            self.time(&format!("lora out {name}"), Part::Product, LAYERS, |b| {
                for (((y, u), [_, b_]), &outputs) in ys.iter_mut().zip(&us).zip(&matrices).zip(outputs) {
                    b.lora_out(T, &LoraOut { b: b_, rank: R, outputs, scaling: 1e-6, u }, y);
                }
            });
            let mut du = noise(CpuBackend::lora_scratch(T, &vec![R; outputs.len()]));
            self.time(&format!("lora backward, group {name}"), Part::Product, LAYERS, |b| {
                let parts = matrices.iter().zip(&us).zip(&ys).zip(&mut gradients).zip(outputs);
                let mut branches: Vec<_> = parts
                    .map(|(((([a, b], u), dy), [da, db]), &outputs)| LoraBackward {
                        a,
                        b,
                        rank: R,
                        outputs,
                        scaling: 1e-6,
                        u,
                        dy,
                        w: None,
                        da,
                        db,
                    })
                    .collect();
                b.lora_backward(&x, T, inputs, &mut branches, &mut du, Some((Out::Add, &mut dx)));
            });
        }
    }

    fn rows(&mut self) {
        let (x, weight, dout) = (noise(T * C), noise(C), noise(T * C));
        let [mut out, mut dweight] = [T * C, C].map(noise);
        self.time("rms_norm", Part::Rest, 4 * LAYERS + 1, |b| b.rms_norm(&x, &weight, 1e-5, T, C, &mut out));
        self.time("rms_norm_backward", Part::Rest, 2 * LAYERS + 1, |b| {
            b.rms_norm_backward(&x, &weight, 1e-5, T, C, &dout, &mut out, None);
        });
        self.time("rms_norm_backward with weight", Part::Aside, 2 * LAYERS + 1, |b| {
            b.rms_norm_backward(&x, &weight, 1e-5, T, C, &dout, &mut out, Some(&mut dweight));
        });
        let inv_freq: Vec<f64> = (0..D / 2).map(|i| 1e4f64.powf(-(i as f64) / (D / 2) as f64)).collect();
        let positions: Vec<u32> = (0..T as u32).collect();
        let mut table = Buffer::default();
        self.time("rope_table", Part::Rest, 1, |b| table = b.rope_table(&positions, &inv_freq));
        let mut q = noise(T * H * D);
        for direction in [RopeDirection::Forward, RopeDirection::Backward] {
            let table = self.b.rope_table(&positions, &inv_freq);
            self.time(&format!("rope q, {direction:?}"), Part::Rest, LAYERS, |b| {
                b.rope(&mut q, &table, T, H, D, direction);
            });
            self.time(&format!("rope k, {direction:?}"), Part::Rest, LAYERS, |b| {
                b.rope(&mut q, &table, T, K, D, direction);
            });
        }
        let [gate, up] = [T * F, T * F].map(noise);
        let [mut out, mut dout, mut dgate] = [T * F, T * F, T * F].map(noise);
        self.time("swiglu", Part::Rest, 2 * LAYERS, |b| b.swiglu(&gate, &up, T * F, &mut out));
        self.time("swiglu_backward", Part::Rest, LAYERS, |b| {
            b.swiglu_backward(&gate, &up, T * F, &mut dout, &mut dgate);
        });
        let dropout = Dropout { p: 0.05, key: 3 };
        self.time("dropout [T, C]", Part::Aside, 12 * LAYERS, |b| {
            b.dropout(&x, T * C, dropout, Out::Set, &mut out);
        });
        let table = frozen(V, C);
        let ids: Vec<u32> = (0..T as u64).map(|i| (random::mix(i) % V as u64) as u32).collect();
        self.time("embed", Part::Rest, 1, |b| b.embed(&ids, Mat::Frozen(&table), C, &mut out));
        let mut dtable = noise(V * C);
        self.time("embed_backward", Part::Aside, 1, |b| b.embed_backward(&ids, &out, C, &mut dtable));
    }

    fn attention(&mut self, name: &str, lengths: &[usize]) {
        let mut start = 0;
        let segments: Vec<Segment> = lengths
            .iter()
            .map(|len| {
                start += len;
                Segment::whole(start - len..start)
            })
            .collect();
        let spec = Attention { heads: H, kv_heads: K, head_dim: D, scale: 0.125, segments: &segments };
        let [q, k, v, dout] = [T * H * D, T * K * D, T * K * D, T * H * D].map(noise);
        let [mut out, mut lse, mut dq, mut dk, mut dv] =
            [T * H * D, T * H, T * H * D, T * K * D, T * K * D].map(noise);
        let part = if lengths.len() > 1 { Part::Rest } else { Part::Aside };
        self.time(&format!("attention, {name}"), part, LAYERS, |b| {
            b.attention(spec, &q, &k, &v, &mut out, &mut lse);
        });
        self.time(&format!("attention_backward, {name}"), part, LAYERS, |b| {
            b.attention_backward(spec, &q, &k, &v, &out, &lse, &dout, &mut dq, &mut dk, &mut dv);
        });
    }

    fn decode(&mut self) {
        let segments = [Segment::new(0..1, 0..T)];
        let spec = Attention { heads: H, kv_heads: K, head_dim: D, scale: 0.125, segments: &segments };
        let [q, k, v] = [H * D, T * K * D, T * K * D].map(noise);
        let [mut out, mut lse] = [H * D, H].map(noise);
        self.time("attention, 1 query on 512 keys", Part::Aside, LAYERS, |b| {
            b.attention(spec, &q, &k, &v, &mut out, &mut lse);
        });
    }

    fn head(&mut self) {
        let head = frozen(V, C);
        let hidden = noise(LABELLED * C);
        let targets: Vec<u32> = (0..LABELLED as u64).map(|i| (random::mix(i) % V as u64) as u32).collect();
        let mut dhidden = Buffer::from(hidden.to_vec());
        self.time("head_loss", Part::Product, 1, |b| {
            b.head_loss(&hidden, Mat::Frozen(&head), &targets, C, V, 1.0, Some(&mut dhidden), None);
        });
        let mut logits = noise(LABELLED * V);
        let dims = Dims { rows: LABELLED, inputs: C, outputs: V };
        self.time("head, its two products alone", Part::Aside, 1, |b| {
            b.linear(&hidden, Mat::Frozen(&head), dims, 1.0, Out::Set, &mut logits);
            b.linear_backward_input(&logits, Mat::Frozen(&head), dims, 1.0, Out::Set, &mut dhidden);
        });
    }

    fn optimizer(&mut self) {
        let [mut parameter, gradient, mut m] = [LORA, LORA, LORA].map(noise);
        let mut v = Buffer::from(vec![0.1; LORA]);
        let update = AdamW {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            step: 10,
            grad_scale: 1.0,
        };
        self.time("adamw, all LoRA matrices", Part::Rest, 1, |b| {
            b.adamw(&mut parameter, &gradient, &mut m, &mut v, LORA, update);
        });
        let mut sum = 0.0;
        self.time("sum_squares, all LoRA matrices", Part::Rest, 1, |b| sum += b.sum_squares(&gradient, LORA));
        let mut grad = noise(LORA);
        self.time("clear, all LoRA matrices", Part::Rest, 1, |b| b.clear(&mut grad, LORA));
    }
}
