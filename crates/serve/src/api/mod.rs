//! OpenAI's routes.
//!
//! Reading order: `fields` (a JSON object, field by field) → `request` (what is asked) → `replies` (jobs in,
//! text out) → `shape` (OpenAI's objects) → `completions` (the two routes), `models`, `adapters`.

mod adapters;
mod body;
mod completions;
pub(crate) mod error;
mod fields;
mod models;
mod openapi;
mod replies;
mod request;
mod shape;

use crate::state::AppState;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

pub fn router() -> Router<Arc<AppState>> {
    Router::new()
        .route("/health", get(models::health))
        .route("/metrics", get(models::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::completion))
        .route("/v1/load_lora_adapter", post(adapters::load))
        .route("/v1/unload_lora_adapter", post(adapters::unload))
}
