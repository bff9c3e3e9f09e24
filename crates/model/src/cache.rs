//! Keys and values of the tokens seen so far, for any number of sequences decoded together.

use crate::block::{BlockRows, Branches, Kept, Scratch, ScratchSize};
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::linear::Pass;
use crate::parameter::Side;
use tolmach_engine::{Backend, CACHE_BLOCK, CacheType, Segment};

/// Keys and values of many sequences, each in a slot: a run of rows of its own.
///
/// Slots are all alike and there from the start ([`KvCache::new`]), or cut out of the rows as sequences come
/// and go ([`KvCache::arena`], [`KvCache::reserve`], [`KvCache::release`]).
pub struct KvCache<B: Backend> {
    side: Side,
    /// Rows of every layer
    rows: usize,
    slots: Vec<Slot>,
    /// Keys and values of each block
    layers: Vec<B::Cache>,
    /// Buffers for passes of up to `rows` tokens
    pass: Option<PassBuffers<B>>,
}

/// Rows from `start` on, for up to `capacity` tokens, the first `len` of them held. A released one has no
/// capacity.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: usize,
    capacity: usize,
    len: usize,
}

impl Slot {
    /// Rows taken: whole blocks.
    fn rows(self) -> usize {
        self.capacity.next_multiple_of(CACHE_BLOCK)
    }

    fn end(self) -> usize {
        self.start + self.rows()
    }
}

struct PassBuffers<B: Backend> {
    rows: usize,
    /// Of the adapter they were made for; one of smaller ranks may use them too.
    branches: Branches,
    x: B::Buffer,
    last: B::Buffer,
    normed: B::Buffer,
    kept: Kept<B>,
    scratch: Scratch<B>,
    /// `[sequences, V]`, made when they are first needed
    logits: B::Buffer,
    /// Where logits are copied to that lie on a device
    copied: Vec<f32>,
}

impl<B: Backend> KvCache<B> {
    /// `slots` sequences of up to `capacity` tokens each.
    pub fn new(model: &Decoder<B>, side: Side, slots: usize, capacity: usize) -> Self {
        let step = capacity.next_multiple_of(CACHE_BLOCK);
        let mut cache = Self::arena(model, slots * step, CacheType::F32);
        cache.side = side;
        cache.slots = (0..slots).map(|i| Slot { start: i * step, capacity, len: 0 }).collect();
        cache
    }

    /// Room for `rows` tokens in all, rounded up to whole blocks of [`CACHE_BLOCK`], without slots yet; for
    /// [`Side::Base`] unless a pass says otherwise ([`Decoder::decode_as`]).
    pub fn arena(model: &Decoder<B>, rows: usize, kind: CacheType) -> Self {
        let rows = rows.next_multiple_of(CACHE_BLOCK);
        let (heads, dim) = (model.config.num_key_value_heads, model.config.head_dim);
        let layers = model.blocks.iter().map(|_| model.backend.cache(rows, heads, dim, kind)).collect();
        Self { side: Side::Base, rows, slots: Vec::new(), layers, pass: None }
    }

    /// A slot for a sequence of up to `capacity` tokens, in the first gap that is wide enough; `None` where
    /// there is none now.
    pub fn reserve(&mut self, capacity: usize) -> Option<usize> {
        let mut taken: Vec<Slot> = self.slots.iter().copied().filter(|slot| slot.capacity > 0).collect();
        taken.sort_unstable_by_key(|slot| slot.start);
        let mut new = Slot { start: 0, capacity, len: 0 };
        for slot in taken {
            if slot.start - new.start >= new.rows() {
                break;
            }
            new.start = slot.end();
        }
        if capacity == 0 || new.end() > self.rows {
            return None;
        }
        match self.slots.iter().position(|slot| slot.capacity == 0) {
            Some(free) => {
                self.slots[free] = new;
                Some(free)
            }
            None => {
                self.slots.push(new);
                Some(self.slots.len() - 1)
            }
        }
    }

    /// Give a slot's rows back.
    pub fn release(&mut self, slot: usize) {
        self.slots[slot] = Slot::default();
    }

    /// Give a slot another capacity where it lies; false, and nothing changes, where the next slot is in the way, or
    /// where it would hold fewer tokens than it does.
    pub fn resize(&mut self, slot: usize, capacity: usize) -> bool {
        let old = self.slots[slot];
        let new = Slot { capacity, ..old };
        let others = self.slots.iter().filter(|other| other.capacity > 0 && other.start > old.start);
        let limit = others.map(|other| other.start).min().unwrap_or(self.rows);
        let fits = capacity > 0 && capacity >= old.len && new.end() <= limit;
        if fits {
            self.slots[slot] = new;
        }
        fits
    }

    /// Make `to` hold the first `len` tokens of `from`, and nothing else.
    pub fn copy(&mut self, model: &Decoder<B>, from: usize, to: usize, len: usize) {
        let (source, target) = (self.slots[from], self.slots[to]);
        assert!(len <= source.len && len <= target.capacity, "{len} rows of {source:?} to {target:?}");
        for layer in &mut self.layers {
            model.backend.cache_copy(layer, source.start, target.start, len.next_multiple_of(CACHE_BLOCK));
        }
        self.slots[to].len = len;
    }

    /// Rows that a slot takes.
    pub fn reserved_of(&self, slot: usize) -> usize {
        self.slots[slot].rows()
    }

    /// Tokens held in a slot.
    pub fn len(&self, slot: usize) -> usize {
        self.slots[slot].len
    }

    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.len == 0)
    }

    /// Tokens that a slot can hold.
    pub fn capacity(&self, slot: usize) -> usize {
        self.slots[slot].capacity
    }

    /// Tokens that all slots can hold together, reserved or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that are reserved for slots.
    pub fn reserved(&self) -> usize {
        self.slots.iter().map(|slot| slot.rows()).sum()
    }

    /// Forget all tokens of a slot beyond the first `len`.
    pub fn truncate(&mut self, slot: usize, len: usize) {
        let slot = &mut self.slots[slot];
        slot.len = slot.len.min(len);
    }
}

impl<B: Backend> Decoder<B> {
    /// Feed new tokens of several sequences in one pass; logits `[inputs.len(), V]` after the last
    /// token of each. `inputs` are (slot, tokens), each slot at most once, none empty.
    ///
    /// # Errors
    /// A token id outside the vocabulary; a slot that would overflow (nothing is fed then).
    pub fn decode(&self, cache: &mut KvCache<B>, inputs: &[(usize, &[u32])]) -> Result<Vec<f32>> {
        self.decode_as(cache.side, cache, inputs).map(<[f32]>::to_vec)
    }

    /// [`Decoder::decode`] as one side. Decoders that share a base ([`Decoder::share`]) may use one cache, each
    /// with slots of its own. The logits lie in the cache until the next pass.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_as<'c>(
        &self,
        side: Side,
        cache: &'c mut KvCache<B>,
        inputs: &[(usize, &[u32])],
    ) -> Result<&'c [f32]> {
        for (slot, tokens) in inputs {
            self.check(tokens)?;
            let Slot { len, capacity, .. } = cache.slots[*slot];
            if len + tokens.len() > capacity {
                let limit = format!("the KV cache holds {capacity} tokens");
                return Err(Error::TooLong { tokens: len + tokens.len(), limit });
            }
        }
        let plan = Plan::new(cache, inputs);
        let old = cache.pass.take();
        let pass = self.backend.pass(|| self.pass(side, &mut cache.layers, old, &plan));
        for (slot, tokens) in inputs {
            cache.slots[*slot].len += tokens.len();
        }
        let PassBuffers { logits, copied, .. } = cache.pass.insert(pass);
        Ok(self.backend.read(logits, inputs.len() * self.config.vocab_size, copied))
    }

    /// Feed what is planned, in the buffers given or new ones; the logits are in them.
    fn pass(
        &self,
        side: Side,
        layers: &mut [B::Cache],
        old: Option<PassBuffers<B>>,
        plan: &Plan,
    ) -> PassBuffers<B> {
        let rows = plan.ids.len();
        let (b, config) = (&*self.backend, &self.config);
        let (c, eps) = (config.hidden_size, config.rms_norm_eps);
        let mut pass = self.fitting(old, rows);
        let PassBuffers { x, last, normed, kept, scratch, logits, .. } = &mut pass;
        let rope = b.rope_table(&plan.positions, &config.rope.inv_freq(config.head_dim));
        let ctx = self.context(Pass::inference(side), rows, &rope, &plan.segments);
        b.embed(&plan.ids, self.embed_tokens.mat(side), c, x);
        self.blocks_cached(&ctx, x, kept, scratch, layers);
        b.gather_rows(x, &plan.last, c, last);
        b.rms_norm(last, &self.norm.parameter.value, eps, plan.last.len(), c, normed);
        let values = plan.last.len() * config.vocab_size;
        if b.len(logits) < values {
            *logits = b.zeros(values);
        }
        self.project(normed, plan.last.len(), side, logits);
        pass
    }

    /// The buffers given, made anew where they are too small for `rows` rows or this model's adapter.
    fn fitting(&self, old: Option<PassBuffers<B>>, rows: usize) -> PassBuffers<B> {
        let mut need = Branches { ranks: self.max_ranks(), dora: self.has_dora() };
        let mut enough = rows;
        if let Some(old) = old {
            if old.rows >= rows && old.branches.serve(need) {
                return old;
            }
            // What fits both, so that models which take turns do not make them anew each time.
            enough = enough.max(old.rows);
            need = need.max(old.branches);
        }
        self.pass_buffers(enough, need)
    }

    fn pass_buffers(&self, rows: usize, branches: Branches) -> PassBuffers<B> {
        let (b, c) = (&*self.backend, self.config.hidden_size);
        let Branches { ranks, dora } = branches;
        let scratch = ScratchSize { rows, narrow: 0, ranks, backward: false, dropout: false, dora };
        PassBuffers {
            rows,
            branches,
            x: b.zeros(rows * c),
            last: b.zeros(rows * c),
            normed: b.zeros(rows * c),
            kept: Kept::new(b, &self.config, BlockRows::all(rows), branches),
            scratch: Scratch::new(b, &self.config, scratch),
            logits: b.zeros(0),
            copied: Vec::new(),
        }
    }
}

/// Where each new token of a pass stands.
struct Plan {
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    /// The last row of each input
    last: Vec<usize>,
}

impl Plan {
    fn new<B: Backend>(cache: &KvCache<B>, inputs: &[(usize, &[u32])]) -> Self {
        let mut plan = Plan { ids: vec![], positions: vec![], segments: vec![], last: vec![] };
        for &(slot, tokens) in inputs {
            let Slot { start: base, len: held, .. } = cache.slots[slot];
            let (from, n) = (plan.ids.len(), tokens.len());
            plan.ids.extend_from_slice(tokens);
            plan.positions.extend((held..held + n).map(|p| p as u32));
            plan.segments.push(Segment::new(from..from + n, base..base + held + n));
            plan.last.push(from + n - 1);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::LoraConfig;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::Arc;
    use tolmach_engine::CpuBackend;

    fn golden() -> Decoder<CpuBackend> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/gqa-tied");
        Decoder::load(Arc::new(CpuBackend::new()), &folder).unwrap()
    }

    #[test]
    fn adapters_of_any_rank_share_one_cache_and_leave_the_base_as_it_was() {
        let base = golden();
        let tuned = |rank: usize| {
            let mut model = base.share();
            model.add_lora(&LoraConfig::of_rank(rank), 1).unwrap();
            for parameter in model.parameters_mut() {
                parameter.value.iter_mut().for_each(|v| *v += 0.02);
            }
            model
        };
        let models = [base.share(), tuned(2), tuned(8)];
        let prompts: [&[u32]; 3] = [&[5, 6, 7], &[9, 8, 7, 6], &[1, 2]];
        let alone = |model: &Decoder<CpuBackend>, side, prompt: &[u32]| {
            let mut cache = KvCache::new(model, side, 1, 16);
            let first = model.decode(&mut cache, &[(0, prompt)]).unwrap();
            [first, model.decode(&mut cache, &[(0, &[3])]).unwrap()]
        };
        let mut shared = KvCache::arena(&base, 40, CacheType::F32);
        let slots = [shared.reserve(10).unwrap(), shared.reserve(16).unwrap(), shared.reserve(9).unwrap()];
        let sides = [Side::Base, Side::Tuned, Side::Tuned];
        let mut found = vec![Vec::new(); 3];
        for input in [prompts, [&[3], &[3], &[3]]] {
            for i in 0..3 {
                let inputs = [(slots[i], input[i])];
                found[i].push(models[i].decode_as(sides[i], &mut shared, &inputs).unwrap().to_vec());
            }
        }
        for i in 0..3 {
            assert_eq!(found[i], alone(&models[i], sides[i], prompts[i]), "model {i}");
        }
        assert_eq!(found[0], alone(&golden(), Side::Base, prompts[0]), "bit for bit the untouched base");
        assert_eq!(found[0], alone(&models[2], Side::Base, prompts[0]), "as the base of a tuned model");
        assert_ne!(found[1][0], alone(&base, Side::Base, prompts[1])[0]);
    }

    #[test]
    fn a_prompt_in_long_runs_in_a_copied_or_moved_slot_gives_the_same_bits() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model");
        let model = Decoder::load(Arc::new(CpuBackend::new()), &folder).unwrap();
        let prompt: Vec<u32> = (0..300).map(|i| 5 + i * 37 % 1500).collect();
        for kind in [CacheType::F32, CacheType::F16, CacheType::Bf16] {
            let mut cache = KvCache::arena(&model, 2000, kind);
            let feed = |cache: &mut KvCache<_>, slot, tokens: &[u32]| {
                model.decode_as(Side::Base, cache, &[(slot, tokens)]).unwrap().to_vec()
            };
            let whole = cache.reserve(301).unwrap();
            let want = [feed(&mut cache, whole, &prompt), feed(&mut cache, whole, &[9])];
            let parts = cache.reserve(200).unwrap();
            for run in [0..64, 64..200] {
                feed(&mut cache, parts, &prompt[run]);
            }
            let copy = cache.reserve(310).unwrap();
            assert!(!cache.resize(parts, 301), "the next slot is in the way");
            cache.copy(&model, parts, copy, 164);
            assert_eq!((cache.len(copy), cache.capacity(copy)), (164, 310));
            let found = [feed(&mut cache, copy, &prompt[164..]), feed(&mut cache, copy, &[9])];
            assert!(found == want, "a copy, {kind:?}");
            cache.release(copy);
            assert!(cache.resize(parts, 301) && !cache.resize(parts, 199));
            let found = [feed(&mut cache, parts, &prompt[200..]), feed(&mut cache, parts, &[9])];
            assert!(found == want, "a wider slot, {kind:?}");
        }
    }

    /// Largest difference of the logits over the largest logit, against a cache in f32.
    #[test]
    fn half_the_memory_costs_little() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model");
        let model = Decoder::load(Arc::new(CpuBackend::new()), &folder).unwrap();
        let prompt: Vec<u32> = (0..300).map(|i| 5 + i * 37 % 1500).collect();
        let logits = |kind| {
            let mut cache = KvCache::arena(&model, 400, kind);
            let slot = cache.reserve(301).unwrap();
            model.decode(&mut cache, &[(slot, &prompt)]).unwrap();
            model.decode(&mut cache, &[(slot, &[9])]).unwrap()
        };
        let exact = logits(CacheType::F32);
        let most = exact.iter().fold(0.0f32, |most, l| most.max(l.abs()));
        for (kind, bound) in [(CacheType::F16, 1e-3), (CacheType::Bf16, 1e-2)] {
            let differences = logits(kind).iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(differences > 0.0 && differences < bound * most, "{kind:?}: {differences} of {most}");
        }
    }

    proptest! {
        /// Slots never overlap, begin at blocks' borders and never reach beyond the rows; what is refused would
        /// not have fitted.
        #[test]
        fn slots_are_disjoint(steps in prop::collection::vec((any::<bool>(), 0usize..40), 1..60)) {
            const ROWS: usize = 8 * CACHE_BLOCK;
            let mut cache = KvCache::arena(&golden(), ROWS - 3, CacheType::F32);
            let mut held: Vec<usize> = Vec::new();
            for (reserve, n) in steps {
                if !reserve && !held.is_empty() {
                    cache.release(held.remove(n % held.len()));
                    continue;
                }
                match cache.reserve(n) {
                    Some(slot) => {
                        prop_assert!(!held.contains(&slot));
                        prop_assert_eq!(cache.capacity(slot), n);
                        held.push(slot);
                    }
                    None => {
                        let taken = |row| held.iter().any(|&s| {
                            let slot = cache.slots[s];
                            (slot.start..slot.end()).contains(&row)
                        });
                        let free: String = (0..ROWS).map(|row| if taken(row) { 'x' } else { '.' }).collect();
                        let need = n.next_multiple_of(CACHE_BLOCK);
                        prop_assert!(n == 0 || !free.contains(&".".repeat(need)), "{n} into {free}");
                    }
                }
                prop_assert!(held.iter().all(|&s| cache.slots[s].start.is_multiple_of(CACHE_BLOCK)));
                let mut rows: Vec<usize> = held.iter().flat_map(|&s| {
                    let slot = cache.slots[s];
                    slot.start..slot.end()
                }).collect();
                rows.sort_unstable();
                prop_assert!(rows.windows(2).all(|w| w[0] < w[1]) && rows.last().is_none_or(|&r| r < ROWS));
                prop_assert_eq!(cache.reserved(), rows.len());
            }
        }
    }
}
