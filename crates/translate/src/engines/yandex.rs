//! The engine `yandex`: Yandex Cloud Translate, API v2.
//!
//! Protocol: <https://yandex.cloud/en/docs/translate/api-ref/Translation/translate>. A request holds up to
//! 10,000 characters; quotas are 20 requests per second and 1,000,000 characters per hour, and can be raised.
//! Errors are those of gRPC: `{"code", "message", "details"}` under the matching HTTP status.

use super::{Setup, answers, codes, rejected, unknown_language};
use crate::engine::{Answer, Engine, EngineError, Limits, Price};
use crate::http::{self, Http, Response};
use crate::{Error, LanguagePair};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

const ENDPOINT: &str = "https://translate.api.cloud.yandex.net/translate/v2";

/// Yandex Cloud Translate.
pub struct Yandex {
    http: Http,
    translate: Url,
    languages: Url,
    headers: HeaderMap,
    folder_id: Option<String>,
    limits: Limits,
    price: Option<Price>,
}

impl Yandex {
    /// `folder_id` is needed with the IAM token of a user, and not with the API key of a service account.
    ///
    /// # Errors
    /// The key is missing or none, the endpoint is no HTTP address, or HTTP cannot be set up.
    pub(crate) fn new(setup: Setup, folder_id: Option<String>) -> Result<Self, Error> {
        let key = setup.key("yandex", "YANDEX_API_KEY")?;
        // IAM tokens begin with `t1.`; API keys never do.
        let scheme = if key.starts_with("t1.") { "Bearer" } else { "Api-Key" };
        let base = http::endpoint(setup.endpoint.as_deref().unwrap_or(ENDPOINT), ENDPOINT)?;
        Ok(Self {
            http: Http::new(setup.timeout)?,
            translate: http::route(&base, "/translate"),
            languages: http::route(&base, "/languages"),
            headers: http::secret_header(AUTHORIZATION, &format!("{scheme} {key}"))?,
            folder_id,
            limits: setup.limits,
            price: setup.price,
        })
    }

    fn post(&self, url: &Url, mut body: Value) -> Result<Value, EngineError> {
        if let Some(folder_id) = &self.folder_id {
            body["folderId"] = json!(folder_id);
        }
        let response = self.http.post(url, &self.headers, &body)?;
        if response.status.is_success() { response.json() } else { Err(failure(&response)) }
    }
}

fn failure(response: &Response) -> EngineError {
    let message = response.message(&["/message", "/error_message"]);
    let said = message.to_lowercase();
    match response.status.as_u16() {
        401 => rejected(message, "is the key in YANDEX_API_KEY right? An IAM token lives for 12 hours only"),
        403 => rejected(
            message,
            "the account needs the role ai.translate.user and active billing; a user's token also needs `folder_id`",
        ),
        400 if said.contains("length") || said.contains("exceed") || said.contains("too long") => {
            EngineError::TooLarge(message)
        }
        400 if said.contains("language") => rejected(
            message,
            "the languages: https://yandex.cloud/en/docs/translate/concepts/supported-languages",
        ),
        _ => response.failure(message),
    }
}

impl Engine for Yandex {
    fn name(&self) -> &str {
        "yandex"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn price(&self) -> Option<Price> {
        self.price.clone()
    }

    fn check(&self, pair: &LanguagePair) -> Result<(), EngineError> {
        let answer = self.post(&self.languages, json!({}))?;
        let listed = answer.get("languages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let known: Vec<String> =
            listed.iter().filter_map(|language| Some(language.get("code")?.as_str()?.to_string())).collect();
        for code in [codes::yandex(&pair.from), codes::yandex(&pair.to)] {
            if !known.is_empty() && !known.contains(&code) {
                return Err(unknown_language(&code, &known));
            }
        }
        Ok(())
    }

    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let body = json!({
            "sourceLanguageCode": codes::yandex(&pair.from),
            "targetLanguageCode": codes::yandex(&pair.to),
            "format": "PLAIN_TEXT",
            "texts": segments,
        });
        let answer = self.post(&self.translate, body)?;
        answers(answer.get("translations"), "text", segments.len()).unwrap_or_else(|| {
            Err(EngineError::Fault(format!("{} answers without `translations`", self.translate)))
        })
    }
}
