//! The operations a decoder is made of, each with its backward.

use crate::FrozenMatrix;

/// A matrix operand `[N, K]`: frozen in its storage format, or live in a buffer (LoRA's A and B,
/// a layer in full training).
pub enum Mat<'a, B: Backend + ?Sized> {
    Frozen(&'a B::Frozen),
    Live(&'a B::Buf),
}

/// Shape of a matrix product: `t` rows of activations, a weight `[n, k]`.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    pub t: usize,
    pub n: usize,
    pub k: usize,
}

/// How a product reaches its output: `out = scale · product`, or `out += scale · product`.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    pub accumulate: bool,
    pub scale: f32,
}

impl Out {
    pub const SET: Out = Out { accumulate: false, scale: 1.0 };
    pub const ADD: Out = Out { accumulate: true, scale: 1.0 };

    pub fn scaled(self, scale: f32) -> Out {
        Out { scale, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeDirection {
    Forward,
    /// The transpose of a rotation is the rotation by the opposite angle.
    Backward,
}

/// Causal attention over packed segments: token `t` of a segment sees tokens `..= t` of the same segment.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Segment boundaries in the packed tokens: `segments[i]..segments[i + 1]`, from 0 to T.
    pub segments: &'a [u32],
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Attention<'_> {
    pub fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |&t| t as usize)
    }

    /// Scores are divided by √D (Vaswani et al. 2017, eq. 1).
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Settings of one AdamW update (Loshchilov & Hutter 2019, in the order of torch.optim.AdamW).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    /// Updates done, this one included: 1 at the first.
    pub step: u64,
    /// Every gradient is multiplied by this first (gradient clipping).
    pub grad_scale: f64,
}

/// A device that can train and run a decoder.
///
/// Buffers are opaque, may live on another device and may be longer than an operation needs.
/// An operation may be asynchronous; what returns host values ([`Backend::download`],
/// [`Backend::sum_squares`], [`Backend::cross_entropy`]) waits for what it depends on.
/// No operation's result depends on the number of threads.
pub trait Backend: Sync {
    /// A vector of the backend's float type.
    type Buf: Send + Sync;
    /// A frozen matrix in the backend's storage.
    type Frozen: Send + Sync;

    fn zeros(&self, len: usize) -> Self::Buf;
    fn upload(&self, data: &[f32]) -> Self::Buf;
    /// The first `len` values.
    fn download(&self, buf: &Self::Buf, len: usize) -> Vec<f32>;
    /// Overwrite the first `data.len()` values.
    fn write(&self, buf: &mut Self::Buf, data: &[f32]);
    fn freeze(&self, matrix: &FrozenMatrix) -> Self::Frozen;
    /// Set the first `len` values to zero.
    fn clear(&self, buf: &mut Self::Buf, len: usize);
    /// `y += x`
    fn add(&self, y: &mut Self::Buf, x: &Self::Buf, len: usize);
    /// `out = x`
    fn copy(&self, out: &mut Self::Buf, x: &Self::Buf, len: usize);
    /// `out[at + i] = x[i]` for rows of `width`; for the KV cache.
    fn copy_rows(&self, out: &mut Self::Buf, at: usize, x: &Self::Buf, rows: usize, width: usize);

    /// `out[i] = x[rows[i]]`, rows of `width`.
    fn gather_rows(&self, out: &mut Self::Buf, x: &Self::Buf, rows: &[u32], width: usize);
    /// `dx[rows[i]] += d_out[i]`; `rows` has no duplicates.
    fn gather_rows_backward(&self, dx: &mut Self::Buf, d_out: &Self::Buf, rows: &[u32], width: usize);

    /// `out[t] = table[ids[t]]`: `[T, C]`.
    fn embedding(&self, out: &mut Self::Buf, table: Mat<'_, Self>, ids: &[u32], width: usize);
    /// `d_table[ids[t]] += d_out[t]`, in the order of t.
    fn embedding_backward(&self, d_table: &mut Self::Buf, d_out: &Self::Buf, ids: &[u32], width: usize);

    /// `out[t] = gain · x[t] / √(mean(x[t]²) + eps)` (Zhang & Sennrich 2019): `[T, C]`.
    fn rmsnorm(&self, out: &mut Self::Buf, x: &Self::Buf, gain: &Self::Buf, t: usize, c: usize, eps: f32);
    /// `dx += …`, `d_gain += …`
    fn rmsnorm_backward(
        &self,
        dx: &mut Self::Buf,
        d_gain: Option<&mut Self::Buf>,
        d_out: &Self::Buf,
        x: &Self::Buf,
        gain: &Self::Buf,
        t: usize,
        c: usize,
        eps: f32,
    );

    /// `y[T, N] = x[T, K] · w[N, K]ᵀ`
    fn matmul(&self, y: &mut Self::Buf, x: &Self::Buf, w: Mat<'_, Self>, d: Dims, out: Out);
    /// `dx[T, K] = dy[T, N] · w[N, K]`
    fn matmul_backward_input(&self, dx: &mut Self::Buf, dy: &Self::Buf, w: Mat<'_, Self>, d: Dims, out: Out);
    /// `dw[N, K] = dy[T, N]ᵀ · x[T, K]`
    fn matmul_backward_weight(&self, dw: &mut Self::Buf, dy: &Self::Buf, x: &Self::Buf, d: Dims, out: Out);

    /// `out[i] (+)= x[i] / (1 − p)` where [`crate::random::keeps`], else 0. Its own backward.
    fn dropout(&self, out: &mut Self::Buf, x: &Self::Buf, len: usize, p: f32, key: u64, accumulate: bool);

    /// Rotate the halves of each head in place (Su et al. 2021, in the half-split layout of
    /// transformers): `x[T, heads, D]`, `cos` and `sin` `[T, D / 2]`.
    fn rope(
        &self,
        x: &mut Self::Buf,
        cos: &Self::Buf,
        sin: &Self::Buf,
        t: usize,
        heads: usize,
        head_dim: usize,
        direction: RopeDirection,
    );

    /// `out[T, H, D]` from `q[T, H, D]`, `k, v [T, K, D]`; `lse[T, H]` keeps log Σ exp(score) for the backward.
    fn attention(
        &self,
        out: &mut Self::Buf,
        lse: &mut Self::Buf,
        q: &Self::Buf,
        k: &Self::Buf,
        v: &Self::Buf,
        shape: &Attention<'_>,
    );
    /// Overwrites `dq, dk, dv`. Probabilities are recomputed from `lse` (Dao et al. 2022).
    fn attention_backward(
        &self,
        grads: (&mut Self::Buf, &mut Self::Buf, &mut Self::Buf),
        d_out: &Self::Buf,
        out: &Self::Buf,
        lse: &Self::Buf,
        qkv: (&Self::Buf, &Self::Buf, &Self::Buf),
        shape: &Attention<'_>,
    );
    /// One sequence against its cache: `q[t, H, D]` are tokens `past..past + t`, the caches
    /// `[capacity, K, D]` hold `past + t` rows already.
    fn attention_cached(
        &self,
        out: &mut Self::Buf,
        q: &Self::Buf,
        k_cache: &Self::Buf,
        v_cache: &Self::Buf,
        past: usize,
        t: usize,
        shape: &Attention<'_>,
    );

    /// `out = silu(gate) · up` (Shazeer 2020)
    fn swiglu(&self, out: &mut Self::Buf, gate: &Self::Buf, up: &Self::Buf, len: usize);
    /// Overwrites `d_gate` and `d_up`.
    fn swiglu_backward(
        &self,
        d_gate: &mut Self::Buf,
        d_up: &mut Self::Buf,
        d_out: &Self::Buf,
        gate: &Self::Buf,
        up: &Self::Buf,
        len: usize,
    );

    /// Loss of each row (nats): `log Σ exp(logits) − logits[target]`, logits `[rows, V]`. With
    /// `grad_scale`, the logits become their gradient: `grad_scale · (softmax − one-hot)`.
    fn cross_entropy(
        &self,
        logits: &mut Self::Buf,
        targets: &[u32],
        vocab: usize,
        grad_scale: Option<f32>,
    ) -> Vec<f64>;

    /// One AdamW update of the first `len` values of `value` with moments `m`, `v`.
    fn adamw(
        &self,
        value: &mut Self::Buf,
        grad: &Self::Buf,
        m: &mut Self::Buf,
        v: &mut Self::Buf,
        len: usize,
        hyper: &AdamW,
    );
    /// Σ x², for the gradient norm, summed in f64.
    fn sum_squares(&self, x: &Self::Buf, len: usize) -> f64;
}
