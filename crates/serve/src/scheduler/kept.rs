//! Prompts whose keys and values stay in the cache after their reply, for the next turn of the same chat.
//!
//! A turn's prompt begins with the whole conversation before it. Where those rows are still there they are not
//! computed again: the new sequence takes the old one's slot over, or gets a copy of its rows.
//!
//! Reuse changes no bit of a reply. The sums of a product of few rows run in another order than those of many, so only
//! rows that were computed in runs of at least [`RUN`] are kept for this, and so many are always left to compute:
//! a lone request then sees the bits that it would have computed itself. The rows of a reply, decoded one by
//! one, are computed again with the next prompt.

use crate::registry::Model;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tolmach_engine::CpuBackend;
use tolmach_engine::cpu::gemm::STEADY_ROWS;
use tolmach_model::{Decoder, KvCache, Side};

/// Rows of a run of a prompt at least, unless the whole prompt is shorter.
pub const RUN: usize = STEADY_ROWS;

/// The kept prompts of one cache, the least recently used first.
#[derive(Default)]
pub struct KeptPrompts(VecDeque<Kept>);

struct Kept {
    slot: usize,
    /// Whose keys and values the slot holds.
    tokens: Vec<u32>,
    /// Of which model, as long as there is one.
    decoder: Weak<Decoder<CpuBackend>>,
    side: Side,
}

impl Kept {
    fn is_of(&self, model: &Model) -> bool {
        self.side == model.side && std::ptr::eq(self.decoder.as_ptr(), Arc::as_ptr(&model.decoder))
    }

    /// Rows that a prompt need not compute.
    fn common(&self, prompt: &[u32]) -> usize {
        let same = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let common = same.min(prompt.len().saturating_sub(RUN));
        if common < RUN { 0 } else { common }
    }
}

impl KeptPrompts {
    /// Rows of the cache that kept prompts take.
    pub fn rows(&self, cache: &KvCache<CpuBackend>) -> usize {
        self.0.iter().map(|kept| cache.reserved_of(kept.slot)).sum()
    }

    /// Keep the rows of `tokens`, the first that `slot` holds; a slot not worth it is released.
    pub fn keep(&mut self, cache: &mut KvCache<CpuBackend>, slot: usize, tokens: &[u32], model: &Model) {
        let holds = |kept: &Kept| kept.is_of(model) && kept.tokens.starts_with(tokens);
        if tokens.len() < RUN || self.0.iter().any(holds) {
            return cache.release(slot);
        }
        // What this one holds as well is kept once.
        if let Some(at) = self.0.iter().position(|kept| kept.is_of(model) && tokens.starts_with(&kept.tokens))
        {
            self.forget(cache, at);
        }
        cache.truncate(slot, tokens.len());
        cache.resize(slot, tokens.len());
        let decoder = Arc::downgrade(&model.decoder);
        self.0.push_back(Kept { slot, tokens: tokens.to_vec(), decoder, side: model.side });
    }

    /// A slot of `rows` rows for a prompt, and how many of its first rows it holds already; `None` where there is
    /// no room, even without all that is kept.
    pub fn place(
        &mut self,
        cache: &mut KvCache<CpuBackend>,
        prompt: &[u32],
        model: &Model,
        rows: usize,
    ) -> Option<(usize, usize)> {
        let common = |kept: &Kept| if kept.is_of(model) { kept.common(prompt) } else { 0 };
        let best = (0..self.0.len()).map(|at| (common(&self.0[at]), at)).max().filter(|best| best.0 > 0);
        let Some((common, at)) = best else {
            return self.reserve(cache, rows).map(|slot| (slot, 0));
        };
        // The one that is used is the last to be dropped for want of room.
        let kept = self.0.remove(at)?;
        let goes_on = common + RUN >= kept.tokens.len();
        if goes_on && cache.resize(kept.slot, rows) {
            cache.truncate(kept.slot, common);
            return Some((kept.slot, common));
        }
        let slot = self.reserve(cache, rows);
        if let Some(slot) = slot {
            cache.copy(&model.decoder, kept.slot, slot, common);
        }
        if goes_on && slot.is_some() {
            cache.release(kept.slot);
        } else {
            self.0.push_back(kept);
        }
        match slot {
            Some(slot) => Some((slot, common)),
            // Perhaps its own rows are the ones that are missing.
            None => self.reserve(cache, rows).map(|slot| (slot, 0)),
        }
    }

    /// Drop what belongs to models that are gone.
    pub fn drop_orphans(&mut self, cache: &mut KvCache<CpuBackend>) {
        self.0.retain(|kept| {
            let alive = kept.decoder.strong_count() > 0;
            if !alive {
                cache.release(kept.slot);
            }
            alive
        });
    }

    /// Reserve rows, dropping the longest unused as far as need be.
    fn reserve(&mut self, cache: &mut KvCache<CpuBackend>, rows: usize) -> Option<usize> {
        loop {
            match cache.reserve(rows) {
                None if !self.0.is_empty() => self.forget(cache, 0),
                slot => return slot,
            }
        }
    }

    fn forget(&mut self, cache: &mut KvCache<CpuBackend>, at: usize) {
        if let Some(kept) = self.0.remove(at) {
            cache.release(kept.slot);
        }
    }
}
