//! A request's body: bounded in size and time, JSON.

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::state::AppState;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

/// For OpenAI's routes, whose errors name the field.
///
/// # Errors
/// The body is no JSON object, too large, or too slow to come.
pub async fn fields(state: &AppState, request: Request) -> Result<Fields, ApiError> {
    Fields::parse(&bytes(state, request).await?)
}

/// For the pages' own routes.
///
/// # Errors
/// As [`fields`], or the object is not the one that the route takes.
pub async fn json<T: DeserializeOwned>(state: &AppState, request: Request) -> Result<T, ApiError> {
    let bytes = bytes(state, request).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        ApiError::bad(format!("The body is not what this route takes: {e}.")).code("invalid_json")
    })
}

async fn bytes(state: &AppState, request: Request) -> Result<Bytes, ApiError> {
    let limits = &state.options.limits;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // Other types are those that a foreign page may send without asking.
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/json") {
        let message = "Send the body with `Content-Type: application/json`.";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let read = axum::body::to_bytes(request.into_body(), limits.body_bytes);
    let slow = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive.");
    let bytes = tokio::time::timeout(limits.receive, read).await.map_err(slow)?;
    bytes.map_err(|_| {
        let message = format!("The body must come whole and have at most {} bytes.", limits.body_bytes);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
    })
}
