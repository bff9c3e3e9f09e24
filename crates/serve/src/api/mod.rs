//! OpenAI's routes.
//!
//! Reading order: `fields` (a JSON object, field by field) → `request` (what is asked) → `replies` (jobs in,
//! text out) → `shape` (OpenAI's objects) → `completions` (the two routes), `models`, `adapters`.

mod adapters;
pub(crate) mod body;
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
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

type Route = (&'static str, &'static str, MethodRouter<Arc<AppState>>);

/// Method, path, handler: what `/openapi.json` describes.
fn routes() -> Vec<Route> {
    vec![
        ("get", "/health", get(models::health)),
        ("get", "/metrics", get(models::metrics)),
        ("get", "/openapi.json", get(openapi::document)),
        ("get", "/v1/models", get(models::list)),
        ("get", "/v1/models/{*id}", get(models::one)),
        ("post", "/v1/chat/completions", post(completions::chat)),
        ("post", "/v1/completions", post(completions::completion)),
        ("post", "/v1/load_lora_adapter", post(adapters::load)),
        ("post", "/v1/unload_lora_adapter", post(adapters::unload)),
    ]
}

pub fn router() -> Router<Arc<AppState>> {
    routes().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
}
