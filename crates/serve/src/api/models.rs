//! Which models there are, and whether the server lives.

use crate::api::error::ApiError;
use crate::registry::Model;
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::sync::Arc;
use tolmach_model::Side;

pub async fn health(State(state): State<Arc<AppState>>) -> Json<Value> {
    Json(json!({"status": "ok", "models": state.registry.models().len()}))
}

pub async fn metrics(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.registry.metrics().text())
}

pub async fn list(State(state): State<Arc<AppState>>) -> Json<Value> {
    let models = state.registry.models();
    let data: Vec<Value> = models.iter().map(|model| describe(model, &models)).collect();
    Json(json!({"object": "list", "data": data}))
}

pub async fn one(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = state.registry.get(&id).ok_or_else(|| ApiError::no_model(&id))?;
    Ok(Json(describe(&model, &state.registry.models())))
}

/// OpenAI's model object; `parent` (as vLLM has it) is the id of the base that an adapter stands over,
/// null for a base or where the base has no id of its own.
fn describe(model: &Model, all: &[Arc<Model>]) -> Value {
    let is_parent = |m: &&Arc<Model>| m.side == Side::Base && Arc::ptr_eq(&m.base, &model.base);
    let parent = match model.side {
        Side::Base => None,
        Side::Tuned => all.iter().find(is_parent).map(|m| m.id.clone()),
    };
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "tolmach",
        "parent": parent,
        "system_fingerprint": model.version,
        "max_model_len": model.base.scheduler.context(),
    })
}
