//! The whole decoder: embedding, blocks, last norm, head, loss; forward, and backward beside it.
//!
//! Legend: T packed rows of a micro-batch · N labelled rows among them · C hidden · V vocabulary.

mod noise;
mod once;
#[cfg(test)]
mod tests;
mod workspace;

pub use noise::{Noise, Noises};
pub use workspace::{BatchSize, Keeping, Workspace, WorkspaceSpec};

use crate::block::{Block, Context, Kept, Narrow, Scratch};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::linear::Pass;
use crate::parameter::{NormWeight, Parameter, Side, Weight};
use std::ops::Range;
use std::sync::Arc;
use tolmach_engine::{Backend, Dims, Mat, Out, Segment};

/// A Llama-family decoder on a backend, with whatever is trained in it.
pub struct Decoder<B: Backend> {
    pub backend: Arc<B>,
    pub config: Config,
    /// `[V, C]`
    pub embed_tokens: Weight<B>,
    pub blocks: Vec<Block<B>>,
    pub norm: NormWeight<B>,
    pub head: Head<B>,
    /// Of the base weights on disk ([`crate::Checkpoint::fingerprint`]); `None` for random weights.
    pub fingerprint: Option<String>,
    /// Blocks, from the lowest trained one on, of which a training pass keeps the input alone and computes
    /// the rest again: less memory, more time, the same bits.
    pub recompute: usize,
}

/// The matrix `[V, C]` that turns hidden states into logits.
pub enum Head<B: Backend> {
    /// The embedding's own weight, trained with it.
    Tied,
    Own(Weight<B>),
}

/// A packed micro-batch: examples laid end to end, each attending only to itself.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `[T]`
    pub input_ids: &'a [u32],
    /// `[T]`, restarting at 0 in every segment
    pub positions: &'a [u32],
    /// Rows of each example, or of a prefix that examples share
    pub segments: &'a [Range<usize>],
    /// The prefix rows that each segment also attends to, empty where it has none; `[]` if none has
    pub prefixes: &'a [Range<usize>],
    /// `[N]`: rows whose next token is labelled
    pub rows: &'a [usize],
    /// `[N]`: that token
    pub targets: &'a [u32],
}

impl<B: Backend> Decoder<B> {
    /// Loss of each labelled row in nats, without gradients.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn losses(&self, workspace: &mut Option<Workspace<B>>, batch: Batch, side: Side) -> Result<Vec<f64>> {
        self.check(batch.targets)?;
        self.backend.pass(|| {
            let ws = self.forward(workspace, batch, side)?;
            let (c, v) = (self.config.hidden_size, self.config.vocab_size);
            Ok(self.backend.head_loss(&ws.normed, self.head_mat(side), batch.targets, c, v, 0.0, None, None))
        })
    }

    /// Logits `[rows.len(), V]` of the given rows of a packed batch.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn logits(&self, workspace: &mut Option<Workspace<B>>, batch: Batch, side: Side) -> Result<Vec<f32>> {
        self.backend.pass(|| {
            let ws = self.forward(workspace, batch, side)?;
            Ok(self.project_out(&ws.normed, batch.rows.len(), side))
        })
    }

    /// Everything but the head, without a backward: fills `normed` of the workspace.
    fn forward<'w>(
        &self,
        workspace: &'w mut Option<Workspace<B>>,
        batch: Batch,
        side: Side,
    ) -> Result<&'w mut Workspace<B>> {
        self.check(batch.input_ids)?;
        let layout = Layout::new(&*self.backend, &self.config, batch);
        let ws = self.fit(workspace, layout.size(), false);
        let (ctx, top_ctx) = layout.contexts(&*self.backend, &self.config, Pass::inference(side));
        self.embed(&ctx, batch.input_ids, ws);
        self.hidden_forward(&ctx, ws);
        if let Some(block) = self.blocks.last() {
            self.top_forward(block, (&ctx, &top_ctx), &layout.narrow, ws);
        }
        self.rows_forward(&ctx, &layout.narrow, ws);
        Ok(ws)
    }

    /// Loss of each labelled row in nats; adds the gradient of `grad_scale · Σ loss` to every
    /// trained parameter. With `grad_scale` = 1 / labelled tokens of the *whole* step, micro-batches add
    /// up to the gradient of the step's mean.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn losses_backward(
        &mut self,
        workspace: &mut Option<Workspace<B>>,
        batch: Batch,
        noises: Noises,
        grad_scale: f64,
    ) -> Result<Vec<f64>> {
        self.check(batch.input_ids)?;
        self.check(batch.targets)?;
        let layout = Layout::new(&*self.backend, &self.config, batch);
        let backend = Arc::clone(&self.backend);
        Ok(backend.pass(|| self.step_through(workspace, batch, &layout, noises, grad_scale)))
    }

    /// Forward and backward of a checked batch.
    fn step_through(
        &mut self,
        workspace: &mut Option<Workspace<B>>,
        batch: Batch,
        layout: &Layout<B>,
        Noises { dropout_key, embedding }: Noises,
        grad_scale: f64,
    ) -> Vec<f64> {
        let (backend, config) = (Arc::clone(&self.backend), self.config.clone());
        let ws = self.fit(workspace, layout.size(), true);
        let pass = Pass { side: Side::Tuned, dropout_key };
        let (ctx, top_ctx) = layout.contexts(&*backend, &config, pass);
        self.embed(&ctx, batch.input_ids, ws);
        if let Some(noise) = embedding {
            noise.add_to(&*backend, batch.segments, config.hidden_size, &mut ws.x);
        }
        self.hidden_forward(&ctx, ws);
        if let Some(block) = self.blocks.last() {
            self.top_forward(block, (&ctx, &top_ctx), &layout.narrow, ws);
        }
        self.rows_forward(&ctx, &layout.narrow, ws);
        let losses = self.head_backward(&ctx, batch, grad_scale, ws);
        self.rows_backward(&top_ctx, &layout.narrow, ws);
        self.hidden_backward((&ctx, &top_ctx), &layout.narrow, batch.input_ids, ws);
        losses
    }

    pub(crate) fn context<'a>(
        &'a self,
        pass: Pass,
        rows: usize,
        rope: &'a B::Buffer,
        segments: &'a [Segment],
    ) -> Context<'a, B> {
        Context { backend: &self.backend, config: &self.config, pass, rows, rope, segments }
    }

    /// Fills `ws.x`.
    fn embed(&self, ctx: &Context<B>, ids: &[u32], ws: &mut Workspace<B>) {
        let table = self.embed_tokens.mat(ctx.pass.side);
        ctx.backend.embed(ids, table, self.config.hidden_size, &mut ws.x);
    }

    /// All blocks but the last, on `ws.x`.
    fn hidden_forward(&self, ctx: &Context<B>, ws: &mut Workspace<B>) {
        let (b, c) = (ctx.backend, self.config.hidden_size);
        let below = self.blocks.len().saturating_sub(1);
        for (i, block) in self.blocks[..below].iter().enumerate() {
            if let Some(input) = ws.keeping.input(i) {
                b.copy_rows(&ws.x, 0, &mut ws.inputs[input], 0, ctx.rows, c);
            }
            let kept = &mut ws.kept[ws.keeping.slot(i)];
            block.forward(ctx, 7 * i as u64, &mut ws.x, kept, &mut ws.scratch, None);
        }
    }

    /// The last block, as far as the labelled rows need it: fills `ws.top`.
    fn top_forward(
        &self,
        block: &Block<B>,
        contexts: (&Context<B>, &Context<B>),
        narrow: &Narrow,
        ws: &mut Workspace<B>,
    ) {
        let site = 7 * (self.config.num_hidden_layers as u64 - 1);
        let Workspace { x, top, top_kept, scratch, .. } = ws;
        block.forward_narrow(contexts, narrow, site, x, top, top_kept, scratch);
    }

    /// From `ws.dtop`, down to the lowest trained block or the embedding.
    fn hidden_backward(
        &mut self,
        (ctx, top_ctx): (&Context<B>, &Context<B>),
        narrow: &Narrow,
        ids: &[u32],
        ws: &mut Workspace<B>,
    ) {
        let embedding = self.embed_tokens.is_trained();
        let (lowest, c) = (self.lowest_trained(), ctx.config.hidden_size);
        let Some((top, below)) = self.blocks.split_last_mut() else { return };
        let last = below.len();
        if lowest > last {
            return;
        }
        let Workspace { x, dx, dtop, kept, top_kept, inputs, scratch, keeping, .. } = ws;
        let need_dx = last > lowest || embedding;
        let site = 7 * last as u64;
        top.backward_narrow((ctx, top_ctx), narrow, site, dtop, dx, need_dx, top_kept, scratch);
        for (i, block) in below.iter_mut().enumerate().skip(lowest).rev() {
            let (site, kept) = (7 * i as u64, &mut kept[keeping.slot(i)]);
            if let Some(input) = keeping.input(i) {
                ctx.backend.copy_rows(&inputs[input], 0, x, 0, ctx.rows, c);
                block.recompute(ctx, site, x, kept, scratch);
            }
            block.backward(ctx, site, dx, i > lowest || embedding, kept, scratch);
        }
        if let Some(table) = self.embed_tokens.parameter_mut() {
            ctx.backend.embed_backward(ids, dx, c, &mut table.grad);
        }
    }

    /// The lowest block that a backward reaches; the number of blocks if it reaches none.
    fn lowest_trained(&self) -> usize {
        if self.embed_tokens.is_trained() {
            return 0;
        }
        self.blocks.iter().position(Block::is_trained).unwrap_or(self.blocks.len())
    }

    /// The last norm, over the labelled rows only: fills `ws.normed`.
    fn rows_forward(&self, ctx: &Context<B>, narrow: &Narrow, ws: &mut Workspace<B>) {
        let (c, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let (w, rows) = (&self.norm.parameter.value, &narrow.labelled);
        ctx.backend.gather_rows(&ws.top, rows, c, &mut ws.rows);
        ctx.backend.rms_norm(&ws.rows, w, eps, rows.len(), c, &mut ws.normed);
    }

    /// From `ws.dnormed` to `ws.dtop`.
    fn rows_backward(&mut self, top_ctx: &Context<B>, narrow: &Narrow, ws: &mut Workspace<B>) {
        let (b, c, eps) = (top_ctx.backend, top_ctx.config.hidden_size, top_ctx.config.rms_norm_eps);
        let (w, dw) = self.norm.split();
        let rows = &narrow.labelled;
        b.clear(&mut ws.drows, rows.len() * c);
        b.rms_norm_backward(&ws.rows, w, eps, rows.len(), c, &ws.dnormed, &mut ws.drows, dw);
        b.clear(&mut ws.dtop, top_ctx.rows * c);
        b.gather_rows_backward(&ws.drows, rows, c, &mut ws.dtop);
    }

    /// Loss of the labelled rows, and its gradient in `ws.dnormed` and in the head's weight if trained.
    fn head_backward(
        &mut self,
        ctx: &Context<B>,
        batch: Batch,
        scale: f64,
        ws: &mut Workspace<B>,
    ) -> Vec<f64> {
        let (b, c, v) = (ctx.backend, ctx.config.hidden_size, ctx.config.vocab_size);
        let weight = match &mut self.head {
            Head::Tied => &mut self.embed_tokens,
            Head::Own(weight) => weight,
        };
        let (head, dhead) = match weight {
            Weight::Frozen(matrix) => (Mat::Frozen(&**matrix), None),
            Weight::Trained { parameter: Parameter { value, grad, .. }, .. } => {
                (Mat::Dense(&*value), Some(grad))
            }
        };
        b.head_loss(&ws.normed, head, batch.targets, c, v, scale, Some(&mut ws.dnormed), dhead)
    }

    pub(crate) fn head_mat(&self, side: Side) -> Mat<'_, B> {
        match &self.head {
            Head::Tied => self.embed_tokens.mat(side),
            Head::Own(weight) => weight.mat(side),
        }
    }

    /// Normed hidden rows `[rows, C]` to logits `[rows, V]`.
    pub(crate) fn project(&self, normed: &B::Buffer, rows: usize, side: Side, logits: &mut B::Buffer) {
        let dims = Dims { rows, inputs: self.config.hidden_size, outputs: self.config.vocab_size };
        self.backend.linear(normed, self.head_mat(side), dims, 1.0, Out::Set, logits);
    }

    /// [`Decoder::project`] into memory of its own.
    pub(crate) fn project_out(&self, normed: &B::Buffer, rows: usize, side: Side) -> Vec<f32> {
        let len = rows * self.config.vocab_size;
        let mut logits = self.backend.zeros(len);
        self.project(normed, rows, side, &mut logits);
        let mut values = vec![0.0; len];
        self.backend.download(&logits, &mut values);
        values
    }

    /// One pass of the blocks with a KV cache; the new rows' keys and values go into it.
    pub(crate) fn blocks_cached(
        &self,
        ctx: &Context<B>,
        x: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
        layers: &mut [B::Cache],
    ) {
        for (i, (block, cache)) in self.blocks.iter().zip(layers).enumerate() {
            block.forward(ctx, 7 * i as u64, x, kept, scratch, Some(cache));
        }
    }

    /// Every trained tensor, in a fixed order: embedding, blocks, last norm, head.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        let mut all: Vec<_> = self.embed_tokens.parameter_mut().into_iter().collect();
        all.extend(self.blocks.iter_mut().flat_map(Block::parameters_mut));
        if self.norm.trained {
            all.push(&mut self.norm.parameter);
        }
        if let Head::Own(weight) = &mut self.head {
            all.extend(weight.parameter_mut());
        }
        all
    }

    /// Set all gradients to zero: the start of a step.
    pub fn clear_gradients(&mut self) {
        let backend = Arc::clone(&self.backend);
        for p in self.parameters_mut() {
            let len = p.len();
            backend.clear(&mut p.grad, len);
        }
    }

    /// Whether any LoRA branch drops inputs.
    pub fn has_dropout(&self) -> bool {
        self.blocks
            .iter()
            .any(|b| b.linear_layers().iter().any(|l| l.lora.as_ref().is_some_and(|x| x.dropout > 0.0)))
    }

    /// Compute now what the first pass after an update would: the norms that DoRA divides by.
    pub fn compute_row_norms(&self) {
        for layer in self.blocks.iter().flat_map(Block::linear_layers) {
            layer.dora(&*self.backend);
        }
    }

    pub(crate) fn has_dora(&self) -> bool {
        self.blocks.iter().any(|b| b.linear_layers().iter().any(|l| l.has_dora()))
    }

    pub(crate) fn ranks(&self, block: usize) -> [usize; 7] {
        self.blocks[block].linear_layers().map(|l| l.lora.as_ref().map_or(0, |x| x.rank))
    }

    pub(crate) fn max_ranks(&self) -> [usize; 7] {
        let mut max = [0; 7];
        for block in 0..self.blocks.len() {
            for (m, r) in max.iter_mut().zip(self.ranks(block)) {
                *m = (*m).max(r);
            }
        }
        max
    }

    /// The workspace, made anew where the one given is too small for the batch.
    fn fit<'w>(
        &self,
        workspace: &'w mut Option<Workspace<B>>,
        size: BatchSize,
        backward: bool,
    ) -> &'w mut Workspace<B> {
        let need = self.workspace_spec(size, backward);
        let ws = match workspace.take() {
            Some(ws) if ws.serves(&need) => ws,
            // The old one is given back before the new one is made.
            Some(ws) => Workspace::new(&*self.backend, &self.config, ws.widened(need)),
            None => Workspace::new(&*self.backend, &self.config, need),
        };
        workspace.insert(ws)
    }

    /// Make the workspace for training passes up to this size at once, rather than as they grow.
    pub fn reserve(&self, workspace: &mut Option<Workspace<B>>, size: BatchSize) {
        self.fit(workspace, size, true);
    }

    pub(crate) fn workspace_spec(&self, size: BatchSize, backward: bool) -> WorkspaceSpec {
        let layers = self.blocks.len();
        WorkspaceSpec {
            ranks: (0..layers).map(|i| self.ranks(i)).collect(),
            dora: self.has_dora(),
            size,
            keeping: backward.then(|| Keeping::new(layers, self.lowest_trained(), self.recompute)),
            dropout: backward && self.has_dropout(),
        }
    }

    pub(crate) fn check(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.config.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(&id) => Err(Error::TokenId { id, vocab }),
            None => Ok(()),
        }
    }
}

/// A batch as the blocks see it.
struct Layout<B: Backend> {
    rows: usize,
    segments: Vec<Segment>,
    narrow: Narrow,
    /// `[T, D]`, and of the rows that ask in the last block, `[M, D]`
    rope: B::Buffer,
    top_rope: B::Buffer,
}

impl<B: Backend> Layout<B> {
    fn new(backend: &B, config: &Config, batch: Batch) -> Self {
        let segments = causal(batch);
        let narrow = Narrow::new(&segments, batch.rows);
        Self::of(backend, config, batch, segments, narrow)
    }

    fn of(backend: &B, config: &Config, batch: Batch, segments: Vec<Segment>, narrow: Narrow) -> Self {
        let rope = backend.rope_table(batch.positions, &config.rope.inv_freq(config.head_dim));
        let mut top_rope = backend.zeros(narrow.rows.len() * config.head_dim);
        backend.gather_rows(&rope, &narrow.rows, config.head_dim, &mut top_rope);
        Self { rows: batch.input_ids.len(), segments, narrow, rope, top_rope }
    }

    fn size(&self) -> BatchSize {
        BatchSize::of(self.rows, &self.narrow)
    }

    /// Of all rows, and of those that ask in the last block.
    fn contexts<'a>(
        &'a self,
        backend: &'a B,
        config: &'a Config,
        pass: Pass,
    ) -> (Context<'a, B>, Context<'a, B>) {
        let (segments, narrow) = (&self.segments, &self.narrow);
        let all = Context { backend, config, pass, rows: self.rows, rope: &self.rope, segments };
        let rows = narrow.rows.len();
        (all, Context { backend, config, pass, rows, rope: &self.top_rope, segments: &narrow.segments })
    }
}

/// Training segments: every row of an example attends to the rows before it.
fn causal(batch: Batch) -> Vec<Segment> {
    let prefix = |i: usize| batch.prefixes.get(i).cloned().unwrap_or_default();
    batch.segments.iter().enumerate().map(|(i, rows)| Segment::after(prefix(i), rows.clone())).collect()
}
