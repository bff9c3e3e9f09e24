//! What a client asks for, read and checked: from OpenAI's JSON to jobs of the scheduler.

use crate::api::error::ApiError;
use crate::api::fields::{Fields, missing, wrong};
use crate::registry::Model;
use crate::state::AppState;
use serde_json::Value;
use std::sync::Arc;
use tolmach_corpus::{Message, Role};
use tolmach_model::SamplingConfig;

/// Stop strings that a request may name, as OpenAI allows.
const MOST_STOPS: usize = 4;
/// Alternatives per token that a request may ask for, as OpenAI allows.
const MOST_LOGPROBS: usize = 20;

/// A request, whichever route it came by.
pub struct Ask {
    pub model: Arc<Model>,
    /// Tokens of each prompt; more than one only in completions.
    pub prompts: Vec<Vec<u32>>,
    /// Replies to each.
    pub n: usize,
    pub sampling: SamplingConfig,
    pub max_new_tokens: Option<usize>,
    pub ignore_eos: bool,
    pub stops: Vec<String>,
    pub logprobs: Option<usize>,
    pub stream: bool,
    /// A last chunk with the tokens counted.
    pub include_usage: bool,
    /// The field that holds the prompt.
    pub prompt_field: &'static str,
    /// What a completion repeats before each reply.
    pub echo: Vec<String>,
}

impl Ask {
    /// `POST /v1/chat/completions`.
    ///
    /// # Errors
    /// Something is missing, out of bounds or not computed here; the model does not exist.
    pub fn chat(state: &AppState, fields: &Fields) -> Result<Self, ApiError> {
        let model = model(state, fields)?;
        let messages = messages(fields)?;
        let prompt = model.encode_chat(&messages)?;
        if prompt.is_empty() {
            let message = "The conversation is empty: there is nothing to reply to.";
            return Err(ApiError::bad(message).param("messages").code("invalid_value"));
        }
        let mut ask = Self::common(state, fields, model)?;
        let longest = state.options.limits.max_tokens;
        if let Some(most) = fields.whole("max_completion_tokens", 1..=longest)? {
            ask.max_new_tokens = Some(most);
        }
        let most = fields.whole("top_logprobs", 0..=MOST_LOGPROBS)?;
        ask.logprobs = match (fields.flag("logprobs")?, most) {
            (true, most) => Some(most.unwrap_or(0)),
            (false, None | Some(0)) => None,
            (false, Some(_)) => {
                let message = "`top_logprobs` needs `logprobs: true`.";
                return Err(ApiError::bad(message).param("top_logprobs").code("invalid_value"));
            }
        };
        for name in ["tools", "functions"] {
            fields.refuse(name, |v| v.as_array().is_some_and(Vec::is_empty))?;
        }
        for name in ["tool_choice", "function_call"] {
            fields.refuse(name, |v| v == "none" || v == "auto")?;
        }
        fields.refuse("response_format", |v| v["type"] == "text")?;
        fields.refuse("modalities", |v| *v == serde_json::json!(["text"]))?;
        for name in ["audio", "prediction", "web_search_options"] {
            fields.refuse(name, |_| false)?;
        }
        ask.prompts = vec![prompt];
        Ok(ask)
    }

    /// `POST /v1/completions`.
    ///
    /// # Errors
    /// As [`Ask::chat`].
    pub fn completion(state: &AppState, fields: &Fields) -> Result<Self, ApiError> {
        let model = model(state, fields)?;
        let prompts = prompts(fields, &model)?;
        let mut ask = Self::common(state, fields, model)?;
        // OpenAI's default here is 16; null is its default too.
        ask.max_new_tokens = ask.max_new_tokens.or(Some(16));
        ask.logprobs = fields.whole("logprobs", 0..=MOST_LOGPROBS)?;
        fields.refuse("suffix", |v| v == "")?;
        if let Some(best_of) = fields.whole("best_of", 1..=usize::MAX)?.filter(|&best| best != ask.n) {
            return Err(wrong("best_of", "the value of `n`", &best_of.into()));
        }
        if fields.flag("echo")? {
            if ask.logprobs.is_some() {
                let message = "`echo` together with `logprobs` is not supported by this server.";
                return Err(ApiError::bad(message).param("echo").code("unsupported_parameter"));
            }
            ask.echo = prompts.iter().map(|prompt| ask.model.base.tokenizer.decode(prompt, true)).collect();
        }
        ask.prompts = prompts;
        ask.prompt_field = "prompt";
        Ok(ask)
    }

    fn common(state: &AppState, fields: &Fields, model: Arc<Model>) -> Result<Self, ApiError> {
        let limits = &state.options.limits;
        // Zero is neutral for both penalties; another value would change the reply.
        for name in ["presence_penalty", "frequency_penalty"] {
            fields.refuse(name, |v| v.as_f64() == Some(0.0))?;
        }
        fields.refuse("logit_bias", |v| v.as_object().is_some_and(|o| o.is_empty()))?;
        let sampling = SamplingConfig {
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32,
            top_p: fields.number("top_p", 0.0..=1.0)?.map_or(1.0, |p| (p as f32).max(f32::MIN_POSITIVE)),
            top_k: fields.whole("top_k", 0..=usize::MAX)?.unwrap_or(0),
            repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(1.0) as f32,
            seed: fields.seed("seed")?.unwrap_or_else(|| state.fresh_seed()),
        };
        let options = fields.get("stream_options");
        if let Some(other) = options.filter(|o| !o.is_object()) {
            return Err(wrong("stream_options", "an object", other));
        }
        let include_usage = options.is_some_and(|o| o["include_usage"] == true);
        let stream = fields.flag("stream")?;
        if options.is_some() && !stream {
            let message = "`stream_options` needs `stream: true`.";
            return Err(ApiError::bad(message).param("stream_options").code("invalid_value"));
        }
        Ok(Self {
            model,
            prompts: Vec::new(),
            n: fields.whole("n", 1..=limits.replies)?.unwrap_or(1),
            sampling,
            max_new_tokens: fields.whole("max_tokens", 1..=limits.max_tokens)?,
            ignore_eos: fields.flag("ignore_eos")?,
            stops: fields.texts("stop", MOST_STOPS)?,
            logprobs: None,
            stream,
            include_usage,
            prompt_field: "messages",
            echo: Vec::new(),
        })
    }

    /// Tokens that a reply to `prompt` may have.
    ///
    /// # Errors
    /// The prompt leaves no room for one, or not for as many as were asked for.
    pub fn room(&self, state: &AppState, prompt: &[u32]) -> Result<usize, ApiError> {
        let context = self.model.base.scheduler.context();
        let room = context.saturating_sub(prompt.len());
        let too_long =
            |message: String| ApiError::bad(message).param("messages").code("context_length_exceeded");
        match self.max_new_tokens {
            _ if room == 0 => Err(too_long(format!(
                "This model's maximum context length is {context} tokens, and the prompt has {}. Shorten it.",
                prompt.len()
            ))),
            Some(most) if most > room => Err(too_long(format!(
                "This model's maximum context length is {context} tokens; the prompt has {}, and {most} were \
                 asked for in the reply. Reduce one of them.",
                prompt.len()
            ))),
            Some(most) => Ok(most),
            None => Ok(room.min(state.options.limits.default_tokens)),
        }
    }
}

fn model(state: &AppState, fields: &Fields) -> Result<Arc<Model>, ApiError> {
    let id = fields.required_text("model")?;
    state.registry.get(id).ok_or_else(|| ApiError::no_model(id))
}

/// `messages`, with the parts of a content joined.
fn messages(fields: &Fields) -> Result<Vec<Message>, ApiError> {
    let value = fields.get("messages").ok_or_else(|| missing("messages"))?;
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| wrong("messages", "a list of at least one message", value))?;
    let messages = list.iter().enumerate().map(|(i, message)| {
        let role = match message["role"].as_str() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                let expected = "system, developer, user or assistant";
                return Err(wrong(&format!("messages[{i}].role"), expected, &message["role"]));
            }
        };
        Ok(Message { role, content: content(i, message)? })
    });
    let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
    match messages.last() {
        Some(Message { role: Role::User, .. }) => Ok(messages),
        _ => {
            let message = "The last message must be the user's: there is nothing to reply to otherwise.";
            Err(ApiError::bad(message).param("messages").code("invalid_value"))
        }
    }
}

/// A string, or a list of `{"type": "text", "text": …}`.
fn content(i: usize, message: &Value) -> Result<String, ApiError> {
    let name = format!("messages[{i}].content");
    let bad = |found: &Value| wrong(&name, "a string, or a list of parts of type `text`", found);
    match &message["content"] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| {
                let text = part["text"].as_str().filter(|_| part["type"] == "text");
                text.map(str::to_string).ok_or_else(|| bad(part))
            };
            Ok(parts.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        other => Err(bad(other)),
    }
}

/// `prompt`: a string, a list of strings, a list of tokens, or a list of lists of tokens.
fn prompts(fields: &Fields, model: &Model) -> Result<Vec<Vec<u32>>, ApiError> {
    let value = fields.get("prompt").ok_or_else(|| missing("prompt"))?;
    let vocab = model.decoder.config.vocab_size;
    let bad = || wrong("prompt", "text, tokens of this model, or a list of either, none empty", value);
    let token = |v: &Value| v.as_u64().filter(|&id| (id as usize) < vocab).map(|id| id as u32);
    let one = |v: &Value| -> Result<Vec<u32>, ApiError> {
        let tokens = match v {
            Value::String(text) => Some(model.encode(text)?),
            Value::Array(ids) => ids.iter().map(token).collect(),
            _ => None,
        };
        tokens.filter(|ids: &Vec<u32>| !ids.is_empty()).ok_or_else(bad)
    };
    match value {
        Value::Array(list) if list.iter().all(Value::is_number) => Ok(vec![one(value)?]),
        Value::Array(list) => list.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}
