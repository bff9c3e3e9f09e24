//! JSON over HTTP for engines: one client, one small runtime, and what a status means for the next step.

use crate::Error;
use crate::engine::EngineError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url, redirect};
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
    /// Who answered.
    pub address: String,
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

    /// POST `body` as JSON.
    pub fn post(&self, url: &Url, headers: &HeaderMap, body: &Value) -> Result<Response, EngineError> {
        let mut headers = headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, url, headers, Some(body.to_string()))
    }

    pub fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, EngineError> {
        self.send(Method::GET, url, headers.clone(), None)
    }

    pub fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<Response, EngineError> {
        let mut request = self.client.request(method, url.clone()).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        // The query may hold a key: it is not for messages.
        let unreachable = |e: reqwest::Error| {
            EngineError::Unreachable(format!("{}: {}", address(url), chain(&e.without_url())))
        };
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(unreachable)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await.map_err(unreachable)? {
                if body.len() + part.len() > LONGEST_ANSWER {
                    return Err(EngineError::Fault(format!(
                        "the answer of {} is longer than {} MiB",
                        address(url),
                        LONGEST_ANSWER >> 20
                    )));
                }
                body.extend_from_slice(&part);
            }
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Response { address: address(url), status, headers, body })
        })
    }
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none: a fault of the service.
    pub fn json(&self) -> Result<Value, EngineError> {
        serde_json::from_str(&self.body)
            .map_err(|_| self.fault(&format!("answers no JSON: {:?}", excerpt(&self.body))))
    }

    /// The service answered something that is not in its protocol.
    pub fn fault(&self, what: &str) -> EngineError {
        EngineError::Fault(format!("{} {what}", self.address))
    }

    /// The body is JSON of the service's protocol, but not what was expected.
    pub fn unexpected(&self, expected: &str) -> EngineError {
        self.fault(&format!("answers without {expected}: {}", excerpt(&self.body)))
    }

    /// A sentence with what the service said in an answer that is no success: the first of `pointers` (JSON
    /// pointers) that holds a text, else the start of the body.
    pub fn message(&self, pointers: &[&str]) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let said = pointers.iter().find_map(|pointer| body.pointer(pointer)?.as_str());
        let said = excerpt(said.unwrap_or(&self.body));
        // 456 and 529 of DeepL have no name that a library knows.
        let name = self.status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} answers {}{name}: {said}", self.address, self.status.as_u16())
    }

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
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

/// `url` without its query, user and password.
fn address(url: &Url) -> String {
    match url.host_str() {
        Some(host) => {
            let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
            format!("{}://{host}{port}{}", url.scheme(), url.path())
        }
        None => url.scheme().to_string(),
    }
}

/// The setting `endpoint` as an address.
///
/// # Errors
/// It is none of HTTP.
pub(crate) fn endpoint(text: &str, example: &str) -> Result<Url, Error> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        Error::Config(format!("`endpoint`: {text:?} is no HTTP address; expected one like \"{example}\""))
    })
}

/// `base` with `route` as its path, below whatever path it has; a route that is there already is not doubled.
pub(crate) fn route(base: &Url, route: &str) -> Url {
    let root = base.path().trim_end_matches('/');
    let root = root.strip_suffix(route.trim_end_matches('/')).unwrap_or(root).trim_end_matches('/');
    let mut url = base.clone();
    url.set_path(&format!("{root}{route}"));
    url
}

/// A header with a secret in it, which no log prints.
///
/// # Errors
/// The secret holds characters that no header can carry.
pub(crate) fn secret_header(name: HeaderName, value: &str) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::Config("the API key holds characters that no key has".to_string()))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(name, value)]))
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

/// The start of a text, for a message: in one line, without what would steer a terminal.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.replace(char::is_control, "\u{fffd}");
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
        let status = StatusCode::from_u16(status).unwrap();
        Response { address: "http://a.example/x".to_string(), status, headers, body: String::new() }
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
    fn an_address_in_a_message_holds_no_secret() {
        let url = Url::parse("https://me:pass@a.example:81/v2/translate?key=SECRET").unwrap();
        assert_eq!(address(&url), "https://a.example:81/v2/translate");
        let http = Http::new(Duration::from_secs(1)).unwrap();
        let closed = Url::parse("http://127.0.0.1:1/x?key=SECRET").unwrap();
        match http.get(&closed, &HeaderMap::new()) {
            Err(EngineError::Unreachable(message)) => {
                assert!(message.contains("127.0.0.1:1/x") && !message.contains("SECRET"), "{message}");
            }
            other => panic!("{:?}", other.map(|r| r.status)),
        }
    }

    #[test]
    fn a_route_is_added_once() {
        for base in ["http://a.example/v2", "http://a.example/v2/", "http://a.example/v2/translate"] {
            let url = route(&Url::parse(base).unwrap(), "/translate");
            assert_eq!(url.as_str(), "http://a.example/v2/translate", "{base}");
        }
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
