//! JSON over HTTP for engines: one client, one small runtime, and what a status means for the next step.

use crate::Error;
use crate::engine::EngineError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use serde_json::Value;
use std::error::Error as _;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// More than any translation; keeps a broken server from filling the memory.
const LONGEST_ANSWER: usize = 32 << 20;

/// An HTTP client that may be called from several threads; each call blocks its own.
pub(crate) struct Http {
    client: Client,
    runtime: Runtime,
}

/// What a service answered: the status, the headers and the body as text.
pub(crate) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Http {
    /// A client that gives up on a request after `timeout`.
    ///
    /// # Errors
    /// The TLS set-up of the machine is unusable (no certificates), or no thread can be started.
    pub fn new(timeout: Duration) -> Result<Self, Error> {
        // Fails only when a provider is already installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            // A redirect would turn POST into GET; the address is to be corrected instead.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("tolmach/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::Config(format!("cannot set up HTTP: {}", chain(&e))))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(|e| Error::Config(format!("cannot start the HTTP runtime: {e}")))?;
        Ok(Self { client, runtime })
    }

    pub fn post(&self, url: Url, body: &Value) -> Result<Response, EngineError> {
        self.send(self.client.post(url).json(body))
    }

    pub fn get(&self, url: Url) -> Result<Response, EngineError> {
        self.send(self.client.get(url))
    }

    fn send(&self, request: RequestBuilder) -> Result<Response, EngineError> {
        self.runtime.block_on(async {
            let unreachable = |e: reqwest::Error| EngineError::Unreachable(chain(&e));
            let mut response = request.send().await.map_err(unreachable)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await.map_err(unreachable)? {
                if body.len() + part.len() > LONGEST_ANSWER {
                    return Err(EngineError::Fault(format!(
                        "the answer is longer than {} MiB",
                        LONGEST_ANSWER >> 20
                    )));
                }
                body.extend_from_slice(&part);
            }
            Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
        })
    }
}

impl Response {
    /// What a status that is no success means for any service, `message` being what the service said.
    pub fn failure(&self, message: String) -> EngineError {
        match self.status.as_u16() {
            429 | 503 => EngineError::SlowDown { message, retry_after: self.retry_after() },
            408 | 502 | 504 => EngineError::Unreachable(message),
            413 => EngineError::TooLarge(message),
            500.. => EngineError::Fault(message),
            300..400 => {
                let target =
                    self.headers.get("location").and_then(|v| v.to_str().ok()).unwrap_or("elsewhere");
                EngineError::Rejected { message, hint: Some(format!("the service has moved to {target}")) }
            }
            _ => EngineError::Rejected { message, hint: None },
        }
    }

    /// `Retry-After`, in seconds or as a date.
    fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

/// An error and its causes in one line: reqwest's own text leaves out what really happened.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = e.source();
    }
    text
}

/// The start of a text, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, retry_after: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: String::new() }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(response(429, " 7 ").retry_after(), Some(Duration::from_secs(7)));
        let soon = SystemTime::now() + Duration::from_secs(100);
        let wait = response(429, &httpdate::fmt_http_date(soon)).retry_after().unwrap();
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(response(429, "Thu, 01 Jan 1970 00:00:00 GMT").retry_after(), Some(Duration::ZERO));
        assert_eq!(response(429, "soon").retry_after(), None);
    }

    #[test]
    fn a_status_says_what_follows() {
        let kind = |status| response(status, "1").failure("m".to_string());
        assert!(matches!(kind(429), EngineError::SlowDown { .. }));
        assert!(matches!(kind(503), EngineError::SlowDown { .. }));
        assert!(matches!(kind(502), EngineError::Unreachable(_)));
        assert!(matches!(kind(500), EngineError::Fault(_)));
        assert!(matches!(kind(413), EngineError::TooLarge(_)));
        assert!(matches!(kind(403), EngineError::Rejected { .. }));
        assert!(matches!(kind(301), EngineError::Rejected { .. }));
    }
}
