//! Nothing is asked twice, nothing answered is lost, and every example leaves by exactly one door.

use crate::support::{Run, Server, error, example, examples, good, translation};
use serde_json::json;
use std::sync::atomic::Ordering;
use tolmach_corpus::{Body, Example, Message, Role};
use tolmach_translate::{EngineKind, Error, Journal, OnMiss};
use wiremock::ResponseTemplate;

fn journal(dir: &tempfile::TempDir) -> Journal {
    Journal::open(&dir.path().join("j.sqlite")).unwrap()
}

#[test]
fn identical_segments_are_asked_once_ever() {
    let server = Server::start(|_, texts| good(texts));
    let run = Run::against(&server.mock.uri());
    let dir = tempfile::tempdir().unwrap();
    let input: Vec<Example> = (0..30)
        .map(|i| example(&i.to_string(), "The same question", &format!("- One\n- Two\n- say {i} x")))
        .collect();
    let first = run.translate(&input, Some(&mut journal(&dir))).unwrap();
    assert_eq!(first.stats.survey.segments, 120);
    assert_eq!(first.stats.survey.unique_segments, 33);
    assert_eq!(server.asked("The same question"), 1);
    assert_eq!(server.asked("Two"), 1);
    let requests = server.request_count();

    let second = run.translate(&input, Some(&mut journal(&dir))).unwrap();
    assert_eq!(second.examples, first.examples);
    assert_eq!(second.stats.survey.journal_hits, 33);
    assert_eq!(server.request_count(), requests, "nothing is left to ask");
}

#[test]
fn interrupted_and_continued_gives_the_same_and_asks_nothing_again() {
    let input = examples(200);
    let server = Server::start(|_, texts| good(texts));
    let whole = Run::against(&server.mock.uri()).translate(&input, None).unwrap();
    drop(server);

    let server = Server::start(|_, texts| good(texts));
    let dir = tempfile::tempdir().unwrap();
    let mut interruptions = 0;
    let continued = loop {
        let mut run = Run::against(&server.mock.uri());
        run.cancel_after = 60;
        match run.translate(&input, Some(&mut journal(&dir))) {
            Err(Error::Interrupted { stored, left }) => {
                assert!(stored >= 60, "what was under way is stored: {stored}");
                assert!(left > 0);
                interruptions += 1;
            }
            done => break done.unwrap(),
        }
    };
    assert!((1..=6).contains(&interruptions), "{interruptions}");
    assert_eq!(continued.examples, whole.examples);
    let mut all: Vec<String> = server.log.requests.lock().unwrap().iter().flatten().cloned().collect();
    all.sort();
    let asked = all.len();
    all.dedup();
    assert_eq!(asked, all.len(), "no segment was asked twice");
}

#[test]
fn what_was_answered_before_a_failure_is_stored() {
    let server = Server::start(|number, texts| match number {
        0..=2 => good(texts),
        _ => error(403, "Too many request limits violations"),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(1);
    let dir = tempfile::tempdir().unwrap();
    match run.translate(&examples(40), Some(&mut journal(&dir))) {
        Err(Error::Engine { stored: 24, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(journal(&dir).count().unwrap(), 24);
}

#[test]
fn ctrl_c_does_not_wait_out_a_pause() {
    let server = Server::start(|_, _| error(429, "later").insert_header("Retry-After", "4"));
    let run = Run::against(&server.mock.uri());
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(300));
            run.cancel.store(true, Ordering::SeqCst);
        });
        let dir = tempfile::tempdir().unwrap();
        let result = run.translate(&examples(3), Some(&mut journal(&dir)));
        assert!(matches!(result, Err(Error::Interrupted { stored: 0, left: 6 })), "{result:?}");
    });
    assert!(start.elapsed().as_secs() < 3);
}

/// A memory that knows everything of examples 0, 1 and 2, and nothing of the rest.
fn memory_run(dir: &tempfile::TempDir) -> Run {
    let path = dir.path().join("memory.jsonl");
    let rows = (0..3).flat_map(|i| [format!("ask {i} a"), format!("say {i} b")]);
    let rows: String =
        rows.map(|s| json!({"source": s, "target": translation(&s)}).to_string() + "\n").collect();
    std::fs::write(&path, rows).unwrap();
    let mut run = Run::against("unused");
    run.config.engine = EngineKind::Memory;
    run.config.memory = Some(path);
    run
}

#[test]
fn a_miss_is_dropped_kept_or_an_error_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = memory_run(&dir);
    let mut input = examples(4);
    input[3] = example("3", "ask 0 a", "nobody knows this");

    let dropped = run.translate(&input, None).unwrap();
    assert_eq!((dropped.examples.len(), dropped.missed.len()), (3, 1));
    let missed = dropped.missed[0].clone().into_example();
    let reason = missed.extra["review"]["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "1 of 2 segments have no translation; \"nobody knows this\": not in the translation memory"
    );
    // Mended or not, a record that was set aside is good input again.
    let again = run.translate(&[missed], None).unwrap();
    assert!(!again.missed[0].example.extra.contains_key("review"));

    run.config.on_miss = OnMiss::Keep;
    let kept = run.translate(&input, None).unwrap();
    assert_eq!((kept.examples.len(), kept.missed.len(), kept.stats.kept), (4, 0, 1));
    assert_eq!(kept.examples[3].body, input[3].body);
    assert_eq!(kept.examples[3].language.as_deref(), Some("en"));
    assert!(kept.examples[3].translation.as_ref().unwrap().repairs[0].contains("nobody knows"));

    run.config.on_miss = OnMiss::Error;
    match run.translate(&input, None) {
        Err(Error::Missed { missed: 1, examples: 4, id, .. }) => assert_eq!(id, "3"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_shape_is_translated_and_what_is_done_passes_through() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = memory_run(&dir);
    run.config.translate_system = false;
    let message = |role, content: &str| Message { role, content: content.to_string() };
    let talk = Example::new(Body::Messages {
        messages: vec![
            message(Role::System, "Stay as you are."),
            message(Role::User, "ask 0 a\n\n  2. ask 1 a"),
            message(Role::Assistant, "42"),
        ],
    });
    let text = Example::new(Body::Text { text: "# say 2 b\n".to_string() });
    let once = run.translate(&[talk, text], None).unwrap();
    let Body::Messages { messages } = &once.examples[0].body else { panic!() };
    let contents: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(contents, ["Stay as you are.", "аск 0 а\n\n  2. аск 1 а", "42"]);
    assert_eq!(once.examples[1].body, Body::Text { text: "# саы 2 б\n".to_string() });

    let twice = run.translate(&once.examples, None).unwrap();
    assert_eq!(twice.examples, once.examples);
    assert_eq!(twice.stats.already_translated, 2);
}

/// text-generation-webui#4538: line breaks that come and go in translation.
#[test]
fn text_generation_webui_4538_a_line_break_in_an_answer_is_mended() {
    let server = Server::start(|_, texts| {
        let answers: Vec<String> = texts.iter().map(|t| format!(" {t}\r\nещё \n")).collect();
        ResponseTemplate::new(200).set_body_json(json!({ "translatedText": answers }))
    });
    let run = Run::against(&server.mock.uri());
    let translated = run.translate(&[example("x", "One\n\n\tTwo  ", "Three")], None).unwrap();
    let Body::Alpaca { instruction, output, .. } = &translated.examples[0].body else { panic!() };
    assert_eq!(instruction, "One ещё\n\n\tTwo ещё  ");
    assert_eq!(output, "Three ещё");
    let repairs = &translated.examples[0].translation.as_ref().unwrap().repairs;
    assert_eq!(repairs.as_slice(), ["joined the lines of a segment"]);
}
