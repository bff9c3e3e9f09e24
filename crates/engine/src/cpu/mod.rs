//! The backend that every machine has: f32 on the cores of the current rayon pool.
//!
//! Invariants: an operation cuts its work by shape, never by the number of threads, and every sum
//! has one order; so results are the same bits on any number of threads. They may depend on the
//! instruction set, which is chosen at run time ([`simd`]).
//! Run training inside the pool (`pool.install`): from outside, each operation waits for it.

mod attention;
mod buffer;
mod dora;
pub mod gemm;
mod head;
pub mod infer;
pub mod logits;
mod lora;
mod norm;
mod optimizer;
mod parallel;
mod product;
pub mod profile;
mod quant;
mod rope;
mod rows;
pub(crate) mod simd;
mod swiglu;
mod team;
#[cfg(test)]
mod tests;

pub use attention::{CpuCache, scratch_bytes as attention_bytes};
pub use head::LOGITS;
pub use lora::scratch_bytes as lora_bytes;

use crate::FrozenMatrix;
use crate::backend::{AdamW, Attention, Backend, CacheType, Dims, Dropout, Mat, Out, RopeDirection};
use crate::lora::{LoraBackward, LoraIn, LoraOut};
pub use buffer::{Buffer, mapped_bytes};
use buffer::{Buffers, zeros_alone};
use gemm::{A, B, gemm};
use profile::{Part, Profile, Spending, attention_pairs};
use std::sync::{Mutex, PoisonError};

/// What activations are when they meet a weight that is stored in blocks of few bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As they are; blocks are unpacked. Training, evaluation and proofs.
    #[default]
    F32,
    /// In blocks of int8, as llama.cpp takes them, and products in whole numbers: see `cpu::quant`. For replies.
    Int8,
}

/// Plain loops and matrix products in f32; frozen weights are unpacked where they are used.
#[derive(Debug, Default)]
pub struct CpuBackend {
    activations: Activations,
    /// The logits of [`Backend::head_loss`], kept so that each call does not ask the system again.
    logits: Mutex<Buffer>,
    /// Where the backend's other buffers come from.
    buffers: Buffers,
    profile: Option<Profile>,
}

impl CpuBackend {
    /// All in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// For replies alone, where `activations` are [`Activations::Int8`]: no backward has the gradient of what such
    /// a forward computes.
    pub fn with_activations(activations: Activations) -> Self {
        Self { activations, ..Self::default() }
    }

    /// One that keeps account of its operations.
    pub fn profiled() -> Self {
        Self { profile: Some(Profile::default()), ..Self::default() }
    }

    /// What the operations took so far, if this is a profiled one.
    pub fn spendings(&self) -> Option<Vec<Spending>> {
        self.profile.as_ref().map(Profile::spendings)
    }

    fn timed<R>(&self, part: Part, multiply_adds: usize, operation: impl FnOnce() -> R) -> R {
        match &self.profile {
            Some(profile) => profile.time(part, multiply_adds, operation),
            None => operation(),
        }
    }

    /// [`Backend::head_loss`], a run of rows after another.
    fn head_loss_runs(
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
        let wants_gradient = dhidden.is_some() || dhead.is_some();
        let run = head::rows_per_run(targets.len(), vocab);
        let slot = || self.logits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut logits = std::mem::take(&mut *slot());
        let need = run.min(targets.len()) * vocab;
        if logits.len() < need {
            drop(std::mem::take(&mut logits)); // nothing in it is needed: never both
            logits = zeros_alone(need);
        }
        let mut losses = Vec::with_capacity(targets.len());
        for (i, targets) in targets.chunks(run).enumerate() {
            let rows = targets.len();
            let at = i * run * width..(i * run + rows) * width;
            let logits = &mut logits[..rows * vocab];
            let hidden = &hidden[at.clone()];
            gemm(logits, rows, vocab, width, 1.0, A::Rows(hidden), transposed(head), Out::Set);
            losses.extend(head::cross_entropy(logits, targets, vocab, wants_gradient.then_some(grad_scale)));
            if let Some(dhidden) = dhidden.as_deref_mut() {
                gemm(&mut dhidden[at], rows, width, vocab, 1.0, A::Rows(logits), straight(head), Out::Set);
            }
            if let Some(dhead) = dhead.as_deref_mut() {
                gemm(dhead, vocab, width, rows, 1.0, A::Transposed(logits), B::Rows(hidden), Out::Add);
            }
        }
        *slot() = logits;
        losses
    }
}

/// Give memory that was freed back to the system, where the allocator would keep it: before a long run, after
/// much that was needed for a moment only.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no preconditions; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of the logits that exist at a time, at most, in passes of up to `labelled` rows: fewer rows may make one
/// longer run where more make two.
pub fn logits_bytes(labelled: usize, vocab: usize) -> usize {
    size_of::<f32>() * labelled.min((LOGITS / vocab.max(1)).max(1)) * vocab
}

/// The right operand of `x · wᵀ`.
fn transposed<'a>(w: Mat<'a, CpuBackend>) -> B<'a> {
    match w {
        Mat::Frozen(w) => B::FrozenTransposed(w),
        Mat::Dense(w) => B::Transposed(w),
    }
}

/// The right operand of `dy · w`.
fn straight<'a>(w: Mat<'a, CpuBackend>) -> B<'a> {
    match w {
        Mat::Frozen(w) => B::Frozen(w),
        Mat::Dense(w) => B::Rows(w),
    }
}

impl Backend for CpuBackend {
    type Buffer = Buffer;
    type Matrix = FrozenMatrix;
    type Cache = CpuCache;

    fn zeros(&self, len: usize) -> Buffer {
        self.buffers.zeros(len)
    }

    fn together<R>(&self, values: usize, make: impl FnOnce() -> R) -> R {
        self.buffers.together(values, make)
    }

    fn len(&self, buffer: &Buffer) -> usize {
        buffer.len()
    }

    fn upload(&self, values: &[f32]) -> Buffer {
        values.to_vec().into()
    }

    fn download(&self, buffer: &Buffer, out: &mut [f32]) {
        out.copy_from_slice(&buffer[..out.len()]);
    }

    fn read<'a>(&self, buffer: &'a Buffer, len: usize, _: &'a mut Vec<f32>) -> &'a [f32] {
        &buffer[..len]
    }

    fn write(&self, values: &[f32], buffer: &mut Buffer) {
        buffer[..values.len()].copy_from_slice(values);
    }

    fn clear(&self, buffer: &mut Buffer, len: usize) {
        self.timed(Part::Optimizer, 0, || {
            parallel::for_each_piece(&mut buffer[..len], 1 << 18, |_, piece| piece.fill(0.0));
        });
    }

    fn matrix(&self, weight: FrozenMatrix) -> FrozenMatrix {
        match self.activations {
            Activations::F32 => weight,
            Activations::Int8 => weight.in_panels(),
        }
    }

    fn release(&self, weight: &FrozenMatrix) {
        weight.release();
    }

    fn dense(&self, weight: &FrozenMatrix) -> Buffer {
        weight.to_f32().into()
    }

    fn pass<R>(&self, f: impl FnOnce() -> R) -> R {
        team::lead(f)
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
        let (src, dst) = (&src[src_row * width..], &mut dst[dst_row * width..]);
        self.timed(Part::Rows, 0, || {
            parallel::for_each_piece(&mut dst[..rows * width], parallel::PIECE, |piece, dst| {
                dst.copy_from_slice(&src[piece * parallel::PIECE..][..dst.len()]);
            });
        });
    }

    fn gather_rows(&self, x: &Buffer, rows: &[usize], width: usize, out: &mut Buffer) {
        self.timed(Part::Rows, 0, || rows::gather(x, |i| rows[i], rows.len(), width, out));
    }

    fn gather_rows_backward(&self, dout: &Buffer, rows: &[usize], width: usize, dx: &mut Buffer) {
        self.timed(Part::Rows, 0, || rows::scatter_add(dout, |i| rows[i], rows.len(), width, dx));
    }

    fn dropout(&self, x: &Buffer, len: usize, dropout: Dropout, to: Out, out: &mut Buffer) {
        self.timed(Part::Lora, 0, || rows::dropout(x, dropout, to, &mut out[..len]));
    }

    fn embed(&self, ids: &[u32], table: Mat<Self>, width: usize, out: &mut Buffer) {
        self.timed(Part::Rows, 0, || match table {
            Mat::Frozen(table) => {
                assert_eq!(table.cols(), width, "width of the embedding table");
                rows::gather_frozen(ids, table, out);
            }
            Mat::Dense(table) => rows::gather(table, |i| ids[i] as usize, ids.len(), width, out),
        });
    }

    fn embed_backward(&self, ids: &[u32], dout: &Buffer, width: usize, dtable: &mut Buffer) {
        self.timed(Part::Rows, 0, || {
            rows::scatter_add(dout, |i| ids[i] as usize, ids.len(), width, dtable);
        });
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f64, rows: usize, width: usize, out: &mut Buffer) {
        self.timed(Part::Rows, 0, || norm::forward(x, &weight[..width], eps, &mut out[..rows * width]));
    }

    fn rms_norm_backward(
        &self,
        x: &Buffer,
        weight: &Buffer,
        eps: f64,
        rows: usize,
        width: usize,
        dout: &Buffer,
        dx: &mut Buffer,
        dweight: Option<&mut Buffer>,
    ) {
        let (x, dout) = (&x[..rows * width], &dout[..rows * width]);
        self.timed(Part::Rows, 0, || {
            norm::backward_input(x, &weight[..width], eps, dout, &mut dx[..rows * width]);
            if let Some(dweight) = dweight {
                norm::backward_weight(x, eps, dout, &mut dweight[..width]);
            }
        });
    }

    fn linear(&self, x: &Buffer, w: Mat<Self>, dims: Dims, alpha: f64, to: Out, y: &mut Buffer) {
        if let Mat::Frozen(w) = w
            && let Some(panels) = w.panels()
            && quant::serves(dims.rows)
        {
            return quant::linear(x, panels, dims, alpha as f32, to, y);
        }
        let Dims { rows, inputs, outputs } = dims;
        self.timed(Part::Products, rows * inputs * outputs, || {
            gemm(y, rows, outputs, inputs, alpha as f32, A::Rows(x), transposed(w), to);
        });
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
        self.timed(Part::Products, rows * inputs * outputs, || {
            gemm(dx, rows, inputs, outputs, alpha as f32, A::Rows(dy), straight(w), to);
        });
    }

    fn linear_backward_weight(&self, dy: &Buffer, x: &Buffer, dims: Dims, alpha: f64, dw: &mut Buffer) {
        let Dims { rows, inputs, outputs } = dims;
        self.timed(Part::Products, rows * inputs * outputs, || {
            gemm(dw, outputs, inputs, rows, alpha as f32, A::Transposed(dy), B::Rows(x), Out::Add);
        });
    }

    fn lora_in(&self, x: &Buffer, rows: usize, inputs: usize, branches: &mut [LoraIn<Self>]) {
        let ranks: usize = branches.iter().map(|b| b.rank).sum();
        self.timed(Part::Lora, rows * inputs * ranks, || {
            if lora::serves(rows, inputs, []) {
                lora::forward_in(x, rows, inputs, branches);
            } else {
                crate::lora::lora_in(&Self::new(), x, rows, inputs, branches);
            }
        });
    }

    fn lora_out(&self, rows: usize, branch: &LoraOut<Self>, y: &mut Buffer) {
        self.timed(Part::Lora, rows * branch.rank * branch.outputs, || {
            if lora::serves(rows, 0, [branch.outputs]) {
                lora::forward_out(rows, branch, y);
            } else {
                crate::lora::lora_out(&Self::new(), rows, branch, y);
            }
        });
    }

    fn linear_lora(
        &self,
        x: &Buffer,
        w: Mat<Self>,
        dims: Dims,
        branch: &LoraOut<Self>,
        to: Out,
        y: &mut Buffer,
    ) {
        lora::weight_and_branch(self, x, w, dims, branch, to, y);
    }

    fn lora_backward(
        &self,
        x: &Buffer,
        rows: usize,
        inputs: usize,
        branches: &mut [LoraBackward<Self>],
        du: &mut Buffer,
        dx: Option<(Out, &mut Buffer)>,
    ) {
        lora::backward(self, x, rows, inputs, branches, du, dx);
    }

    fn lora_scratch(rows: usize, ranks: &[usize]) -> usize {
        rows * ranks.iter().sum::<usize>()
    }

    fn rope_table(&self, positions: &[u32], inv_freq: &[f64]) -> Buffer {
        self.timed(Part::Rows, 0, || rope::table(positions, inv_freq).into())
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
        self.timed(Part::Rows, 0, || {
            rope::rotate(&mut x[..rows * heads * head_dim], table, heads, head_dim, direction);
        });
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
        self.timed(Part::Attention, 2 * attention_pairs(&spec), || {
            attention::forward(spec, q, k, v, out, lse);
        });
    }

    fn attention_backward(
        &self,
        spec: Attention,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        out: &Buffer,
        lse: &Buffer,
        dout: &Buffer,
        dq: &mut Buffer,
        dk: &mut Buffer,
        dv: &mut Buffer,
    ) {
        let inputs = attention::Inputs { q, k, v, out, lse, dout };
        self.timed(Part::Attention, 5 * attention_pairs(&spec), || {
            attention::backward(spec, inputs, dq, dk, dv);
        });
    }

    fn cache(&self, rows: usize, kv_heads: usize, head_dim: usize, kind: CacheType) -> CpuCache {
        CpuCache::new(rows, kv_heads, head_dim, kind)
    }

    fn cache_copy(&self, cache: &mut CpuCache, from: usize, to: usize, rows: usize) {
        cache.copy(from, to, rows);
    }

    fn attention_cached(
        &self,
        spec: Attention,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        cache: &mut CpuCache,
        out: &mut Buffer,
    ) {
        self.timed(Part::Attention, 2 * attention_pairs(&spec), || {
            attention::cached(spec, attention::NewRows { q, k, v }, cache, out);
        });
    }

    fn swiglu(&self, gate: &Buffer, up: &Buffer, len: usize, out: &mut Buffer) {
        self.timed(Part::Rows, 0, || swiglu::forward(gate, up, &mut out[..len]));
    }

    fn swiglu_backward(&self, gate: &Buffer, up: &Buffer, len: usize, dout: &mut Buffer, dgate: &mut Buffer) {
        self.timed(Part::Rows, 0, || swiglu::backward(gate, up, &mut dout[..len], &mut dgate[..len]));
    }

    fn head_loss(
        &self,
        hidden: &Buffer,
        head: Mat<Self>,
        targets: &[u32],
        width: usize,
        vocab: usize,
        grad_scale: f64,
        dhidden: Option<&mut Buffer>,
        dhead: Option<&mut Buffer>,
    ) -> Vec<f64> {
        let products = 1 + usize::from(dhidden.is_some()) + usize::from(dhead.is_some());
        self.timed(Part::Head, products * targets.len() * vocab * width, || {
            self.head_loss_runs(hidden, head, targets, width, vocab, grad_scale, dhidden, dhead)
        })
    }

    fn row_norms(
        &self,
        w: Mat<Self>,
        a: &Buffer,
        b: &Buffer,
        Dims { rows: rank, inputs, outputs }: Dims,
        scaling: f64,
        norms: &mut Buffer,
    ) {
        let row = |o: usize, out: &mut [f32]| match w {
            Mat::Frozen(w) => w.unpack(o, 0, out),
            Mat::Dense(w) => out.copy_from_slice(&w[o * inputs..][..inputs]),
        };
        self.timed(Part::Lora, rank * inputs * outputs, || {
            dora::row_norms(row, &a[..rank * inputs], b, scaling as f32, inputs, &mut norms[..outputs]);
        });
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
        self.timed(Part::Lora, 0, || {
            dora::forward(z, &magnitude[..width], &norms[..width], to, &mut y[..rows * width]);
        });
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
        let [z, dy] = [z, dy].map(|x| &x[..rows * width]);
        let (magnitude, norms) = (&magnitude[..width], &norms[..width]);
        self.timed(Part::Lora, 0, || {
            dora::backward(z, magnitude, norms, dy, &mut dz[..rows * width], &mut dmagnitude[..width]);
        });
    }

    fn add_scaled(&self, x: &Buffer, alpha: f64, len: usize, y: &mut Buffer) {
        self.timed(Part::Lora, 0, || dora::add_scaled(x, alpha as f32, &mut y[..len]));
    }

    fn sum_squares(&self, x: &Buffer, len: usize) -> f64 {
        self.timed(Part::Optimizer, 0, || optimizer::sum_squares(&x[..len]))
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
        self.timed(Part::Optimizer, 0, || {
            optimizer::adamw(&mut parameter[..len], &gradient[..len], &mut m[..len], &mut v[..len], update);
        });
    }
}
