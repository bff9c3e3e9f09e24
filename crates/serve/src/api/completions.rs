//! `POST /v1/chat/completions` and `POST /v1/completions`, whole and streamed.

use crate::api::body;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::replies::{self, Piece, Replies};
use crate::api::request::Ask;
use crate::api::shape::{Kind, Shape, Usage, WholeReply};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pub async fn chat(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, ApiError> {
    answer(state, request, Kind::Chat).await
}

pub async fn completion(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, ApiError> {
    answer(state, request, Kind::Completion).await
}

async fn answer(state: Arc<AppState>, request: Request, kind: Kind) -> Result<Response, ApiError> {
    let fields = body::fields(&state, request).await?;
    let ask = read(&state, fields, kind).await?;
    let replies = replies::start(&state, &ask)?;
    let shape = Shape::new(kind, &ask, state.next_id());
    if ask.stream {
        let chunks = Chunks::new(shape, replies, ask.include_usage);
        let mut response = Sse::new(chunks).keep_alive(KeepAlive::default()).into_response();
        // nginx would otherwise hold the stream back until it is whole.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    Ok(Json(whole(shape, replies).await?).into_response())
}

/// Tokenising a long prompt takes its time: not on a thread that serves others.
async fn read(state: &Arc<AppState>, fields: Fields, kind: Kind) -> Result<Ask, ApiError> {
    let state = Arc::clone(state);
    let read = move || match kind {
        Kind::Chat => Ask::chat(&state, &fields),
        Kind::Completion => Ask::completion(&state, &fields),
    };
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The request could not be read.");
    tokio::task::spawn_blocking(read).await.map_err(failed)?
}

async fn whole(mut shape: Shape, mut replies: Replies) -> Result<Value, ApiError> {
    let mut all: Vec<WholeReply> = (0..replies.count).map(|_| WholeReply::default()).collect();
    let mut usage = Usage::of_prompt(replies.prompt_tokens);
    while let Some(piece) = replies.next().await {
        match piece {
            Piece::Text { index, text, tokens } => {
                all[index].text += &text;
                all[index].tokens.extend(tokens);
            }
            Piece::Done { index, finish, tokens } => {
                all[index].finish = finish;
                usage.add(tokens);
            }
            Piece::Failed(error) => return Err(error),
        }
    }
    Ok(shape.whole(all, usage))
}

/// A stream of server-sent events that ends in `[DONE]`; an error ends it with an error object.
struct Chunks {
    shape: Shape,
    replies: Replies,
    usage: Option<Usage>,
    /// Events that are ready.
    ready: VecDeque<Value>,
    /// What is left to say: `[DONE]`, then nothing.
    left: Left,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Pieces,
    Done,
    Nothing,
}

impl Chunks {
    fn new(shape: Shape, replies: Replies, include_usage: bool) -> Self {
        let usage = include_usage.then_some(Usage::of_prompt(replies.prompt_tokens));
        let ready = (0..replies.count).filter_map(|index| shape.opening(index)).collect();
        Self { shape, replies, usage, ready, left: Left::Pieces }
    }

    fn take(&mut self, piece: Option<Piece>) {
        let chunk = match piece {
            Some(Piece::Text { index, text, tokens }) => self.shape.text(index, &text, &tokens),
            Some(Piece::Done { index, finish, tokens }) => {
                if let Some(usage) = &mut self.usage {
                    usage.add(tokens);
                }
                self.shape.done(index, finish)
            }
            Some(Piece::Failed(error)) => {
                self.left = Left::Nothing;
                error.json()
            }
            None => {
                self.left = Left::Done;
                let Some(usage) = self.usage else { return };
                self.shape.usage(usage)
            }
        };
        self.ready.push_back(chunk);
    }
}

impl Stream for Chunks {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Event::default().data(chunk.to_string()))));
            }
            match self.left {
                Left::Nothing => return Poll::Ready(None),
                Left::Done => {
                    self.left = Left::Nothing;
                    return Poll::Ready(Some(Ok(Event::default().data("[DONE]"))));
                }
                Left::Pieces => {
                    let piece = ready!(self.replies.poll(context));
                    self.take(piece);
                }
            }
        }
    }
}
