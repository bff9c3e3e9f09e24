//! What a block's passes write to: what is kept for the backward, and what every block uses in turn.
//!
//! Letters as in [`super`]; M rows that the last block asks attention for (all T, but in a narrow pass).

use crate::config::Config;
use crate::linear::{Branch, LinearScratch, LinearScratchSize};
use tolmach_engine::Backend;

/// Rows of a pass of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRows {
    /// T: rows whose keys and values are computed
    pub keys: usize,
    /// M: rows that ask, and go on to the MLP
    pub queries: usize,
}

impl BlockRows {
    /// Every row asks.
    pub fn all(rows: usize) -> Self {
        Self { keys: rows, queries: rows }
    }
}

/// Activations that a block's backward reads.
pub struct Kept<B: Backend> {
    /// The residual stream before attention, `[T, C]`
    pub(super) x_in: B::Buffer,
    /// After RoPE, `[M, H·D]`, `[T, K·D]`
    pub(super) q: B::Buffer,
    pub(super) k: B::Buffer,
    pub(super) v: B::Buffer,
    /// Attention's output before o_proj, `[M, H·D]`, and its log-sum-exp, `[M, H]`
    pub(super) attn: B::Buffer,
    pub(super) lse: B::Buffer,
    /// The residual stream before the MLP, `[M, C]`
    pub(super) x_mid: B::Buffer,
    /// `[M, F]`
    pub(super) gate: B::Buffer,
    pub(super) up: B::Buffer,
    /// Of each linear layer, M rows; T of k_proj and v_proj
    pub(super) u: [Branch<B>; 7],
}

/// The branches of a block's linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branches {
    /// LoRA's rank, 0 without
    pub ranks: [usize; 7],
    /// Whether they are DoRA's
    pub dora: bool,
}

impl Branches {
    /// Whether buffers made for these do for others too.
    pub fn serve(self, need: Self) -> bool {
        self.max(need) == self
    }

    /// What serves both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let ranks = std::array::from_fn(|i| self.ranks[i].max(other.ranks[i]));
        Self { ranks, dora: self.dora || other.dora }
    }
}

impl<B: Backend> Kept<B> {
    pub fn new(backend: &B, config: &Config, rows: BlockRows, branches: Branches) -> Self {
        let [x_in, q, k, v, attn, lse, x_mid, gate, up] =
            kept_sizes(config, rows).map(|len| backend.zeros(len));
        let u = branch_sizes(config, rows, branches)
            .map(|[u, z]| Branch { u: backend.zeros(u), z: backend.zeros(z) });
        Self { x_in, q, k, v, attn, lse, x_mid, gate, up, u }
    }

    #[cfg(test)]
    pub fn buffers(&self) -> impl Iterator<Item = &B::Buffer> {
        let Self { x_in, q, k, v, attn, lse, x_mid, gate, up, u } = self;
        [x_in, q, k, v, attn, lse, x_mid, gate, up].into_iter().chain(u.iter().flat_map(|b| [&b.u, &b.z]))
    }

    /// Values in these buffers.
    pub fn values(config: &Config, rows: BlockRows, branches: Branches) -> usize {
        let branches = branch_sizes(config, rows, branches);
        kept_sizes(config, rows).iter().chain(branches.as_flattened()).sum()
    }
}

/// Values of each buffer of [`Kept`] but the branches', in order.
fn kept_sizes(config: &Config, BlockRows { keys: t, queries: m }: BlockRows) -> [usize; 9] {
    let (c, f, h) = (config.hidden_size, config.intermediate_size, config.num_attention_heads);
    let (hd, kd) = (h * config.head_dim, config.num_key_value_heads * config.head_dim);
    [t * c, m * hd, t * kd, t * kd, m * hd, m * h, m * c, m * f, m * f]
}

/// Values of u and z of each [`Branch`].
fn branch_sizes(
    config: &Config,
    BlockRows { keys: t, queries: m }: BlockRows,
    Branches { ranks, dora }: Branches,
) -> [[usize; 2]; 7] {
    let (c, f) = (config.hidden_size, config.intermediate_size);
    let (hd, kd) =
        (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let (rows, outputs) = ([m, t, t, m, m, m, m], [hd, kd, kd, c, f, f, c]);
    std::array::from_fn(|i| {
        let z = if dora && ranks[i] > 0 { rows[i] * outputs[i] } else { 0 };
        [rows[i] * ranks[i], z]
    })
}

/// Buffers that every block uses in turn.
pub struct Scratch<B: Backend> {
    /// A norm's output, `[T, C]`, and its gradient
    pub(super) norm: B::Buffer,
    pub(super) dnorm: B::Buffer,
    /// silu(gate)·up, `[T, F]`, then the gradient of gate
    pub(super) h: B::Buffer,
    /// Gradients; empty where no backward will run. That of h becomes that of up
    pub(super) dh: B::Buffer,
    pub(super) dattn: B::Buffer,
    pub(super) dq: B::Buffer,
    pub(super) dk: B::Buffer,
    pub(super) dv: B::Buffer,
    /// The norm of the rows that ask in a narrow pass, `[M, C]`, and its gradient
    pub(super) narrow_norm: B::Buffer,
    pub(super) narrow_dnorm: B::Buffer,
    pub(super) linear: LinearScratch<B>,
}

/// How much scratch memory a pass needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchSize {
    /// T
    pub rows: usize,
    /// M of the narrow pass of the last block; 0 where there is none
    pub narrow: usize,
    /// LoRA's, of the seven layers: the largest of all blocks
    pub ranks: [usize; 7],
    pub backward: bool,
    pub dropout: bool,
    pub dora: bool,
}

impl ScratchSize {
    fn linear(self, config: &Config) -> LinearScratchSize {
        let Self { rows, ranks, dropout, .. } = self;
        let dora = self.dora && self.backward;
        LinearScratchSize { rows, widest: widest(config), ranks, dropout, dora }
    }
}

impl<B: Backend> Scratch<B> {
    pub fn new(backend: &B, config: &Config, size: ScratchSize) -> Self {
        let sizes = scratch_sizes(config, size).map(|len| backend.zeros(len));
        let [norm, dnorm, h, dh, dattn, dq, dk, dv, narrow_norm, narrow_dnorm] = sizes;
        let linear = LinearScratch::new(backend, size.linear(config));
        Self { norm, dnorm, h, dh, dattn, dq, dk, dv, narrow_norm, narrow_dnorm, linear }
    }

    #[cfg(test)]
    pub fn buffers(&self) -> impl Iterator<Item = &B::Buffer> {
        let Self { norm, dnorm, h, dh, dattn, dq, dk, dv, narrow_norm, narrow_dnorm, linear } = self;
        let own = [norm, dnorm, h, dh, dattn, dq, dk, dv, narrow_norm, narrow_dnorm];
        own.into_iter().chain(linear.buffers())
    }

    /// Values in these buffers.
    pub fn values(config: &Config, size: ScratchSize) -> usize {
        let linear = LinearScratch::<B>::values(size.linear(config));
        scratch_sizes(config, size).iter().sum::<usize>() + linear
    }
}

/// The widest input or output of a linear layer.
fn widest(config: &Config) -> usize {
    let heads = config.num_attention_heads * config.head_dim;
    config.hidden_size.max(config.intermediate_size).max(heads)
}

/// Values of each buffer of [`Scratch`], in order.
fn scratch_sizes(config: &Config, size: ScratchSize) -> [usize; 10] {
    let (c, f, t, m) = (config.hidden_size, config.intermediate_size, size.rows, size.narrow);
    let (hd, kd) =
        (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let back = |len: usize| if size.backward { len } else { 0 };
    let gradients = [t * f, t * hd, t * hd, t * kd, t * kd, m * c].map(back);
    let [dh, dattn, dq, dk, dv, narrow_dnorm] = gradients;
    [t * c, back(t * c), t * f, dh, dattn, dq, dk, dv, m * c, narrow_dnorm]
}
