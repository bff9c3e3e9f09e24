//! The buffers of a training or evaluation pass: planned once, used again; and how many values they hold.
//!
//! Letters as in [`super`]; M rows that ask in the last block · L blocks.

use crate::block::{BlockRows, Branches, Kept, Narrow, Scratch, ScratchSize};
use crate::config::Config;
use tolmach_engine::Backend;

/// Sizes of a micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSize {
    /// T
    pub rows: usize,
    /// M: in each segment the rows from the first labelled one on
    pub queries: usize,
    /// N
    pub labelled: usize,
}

impl BatchSize {
    pub(super) fn of(rows: usize, narrow: &Narrow) -> Self {
        Self { rows, queries: narrow.rows.len(), labelled: narrow.labelled.len() }
    }

    /// What serves both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            rows: self.rows.max(other.rows),
            queries: self.queries.max(other.queries),
            labelled: self.labelled.max(other.labelled),
        }
    }

    fn fits(self, other: Self) -> bool {
        self.max(other) == other
    }
}

/// Which blocks keep what for the backward. The last block always keeps what it needs.
///
/// Of the blocks below it, `0 .. shared` write to one set of buffers in turn; those among them that are
/// trained keep their input and are computed again, all but the topmost, whose activations are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// No backward reaches the blocks below this one.
    lowest: usize,
    shared: usize,
}

impl Keeping {
    /// Of a model of `layers` blocks: `lowest` is the first that a backward reaches, and from there on
    /// `recompute` blocks are computed again.
    pub fn new(layers: usize, lowest: usize, recompute: usize) -> Self {
        let below = layers.saturating_sub(1);
        let lowest = lowest.min(below);
        Self { lowest, shared: (lowest + recompute).min(below) }
    }

    /// Nothing is kept: no backward follows.
    fn nothing(layers: usize) -> Self {
        let below = layers.saturating_sub(1);
        Self { lowest: below, shared: below }
    }

    /// Where block `i`, not the last, writes its activations.
    pub(super) fn slot(self, i: usize) -> usize {
        if i < self.shared { 0 } else { i - self.shared + usize::from(self.shared > 0) }
    }

    /// Where the input of block `i` is kept, if it is computed again.
    pub(super) fn input(self, i: usize) -> Option<usize> {
        (self.lowest <= i && i + 1 < self.shared).then(|| i - self.lowest)
    }

    fn inputs(self) -> usize {
        (self.shared - self.lowest).saturating_sub(1)
    }
}

/// Everything that the sizes of a workspace follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceSpec {
    /// LoRA's rank of each linear layer of each block, 0 without
    pub ranks: Vec<[usize; 7]>,
    /// Whether the branches are DoRA's
    pub dora: bool,
    pub size: BatchSize,
    /// `None`: no backward follows
    pub keeping: Option<Keeping>,
    pub dropout: bool,
}

impl WorkspaceSpec {
    fn layers(&self) -> usize {
        self.ranks.len()
    }

    fn keeping(&self) -> Keeping {
        self.keeping.unwrap_or(Keeping::nothing(self.layers()))
    }

    /// The largest rank of each kind of layer.
    fn max_ranks(&self) -> [usize; 7] {
        std::array::from_fn(|kind| self.ranks.iter().map(|ranks| ranks[kind]).max().unwrap_or(0))
    }

    fn scratch(&self) -> ScratchSize {
        ScratchSize {
            rows: self.size.rows,
            narrow: self.size.queries,
            ranks: self.max_ranks(),
            backward: self.keeping.is_some(),
            dropout: self.dropout,
            dora: self.dora,
        }
    }

    /// Rows and branches of each set of kept activations, the last block's at the end.
    fn kept(&self) -> Vec<(BlockRows, Branches)> {
        let branches = |ranks: [usize; 7]| Branches { ranks, dora: self.dora };
        let (shared, all) = (self.keeping().shared, BlockRows::all(self.size.rows));
        let mut kept = Vec::new();
        if shared > 0 {
            kept.push((all, branches(self.max_ranks())));
        }
        let last = self.layers().saturating_sub(1);
        kept.extend(self.ranks[shared..last].iter().map(|&ranks| (all, branches(ranks))));
        let narrow = BlockRows { keys: self.size.rows, queries: self.size.queries };
        kept.extend(self.ranks.last().map(|&ranks| (narrow, branches(ranks))));
        kept
    }

    /// Values of the residual stream and what hangs on it: x, dx, top, dtop, then those of the labelled rows.
    fn streams(&self, width: usize) -> [usize; 8] {
        let BatchSize { rows: t, queries: m, labelled: n } = self.size;
        let back = |rows: usize| if self.keeping.is_some() { rows * width } else { 0 };
        [t * width, back(t), m * width, back(m), n * width, n * width, back(n), back(n)]
    }

    /// Values of what is kept for the backward: activations, and inputs of blocks to be computed again.
    pub fn kept_values<B: Backend>(&self, config: &Config) -> usize {
        let kept: usize = self.kept().iter().map(|&(rows, r)| Kept::<B>::values(config, rows, r)).sum();
        kept + self.keeping().inputs() * self.size.rows * config.hidden_size
    }

    /// Values of all other buffers, with the RoPE tables that a pass makes.
    pub fn scratch_values<B: Backend>(&self, config: &Config) -> usize {
        let rope = (self.size.rows + self.size.queries) * config.head_dim;
        let streams: usize = self.streams(config.hidden_size).iter().sum();
        rope + streams + Scratch::<B>::values(config, self.scratch())
    }
}

/// Buffers of a training or evaluation pass, made for the largest micro-batch seen and used again.
pub struct Workspace<B: Backend> {
    spec: WorkspaceSpec,
    pub(super) keeping: Keeping,
    /// The residual stream and its gradient, `[T, C]`
    pub(super) x: B::Buffer,
    pub(super) dx: B::Buffer,
    /// The rows of it that ask in the last block, `[M, C]`
    pub(super) top: B::Buffer,
    pub(super) dtop: B::Buffer,
    /// See [`Keeping`]
    pub(super) kept: Vec<Kept<B>>,
    pub(super) top_kept: Kept<B>,
    pub(super) inputs: Vec<B::Buffer>,
    pub(super) scratch: Scratch<B>,
    /// The labelled rows before and after the last norm, and their gradients, `[N, C]`
    pub(super) rows: B::Buffer,
    pub(super) normed: B::Buffer,
    pub(super) drows: B::Buffer,
    pub(super) dnormed: B::Buffer,
}

impl<B: Backend> Workspace<B> {
    pub(super) fn new(backend: &B, config: &Config, spec: WorkspaceSpec) -> Self {
        let values = spec.kept_values::<B>(config) + spec.scratch_values::<B>(config);
        backend.together(values, || Self::buffers(backend, config, spec))
    }

    fn buffers(backend: &B, config: &Config, spec: WorkspaceSpec) -> Self {
        let z = |len: usize| backend.zeros(len);
        let keeping = spec.keeping();
        let mut kept: Vec<Kept<B>> = spec
            .kept()
            .into_iter()
            .map(|(rows, branches)| Kept::new(backend, config, rows, branches))
            .collect();
        let top_kept = kept.pop().unwrap_or_else(|| {
            Kept::new(backend, config, BlockRows::all(0), Branches { ranks: [0; 7], dora: false })
        });
        let [x, dx, top, dtop, rows, normed, drows, dnormed] = spec.streams(config.hidden_size).map(z);
        Self {
            keeping,
            x,
            dx,
            top,
            dtop,
            kept,
            top_kept,
            inputs: (0..keeping.inputs()).map(|_| z(spec.size.rows * config.hidden_size)).collect(),
            scratch: Scratch::new(backend, config, spec.scratch()),
            rows,
            normed,
            drows,
            dnormed,
            spec,
        }
    }

    /// Whether a pass of this kind can use these buffers.
    pub(super) fn serves(&self, need: &WorkspaceSpec) -> bool {
        let (have, keeps) = (&self.spec, need.keeping.is_none() || self.spec.keeping == need.keeping);
        let alike = have.ranks == need.ranks && have.dora == need.dora;
        keeps && need.size.fits(have.size) && (have.dropout || !need.dropout) && alike
    }

    /// What serves passes of this kind and those that it was made for.
    pub(super) fn widened(self, need: WorkspaceSpec) -> WorkspaceSpec {
        WorkspaceSpec {
            size: self.spec.size.max(need.size),
            keeping: need.keeping.or(self.spec.keeping),
            dropout: need.dropout || self.spec.dropout,
            ranks: need.ranks,
            dora: need.dora,
        }
    }

    /// Values of all buffers, counted one by one.
    #[cfg(test)]
    pub(super) fn values(&self, backend: &B) -> usize {
        let Self { x, dx, top, dtop, rows, normed, drows, dnormed, .. } = self;
        let streams = [x, dx, top, dtop, rows, normed, drows, dnormed].into_iter().chain(&self.inputs);
        let kept = self.kept.iter().chain([&self.top_kept]).flat_map(Kept::buffers);
        streams.chain(kept).chain(self.scratch.buffers()).map(|buffer| backend.len(buffer)).sum()
    }
}
