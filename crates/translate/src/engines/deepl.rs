//! The engine `deepl`: the DeepL API, v2.
//!
//! Protocol: <https://developers.deepl.com/api-reference/translate>. A request holds up to 50 texts and
//! 128 KiB. Keys of the free plan end in `:fx` and work with another address. Errors are
//! `{"message", "detail"?}`; 456 means that the quota is used up, 529 is another 429.

use super::{Setup, answers, codes, rejected, unknown_language};
use crate::engine::{Answer, Engine, EngineError, Limits, Price};
use crate::http::{self, Http, Response};
use crate::{Error, LanguagePair};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

const ENDPOINT: &str = "https://api.deepl.com/v2";
const FREE_ENDPOINT: &str = "https://api-free.deepl.com/v2";
const QUOTA_HINT: &str =
    "wait for the next month or take a larger plan; what was answered is stored and is not asked again";

/// DeepL.
pub struct DeepL {
    http: Http,
    translate: Url,
    languages: Url,
    usage: Url,
    headers: HeaderMap,
    limits: Limits,
    price: Option<Price>,
}

impl DeepL {
    /// # Errors
    /// The key is missing or none, the endpoint is no HTTP address, or HTTP cannot be set up.
    pub(crate) fn new(setup: Setup) -> Result<Self, Error> {
        let key = setup.key("deepl", "DEEPL_API_KEY")?;
        let is_free = key.ends_with(":fx");
        let public = if is_free { FREE_ENDPOINT } else { ENDPOINT };
        let base = http::endpoint(setup.endpoint.as_deref().unwrap_or(public), ENDPOINT)?;
        let at_no_charge = is_free && setup.endpoint.is_none();
        Ok(Self {
            http: Http::new(setup.timeout)?,
            translate: http::route(&base, "/translate"),
            languages: http::route(&base, "/languages"),
            usage: http::route(&base, "/usage"),
            headers: http::secret_header(AUTHORIZATION, &format!("DeepL-Auth-Key {key}"))?,
            limits: setup.limits,
            price: setup.price.map(|price| match at_no_charge {
                true => Price { per_million: 0.0, ..price },
                false => price,
            }),
        })
    }

    /// The languages that DeepL translates from (`source`) or into (`target`); empty if it does not say.
    fn known(&self, kind: &str) -> Result<Vec<String>, EngineError> {
        let mut url = self.languages.clone();
        url.set_query(Some(&format!("type={kind}")));
        let response = self.http.get(&url, &self.headers)?;
        if !response.status.is_success() {
            return Err(failure(&response));
        }
        let body = response.json()?;
        let listed = body.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(listed.iter().filter_map(|l| Some(l.get("language")?.as_str()?.to_string())).collect())
    }
}

fn failure(response: &Response) -> EngineError {
    let message = response.message(&["/message", "/detail"]);
    let said = message.to_lowercase();
    match response.status.as_u16() {
        401 | 403 => rejected(
            message,
            "is the key in DEEPL_API_KEY right? Keys of the free plan end in `:fx` and need no `endpoint`",
        ),
        456 => rejected(message, QUOTA_HINT),
        414 => EngineError::TooLarge(message),
        529 => EngineError::SlowDown { message, retry_after: response.retry_after() },
        400 if said.contains("_lang") => rejected(
            message,
            "the languages: https://developers.deepl.com/docs/getting-started/supported-languages",
        ),
        _ => response.failure(message),
    }
}

impl Engine for DeepL {
    fn name(&self) -> &str {
        "deepl"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn price(&self) -> Option<Price> {
        self.price.clone()
    }

    fn check(&self, pair: &LanguagePair) -> Result<(), EngineError> {
        for (kind, code) in
            [("source", codes::deepl_source(&pair.from)), ("target", codes::deepl_target(&pair.to))]
        {
            let known = self.known(kind)?;
            if !known.is_empty() && !known.contains(&code) {
                return Err(unknown_language(&code, &known));
            }
        }
        let response = self.http.get(&self.usage, &self.headers)?;
        let usage: Value = serde_json::from_str(&response.body).unwrap_or_default();
        let count = |key: &str| usage.get(key).and_then(Value::as_u64);
        match (count("character_count"), count("character_limit")) {
            (Some(used), Some(limit)) if used >= limit => Err(rejected(
                format!("the quota of this DeepL key is used up: {used} of {limit} characters"),
                QUOTA_HINT,
            )),
            _ => Ok(()),
        }
    }

    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let body = json!({
            "text": segments,
            "source_lang": codes::deepl_source(&pair.from),
            "target_lang": codes::deepl_target(&pair.to),
            "preserve_formatting": true,
        });
        let response = self.http.post(&self.translate, &self.headers, &body)?;
        if !response.status.is_success() {
            return Err(failure(&response));
        }
        let answer = response.json()?;
        answers(answer.get("translations"), "text", segments.len())
            .unwrap_or_else(|| Err(response.unexpected("`translations`")))
    }
}
