//! `POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`, named and shaped as vLLM's.

use crate::api::body;
use crate::api::error::ApiError;
use crate::error::Error;
use crate::registry::Base;
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub async fn load(State(state): State<Arc<AppState>>, request: Request) -> Result<String, ApiError> {
    let fields = body::fields(&state, request).await?;
    let name = fields.required_text("lora_name")?.to_string();
    let folder = allowed(&state.options.adapter_roots, fields.required_text("lora_path")?)?;
    let base = base(&state, fields.text("base_model_name")?)?;
    if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        let message = "`lora_name`: expected up to 200 bytes without control characters.";
        return Err(ApiError::bad(message).param("lora_name").code("invalid_value"));
    }
    let task = {
        let (state, name) = (Arc::clone(&state), name.clone());
        move || state.registry.add(&name, &base, Some(&folder), None)
    };
    let loaded = tokio::task::spawn_blocking(task).await;
    let loaded = loaded.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Loading failed."))?;
    loaded.map_err(|error| told(&state, &error))?;
    Ok(format!("Success: LoRA adapter '{name}' added successfully."))
}

pub async fn unload(State(state): State<Arc<AppState>>, request: Request) -> Result<String, ApiError> {
    let fields = body::fields(&state, request).await?;
    let name = fields.required_text("lora_name")?;
    state.registry.remove(name).map_err(|error| told(&state, &error))?;
    Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
}

/// The folder, if it lies in one that the operator allowed. Whether anything is there is told only inside of
/// those, so that this is no way to look around.
fn allowed(roots: &[PathBuf], path: &str) -> Result<PathBuf, ApiError> {
    let refused = || {
        let message = "`lora_path` is no adapter folder that the operator of this server allows.";
        ApiError::new(StatusCode::FORBIDDEN, message).param("lora_path")
    };
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let path = Path::new(path);
    // A relative path is meant from an allowed folder.
    let candidates = roots.iter().filter_map(|root| root.join(path).canonicalize().ok());
    let found = candidates.into_iter().find(|p| roots.iter().any(|root| p.starts_with(root)));
    found.filter(|p| p.is_dir()).ok_or_else(refused)
}

/// The base that an adapter goes over: the one named, or the only one.
fn base(state: &AppState, named: Option<&str>) -> Result<Arc<Base>, ApiError> {
    if let Some(id) = named {
        let model = state.registry.get(id).ok_or_else(|| ApiError::no_model(id))?;
        return Ok(Arc::clone(&model.base));
    }
    match state.registry.bases().as_slice() {
        [base] => Ok(Arc::clone(base)),
        _ => {
            let message = "This server has several base models: name a model over the right one.";
            Err(ApiError::bad(message).param("base_model_name").code("missing_required_parameter"))
        }
    }
}

/// An error as a client may read it: without paths. The operator reads the rest.
fn told(state: &AppState, error: &Error) -> ApiError {
    let message = match error {
        Error::NoModel { name } => return ApiError::no_model(name).param("lora_name"),
        Error::ModelExists { .. } | Error::IsBase { .. } => {
            return ApiError::bad(format!("{error}.")).param("lora_name").code("invalid_value");
        }
        Error::Model(tolmach_model::Error::OtherBase { .. }) => {
            "The adapter was trained on another base model."
        }
        _ => "The adapter cannot be loaded; the server's log says why.",
    };
    state.log(&error.to_string());
    ApiError::bad(message).param("lora_path").code("invalid_adapter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_below_an_allowed_one_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("adapters");
        for folder in ["adapters/ru", "adapters-private", "secret"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("link")).unwrap();
        let roots = [root.clone()];
        let whole = |name: &str| dir.path().join(name).display().to_string();
        assert!(allowed(&roots, "ru").is_ok());
        assert!(allowed(&roots, &whole("adapters/ru")).is_ok());
        for path in ["../secret", "ru/../../secret", "link", "file", "missing", "/etc", ""] {
            let refused = allowed(&roots, path);
            // The allowed folder itself is allowed.
            assert!(refused.is_err() || path.is_empty(), "{path}");
        }
        for name in ["secret", "adapters-private"] {
            let error = allowed(&roots, &whole(name)).unwrap_err();
            assert!(!error.message.contains(name), "{}", error.message);
        }
        assert!(allowed(&[], &whole("adapters/ru")).is_err());
    }
}
