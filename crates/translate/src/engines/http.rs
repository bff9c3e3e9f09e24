//! The engine `http`: any service that takes one text and gives its translation, described in the recipe.
//!
//! The address, the headers and the body are templates with `{text}`, `{from}`, `{to}` and `{key}`; the values
//! are escaped as their place demands: percent-encoded in an address or a form, as a string within JSON.
//! `answer` is the path to the translation in a JSON answer: `data.translations.0.text`, with `*` for "all of
//! them, one after the other". Without a path the body of the answer is the translation.

use super::{Setup, answer, rejected};
use crate::engine::{Answer, Engine, EngineError, Limits, Price};
use crate::http::{self, Http, Response, excerpt};
use crate::{Error, LanguagePair};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// How a service of one text is asked, as the user writes it.
#[derive(Clone, Debug, Default)]
pub struct HttpTemplate {
    pub url: String,
    /// `GET` or `POST`; by default what having a body demands.
    pub method: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    /// The path to the translation in the answer.
    pub answer: Option<String>,
}

/// A service of one text.
pub struct HttpService {
    http: Http,
    method: Method,
    url: String,
    headers: HashMap<HeaderName, String>,
    body: Body,
    answer: Vec<Step>,
    identity: String,
    api_key: String,
    limits: Limits,
    price: Option<Price>,
}

enum Body {
    None,
    Json(Value),
    Form(String),
    Text(String),
}

/// One step of the path to the translation.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
    All,
}

/// What the placeholders stand for in one request.
struct Values<'a> {
    text: &'a str,
    pair: &'a LanguagePair,
    key: &'a str,
}

impl HttpService {
    /// # Errors
    /// A template makes no sense (the message names the setting), or HTTP cannot be set up.
    pub(crate) fn new(setup: Setup, template: &HttpTemplate) -> Result<Self, Error> {
        let wrong = |key: &str, message: String| Error::Config(format!("`{key}`: {message}"));
        let parts = [Some(&template.url), template.body.as_ref()];
        let all = parts.into_iter().flatten().chain(template.headers.values());
        if !parts.into_iter().flatten().any(|part| part.contains("{text}")) {
            return Err(wrong(
                "body",
                "neither it nor `endpoint` holds {text}, the place of the text".to_string(),
            ));
        }
        if setup.api_key.is_none() && all.clone().any(|part| part.contains("{key}")) {
            return Err(wrong(
                "api_key_env",
                "{key} is used, but there is no key: name the environment variable that holds it".to_string(),
            ));
        }
        let method = template
            .method
            .clone()
            .unwrap_or_else(|| if template.body.is_some() { "POST".to_string() } else { "GET".to_string() });
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| wrong("method", format!("{method:?} is no HTTP method")))?;
        let mut headers = HashMap::new();
        for (name, value) in &template.headers {
            let known = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong("headers", format!("{name:?} is no name of a header")))?;
            headers.insert(known, value.clone());
        }
        let body = Body::of(template.body.as_deref(), headers.get(&CONTENT_TYPE));
        let pair = LanguagePair::new("en", "ru")?;
        let sample = Values { text: "x", pair: &pair, key: "x" };
        http::endpoint(&sample.fill(&template.url, percent_encoded), "https://a.example/translate?q={text}")?;

        let mut hasher = blake3::Hasher::new();
        for part in [Some(&template.url), template.body.as_ref(), template.answer.as_ref()] {
            hasher.update(part.map_or("", String::as_str).as_bytes()).update(b"\0");
        }
        Ok(Self {
            http: Http::new(setup.timeout)?,
            method,
            url: template.url.clone(),
            headers,
            body,
            answer: steps(template.answer.as_deref().unwrap_or_default()),
            identity: format!("http:{}", &hasher.finalize().to_hex()[..16]),
            api_key: setup.api_key.unwrap_or_default(),
            limits: setup.limits,
            price: setup.price,
        })
    }

    fn ask(&self, values: &Values<'_>) -> Result<Response, EngineError> {
        let address = values.fill(&self.url, percent_encoded);
        let url = Url::parse(&address)
            .map_err(|e| rejected(format!("the address became {address:?}: {e}"), "mend `endpoint`"))?;
        let mut headers = HeaderMap::new();
        if let Some(kind) = self.body.content_type() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, template) in &self.headers {
            let mut value = HeaderValue::from_str(&values.fill(template, str::to_string)).map_err(|_| {
                rejected(format!("the header `{name}` holds what no header can"), "mend `headers` or the key")
            })?;
            value.set_sensitive(*name == AUTHORIZATION || template.contains("{key}"));
            headers.insert(name.clone(), value);
        }
        self.http.send(self.method.clone(), &url, headers, self.body.filled(values))
    }
}

fn failure(response: &Response) -> EngineError {
    let message = response.message(&["/error/message", "/error", "/message", "/detail"]);
    let said = message.to_lowercase();
    match response.status.as_u16() {
        401 | 403 => rejected(message, "is the key right, and where the service expects it ({key})?"),
        414 => EngineError::TooLarge(message),
        400 | 422 if said.contains("too long") || said.contains("too large") || said.contains("exceed") => {
            EngineError::TooLarge(message)
        }
        404 | 405 => rejected(message, "are `endpoint` and `method` right?"),
        _ => response.failure(message),
    }
}

impl Engine for HttpService {
    fn name(&self) -> &str {
        "http"
    }

    /// Another address or body is another translator.
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn price(&self) -> Option<Price> {
        self.price.clone()
    }

    fn takes_one_text(&self) -> bool {
        true
    }

    fn translate(&self, segments: &[&str], pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let [text] = segments else {
            return Err(EngineError::Miscount { expected: segments.len(), found: 1 });
        };
        let response = self.ask(&Values { text, pair, key: &self.api_key })?;
        if !response.status.is_success() {
            return Err(failure(&response));
        }
        if self.answer.is_empty() {
            return Ok(vec![answer(&response.body)]);
        }
        let found = select(&response.json()?, &self.answer);
        let found = found.ok_or_else(|| {
            let message = format!("has nothing at the path `answer`: {:?}", excerpt(&response.body));
            response.fault(&message)
        })?;
        Ok(vec![answer(&found)])
    }
}

impl Body {
    fn of(template: Option<&str>, content_type: Option<&String>) -> Self {
        let Some(template) = template else { return Body::None };
        let kind = content_type.map(|kind| kind.to_ascii_lowercase()).unwrap_or_default();
        match serde_json::from_str(template) {
            _ if kind.contains("x-www-form-urlencoded") => Body::Form(template.to_string()),
            Ok(json @ (Value::Object(_) | Value::Array(_))) => Body::Json(json),
            _ if kind.is_empty() && template.contains("={text}") => Body::Form(template.to_string()),
            _ => Body::Text(template.to_string()),
        }
    }

    fn content_type(&self) -> Option<&'static str> {
        match self {
            Body::None => None,
            Body::Json(_) => Some("application/json"),
            Body::Form(_) => Some("application/x-www-form-urlencoded"),
            Body::Text(_) => Some("text/plain; charset=utf-8"),
        }
    }

    fn filled(&self, values: &Values<'_>) -> Option<String> {
        match self {
            Body::None => None,
            Body::Json(json) => Some(values.fill_json(json).to_string()),
            Body::Form(template) => Some(values.fill(template, percent_encoded)),
            Body::Text(template) => Some(values.fill(template, str::to_string)),
        }
    }
}

impl Values<'_> {
    /// `template` with its placeholders replaced in one pass: a text that holds `{to}` keeps it.
    fn fill(&self, template: &str, escape: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(template.len() + self.text.len());
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let known = [
                ("{text}", self.text),
                ("{from}", &self.pair.from),
                ("{to}", &self.pair.to),
                ("{key}", self.key),
            ];
            match known.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, value)) => {
                    out.push_str(&escape(value));
                    rest = &rest[name.len()..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out + rest
    }

    /// As [`Values::fill`], in every string of a JSON template.
    fn fill_json(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => Value::String(self.fill(text, str::to_string)),
            Value::Array(items) => items.iter().map(|item| self.fill_json(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), self.fill_json(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// Everything but the unreserved characters of RFC 3986, 2.3, as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `data.items[0].text`, `$.data.items.0.text` and `/data/items/0/text` are one path.
fn steps(path: &str) -> Vec<Step> {
    let parts =
        path.split(['.', '/', '[', ']']).map(str::trim).filter(|part| !part.is_empty() && *part != "$");
    let step = |part: &str| match part.parse() {
        Ok(index) => Step::Index(index),
        Err(_) if part == "*" => Step::All,
        Err(_) => Step::Key(part.to_string()),
    };
    parts.map(step).collect()
}

/// The text at the end of `path`; those of a `*` follow each other.
fn select(value: &Value, path: &[Step]) -> Option<String> {
    let Some((step, rest)) = path.split_first() else {
        return value.as_str().map(str::to_string);
    };
    match step {
        Step::Key(key) => select(value.get(key)?, rest),
        Step::Index(index) => match value {
            Value::Object(fields) => select(fields.get(&index.to_string())?, rest),
            _ => select(value.get(index)?, rest),
        },
        Step::All => value.as_array()?.iter().map(|item| select(item, rest)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(url: &str, body: Option<&str>, key: Option<&str>) -> Result<HttpService, Error> {
        let template =
            HttpTemplate { url: url.to_string(), body: body.map(str::to_string), ..HttpTemplate::default() };
        HttpService::new(Setup { api_key: key.map(str::to_string), ..Setup::default() }, &template)
    }

    #[test]
    fn a_text_is_escaped_as_its_place_demands() {
        let pair = LanguagePair::new("en", "ru").unwrap();
        let values = Values { text: "a \"b\" & {to}\\n", pair: &pair, key: "K" };
        assert_eq!(
            values.fill("https://a.example/{from}-{to}?q={text}&{other}", percent_encoded),
            "https://a.example/en-ru?q=a%20%22b%22%20%26%20%7Bto%7D%5Cn&{other}"
        );
        let json = Body::of(Some(r#"{"q": ["{text}"], "to": "{to}", "n": 1}"#), None);
        let filled: Value = serde_json::from_str(&json.filled(&values).unwrap()).unwrap();
        assert_eq!(filled, json!({"q": ["a \"b\" & {to}\\n"], "to": "ru", "n": 1}));
        let form = Body::of(Some("text={text}&lang={from}-{to}"), None);
        assert_eq!(form.content_type(), Some("application/x-www-form-urlencoded"));
        assert_eq!(form.filled(&values).unwrap(), "text=a%20%22b%22%20%26%20%7Bto%7D%5Cn&lang=en-ru");
        assert_eq!(Body::of(Some("{text}"), None).filled(&values).unwrap(), values.text);
    }

    #[test]
    fn the_path_leads_to_the_translation() {
        let answer = json!({"data": {"items": [{"text": "раз, "}, {"text": "два"}]}});
        for path in ["data.items.0.text", "$.data.items[0].text", "/data/items/0/text"] {
            assert_eq!(select(&answer, &steps(path)).as_deref(), Some("раз, "), "{path}");
        }
        assert_eq!(select(&answer, &steps("data.items.*.text")).as_deref(), Some("раз, два"));
        for path in ["data", "data.items.2.text", "data.item", "data.items.text"] {
            assert_eq!(select(&answer, &steps(path)), None, "{path}");
        }
    }

    #[test]
    fn a_template_that_makes_no_sense_is_refused() {
        let message = |result: Result<HttpService, Error>| match result {
            Err(Error::Config(message)) => message,
            other => panic!("{:?}", other.map(|service| service.identity())),
        };
        assert!(message(service("https://a.example/", None, None)).contains("{text}"));
        assert!(message(service("a.example?q={text}", None, None)).contains("endpoint"));
        assert!(message(service("https://a.example/?q={text}&k={key}", None, None)).contains("api_key_env"));
        let service = service("https://a.example/?q={text}&k={key}", None, Some("k")).unwrap();
        assert_eq!(service.method, Method::GET);
        assert!(service.takes_one_text());
    }
}
