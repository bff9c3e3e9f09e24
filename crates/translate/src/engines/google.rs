//! The engine `google`: Google Cloud Translation, Basic edition (v2).
//!
//! Protocol: <https://cloud.google.com/translate/docs/reference/rest/v2/translate>. A request holds up to 128
//! texts; 5,000 characters are recommended, 30,000 are the end. The key goes into a header, so that no log of
//! addresses shows it. Errors are `{"error": {"code", "message", "errors": [{"reason"}], "status"}}`;
//! exceeded rates come as 403 as well as 429.

use super::{Setup, answers, codes, rejected, unknown_language};
use crate::engine::{Answer, Engine, EngineError, Limits, Price};
use crate::http::{self, Http, Response};
use crate::{Error, LanguagePair};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

const ENDPOINT: &str = "https://translation.googleapis.com/language/translate/v2";

/// Google Cloud Translation, v2.
pub struct Google {
    http: Http,
    translate: Url,
    languages: Url,
    headers: HeaderMap,
    limits: Limits,
    price: Option<Price>,
}

impl Google {
    /// # Errors
    /// The key is missing or none, the endpoint is no HTTP address, or HTTP cannot be set up.
    pub(crate) fn new(setup: Setup) -> Result<Self, Error> {
        let key = setup.key("google", "GOOGLE_API_KEY")?;
        let translate = http::endpoint(setup.endpoint.as_deref().unwrap_or(ENDPOINT), ENDPOINT)?;
        Ok(Self {
            http: Http::new(setup.timeout)?,
            languages: http::route(&translate, "/languages"),
            translate,
            headers: http::secret_header(HeaderName::from_static("x-goog-api-key"), key)?,
            limits: setup.limits,
            price: setup.price,
        })
    }
}

fn failure(response: &Response) -> EngineError {
    let message = response.message(&["/error/message", "/error/status"]);
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let reason = body.pointer("/error/errors/0/reason").and_then(Value::as_str).unwrap_or_default();
    let said = message.to_lowercase();
    match (response.status.as_u16(), reason) {
        (403 | 429, "dailyLimitExceeded" | "quotaExceeded") => rejected(
            message,
            "the daily quota is used up: run the same command again tomorrow, or raise it in the Cloud console",
        ),
        (403, "rateLimitExceeded" | "userRateLimitExceeded") => {
            EngineError::SlowDown { message, retry_after: response.retry_after() }
        }
        (400, _) if said.contains("api key") => rejected(message, "is the key in GOOGLE_API_KEY right?"),
        (401 | 403, _) => rejected(
            message,
            "is the key in GOOGLE_API_KEY right, the Cloud Translation API enabled, and billing active?",
        ),
        (400, _) if said.contains("too long") || said.contains("too many") || said.contains("too large") => {
            EngineError::TooLarge(message)
        }
        (400, _) if said.contains("language") || said.contains("invalid value") => {
            rejected(message, "the languages: https://cloud.google.com/translate/docs/languages")
        }
        _ => response.failure(message),
    }
}

impl Engine for Google {
    fn name(&self) -> &str {
        "google"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn price(&self) -> Option<Price> {
        self.price.clone()
    }

    fn check(&self, pair: &LanguagePair) -> Result<(), EngineError> {
        let response = self.http.get(&self.languages, &self.headers)?;
        if !response.status.is_success() {
            return Err(failure(&response));
        }
        let body = response.json()?;
        let listed = body.pointer("/data/languages").and_then(Value::as_array);
        let known: Vec<String> = listed
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|language| Some(language.get("language")?.as_str()?.to_string()))
            .collect();
        for code in [codes::google(&pair.from), codes::google(&pair.to)] {
            // `zh-CN` is listed as `zh` in some lists, `iw` is `he`.
            let primary = code.split('-').next().unwrap_or_default();
            if !known.is_empty() && !known.iter().any(|k| *k == code || k == primary) && code != "he" {
                return Err(unknown_language(&code, &known));
            }
        }
        Ok(())
    }

    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let body = json!({
            "q": segments,
            "source": codes::google(&pair.from),
            "target": codes::google(&pair.to),
            "format": "text",
        });
        let response = self.http.post(&self.translate, &self.headers, &body)?;
        if !response.status.is_success() {
            return Err(failure(&response));
        }
        let answer = response.json()?;
        answers(answer.pointer("/data/translations"), "translatedText", segments.len())
            .unwrap_or_else(|| Err(response.unexpected("`data.translations`")))
    }
}
