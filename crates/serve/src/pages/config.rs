//! What the pages must know of the server: its defaults and limits.

use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /ui/config`
pub async fn config(State(state): State<Arc<AppState>>) -> Json<Value> {
    let limits = &state.options.limits;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "limits": { "max_tokens": limits.max_tokens, "body_bytes": limits.body_bytes },
    }))
}
