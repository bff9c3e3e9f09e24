//! The hostile service behind real HTTP: 429, 500, connections cut in the middle of an answer, time-outs.

use crate::hostile::Hostile;
use crate::trust::{options, records, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use tolmach_translate::{EngineError, EngineKind, Journal, TranslateConfig, translate_examples};

/// Serves `hostile` at `http://…/mt`: POST `{"q"}`, answer `{"data": [{"text"}]}`.
fn serve(hostile: Arc<Hostile>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/mt", listener.local_addr().unwrap());
    let failures = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (hostile, failures) = (hostile.clone(), failures.clone());
            thread::spawn(move || drop(answer_all(stream, &hostile, &failures)));
        }
    });
    endpoint
}

fn answer_all(stream: TcpStream, hostile: &Hostile, failures: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(body) = request(&mut reader)? {
        let body: Value = serde_json::from_slice(&body)?;
        match hostile.respond(body["q"].as_str().unwrap()) {
            Ok(text) => reply(&mut stream, "200 OK", "", &json!({"data": [{"text": text}]}))?,
            Err(EngineError::SlowDown { .. }) => {
                reply(
                    &mut stream,
                    "429 Too Many Requests",
                    "Retry-After: 0\r\n",
                    &json!({"error": "slow down"}),
                )?;
            }
            Err(EngineError::Unreachable(_)) => {
                // One in eight keeps the client waiting for ever, the others stop in mid-answer.
                if failures.fetch_add(1, SeqCst).is_multiple_of(8) {
                    thread::sleep(Duration::from_secs(3));
                } else {
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{{\"data\": [")?;
                }
                return Ok(());
            }
            Err(_) => reply(&mut stream, "500 Internal Server Error", "", &json!({"error": "no model"}))?,
        }
    }
    Ok(())
}

/// The body of the next request; `None` at the end of the connection.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        match reader.read_line(&mut line)? {
            0 => return Ok(None),
            2 => break,
            _ => {}
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(body))
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn config(endpoint: String, characters: usize) -> TranslateConfig {
    TranslateConfig {
        to: "ru".to_string(),
        engine: EngineKind::Http,
        endpoint: Some(endpoint),
        body: Some(r#"{"q": "{text}"}"#.to_string()),
        answer: Some("data.0.text".to_string()),
        max_characters: Some(characters),
        requests_per_second: Some(10_000.0),
        concurrency: Some(4),
        timeout_seconds: 1,
        ..TranslateConfig::default()
    }
}

#[test]
fn a_hostile_service_is_seen_through_over_http() {
    const CHARACTERS: usize = 400;
    let records = records(1500);
    let honest = Hostile::new(CHARACTERS, 0.0);
    let right: BTreeMap<String, _> =
        run(&records, &[&honest], None).examples.into_iter().map(|e| (e.id, e.body)).collect();
    let least = honest.answered.load(SeqCst);

    let hostile = Arc::new(Hostile::new(CHARACTERS, 1.0));
    let engine = config(serve(hostile.clone()), CHARACTERS).open_engine(None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    let out = run(&records, &[engine.as_ref()], Some(&mut journal));

    let emitted = out.examples.iter().map(|e| e.id.as_str());
    let mut seen: Vec<&str> = emitted.chain(out.missed.iter().map(|m| m.example.id.as_str())).collect();
    seen.sort_by_key(|id| id.parse::<usize>().unwrap());
    assert_eq!(seen, records.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), "each by exactly one door");
    for example in &out.examples {
        assert_eq!(
            Some(&example.body),
            right.get(&example.id),
            "emitted, but wrong: {:?}",
            example.translation
        );
    }
    assert!(out.missed.len() * 20 <= records.len(), "{} in review", out.missed.len());
    assert!(hostile.failed.load(SeqCst) > 20 && out.stats.retries > 20, "it was hostile: {:?}", out.stats);
    let answered = hostile.answered.load(SeqCst);
    assert!(answered * 2 <= least * 3, "{answered} answered requests where {least} are possible");

    // Nothing that was answered is asked again.
    let before = (answered, hostile.failed.load(SeqCst));
    let again = run(&records, &[engine.as_ref()], Some(&mut journal));
    let before_and_after = out.examples.iter().filter(|e| again.examples.iter().any(|a| a.body == e.body));
    assert_eq!(before_and_after.count(), out.examples.len(), "what was emitted is emitted again");
    let asked = hostile.answered.load(SeqCst) - before.0;
    // What was an empty answer, or none, is no answer.
    assert!(asked * 20 <= answered, "{asked} requests after {answered} of the first run");
}

#[test]
fn a_service_of_one_text_gets_one_request_a_second_unless_told_otherwise() {
    let endpoint = serve(Arc::new(Hostile::new(200, 0.0)));
    let config = TranslateConfig { requests_per_second: None, concurrency: None, ..config(endpoint, 200) };
    let engine = config.open_engine(None).unwrap();
    let start = std::time::Instant::now();
    let cancel = AtomicBool::new(false);
    let out =
        translate_examples(&records(3), &[engine.as_ref()], None, &options(), &mut |_| {}, &cancel).unwrap();
    let (requests, seconds) = (out.stats.requests, start.elapsed().as_secs_f64());
    assert!(requests >= 2, "{requests}");
    assert_eq!(out.stats.survey.seconds_at_rate_limit, Some(out.stats.survey.requests_to_send as f64));
    assert!(seconds >= (requests - 1) as f64 - 0.05, "{requests} requests in {seconds:.2} s");
}
