//! The training page, the review page and the report page: what they read and write.
//!
//! Nothing here runs inside a training: it is watched by the files that it leaves (`metrics.jsonl`,
//! `samples.jsonl`, `training.json`, `live/`), from the same machine or from any that sees its folder.
//!
//! | to change | file |
//! |---|---|
//! | where runs, cards and translations are looked for | `found.rs` |
//! | what is known of a run, the time left | `runs.rs`, `series.rs` |
//! | a plot | `curves.rs` (what is drawn), `plot.rs` (how) |
//! | what the open page is told | `events.rs` |
//! | asking a model that is being trained | `live.rs` |
//! | what can be decided about a translation | `review.rs` |
//! | the report card as HTML, alone or in the page | `report/` |

mod curves;
mod events;
mod found;
mod live;
mod plot;
mod report;
mod review;
mod runs;
mod series;

pub use report::report_page;

use crate::api::error::ApiError;
use crate::state::AppState;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use curves::{Curve, Drawing};
use found::Found;
use runs::Summary;
use serde::Deserialize;
use serde_json::{Value, json};
use series::Series;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub fn router() -> Router<Arc<AppState>> {
    Router::new()
        .route("/ui/runs", get(list))
        .route("/ui/runs/events", get(events::events))
        .route("/ui/runs/plot/{curve}", get(plot))
        .route("/ui/runs/{id}/metrics", get(metrics))
        .route("/ui/runs/{id}/samples", get(samples))
        .route("/ui/runs/{id}/live", post(live::live))
        .route("/ui/reviews", get(review::list))
        .route("/ui/reviews/{id}", get(review::read).post(review::decide))
        .route("/ui/reviews/{id}/apply", post(review::apply))
        .route("/ui/reports", get(report::list))
        .route("/ui/reports/{id}", get(report::read))
        .route("/ui/reports/{id}/file", get(report::file))
        .layer(Extension(Arc::new(Watch::default())))
}

/// What is remembered between requests.
#[derive(Default)]
pub struct Watch {
    /// By run: what was read of its metrics.
    series: Mutex<HashMap<String, Series>>,
    live: live::Live,
    /// Held while a file of the operator's is replaced.
    writing: Mutex<()>,
}

impl Watch {
    /// A run's metrics up to now.
    fn series(&self, found: &Found) -> std::io::Result<Series> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry(found.id.clone()).or_default();
        series.refresh(&found.path.join("metrics.jsonl"))?;
        Ok(series.clone())
    }

    /// All runs under `roots` as they stand; one whose files cannot be read is left out.
    fn summaries(&self, roots: &[PathBuf]) -> Vec<Summary> {
        let summary = |found: Found| Some(Summary::new(&found, &self.series(&found).ok()?));
        found::trainings(roots).into_iter().filter_map(summary).collect()
    }
}

/// Files are read apart from the threads that answer.
async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(unreadable()))
}

/// The reader is not told which file of the operator's it is.
fn unreadable() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "A file of this run cannot be read.").code("unreadable")
}

fn run(state: &AppState, id: &str) -> Result<Found, ApiError> {
    let mut all = found::trainings(&state.options.runs).into_iter();
    all.find(|run| run.id == id).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "There is no such run; GET /ui/runs lists those there are.")
    })
}

/// `GET /ui/runs`: every run as it stands.
async fn list(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
) -> Result<Json<Value>, ApiError> {
    reading(move || Ok(Json(json!({"runs": watch.summaries(&state.options.runs)})))).await
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

/// `GET /ui/runs/{id}/metrics?since=STEP`: the rows after a step.
async fn metrics(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
    Path(id): Path<String>,
    Query(Since { since }): Query<Since>,
) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let series = watch.series(&run(&state, &id)?).map_err(|_| unreadable())?;
        Ok(Json(json!({"rows": series.rows_since(since)})))
    })
    .await
}

/// `GET /ui/runs/{id}/samples`: what the sample prompts were replied to, by prompt.
async fn samples(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let samples = runs::samples(&run(&state, &id)?.path).map_err(|_| unreadable())?;
        Ok(Json(json!({"samples": samples})))
    })
    .await
}

#[derive(Deserialize)]
struct PlotQuery {
    /// Ids with commas between; the place of a run in the list is its colour.
    runs: String,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    language: Option<String>,
}

/// More lines than this say nothing.
const MOST_RUNS: usize = 6;

/// `GET /ui/runs/plot/{curve}?runs=ID,ID&width=640&language=ru`: an SVG.
async fn plot(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
    Path(curve): Path<String>,
    Query(query): Query<PlotQuery>,
) -> Result<Response, ApiError> {
    let curve = Curve::named(&curve)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "There is no such curve."))?;
    let drawing = Drawing {
        curve,
        width: query.width.unwrap_or(640).clamp(240, 1600),
        russian: query.language.as_deref() == Some("ru"),
    };
    let svg = reading(move || {
        let mut runs = Vec::new();
        for id in query.runs.split(',').filter(|id| !id.is_empty()).take(MOST_RUNS) {
            let found = run(&state, id)?;
            let series = watch.series(&found).map_err(|_| unreadable())?;
            runs.push((series, runs::Record::read(&found.path).planned_bytes()));
        }
        Ok(drawing.svg(&runs))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-store")], svg).into_response())
}
