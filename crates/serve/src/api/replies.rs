//! From a request to its replies: jobs in, pieces of text out, for both routes and both manners.

use crate::api::error::ApiError;
use crate::api::request::Ask;
use crate::scheduler::{Event, Failure, Job, Logprobs, Reason, Refusal, Token};
use crate::state::{AppState, Stop};
use crate::text::ReplyText;
use axum::http::StatusCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver};
use tolmach_model::SamplingConfig;
use tolmach_tokenize::Tokenizer;

/// Pieces that may lie between a reply and a slow client.
const PIECES: usize = 64;

/// What becomes of one request's replies, in any order among them, in order within each.
pub enum Piece {
    Text { index: usize, text: String, tokens: Vec<SpokenToken> },
    Done { index: usize, finish: &'static str, tokens: Counted },
    Failed(ApiError),
}

/// Tokens of one reply.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    /// Of its prompt, found in the KV cache; counted with a prompt's first reply only.
    pub cached: usize,
    pub completion: usize,
}

/// A token with its log-probability; only where the client wants them.
pub struct SpokenToken {
    pub id: u32,
    pub logprobs: Logprobs,
}

/// The replies to a request while they are made. Dropping it stops their decoding.
pub struct Replies {
    pieces: Receiver<Piece>,
    pub prompt_tokens: usize,
    pub count: usize,
}

impl Replies {
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    pub fn poll(&mut self, context: &mut Context) -> Poll<Option<Piece>> {
        self.pieces.poll_recv(context)
    }
}

/// Hand a request to its base's scheduler.
///
/// # Errors
/// A prompt that leaves no room for a reply, too many replies, a full queue.
pub fn start(state: &AppState, ask: &Ask) -> Result<Replies, ApiError> {
    let limit = state.options.limits.replies;
    let count = ask.prompts.len() * ask.n;
    if count == 0 || count > limit {
        let message = format!("Expected 1 to {limit} replies (prompts times `n`), found {count}.");
        return Err(ApiError::bad(message).param("n").code("invalid_value"));
    }
    let (sender, pieces) = mpsc::channel(PIECES);
    let deadline = Instant::now() + state.options.limits.request;
    let mut jobs = Vec::new();
    let mut writers = Vec::new();
    for (p, prompt) in ask.prompts.iter().enumerate() {
        let max_new_tokens = ask.room(state, prompt)?;
        for i in 0..ask.n {
            let index = p * ask.n + i;
            let (events, receiver) = mpsc::unbounded_channel();
            let seed = ask.sampling.seed.wrapping_add(index as u64);
            jobs.push(Job {
                model: Arc::clone(&ask.model),
                prompt: prompt.clone(),
                sampling: SamplingConfig { seed, ..ask.sampling.clone() },
                max_new_tokens,
                ignore_eos: ask.ignore_eos,
                logprobs: ask.logprobs,
                deadline,
                events,
            });
            writers.push(Writer {
                index,
                is_first: i == 0,
                tokenizer: Arc::clone(&ask.model.base.tokenizer),
                stops: ask.stops.clone(),
                prefix: ask.echo.get(p).cloned().unwrap_or_default(),
                stop: state.stop(),
                events: receiver,
                out: sender.clone(),
            });
        }
    }
    ask.model.base.scheduler.submit(jobs).map_err(|refusal| refused(state, refusal))?;
    for writer in writers {
        tokio::spawn(writer.run());
    }
    let prompt_tokens = ask.prompts.iter().map(Vec::len).sum();
    Ok(Replies { pieces, prompt_tokens, count })
}

fn refused(state: &AppState, refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Full { retry_after } => {
            state.registry.metrics().count_refused();
            let message = "The queue of this server is full; try again later.";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).code("queue_full").retry_after(retry_after)
        }
        Refusal::Ended => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The model has stopped serving."),
    }
}

/// Turns one reply's tokens into text; ends, and with it the reply, once nobody reads.
struct Writer {
    index: usize,
    /// Of the replies to its prompt.
    is_first: bool,
    tokenizer: Arc<Tokenizer>,
    stops: Vec<String>,
    prefix: String,
    stop: Stop,
    events: UnboundedReceiver<Event>,
    out: Sender<Piece>,
}

impl Writer {
    async fn run(mut self) {
        let (out, mut stop) = (self.out.clone(), self.stop.clone());
        tokio::select! {
            () = out.closed() => {}
            () = stop.reached() => {
                // Where nobody has read for so long, nobody will miss it.
                let _ = out.try_send(Piece::Failed(failed(&Failure::Stopping)));
            }
            // An error means that nobody reads any more.
            _ = self.write() => {}
        }
    }

    async fn write(&mut self) -> Result<(), mpsc::error::SendError<Piece>> {
        let Self { index, is_first, tokenizer, stops, prefix, events, out, .. } = self;
        let index = *index;
        let mut reply = ReplyText::new(tokenizer, stops);
        let (mut count, mut unsent) = (Counted::default(), Vec::new());
        let mut text = std::mem::take(prefix);
        let finish = loop {
            match events.recv().await {
                Some(Event::Token(Token { id, logprobs })) => {
                    count.completion += 1;
                    unsent.extend(logprobs.map(|logprobs| SpokenToken { id, logprobs }));
                    let piece = reply.push(id);
                    text += &piece.text;
                    if !text.is_empty() {
                        let (text, tokens) = (std::mem::take(&mut text), std::mem::take(&mut unsent));
                        out.send(Piece::Text { index, text, tokens }).await?;
                    }
                    if piece.stopped {
                        events.close();
                        return out.send(Piece::Done { index, finish: "stop", tokens: count }).await;
                    }
                }
                Some(Event::Reused(cached)) if *is_first => count.cached = cached,
                Some(Event::Reused(_)) => {}
                Some(Event::Done(Reason::Stop)) => break "stop",
                Some(Event::Done(Reason::Length)) => break "length",
                Some(Event::Failed(failure)) => return out.send(Piece::Failed(failed(&failure))).await,
                // The scheduler's thread is gone.
                None => return out.send(Piece::Failed(failed(&Failure::Stopping))).await,
            }
        };
        let last = reply.finish();
        text += &last.text;
        if !text.is_empty() || !unsent.is_empty() {
            out.send(Piece::Text { index, text, tokens: unsent }).await?;
        }
        let finish = if last.stopped { "stop" } else { finish };
        out.send(Piece::Done { index, finish, tokens: count }).await
    }
}

fn failed(failure: &Failure) -> ApiError {
    let status = match failure {
        Failure::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Model(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let message = match failure {
        Failure::Timeout => "The time limit for a request has passed.",
        Failure::Stopping => "The server is stopping.",
        Failure::Model(_) => "The model could not decode this.",
    };
    let code = match failure {
        Failure::Timeout => "timeout",
        Failure::Stopping => "stopping",
        Failure::Model(_) => "model_failed",
    };
    ApiError::new(status, message).code(code)
}
