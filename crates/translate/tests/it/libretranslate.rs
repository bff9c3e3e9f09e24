//! The engine `libretranslate` and the dispatch behind it, against a server that behaves and misbehaves.

use crate::support::{Run, Server, error, example, examples, good, translation};
use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tolmach_corpus::Body;
use tolmach_translate::{EngineError, Error, Translated};
use wiremock::ResponseTemplate;

/// Every example is there, in order, with both fields translated.
fn assert_complete(translated: &Translated, count: usize) {
    assert_eq!(translated.missed, []);
    let ids: Vec<_> = translated.examples.iter().map(|e| e.id.clone()).collect();
    assert_eq!(ids, (0..count).map(|i| i.to_string()).collect::<Vec<_>>());
    for (i, example) in translated.examples.iter().enumerate() {
        let Body::Alpaca { instruction, input, output } = &example.body else { panic!("{example:?}") };
        assert_eq!(*instruction, translation(&format!("ask {i} a")));
        assert_eq!(input, "");
        assert_eq!(*output, translation(&format!("say {i} b")));
    }
}

fn engine_error(result: Result<Translated, Error>) -> (usize, EngineError) {
    match result {
        Err(Error::Engine { stored, source, .. }) => (stored, source),
        other => panic!("expected an engine error, found {other:?}"),
    }
}

#[test]
fn a_request_is_what_the_protocol_says() {
    let server = Server::start(|_, texts| good(texts));
    server.offer(json!([{"code": "en", "name": "English", "targets": ["de", "ru"]}]));
    let mut run = Run::against(&server.mock.uri());
    run.api_key = Some("secret".to_string());
    let translated = run.translate(&examples(20), None).unwrap();
    assert_complete(&translated, 20);
    let first = translated.examples[0].clone();
    assert_eq!(first.language.as_deref(), Some("ru"));
    assert_eq!(first.translation.unwrap().engine, "libretranslate");
    assert_eq!(first.source.unwrap(), examples(1)[0].body);

    let bodies = server.log.bodies.lock().unwrap();
    assert_eq!(bodies.len(), 5, "40 segments, 8 a request");
    for body in bodies.iter() {
        let rest =
            json!({"q": body["q"], "source": "en", "target": "ru", "format": "text", "api_key": "secret"});
        assert_eq!(*body, rest);
    }
}

#[test]
fn batches_respect_the_characters() {
    let server = Server::start(|_, texts| good(texts));
    let mut run = Run::against(&server.mock.uri());
    run.config.max_characters = Some(20);
    assert_complete(&run.translate(&examples(30), None).unwrap(), 30);
    for texts in server.log.requests.lock().unwrap().iter() {
        assert!(texts.iter().map(|t| t.chars().count()).sum::<usize>() <= 20, "{texts:?}");
    }
}

#[test]
fn a_limit_of_the_server_splits_the_batch() {
    let server = Server::start(|_, texts| match texts.len() {
        1 => good(texts),
        n => error(400, &format!("Invalid request: request ({n}) exceeds text limit (1)")),
    });
    let mut run = Run::against(&server.mock.uri());
    (run.config.max_segments, run.config.concurrency) = (Some(50), Some(4));
    assert_complete(&run.translate(&examples(100), None).unwrap(), 100);
}

#[test]
fn slow_down_is_obeyed() {
    let server = Server::start(|number, texts| match number {
        0 => error(429, "Slowdown: 10 per 1 minute").insert_header("Retry-After", "1"),
        _ => good(texts),
    });
    let run = Run::against(&server.mock.uri());
    let start = Instant::now();
    let translated = run.translate(&examples(10), None).unwrap();
    assert_complete(&translated, 10);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(translated.stats.retries, 1);
}

#[test]
fn a_pause_of_hours_is_not_waited_for() {
    let server = Server::start(|_, _| error(429, "quota used up").insert_header("Retry-After", "7200"));
    let (_, e) = engine_error(Run::against(&server.mock.uri()).translate(&examples(2), None));
    assert!(e.to_string().contains("quota used up") && e.to_string().contains("7200 s"), "{e}");
}

#[test]
fn passing_faults_are_ridden_out() {
    // Every third request fails, each time in another way.
    let server = Server::start(|number, texts| match number % 15 {
        0 => error(500, "Cannot translate text: out of memory"),
        3 => ResponseTemplate::new(502).set_body_string("<html>Bad Gateway</html>"),
        6 => ResponseTemplate::new(200).set_body_string("<html>Maintenance</html>"),
        9 => ResponseTemplate::new(200).set_body_json(json!({"translated": "?"})),
        12 => error(503, "busy"),
        _ => good(texts),
    });
    let run = Run::against(&server.mock.uri());
    let translated = run.translate(&examples(100), None).unwrap();
    assert_complete(&translated, 100);
    assert!(translated.stats.retries >= 5, "{:?}", translated.stats);
}

#[test]
fn a_time_out_is_tried_again() {
    let server = Server::start(|number, texts| match number {
        0 => good(texts).set_delay(Duration::from_secs(3)),
        _ => good(texts),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.timeout_seconds = 1;
    assert_complete(&run.translate(&examples(10), None).unwrap(), 10);
}

#[test]
fn one_bad_segment_costs_one_example() {
    let server = Server::start(|_, texts| match texts.iter().any(|t| t == "impossible words") {
        true => error(500, "Cannot translate text: impossible words"),
        false => good(texts),
    });
    let run = Run::against(&server.mock.uri());
    let mut input = examples(40);
    input[7] = example("7", "ask 7 a", "impossible words");
    let translated = run.translate(&input, None).unwrap();
    assert_eq!(translated.examples.len(), 39);
    let [missed] = translated.missed.as_slice() else { panic!("{:?}", translated.missed) };
    assert_eq!(missed.example, input[7]);
    assert!(missed.reason.contains("impossible words") && missed.reason.contains("500"), "{}", missed.reason);
}

/// LLaMa2lang#15: rows were lost between the files of a translation run.
#[test]
fn llama2lang_15_no_row_is_lost_to_a_wrong_number_of_answers() {
    // Batches come back with one answer too few or too many, and one segment always comes back empty.
    let server = Server::start(|number, texts| {
        let mut answers: Vec<String> = texts.iter().map(|t| translation(t)).collect();
        if let Some(i) = texts.iter().position(|t| t == "impossible words") {
            answers[i].clear();
        }
        match (texts.len(), number % 2) {
            (1, _) => {}
            (_, 0) => drop(answers.pop()),
            _ => answers.push("лишнее".to_string()),
        }
        ResponseTemplate::new(200).set_body_json(json!({ "translatedText": answers }))
    });
    let run = Run::against(&server.mock.uri());
    let mut input = examples(12);
    input[3] = example("3", "impossible words", "say 3 b");
    let translated = run.translate(&input, None).unwrap();
    let mut seen: Vec<&str> = translated.examples.iter().map(|e| e.id.as_str()).collect();
    let [missed] = translated.missed.as_slice() else { panic!("{:?}", translated.missed) };
    assert_eq!(missed.example.id, "3");
    seen.insert(3, &missed.example.id);
    assert_eq!(seen, input.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), "each once, in order");
    for example in &translated.examples {
        let Body::Alpaca { instruction, .. } = &example.body else { panic!() };
        assert_eq!(*instruction, translation(&format!("ask {} a", example.id)), "answers must not shift");
    }
}

#[test]
fn a_server_that_never_works_is_reported_not_taken_for_a_miss() {
    type Template = fn() -> ResponseTemplate;
    let broken: [(Template, &str); 3] = [
        (|| error(500, "Cannot translate text: no model"), "no model"),
        (|| ResponseTemplate::new(200).set_body_string("<html>hello</html>"), "no JSON"),
        (|| ResponseTemplate::new(502).set_body_string("nginx"), "502"),
    ];
    for (answer, said) in broken {
        let server = Server::start(move |_, _| answer());
        for count in [1, 40] {
            let (stored, e) =
                engine_error(Run::against(&server.mock.uri()).translate(&examples(count), None));
            assert_eq!(stored, 0);
            assert!(e.to_string().contains(said), "{e}");
        }
    }
}

#[test]
fn what_will_never_work_is_tried_once() {
    let wrong = [
        (403, "Invalid API key", "--api-key-env"),
        (400, "Visit https://portal.example to get an API key", "--api-key-env"),
        (404, "Not found", "LibreTranslate"),
    ];
    for (status, message, hint) in wrong {
        let server = Server::start(move |_, _| error(status, message));
        let mut run = Run::against(&server.mock.uri());
        run.config.concurrency = Some(1);
        let (_, e) = engine_error(run.translate(&examples(40), None));
        assert!(e.to_string().contains(message), "{e}");
        assert!(e.hint().unwrap().contains(hint), "{e:?}");
        assert_eq!(server.request_count(), 1);
    }
}

#[test]
fn an_unknown_language_is_refused_before_anything_is_sent() {
    let server = Server::start(|_, texts| good(texts));
    server.offer(json!([{"code": "en", "targets": ["de", "fr"]}, {"code": "de", "targets": ["en"]}]));
    let (_, e) = engine_error(Run::against(&server.mock.uri()).translate(&examples(1), None));
    assert!(e.to_string().contains("from `en` to `ru`"), "{e}");
    assert!(e.hint().unwrap().contains("de, fr"), "{e:?}");
    assert_eq!(server.request_count(), 0);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_, e) =
        engine_error(Run::against(&format!("http://127.0.0.1:{port}")).translate(&examples(1), None));
    assert!(matches!(e, EngineError::Unreachable(_)), "{e:?}");
    assert!(e.to_string().contains(&format!("127.0.0.1:{port}")), "{e}");
}

#[test]
fn a_cut_connection_is_a_failure_of_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let (_, e) = engine_error(Run::against(&endpoint).translate(&examples(1), None));
    assert!(matches!(e, EngineError::Unreachable(_)), "{e:?}");
}
