//! The loop's body: who leaves, who enters, one pass per adapter.

use super::kept::{KeptPrompts, RUN};
use super::sequence::Sequence;
use super::{Event, Failure, Job, Queued};
use crate::metrics::{Load, Metrics};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tolmach_engine::{CacheType, CpuBackend};
use tolmach_model::{Decoder, KvCache};

/// Tokens of prompts fed in one step while others decode: bounds the pause that a long prompt makes in
/// their streams.
const PREFILL_BESIDE: usize = 2 * RUN;
/// While nobody decodes.
const PREFILL_ALONE: usize = 512;

pub struct Engine {
    cache: KvCache<CpuBackend>,
    parallel: usize,
    waiting: VecDeque<Queued>,
    running: Vec<Sequence>,
    kept: KeptPrompts,
    metrics: Arc<Metrics>,
    /// As last told.
    load: Load,
}

impl Engine {
    pub fn new(
        base: &Decoder<CpuBackend>,
        cache_rows: usize,
        cache_type: CacheType,
        parallel: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let cache = KvCache::arena(base, cache_rows, cache_type);
        let (waiting, running, load) = (VecDeque::new(), Vec::new(), Load::default());
        Self { cache, parallel, waiting, running, kept: KeptPrompts::default(), metrics, load }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    pub fn enqueue(&mut self, queued: Queued) {
        self.waiting.push_back(queued);
    }

    /// One pass of everything that runs.
    pub fn step(&mut self) {
        self.let_go();
        self.let_in();
        let feeds = self.feeds();
        // The models of this step, in the order of their oldest sequence.
        let mut models: Vec<*const Decoder<CpuBackend>> = Vec::new();
        for (sequence, &count) in self.running.iter().zip(&feeds) {
            let model = Arc::as_ptr(&sequence.job().model.decoder);
            if count > 0 && !models.contains(&model) {
                models.push(model);
            }
        }
        for model in models {
            self.pass(model, &feeds);
        }
        self.leave_ended();
        self.tell_load();
    }

    fn tell_load(&mut self) {
        let kept = self.kept.rows(&self.cache);
        let load = Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            cache_reserved: self.cache.reserved() - kept,
            cache_kept: kept,
            cache_rows: self.cache.rows(),
        };
        self.metrics.shift_load(&self.load, &load);
        self.load = load;
    }

    /// Drop what nobody waits for any more, and what took too long.
    fn let_go(&mut self) {
        let now = Instant::now();
        let metrics = &self.metrics;
        self.waiting.retain(|queued| {
            if queued.job.events.is_closed() {
                metrics.count_cancelled();
                return false;
            }
            let late = now >= queued.job.deadline;
            if late {
                let _ = queued.job.events.send(Event::Failed(Failure::Timeout));
            }
            !late
        });
        for sequence in &mut self.running {
            if !sequence.is_wanted() {
                self.metrics.count_cancelled();
                sequence.ended = true;
            } else if now >= sequence.job().deadline {
                sequence.end(Event::Failed(Failure::Timeout));
            }
        }
        self.leave_ended();
    }

    fn leave_ended(&mut self) {
        let (cache, kept, metrics) = (&mut self.cache, &mut self.kept, &self.metrics);
        self.running.retain(|sequence| {
            if sequence.ended {
                kept.keep(cache, sequence.slot, sequence.keepable(), &sequence.job().model);
                metrics.observe_reply(sequence.since().elapsed().as_secs_f64());
            }
            !sequence.ended
        });
    }

    /// Admit waiting sequences in their order, as far as the cache has room: a large one is not overtaken, or
    /// it might wait forever.
    fn let_in(&mut self) {
        self.kept.drop_orphans(&mut self.cache);
        while self.running.len() < self.parallel
            && let Some(next) = self.waiting.front()
        {
            // The last token of a reply is never fed.
            let Job { prompt, max_new_tokens, model, .. } = &next.job;
            let rows = prompt.len() + max_new_tokens - 1;
            let Some((slot, reused)) = self.kept.place(&mut self.cache, prompt, model, rows) else { return };
            self.metrics.count_reused_tokens(reused);
            self.running.extend(self.waiting.pop_front().map(|queued| Sequence::new(queued, slot, reused)));
        }
    }

    /// How many tokens each running sequence is fed in this step.
    fn feeds(&self) -> Vec<usize> {
        let somebody_decodes = self.running.iter().any(|s| s.first_token.is_some());
        let mut budget = if somebody_decodes { PREFILL_BESIDE } else { PREFILL_ALONE };
        let feed = |sequence: &Sequence| {
            if sequence.first_token.is_some() {
                return 1;
            }
            let count = sequence.run(budget);
            budget -= count;
            count
        };
        self.running.iter().map(feed).collect()
    }

    /// One pass of all sequences of a model.
    fn pass(&mut self, model: *const Decoder<CpuBackend>, feeds: &[usize]) {
        let is_part = |s: &Sequence, count: usize| count > 0 && Arc::as_ptr(&s.job().model.decoder) == model;
        let parts = || self.running.iter().zip(feeds).filter(|(s, count)| is_part(s, **count));
        let inputs: Vec<(usize, &[u32])> = parts().map(|(s, &count)| (s.slot, s.input(count))).collect();
        let Some((first, _)) = parts().next() else { return };
        let model_of = Arc::clone(&first.job().model);
        let decoded = model_of.decoder.decode_as(model_of.side, &mut self.cache, &inputs);
        let parts = self.running.iter_mut().zip(feeds).filter(|(s, count)| is_part(s, **count));
        let logits = match decoded {
            Ok(logits) => logits,
            Err(error) => {
                parts.for_each(|(s, _)| s.end(Event::Failed(Failure::Model(error.to_string()))));
                return;
            }
        };
        let rows = logits.par_chunks_exact(model_of.decoder.config.vocab_size);
        let parts: Vec<(&mut Sequence, usize)> = parts.map(|(s, &count)| (s, count)).collect();
        let metrics = &self.metrics;
        parts.into_par_iter().zip(rows).for_each(|((sequence, count), logits)| {
            if sequence.first_token.is_none() {
                metrics.count_prompt_tokens(count);
            }
            if sequence.feed(count) {
                sequence.advance(logits, metrics);
            }
        });
    }
}
