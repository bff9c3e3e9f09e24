//! The whole decoder: embedding, blocks, last norm, head, loss; forward, and backward beside it.
//!
//! Legend: T packed rows of a micro-batch · N labelled rows among them · C hidden · V vocabulary.

mod once;

use crate::block::{Block, CacheLayer, Context, Kept, Scratch};
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

/// Buffers of a training or evaluation pass, made for the largest micro-batch seen and used again.
pub struct Workspace<B: Backend> {
    capacity: (usize, usize),
    keeps: bool,
    dropout: bool,
    /// The residual stream and its gradient, `[T, C]`
    x: B::Buffer,
    dx: B::Buffer,
    /// One per block if a backward follows, else one for all
    kept: Vec<Kept<B>>,
    scratch: Scratch<B>,
    /// The labelled rows before and after the last norm, and their gradients, `[N, C]`
    rows: B::Buffer,
    normed: B::Buffer,
    drows: B::Buffer,
    dnormed: B::Buffer,
}

impl<B: Backend> Decoder<B> {
    /// Loss of each labelled row in nats, without gradients.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn losses(&self, workspace: &mut Option<Workspace<B>>, batch: Batch, side: Side) -> Result<Vec<f64>> {
        self.check(batch.input_ids)?;
        self.check(batch.targets)?;
        let ws = self.fit(workspace, batch, false);
        let segments = causal(batch);
        let b = &*self.backend;
        let rope = b.rope_table(batch.positions, &self.config.rope.inv_freq(self.config.head_dim));
        let ctx = self.context(Pass::inference(side), batch.input_ids.len(), &rope, &segments);
        self.hidden_forward(&ctx, batch.input_ids, ws);
        self.rows_forward(&ctx, batch.rows, ws);
        let (c, v) = (self.config.hidden_size, self.config.vocab_size);
        Ok(b.head_loss(&ws.normed, self.head_mat(side), batch.targets, c, v, 0.0, None, None))
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
        dropout_key: Option<u64>,
        grad_scale: f64,
    ) -> Result<Vec<f64>> {
        self.check(batch.input_ids)?;
        self.check(batch.targets)?;
        let ws = self.fit(workspace, batch, true);
        let segments = causal(batch);
        let backend = Arc::clone(&self.backend);
        let config = self.config.clone();
        let rope = backend.rope_table(batch.positions, &config.rope.inv_freq(config.head_dim));
        let ctx = Context {
            backend: &*backend,
            config: &config,
            pass: Pass { side: Side::Tuned, dropout_key },
            rows: batch.input_ids.len(),
            rope: &rope,
            segments: &segments,
        };
        self.hidden_forward(&ctx, batch.input_ids, ws);
        self.rows_forward(&ctx, batch.rows, ws);
        let losses = self.head_backward(&ctx, batch, grad_scale, ws);
        self.rows_backward(&ctx, batch.rows, ws);
        self.hidden_backward(&ctx, batch.input_ids, ws);
        Ok(losses)
    }

    /// Logits `[rows.len(), V]` of the given rows of a packed batch.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn logits(&self, workspace: &mut Option<Workspace<B>>, batch: Batch, side: Side) -> Result<Vec<f32>> {
        self.check(batch.input_ids)?;
        let ws = self.fit(workspace, batch, false);
        let segments = causal(batch);
        let rope = self.backend.rope_table(batch.positions, &self.config.rope.inv_freq(self.config.head_dim));
        let ctx = self.context(Pass::inference(side), batch.input_ids.len(), &rope, &segments);
        self.hidden_forward(&ctx, batch.input_ids, ws);
        self.rows_forward(&ctx, batch.rows, ws);
        Ok(self.project(&ws.normed, batch.rows.len(), side))
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

    /// Embedding and blocks: fills `ws.x`.
    fn hidden_forward(&self, ctx: &Context<B>, ids: &[u32], ws: &mut Workspace<B>) {
        ctx.backend.embed(ids, self.embed_tokens.mat(ctx.pass.side), self.config.hidden_size, &mut ws.x);
        for (i, block) in self.blocks.iter().enumerate() {
            let slot = i.min(ws.kept.len() - 1);
            block.forward(ctx, 7 * i as u64, &mut ws.x, &mut ws.kept[slot], &mut ws.scratch, None);
        }
    }

    /// From `ws.dx`, down to the lowest trained block or the embedding.
    fn hidden_backward(&mut self, ctx: &Context<B>, ids: &[u32], ws: &mut Workspace<B>) {
        let embedding = self.embed_tokens.is_trained();
        let lowest =
            if embedding { Some(0) } else { self.blocks.iter().position(|block| block.is_trained()) };
        let Some(lowest) = lowest else { return };
        for (i, block) in self.blocks.iter_mut().enumerate().skip(lowest).rev() {
            let need_dx = i > lowest || embedding;
            block.backward(ctx, 7 * i as u64, &mut ws.dx, need_dx, &ws.kept[i], &mut ws.scratch);
        }
        if let Some(table) = self.embed_tokens.parameter_mut() {
            ctx.backend.embed_backward(ids, &ws.dx, ctx.config.hidden_size, &mut table.grad);
        }
    }

    /// The last norm, over the labelled rows only: fills `ws.normed`.
    fn rows_forward(&self, ctx: &Context<B>, rows: &[usize], ws: &mut Workspace<B>) {
        let (c, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        ctx.backend.gather_rows(&ws.x, rows, c, &mut ws.rows);
        ctx.backend.rms_norm(&ws.rows, &self.norm.parameter.value, eps, rows.len(), c, &mut ws.normed);
    }

    /// From `ws.dnormed` to `ws.dx`.
    fn rows_backward(&mut self, ctx: &Context<B>, rows: &[usize], ws: &mut Workspace<B>) {
        let (b, c, eps) = (ctx.backend, ctx.config.hidden_size, ctx.config.rms_norm_eps);
        let (w, dw) = self.norm.split();
        b.clear(&mut ws.drows, rows.len() * c);
        b.rms_norm_backward(&ws.rows, w, eps, rows.len(), c, &ws.dnormed, &mut ws.drows, dw);
        b.clear(&mut ws.dx, ctx.rows * c);
        b.gather_rows_backward(&ws.drows, rows, c, &mut ws.dx);
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
    pub(crate) fn project(&self, normed: &B::Buffer, rows: usize, side: Side) -> Vec<f32> {
        let dims = Dims { rows, inputs: self.config.hidden_size, outputs: self.config.vocab_size };
        let mut logits = self.backend.zeros(rows * dims.outputs);
        self.backend.linear(normed, self.head_mat(side), dims, 1.0, Out::Set, &mut logits);
        let mut values = vec![0.0; rows * dims.outputs];
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
        cache: &mut [(B::Buffer, B::Buffer)],
        appends: &[(usize, usize, usize)],
    ) {
        for (i, (block, (k, v))) in self.blocks.iter().zip(cache).enumerate() {
            block.forward(ctx, 7 * i as u64, x, kept, scratch, Some(CacheLayer { k, v, appends }));
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
        batch: Batch,
        backward: bool,
    ) -> &'w mut Workspace<B> {
        let dropout = backward && self.has_dropout();
        let need = (batch.input_ids.len(), batch.rows.len());
        let old = workspace.take().filter(|w| {
            w.capacity.0 >= need.0
                && w.capacity.1 >= need.1
                && (w.keeps || !backward)
                && (w.dropout || !dropout)
        });
        workspace.insert(old.unwrap_or_else(|| self.workspace(need.0, need.1, backward, dropout)))
    }

    fn workspace(&self, rows: usize, labelled: usize, backward: bool, dropout: bool) -> Workspace<B> {
        let (b, c) = (&*self.backend, self.config.hidden_size);
        let back = |n: usize| b.zeros(if backward { n * c } else { 0 });
        let kept = if backward {
            (0..self.blocks.len()).map(|i| Kept::new(b, &self.config, rows, self.ranks(i))).collect()
        } else {
            vec![Kept::new(b, &self.config, rows, self.max_ranks())]
        };
        let max_rank = self.max_ranks().into_iter().max().unwrap_or(0);
        Workspace {
            capacity: (rows, labelled),
            keeps: backward,
            dropout,
            x: b.zeros(rows * c),
            dx: back(rows),
            kept,
            scratch: Scratch::new(b, &self.config, rows, max_rank, backward, dropout),
            rows: b.zeros(labelled * c),
            normed: b.zeros(labelled * c),
            drows: back(labelled),
            dnormed: back(labelled),
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

/// Training segments: every row of an example attends to the rows before it.
fn causal(batch: Batch) -> Vec<Segment> {
    let prefix = |i: usize| batch.prefixes.get(i).cloned().unwrap_or_default();
    batch.segments.iter().enumerate().map(|(i, rows)| Segment::after(prefix(i), rows.clone())).collect()
}
