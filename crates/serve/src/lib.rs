//! The server: OpenAI's API over one base model with many adapters, and the pages that use it.
//!
//! ```text
//! request ─▶ security (Host, Origin, key, size) ─┬▶ api/    OpenAI's routes ─▶ the scheduler of a base
//!                                                ├▶ pages/  the chat page, what all pages share
//!                                                └▶ watch/  training runs, review, report
//! ```
//!
//! Reading order: [`Options`] → [`Registry`] (which models there are) → [`AppState`] → `server` (routes,
//! the listener, the orderly end) → `security` → `api` → `scheduler` (who decodes when) → `text`.
//!
//! Invariants: a model id names an adapter (or none) over a base; a base's weights are in memory once,
//! whatever stands over them, and `Side::Base` of it is never changed. Nothing that a client sends
//! panics, and no path, key or stack goes into an answer.

mod api;
mod error;
mod metrics;
mod options;
mod pages;
mod registry;
mod scheduler;
mod security;
mod server;
mod state;
mod text;
mod watch;

pub use api::error::ApiError;
pub use error::{Error, Result};
pub use options::{Limits, Log, ModelSpec, Options};
pub use registry::{Base, Model, Registry};
pub use scheduler::EngineOptions;
pub use server::{bind, serve};
pub use state::{AppState, Stop};
pub use watch::report_page;

/// The style sheet of all pages, for a page of its own that is to look like them.
pub const LOOK: &str = include_str!("../pages/shell/shell.css");
