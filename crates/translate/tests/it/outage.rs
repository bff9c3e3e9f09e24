//! Services that go down, money that runs out, rates that are kept.

use crate::support::{Run, Server, error, example, examples, good};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tolmach_corpus::Example;
use tolmach_translate::{EngineError, Error, Journal, Options, Progress, Translated, translate_examples};

/// As [`Run::translate`], with what the run may cost.
fn translate_for(run: &Run, count: usize, journal: Option<&mut Journal>) -> Result<Translated, Error> {
    translate_all(run, &examples(count), journal)
}

fn translate_all(
    run: &Run,
    examples: &[Example],
    journal: Option<&mut Journal>,
) -> Result<Translated, Error> {
    let options = Options { retry: run.retry, ..run.config.options()? };
    let engine = run.config.open_engine(None)?;
    let mut ignore = |_: Progress<'_>| {};
    let cancel = AtomicBool::new(false);
    translate_examples(examples, &[engine.as_ref()], journal, &options, &mut ignore, &cancel)
}

#[test]
fn an_outage_is_waited_out_with_single_probes() {
    // Down from the 5th request to the 14th, for everybody.
    let server = Server::start(|number, texts| match number {
        5..15 => error(502, "bad gateway"),
        _ => good(texts),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(4);
    run.retry.probes = 8;
    let out = translate_for(&run, 100, None).unwrap();
    assert_eq!((out.examples.len(), out.missed.len()), (100, 0));
    assert_eq!(out.stats.requests, out.stats.answered_requests + 10);
}

#[test]
fn a_service_that_stays_down_is_left_alone_and_what_it_said_is_kept() {
    // The errors come late: a good answer under way would begin the count of failures anew.
    let server = Server::start(|number, texts| match number {
        0..5 => good(texts),
        _ => error(502, "bad gateway").set_delay(Duration::from_millis(150)),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(4);
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    match translate_for(&run, 300, Some(&mut journal)) {
        Err(Error::Engine { stored, source: EngineError::Unreachable(_), .. }) => assert_eq!(stored, 40),
        other => panic!("{other:?}"),
    }
    // Four failures open the breaker, up to three more were under way, three probes follow.
    let asked = server.request_count() - 5;
    assert!((7..=10).contains(&asked), "{asked} requests to a service that is down");
}

#[test]
fn too_many_requests_for_ever_end_the_run() {
    let server = Server::start(|number, texts| match number {
        0..2 => good(texts),
        _ => error(429, "quota"),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(1);
    match translate_for(&run, 100, None) {
        Err(Error::Engine { source: EngineError::SlowDown { .. }, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.request_count(), 2 + 4 + 3, "the attempts, then the probes");
}

#[test]
fn one_request_that_is_never_answered_costs_one_example() {
    let server = Server::start(|_, texts| match texts.iter().any(|t| t.contains("poison")) {
        true => error(504, "upstream timed out"),
        false => good(texts),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(2);
    run.retry.probes = 100;
    for place in [0, 20, 40] {
        let mut input = examples(40);
        input.insert(place, example("bad", "a drop of poison", "and nothing else"));
        let out = translate_all(&run, &input, None).unwrap();
        let missed: Vec<&str> = out.missed.iter().map(|m| m.example.id.as_str()).collect();
        assert_eq!(missed, ["bad"], "at {place}");
        assert!(out.missed[0].reason.contains("504"), "{}", out.missed[0].reason);
    }
}

#[test]
fn an_estimate_beyond_the_limit_stops_the_run_before_it_begins() {
    let server = Server::start(|_, texts| good(texts));
    let mut run = Run::against(&server.mock.uri());
    run.config.price_per_million = Some(1000.0);
    run.config.max_cost = Some(0.1);
    let (estimate, limit) = match translate_for(&run, 100, None) {
        Err(Error::TooDear { estimate, limit }) => (estimate, limit),
        other => panic!("{other:?}"),
    };
    assert!(estimate > limit && server.request_count() == 0);

    run.config.max_cost = Some(estimate);
    let out = translate_for(&run, 100, None).unwrap();
    let survey = out.stats.survey;
    assert_eq!(survey.estimated_cost, Some(estimate));
    assert!((out.stats.cost.unwrap() - survey.characters_to_send as f64 / 1000.0).abs() < 1e-9);
}

#[test]
fn repairs_cannot_spend_more_than_the_limit_and_the_next_run_pays_the_rest_only() {
    // Every second answer cannot be attributed, and is paid for all the same.
    let server = Server::start(|number, texts| match number % 2 {
        0 => good(&texts[..1]),
        _ => good(texts),
    });
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(1);
    run.config.price_per_million = Some(1000.0);
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    let open = run.config.open_engine(None).unwrap();
    let options = run.config.options().unwrap();
    let survey = tolmach_translate::survey(&examples(100), &[open.as_ref()], None, &options).unwrap();
    run.config.max_cost = survey.estimated_cost;
    match translate_for(&run, 100, Some(&mut journal)) {
        Err(Error::Budget { limit, spent, stored }) => {
            assert!(spent <= limit * (1.0 + 1e-6) && spent > limit * 0.9, "{spent} of {limit}");
            assert_eq!(stored as u64, journal.count().unwrap());
            assert!(stored > 50, "{stored}");
        }
        other => panic!("{other:?}"),
    }
    let out = translate_for(&run, 100, Some(&mut journal)).unwrap();
    assert_eq!(out.examples.len(), 100);
}

#[test]
fn rates_are_kept_by_all_workers_together() {
    let server = Server::start(|_, texts| good(texts));
    let mut run = Run::against(&server.mock.uri());
    run.config.concurrency = Some(4);
    run.config.requests_per_second = Some(40.0);
    let start = Instant::now();
    let out = translate_for(&run, 80, None).unwrap();
    let least = (out.stats.requests - 1) as f64 / 40.0;
    assert!(
        start.elapsed().as_secs_f64() >= least,
        "{} requests in {:?}",
        out.stats.requests,
        start.elapsed()
    );
    assert_eq!(out.stats.survey.seconds_at_rate_limit, Some(out.stats.requests as f64 / 40.0));

    run.config.requests_per_second = None;
    run.config.characters_per_second = Some(4000.0);
    let start = Instant::now();
    let out = translate_for(&run, 80, None).unwrap();
    let last = 2000.min(out.stats.characters_sent);
    assert!(start.elapsed().as_secs_f64() >= (out.stats.characters_sent - last) as f64 / 4000.0);
    assert!(!run.cancel.load(SeqCst));
}
