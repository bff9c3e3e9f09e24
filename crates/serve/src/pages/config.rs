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
        // Calmer than OpenAI's (1 and 1), which small models do not bear: the page sends the first two. The
        // seed is another one each time. Without memory each message stands alone, as in training on alpaca.
        "defaults": { "temperature": 0.7, "top_p": 0.9, "max_tokens": limits.default_tokens, "memory": false },
        "limits": { "max_tokens": limits.max_tokens, "body_bytes": limits.body_bytes },
    }))
}
