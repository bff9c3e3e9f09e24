//! A loaded model that replies, as the base or as what the adapter makes of it.

use super::stop;
use crate::loading::model_failure;
use crate::report::Failure;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Instant;
use tolmach_corpus::{Message, Role};
use tolmach_engine::CpuBackend;
use tolmach_eval::side_name;
use tolmach_model::{Decoder, Finish, KvCache, Sampler, SamplingConfig, Side, generate};
use tolmach_tokenize::{DecodeStream, PromptTemplate, Tokenizer};

pub struct Session {
    pub model: Decoder<CpuBackend>,
    pub tokenizer: Tokenizer,
    pub template: PromptTemplate,
    pub sampling: SamplingConfig,
    pub max_new_tokens: usize,
    /// What each side is called: the folders it was loaded from.
    pub base_name: String,
    pub adapter_name: Option<String>,
}

/// A reply, and how it came about.
pub struct Spoken {
    pub side: Side,
    pub text: String,
    pub prompt_tokens: usize,
    pub tokens: usize,
    pub finish: Finish,
    /// From the question to the first token.
    pub first_token_seconds: f64,
    pub seconds: f64,
}

impl Session {
    /// The tokens of a conversation that ends with the user's message.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let tokens = self.tokenizer.encode_rendered(&self.template.render_conversation(messages)?)?;
        let context = self.model.config.max_position_embeddings;
        if tokens.ids.is_empty() {
            return Err(Failure::usage("the prompt is empty"));
        }
        if tokens.ids.len() >= context {
            let count = tokens.ids.len();
            return Err(Failure::input(format!(
                "the prompt has {count} tokens with its template, the model's context is {context}: nothing \
                 is left for a reply"
            ))
            .hint("shorten it; in a conversation, /reset forgets what was said before"));
        }
        Ok(tokens.ids)
    }

    /// Reply with one side, handing out text as it becomes certain. `turn` varies the draws of one
    /// session; the same seed and turn give the same reply.
    pub fn reply(
        &self,
        side: Side,
        prompt: &[u32],
        turn: u64,
        out: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Spoken, Failure> {
        let start = Instant::now();
        let room = self.model.config.max_position_embeddings - prompt.len();
        let new = self.max_new_tokens.min(room);
        let mut cache = KvCache::new(&self.model, side, 1, prompt.len() + new);
        let seed = self.sampling.seed.wrapping_add(turn);
        let mut sampler = Sampler::new(SamplingConfig { seed, ..self.sampling.clone() });
        let mut stream = DecodeStream::new(&self.tokenizer);
        let mut text = String::new();
        let mut first_token_seconds = None;
        let mut say = |piece: Option<String>| {
            if let Some(piece) = piece {
                out(&piece);
                text += &piece;
            }
        };
        let stop_ids = self.tokenizer.eos_ids();
        let reply = stop::during(|| {
            generate(&self.model, &mut cache, 0, prompt, &mut sampler, stop_ids, new, |token| {
                first_token_seconds.get_or_insert_with(|| start.elapsed().as_secs_f64());
                say(stream.push(token));
                if stop::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })
        .map_err(model_failure)?;
        say(stream.finish());
        let seconds = start.elapsed().as_secs_f64();
        Ok(Spoken {
            side,
            text,
            prompt_tokens: prompt.len(),
            tokens: reply.tokens.len(),
            finish: reply.finish,
            first_token_seconds: first_token_seconds.unwrap_or(seconds),
            seconds,
        })
    }

    /// What a side is called, for labels: by the side that replies, not by what was asked for.
    pub fn label(&self, side: Side) -> String {
        let folder = match (side, &self.adapter_name) {
            (Side::Tuned, Some(adapter)) => adapter,
            _ => &self.base_name,
        };
        format!("{} ({folder})", side_name(side))
    }
}

impl Spoken {
    /// Of the decoding alone: the first token belongs to the prompt's pass. 0 where there was no second.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.seconds - self.first_token_seconds;
        if self.tokens > 1 && seconds > 0.0 { (self.tokens - 1) as f64 / seconds } else { 0.0 }
    }

    pub fn finish_word(&self) -> &'static str {
        match self.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Cancelled => "cancelled",
        }
    }

    pub fn statistics(&self) -> String {
        format!(
            "{}: {} tokens, {:.1} tokens/s, first token after {:.3} s ({} prompt tokens), finish: {}",
            side_name(self.side),
            self.tokens,
            self.tokens_per_second(),
            self.first_token_seconds,
            self.prompt_tokens,
            self.finish_word()
        )
    }

    pub fn json(&self, prompt: &str) -> Value {
        json!({
            "side": side_name(self.side),
            "prompt": prompt,
            "reply": self.text,
            "finish": self.finish_word(),
            "prompt_tokens": self.prompt_tokens,
            "tokens": self.tokens,
            "first_token_seconds": self.first_token_seconds,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second(),
        })
    }
}

/// What was said so far, as one side heard it.
pub struct History {
    pub system: Option<String>,
    turns: Vec<Message>,
}

impl History {
    pub fn new(system: Option<String>) -> Self {
        History { system, turns: Vec::new() }
    }

    /// The conversation with a new question at its end.
    pub fn with(&self, question: &str) -> Vec<Message> {
        let system = self.system.iter().map(|text| message(Role::System, text));
        system.chain(self.turns.iter().cloned()).chain([message(Role::User, question)]).collect()
    }

    /// An empty reply is not remembered: no template can render it.
    pub fn add(&mut self, question: &str, reply: &str) {
        if !reply.trim().is_empty() {
            self.turns.extend([message(Role::User, question), message(Role::Assistant, reply)]);
        }
    }

    pub fn forget(&mut self) {
        self.turns.clear();
    }
}

pub fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_string() }
}
