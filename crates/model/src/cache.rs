//! Keys and values of the tokens seen so far, for any number of sequences decoded together.

use crate::block::{BlockRows, Kept, Scratch, ScratchSize};
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::linear::Pass;
use crate::parameter::Side;
use tolmach_engine::{Backend, Segment};

/// A KV cache of `slots` sequences of up to `capacity` tokens each.
pub struct KvCache<B: Backend> {
    side: Side,
    capacity: usize,
    /// Tokens held, per slot
    lengths: Vec<usize>,
    /// Per block: keys and values, `[slots · capacity, K · D]`
    layers: Vec<(B::Buffer, B::Buffer)>,
    /// Buffers for passes of up to `rows` tokens
    pass: Option<PassBuffers<B>>,
}

struct PassBuffers<B: Backend> {
    rows: usize,
    x: B::Buffer,
    last: B::Buffer,
    normed: B::Buffer,
    kept: Kept<B>,
    scratch: Scratch<B>,
}

impl<B: Backend> KvCache<B> {
    pub fn new(model: &Decoder<B>, side: Side, slots: usize, capacity: usize) -> Self {
        let width = model.config.num_key_value_heads * model.config.head_dim;
        let zeros = || model.backend.zeros(slots * capacity * width);
        Self {
            side,
            capacity,
            lengths: vec![0; slots],
            layers: model.blocks.iter().map(|_| (zeros(), zeros())).collect(),
            pass: None,
        }
    }

    /// Tokens held in a slot.
    pub fn len(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&n| n == 0)
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forget all tokens of a slot beyond the first `len`.
    pub fn truncate(&mut self, slot: usize, len: usize) {
        self.lengths[slot] = self.lengths[slot].min(len);
    }
}

impl<B: Backend> Decoder<B> {
    /// Feed new tokens of several sequences in one pass; logits `[inputs.len(), V]` after the last
    /// token of each. `inputs` are (slot, tokens), each slot at most once, none empty.
    ///
    /// # Errors
    /// A token id outside the vocabulary; a slot that would overflow (nothing is fed then).
    pub fn decode(&self, cache: &mut KvCache<B>, inputs: &[(usize, &[u32])]) -> Result<Vec<f32>> {
        for (slot, tokens) in inputs {
            self.check(tokens)?;
            let total = cache.lengths[*slot] + tokens.len();
            if total > cache.capacity {
                let limit = format!("the KV cache holds {} tokens", cache.capacity);
                return Err(Error::TooLong { tokens: total, limit });
            }
        }
        let plan = Plan::new(cache, inputs);
        let rows = plan.ids.len();
        let (b, config) = (&*self.backend, &self.config);
        let (c, eps, side) = (config.hidden_size, config.rms_norm_eps, cache.side);
        let pass = cache.pass.take().filter(|p| p.rows >= rows).unwrap_or_else(|| self.pass_buffers(rows));
        let PassBuffers { mut x, mut last, mut normed, mut kept, mut scratch, rows: capacity } = pass;
        let rope = b.rope_table(&plan.positions, &config.rope.inv_freq(config.head_dim));
        let ctx = self.context(Pass::inference(side), rows, &rope, &plan.segments);
        b.embed(&plan.ids, self.embed_tokens.mat(side), c, &mut x);
        self.blocks_cached(&ctx, &mut x, &mut kept, &mut scratch, &mut cache.layers, &plan.appends);
        b.gather_rows(&x, &plan.last, c, &mut last);
        b.rms_norm(&last, &self.norm.parameter.value, eps, plan.last.len(), c, &mut normed);
        let logits = self.project(&normed, plan.last.len(), side);
        cache.pass = Some(PassBuffers { rows: capacity, x, last, normed, kept, scratch });
        for (slot, tokens) in inputs {
            cache.lengths[*slot] += tokens.len();
        }
        Ok(logits)
    }

    fn pass_buffers(&self, rows: usize) -> PassBuffers<B> {
        let (b, c) = (&*self.backend, self.config.hidden_size);
        let max_rank = self.max_ranks().into_iter().max().unwrap_or(0);
        let scratch = ScratchSize { rows, narrow: 0, max_rank, backward: false, dropout: false };
        PassBuffers {
            rows,
            x: b.zeros(rows * c),
            last: b.zeros(rows * c),
            normed: b.zeros(rows * c),
            kept: Kept::new(b, &self.config, BlockRows::all(rows), self.max_ranks()),
            scratch: Scratch::new(b, &self.config, scratch),
        }
    }
}

/// Where each new token of a pass stands.
struct Plan {
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    /// (row of the pass, row of the cache, rows)
    appends: Vec<(usize, usize, usize)>,
    /// The last row of each input
    last: Vec<usize>,
}

impl Plan {
    fn new<B: Backend>(cache: &KvCache<B>, inputs: &[(usize, &[u32])]) -> Self {
        let mut plan =
            Plan { ids: vec![], positions: vec![], segments: vec![], appends: vec![], last: vec![] };
        for &(slot, tokens) in inputs {
            let (from, held, n) = (plan.ids.len(), cache.lengths[slot], tokens.len());
            let base = slot * cache.capacity;
            plan.ids.extend_from_slice(tokens);
            plan.positions.extend((held..held + n).map(|p| p as u32));
            plan.segments.push(Segment::new(from..from + n, base..base + held + n));
            plan.appends.push((from, base + held, n));
            plan.last.push(from + n - 1);
        }
        plan
    }
}
