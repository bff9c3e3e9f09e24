//! The engine `libretranslate`: `POST /translate` and `GET /languages` of a LibreTranslate server.
//!
//! Protocol: <https://docs.libretranslate.com>. `q` is a string or an array of strings and the answer's
//! `translatedText` has the same shape; every error is `{"error": "…"}` with a status.

use super::Setup;
use crate::Error;
use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Limits, Miss, Price};
use crate::http::{self, Http, Response};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

const KEY_HINT: &str = "give the name of the environment variable that holds the key with --api-key-env";

/// A LibreTranslate server.
pub struct LibreTranslate {
    http: Http,
    translate: Url,
    languages: Url,
    api_key: Option<String>,
    limits: Limits,
    price: Option<Price>,
}

/// One language that the server offers, as `GET /languages` lists it.
#[derive(Deserialize)]
struct Language {
    code: String,
    /// Older servers leave it out: any other language then.
    #[serde(default)]
    targets: Option<Vec<String>>,
}

impl LibreTranslate {
    /// An engine that talks to the server at `setup.endpoint` (`http://localhost:5000`).
    ///
    /// # Errors
    /// The endpoint is no HTTP address, or HTTP cannot be set up.
    pub(crate) fn new(setup: Setup) -> Result<Self, Error> {
        let base = http::endpoint(setup.endpoint.as_deref().unwrap_or_default(), "http://localhost:5000")?;
        let translate = http::route(&base, "/translate");
        let mut languages = translate.clone();
        let root = translate.path().strip_suffix("/translate").unwrap_or_default();
        languages.set_path(&format!("{root}/languages"));
        let http = Http::new(setup.timeout)?;
        Ok(Self {
            http,
            translate,
            languages,
            api_key: setup.api_key,
            limits: setup.limits,
            price: setup.price,
        })
    }

    fn failure(response: &Response) -> EngineError {
        let message = response.message(&["/error"]);
        let said = message.to_lowercase();
        match response.status {
            // "request (2100) exceeds text limit (2000)", for characters and for segments alike.
            StatusCode::BAD_REQUEST if said.contains("exceeds") => EngineError::TooLarge(message),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if said.contains("api key") =>
            {
                EngineError::Rejected { message, hint: Some(KEY_HINT.to_string()) }
            }
            StatusCode::NOT_FOUND => EngineError::Rejected {
                message,
                hint: Some("is the endpoint a LibreTranslate server?".to_string()),
            },
            _ => response.failure(message),
        }
    }
}

impl Engine for LibreTranslate {
    fn name(&self) -> &str {
        "libretranslate"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn price(&self) -> Option<Price> {
        self.price.clone()
    }

    /// Ask for the language list. A server without one is given the benefit of the doubt:
    /// the first request will tell.
    fn check(&self, pair: &LanguagePair) -> Result<(), EngineError> {
        let response = self.http.get(&self.languages, &HeaderMap::new())?;
        let Ok(languages) = serde_json::from_str::<Vec<Language>>(&response.body) else { return Ok(()) };
        if !response.status.is_success() || languages.is_empty() {
            return Ok(());
        }
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let source = languages.iter().find(|l| same(&l.code, &pair.from));
        let offered = source.map(|l| match &l.targets {
            Some(targets) => targets.clone(),
            None => languages.iter().map(|l| l.code.clone()).collect(),
        });
        let (known, message) = match offered {
            None => {
                let codes = languages.iter().map(|l| l.code.clone()).collect();
                (codes, format!("the server does not translate from `{}`", pair.from))
            }
            Some(targets) if !targets.iter().any(|t| same(t, &pair.to)) => {
                (targets, format!("the server does not translate from `{}` to `{}`", pair.from, pair.to))
            }
            Some(_) => return Ok(()),
        };
        Err(EngineError::Rejected { message, hint: Some(format!("it offers: {}", known.join(", "))) })
    }

    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        // A single text goes as a string: servers before batches knew only that.
        let q = match segments {
            [one] => json!(one),
            many => json!(many),
        };
        let mut body = json!({ "q": q, "source": pair.from, "target": pair.to, "format": "text" });
        if let Some(key) = &self.api_key {
            body["api_key"] = json!(key);
        }
        let response = self.http.post(&self.translate, &HeaderMap::new(), &body)?;
        if response.status != StatusCode::OK {
            return Err(Self::failure(&response));
        }
        let answer = response.json()?;
        targets(answer.get("translatedText"), segments.len())
            .unwrap_or_else(|| Err(response.unexpected("`translatedText`")))
    }
}

/// The answers in `translatedText`; `None` if it is neither a string nor an array.
fn targets(text: Option<&Value>, expected: usize) -> Option<Result<Vec<Answer>, EngineError>> {
    let texts = match text? {
        Value::Array(texts) => texts.as_slice(),
        text @ Value::String(_) => std::slice::from_ref(text),
        _ => return None,
    };
    if texts.len() != expected {
        return Some(Err(EngineError::Miscount { expected, found: texts.len() }));
    }
    let answer = |text: &Value| match text.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => Err(Miss::Empty),
    };
    Some(Ok(texts.iter().map(answer).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(endpoint: &str) -> Result<LibreTranslate, Error> {
        LibreTranslate::new(Setup { endpoint: Some(endpoint.to_string()), ..Setup::default() })
    }

    #[test]
    fn the_endpoint_is_taken_with_or_without_the_route() {
        for endpoint in ["http://a.example/lt", "http://a.example/lt/", "http://a.example/lt/translate"] {
            let engine = engine(endpoint).unwrap();
            assert_eq!(engine.translate.as_str(), "http://a.example/lt/translate");
            assert_eq!(engine.languages.as_str(), "http://a.example/lt/languages");
        }
        for endpoint in ["localhost:5000", "ftp://a.example", "", "http://"] {
            assert!(matches!(engine(endpoint), Err(Error::Config(_))), "{endpoint}");
        }
    }

    #[test]
    fn answers_of_any_shape_are_counted() {
        let text = |value: Value, expected| targets(Some(&value), expected);
        assert_eq!(text(json!("да"), 1), Some(Ok(vec![Ok("да".to_string())])));
        assert_eq!(text(json!(["да", " "]), 2), Some(Ok(vec![Ok("да".to_string()), Err(Miss::Empty)])));
        assert_eq!(text(json!(["да"]), 2), Some(Err(EngineError::Miscount { expected: 2, found: 1 })));
        assert_eq!(text(json!(7), 1), None);
        assert_eq!(targets(None, 1), None);
    }
}
