//! The shapes of OpenAI's answers: chat completions and completions, whole and in chunks.

use crate::api::replies::{Counted, SpokenToken};
use crate::api::request::Ask;
use crate::registry::now;
use crate::text::Spelling;
use serde_json::{Value, json};
use std::sync::Arc;
use tolmach_tokenize::Tokenizer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Completion,
}

/// What all objects of one answer share.
pub struct Shape {
    kind: Kind,
    id: String,
    created: u64,
    /// What really runs, not what was asked for.
    model: String,
    fingerprint: String,
    tokenizer: Arc<Tokenizer>,
    logprobs: bool,
    byte_level: bool,
    /// Bytes of text sent so far, per reply; for the offsets of completions' tokens.
    offsets: Vec<usize>,
}

/// A reply, whole.
#[derive(Default)]
pub struct WholeReply {
    pub text: String,
    pub tokens: Vec<SpokenToken>,
    pub finish: &'static str,
}

#[derive(Clone, Copy)]
pub struct Usage {
    prompt: usize,
    replies: Counted,
}

impl Usage {
    pub fn of_prompt(tokens: usize) -> Self {
        Self { prompt: tokens, replies: Counted::default() }
    }

    pub fn add(&mut self, reply: Counted) {
        self.replies.cached += reply.cached;
        self.replies.completion += reply.completion;
    }

    pub fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.replies.completion,
            "total_tokens": self.prompt + self.replies.completion,
            "prompt_tokens_details": {"cached_tokens": self.replies.cached},
        })
    }
}

impl Shape {
    pub fn new(kind: Kind, ask: &Ask, id: u64) -> Self {
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        Self {
            kind,
            id: format!("{prefix}-{id:016x}"),
            created: now(),
            model: ask.model.id.clone(),
            fingerprint: ask.model.version.clone(),
            tokenizer: Arc::clone(&ask.model.base.tokenizer),
            logprobs: ask.logprobs.is_some(),
            byte_level: ask.logprobs.is_some() && Spelling::is_byte_level(&ask.model.base.tokenizer),
            offsets: vec![0; ask.prompts.len() * ask.n],
        }
    }

    fn envelope(&self, object: &str, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    /// The whole answer.
    pub fn whole(&mut self, replies: Vec<WholeReply>, usage: Usage) -> Value {
        let choices = replies.into_iter().enumerate().map(|(index, reply)| {
            let logprobs = self.logprobs(index, &reply.tokens);
            match self.kind {
                Kind::Chat => json!({
                    "index": index,
                    "message": {"role": "assistant", "content": reply.text, "refusal": null},
                    "logprobs": logprobs,
                    "finish_reason": reply.finish,
                }),
                Kind::Completion => json!({
                    "index": index,
                    "text": reply.text,
                    "logprobs": logprobs,
                    "finish_reason": reply.finish,
                }),
            }
        });
        let choices: Vec<Value> = choices.collect();
        let object = if self.kind == Kind::Chat { "chat.completion" } else { "text_completion" };
        let mut answer = self.envelope(object, &choices);
        answer["usage"] = usage.json();
        answer
    }

    fn chunk(&self, choices: &[Value]) -> Value {
        let object = if self.kind == Kind::Chat { "chat.completion.chunk" } else { "text_completion" };
        self.envelope(object, choices)
    }

    /// A stream's first chunk for a reply; completions have none.
    pub fn opening(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
        (self.kind == Kind::Chat).then(|| self.chunk(&[choice]))
    }

    pub fn text(&mut self, index: usize, text: &str, tokens: &[SpokenToken]) -> Value {
        let logprobs = self.logprobs(index, tokens);
        self.chunk(&[match self.kind {
            Kind::Chat => json!({
                "index": index, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": null,
            }),
            Kind::Completion => json!({
                "index": index, "text": text, "logprobs": logprobs, "finish_reason": null,
            }),
        }])
    }

    pub fn done(&self, index: usize, finish: &str) -> Value {
        self.chunk(&[match self.kind {
            Kind::Chat => {
                json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": finish})
            }
            Kind::Completion => {
                json!({"index": index, "text": "", "logprobs": null, "finish_reason": finish})
            }
        }])
    }

    /// The last chunk of a stream that was asked for its usage.
    pub fn usage(&self, usage: Usage) -> Value {
        let mut chunk = self.chunk(&[]);
        chunk["usage"] = usage.json();
        chunk
    }

    fn logprobs(&mut self, index: usize, tokens: &[SpokenToken]) -> Value {
        if !self.logprobs || tokens.is_empty() {
            return Value::Null;
        }
        let spelling = Spelling::new(&self.tokenizer, self.byte_level);
        match self.kind {
            Kind::Chat => chat_logprobs(&spelling, tokens),
            Kind::Completion => completion_logprobs(&spelling, tokens, &mut self.offsets[index]),
        }
    }
}

fn chat_logprobs(spelling: &Spelling, tokens: &[SpokenToken]) -> Value {
    let one = |id: u32, logprob: f64| {
        let bytes = spelling.bytes(id);
        json!({"token": Spelling::text(&bytes), "logprob": logprob, "bytes": bytes})
    };
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut entry = one(token.id, token.logprobs.own);
            entry["top_logprobs"] = token.logprobs.top.iter().map(|&(id, l)| one(id, l)).collect();
            entry
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn completion_logprobs(spelling: &Spelling, tokens: &[SpokenToken], offset: &mut usize) -> Value {
    let text = |id: u32| Spelling::text(&spelling.bytes(id));
    let offsets: Vec<usize> = tokens
        .iter()
        .map(|token| {
            let at = *offset;
            *offset += spelling.bytes(token.id).len();
            at
        })
        .collect();
    let top = |token: &SpokenToken| -> Value {
        token.logprobs.top.iter().map(|&(id, logprob)| (text(id), Value::from(logprob))).collect()
    };
    json!({
        "tokens": tokens.iter().map(|t| text(t.id)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|t| t.logprobs.own).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
