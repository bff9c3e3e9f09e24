//! A LibreTranslate server for tests: answers as told, and remembers what it was asked.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tolmach_corpus::{Body, Example};
use tolmach_translate::{
    EngineKind, Error, Journal, Options, Progress, RetryPolicy, TranslateConfig, Translated,
    translate_examples,
};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// How the server answers its n-th request (from 0) for these texts.
type Behaviour = dyn Fn(usize, &[String]) -> ResponseTemplate + Send + Sync;

pub struct Server {
    pub mock: MockServer,
    pub log: Arc<Log>,
    // Declared last: the server must be gone before its runtime.
    runtime: tokio::runtime::Runtime,
}

pub struct Log {
    behaviour: Box<Behaviour>,
    /// The texts of each request, in order.
    pub requests: Mutex<Vec<Vec<String>>>,
    /// The bodies of the requests.
    pub bodies: Mutex<Vec<Value>>,
}

struct Answering(Arc<Log>);

impl Respond for Answering {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).expect("requests are JSON");
        let texts: Vec<String> = match &body["q"] {
            Value::String(one) => vec![one.clone()],
            many => serde_json::from_value(many.clone()).expect("q is a string or an array of strings"),
        };
        let number = {
            let mut requests = self.0.requests.lock().unwrap();
            requests.push(texts.clone());
            requests.len() - 1
        };
        self.0.bodies.lock().unwrap().push(body);
        (self.0.behaviour)(number, &texts)
    }
}

impl Server {
    pub fn start(behaviour: impl Fn(usize, &[String]) -> ResponseTemplate + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let log = Arc::new(Log {
            behaviour: Box::new(behaviour),
            requests: Mutex::default(),
            bodies: Mutex::default(),
        });
        let mock = runtime.block_on(async {
            let server = MockServer::start().await;
            let route = Mock::given(method("POST")).and(path("/translate"));
            route.respond_with(Answering(log.clone())).mount(&server).await;
            server
        });
        Server { mock, log, runtime }
    }

    pub fn offer(&self, languages: Value) {
        let route = Mock::given(method("GET")).and(path("/languages"));
        let answer = ResponseTemplate::new(200).set_body_json(languages);
        self.runtime.block_on(route.respond_with(answer).mount(&self.mock));
    }

    /// How often each text was asked for.
    pub fn asked(&self, text: &str) -> usize {
        self.log.requests.lock().unwrap().iter().flatten().filter(|t| *t == text).count()
    }

    pub fn request_count(&self) -> usize {
        self.log.requests.lock().unwrap().len()
    }
}

/// The translation of the test server: the same words in Cyrillic letters, everything else as it is.
pub fn translation(text: &str) -> String {
    const LETTERS: [char; 26] = [
        'а', 'б', 'ц', 'д', 'е', 'ф', 'г', 'х', 'и', 'ж', 'к', 'л', 'м', 'н', 'о', 'п', 'ч', 'р', 'с', 'т',
        'у', 'в', 'ш', 'щ', 'ы', 'з',
    ];
    let letter = |c: char| match c {
        'a'..='z' => LETTERS[(c as u8 - b'a') as usize],
        'A'..='Z' => LETTERS[(c as u8 - b'A') as usize].to_uppercase().next().unwrap(),
        other => other,
    };
    text.chars().map(letter).collect()
}

/// A correct answer.
pub fn good(texts: &[String]) -> ResponseTemplate {
    let translated: Vec<String> = texts.iter().map(|t| translation(t)).collect();
    let text = if let [one] = translated.as_slice() { json!(one) } else { json!(translated) };
    ResponseTemplate::new(200).set_body_json(json!({ "translatedText": text }))
}

/// An error as LibreTranslate sends it.
pub fn error(status: u16, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "error": message }))
}

pub fn example(id: &str, instruction: &str, output: &str) -> Example {
    let body = Body::Alpaca {
        instruction: instruction.to_string(),
        input: String::new(),
        output: output.to_string(),
    };
    Example { id: id.to_string(), ..Example::new(body) }
}

/// `count` examples with two segments each, all different.
pub fn examples(count: usize) -> Vec<Example> {
    (0..count).map(|i| example(&i.to_string(), &format!("ask {i} a"), &format!("say {i} b"))).collect()
}

/// A run against a server, with short pauses.
pub struct Run {
    pub config: TranslateConfig,
    pub api_key: Option<String>,
    pub retry: RetryPolicy,
    pub cancel: AtomicBool,
    /// Ctrl-C as soon as so many segments are answered.
    pub cancel_after: usize,
}

impl Run {
    pub fn against(endpoint: &str) -> Self {
        let config = TranslateConfig {
            to: "ru".to_string(),
            engine: EngineKind::LibreTranslate,
            endpoint: Some(endpoint.to_string()),
            timeout_seconds: 5,
            max_characters: Some(2000),
            max_segments: Some(8),
            concurrency: Some(2),
            ..TranslateConfig::default()
        };
        let retry = RetryPolicy {
            attempts: 4,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(10),
            longest_retry_after: Duration::from_secs(5),
            probes: 3,
        };
        Run { config, api_key: None, retry, cancel: AtomicBool::new(false), cancel_after: usize::MAX }
    }

    pub fn translate(
        &self,
        examples: &[Example],
        journal: Option<&mut Journal>,
    ) -> Result<Translated, Error> {
        let options = Options { retry: self.retry, ..self.config.options()? };
        let engine = self.config.open_engine(self.api_key.clone())?;
        let mut answered = 0;
        let mut progress = |event: Progress<'_>| {
            if let Progress::Answered { segments, .. } = event {
                answered += segments;
                if answered >= self.cancel_after {
                    self.cancel.store(true, Ordering::SeqCst);
                }
            }
        };
        translate_examples(examples, &[engine.as_ref()], journal, &options, &mut progress, &self.cancel)
    }
}
