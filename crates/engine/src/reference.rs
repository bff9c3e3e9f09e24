//! Naive loops in f64: what every other backend is checked against, and what finite differences
//! check in turn. Nothing here is clever, and nothing should become so.

use crate::backend::{AdamW, Attention, Backend, Dims, Mat, Out, RopeDirection};
use crate::{FrozenMatrix, random};

pub struct ReferenceBackend;

type Buf = Vec<f64>;

fn values<'a>(m: &Mat<'a, ReferenceBackend>) -> &'a [f64] {
    match m {
        Mat::Frozen(w) | Mat::Live(w) => w,
    }
}

fn put(slot: &mut f64, product: f64, out: Out) {
    let old = if out.accumulate { *slot } else { 0.0 };
    *slot = old + f64::from(out.scale) * product;
}

impl Backend for ReferenceBackend {
    type Buf = Buf;
    type Frozen = Buf;

    fn zeros(&self, len: usize) -> Buf {
        vec![0.0; len]
    }

    fn upload(&self, data: &[f32]) -> Buf {
        data.iter().map(|&x| f64::from(x)).collect()
    }

    fn download(&self, buf: &Buf, len: usize) -> Vec<f32> {
        buf[..len].iter().map(|&x| x as f32).collect()
    }

    fn write(&self, buf: &mut Buf, data: &[f32]) {
        for (b, &d) in buf.iter_mut().zip(data) {
            *b = f64::from(d);
        }
    }

    fn freeze(&self, matrix: &FrozenMatrix) -> Buf {
        self.upload(&matrix.to_f32())
    }

    fn clear(&self, buf: &mut Buf, len: usize) {
        buf[..len].fill(0.0);
    }

    fn add(&self, y: &mut Buf, x: &Buf, len: usize) {
        for i in 0..len {
            y[i] += x[i];
        }
    }

    fn copy(&self, out: &mut Buf, x: &Buf, len: usize) {
        out[..len].copy_from_slice(&x[..len]);
    }

    fn copy_rows(&self, out: &mut Buf, at: usize, x: &Buf, rows: usize, width: usize) {
        out[at * width..(at + rows) * width].copy_from_slice(&x[..rows * width]);
    }

    fn gather_rows(&self, out: &mut Buf, x: &Buf, rows: &[u32], width: usize) {
        for (i, &r) in rows.iter().enumerate() {
            for c in 0..width {
                out[i * width + c] = x[r as usize * width + c];
            }
        }
    }

    fn gather_rows_backward(&self, dx: &mut Buf, d_out: &Buf, rows: &[u32], width: usize) {
        for (i, &r) in rows.iter().enumerate() {
            for c in 0..width {
                dx[r as usize * width + c] += d_out[i * width + c];
            }
        }
    }

    fn embedding(&self, out: &mut Buf, table: Mat<'_, Self>, ids: &[u32], width: usize) {
        self.gather_rows(out, &values(&table).to_vec(), ids, width);
    }

    fn embedding_backward(&self, d_table: &mut Buf, d_out: &Buf, ids: &[u32], width: usize) {
        self.gather_rows_backward(d_table, d_out, ids, width);
    }

    fn rmsnorm(&self, out: &mut Buf, x: &Buf, gain: &Buf, t: usize, c: usize, eps: f32) {
        for row in 0..t {
            let x = &x[row * c..(row + 1) * c];
            let rms = (x.iter().map(|v| v * v).sum::<f64>() / c as f64 + f64::from(eps)).sqrt();
            for i in 0..c {
                out[row * c + i] = gain[i] * x[i] / rms;
            }
        }
    }

    fn rmsnorm_backward(
        &self,
        dx: &mut Buf,
        mut d_gain: Option<&mut Buf>,
        d_out: &Buf,
        x: &Buf,
        gain: &Buf,
        t: usize,
        c: usize,
        eps: f32,
    ) {
        for row in 0..t {
            let at = row * c;
            let mean = (0..c).map(|i| x[at + i] * x[at + i]).sum::<f64>() / c as f64;
            let inv = 1.0 / (mean + f64::from(eps)).sqrt();
            let dot = (0..c).map(|i| d_out[at + i] * gain[i] * x[at + i]).sum::<f64>();
            for i in 0..c {
                dx[at + i] += inv * (gain[i] * d_out[at + i] - x[at + i] * dot * inv * inv / c as f64);
                if let Some(d_gain) = d_gain.as_deref_mut() {
                    d_gain[i] += d_out[at + i] * x[at + i] * inv;
                }
            }
        }
    }

    fn matmul(&self, y: &mut Buf, x: &Buf, w: Mat<'_, Self>, d: Dims, out: Out) {
        let w = values(&w);
        for t in 0..d.t {
            for n in 0..d.n {
                let product = (0..d.k).map(|k| x[t * d.k + k] * w[n * d.k + k]).sum();
                put(&mut y[t * d.n + n], product, out);
            }
        }
    }

    fn matmul_backward_input(&self, dx: &mut Buf, dy: &Buf, w: Mat<'_, Self>, d: Dims, out: Out) {
        let w = values(&w);
        for t in 0..d.t {
            for k in 0..d.k {
                let product = (0..d.n).map(|n| dy[t * d.n + n] * w[n * d.k + k]).sum();
                put(&mut dx[t * d.k + k], product, out);
            }
        }
    }

    fn matmul_backward_weight(&self, dw: &mut Buf, dy: &Buf, x: &Buf, d: Dims, out: Out) {
        for n in 0..d.n {
            for k in 0..d.k {
                let product = (0..d.t).map(|t| dy[t * d.n + n] * x[t * d.k + k]).sum();
                put(&mut dw[n * d.k + k], product, out);
            }
        }
    }

    fn dropout(&self, out: &mut Buf, x: &Buf, len: usize, p: f32, key: u64, accumulate: bool) {
        for i in 0..len {
            let kept = if random::keeps(key, i as u64, p) { x[i] / (1.0 - f64::from(p)) } else { 0.0 };
            out[i] = if accumulate { out[i] + kept } else { kept };
        }
    }

    fn rope(
        &self,
        x: &mut Buf,
        cos: &Buf,
        sin: &Buf,
        t: usize,
        heads: usize,
        head_dim: usize,
        direction: RopeDirection,
    ) {
        let half = head_dim / 2;
        let sign = if direction == RopeDirection::Forward { 1.0 } else { -1.0 };
        for row in 0..t {
            for head in 0..heads {
                let at = (row * heads + head) * head_dim;
                for i in 0..half {
                    let (c, s) = (cos[row * half + i], sign * sin[row * half + i]);
                    let (a, b) = (x[at + i], x[at + half + i]);
                    x[at + i] = a * c - b * s;
                    x[at + half + i] = b * c + a * s;
                }
            }
        }
    }

    fn attention(&self, out: &mut Buf, lse: &mut Buf, q: &Buf, k: &Buf, v: &Buf, shape: &Attention<'_>) {
        for_each_query(shape, |t, head, keys| {
            let scores = scores(q, k, t, head, keys.clone(), shape);
            let (p, row_lse) = softmax(&scores);
            lse[t * shape.heads + head] = row_lse;
            weighted_values(out, &p, v, t, head, keys, shape);
        });
    }

    fn attention_backward(
        &self,
        grads: (&mut Buf, &mut Buf, &mut Buf),
        d_out: &Buf,
        _out: &Buf,
        _lse: &Buf,
        qkv: (&Buf, &Buf, &Buf),
        shape: &Attention<'_>,
    ) {
        let ((dq, dk, dv), (q, k, v)) = (grads, qkv);
        let (heads, kv_heads, dim, t) = (shape.heads, shape.kv_heads, shape.head_dim, shape.tokens());
        dq[..t * heads * dim].fill(0.0);
        dk[..t * kv_heads * dim].fill(0.0);
        dv[..t * kv_heads * dim].fill(0.0);
        let scale = 1.0 / (dim as f64).sqrt();
        for_each_query(shape, |t, head, keys| {
            let (p, _) = softmax(&scores(q, k, t, head, keys.clone(), shape));
            let kv = head / (heads / kv_heads);
            let d_row = &d_out[(t * heads + head) * dim..][..dim];
            let dp: Vec<f64> = keys
                .clone()
                .map(|j| (0..dim).map(|d| d_row[d] * v[(j * kv_heads + kv) * dim + d]).sum())
                .collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for (i, j) in keys.enumerate() {
                let ds = p[i] * (dp[i] - mean) * scale;
                for d in 0..dim {
                    let (qi, ki) = ((t * heads + head) * dim + d, (j * kv_heads + kv) * dim + d);
                    dq[qi] += ds * k[ki];
                    dk[ki] += ds * q[qi];
                    dv[ki] += p[i] * d_row[d];
                }
            }
        });
    }

    fn attention_cached(
        &self,
        out: &mut Buf,
        q: &Buf,
        k_cache: &Buf,
        v_cache: &Buf,
        past: usize,
        t: usize,
        shape: &Attention<'_>,
    ) {
        for row in 0..t {
            for head in 0..shape.heads {
                let (p, _) = softmax(&scores(q, k_cache, row, head, 0..past + row + 1, shape));
                weighted_values(out, &p, v_cache, row, head, 0..past + row + 1, shape);
            }
        }
    }

    fn swiglu(&self, out: &mut Buf, gate: &Buf, up: &Buf, len: usize) {
        for i in 0..len {
            out[i] = gate[i] / (1.0 + (-gate[i]).exp()) * up[i];
        }
    }

    fn swiglu_backward(
        &self,
        d_gate: &mut Buf,
        d_up: &mut Buf,
        d_out: &Buf,
        gate: &Buf,
        up: &Buf,
        len: usize,
    ) {
        for i in 0..len {
            let s = 1.0 / (1.0 + (-gate[i]).exp());
            d_up[i] = d_out[i] * gate[i] * s;
            d_gate[i] = d_out[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
        }
    }

    fn cross_entropy(
        &self,
        logits: &mut Buf,
        targets: &[u32],
        vocab: usize,
        grad_scale: Option<f32>,
    ) -> Vec<f64> {
        let mut losses = Vec::with_capacity(targets.len());
        for (row, &target) in logits.chunks_exact_mut(vocab).zip(targets) {
            let (p, lse) = softmax(row);
            losses.push(lse - row[target as usize]);
            if let Some(scale) = grad_scale {
                for (l, p) in row.iter_mut().zip(&p) {
                    *l = f64::from(scale) * p;
                }
                row[target as usize] -= f64::from(scale);
            }
        }
        losses
    }

    fn adamw(&self, value: &mut Buf, grad: &Buf, m: &mut Buf, v: &mut Buf, len: usize, h: &AdamW) {
        let correction1 = 1.0 - h.beta1.powf(h.step as f64);
        let correction2 = 1.0 - h.beta2.powf(h.step as f64);
        for i in 0..len {
            let g = grad[i] * h.grad_scale;
            m[i] = h.beta1 * m[i] + (1.0 - h.beta1) * g;
            v[i] = h.beta2 * v[i] + (1.0 - h.beta2) * g * g;
            let update = (m[i] / correction1) / ((v[i] / correction2).sqrt() + h.eps);
            value[i] -= h.lr * (update + h.weight_decay * value[i]);
        }
    }

    fn sum_squares(&self, x: &Buf, len: usize) -> f64 {
        x[..len].iter().map(|x| x * x).sum()
    }
}

/// Every (token, head) with the range of keys it sees.
fn for_each_query(shape: &Attention<'_>, mut f: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    for w in shape.segments.windows(2) {
        for t in w[0] as usize..w[1] as usize {
            for head in 0..shape.heads {
                f(t, head, w[0] as usize..t + 1);
            }
        }
    }
}

fn scores(
    q: &[f64],
    k: &[f64],
    t: usize,
    head: usize,
    keys: std::ops::Range<usize>,
    shape: &Attention<'_>,
) -> Vec<f64> {
    let (dim, kv) = (shape.head_dim, head / (shape.heads / shape.kv_heads));
    let q = &q[(t * shape.heads + head) * dim..][..dim];
    keys.map(|j| {
        let k = &k[(j * shape.kv_heads + kv) * dim..][..dim];
        q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
    })
    .collect()
}

fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
    (scores.iter().map(|s| (s - lse).exp()).collect(), lse)
}

fn weighted_values(
    out: &mut [f64],
    p: &[f64],
    v: &[f64],
    t: usize,
    head: usize,
    keys: std::ops::Range<usize>,
    shape: &Attention<'_>,
) {
    let (dim, kv) = (shape.head_dim, head / (shape.heads / shape.kv_heads));
    for d in 0..dim {
        let sum = keys.clone().zip(p).map(|(j, p)| p * v[(j * shape.kv_heads + kv) * dim + d]).sum();
        out[(t * shape.heads + head) * dim + d] = sum;
    }
}
