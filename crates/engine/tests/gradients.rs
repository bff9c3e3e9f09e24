//! Every backward of the reference backend against central finite differences in f64.
#![allow(clippy::unwrap_used)] // also in helpers, which clippy does not take for tests

mod common;

use common::{Random, assert_close, cached, packed, shared};
use tolmach_engine::{
    Attention, Backend, Dims, Dropout, FrozenMatrix, Mat, Out, ReferenceBackend, RopeDirection, Segment,
};

const B: ReferenceBackend = ReferenceBackend;
const TOLERANCE: f64 = 1e-6;

/// A scalar to differentiate: the sum of `outputs` weighted by fixed numbers, so that
/// d scalar / d outputs = `weights`.
fn dot(outputs: &[f64], weights: &[f64]) -> f64 {
    assert_eq!(outputs.len(), weights.len());
    outputs.iter().zip(weights).map(|(o, w)| o * w).sum()
}

/// Each of `gradients` is d f / d of the input at the same place.
fn check(what: &str, inputs: &[Vec<f64>], gradients: &[&[f64]], f: impl Fn(&[Vec<f64>]) -> f64) {
    let h = 1e-5;
    let mut moved = inputs.to_vec();
    for (i, gradient) in gradients.iter().enumerate() {
        let numeric: Vec<f64> = (0..inputs[i].len())
            .map(|j| {
                moved[i][j] = inputs[i][j] + h;
                let above = f(&moved);
                moved[i][j] = inputs[i][j] - h;
                let below = f(&moved);
                moved[i][j] = inputs[i][j];
                (above - below) / (2.0 * h)
            })
            .collect();
        assert_close(&format!("{what}, input {i}"), gradient, &numeric, TOLERANCE);
    }
}

#[test]
fn rms_norm() {
    let mut random = Random::new("rms_norm");
    for (rows, width) in [(1, 1), (3, 5), (4, 17)] {
        let (x, weight, dout) =
            (random.values(rows * width), random.values(width), random.values(rows * width));
        // Gradients are added to what is there.
        let (old_dx, old_dweight) = (random.values(x.len()), random.values(width));
        let (mut dx, mut dweight) = (old_dx.clone(), old_dweight.clone());
        B.rms_norm_backward(&x, &weight, 1e-3, rows, width, &dout, &mut dx, Some(&mut dweight));
        subtract(&mut dx, &old_dx);
        subtract(&mut dweight, &old_dweight);
        check("rms_norm", &[x, weight], &[&dx, &dweight], |inputs| {
            let mut out = B.zeros(rows * width);
            B.rms_norm(&inputs[0], &inputs[1], 1e-3, rows, width, &mut out);
            dot(&out, &dout)
        });
    }
}

#[test]
fn linear() {
    let mut random = Random::new("linear");
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 5, 4), (7, 2, 9)] {
        let dims = Dims { rows, inputs, outputs };
        let (x, w) = (random.values(rows * inputs), random.values(outputs * inputs));
        let dy = random.values(rows * outputs);
        let (mut dx, old_dw) = (B.zeros(x.len()), random.values(w.len()));
        let mut dw = old_dw.clone();
        B.linear_backward_input(&dy, Mat::Dense(&w), dims, 0.7, Out::Set, &mut dx);
        B.linear_backward_weight(&dy, &x, dims, 0.7, &mut dw);
        subtract(&mut dw, &old_dw);
        check("linear", &[x.clone(), w.clone()], &[&dx, &dw], |i| {
            let mut y = B.zeros(rows * outputs);
            B.linear(&i[0], Mat::Dense(&i[1]), dims, 0.7, Out::Set, &mut y);
            dot(&y, &dy)
        });
        let mut twice = dx.clone();
        B.linear_backward_input(&dy, Mat::Dense(&w), dims, 0.7, Out::Add, &mut twice);
        dx.iter_mut().for_each(|d| *d *= 2.0);
        assert_close("linear, Out::Add", &twice, &dx, 1e-12);
    }
}

#[test]
fn frozen_and_dense_weights_are_the_same_matrix() {
    let mut random = Random::new("frozen");
    let dims = Dims { rows: 3, inputs: 5, outputs: 4 };
    let (x, w) = (random.values(15), random.floats(20));
    let dense = B.upload(&w);
    let frozen = B.matrix(FrozenMatrix::from_f32(4, 5, &w).unwrap());
    let (mut y, mut z) = (B.zeros(12), B.zeros(12));
    B.linear(&x, Mat::Dense(&dense), dims, 1.0, Out::Set, &mut y);
    B.linear(&x, Mat::Frozen(&frozen), dims, 1.0, Out::Set, &mut z);
    assert_eq!(y, z);
}

/// The norms are inputs of the operation, so nothing moves with them.
#[test]
fn dora() {
    let mut random = Random::new("dora");
    for (rows, width) in [(1, 1), (3, 5), (4, 17)] {
        let (z, dy) = (random.values(rows * width), random.values(rows * width));
        let magnitude = random.values(width);
        let norms: Vec<f64> = random.values(width).iter().map(|n| n.abs() + 0.5).collect();
        let (mut dz, old) = (random.values(rows * width), random.values(width));
        let mut dmagnitude = old.clone();
        B.dora_backward(&z, &magnitude, &norms, &dy, rows, width, &mut dz, &mut dmagnitude);
        subtract(&mut dmagnitude, &old);
        check("dora", &[z, magnitude], &[&dz, &dmagnitude], |i| {
            let mut y = B.zeros(rows * width);
            B.dora(&i[0], &i[1], &norms, rows, width, Out::Set, &mut y);
            dot(&y, &dy)
        });
    }
}

#[test]
fn rope() {
    let mut random = Random::new("rope");
    let (rows, heads, dim) = (3, 2, 6);
    let table = B.rope_table(&[0, 3, 1], &[1.0, 0.3, 0.01]);
    assert_eq!(table.len(), rows * dim);
    let (x, dout) = (random.values(rows * heads * dim), random.values(rows * heads * dim));
    let mut dx = dout.clone();
    B.rope(&mut dx, &table, rows, heads, dim, RopeDirection::Backward);
    check("rope", &[x], &[&dx], |i| {
        let mut out = i[0].clone();
        B.rope(&mut out, &table, rows, heads, dim, RopeDirection::Forward);
        dot(&out, &dout)
    });
}

fn attention_forward(spec: Attention, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut lse) = (B.zeros(q.len()), B.zeros(q.len() / spec.head_dim));
    B.attention(spec, &q.to_vec(), &k.to_vec(), &v.to_vec(), &mut out, &mut lse);
    (out, lse)
}

fn check_attention(heads: usize, kv_heads: usize, head_dim: usize, segments: &[Segment]) {
    let mut random = Random::new("attention");
    let spec = Attention { heads, kv_heads, head_dim, scale: 1.3, segments };
    let end = |f: fn(&Segment) -> usize| segments.iter().map(f).max().unwrap();
    let (q_rows, kv_rows) = (end(|s| s.q.end), end(|s| s.kv.end));
    let q = random.values(q_rows * heads * head_dim);
    let (k, v) = (random.values(kv_rows * kv_heads * head_dim), random.values(kv_rows * kv_heads * head_dim));
    let dout = random.values(q.len());
    let (out, lse) = attention_forward(spec, &q, &k, &v);
    // The backward sets: what was there before does not matter.
    let (mut dq, mut dk, mut dv) = (random.values(q.len()), random.values(k.len()), random.values(v.len()));
    B.attention_backward(spec, &q, &k, &v, &out, &lse, &dout, &mut dq, &mut dk, &mut dv);
    let what = format!("attention {heads}/{kv_heads} heads of {head_dim}, {segments:?}");
    check(&what, &[q, k, v], &[&dq, &dk, &dv], |i| {
        dot(&attention_forward(spec, &i[0], &i[1], &i[2]).0, &dout)
    });
}

#[test]
fn attention() {
    check_attention(1, 1, 1, &packed(&[3]));
    check_attention(2, 2, 4, &packed(&[5, 1, 3]));
    check_attention(6, 2, 3, &packed(&[4, 6]));
    check_attention(4, 1, 5, &packed(&[1, 7, 2]));
}

#[test]
fn attention_after_a_cache() {
    check_attention(2, 1, 3, &cached(&[(1, 5), (2, 4), (3, 3)]));
}

#[test]
fn attention_after_a_shared_prefix() {
    check_attention(2, 1, 3, &shared(&[(3, &[2, 4])]));
    check_attention(4, 2, 2, &shared(&[(2, &[1, 2, 3]), (1, &[2, 1])]));
}

/// Examples behind a shared prefix get what each gets alone, and the prefix the sum.
#[test]
fn a_shared_prefix_is_every_example_by_itself() {
    let mut random = Random::new("shared");
    let (prefix, lengths) = (3, [2, 4]);
    let segments = shared(&[(prefix, &lengths)]);
    let (heads, kv_heads, dim) = (2, 1, 4);
    fn spec(segments: &[Segment]) -> Attention<'_> {
        Attention { heads: 2, kv_heads: 1, head_dim: 4, scale: 0.7, segments }
    }
    let (q_width, kv_width, rows) = (heads * dim, kv_heads * dim, 9);
    let (q, dout) = (random.values(rows * q_width), random.values(rows * q_width));
    let (k, v) = (random.values(rows * kv_width), random.values(rows * kv_width));
    let backward = |segments: &[Segment], q: &Vec<f64>, k: &Vec<f64>, v: &Vec<f64>, dout: &Vec<f64>| {
        let spec = spec(segments);
        let (out, lse) = attention_forward(spec, q, k, v);
        let (mut dq, mut dk, mut dv) = (B.zeros(q.len()), B.zeros(k.len()), B.zeros(v.len()));
        B.attention_backward(spec, q, k, v, &out, &lse, dout, &mut dq, &mut dk, &mut dv);
        (out, dk)
    };
    let (out, dk) = backward(&segments, &q, &k, &v, &dout);
    let mut dk_sum = vec![0.0; prefix * kv_width];
    let mut start = prefix;
    for (n, len) in lengths.into_iter().enumerate() {
        let alone = packed(&[prefix + len]);
        let pick = |x: &[f64], width: usize| {
            [&x[..prefix * width], &x[start * width..(start + len) * width]].concat()
        };
        // The prefix's own queries count once, not once per example.
        let mut dout = pick(&dout, q_width);
        dout[..prefix * q_width].iter_mut().for_each(|x| *x *= f64::from(n == 0));
        let (out_alone, dk_alone) =
            backward(&alone, &pick(&q, q_width), &pick(&k, kv_width), &pick(&v, kv_width), &dout);
        assert_close("out", &pick(&out, q_width), &out_alone, 1e-14);
        assert_close(
            "dk",
            &dk[start * kv_width..(start + len) * kv_width],
            &dk_alone[prefix * kv_width..],
            1e-13,
        );
        dk_sum.iter_mut().zip(&dk_alone).for_each(|(sum, x)| *sum += x);
        start += len;
    }
    assert_close("dk of the prefix", &dk[..prefix * kv_width], &dk_sum, 1e-13);
}

/// A change of a later key, or of another segment, changes nothing before or beside it.
#[test]
fn unsloth_126_packing_does_not_leak_between_segments() {
    let mut random = Random::new("leak");
    let segments = packed(&[4, 3]);
    let spec = Attention { heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, segments: &segments };
    let (q, mut k, mut v) = (random.values(7 * 8), random.values(7 * 4), random.values(7 * 4));
    let (before, _) = attention_forward(spec, &q, &k, &v);
    for d in 0..4 {
        k[2 * 4 + d] += 1.0;
        v[2 * 4 + d] += 1.0;
    }
    let (after, _) = attention_forward(spec, &q, &k, &v);
    for row in 0..7 {
        let same = before[row * 8..row * 8 + 8] == after[row * 8..row * 8 + 8];
        assert_eq!(same, row != 2 && row != 3, "row {row}: only rows 2 and 3 see key 2");
    }
}

#[test]
fn swiglu() {
    let mut random = Random::new("swiglu");
    let wide = |random: &mut Random| random.values(20).iter().map(|x| 8.0 * x).collect::<Vec<_>>();
    let (gate, up, dout) = (wide(&mut random), wide(&mut random), random.values(20));
    let (mut dgate, mut dup) = (random.values(20), dout.clone());
    B.swiglu_backward(&gate, &up, 20, &mut dup, &mut dgate);
    check("swiglu", &[gate, up], &[&dgate, &dup], |i| {
        let mut out = B.zeros(20);
        B.swiglu(&i[0], &i[1], 20, &mut out);
        dot(&out, &dout)
    });
}

#[test]
fn dropout() {
    let mut random = Random::new("dropout");
    let (x, dout) = (random.values(50), random.values(50));
    let spec = Dropout { p: 0.3, key: 99 };
    let mut dx = B.zeros(50);
    B.dropout(&dout, 50, spec, Out::Set, &mut dx);
    assert!(dx.contains(&0.0) && dx.iter().any(|d| *d != 0.0));
    check("dropout", &[x], &[&dx], |i| {
        let mut out = B.zeros(50);
        B.dropout(&i[0], 50, spec, Out::Set, &mut out);
        dot(&out, &dout)
    });
}

#[test]
fn embedding_and_gather() {
    let mut random = Random::new("embedding");
    let (ids, width) = ([2u32, 0, 2, 4, 2], 3);
    let (table, dout) = (random.values(5 * width), random.values(ids.len() * width));
    let mut dtable = B.zeros(table.len());
    B.embed_backward(&ids, &dout, width, &mut dtable);
    check("embed", std::slice::from_ref(&table), &[&dtable], |i| {
        let mut out = B.zeros(dout.len());
        B.embed(&ids, Mat::Dense(&i[0]), width, &mut out);
        dot(&out, &dout)
    });
    let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
    let mut dx = B.zeros(table.len());
    B.gather_rows_backward(&dout, &rows, width, &mut dx);
    check("gather_rows", &[table], &[&dx], |i| {
        let mut out = B.zeros(dout.len());
        B.gather_rows(&i[0], &rows, width, &mut out);
        dot(&out, &dout)
    });
}

#[test]
fn head_loss() {
    let mut random = Random::new("head_loss");
    let (rows, width, vocab) = (4, 3, 7);
    let (hidden, head) = (random.values(rows * width), random.values(vocab * width));
    let targets = random.ids(rows, vocab);
    let scale = 0.3;
    let loss = |hidden: &Vec<f64>, head: &Vec<f64>| {
        B.head_loss(hidden, Mat::Dense(head), &targets, width, vocab, scale, None, None)
    };
    let (mut dhidden, old_dhead) = (random.values(hidden.len()), random.values(head.len()));
    let mut dhead = old_dhead.clone();
    let losses = B.head_loss(
        &hidden,
        Mat::Dense(&head),
        &targets,
        width,
        vocab,
        scale,
        Some(&mut dhidden),
        Some(&mut dhead),
    );
    assert_eq!(losses, loss(&hidden, &head));
    assert!(losses.iter().all(|l| *l > 0.0));
    subtract(&mut dhead, &old_dhead);
    check("head_loss", &[hidden, head], &[&dhidden, &dhead], |i| {
        scale * loss(&i[0], &i[1]).iter().sum::<f64>()
    });
}

/// `torch.optim.AdamW(lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5)` on one parameter, by hand:
/// without decay the first step moves by the learning rate against the gradient's sign.
#[test]
fn adamw_first_steps_by_hand() {
    let update = |step| tolmach_engine::AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.5,
        step,
        grad_scale: 0.5,
    };
    let (mut p, mut m, mut v) = (vec![1.0], vec![0.0], vec![0.0]);
    B.adamw(&mut p, &vec![4.0], &mut m, &mut v, 1, update(1));
    assert_close("first step", &p, &[1.0 - 0.1 * 0.5 - 0.1], 1e-7);
    B.adamw(&mut p, &vec![-4.0], &mut m, &mut v, 1, update(2));
    // m = 0.9·0.2 − 0.1·2 = −0.02, m̂ = −0.02 / 0.19; v̂ = 4.
    assert_close("second step", &p, &[0.85 - 0.1 * 0.5 * 0.85 + 0.1 * (0.02 / 0.19) / 2.0], 1e-7);
}

fn subtract(from: &mut [f64], old: &[f64]) {
    for (f, o) in from.iter_mut().zip(old) {
        *f -= o;
    }
}
