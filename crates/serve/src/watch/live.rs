//! Asking a model that is being trained: base and adapter as two models of the registry.
//!
//! The page then talks to them as to any other model, side by side. The base side is the untouched base; the
//! tuned side says with every answer after which step it was taken (`system_fingerprint`).

use super::found::Found;
use super::runs::{Record, adapter};
use super::{Watch, reading, run};
use crate::api::error::ApiError;
use crate::registry::{Base, Registry};
use crate::state::AppState;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;
use tolmach_tokenize::PromptTemplate;

/// How long a training may take to lay down its adapter: it looks for requests between its steps.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// The adapter may be replaced while it is read; then it is read again.
const ATTEMPTS: usize = 5;

/// The models of runs that were asked, by run; one request at a time.
#[derive(Default)]
pub struct Live(Mutex<HashMap<String, Names>>);

/// The ids of a run's two models.
#[derive(Clone)]
struct Names {
    base: String,
    tuned: String,
}

/// `POST /ui/runs/{id}/live`: take the adapter as it is now. Answers `{"base", "tuned", "version", "current"}`:
/// the two model ids, what the tuned one says it is, and whether the training answered in time (else it is
/// the adapter that was laid down last).
pub async fn live(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = {
        let state = Arc::clone(&state);
        reading(move || run(&state, &id)).await?
    };
    let mut names = watch.live.0.lock().await;
    let current = ask_for_it(&found.path).await;
    let known = names.get(&found.id).cloned();
    let (registry, run) = (Arc::clone(&state.registry), found.clone());
    let loaded = tokio::task::spawn_blocking(move || load(&registry, &run, known)).await;
    let (loaded, version) = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(why)) => {
            state.log(&format!("the adapter of {} cannot be asked: {why}", found.path.display()));
            let message = "The adapter of this run cannot be loaded now.";
            return Err(ApiError::new(StatusCode::CONFLICT, message).code("adapter_not_loaded"));
        }
        Err(_) => {
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Loading the adapter failed."));
        }
    };
    let answer = json!({"base": loaded.base, "tuned": loaded.tuned, "version": version, "current": current});
    names.insert(found.id, loaded);
    Ok(Json(answer))
}

/// Ask a training that goes on for its adapter, and wait; whether it is there now. A run that has ended has
/// a lasting one.
async fn ask_for_it(folder: &FilePath) -> bool {
    let record = Record::read(folder);
    if !record.is_running() || !record.is_live() {
        return true;
    }
    let request = folder.join("live.request");
    // A file's time may be a little behind the clock.
    let asked = SystemTime::now() - PAUSE;
    if std::fs::write(&request, "").is_err() {
        return false;
    }
    let begun = Instant::now();
    // The training takes the request away first and then writes: its weights are younger than the request.
    let written = || {
        let weights = folder.join("live").join(tolmach_model::ADAPTER_WEIGHTS);
        std::fs::metadata(weights).and_then(|file| file.modified()).is_ok_and(|at| at >= asked)
    };
    while begun.elapsed() < PATIENCE {
        if (!request.exists() && written()) || !Record::read(folder).is_running() {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// Put base and adapter into the registry, or the newer adapter in the older one's place.
fn load(registry: &Registry, run: &Found, known: Option<Names>) -> Result<(Names, String), String> {
    let told = |e: crate::Error| e.to_string();
    let folder = Record::read(&run.path).base().ok_or("its record names no base")?;
    let base = registry.base(&folder).map_err(told)?;
    let is_same =
        |names: &Names| registry.get(&names.tuned).is_some_and(|model| Arc::ptr_eq(&model.base, &base));
    let names = match known.filter(is_same) {
        Some(names) => names,
        None => add(registry, run, &base)?,
    };
    for _ in 0..ATTEMPTS {
        let adapter = adapter(&run.path);
        let step = |folder: &FilePath| tolmach_model::snapshot_step(folder);
        let Ok(before) = step(&adapter) else { continue };
        let version = before.map_or_else(|| "finished".to_string(), |step| format!("step {step}"));
        let replaced = registry.replace(&names.tuned, &adapter, &version);
        if replaced.is_ok() && step(&adapter).is_ok_and(|after| after == before) {
            return Ok((names, version));
        }
    }
    Err("it changes faster than it can be read".to_string())
}

/// Names that nobody has, with the prompt template of the run on both sides.
fn add(registry: &Registry, run: &Found, base: &Arc<Base>) -> Result<Names, String> {
    let adapter = adapter(&run.path);
    let template = PromptTemplate::of_folder(&adapter).map_err(|e| e.to_string())?.unwrap_or_default();
    let numbered = |n: usize| if n == 1 { String::new() } else { format!("-{n}") };
    let mut all = (1..).map(numbered).map(|number| Names {
        base: format!("{}@base{number}", run.name),
        tuned: format!("{}@live{number}", run.name),
    });
    let is_free = |names: &Names| registry.get(&names.base).is_none() && registry.get(&names.tuned).is_none();
    let names = all.find(is_free).ok_or("no name is left")?;
    let told = |e: crate::Error| e.to_string();
    registry.add(&names.base, base, None, Some(template.clone())).map_err(told)?;
    registry.add(&names.tuned, base, Some(&adapter), Some(template)).map_err(told)?;
    Ok(names)
}
