//! The API as a client meets it: over a socket, on the demo's model.

use crate::common::{Answer, Server, demo, joined, options, write_adapter};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tolmach_engine::CpuBackend;
use tolmach_model::{Decoder, KvCache, Sampler, SamplingConfig, Side, generate};
use tolmach_serve::{EngineOptions, Limits};
use tolmach_tokenize::{PromptTemplate, TemplateStrings, Tokenizer};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn ask(model: &str, question: &str) -> Value {
    json!({
        "model": model, "temperature": 0, "max_tokens": 24, "ignore_eos": true,
        "messages": [{"role": "user", "content": question}],
    })
}

#[allow(clippy::needless_pass_by_value, reason = "what `json!` makes is handed over")]
fn with(mut request: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// What the model itself says, decoded alone by `generate`.
fn said(model: &Decoder<CpuBackend>, side: Side, question: &str, tokens: usize) -> String {
    let tokenizer = Tokenizer::load(&demo()).unwrap();
    let prompt = PromptTemplate::default().render_prompt(question, "");
    let prompt = tokenizer.encode(&prompt, true).unwrap().ids;
    let mut cache = KvCache::new(model, side, 1, prompt.len() + tokens);
    let mut sampler = Sampler::new(SamplingConfig::default());
    let on = |_| std::ops::ControlFlow::Continue(());
    let reply = generate(model, &mut cache, 0, &prompt, &mut sampler, &[], tokens, on).unwrap();
    tokenizer.decode(&reply.tokens, true).replace('\u{FFFD}', "")
}

#[test]
fn a_chat_is_what_the_model_says_whole_and_streamed() {
    let server = Server::start(None);
    let question = "What is the capital of France?";
    let whole = server.post(CHAT, &ask("base", question));
    let json = whole.json();
    assert_eq!(whole.status, 200, "{json}");
    let model = Decoder::load(Arc::new(CpuBackend::new()), &demo()).unwrap();
    assert_eq!(whole.text(), said(&model, Side::Base, question, 24));
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["choices"][0]["message"]["role"], "assistant");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["completion_tokens"], 24);
    let total = json["usage"]["prompt_tokens"].as_u64().unwrap() + 24;
    assert_eq!(json["usage"]["total_tokens"], total);

    let streamed =
        with(ask("base", question), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let events = server.events(CHAT, &streamed);
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert_eq!(joined(&events, 0), whole.text());
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!((&usage["usage"], &usage["choices"]), (&json["usage"], &json!([])));
    let end: Value = serde_json::from_str(&events[events.len() - 3]).unwrap();
    assert_eq!(end["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_seed_gives_the_same_reply_and_none_another() {
    let server = Server::start(None);
    let warm =
        with(ask("base", "Tell a story"), json!({"temperature": 1.0, "top_p": 0.95, "seed": 7, "n": 2}));
    let replies = |answer: &Answer| {
        let json = answer.json();
        [0, 1].map(|i| json["choices"][i]["message"]["content"].as_str().unwrap().to_string())
    };
    let first = replies(&server.post(CHAT, &warm));
    assert_ne!(first[0], first[1], "each of n has draws of its own");
    assert_eq!(replies(&server.post(CHAT, &warm)), first);
    let events = server.events(CHAT, &with(warm.clone(), json!({"stream": true})));
    assert_eq!([joined(&events, 0), joined(&events, 1)], first);
    let unseeded = with(warm, json!({"seed": null}));
    assert_ne!(replies(&server.post(CHAT, &unseeded)), replies(&server.post(CHAT, &unseeded)));
}

#[test]
fn stop_strings_end_a_reply_before_them() {
    let server = Server::start(None);
    let request = ask("base", "What is the capital of France?");
    let text = server.post(CHAT, &request).text();
    let middle = text.char_indices().nth(text.chars().count() / 2).unwrap().0;
    let stop: String = text[middle..].chars().take(3).collect();
    let expected = text.split(&stop).next().unwrap();
    for stops in [json!(stop), json!(["nowhere at all", stop])] {
        let answer = server.post(CHAT, &with(request.clone(), json!({"stop": stops})));
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
        let streamed = with(request.clone(), json!({"stop": stops, "stream": true}));
        assert_eq!(joined(&server.events(CHAT, &streamed), 0), expected);
    }
    server.wait_for_metric("tolmach_running", 0.0);
}

#[test]
fn completions_take_texts_and_tokens_and_give_log_probabilities() {
    let server = Server::start(None);
    let tokenizer = Tokenizer::load(&demo()).unwrap();
    let text = "The capital of France";
    let ids = tokenizer.encode(text, true).unwrap().ids;
    let request = json!({"model": "base", "prompt": text, "max_tokens": 5, "temperature": 0, "logprobs": 3, "ignore_eos": true});
    let answer = server.post(COMPLETIONS, &request);
    let choice = answer.json()["choices"][0].clone();
    let logprobs = &choice["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), 5, "{list}: {logprobs}");
    }
    // Greedy: each token is the likeliest of its alternatives.
    for i in 0..5 {
        let top = logprobs["top_logprobs"][i].as_object().unwrap();
        let best = top.values().map(|v| v.as_f64().unwrap()).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(logprobs["token_logprobs"][i].as_f64().unwrap(), best);
        assert!(best <= 0.0 && top.len() <= 3);
    }
    let by_tokens = server.post(COMPLETIONS, &with(request.clone(), json!({"prompt": ids})));
    assert_eq!(by_tokens.text(), answer.text());
    let many =
        server.post(COMPLETIONS, &with(request.clone(), json!({"prompt": [text, "Moscow is"], "n": 2})));
    let many = many.json();
    assert_eq!(many["choices"].as_array().unwrap().len(), 4);
    assert_eq!(many["choices"][1]["text"], answer.text());
    let echo = server.post(COMPLETIONS, &with(request, json!({"echo": true, "logprobs": null})));
    assert_eq!(echo.text(), format!("{text}{}", answer.text()));

    let chat = with(ask("base", "Hi"), json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 3}));
    let content = server.post(CHAT, &chat).json()["choices"][0]["logprobs"]["content"].clone();
    assert_eq!(content.as_array().unwrap().len(), 3);
    assert_eq!(content[0]["top_logprobs"][0]["token"], content[0]["token"]);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
}

#[test]
fn adapters_share_the_base_and_leave_it_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    write_adapter(dir.path(), 1, 0.05);
    let server = Arc::new(Server::start(Some(dir.path())));
    let question = "What is the capital of France?";
    let untouched = Decoder::load(Arc::new(CpuBackend::new()), &demo()).unwrap();
    let mut tuned = Decoder::load(Arc::new(CpuBackend::new()), &demo()).unwrap();
    tuned.load_adapter(dir.path()).unwrap();
    let expected = [said(&untouched, Side::Base, question, 24), said(&tuned, Side::Tuned, question, 24)];
    assert_ne!(expected[0], expected[1]);
    // Both at once, several of each.
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let server = Arc::clone(&server);
            std::thread::spawn(move || {
                let model = if i % 2 == 0 { "base" } else { "tuned" };
                let answer = server.post(CHAT, &ask(model, question));
                assert_eq!(answer.json()["model"], model);
                (i % 2, answer.text(), answer.json()["system_fingerprint"].clone())
            })
        })
        .collect();
    let mut fingerprints = [json!(null), json!(null)];
    for thread in threads {
        let (side, text, fingerprint) = thread.join().unwrap();
        assert_eq!(text, expected[side]);
        fingerprints[side] = fingerprint;
    }
    assert_ne!(fingerprints[0], fingerprints[1], "each side says what has run");

    // Another adapter in its place, as a training run leaves one after the other.
    write_adapter(dir.path(), 2, 0.05);
    let model = server.registry.replace("tuned", dir.path(), "step 2").unwrap();
    assert_eq!(model.version, "step 2");
    let answer = server.post(CHAT, &ask("tuned", question));
    assert_eq!(answer.json()["system_fingerprint"], "step 2");
    assert_ne!(answer.text(), expected[1]);
    assert_eq!(server.post(CHAT, &ask("base", question)).text(), expected[0]);
    assert!(server.registry.replace("base", dir.path(), "x").is_err());
}

#[test]
fn adapters_come_and_go_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    write_adapter(&dir.path().join("allowed/ru"), 1, 0.05);
    write_adapter(&dir.path().join("secret"), 1, 0.05);
    std::fs::create_dir(dir.path().join("allowed/broken")).unwrap();
    let mut options = options();
    options.adapter_roots = vec![dir.path().join("allowed")];
    let server = Server::with(options, EngineOptions::default(), None);
    let load = |name: &str, path: &str| {
        server.post("/v1/load_lora_adapter", &json!({"lora_name": name, "lora_path": path}))
    };
    let loaded = load("ru", "ru");
    assert_eq!(loaded.status, 200, "{loaded:?}");
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][1]["id"], "ru");
    assert_eq!(models["data"][1]["parent"], "base");
    assert_eq!(server.post(CHAT, &ask("ru", "Привет")).status, 200);
    assert_eq!(load("ru", "ru").status, 400, "taken");
    for path in ["../secret", &dir.path().join("secret").display().to_string(), "/etc"] {
        let refused = load("x", path);
        assert_eq!(refused.status, 403);
        assert!(!refused.body.contains("secret"), "{refused:?}");
    }
    let broken = load("x", "broken");
    assert_eq!(broken.status, 400);
    assert!(!broken.body.contains(dir.path().to_str().unwrap()), "no path in {broken:?}");
    let unload = |name: &str| server.post("/v1/unload_lora_adapter", &json!({"lora_name": name})).status;
    assert_eq!([unload("ru"), unload("ru"), unload("base")], [200, 404, 400]);
    assert_eq!(server.post(CHAT, &ask("ru", "Привет")).status, 404);
}

#[test]
fn errors_are_openais_and_name_the_field() {
    let server = Server::start(None);
    let good = ask("base", "Hi");
    for (fields, status, param, code) in [
        (json!({"model": "gpt-4o"}), 404, "model", "model_not_found"),
        (json!({"model": null}), 400, "model", "missing_required_parameter"),
        (json!({"messages": null}), 400, "messages", "missing_required_parameter"),
        (json!({"messages": []}), 400, "messages", "invalid_value"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), 400, "messages[0].role", "invalid_value"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            400,
            "messages[0].content",
            "invalid_value",
        ),
        (json!({"messages": [{"role": "assistant", "content": "x"}]}), 400, "messages", "invalid_value"),
        (json!({"temperature": 2.5}), 400, "temperature", "invalid_value"),
        (json!({"top_p": -1}), 400, "top_p", "invalid_value"),
        (json!({"max_tokens": 0}), 400, "max_tokens", "invalid_value"),
        (json!({"max_completion_tokens": 1.5}), 400, "max_completion_tokens", "invalid_value"),
        (json!({"n": 999}), 400, "n", "invalid_value"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, "stop", "invalid_value"),
        (json!({"stop": ""}), 400, "stop", "invalid_value"),
        (json!({"top_logprobs": 2}), 400, "top_logprobs", "invalid_value"),
        (json!({"stream_options": {"include_usage": true}}), 400, "stream_options", "invalid_value"),
        (json!({"tools": [{"type": "function"}]}), 400, "tools", "unsupported_parameter"),
        (
            json!({"response_format": {"type": "json_object"}}),
            400,
            "response_format",
            "unsupported_parameter",
        ),
        (json!({"logit_bias": {"5": 100}}), 400, "logit_bias", "unsupported_parameter"),
        (json!({"presence_penalty": 0.5}), 400, "presence_penalty", "unsupported_parameter"),
        (json!({"max_tokens": 500}), 400, "messages", "context_length_exceeded"),
        (
            json!({"messages": [{"role": "user", "content": "word ".repeat(600)}]}),
            400,
            "messages",
            "context_length_exceeded",
        ),
    ] {
        let answer = server.post(CHAT, &with(good.clone(), fields.clone()));
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["param"], &error["code"]),
            (status, &json!(param), &json!(code)),
            "{fields}"
        );
        assert!(
            error["message"].as_str().is_some_and(|m| m.len() > 10)
                && error["type"] == "invalid_request_error"
        );
    }
    // What changes nothing, or is unknown, passes.
    let harmless = json!({"tools": [], "presence_penalty": 0, "logit_bias": {}, "user": "me", "store": false,
        "response_format": {"type": "text"}, "a_field_of_the_future": 1, "top_logprobs": null});
    assert_eq!(server.post(CHAT, &with(good.clone(), harmless)).status, 200);

    let json_type = [("Content-Type", "application/json")];
    for (method, path, headers, body, status) in [
        ("POST", CHAT, &json_type[..], "{", 400),
        ("POST", CHAT, &json_type[..], "[]", 400),
        ("POST", CHAT, &json_type[..], "", 400),
        ("POST", CHAT, &[("Content-Type", "text/plain")][..], "{}", 415),
        ("GET", CHAT, &[][..], "", 405),
        ("GET", "/v1/nothing", &[][..], "", 404),
        ("GET", "/v1/models/nothing", &[][..], "", 404),
    ] {
        let answer = server.send(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path} {body:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
    let mut small = options();
    small.limits = Limits { body_bytes: 1000, ..Limits::default() };
    let small = Server::with(small, EngineOptions::default(), None);
    let huge = format!("{{\"model\": \"{}\"}}", "x".repeat(2000));
    assert_eq!(small.send("POST", CHAT, &json_type, &huge).status, 413);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn an_empty_prompt_is_refused_and_holds_nobody_up() {
    let server = Server::start(None);
    let strings = TemplateStrings { without_input: "{instruction}".into(), with_input: None, turn: None };
    let template = PromptTemplate::own(strings).unwrap();
    let base = server.registry.base(&demo()).unwrap();
    server.registry.add("plain", &base, None, Some(template)).unwrap();
    let answer = server.post(CHAT, &ask("plain", ""));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("messages")));
    for prompt in [json!(""), json!([]), json!([[]]), json!([""]), json!([99_999_999]), json!([-1])] {
        let answer = server.post(COMPLETIONS, &json!({"model": "base", "prompt": prompt}));
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("prompt")), "{prompt}");
    }
    assert_eq!(server.post(CHAT, &ask("plain", "Hi")).status, 200);
}

#[test]
fn documented_fields_are_read() {
    let server = Server::start(None);
    let document = server.get("/openapi.json").json();
    for (path, schema) in [(CHAT, "ChatRequest"), (COMPLETIONS, "CompletionRequest")] {
        let fields = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert!(fields.len() > 10);
        for name in fields.keys().filter(|name| *name != "model") {
            let wrong = if name == "stream_options" { json!(1) } else { json!({"an": "object"}) };
            let mut request = with(ask("base", "Hi"), json!({"prompt": "Hi", "stream": true}));
            request[name] = wrong;
            let answer = server.post(path, &request);
            assert_eq!(answer.status, 400, "{path} {name}: {}", answer.body);
            assert_eq!(answer.json()["error"]["param"], *name, "{path}");
        }
    }
}

#[test]
fn other_sites_and_strangers_are_kept_out() {
    let mut with_key = options();
    with_key.api_key = Some("a secret".into());
    let server = Server::with(with_key, EngineOptions::default(), None);
    let key = ("Authorization", "Bearer a secret");
    let own = server.address.to_string();
    let local = format!("localhost:{}", server.address.port());
    let origin = format!("http://{own}");
    let get = |path: &str, headers: &[(&str, &str)]| server.send("GET", path, headers, "").status;
    assert_eq!(get("/v1/models", &[key]), 200);
    for authorization in
        ["", "Bearer", "Bearer ", "Bearer a secre", "Bearer a secret!", "a secret", "Basic a secret"]
    {
        assert_eq!(get("/v1/models", &[("Authorization", authorization)]), 401, "{authorization:?}");
    }
    assert_eq!(get("/v1/models", &[]), 401);
    assert_eq!(get("/metrics", &[]), 401);
    assert_eq!(get("/health", &[]), 200, "a health check has no key");
    // DNS rebinding: the browser sends the name it was lured with.
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"] {
        assert_eq!(get("/v1/models", &[key, ("Host", host)]), 403, "{host}");
    }
    for host in [own.as_str(), "127.0.0.1", "localhost", local.as_str(), "[::1]:80"] {
        assert_eq!(get("/v1/models", &[key, ("Host", host)]), 200, "{host}");
    }
    // Another site's page, or a file from disk.
    for origin in ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"] {
        assert_eq!(get("/v1/models", &[key, ("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(get("/v1/models", &[key, ("Origin", &origin)]), 200);
    let answer = server.get("/v1/models");
    let policy = answer.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && answer.header("x-content-type-options") == Some("nosniff"));

    let mut open = options();
    open.address = "0.0.0.0:0".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(tolmach_serve::bind(&open)).unwrap_err();
    assert!(refused.to_string().contains("API key"), "{refused}");
    open.api_key = Some("k".into());
    assert!(runtime.block_on(tolmach_serve::bind(&open)).is_ok());
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let engine = EngineOptions { parallel: 1, queue: 1, ..EngineOptions::default() };
    let server = Server::with(options(), engine, None);
    let long = with(ask("base", "Hi"), json!({"max_tokens": 400, "stream": true}));
    let until = Instant::now() + Duration::from_secs(20);
    let (refused, running, waiting) = loop {
        let mut running = server.stream(CHAT, &long);
        running.next().unwrap();
        let waiting = server.stream(CHAT, &long);
        // Until it has its place; on a busy machine both may be through before anybody looks.
        let begun = Instant::now();
        while server.metric("tolmach_waiting") < 1.0 && begun.elapsed() < Duration::from_millis(200) {}
        let answer = server.post(CHAT, &ask("base", "Hi"));
        if answer.status == 429 {
            break (answer, running, waiting);
        }
        assert!(Instant::now() < until, "{answer:?}");
        drop((running, waiting));
        server.wait_for_metric("tolmach_waiting", 0.0);
        server.wait_for_metric("tolmach_running", 0.0);
    };
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    drop((running, waiting));
    let until = Instant::now() + Duration::from_secs(20);
    while server.post(CHAT, &ask("base", "Hi")).status != 200 {
        assert!(Instant::now() < until, "those who left have given their places back");
    }
}

#[test]
fn a_client_that_leaves_stops_its_decoding() {
    let server = Server::start(None);
    let long = with(ask("base", "Hi"), json!({"max_tokens": 440, "stream": true}));
    let mut streams: Vec<_> = (0..8).map(|_| server.stream(CHAT, &long)).collect();
    for stream in &mut streams {
        assert!(stream.nth(3).is_some());
    }
    drop(streams);
    let until = Instant::now() + Duration::from_secs(20);
    while server.metric("tolmach_running") > 0.0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.metric("tolmach_cancelled_total"), 8.0);
    let tokens = server.metric("tolmach_generated_tokens_total");
    assert!(tokens < 8.0 * 440.0, "{tokens}: none was decoded to its end");
    server.wait_for_metric("tolmach_cache_reserved_tokens", 0.0);
}

#[test]
fn time_limits_end_what_takes_too_long() {
    let mut short = options();
    short.limits = Limits { request: Duration::from_millis(60), ..Limits::default() };
    let engine = EngineOptions { parallel: 1, ..EngineOptions::default() };
    let server = Server::with(short, engine, None);
    let answer = server.post(
        COMPLETIONS,
        &json!({
            "model": "base", "prompt": vec!["a"; 16], "max_tokens": 480, "ignore_eos": true,
        }),
    );
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.json()["error"]["type"], "server_error");
}

#[test]
fn a_stopping_server_lets_replies_end_and_tells_the_others() {
    for (grace, ends) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let mut options = options();
        options.limits = Limits { shutdown: grace, ..Limits::default() };
        let mut server = Server::with(options, EngineOptions::default(), None);
        let long = with(ask("base", "Hi"), json!({"max_tokens": 440, "stream": true}));
        let mut stream = server.stream(CHAT, &long);
        stream.next().unwrap();
        server.begin_to_stop();
        let rest: Vec<String> = stream.collect();
        let last = rest.last().unwrap();
        assert_eq!(last == "[DONE]", ends, "{last}");
        assert_eq!(last.contains("stopping"), !ends, "{last}");
    }
}

#[test]
fn no_stream_holds_a_replacement_character() {
    let server = Server::start(None);
    // Hot draws from all tokens: bytes of Cyrillic letters and emoji in any order.
    for seed in 0..6 {
        let hot = with(
            ask("base", "Привет 🦙"),
            json!({
                "temperature": 2.0, "seed": seed, "n": 4, "max_tokens": 200, "stream": true, "logprobs": true,
                "top_logprobs": 5,
            }),
        );
        let events = server.events(CHAT, &hot);
        assert!(events.iter().all(|e| !e.contains('\u{FFFD}')));
        assert!(!joined(&events, 0).is_ascii());
    }
}
