//! Clients that mean harm, or do not know better: nothing they send stops the server, tells them more than they
//! should know, or holds a place for ever.

use crate::common::{Answer, Server, demo, options};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use tolmach_serve::{EngineOptions, Limits};

/// Every route, with a method that it takes.
const ROUTES: [(&str, &str); 27] = [
    ("GET", "/"),
    ("GET", "/training"),
    ("GET", "/review"),
    ("GET", "/report"),
    ("GET", "/assets/shell/shell.js"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/base"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("GET", "/ui/config"),
    ("POST", "/ui/markdown"),
    ("GET", "/ui/runs"),
    ("GET", "/ui/runs/events"),
    ("GET", "/ui/runs/plot/loss?runs=x"),
    ("GET", "/ui/runs/x/metrics"),
    ("POST", "/ui/runs/x/live"),
    ("GET", "/ui/reviews"),
    ("POST", "/ui/reviews/x"),
    ("POST", "/ui/reviews/x/apply"),
    ("GET", "/ui/reports"),
    ("GET", "/ui/reports/x/file"),
    ("GET", "/nowhere"),
];
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn no_route_answers_another_site_or_another_name() {
    let server = Server::start(None);
    for (method, path) in ROUTES {
        for foreign in [("Host", "evil.example"), ("Origin", "https://evil.example"), ("Origin", "null")] {
            let answer = server.send(method, path, &[JSON, foreign], "{}");
            assert_eq!(answer.status, 403, "{method} {path} {foreign:?}");
            is_guarded(&answer);
        }
    }
}

/// The headers that keep a browser from doing more than it should with an answer.
fn is_guarded(answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{answer:?}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "deny"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
}

/// Bodies that no route takes: `(what, bytes)`.
fn garbage() -> Vec<(String, Vec<u8>)> {
    let good = json!({"model": "base", "max_tokens": 2, "prompt": "x", "text": "x", "version": "0",
        "example": "x", "action": "drop", "lora_name": "x", "lora_path": "x",
        "messages": [{"role": "user", "content": "x"}]});
    let mut all: Vec<(String, Vec<u8>)> = vec![
        ("nothing".into(), Vec::new()),
        ("broken UTF-8".into(), b"{\"model\": \"\xff\xfe\xc3\x28\"}".to_vec()),
        ("zero bytes".into(), vec![0; 64]),
        ("deep arrays".into(), "[".repeat(100_000).into_bytes()),
        (
            "deep objects".into(),
            format!("{}1{}", "{\"messages\":".repeat(50_000), "}".repeat(50_000)).into_bytes(),
        ),
        ("a lone surrogate".into(), br#"{"model": "\ud800", "text": "\udfff"}"#.to_vec()),
        ("a list".into(), b"[{}]".to_vec()),
        ("a text".into(), b"\"text\"".to_vec()),
        ("a number beyond all".into(), br#"{"model": "base", "seed": 1e999, "max_tokens": 1e400}"#.to_vec()),
        ("one key twice".into(), br#"{"model": 1, "model": {}}"#.to_vec()),
    ];
    let whole = good.to_string().into_bytes();
    for cut in [1, 2, 7, whole.len() / 2, whole.len() - 1] {
        all.push((format!("cut at {cut}"), whole[..cut].to_vec()));
    }
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e300),
        json!(""),
        json!("../../../etc/passwd"),
        json!("\u{0}\u{1b}[31m"),
        json!([]),
        json!([[[]]]),
        json!({}),
        json!({"role": {}}),
        json!([null, 1, {"role": "user"}]),
        json!("x".repeat(5000)),
    ];
    for name in good.as_object().unwrap().keys() {
        for value in &wrong {
            let mut bad = good.clone();
            bad[name] = value.clone();
            all.push((format!("{name}: {:.40}", value.to_string()), bad.to_string().into_bytes()));
        }
    }
    all
}

#[test]
fn garbage_is_refused_in_one_shape_and_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = options();
    watching.runs = vec![folder.path().to_path_buf()];
    watching.adapter_roots = vec![folder.path().to_path_buf()];
    watching.log = std::sync::Arc::new(|_| ());
    let server = Server::with(watching, EngineOptions::default(), None);
    let secrets = [
        folder.path().display().to_string(),
        demo().display().to_string(),
        env!("CARGO_MANIFEST_DIR").into(),
    ];
    for (what, body) in garbage() {
        for (method, path) in ROUTES.iter().filter(|(method, _)| *method == "POST") {
            let answer = bytes(&server, method, path, &body);
            let told = format!("{path}, {what}: {answer:?}");
            assert!(answer.status == 200 || (400..500).contains(&answer.status), "{told}");
            is_guarded(&answer);
            if answer.status != 200 {
                let error = answer.json()["error"].clone();
                assert!(error["message"].as_str().is_some_and(|m| m.len() > 5 && m.len() < 400), "{told}");
                assert!(error["type"].is_string(), "{told}");
            }
            // The request's own words may come back; ours may not.
            let leaks = ["panicked", ".rs:", "/etc/", "RUST_BACKTRACE", "os error", "src/"];
            let is_own = String::from_utf8_lossy(&body).contains("/etc/");
            assert!(!leaks.iter().any(|l| answer.body.contains(l) && !(*l == "/etc/" && is_own)), "{told}");
            assert!(!secrets.iter().any(|secret| answer.body.contains(secret.as_str())), "{told}");
        }
    }
    for path in [
        "/v1/models/%ff%fe",
        "/ui/runs/%00/metrics",
        "/ui/runs/x/metrics?since=-1",
        "/ui/runs/x/metrics?since=9e99",
        "/ui/runs/plot/loss",
        "/ui/runs/plot/loss?runs=%ff&width=-5",
        "/ui/reviews/..%2f..%2fetc%2fpasswd",
        "/ui/reviews/x?seed=big",
        "/assets/..%2f..%2fCargo.toml/x",
        "/assets/shell/..%2fshell.js",
        "/assets/shell/../../x",
        "/ui/reports/%2e%2e?language=%ff",
        "//v1/models",
        "/v1//models",
        "/v1/models/../models",
    ] {
        let answer = server.get(path);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string(), "{path}: {answer:?}");
        is_guarded(&answer);
    }
    let answer = server.post("/v1/completions", &json!({"model": "base", "prompt": "x", "max_tokens": 1}));
    assert_eq!(answer.status, 200, "it serves as before");
}

/// As [`Server::send`], of bytes that are no text.
fn bytes(server: &Server, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut stream = connect(server);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        server.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // What is refused by its first bytes is answered, and closed, before the rest is read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&String::from_utf8(answer).unwrap())
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn slow_and_half_closed_clients_lose_their_place() {
    let mut few = options();
    few.limits = Limits { connections: 8, receive: Duration::from_millis(400), ..Limits::default() };
    let server = Server::with(few, EngineOptions::default(), None);
    let host = server.address;
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let begun = Instant::now();
    let mut held: Vec<TcpStream> = Vec::new();
    let slow_bodies = [
        "/v1/chat/completions",
        "/ui/markdown",
        "/ui/reviews/x",
        "/ui/reviews/x/apply",
        "/v1/load_lora_adapter",
    ];
    for start in slow_bodies.map(|path| head(path, 1000) + "{\"te") {
        let mut stream = connect(&server);
        stream.write_all(start.as_bytes()).unwrap();
        held.push(stream);
    }
    // A head that never ends, a connection that says nothing, one that says its half and closes it.
    for start in ["GET /health HTTP/1.1\r\nX: ", "", "GET /hea"] {
        let mut stream = connect(&server);
        stream.write_all(start.as_bytes()).unwrap();
        held.push(stream);
    }
    held[7].shutdown(Shutdown::Write).unwrap();
    // All eight places are taken: the next client waits until one is lost, and is served.
    assert_eq!(server.get("/health").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for (stream, path) in held.iter_mut().zip(slow_bodies) {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 408"), "{path}: {text:?}");
        assert!(text.contains("took too long"), "{path}: {text}");
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn markdown_has_bounds_in_size_depth_and_time() {
    const MARKDOWN: &str = "/ui/markdown";
    let server = Server::start(None);
    let html = |text: &str| {
        let begun = Instant::now();
        let answer = server.post(MARKDOWN, &json!({"text": text}));
        assert_eq!(answer.status, 200, "{:.200}", answer.body);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?} for {:.20}", begun.elapsed(), text);
        answer.json()["html"].as_str().unwrap().to_string()
    };
    let most = 256 << 10;
    assert!(html(&"а".repeat(most / 2)).len() >= most);
    let refused = |body: &Value| server.post(MARKDOWN, body);
    let longer = refused(&json!({"text": "x".repeat(most + 1)}));
    assert_eq!((longer.status, &longer.json()["error"]["code"]), (413, &json!("request_too_large")));
    assert_eq!(refused(&json!({"text": "x".repeat(3 << 20)})).status, 413);
    for body in [json!({}), json!({"text": 1}), json!({"text": "x", "more": 1}), json!("x")] {
        assert_eq!(refused(&body).status, 400, "{body}");
    }
    // Nesting of every kind, as deep as the size allows.
    for opening in
        ["> ", "- ", "1. ", "[", "*", "**_", "`", "|", "<div>", "[a](", "![", "\\", "&#", "\n\n> - "]
    {
        let rendered = html(&opening.repeat(most / opening.len()));
        let (mut depth, mut deepest) = (0_i32, 0);
        for tag in rendered.split('<').skip(1) {
            depth += if tag.starts_with('/') {
                -1
            } else {
                i32::from(!tag.starts_with("br") && !tag.starts_with("hr"))
            };
            deepest = deepest.max(depth);
        }
        assert!(deepest <= 60, "{opening:?}: {deepest} deep");
    }
}
