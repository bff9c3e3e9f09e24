//! One sequence in the cache: what was fed, what comes next, what was said.

use super::kept::RUN;
use super::{Event, Job, Logprobs, Queued, Reason, Token};
use crate::metrics::Metrics;
use std::time::Instant;
use tolmach_model::{Sampler, log_probabilities};

pub struct Sequence {
    queued: Queued,
    pub slot: usize,
    /// Prompt and reply.
    tokens: Vec<u32>,
    /// How many of `tokens` the cache holds.
    fed: usize,
    /// How many of those were there before, from another reply.
    reused: usize,
    /// How many may serve another reply, see [`KeptPrompts`](super::kept::KeptPrompts).
    keepable: usize,
    sampler: Sampler,
    /// Tokens of the reply.
    said: usize,
    pub first_token: Option<Instant>,
    /// Set by [`Sequence::advance`] with the last token.
    pub ended: bool,
}

impl Sequence {
    /// In a slot that holds the first `reused` tokens of its prompt.
    pub fn new(mut queued: Queued, slot: usize, reused: usize) -> Self {
        let tokens = std::mem::take(&mut queued.job.prompt);
        let sampler = Sampler::new(queued.job.sampling.clone());
        let (fed, keepable) = (reused, reused);
        let (said, first_token, ended) = (0, None, false);
        Self { queued, slot, tokens, fed, reused, keepable, sampler, said, first_token, ended }
    }

    pub fn job(&self) -> &Job {
        &self.queued.job
    }

    pub fn since(&self) -> Instant {
        self.queued.since
    }

    /// Tokens that the next pass may feed: the rest of the prompt, or the last token.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.fed
    }

    /// The next `count` of them.
    pub fn input(&self, count: usize) -> &[u32] {
        &self.tokens[self.fed..self.fed + count]
    }

    /// How many of them, with room for `budget`: a run of at least [`RUN`], and as many left or none, if that can be.
    pub fn run(&self, budget: usize) -> usize {
        let pending = self.pending();
        match pending.min(budget) {
            count if count == pending || pending < 2 * RUN => count,
            count => count.min(pending - RUN),
        }
    }

    /// Tokens that the cache holds and that may serve another reply.
    pub fn keepable(&self) -> &[u32] {
        &self.tokens[..self.keepable]
    }

    /// A pass has fed `count` tokens; true where logits for the next token came of it.
    pub fn feed(&mut self, count: usize) -> bool {
        if count >= RUN && self.keepable == self.fed {
            self.keepable += count;
        }
        self.fed += count;
        self.fed == self.tokens.len()
    }

    /// Draw the next token from logits `[V]` and send it.
    pub fn advance(&mut self, logits: &[f32], metrics: &Metrics) {
        let job = &self.queued.job;
        if self.said == 0 && self.reused > 0 {
            let _ = job.events.send(Event::Reused(self.reused));
        }
        let id = self.sampler.next(logits, &self.tokens);
        if !job.ignore_eos && job.model.base.tokenizer.eos_ids().contains(&id) {
            return self.end(Event::Done(Reason::Stop));
        }
        let logprobs = job.logprobs.map(|most| {
            let (own, top) = log_probabilities(logits, id, most);
            Logprobs { own, top }
        });
        self.tokens.push(id);
        self.said += 1;
        if self.first_token.is_none() {
            self.first_token = Some(Instant::now());
            metrics.observe_first_token(self.queued.since.elapsed().as_secs_f64());
        }
        metrics.count_token();
        // A receiver that is gone is seen before the next pass.
        let _ = job.events.send(Event::Token(Token { id, logprobs }));
        if self.said == job.max_new_tokens {
            self.end(Event::Done(Reason::Length));
        }
    }

    pub fn end(&mut self, event: Event) {
        let _ = self.queued.job.events.send(event);
        self.ended = true;
    }

    /// Whether anybody still waits for the reply.
    pub fn is_wanted(&self) -> bool {
        !self.queued.job.events.is_closed()
    }
}
