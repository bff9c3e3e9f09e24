//! Each service against its documented protocol: what is sent, what is understood, what an error means.

use serde_json::{Value, json};
use tolmach_translate::{Answer, EngineError, EngineKind, Error, LanguagePair, Miss, TranslateConfig};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// A service that gives the same answer to each request for one route.
struct Service {
    mock: MockServer,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mock = runtime.block_on(MockServer::start());
        Service { mock, runtime }
    }

    fn on(self, verb: &str, route: &str, answer: ResponseTemplate) -> Self {
        let mock = Mock::given(method(verb)).and(path(route)).respond_with(answer);
        self.runtime.block_on(mock.mount(&self.mock));
        self
    }

    fn received(&self) -> Vec<Request> {
        self.runtime.block_on(self.mock.received_requests()).unwrap()
    }

    fn config(&self, engine: EngineKind, root: &str) -> TranslateConfig {
        TranslateConfig {
            to: "ru".to_string(),
            engine,
            endpoint: Some(format!("{}{root}", self.mock.uri())),
            model: Some("m".to_string()),
            timeout_seconds: 5,
            ..TranslateConfig::default()
        }
    }
}

fn good(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn pair() -> LanguagePair {
    LanguagePair::new("en", "ru").unwrap()
}

fn yes(text: &str) -> Answer {
    Ok(text.to_string())
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// What the engine makes of an answer with this status and body.
fn error_of(engine: EngineKind, root: &str, route: &str, status: u16, answer: Value) -> EngineError {
    let template = ResponseTemplate::new(status).set_body_json(answer).insert_header("Retry-After", "7");
    let service = Service::new().on("POST", route, template);
    let engine = service.config(engine, root).open_engine(Some("KEY".to_string())).unwrap();
    let error = engine.translate(&["one", "two"], &pair()).unwrap_err();
    assert!(!error.to_string().contains("KEY"), "a message with the key in it: {error}");
    error
}

fn is_rejected(error: &EngineError, said: &str, hint: &str) {
    assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains(said), "{error}");
    assert!(error.hint().is_some_and(|h| h.contains(hint)), "{error:?}");
}

#[test]
fn yandex_speaks_cloud_translate_v2() {
    let service = Service::new()
        .on("POST", "/translate", good(json!({"translations": [{"text": "раз"}, {"text": "два"}]})))
        .on(
            "POST",
            "/languages",
            good(json!({"languages": [{"code": "en", "name": "English"}, {"code": "ru"}]})),
        );
    let mut config = service.config(EngineKind::Yandex, "");
    let engine = config.open_engine(Some("AQVN1".to_string())).unwrap();
    engine.check(&pair()).unwrap();
    assert_eq!(engine.translate(&["one", "two"], &pair()).unwrap(), [yes("раз"), yes("два")]);
    let requests = service.received();
    assert_eq!(header(&requests[1], "authorization"), "Api-Key AQVN1");
    let sent = json!({"sourceLanguageCode": "en", "targetLanguageCode": "ru", "format": "PLAIN_TEXT",
                      "texts": ["one", "two"]});
    assert_eq!(body(&requests[1]), sent);
    let unknown = engine.check(&LanguagePair::new("en", "xx").unwrap()).unwrap_err();
    is_rejected(&unknown, "`xx`", "en, ru");

    // The IAM token of a user comes with a folder.
    config.folder_id = Some("b1g".to_string());
    let engine = config.open_engine(Some("t1.abc".to_string())).unwrap();
    engine.translate(&["one", "two"], &pair()).unwrap();
    let last = service.received().pop().unwrap();
    assert_eq!(header(&last, "authorization"), "Bearer t1.abc");
    assert_eq!(body(&last)["folderId"], "b1g");
    let limits = engine.limits();
    assert_eq!((limits.characters, limits.requests_per_second), (10_000, Some(20.0)));
}

#[test]
fn yandex_errors_say_what_follows() {
    let error = |status, code, message: &str| {
        let answer = json!({"code": code, "message": message, "details": []});
        error_of(EngineKind::Yandex, "", "/translate", status, answer)
    };
    is_rejected(&error(401, 16, "Unknown api key"), "Unknown api key", "YANDEX_API_KEY");
    is_rejected(&error(403, 7, "Permission denied"), "Permission denied", "ai.translate.user");
    is_rejected(&error(400, 3, "unsupported target_language_code: xx"), "unsupported", "supported-languages");
    assert!(matches!(error(400, 3, "Total text length must be less than 10000"), EngineError::TooLarge(_)));
    let slow = error(429, 8, "limit on units was exceeded");
    assert!(
        matches!(slow, EngineError::SlowDown { retry_after: Some(wait), .. } if wait.as_secs() == 7),
        "{slow:?}"
    );
    assert!(matches!(error(500, 13, "internal"), EngineError::Fault(_)));
}

#[test]
fn google_speaks_v2() {
    let translations =
        json!({"data": {"translations": [{"translatedText": "раз"}, {"translatedText": "два"}]}});
    let languages =
        json!({"data": {"languages": [{"language": "en"}, {"language": "ru"}, {"language": "zh-CN"}]}});
    let service = Service::new().on("POST", "/language/translate/v2", good(translations)).on(
        "GET",
        "/language/translate/v2/languages",
        good(languages),
    );
    let config = service.config(EngineKind::Google, "/language/translate/v2");
    let engine = config.open_engine(Some("AIza1".to_string())).unwrap();
    engine.check(&pair()).unwrap();
    engine.check(&LanguagePair::new("en", "zh").unwrap()).unwrap();
    is_rejected(&engine.check(&LanguagePair::new("en", "xx").unwrap()).unwrap_err(), "`xx`", "zh-CN");
    assert_eq!(engine.translate(&["one", "two"], &pair()).unwrap(), [yes("раз"), yes("два")]);
    let last = service.received().pop().unwrap();
    assert_eq!(header(&last, "x-goog-api-key"), "AIza1");
    assert!(last.url.query().is_none(), "the key is not in the address");
    assert_eq!(body(&last), json!({"q": ["one", "two"], "source": "en", "target": "ru", "format": "text"}));
    assert_eq!(engine.limits().segments, 128);
    assert_eq!(engine.price().unwrap().of(1_000_000), 20.0);
}

#[test]
fn google_errors_say_what_follows() {
    let error = |status: u16, message: &str, reason: &str| {
        let answer = json!({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}});
        error_of(EngineKind::Google, "/v2", "/v2", status, answer)
    };
    is_rejected(&error(400, "API key not valid.", "badRequest"), "API key not valid", "GOOGLE_API_KEY");
    is_rejected(&error(403, "Daily Limit Exceeded", "dailyLimitExceeded"), "Daily", "tomorrow");
    is_rejected(&error(403, "has not been used before", "accessNotConfigured"), "before", "billing");
    is_rejected(&error(400, "Invalid Value", "invalid"), "Invalid Value", "languages");
    assert!(matches!(
        error(403, "User Rate Limit Exceeded", "userRateLimitExceeded"),
        EngineError::SlowDown { .. }
    ));
    assert!(matches!(error(400, "Too many text segments", "invalid"), EngineError::TooLarge(_)));
    assert!(matches!(error(413, "Request too large", ""), EngineError::TooLarge(_)));
    assert!(matches!(error(503, "backendError", "backendError"), EngineError::SlowDown { .. }));
}

#[test]
fn deepl_speaks_v2_with_its_own_codes() {
    let service = Service::new()
        .on("POST", "/v2/translate", good(json!({"translations": [{"text": "一"}, {"text": ""}]})))
        .on(
            "GET",
            "/v2/languages",
            good(json!([{"language": "EN"}, {"language": "RU"}, {"language": "ZH-HANS"}])),
        )
        .on("GET", "/v2/usage", good(json!({"character_count": 10, "character_limit": 500_000})));
    let config = service.config(EngineKind::DeepL, "/v2");
    let engine = config.open_engine(Some("k:fx".to_string())).unwrap();
    let chinese = LanguagePair::new("en-GB", "zh").unwrap();
    engine.check(&chinese).unwrap();
    is_rejected(&engine.check(&LanguagePair::new("en", "xx").unwrap()).unwrap_err(), "`XX`", "ZH-HANS");
    assert_eq!(engine.translate(&["one", "two"], &chinese).unwrap(), [yes("一"), Err(Miss::Empty)]);
    let last = service.received().pop().unwrap();
    assert_eq!(header(&last, "authorization"), "DeepL-Auth-Key k:fx");
    let sent = json!({"text": ["one", "two"], "source_lang": "EN", "target_lang": "ZH-HANS",
                      "preserve_formatting": true});
    assert_eq!(body(&last), sent);
    assert_eq!(engine.limits().segments, 50);

    let used_up = Service::new().on("GET", "/v2/languages", good(json!([]))).on(
        "GET",
        "/v2/usage",
        good(json!({"character_count": 500_000, "character_limit": 500_000})),
    );
    let engine = used_up.config(EngineKind::DeepL, "/v2").open_engine(Some("k".to_string())).unwrap();
    is_rejected(&engine.check(&pair()).unwrap_err(), "500000 of 500000", "larger plan");
}

#[test]
fn deepl_errors_say_what_follows() {
    let error = |status, message: &str| {
        error_of(EngineKind::DeepL, "/v2", "/v2/translate", status, json!({"message": message}))
    };
    is_rejected(&error(403, "Invalid auth key"), "Invalid auth key", "DEEPL_API_KEY");
    is_rejected(&error(456, "Quota Exceeded"), "Quota", "next month");
    is_rejected(&error(400, "Value for 'target_lang' not supported."), "target_lang", "languages");
    assert!(matches!(error(413, "Request Entity Too Large"), EngineError::TooLarge(_)));
    assert!(matches!(error(429, "Too many requests"), EngineError::SlowDown { .. }));
    assert!(matches!(error(529, "Too many requests"), EngineError::SlowDown { .. }));
}

#[test]
fn a_chat_model_is_asked_by_numbered_keys() {
    let content = "```json\n{\"2\": \"два\", \"1\": \"раз\"}\n```";
    let answer =
        json!({"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}]});
    let service = Service::new().on("POST", "/v1/chat/completions", good(answer));
    let mut config = service.config(EngineKind::OpenAi, "/v1");
    let engine = config.open_engine(None).unwrap();
    assert_eq!(engine.translate(&["one", "two"], &pair()).unwrap(), [yes("раз"), yes("два")]);
    let request = service.received().pop().unwrap();
    assert!(!request.headers.contains_key("authorization"), "a local server needs no key");
    let sent = body(&request);
    assert_eq!((sent["model"].as_str(), sent["temperature"].as_i64()), (Some("m"), Some(0)));
    assert_eq!(sent["messages"][1]["content"], r#"{"1":"one","2":"two"}"#);
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains("from English into Russian"));
    engine.translate(&["one", "two"], &pair()).unwrap();
    let engine = config.open_engine(Some("sk".to_string())).unwrap();
    engine.translate(&["one", "two"], &pair()).unwrap();
    assert_eq!(header(service.received().last().unwrap(), "authorization"), "Bearer sk");

    // What the public service needs is asked for before anything is sent.
    config.endpoint = None;
    let message = config.open_engine(None).err().unwrap().to_string();
    assert!(message.contains("OPENAI_API_KEY"), "{message}");
    config.model = None;
    assert!(config.open_engine(Some("sk".to_string())).err().unwrap().to_string().contains("`model`"));
}

#[test]
fn a_chat_model_that_misbehaves_is_understood() {
    let error = |status, answer| error_of(EngineKind::OpenAi, "/v1", "/v1/chat/completions", status, answer);
    let said = |message: &str, code: &str| json!({"error": {"message": message, "code": code}});
    is_rejected(&error(401, said("Incorrect API key", "invalid_api_key")), "Incorrect", "api_key_env");
    is_rejected(&error(429, said("You exceeded your quota", "insufficient_quota")), "quota", "money");
    is_rejected(&error(404, said("no such model", "model_not_found")), "no such model", "`m`");
    assert!(matches!(error(429, said("slow", "rate_limit_exceeded")), EngineError::SlowDown { .. }));
    let long = said("This model's maximum context length is 4096 tokens", "context_length_exceeded");
    assert!(matches!(error(400, long), EngineError::TooLarge(_)));
    let choice = |reason: &str, content: &str| json!({"choices": [{"finish_reason": reason, "message": {"content": content}}]});
    assert!(matches!(error(200, choice("length", "{\"1\": \"ра")), EngineError::TooLarge(_)));
    assert!(matches!(error(200, choice("content_filter", "")), EngineError::Fault(_)));
    let chatter = error(200, choice("stop", "I am sorry, but I cannot help with that."));
    assert!(matches!(chatter, EngineError::Fault(_)) && chatter.to_string().contains("sorry"), "{chatter}");
    assert!(matches!(error(200, json!({"choices": []})), EngineError::Fault(_)));
}

#[test]
fn a_model_that_refuses_a_temperature_is_asked_without() {
    let refusal = ResponseTemplate::new(400)
        .set_body_json(json!({"error": {"message": "Unsupported value: 'temperature' does not support 0"}}));
    let good = good(json!({"choices": [{"message": {"content": "{\"1\": \"раз\"}"}}]}));
    let service = Service::new();
    service.runtime.block_on(async {
        let answer = move |request: &Request| match body(request).get("temperature") {
            Some(_) => refusal.clone(),
            None => good.clone(),
        };
        Mock::given(method("POST")).respond_with(answer).mount(&service.mock).await;
    });
    let engine = service.config(EngineKind::OpenAi, "/v1").open_engine(None).unwrap();
    for _ in 0..2 {
        assert_eq!(engine.translate(&["one"], &pair()).unwrap(), [yes("раз")]);
    }
    assert_eq!(service.received().len(), 3, "the refusal is remembered");
}

#[test]
fn any_service_of_one_text_is_described_by_templates() {
    let service =
        Service::new().on("POST", "/mt/en-ru", good(json!({"result": [{"t": "раз "}, {"t": "\"два\""}]})));
    let mut config = service.config(EngineKind::Http, "/mt/{from}-{to}");
    config.body = Some(r#"{"q": "{text}", "opts": {"to": "{to}"}}"#.to_string());
    config.answer = Some("result.*.t".to_string());
    config.headers.insert("X-Token".to_string(), "t {key}".to_string());
    let engine = config.open_engine(Some("KEY".to_string())).unwrap();
    assert!(engine.takes_one_text());
    assert_eq!(engine.translate(&["say \"two\"\\"], &pair()).unwrap(), [yes("раз \"два\"")]);
    let request = service.received().pop().unwrap();
    assert_eq!(header(&request, "x-token"), "t KEY");
    assert_eq!(header(&request, "content-type"), "application/json");
    assert_eq!(body(&request), json!({"q": "say \"two\"\\", "opts": {"to": "ru"}}));
    let limits = engine.limits();
    assert_eq!((limits.requests_per_second, limits.concurrency), (Some(1.0), 1));

    config.answer = Some("result.0.text".to_string());
    let engine = config.open_engine(Some("KEY".to_string())).unwrap();
    let error = engine.translate(&["one"], &pair()).unwrap_err();
    assert!(matches!(error, EngineError::Fault(_)) && error.to_string().contains("`answer`"), "{error}");
}

#[test]
fn a_service_of_one_text_may_take_get_and_answer_with_plain_text() {
    let service = Service::new().on("GET", "/t", ResponseTemplate::new(200).set_body_string("раз два"));
    let config = service.config(EngineKind::Http, "/t?q={text}&sl={from}&tl={to}");
    let engine = config.open_engine(None).unwrap();
    assert_eq!(engine.translate(&["one & two"], &pair()).unwrap(), [yes("раз два")]);
    let url = service.received().pop().unwrap().url;
    assert_eq!(url.query(), Some("q=one%20%26%20two&sl=en&tl=ru"));
}

#[test]
fn a_service_of_one_text_tells_its_errors_apart() {
    let error = |status: u16| {
        let answer = ResponseTemplate::new(status).set_body_json(json!({"message": "text is too long"}));
        let service = Service::new().on("GET", "/t", answer);
        let engine =
            service.config(EngineKind::Http, "/t?q={text}&k={key}").open_engine(Some("KEY".to_string()));
        let error = engine.unwrap().translate(&["one"], &pair()).unwrap_err();
        assert!(!error.to_string().contains("KEY"), "{error}");
        error
    };
    is_rejected(&error(401), "401", "{key}");
    is_rejected(&error(404), "404", "`endpoint`");
    assert!(matches!(error(400), EngineError::TooLarge(_)));
    assert!(matches!(error(414), EngineError::TooLarge(_)));
    assert!(matches!(error(429), EngineError::SlowDown { .. }));
}

#[test]
fn no_key_is_said_before_anything_is_sent() {
    for (kind, variable) in [
        (EngineKind::Yandex, "YANDEX_API_KEY"),
        (EngineKind::Google, "GOOGLE_API_KEY"),
        (EngineKind::DeepL, "DEEPL_API_KEY"),
    ] {
        let config = TranslateConfig { to: "ru".to_string(), engine: kind, ..TranslateConfig::default() };
        let error = config.open_engine(None).err().unwrap();
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains(variable), "{error}");
        let odd = config.open_engine(Some("кл\nюч".to_string())).err().unwrap();
        assert!(odd.to_string().contains("key holds characters"), "{odd}");
    }
}

#[test]
fn an_answer_that_is_no_json_or_of_another_count_is_named() {
    for (kind, root, route) in [
        (EngineKind::Yandex, "", "/translate"),
        (EngineKind::Google, "/v2", "/v2"),
        (EngineKind::DeepL, "/v2", "/v2/translate"),
        (EngineKind::OpenAi, "/v1", "/v1/chat/completions"),
    ] {
        let html = ResponseTemplate::new(200).set_body_string("<html>\u{1b}[2J hello</html>");
        let service = Service::new().on("POST", route, html);
        let engine = service.config(kind, root).open_engine(Some("k".to_string())).unwrap();
        let error = engine.translate(&["one"], &pair()).unwrap_err();
        assert!(matches!(error, EngineError::Fault(_)) && error.to_string().contains("no JSON"), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "what steers a terminal is taken out");
    }
    let one = json!({"translations": [{"text": "раз"}]});
    let error = error_of(EngineKind::DeepL, "/v2", "/v2/translate", 200, one);
    assert_eq!(error, EngineError::Miscount { expected: 2, found: 1 });
}

#[test]
fn limits_and_prices_are_the_service_s_unless_the_recipe_says_otherwise() {
    let service = Service::new();
    let mut config = service.config(EngineKind::DeepL, "/v2");
    let open = |config: &TranslateConfig| config.open_engine(Some("k".to_string()));
    assert_eq!(open(&config).unwrap().price().unwrap().per_million, 25.0);
    config.price_per_million = Some(20.0);
    config.currency = Some("EUR".to_string());
    config.requests_per_second = Some(2.5);
    config.max_segments = Some(10);
    let engine = open(&config).unwrap();
    assert_eq!(
        (engine.price().unwrap().of(50_000), engine.price().unwrap().currency),
        (1.0, "EUR".to_string())
    );
    let limits = engine.limits();
    assert_eq!((limits.characters, limits.segments, limits.requests_per_second), (30_000, 10, Some(2.5)));
    for (key, config) in [
        ("requests_per_second", TranslateConfig { requests_per_second: Some(0.0), ..config.clone() }),
        (
            "characters_per_second",
            TranslateConfig { characters_per_second: Some(f64::NAN), ..config.clone() },
        ),
        ("price_per_million", TranslateConfig { price_per_million: Some(-1.0), ..config.clone() }),
        ("max_segments", TranslateConfig { max_segments: Some(0), ..config.clone() }),
    ] {
        assert!(open(&config).err().unwrap().to_string().contains(key), "{key}");
    }
    let priceless = TranslateConfig { max_cost: Some(1.0), ..service.config(EngineKind::OpenAi, "/v1") };
    assert!(priceless.options().unwrap_err().to_string().contains("price_per_million"));
    // The public address of DeepL takes a free key for nothing.
    config.endpoint = None;
    assert_eq!(config.open_engine(Some("k:fx".to_string())).unwrap().price().unwrap().per_million, 0.0);
}
