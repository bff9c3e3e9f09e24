//! What stands before every route: who may ask, and what browsers are told about the answers.
//!
//! - `Host` must name this server: a page whose name was made to resolve to 127.0.0.1 (DNS rebinding)
//!   sends its own name there.
//! - `Origin`, where a browser sends it, must be this server: another site's page may not make requests
//!   in its user's name.
//! - The key, where there is one, is compared in constant time.

use crate::api::error::ApiError;
use crate::options::Options;
use crate::state::AppState;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Pages load their own files only: no inline script or style, no other site.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let mut response = match admit(&state.options, request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if is_bare(&response) {
        response = ApiError::new(response.status(), "This server cannot read the address of the request.")
            .into_response();
    }
    let status = response.status().as_u16();
    state.registry.metrics().count_request(route.as_deref().unwrap_or("none"), status);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the router itself refused, in plain text: clients read errors in one shape.
fn is_bare(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status().is_client_error() && kind.is_some_and(|kind| kind.starts_with("text/plain"))
}

fn admit(options: &Options, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let forbidden = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, message));
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if !knows_host(options, host) {
        return forbidden("This server does not answer to the name in `Host`.");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin.to_str().ok().and_then(|o| o.split_once("://")).is_some_and(|o| o.1 == host);
        if !same {
            return forbidden("Requests from other sites' pages are refused.");
        }
    }
    if needs_key(path)
        && let Some(key) = &options.api_key
        && !presents(headers, key)
    {
        let message = "Incorrect API key: send `Authorization: Bearer KEY`.";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"));
    }
    Ok(())
}

/// The address itself, `localhost` on loopback, and the names that the operator gave.
fn knows_host(options: &Options, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let ip = options.address.ip();
    options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
        || bare.parse().is_ok_and(|found: std::net::IpAddr| {
            // On all addresses, any literal one is ours: rebinding needs a name.
            found == ip || ip.is_unspecified() || (ip.is_loopback() && found.is_loopback())
        })
        || ((ip.is_loopback() || ip.is_unspecified()) && name.eq_ignore_ascii_case("localhost"))
}

/// Whether the key guards a path: everything that computes or tells something does; static pages and
/// `/health` do not.
fn needs_key(path: &str) -> bool {
    ["/v1/", "/ui/", "/metrics"].iter().any(|prefix| path.starts_with(prefix))
}

fn presents(headers: &HeaderMap, key: &str) -> bool {
    let found = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let found = found.strip_prefix("Bearer ").unwrap_or_default().trim();
    // Hashes have one length, so that not even the key's length is told by the time.
    let (found, key) = (blake3::hash(found.as_bytes()), blake3::hash(key.as_bytes()));
    found.as_bytes().ct_eq(key.as_bytes()).into()
}
