//! Naive loops in f64: what every other backend is checked against, and what finite differences
//! check in turn. Nothing here is clever, and nothing should become so.

use crate::backend::{AdamW, Attention, Backend, CacheType, Dims, Dropout, Mat, Out, RopeDirection};
use crate::{FrozenMatrix, random};

/// The slow, obviously correct twin of every other backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceBackend;

/// A frozen weight `[rows, cols]` as f64.
pub struct Dense {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

/// Keys and values `[rows, K, D]`, rounded as they are stored.
pub struct Cached {
    kind: CacheType,
    /// K · D
    width: usize,
    k: Buffer,
    v: Buffer,
}

impl Cached {
    fn round(&self, x: f64) -> f64 {
        match self.kind {
            CacheType::F32 => x,
            CacheType::F16 => half::f16::from_f32(x as f32).to_f64(),
            CacheType::Bf16 => half::bf16::from_f32(x as f32).to_f64(),
        }
    }
}

type Buffer = Vec<f64>;

/// The values of a weight that must be `[rows, cols]`.
fn weight<'a>(w: Mat<'a, ReferenceBackend>, rows: usize, cols: usize) -> &'a [f64] {
    match w {
        Mat::Frozen(w) => {
            assert_eq!((w.rows, w.cols), (rows, cols), "shape of a frozen weight");
            &w.values
        }
        Mat::Dense(w) => &w[..rows * cols],
    }
}

fn put(slot: &mut f64, value: f64, to: Out) {
    match to {
        Out::Set => *slot = value,
        Out::Add => *slot += value,
    }
}

impl Backend for ReferenceBackend {
    type Buffer = Buffer;
    type Matrix = Dense;
    type Cache = Cached;

    fn zeros(&self, len: usize) -> Buffer {
        vec![0.0; len]
    }

    fn len(&self, buffer: &Buffer) -> usize {
        buffer.len()
    }

    fn upload(&self, values: &[f32]) -> Buffer {
        values.iter().map(|&x| f64::from(x)).collect()
    }

    fn download(&self, buffer: &Buffer, out: &mut [f32]) {
        for i in 0..out.len() {
            out[i] = buffer[i] as f32;
        }
    }

    fn write(&self, values: &[f32], buffer: &mut Buffer) {
        for i in 0..values.len() {
            buffer[i] = f64::from(values[i]);
        }
    }

    fn clear(&self, buffer: &mut Buffer, len: usize) {
        buffer[..len].fill(0.0);
    }

    fn matrix(&self, weight: FrozenMatrix) -> Dense {
        Dense { rows: weight.rows(), cols: weight.cols(), values: self.upload(&weight.to_f32()) }
    }

    fn dense(&self, weight: &Dense) -> Buffer {
        weight.values.clone()
    }

    fn copy_rows(
        &self,
        src: &Buffer,
        src_row: usize,
        dst: &mut Buffer,
        dst_row: usize,
        rows: usize,
        width: usize,
    ) {
        for i in 0..rows * width {
            dst[dst_row * width + i] = src[src_row * width + i];
        }
    }

    fn gather_rows(&self, x: &Buffer, rows: &[usize], width: usize, out: &mut Buffer) {
        for i in 0..rows.len() {
            for c in 0..width {
                out[i * width + c] = x[rows[i] * width + c];
            }
        }
    }

    fn gather_rows_backward(&self, dout: &Buffer, rows: &[usize], width: usize, dx: &mut Buffer) {
        for i in 0..rows.len() {
            for c in 0..width {
                dx[rows[i] * width + c] += dout[i * width + c];
            }
        }
    }

    fn dropout(&self, x: &Buffer, len: usize, dropout: Dropout, to: Out, out: &mut Buffer) {
        for i in 0..len {
            let kept = random::keep(dropout.key, i as u64, dropout.p);
            let value = if kept { x[i] / (1.0 - f64::from(dropout.p)) } else { 0.0 };
            put(&mut out[i], value, to);
        }
    }

    fn embed(&self, ids: &[u32], table: Mat<Self>, width: usize, out: &mut Buffer) {
        let table = match table {
            Mat::Frozen(table) => {
                assert_eq!(table.cols, width, "width of the embedding table");
                &table.values
            }
            Mat::Dense(table) => table,
        };
        for t in 0..ids.len() {
            for c in 0..width {
                out[t * width + c] = table[ids[t] as usize * width + c];
            }
        }
    }

    fn embed_backward(&self, ids: &[u32], dout: &Buffer, width: usize, dtable: &mut Buffer) {
        for t in 0..ids.len() {
            for c in 0..width {
                dtable[ids[t] as usize * width + c] += dout[t * width + c];
            }
        }
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f64, rows: usize, width: usize, out: &mut Buffer) {
        for t in 0..rows {
            let x = &x[t * width..][..width];
            let rms = root_mean_square(x, eps);
            for c in 0..width {
                out[t * width + c] = x[c] / rms * weight[c];
            }
        }
    }

    // With g = dout · weight:  dx = (g − x · (g · x) / (C · rms²)) / rms,  dweight = Σ dout · x / rms.
    fn rms_norm_backward(
        &self,
        x: &Buffer,
        weight: &Buffer,
        eps: f64,
        rows: usize,
        width: usize,
        dout: &Buffer,
        dx: &mut Buffer,
        mut dweight: Option<&mut Buffer>,
    ) {
        for t in 0..rows {
            let (x, dout) = (&x[t * width..][..width], &dout[t * width..][..width]);
            let rms = root_mean_square(x, eps);
            let dot: f64 = (0..width).map(|c| dout[c] * weight[c] * x[c]).sum();
            for c in 0..width {
                let inner = dout[c] * weight[c] - x[c] * dot / (width as f64 * rms * rms);
                dx[t * width + c] += inner / rms;
                if let Some(dweight) = dweight.as_deref_mut() {
                    dweight[c] += dout[c] * x[c] / rms;
                }
            }
        }
    }

    fn linear(&self, x: &Buffer, w: Mat<Self>, dims: Dims, alpha: f64, to: Out, y: &mut Buffer) {
        let Dims { rows, inputs, outputs } = dims;
        let w = weight(w, outputs, inputs);
        for t in 0..rows {
            for o in 0..outputs {
                let dot: f64 = (0..inputs).map(|i| x[t * inputs + i] * w[o * inputs + i]).sum();
                put(&mut y[t * outputs + o], alpha * dot, to);
            }
        }
    }

    fn linear_backward_input(
        &self,
        dy: &Buffer,
        w: Mat<Self>,
        dims: Dims,
        alpha: f64,
        to: Out,
        dx: &mut Buffer,
    ) {
        let Dims { rows, inputs, outputs } = dims;
        let w = weight(w, outputs, inputs);
        for t in 0..rows {
            for i in 0..inputs {
                let dot: f64 = (0..outputs).map(|o| dy[t * outputs + o] * w[o * inputs + i]).sum();
                put(&mut dx[t * inputs + i], alpha * dot, to);
            }
        }
    }

    fn linear_backward_weight(&self, dy: &Buffer, x: &Buffer, dims: Dims, alpha: f64, dw: &mut Buffer) {
        let Dims { rows, inputs, outputs } = dims;
        for o in 0..outputs {
            for i in 0..inputs {
                let dot: f64 = (0..rows).map(|t| dy[t * outputs + o] * x[t * inputs + i]).sum();
                dw[o * inputs + i] += alpha * dot;
            }
        }
    }

    fn rope_table(&self, positions: &[u32], inv_freq: &[f64]) -> Buffer {
        let mut table = Vec::with_capacity(positions.len() * 2 * inv_freq.len());
        for &position in positions {
            table.extend(inv_freq.iter().map(|f| (f64::from(position) * f).cos()));
            table.extend(inv_freq.iter().map(|f| (f64::from(position) * f).sin()));
        }
        table
    }

    fn rope(
        &self,
        x: &mut Buffer,
        table: &Buffer,
        rows: usize,
        heads: usize,
        head_dim: usize,
        direction: RopeDirection,
    ) {
        let half = head_dim / 2;
        let sign = match direction {
            RopeDirection::Forward => 1.0,
            RopeDirection::Backward => -1.0,
        };
        for t in 0..rows {
            for h in 0..heads {
                let at = (t * heads + h) * head_dim;
                for i in 0..half {
                    let cos = table[t * head_dim + i];
                    let sin = sign * table[t * head_dim + half + i];
                    let (a, b) = (x[at + i], x[at + half + i]);
                    x[at + i] = a * cos - b * sin;
                    x[at + half + i] = b * cos + a * sin;
                }
            }
        }
    }

    fn attention(
        &self,
        spec: Attention,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        out: &mut Buffer,
        lse: &mut Buffer,
    ) {
        let dim = spec.head_dim;
        for_each_query(spec, |row, head, kv_head, keys| {
            let (p, denominator) = softmax(&scores(spec, q, k, row, head, keys));
            lse[row * spec.heads + head] = denominator;
            for d in 0..dim {
                out[(row * spec.heads + head) * dim + d] =
                    keys.iter().zip(&p).map(|(j, p)| p * v[(j * spec.kv_heads + kv_head) * dim + d]).sum();
            }
        });
    }

    // dP = dout · V;  dS = P · (dP − Σ P·dP) · scale;  dQ = dS · K;  dK = dSᵀ · Q;  dV = Pᵀ · dout.
    fn attention_backward(
        &self,
        spec: Attention,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        _out: &Buffer,
        _lse: &Buffer,
        dout: &Buffer,
        dq: &mut Buffer,
        dk: &mut Buffer,
        dv: &mut Buffer,
    ) {
        let dim = spec.head_dim;
        for segment in spec.segments {
            let (q_width, kv_width) = (spec.heads * dim, spec.kv_heads * dim);
            dq[segment.q.start * q_width..segment.q.end * q_width].fill(0.0);
            dk[segment.kv.start * kv_width..segment.kv.end * kv_width].fill(0.0);
            dv[segment.kv.start * kv_width..segment.kv.end * kv_width].fill(0.0);
        }
        for_each_query(spec, |row, head, kv_head, keys| {
            let (p, _) = softmax(&scores(spec, q, k, row, head, keys));
            let at_q = (row * spec.heads + head) * dim;
            let at_k = |j: usize| (j * spec.kv_heads + kv_head) * dim;
            let dp: Vec<f64> =
                keys.iter().map(|&j| (0..dim).map(|d| dout[at_q + d] * v[at_k(j) + d]).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for (i, &j) in keys.iter().enumerate() {
                let ds = p[i] * (dp[i] - mean) * spec.scale;
                for d in 0..dim {
                    dq[at_q + d] += ds * k[at_k(j) + d];
                    dk[at_k(j) + d] += ds * q[at_q + d];
                    dv[at_k(j) + d] += p[i] * dout[at_q + d];
                }
            }
        });
    }

    fn cache(&self, rows: usize, kv_heads: usize, head_dim: usize, kind: CacheType) -> Cached {
        let zeros = || vec![0.0; rows * kv_heads * head_dim];
        Cached { kind, width: kv_heads * head_dim, k: zeros(), v: zeros() }
    }

    fn cache_copy(&self, cache: &mut Cached, from: usize, to: usize, rows: usize) {
        let width = cache.width;
        for values in [&mut cache.k, &mut cache.v] {
            for i in 0..rows * width {
                values[to * width + i] = values[from * width + i];
            }
        }
    }

    fn attention_cached(
        &self,
        spec: Attention,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        cache: &mut Cached,
        out: &mut Buffer,
    ) {
        let width = spec.kv_heads * spec.head_dim;
        for segment in spec.segments {
            let first = segment.kv.end - segment.q.len();
            for (i, row) in segment.q.clone().enumerate() {
                for c in 0..width {
                    cache.k[(first + i) * width + c] = cache.round(k[row * width + c]);
                    cache.v[(first + i) * width + c] = cache.round(v[row * width + c]);
                }
            }
        }
        let rows = spec.segments.iter().map(|s| s.q.end).max().unwrap_or(0);
        self.attention(spec, q, &cache.k, &cache.v, out, &mut vec![0.0; rows * spec.heads]);
    }

    fn swiglu(&self, gate: &Buffer, up: &Buffer, len: usize, out: &mut Buffer) {
        for i in 0..len {
            out[i] = gate[i] * sigmoid(gate[i]) * up[i];
        }
    }

    // silu(x) = x · σ(x);  silu′(x) = σ(x) · (1 + x · (1 − σ(x))).
    fn swiglu_backward(&self, gate: &Buffer, up: &Buffer, len: usize, dout: &mut Buffer, dgate: &mut Buffer) {
        for i in 0..len {
            let s = sigmoid(gate[i]);
            dgate[i] = dout[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
            dout[i] *= gate[i] * s;
        }
    }

    // loss = lse(logits) − logits[target];  dlogits = (softmax(logits) − onehot(target)) · grad_scale.
    fn head_loss(
        &self,
        hidden: &Buffer,
        head: Mat<Self>,
        targets: &[u32],
        width: usize,
        vocab: usize,
        grad_scale: f64,
        mut dhidden: Option<&mut Buffer>,
        mut dhead: Option<&mut Buffer>,
    ) -> Vec<f64> {
        let head = weight(head, vocab, width);
        let mut losses = Vec::with_capacity(targets.len());
        for (n, &target) in targets.iter().enumerate() {
            let hidden = &hidden[n * width..][..width];
            let logits: Vec<f64> =
                (0..vocab).map(|o| (0..width).map(|c| hidden[c] * head[o * width + c]).sum()).collect();
            let (mut dlogits, lse) = softmax(&logits);
            losses.push(lse - logits[target as usize]);
            dlogits[target as usize] -= 1.0;
            for c in 0..width {
                if let Some(dhidden) = dhidden.as_deref_mut() {
                    let dot: f64 = (0..vocab).map(|o| dlogits[o] * head[o * width + c]).sum();
                    dhidden[n * width + c] = grad_scale * dot;
                }
                if let Some(dhead) = dhead.as_deref_mut() {
                    for o in 0..vocab {
                        dhead[o * width + c] += grad_scale * dlogits[o] * hidden[c];
                    }
                }
            }
        }
        losses
    }

    fn row_norms(&self, w: Mat<Self>, a: &Buffer, b: &Buffer, dims: Dims, scaling: f64, norms: &mut Buffer) {
        let Dims { rows: rank, inputs, outputs } = dims;
        let w = weight(w, outputs, inputs);
        for o in 0..outputs {
            let mut squares = 0.0;
            for i in 0..inputs {
                let update: f64 = (0..rank).map(|r| b[o * rank + r] * a[r * inputs + i]).sum();
                squares += (w[o * inputs + i] + scaling * update).powi(2);
            }
            norms[o] = squares.sqrt();
        }
    }

    fn dora(
        &self,
        z: &Buffer,
        magnitude: &Buffer,
        norms: &Buffer,
        rows: usize,
        width: usize,
        to: Out,
        y: &mut Buffer,
    ) {
        for t in 0..rows {
            for o in 0..width {
                let gain = if norms[o] == 0.0 { 0.0 } else { magnitude[o] / norms[o] };
                put(&mut y[t * width + o], gain * z[t * width + o], to);
            }
        }
    }

    fn dora_backward(
        &self,
        z: &Buffer,
        magnitude: &Buffer,
        norms: &Buffer,
        dy: &Buffer,
        rows: usize,
        width: usize,
        dz: &mut Buffer,
        dmagnitude: &mut Buffer,
    ) {
        for t in 0..rows {
            for o in 0..width {
                let i = t * width + o;
                let norm = norms[o];
                dz[i] = if norm == 0.0 { 0.0 } else { dy[i] * magnitude[o] / norm };
                dmagnitude[o] += if norm == 0.0 { 0.0 } else { dy[i] * z[i] / norm };
            }
        }
    }

    fn add_scaled(&self, x: &Buffer, alpha: f64, len: usize, y: &mut Buffer) {
        for i in 0..len {
            y[i] += alpha * x[i];
        }
    }

    fn sum_squares(&self, x: &Buffer, len: usize) -> f64 {
        x[..len].iter().map(|x| x * x).sum()
    }

    fn adamw(
        &self,
        parameter: &mut Buffer,
        gradient: &Buffer,
        m: &mut Buffer,
        v: &mut Buffer,
        len: usize,
        update: AdamW,
    ) {
        let AdamW { learning_rate, beta1, beta2, eps, weight_decay, step, grad_scale } = update;
        let correction1 = 1.0 - beta1.powf(step as f64);
        let correction2 = 1.0 - beta2.powf(step as f64);
        for i in 0..len {
            let g = gradient[i] * grad_scale;
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let direction = (m[i] / correction1) / ((v[i] / correction2).sqrt() + eps);
            parameter[i] -= learning_rate * (direction + weight_decay * parameter[i]);
        }
    }
}

fn root_mean_square(x: &[f64], eps: f64) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Probabilities, and the log of the denominator. The maximum is subtracted only against overflow:
/// where it hides a NaN, the sum does not.
fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
    (scores.iter().map(|s| (s - lse).exp()).collect(), lse)
}

/// `f(query row, head, its kv head, keys it sees)`.
fn for_each_query(spec: Attention, mut f: impl FnMut(usize, usize, usize, &[usize])) {
    for segment in spec.segments {
        for (i, row) in segment.q.clone().enumerate() {
            let last_key = segment.kv.end - segment.q.len() + i;
            let keys: Vec<usize> = segment.prefix.clone().chain(segment.kv.start..last_key + 1).collect();
            for head in 0..spec.heads {
                let kv_head = head / (spec.heads / spec.kv_heads);
                f(row, head, kv_head, &keys);
            }
        }
    }
}

fn scores(spec: Attention, q: &[f64], k: &[f64], row: usize, head: usize, keys: &[usize]) -> Vec<f64> {
    let (dim, kv_head) = (spec.head_dim, head / (spec.heads / spec.kv_heads));
    let q = &q[(row * spec.heads + head) * dim..][..dim];
    keys.iter()
        .map(|j| {
            let k = &k[(j * spec.kv_heads + kv_head) * dim..][..dim];
            spec.scale * (0..dim).map(|d| q[d] * k[d]).sum::<f64>()
        })
        .collect()
}
