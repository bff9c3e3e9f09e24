//! The chat page and what all pages share: files embedded in the binary, and Markdown made safe.
//!
//! `/` and its neighbours are HTML, `/assets/FOLDER/FILE` what they load (no key: there is nothing secret in
//! them), `/ui/…` what they ask for. How a page plugs in is told at the top of `pages/shell/shell.js`.

mod config;
mod files;
mod markdown;

#[cfg(test)]
mod tests;

use crate::state::AppState;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

pub fn router() -> Router<Arc<AppState>> {
    let routes = Router::new()
        .route("/assets/{folder}/{file}", get(files::asset))
        .route("/ui/config", get(config::config))
        .route("/ui/markdown", post(markdown::markdown));
    files::PAGES.iter().fold(routes, |routes, page| {
        routes.route(page.address, get(move |headers| files::page(page, headers)))
    })
}
