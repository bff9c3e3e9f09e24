//! HTTP with the Hub: one client, the token kept to its own host, redirects followed by hand, retries with
//! back-off, and what an answer that is no success means.

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repo::{Kind, Repo};
use crate::settings::Settings;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use serde_json::Value;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// More than any listing's page.
const LONGEST_JSON: usize = 64 << 20;
const MOST_REDIRECTS: usize = 10;
/// Attempts before giving up on something without which nothing goes on.
pub const ATTEMPTS: u32 = 5;
/// Longer than this nobody waits at a terminal.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Headers of the Hub, which a redirect to a storage server would otherwise hide.
const HUB_HEADERS: [&str; 3] = ["x-repo-commit", "x-linked-etag", "x-linked-size"];

pub struct Client {
    http: reqwest::Client,
    pub endpoint: Url,
    token: Option<HeaderValue>,
    token_source: String,
    token_when_reading: bool,
}

/// What is sent; it can be sent again.
pub struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Payload,
    /// Whose answer it is, for messages.
    pub repo: Option<&'a Repo>,
    /// Whether something is changed there: the token always goes along.
    pub writes: bool,
    pub attempts: u32,
}

/// The body of a request.
pub enum Payload {
    None,
    Bytes(Bytes),
    /// Made anew for every attempt.
    Made(Box<dyn Fn() -> Result<reqwest::Body> + Send + Sync>),
}

/// An answer with success.
pub struct Answer {
    pub response: Response,
    /// Its headers, and those of the Hub that a redirect carried.
    pub headers: HeaderMap,
    /// Another host gave it.
    pub elsewhere: bool,
}

impl<'a> Request<'a> {
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body) = (HeaderMap::new(), Payload::None);
        Self { method, url, headers, body, repo: None, writes: false, attempts: ATTEMPTS }
    }

    pub fn about(mut self, repo: &'a Repo) -> Self {
        self.repo = Some(repo);
        self
    }

    pub fn writing(mut self) -> Self {
        self.writes = true;
        self
    }

    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub fn body(mut self, body: Payload) -> Self {
        self.body = body;
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(Payload::Bytes(value.to_string().into()))
    }
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Self> {
        let setup = |reason: String| Error::Setup { reason };
        let endpoint = Url::parse(&settings.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| setup(format!("HF_ENDPOINT is {:?}, no HTTP address", settings.endpoint)))?;
        let (token, token_source) = match &settings.token {
            None => (None, String::new()),
            Some((token, source)) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    setup(format!("the token in {source} holds characters that no token has"))
                })?;
                value.set_sensitive(true);
                (Some(value), source.clone())
            }
        };
        // Fails only when a provider is already installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .redirect(redirect::Policy::none())
            .user_agent(concat!("tolmach/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| setup(format!("cannot set up HTTP: {}", chain(&e))))?;
        let token_when_reading = settings.token_when_reading;
        Ok(Self { http, endpoint, token, token_source, token_when_reading })
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// `api/models/org/name/revision/main`: the segments one by one, so that a slash within one stays within.
    pub fn api(&self, kind: Kind, id: &str, rest: &[&str]) -> Url {
        self.below(["api", kind.plural()].into_iter().chain(id.split('/')).chain(rest.iter().copied()))
    }

    /// The address of a file.
    pub fn resolve(&self, repo: &Repo, revision: &str, path: &str) -> Url {
        let kind = (repo.kind == Kind::DataSet).then_some("datasets");
        let parts = kind.into_iter().chain(repo.id.split('/')).chain(["resolve", revision]);
        self.below(parts.chain(path.split('/')))
    }

    pub fn below<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Send until there is an answer with success.
    ///
    /// # Errors
    /// What the answer means; the network's fault after the last attempt.
    pub async fn send(&self, request: &Request<'_>, progress: &Arc<dyn Progress>) -> Result<Answer> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (error, asked) = match self.once(request).await {
                Ok(answer) => {
                    let status = answer.response.status();
                    if status.is_success() {
                        return Ok(answer);
                    }
                    let wait = is_passing(status).then(|| wanted_wait(&answer.headers));
                    let error = self.failure(request, answer).await;
                    let Some(wait) = wait else { return Err(error) };
                    (error, wait)
                }
                Err(error @ Error::Unreachable { .. }) => (error, None),
                Err(error) => return Err(error),
            };
            if attempt >= request.attempts {
                return Err(error);
            }
            let wait = asked.unwrap_or_else(|| back_off(attempt));
            if wait > LONGEST_WAIT {
                return Err(Error::TooLongWait { address: address(&request.url), wait });
            }
            progress.note(&format!("{error}; trying again in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }

    /// The body of a success as JSON.
    pub async fn json(
        &self,
        request: &Request<'_>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(HeaderMap, Value)> {
        let answer = self.send(request, progress).await?;
        let body = read_body(answer.response, &request.url).await?;
        let value = serde_json::from_slice(&body).map_err(|_| Error::Protocol {
            address: address(&request.url),
            reason: format!("no JSON: {}", excerpt(&String::from_utf8_lossy(&body))),
        })?;
        Ok((answer.headers, value))
    }

    /// The status of the endpoint's front page.
    pub async fn reach(&self) -> Result<u16> {
        let request = Request::new(Method::GET, self.below(["api", "models"]));
        Ok(self.once(&request).await?.response.status().as_u16())
    }

    /// One attempt, with the redirects that it takes.
    async fn once(&self, request: &Request<'_>) -> Result<Answer> {
        let mut url = request.url.clone();
        let mut carried = HeaderMap::new();
        for _ in 0..=MOST_REDIRECTS {
            let at_home = url.origin() == self.endpoint.origin();
            let mut headers = request.headers.clone();
            match &self.token {
                // The token is for the Hub alone: a storage server has no business with it.
                Some(token) if at_home && (request.writes || self.token_when_reading) => {
                    headers.insert(AUTHORIZATION, token.clone());
                }
                _ => drop(headers.remove(AUTHORIZATION)),
            }
            if !at_home {
                headers.remove(IF_RANGE); // another server has other entity tags
            }
            let mut builder = self.http.request(request.method.clone(), url.clone()).headers(headers);
            match &request.body {
                Payload::None => {}
                Payload::Bytes(bytes) => builder = builder.body(bytes.clone()),
                Payload::Made(make) => builder = builder.body(make()?),
            }
            let response = builder.send().await.map_err(|e| unreachable(&url, e))?;
            for name in HUB_HEADERS {
                if let Some(value) = response.headers().get(name) {
                    carried.entry(name).or_insert_with(|| value.clone());
                }
            }
            let Some(target) = target(&response, &url, &request.method)? else {
                let mut headers = response.headers().clone();
                headers.extend(carried);
                return Ok(Answer { response, headers, elsewhere: !at_home });
            };
            url = target;
        }
        let reason = format!("more than {MOST_REDIRECTS} redirects");
        Err(Error::Protocol { address: address(&request.url), reason })
    }

    /// What an answer that is no success means.
    async fn failure(&self, request: &Request<'_>, answer: Answer) -> Error {
        let status = answer.response.status();
        let said =
            |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
        let (code, message) = (said("x-error-code"), said("x-error-message"));
        let address = address(&request.url);
        let token = self.has_token() && self.token_when_reading;
        if let Some(repo) = request.repo.filter(|_| !answer.elsewhere) {
            let repo = repo.clone();
            match code.as_deref() {
                Some("RevisionNotFound") => return Error::RevisionNotFound { repo },
                Some("GatedRepo") => {
                    let kind = (repo.kind == Kind::DataSet).then_some("datasets");
                    let page = self.below(kind.into_iter().chain(repo.id.split('/'))).to_string();
                    return Error::Gated { repo, page, token };
                }
                Some("EntryNotFound") => {
                    let path = request.url.path().rsplit('/').next().unwrap_or_default().to_string();
                    return Error::EntryNotFound { repo, path };
                }
                Some("RepoNotFound") => return Error::RepoNotFound { repo, token },
                _ => {}
            }
            // Without a token the Hub does not say whether a repository is missing or private.
            let bad_token = message.as_deref().is_some_and(|m| m.contains("Invalid credentials"));
            if status == StatusCode::UNAUTHORIZED && !bad_token && !request.writes {
                return Error::RepoNotFound { repo, token };
            }
        }
        if status == StatusCode::UNAUTHORIZED && self.has_token() && !answer.elsewhere {
            return Error::BadToken { address, source_name: self.token_source.clone() };
        }
        let body = read_body(answer.response, &request.url).await.unwrap_or_default();
        let message = message.unwrap_or_else(|| said_in(&body));
        let message = format!("{status}: {message}");
        if is_passing(status) {
            return Error::Unreachable { address, reason: message };
        }
        Error::Refused { address, status: status.as_u16(), message }
    }
}

/// Where a redirect leads; `None`: it is none.
fn target(response: &Response, url: &Url, method: &Method) -> Result<Option<Url>> {
    let status = response.status();
    // 304 is no redirect; 301 to 303 would turn a POST into a GET.
    let kept = matches!(status.as_u16(), 307 | 308);
    if !kept && !matches!(status.as_u16(), 301..=303) {
        return Ok(None);
    }
    let protocol = |reason: String| Error::Protocol { address: address(url), reason };
    if !kept && *method != Method::GET && *method != Method::HEAD {
        return Err(protocol(format!("{status} to a {method}")));
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| url.join(location).ok());
    let target = target.filter(|target| matches!(target.scheme(), "http" | "https"));
    target.map(Some).ok_or_else(|| protocol(format!("{status} without an address")))
}

/// Statuses that may be gone the next time.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Half a second, then twice as long each time.
pub fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(500 << (attempt - 1).min(4))
}

/// What the server asks for: `Retry-After` in seconds or as a date, or the reset of the Hub's own
/// `RateLimit: "api";r=0;t=55`.
fn wanted_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(value) = text(RETRY_AFTER.as_str()).map(str::trim) {
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = httpdate::parse_http_date(value) {
            return Some(date.duration_since(SystemTime::now()).unwrap_or_default());
        }
    }
    let mut fields = text("ratelimit")?.split(';').map(str::trim);
    let spent = fields.clone().any(|field| field == "r=0");
    let reset = fields.find_map(|field| field.strip_prefix("t=")?.parse().ok())?;
    spent.then(|| Duration::from_secs(reset))
}

async fn read_body(mut response: Response, url: &Url) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|e| unreachable(url, e))? {
        if body.len() + part.len() > LONGEST_JSON {
            let reason = format!("the answer is longer than {} MiB", LONGEST_JSON >> 20);
            return Err(Error::Protocol { address: address(url), reason });
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// What the Hub says in the body of a failure.
fn said_in(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    match json["error"].as_str().or(json["message"].as_str()) {
        Some(message) => excerpt(message),
        None => excerpt(&String::from_utf8_lossy(body)),
    }
}

pub fn unreachable(url: &Url, error: reqwest::Error) -> Error {
    // The query of a storage address is a signature: it is not for messages.
    Error::Unreachable { address: address(url), reason: chain(&error.without_url()) }
}

/// `url` without its query, user and password.
pub fn address(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
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

/// The start of a text, in one line, without what would steer a terminal.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(200).collect();
    if line.is_empty() { "no reason given".into() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_wait_is_what_the_server_asks_for() {
        assert_eq!(wanted_wait(&headers(&[("retry-after", " 7 ")])), Some(Duration::from_secs(7)));
        let past = headers(&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")]);
        assert_eq!(wanted_wait(&past), Some(Duration::ZERO));
        let limit = headers(&[("ratelimit", "\"api\";r=0;t=55")]);
        assert_eq!(wanted_wait(&limit), Some(Duration::from_secs(55)));
        assert_eq!(wanted_wait(&headers(&[("ratelimit", "\"api\";r=3;t=55")])), None);
        assert_eq!(wanted_wait(&headers(&[])), None);
        assert_eq!([1, 2, 3, 9].map(|n| back_off(n).as_millis()), [500, 1000, 2000, 8000]);
    }

    #[test]
    fn addresses_keep_a_slash_within_a_segment_and_tell_no_secret() {
        let settings =
            Settings::resolve(&|name| (name == "HF_ENDPOINT").then(|| "http://127.0.0.1:9/hub/".to_string()));
        let client = Client::new(&settings).unwrap();
        let (repo, _) = Repo::parse("a/b@refs/pr/1", Kind::DataSet).unwrap();
        let url = client.resolve(&repo, &repo.revision, "data/файл 1.json");
        let expected = "http://127.0.0.1:9/hub/datasets/a/b/resolve/refs%2Fpr%2F1/data/%D1%84%D0%B0%D0%B9%D0%BB%201.json";
        assert_eq!(url.as_str(), expected);
        let signed = Url::parse("https://u:p@cdn.example/x?Signature=SECRET").unwrap();
        assert_eq!(address(&signed), "https://cdn.example/x");
    }
}
