//! Decoding until a stop token: one sequence with a callback, or many together.

use crate::cache::KvCache;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::parameter::Side;
use crate::sampling::{Sampler, SamplingConfig};
use std::ops::ControlFlow;
use tolmach_engine::Backend;

/// Tokens of a long prompt fed in one pass: bounds the memory of a prefill.
const PREFILL: usize = 512;

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token; it is not part of the reply.
    Stop,
    /// `max_new_tokens`, or the end of the cache.
    Length,
    /// The caller said so.
    Cancelled,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub tokens: Vec<u32>,
    pub finish: Finish,
}

/// Continue the sequence in `slot` with `prompt` and then with sampled tokens, each handed to
/// `on_token`. Afterwards the cache holds the prompt and the reply without its last token.
///
/// # Errors
/// A token id outside the vocabulary; a prompt that does not fit the cache.
pub fn generate<B: Backend>(
    model: &Decoder<B>,
    cache: &mut KvCache<B>,
    slot: usize,
    prompt: &[u32],
    sampler: &mut Sampler,
    stop_ids: &[u32],
    max_new_tokens: usize,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Reply> {
    let mut logits = prefill(model, cache, slot, prompt)?;
    let mut seen = prompt.to_vec();
    let mut tokens = Vec::new();
    while tokens.len() < max_new_tokens && !logits.is_empty() {
        let token = sampler.next(&logits, &seen);
        if stop_ids.contains(&token) {
            return Ok(Reply { tokens, finish: Finish::Stop });
        }
        tokens.push(token);
        seen.push(token);
        if on_token(token).is_break() {
            return Ok(Reply { tokens, finish: Finish::Cancelled });
        }
        if cache.len(slot) == cache.capacity(slot) || tokens.len() == max_new_tokens {
            break;
        }
        logits = model.decode(cache, &[(slot, &[token])])?;
    }
    Ok(Reply { tokens, finish: Finish::Length })
}

/// Logits `[V]` after a prompt fed in runs of at most [`PREFILL`] tokens; empty for an empty prompt.
fn prefill<B: Backend>(
    model: &Decoder<B>,
    cache: &mut KvCache<B>,
    slot: usize,
    prompt: &[u32],
) -> Result<Vec<f32>> {
    let mut logits = Vec::new();
    for run in prompt.chunks(PREFILL) {
        logits = model.decode(cache, &[(slot, run)])?;
    }
    Ok(logits)
}

/// Reply to many prompts, up to `batch` at a time in one pass; a finished one gives its slot to the
/// next. Prompts longer than `capacity − 1` are an error.
///
/// # Errors
/// As [`generate`].
pub fn generate_all<B: Backend>(
    model: &Decoder<B>,
    side: Side,
    prompts: &[Vec<u32>],
    sampling: &SamplingConfig,
    stop_ids: &[u32],
    max_new_tokens: usize,
    batch: usize,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Reply>> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let slots = batch.min(prompts.len());
    let mut cache = KvCache::new(model, side, slots, longest + max_new_tokens);
    let vocab = model.config.vocab_size;
    let mut replies: Vec<Option<Reply>> = vec![None; prompts.len()];
    let mut waiting = 0..prompts.len();
    let mut running: Vec<Option<Running>> = (0..slots).map(|_| None).collect();
    let mut done = 0;
    loop {
        for (slot, place) in running.iter_mut().enumerate() {
            if place.is_none()
                && let Some(index) = waiting.next()
            {
                cache.truncate(slot, 0);
                let config = SamplingConfig { seed: sampling.seed.wrapping_add(index as u64), ..*sampling };
                *place = Some(Running::new(index, &prompts[index], config));
            }
        }
        let inputs: Vec<(usize, &[u32])> = running
            .iter()
            .enumerate()
            .filter_map(|(slot, r)| r.as_ref().map(|r| (slot, r.fed.as_slice())))
            .collect();
        if inputs.is_empty() {
            break;
        }
        let logits = model.decode(&mut cache, &inputs)?;
        let order: Vec<usize> = inputs.iter().map(|i| i.0).collect();
        for (row, slot) in logits.chunks_exact(vocab).zip(order) {
            let Some(r) = &mut running[slot] else { continue };
            if let Some(reply) = r.advance(row, stop_ids, max_new_tokens) {
                replies[r.index] = Some(reply);
                running[slot] = None;
                done += 1;
                progress(done);
            }
        }
    }
    Ok(replies.into_iter().flatten().collect())
}

/// A sequence in a slot of [`generate_all`].
struct Running {
    index: usize,
    /// Prompt and reply so far
    seen: Vec<u32>,
    /// What the next pass feeds
    fed: Vec<u32>,
    /// Where the reply starts in `seen`
    start: usize,
    sampler: Sampler,
}

impl Running {
    fn new(index: usize, prompt: &[u32], sampling: SamplingConfig) -> Self {
        let (seen, fed) = (prompt.to_vec(), prompt.to_vec());
        Self { index, seen, fed, start: prompt.len(), sampler: Sampler::new(sampling) }
    }

    /// Take the next token; the reply if this ends it.
    fn advance(&mut self, logits: &[f32], stop_ids: &[u32], max_new_tokens: usize) -> Option<Reply> {
        let reply = |r: &Self, finish| Some(Reply { tokens: r.seen[r.start..].to_vec(), finish });
        if self.seen.len() - self.start >= max_new_tokens {
            return reply(self, Finish::Length);
        }
        let token = self.sampler.next(logits, &self.seen);
        if stop_ids.contains(&token) {
            return reply(self, Finish::Stop);
        }
        self.seen.push(token);
        self.fed = vec![token];
        (self.seen.len() - self.start == max_new_tokens).then(|| reply(self, Finish::Length)).flatten()
    }
}
