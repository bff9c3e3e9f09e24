//! The routes under their guard, the listener, the orderly end.

use crate::api::error::ApiError;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::registry::Registry;
use crate::state::{AppState, Phase};
use crate::{api, pages, security, watch};
use axum::http::StatusCode;
use axum::{Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// After the end was announced to everything that runs: as long as it takes to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
/// The listener has no address.
pub async fn serve(
    listener: TcpListener,
    mut options: Options,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    // The port is known only now where the system chose it.
    options.address = listener.local_addr().map_err(Error::Server)?;
    let state = Arc::new(AppState::new(options, registry));
    let router = router(Arc::clone(&state));
    let limits = &state.options.limits;
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut shutdown => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(_) => {
                    // Out of file descriptors, say: others will be closed.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = connections.watch(connection(stream, router.clone(), limits.receive));
        tokio::spawn(async move {
            // What a client breaks off is no error of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    state.enter(Phase::Closing);
    let mut ended = std::pin::pin!(connections.shutdown());
    if timeout(limits.shutdown, &mut ended).await.is_err() {
        state.enter(Phase::Stopped);
        let _ = timeout(LAST_WORDS, ended).await;
    }
    Ok(())
}

fn connection(
    stream: TcpStream,
    router: Router,
    head: Duration,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Tokens are small and should not wait for one another.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

/// All routes, guarded.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .merge(api::router())
        .merge(pages::router())
        .merge(watch::router())
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "There is no such route.") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "This route does not take that method.")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&state), security::guard))
        .with_state(state)
}
