//! Every operation on random shapes, written once for any backend. Each scenario gives named outputs;
//! tests compare them between backends and between numbers of threads.

use super::{Random, cached, packed, shared};
use half::{bf16, f16};
use tolmach_engine::{
    AdamW, Attention, Backend, BlockType, CACHE_BLOCK, CacheType, Dims, Dropout, Dtype, FrozenMatrix,
    LoraBackward, LoraIn, LoraOut, Mat, Out, RopeDirection, Segment,
};

/// Outputs with a name that tells the shape.
pub type Outputs = Vec<(String, Vec<f32>)>;

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Run one scenario; the same inputs for every backend.
        pub fn run<B: Backend>(name: &str, backend: &B) -> Outputs {
            let mut scenario = Scenario { b: backend, random: Random::new(name), outputs: Vec::new() };
            match name {
                $(stringify!($name) => scenario.$name(),)*
                _ => panic!("no scenario {name}"),
            }
            scenario.outputs
        }
    };
}

scenarios!(
    rows,
    dropout,
    embed,
    rms_norm,
    linear,
    linear_of_half,
    lora,
    rope,
    attention,
    attention_shared_prefix,
    attention_long,
    attention_cached,
    swiglu,
    dora,
    dora_row_norms,
    head_loss,
    head_loss_in_runs,
    adamw,
    sum_squares,
);

struct Scenario<'a, B: Backend> {
    b: &'a B,
    random: Random,
    outputs: Outputs,
}

/// The same matrix in every type that a frozen weight may have, rounded to that type.
fn frozen(rows: usize, cols: usize, values: &[f32]) -> [FrozenMatrix; 3] {
    let f16s: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    [
        FrozenMatrix::from_f32(rows, cols, values).unwrap(),
        FrozenMatrix::from_bytes(rows, cols, Dtype::F16, &f16s).unwrap(),
        FrozenMatrix::from_bytes(rows, cols, Dtype::BF16, &bf16s).unwrap(),
    ]
}

impl<B: Backend> Scenario<'_, B> {
    fn upload(&mut self, len: usize) -> B::Buffer {
        // Longer than needed, as buffers may be.
        let values = self.random.floats(len + 3);
        self.b.upload(&values)
    }

    fn output(&mut self, name: impl Into<String>, buffer: &B::Buffer, len: usize) {
        let mut values = vec![0.0; len];
        self.b.download(buffer, &mut values);
        self.outputs.push((name.into(), values));
    }

    fn rows(&mut self) {
        for (rows, width) in [(5, 3), (300, 70)] {
            let src = self.upload(rows * width);
            let mut dst = self.upload(rows * width);
            self.b.copy_rows(&src, 1, &mut dst, 2, rows - 2, width);
            self.output(format!("copy_rows {rows} {width}"), &dst, rows * width);
            let picks: Vec<usize> = (0..2 * rows).map(|_| self.random.below(rows)).collect();
            let mut out = self.upload(2 * rows * width);
            self.b.gather_rows(&src, &picks, width, &mut out);
            self.output(format!("gather_rows {rows} {width}"), &out, 2 * rows * width);
            self.b.gather_rows_backward(&out, &picks, width, &mut dst);
            self.output(format!("gather_rows_backward {rows} {width}"), &dst, rows * width);
            self.b.clear(&mut dst, width);
            self.output("clear", &dst, rows * width);
        }
    }

    fn dropout(&mut self) {
        for len in [1, 1000, 50_000] {
            for to in [Out::Set, Out::Add] {
                let (x, mut out) = (self.upload(len), self.upload(len));
                self.b.dropout(&x, len, Dropout { p: 0.3, key: 17 }, to, &mut out);
                self.output(format!("dropout {len} {to:?}"), &out, len);
            }
        }
    }

    fn embed(&mut self) {
        for (tokens, vocab, width) in [(4, 3, 5), (200, 50, 96)] {
            let values = self.random.floats(vocab * width);
            let ids = self.random.ids(tokens, vocab);
            let mut out = self.upload(tokens * width);
            for table in frozen(vocab, width, &values) {
                let dtype = table.format();
                let table = self.b.matrix(table);
                self.b.embed(&ids, Mat::Frozen(&table), width, &mut out);
                self.output(format!("embed {tokens} {vocab} {width} {dtype}"), &out, tokens * width);
                let dense = self.b.dense(&table);
                self.output(format!("dense {dtype}"), &dense, vocab * width);
            }
            let mut table = self.b.upload(&values);
            self.b.embed(&ids, Mat::Dense(&table), width, &mut out);
            self.output(format!("embed {tokens} {vocab} {width} dense"), &out, tokens * width);
            self.b.embed_backward(&ids, &out, width, &mut table);
            self.output("embed_backward", &table, vocab * width);
        }
    }

    fn rms_norm(&mut self) {
        for (rows, width) in [(1, 1), (3, 31), (200, 288), (40, 576)] {
            let len = rows * width;
            let [x, dout, weight] = [len, len, width].map(|len| self.upload(len));
            let [mut out, mut dx, mut dweight] = [len, len, width].map(|len| self.upload(len));
            self.b.rms_norm(&x, &weight, 1e-5, rows, width, &mut out);
            self.output(format!("rms_norm {rows} {width}"), &out, len);
            self.b.rms_norm_backward(&x, &weight, 1e-5, rows, width, &dout, &mut dx, Some(&mut dweight));
            self.output(format!("rms_norm dx {rows} {width}"), &dx, len);
            self.output(format!("rms_norm dweight {rows} {width}"), &dweight, width);
            self.b.rms_norm_backward(&x, &weight, 1e-5, rows, width, &dout, &mut dx, None);
            self.output(format!("rms_norm dx alone {rows} {width}"), &dx, len);
        }
    }

    fn lora(&mut self) {
        let cases: [(usize, usize, &[(usize, usize)]); 6] = [
            (1, 16, &[(4, 32)]),
            (70, 33, &[(3, 16), (8, 20)]),
            (64, 48, &[(8, 16)]),
            (131, 96, &[(8, 96), (8, 32), (4, 32)]),
            (300, 576, &[(16, 1536), (16, 1536)]),
            (90, 32, &[(40, 48), (1, 16)]),
        ];
        for (rows, inputs, shapes) in cases {
            let what = format!("lora {rows} {inputs} {shapes:?}");
            let x = self.upload(rows * inputs);
            let mut us: Vec<_> = shapes.iter().map(|s| self.upload(rows * s.0)).collect();
            let matrices: Vec<_> =
                shapes.iter().map(|s| [s.0 * inputs, s.1 * s.0].map(|len| self.upload(len))).collect();
            let mut branches: Vec<_> = shapes
                .iter()
                .zip(&matrices)
                .zip(&mut us)
                .map(|((s, [a, _]), u)| LoraIn { a, rank: s.0, u })
                .collect();
            self.b.lora_in(&x, rows, inputs, &mut branches);
            let (mut dys, mut weights) = (Vec::new(), Vec::new());
            for ((u, &(rank, outputs)), [_, b]) in us.iter().zip(shapes).zip(&matrices) {
                let mut y = self.upload(rows * outputs);
                self.b.lora_out(rows, &LoraOut { b, rank, outputs, scaling: 0.5, u }, &mut y);
                self.output(format!("{what}: u"), u, rows * rank);
                self.output(format!("{what}: y"), &y, rows * outputs);
                let (w, dims) = (self.upload(outputs * inputs), Dims { rows, inputs, outputs });
                for to in [Out::Set, Out::Add] {
                    let branch = LoraOut { b, rank, outputs, scaling: 0.5, u };
                    self.b.linear_lora(&x, Mat::Dense(&w), dims, &branch, to, &mut y);
                    self.output(format!("{what}: y with the weight, {to:?}"), &y, rows * outputs);
                }
                weights.push(w);
                dys.push(self.upload(rows * outputs));
            }
            let ranks: Vec<usize> = shapes.iter().map(|s| s.0).collect();
            // Through the branches alone, through all weights, through all but the last.
            let ways = [(Some(Out::Set), 0), (Some(Out::Add), 0), (None, 0), (None, 9)].into_iter();
            let ways =
                ways.chain([(Some(Out::Set), 9), (Some(Out::Add), 9), (Some(Out::Set), shapes.len() - 1)]);
            for (to, weighted) in ways {
                let mut du = self.b.upload(&vec![7.0; B::lora_scratch(rows, &ranks)]);
                let mut dx = self.upload(rows * inputs);
                let mut gradients: Vec<_> =
                    shapes.iter().map(|s| [s.0 * inputs, s.1 * s.0].map(|len| self.upload(len))).collect();
                let parts = shapes.iter().zip(&matrices).zip(&us).zip(&dys).zip(&mut gradients);
                let parts = parts.zip(&weights).enumerate();
                let mut branches: Vec<_> = parts
                    .map(|(i, (((((s, [a, b]), u), dy), [da, db]), w))| LoraBackward {
                        a,
                        b,
                        rank: s.0,
                        outputs: s.1,
                        scaling: -0.5,
                        u,
                        dy,
                        w: (i < weighted).then_some(Mat::Dense(w)),
                        da,
                        db,
                    })
                    .collect();
                self.b.lora_backward(&x, rows, inputs, &mut branches, &mut du, to.map(|to| (to, &mut dx)));
                for ([da, db], s) in gradients.iter().zip(shapes) {
                    self.output(format!("{what}: da"), da, s.0 * inputs);
                    self.output(format!("{what}: db"), db, s.1 * s.0);
                }
                self.output(format!("{what}: dx {to:?} with {weighted} weights"), &dx, rows * inputs);
            }
        }
    }

    fn linear(&mut self) {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 70, 90), (5, 33, 8), (130, 96, 70), (64, 8, 130)] {
            let dims = Dims { rows, inputs, outputs };
            for (alpha, to) in [(1.0, Out::Set), (-0.5, Out::Add)] {
                let [x, w, dy] = [rows * inputs, inputs * outputs, rows * outputs].map(|l| self.upload(l));
                let [mut dx, mut dw, mut y] =
                    [rows * inputs, inputs * outputs, rows * outputs].map(|l| self.upload(l));
                self.b.linear(&x, Mat::Dense(&w), dims, alpha, to, &mut y);
                self.b.linear_backward_input(&dy, Mat::Dense(&w), dims, alpha, to, &mut dx);
                self.b.linear_backward_weight(&dy, &x, dims, alpha, &mut dw);
                self.output(format!("linear y {dims:?} {to:?}"), &y, rows * outputs);
                self.output(format!("linear dx {dims:?} {to:?}"), &dx, rows * inputs);
                self.output(format!("linear dw {dims:?} {to:?}"), &dw, inputs * outputs);
            }
        }
    }

    fn linear_of_half(&mut self) {
        for (rows, inputs, outputs) in [(1, 75, 64), (3, 20, 9), (100, 65, 130)] {
            let dims = Dims { rows, inputs, outputs };
            let values = self.random.floats(inputs * outputs);
            for w in frozen(outputs, inputs, &values) {
                let dtype = w.format();
                let w = self.b.matrix(w);
                let [x, dy] = [rows * inputs, rows * outputs].map(|len| self.upload(len));
                let [mut dx, mut y] = [rows * inputs, rows * outputs].map(|len| self.upload(len));
                self.b.linear(&x, Mat::Frozen(&w), dims, 0.5, Out::Set, &mut y);
                self.b.linear_backward_input(&dy, Mat::Frozen(&w), dims, 2.0, Out::Add, &mut dx);
                self.output(format!("linear y {dims:?} {dtype}"), &y, rows * outputs);
                self.output(format!("linear dx {dims:?} {dtype}"), &dx, rows * inputs);
            }
        }
    }

    fn rope(&mut self) {
        for (rows, heads, dim) in [(1, 1, 2), (50, 3, 10), (300, 2, 64)] {
            let positions = self.random.ids(rows, 3000);
            let inv_freq: Vec<f64> =
                (0..dim / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / dim as f64)).collect();
            let table = self.b.rope_table(&positions, &inv_freq);
            self.output(format!("rope_table {rows} {dim}"), &table, rows * dim);
            let mut x = self.upload(rows * heads * dim);
            for direction in [RopeDirection::Forward, RopeDirection::Backward, RopeDirection::Backward] {
                self.b.rope(&mut x, &table, rows, heads, dim, direction);
                self.output(format!("rope {rows} {heads} {dim} {direction:?}"), &x, rows * heads * dim);
            }
        }
    }

    fn attention_of(&mut self, heads: usize, kv_heads: usize, head_dim: usize, segments: &[Segment]) {
        let spec = Attention { heads, kv_heads, head_dim, scale: (head_dim as f64).powf(-0.5), segments };
        let q_rows = segments.iter().map(|s| s.q.end).max().unwrap_or(0);
        let kv_rows = segments.iter().map(|s| s.kv.end).max().unwrap_or(0);
        let (q_len, kv_len) = (q_rows * heads * head_dim, kv_rows * kv_heads * head_dim);
        let [q, k, v, dout] = [q_len, kv_len, kv_len, q_len].map(|len| self.upload(len));
        let [mut out, mut lse] = [q_len, q_rows * heads].map(|len| self.upload(len));
        self.b.attention(spec, &q, &k, &v, &mut out, &mut lse);
        let what = format!("{heads}/{kv_heads} heads of {head_dim}, {segments:?}");
        self.output(format!("attention {what}"), &out, q_len);
        self.output(format!("lse {what}"), &lse, q_rows * heads);
        let [mut dq, mut dk, mut dv] = [q_len, kv_len, kv_len].map(|len| self.upload(len));
        self.b.attention_backward(spec, &q, &k, &v, &out, &lse, &dout, &mut dq, &mut dk, &mut dv);
        self.output(format!("dq {what}"), &dq, q_len);
        self.output(format!("dk {what}"), &dk, kv_len);
        self.output(format!("dv {what}"), &dv, kv_len);
    }

    fn attention(&mut self) {
        // At least two keys: the gradient of a single key's score is zero, and no relative error is.
        self.attention_of(1, 1, 1, &packed(&[2]));
        self.attention_of(2, 2, 4, &packed(&[5, 1, 33]));
        self.attention_of(6, 2, 7, &packed(&[31, 32, 33, 65]));
        self.attention_of(4, 1, 40, &packed(&[2, 100, 17]));
        self.attention_of(4, 2, 16, &cached(&[(1, 50), (5, 70), (40, 100), (3, 3)]));
        self.attention_of(1, 1, 8, &cached(&[(2, 2)]));
        // Rows that belong to no segment keep what they had, before and between the segments.
        let (far, near) = (40..60, 3..20);
        self.attention_of(
            2,
            1,
            24,
            &[(far.clone(), far), (near.clone(), near)].map(|(q, kv)| Segment::new(q, kv)),
        );
    }

    fn attention_shared_prefix(&mut self) {
        self.attention_of(2, 1, 8, &shared(&[(3, &[2, 5])]));
        self.attention_of(6, 2, 7, &shared(&[(33, &[31, 40, 1, 70]), (5, &[]), (2, &[3, 2])]));
        self.attention_of(4, 4, 32, &shared(&[(40, &[100, 17, 64])]));
    }

    /// Passes over one cache: in each, every sequence gets so many new rows.
    fn cached_of(&mut self, heads: usize, kv_heads: usize, head_dim: usize, passes: &[&[usize]]) {
        for kind in [CacheType::F32, CacheType::F16, CacheType::Bf16] {
            let lengths: Vec<usize> =
                (0..passes[0].len()).map(|i| passes.iter().map(|pass| pass[i]).sum()).collect();
            let mut starts = vec![CACHE_BLOCK];
            for length in &lengths {
                starts.push((starts[starts.len() - 1] + length).next_multiple_of(CACHE_BLOCK));
            }
            let mut cache = self.b.cache(starts[lengths.len()], kv_heads, head_dim, kind);
            let mut held = vec![0; lengths.len()];
            for (n, pass) in passes.iter().enumerate() {
                let mut segments = Vec::new();
                let mut rows = 0;
                for (i, &new) in pass.iter().enumerate().filter(|(_, new)| **new > 0) {
                    held[i] += new;
                    segments.push(Segment::new(rows..rows + new, starts[i]..starts[i] + held[i]));
                    rows += new;
                }
                let scale = 1.0 / (head_dim as f64).sqrt();
                let spec = Attention { heads, kv_heads, head_dim, scale, segments: &segments };
                let (k, v) =
                    (self.upload(rows * kv_heads * head_dim), self.upload(rows * kv_heads * head_dim));
                let (q, mut out) =
                    (self.upload(rows * heads * head_dim), self.upload(rows * heads * head_dim));
                self.b.attention_cached(spec, &q, &k, &v, &mut cache, &mut out);
                let what =
                    format!("pass {n} over a cache of {kind:?}, [{heads}, {kv_heads}, {head_dim}] {held:?}");
                self.output(what, &out, rows * heads * head_dim);
            }
        }
    }

    fn attention_cached(&mut self) {
        self.cached_of(1, 1, 1, &[&[1], &[1]]);
        self.cached_of(6, 2, 7, &[&[33, 1, 5, 16], &[1, 1, 0, 1], &[4, 1, 30, 2], &[1, 3, 1, 1]]);
        self.cached_of(6, 6, 48, &[&[100, 15, 70], &[1, 1, 1], &[1, 1, 1]]);
        self.cached_of(9, 3, 64, &[&[1, 300], &[1, 1], &[0, 1]]);
        self.cached_of(2, 1, 80, &[&[200, 130], &[1, 4], &[5, 1]]);
    }

    fn attention_long(&mut self) {
        self.attention_of(6, 3, 64, &packed(&[300, 150]));
        self.attention_of(2, 1, 128, &cached(&[(1, 400), (130, 200)]));
    }

    fn swiglu(&mut self) {
        for (len, reach) in [(1, 1.0), (1000, 10.0), (50_000, 100.0)] {
            let gate: Vec<f32> = self.random.floats(len).iter().map(|x| x * reach).collect();
            let gate = self.b.upload(&gate);
            let up = self.upload(len);
            let [mut dup, mut out, mut dgate] = [(); 3].map(|()| self.upload(len));
            self.b.swiglu(&gate, &up, len, &mut out);
            self.b.swiglu_backward(&gate, &up, len, &mut dup, &mut dgate);
            self.output(format!("swiglu {len}"), &out, len);
            self.output(format!("swiglu dgate {len}"), &dgate, len);
            self.output(format!("swiglu dup {len}"), &dup, len);
        }
    }

    fn head_loss_of(&mut self, rows: usize, width: usize, vocab: usize) {
        let values: Vec<f32> = self.random.floats(vocab * width).iter().map(|x| 3.0 * x).collect();
        let hidden = self.upload(rows * width);
        let targets = self.random.ids(rows, vocab);
        let what = format!("{rows} {width} {vocab}");
        for head in frozen(vocab, width, &values) {
            let dtype = head.format();
            let head = self.b.matrix(head);
            let mut dhidden = self.upload(rows * width);
            let (head, dh) = (Mat::Frozen(&head), Some(&mut dhidden));
            let losses = self.b.head_loss(&hidden, head, &targets, width, vocab, 0.1, dh, None);
            self.output(format!("dhidden {what} {dtype}"), &dhidden, rows * width);
            self.outputs.push((format!("losses {what} {dtype}"), losses.iter().map(|&l| l as f32).collect()));
            let alone = self.b.head_loss(&hidden, head, &targets, width, vocab, 0.1, None, None);
            assert_eq!(alone, losses, "the loss does not depend on what else is asked");
        }
        let head = self.b.upload(&values);
        let [mut dhidden, mut dhead] = [rows * width, vocab * width].map(|len| self.upload(len));
        let (dh, dw) = (Some(&mut dhidden), Some(&mut dhead));
        let losses = self.b.head_loss(&hidden, Mat::Dense(&head), &targets, width, vocab, 0.1, dh, dw);
        self.output(format!("dhidden {what} dense"), &dhidden, rows * width);
        self.output(format!("dhead {what}"), &dhead, vocab * width);
        self.outputs.push((format!("losses {what} dense"), losses.iter().map(|&l| l as f32).collect()));
    }

    fn dora(&mut self) {
        for (rows, width) in [(1, 1), (3, 31), (200, 288)] {
            let len = rows * width;
            let [z, dy, magnitude] = [len, len, width].map(|len| self.upload(len));
            let mut norms: Vec<f32> = self.random.floats(width).iter().map(|n| n.abs() + 0.5).collect();
            norms[0] = 0.0; // a row of zeros
            let norms = self.b.upload(&norms);
            for to in [Out::Set, Out::Add] {
                let mut y = self.upload(len);
                self.b.dora(&z, &magnitude, &norms, rows, width, to, &mut y);
                self.output(format!("dora {rows} {width} {to:?}"), &y, len);
            }
            let [mut dz, mut dmagnitude] = [len, width].map(|len| self.upload(len));
            self.b.dora_backward(&z, &magnitude, &norms, &dy, rows, width, &mut dz, &mut dmagnitude);
            self.output(format!("dora dz {rows} {width}"), &dz, len);
            self.output(format!("dora dmagnitude {rows} {width}"), &dmagnitude, width);
            self.b.add_scaled(&z, -0.7, len, &mut dz);
            self.output(format!("add_scaled {len}"), &dz, len);
        }
    }

    fn dora_row_norms(&mut self) {
        for (rank, inputs, outputs) in [(1, 3, 2), (5, 70, 33), (8, 600, 90)] {
            let dims = Dims { rows: rank, inputs, outputs };
            let values = self.random.floats(outputs * inputs);
            let [a, b] = [rank * inputs, outputs * rank].map(|len| self.upload(len));
            let mut norms = self.upload(outputs);
            for w in frozen(outputs, inputs, &values) {
                let dtype = w.format();
                let w = self.b.matrix(w);
                self.b.row_norms(Mat::Frozen(&w), &a, &b, dims, 1.5, &mut norms);
                self.output(format!("row_norms {dims:?} {dtype}"), &norms, outputs);
            }
            let w = self.b.upload(&values);
            self.b.row_norms(Mat::Dense(&w), &a, &b, dims, 1.5, &mut norms);
            self.output(format!("row_norms {dims:?} dense"), &norms, outputs);
        }
        for block in BlockType::ALL {
            let dims = Dims { rows: 4, inputs: 512, outputs: 20 };
            let w = FrozenMatrix::from_f32(20, 512, &self.random.floats(20 * 512)).unwrap();
            let w = self.b.matrix(w.quantized(block).unwrap());
            let [a, b] = [4 * 512, 20 * 4].map(|len| self.upload(len));
            let mut norms = self.upload(20);
            self.b.row_norms(Mat::Frozen(&w), &a, &b, dims, 0.5, &mut norms);
            self.output(format!("row_norms {block}"), &norms, 20);
        }
    }

    fn head_loss(&mut self) {
        self.head_loss_of(1, 1, 2);
        self.head_loss_of(3, 5, 7);
        self.head_loss_of(70, 32, 515);
    }

    /// So many logits that they do not fit in one run.
    fn head_loss_in_runs(&mut self) {
        self.head_loss_of(260, 2, 33_000);
    }

    fn adamw(&mut self) {
        for len in [1, 77, 40_000] {
            let [mut parameter, mut m, gradient] = [(); 3].map(|()| self.upload(len));
            let mut v = self.b.zeros(len);
            for step in 1..4 {
                let update = AdamW {
                    learning_rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    step,
                    grad_scale: 0.7,
                };
                self.b.adamw(&mut parameter, &gradient, &mut m, &mut v, len, update);
            }
            self.output(format!("adamw parameter {len}"), &parameter, len);
            self.output(format!("adamw m {len}"), &m, len);
            self.output(format!("adamw v {len}"), &v, len);
        }
    }

    fn sum_squares(&mut self) {
        for len in [0, 1, 100, 8192, 100_001] {
            let x = self.upload(len);
            let sum = self.b.sum_squares(&x, len) as f32;
            self.outputs.push((format!("sum_squares {len}"), vec![sum]));
        }
    }
}
