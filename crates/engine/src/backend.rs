//! The operations that the decoder is written over, each beside its backward.
//!
//! Invariants: a buffer is opaque (a GPU's lives on the GPU) and may be longer than an operation
//! needs, so that one allocation serves steps of any length; an operation may be asynchronous, only
//! what returns numbers (`download`, `head_loss`, `sum_squares`) waits. Gradients of weights always
//! *add* to what is there (gradient accumulation); whoever starts a step clears them.
//! Results do not depend on the number of threads: every sum has one order.

use crate::FrozenMatrix;
use crate::lora::{self, LoraBackward, LoraIn, LoraOut};
use std::ops::Range;

/// A weight operand: `[rows, cols]`, row-major.
pub enum Mat<'a, B: Backend + ?Sized> {
    /// Never trained; any storage type.
    Frozen(&'a B::Matrix),
    /// A dense buffer: trained weights and LoRA's A and B.
    Dense(&'a B::Buffer),
}

// By hand: a derive would ask for `B: Copy`.
impl<B: Backend + ?Sized> Clone for Mat<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend + ?Sized> Copy for Mat<'_, B> {}

/// What happens to the old content of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    Set,
    Add,
}

/// Sizes of a linear layer: `x [rows, inputs]`, `w [outputs, inputs]`, `y [rows, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// Forward turns by +position·θ, backward (the transpose of a rotation) by −position·θ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeDirection {
    Forward,
    Backward,
}

/// Query rows that attend causally to a run of key rows, and to nothing else but a prefix.
///
/// The last query of the segment sees the last key: query `q.start + i` sees all keys of `prefix` and
/// keys `kv.start ..= kv.end - q.len() + i`. In training `q == kv`; with a KV cache `q` is shorter.
/// Several segments may share a prefix: rows that are computed once, and whose gradient is the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub q: Range<usize>,
    pub kv: Range<usize>,
    /// Empty, or key rows of another segment.
    pub prefix: Range<usize>,
}

impl Segment {
    pub fn new(q: Range<usize>, kv: Range<usize>) -> Self {
        Self { q, kv, prefix: 0..0 }
    }

    /// Rows that attend to themselves: an example in training.
    pub fn whole(rows: Range<usize>) -> Self {
        Self::new(rows.clone(), rows)
    }

    /// Rows that attend to `prefix` and to themselves.
    pub fn after(prefix: Range<usize>, rows: Range<usize>) -> Self {
        Self { q: rows.clone(), kv: rows, prefix }
    }

    /// Keys that the last query sees.
    pub fn keys(&self) -> usize {
        self.prefix.len() + self.kv.len()
    }
}

/// Grouped-query attention over segments. Query head `h` reads kv head `h / (heads / kv_heads)`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Factor on q·k, 1/√D.
    pub scale: f64,
    pub segments: &'a [Segment],
}

/// Rows of a KV cache that lie together: a sequence begins at a multiple of it.
pub const CACHE_BLOCK: usize = 16;

/// How a KV cache stores numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// What was computed, to the bit.
    #[default]
    F32,
    /// Half the memory; 11 significant bits, up to 65,504.
    F16,
    /// Half the memory; 8 significant bits, the range of f32.
    Bf16,
}

impl CacheType {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            CacheType::F32 => 4,
            CacheType::F16 | CacheType::Bf16 => 2,
        }
    }
}

/// Inverted dropout: an element survives with probability 1 − p and is divided by it.
/// The mask is a pure function of (key, element index), so backward and a resumed run draw it again.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub p: f32,
    pub key: u64,
}

/// One AdamW update (Loshchilov & Hutter 2019, as `torch.optim.AdamW`).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    /// 1 for the first update (bias correction).
    pub step: u64,
    /// Multiplies the gradient before use: gradient clipping.
    pub grad_scale: f64,
}

/// A device that trains. Sizes are in elements; matrices are row-major.
pub trait Backend: Send + Sync {
    /// Reals of the backend's compute type (f32 on the CPU, f64 in `reference`).
    type Buffer: Send + Sync;
    /// A frozen weight as the device keeps it.
    type Matrix: Send + Sync;
    /// Keys and values of one layer, for any number of sequences, as the device likes to read them.
    type Cache: Send + Sync;

    // ---- memory ----

    fn zeros(&self, len: usize) -> Self::Buffer;
    /// Run `make`, which asks for buffers of `values` in all; they may lie in one piece of memory, which is given back
    /// with the last of them.
    fn together<R>(&self, _values: usize, make: impl FnOnce() -> R) -> R {
        make()
    }
    fn len(&self, buffer: &Self::Buffer) -> usize;
    fn upload(&self, values: &[f32]) -> Self::Buffer;
    /// The first `out.len()` elements.
    fn download(&self, buffer: &Self::Buffer, out: &mut [f32]);
    /// The first `len` elements as f32, where they lie if that can be, else copied into `space`.
    fn read<'a>(&self, buffer: &'a Self::Buffer, len: usize, space: &'a mut Vec<f32>) -> &'a [f32] {
        space.resize(len, 0.0);
        self.download(buffer, space);
        space
    }
    /// Overwrite the first `values.len()` elements.
    fn write(&self, values: &[f32], buffer: &mut Self::Buffer);
    /// Set the first `len` elements to zero.
    fn clear(&self, buffer: &mut Self::Buffer, len: usize);
    fn matrix(&self, weight: FrozenMatrix) -> Self::Matrix;
    /// The matrix is not needed for now: memory that its file can fill again may be given back.
    fn release(&self, _weight: &Self::Matrix) {}
    /// A dense copy of a frozen matrix, to be trained in full.
    fn dense(&self, weight: &Self::Matrix) -> Self::Buffer;

    /// Run `f`, a pass through the model; operations in it may be made to wait less for each other.
    fn pass<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    // ---- rows ----

    /// `dst[dst_row..][..rows] = src[src_row..][..rows]`, rows of `width`.
    fn copy_rows(
        &self,
        src: &Self::Buffer,
        src_row: usize,
        dst: &mut Self::Buffer,
        dst_row: usize,
        rows: usize,
        width: usize,
    );
    /// `out[i] = x[rows[i]]`.
    fn gather_rows(&self, x: &Self::Buffer, rows: &[usize], width: usize, out: &mut Self::Buffer);
    /// Backward of [`Backend::gather_rows`]: `dx[rows[i]] += dout[i]`.
    fn gather_rows_backward(&self, dout: &Self::Buffer, rows: &[usize], width: usize, dx: &mut Self::Buffer);

    /// `out = dropout(x)`; its own backward with `x = dout` (the mask is the same).
    fn dropout(&self, x: &Self::Buffer, len: usize, dropout: Dropout, to: Out, out: &mut Self::Buffer);

    // ---- embedding ----

    /// `out[t] = table[ids[t]]`. `table [V, C]`, `out [T, C]`. Every id is below V (checked by the caller).
    fn embed(&self, ids: &[u32], table: Mat<Self>, width: usize, out: &mut Self::Buffer);
    /// `dtable[ids[t]] += dout[t]`.
    fn embed_backward(&self, ids: &[u32], dout: &Self::Buffer, width: usize, dtable: &mut Self::Buffer);

    // ---- RMSNorm (Zhang & Sennrich 2019): out = x / √(mean(x²) + eps) · weight ----

    /// `x, out [rows, width]`, `weight [width]`.
    fn rms_norm(
        &self,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        eps: f64,
        rows: usize,
        width: usize,
        out: &mut Self::Buffer,
    );
    /// Adds to `dx` (the residual stream's gradient is there already) and to `dweight`.
    fn rms_norm_backward(
        &self,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        eps: f64,
        rows: usize,
        width: usize,
        dout: &Self::Buffer,
        dx: &mut Self::Buffer,
        dweight: Option<&mut Self::Buffer>,
    );

    // ---- linear: y = alpha · x wᵀ ----

    /// `y [rows, outputs] (+)= alpha · x [rows, inputs] · wᵀ`, `w [outputs, inputs]`.
    fn linear(&self, x: &Self::Buffer, w: Mat<Self>, dims: Dims, alpha: f64, to: Out, y: &mut Self::Buffer);
    /// `dx [rows, inputs] (+)= alpha · dy [rows, outputs] · w`.
    fn linear_backward_input(
        &self,
        dy: &Self::Buffer,
        w: Mat<Self>,
        dims: Dims,
        alpha: f64,
        to: Out,
        dx: &mut Self::Buffer,
    );
    /// `dw [outputs, inputs] += alpha · dyᵀ · x`.
    fn linear_backward_weight(
        &self,
        dy: &Self::Buffer,
        x: &Self::Buffer,
        dims: Dims,
        alpha: f64,
        dw: &mut Self::Buffer,
    );

    // ---- LoRA branches (Hu et al. 2021), see [`crate::LoraIn`] ----

    /// Sets `u [rows, R] = x [rows, inputs] · aᵀ` of all branches that read one `x`.
    fn lora_in(&self, x: &Self::Buffer, rows: usize, inputs: usize, branches: &mut [LoraIn<Self>]) {
        lora::lora_in(self, x, rows, inputs, branches);
    }
    /// `y [rows, O] += scaling · u bᵀ`.
    fn lora_out(&self, rows: usize, branch: &LoraOut<Self>, y: &mut Self::Buffer) {
        lora::lora_out(self, rows, branch, y);
    }
    /// [`Backend::linear`] and [`Backend::lora_out`] of the branch beside it: `y (+)= x wᵀ + scaling · u bᵀ`.
    fn linear_lora(
        &self,
        x: &Self::Buffer,
        w: Mat<Self>,
        dims: Dims,
        branch: &LoraOut<Self>,
        to: Out,
        y: &mut Self::Buffer,
    ) {
        self.linear(x, w, dims, 1.0, to, y);
        self.lora_out(dims.rows, branch, y);
    }
    /// Backward of both halves, for all branches that read one `x`: adds to `da` and `db`, and sets or adds to
    /// `dx [rows, inputs]`, what comes through the weights beside them included. `du` is scratch memory of [`Backend::lora_scratch`] values.
    fn lora_backward(
        &self,
        x: &Self::Buffer,
        rows: usize,
        inputs: usize,
        branches: &mut [LoraBackward<Self>],
        du: &mut Self::Buffer,
        dx: Option<(Out, &mut Self::Buffer)>,
    ) {
        lora::lora_backward(self, x, rows, inputs, branches, du, dx);
    }
    /// Values of scratch memory that a backward needs, over so many rows and branches of these ranks.
    fn lora_scratch(rows: usize, ranks: &[usize]) -> usize {
        rows * ranks.iter().copied().max().unwrap_or(0)
    }

    // ---- rotary position embedding (Su et al. 2021), Hugging Face's half-split layout ----

    /// A table `[T, D]` for [`Backend::rope`]: row t holds cos(positions[t]·inv_freq[i]) for
    /// i in 0..D/2, then the sines. `inv_freq [D/2]`.
    fn rope_table(&self, positions: &[u32], inv_freq: &[f64]) -> Self::Buffer;
    /// In place on `x [rows, heads, D]`: the pair (x[i], x[i + D/2]) is turned by its angle.
    fn rope(
        &self,
        x: &mut Self::Buffer,
        table: &Self::Buffer,
        rows: usize,
        heads: usize,
        head_dim: usize,
        direction: RopeDirection,
    );

    // ---- attention ----

    /// `q, out [Tq, H, D]`, `k, v [Tk, K, D]`, `lse [Tq, H]`: the log of the softmax denominator,
    /// kept for the backward, which recomputes the probabilities (Dao et al. 2022).
    fn attention(
        &self,
        spec: Attention,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        out: &mut Self::Buffer,
        lse: &mut Self::Buffer,
    );
    /// Sets `dq`, `dk`, `dv` on all rows of the segments. Requires disjoint `q` and disjoint `kv` ranges,
    /// and each prefix inside the `kv` of another segment.
    fn attention_backward(
        &self,
        spec: Attention,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        out: &Self::Buffer,
        lse: &Self::Buffer,
        dout: &Self::Buffer,
        dq: &mut Self::Buffer,
        dk: &mut Self::Buffer,
        dv: &mut Self::Buffer,
    );

    /// A cache of `rows` rows (rounded up to whole blocks of [`CACHE_BLOCK`]) of `kv_heads` heads.
    fn cache(&self, rows: usize, kv_heads: usize, head_dim: usize, kind: CacheType) -> Self::Cache;
    /// Rows `from .. from + rows` become rows `to .. to + rows` as well; all three are whole blocks.
    fn cache_copy(&self, cache: &mut Self::Cache, from: usize, to: usize, rows: usize);
    /// Attention over a cache: the pass's new rows `k, v [Tq, K, D]` become the last rows of their segments'
    /// `kv`, which are rows of the cache, and then `q, out [Tq, H, D]` attend as in [`Backend::attention`].
    ///
    /// Requires disjoint `q` and disjoint `kv`, `kv` that begin at multiples of [`CACHE_BLOCK`], and no prefixes.
    fn attention_cached(
        &self,
        spec: Attention,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        cache: &mut Self::Cache,
        out: &mut Self::Buffer,
    );

    // ---- SwiGLU (Shazeer 2020): out = silu(gate) · up ----

    fn swiglu(&self, gate: &Self::Buffer, up: &Self::Buffer, len: usize, out: &mut Self::Buffer);
    /// Sets `dgate`, and `dout` to `dup`: one buffer less.
    fn swiglu_backward(
        &self,
        gate: &Self::Buffer,
        up: &Self::Buffer,
        len: usize,
        dout: &mut Self::Buffer,
        dgate: &mut Self::Buffer,
    );

    // ---- head and cross-entropy, over labelled rows only ----

    /// Loss of each row in nats: −log softmax(hidden · headᵀ)[target]. `hidden [N, C]`, `head [V, C]`,
    /// `targets [N]`, all below V. Logits exist only for a run of rows at a time, never as `[N, V]`.
    ///
    /// `grad_scale` multiplies the gradients (1 / labelled tokens of the whole step). Sets `dhidden`,
    /// adds to `dhead`; without both, only the loss is computed.
    fn head_loss(
        &self,
        hidden: &Self::Buffer,
        head: Mat<Self>,
        targets: &[u32],
        width: usize,
        vocab: usize,
        grad_scale: f64,
        dhidden: Option<&mut Self::Buffer>,
        dhead: Option<&mut Self::Buffer>,
    ) -> Vec<f64>;

    // ---- DoRA (Liu et al. 2024): y = z · m / n, z = x (W + s·B A)ᵀ, n the norms of the rows of W + s·B A ----

    /// `norms[o] = ‖w[o] + scaling · b[o] a‖₂`, in forward as in backward a constant. `w [outputs, inputs]`,
    /// `a [rank, inputs]`, `b [outputs, rank]`, where the rank is `dims.rows`. No dense copy of `w` is made.
    fn row_norms(
        &self,
        w: Mat<Self>,
        a: &Self::Buffer,
        b: &Self::Buffer,
        dims: Dims,
        scaling: f64,
        norms: &mut Self::Buffer,
    );
    /// `y (+)= z · m / n`. `z, y [rows, width]`, `magnitude, norms [width]`; 0 where a norm is 0.
    fn dora(
        &self,
        z: &Self::Buffer,
        magnitude: &Self::Buffer,
        norms: &Self::Buffer,
        rows: usize,
        width: usize,
        to: Out,
        y: &mut Self::Buffer,
    );
    /// Sets `dz`, adds to `dmagnitude`.
    fn dora_backward(
        &self,
        z: &Self::Buffer,
        magnitude: &Self::Buffer,
        norms: &Self::Buffer,
        dy: &Self::Buffer,
        rows: usize,
        width: usize,
        dz: &mut Self::Buffer,
        dmagnitude: &mut Self::Buffer,
    );
    /// `y += alpha · x` over the first `len` elements.
    fn add_scaled(&self, x: &Self::Buffer, alpha: f64, len: usize, y: &mut Self::Buffer);

    // ---- optimizer ----

    /// Σ x² over the first `len` elements.
    fn sum_squares(&self, x: &Self::Buffer, len: usize) -> f64;
    /// One update of `len` parameters with moments `m`, `v`.
    fn adamw(
        &self,
        parameter: &mut Self::Buffer,
        gradient: &Self::Buffer,
        m: &mut Self::Buffer,
        v: &mut Self::Buffer,
        len: usize,
        update: AdamW,
    );
}
