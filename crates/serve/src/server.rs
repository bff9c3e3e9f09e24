//! The routes under their guard, the listener, the orderly end.

use crate::api::error::ApiError;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::registry::{Registry, now};
use crate::state::AppState;
use crate::{api, pages, security, watch};
use axum::http::StatusCode;
use axum::{Router, middleware};
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Take the address, so that the caller can say which port it became.
///
/// # Errors
/// The address is not to be had, or is not loopback and there is no API key.
pub async fn bind(options: &Options) -> Result<TcpListener> {
    let address = options.address;
    if !address.ip().is_loopback() && options.api_key.is_none() {
        return Err(Error::NeedsKey { address });
    }
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Serve until `shutdown` is ready; running replies get [`crate::Limits::shutdown`] to end.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let state = Arc::new(AppState { options, registry, started: now() });
    axum::serve(listener, router(state)).with_graceful_shutdown(shutdown).await.map_err(Error::Server)
}

/// All routes, guarded.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .merge(api::router())
        .merge(pages::router())
        .merge(watch::router())
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "There is no such route.") })
        .layer(middleware::from_fn_with_state(Arc::clone(&state), security::guard))
        .with_state(state)
}
