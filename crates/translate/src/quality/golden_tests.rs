//! Every figure against sacreBLEU's own, of `fixtures/golden/sacrebleu.json`.

use super::{Bleu, BleuTokenizer, Chrf, Compared, Figure, score};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Fixture {
    systems: BTreeMap<String, System>,
    tokenizer_13a: Vec<Tokenized>,
}

#[derive(Deserialize)]
struct System {
    segments: Vec<Segment>,
    chrf: Family,
    chrf_plus_plus: Family,
    bleu: Expected,
    bleu_char: Expected,
    bleu_none: Expected,
}

#[derive(Deserialize)]
struct Segment {
    hypothesis: String,
    references: Vec<String>,
}

#[derive(Deserialize)]
struct Family {
    name: String,
    score: f64,
    signature: String,
    sentences: Vec<f64>,
}

#[derive(Deserialize)]
struct Expected {
    score: f64,
    signature: String,
    precisions: [f64; 4],
    brevity_penalty: f64,
    words: (u64, u64),
}

#[derive(Deserialize)]
struct Tokenized {
    line: String,
    tokens: String,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/sacrebleu.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-9, "{what}: {found} instead of {expected}");
}

#[test]
fn every_line_is_cut_into_the_words_of_mteval_13a() {
    let lines = fixture().tokenizer_13a;
    assert!(lines.len() > 60);
    for Tokenized { line, tokens } in lines {
        assert_eq!(BleuTokenizer::V13a.tokenize(&line), tokens, "{line:?}");
    }
}

#[test]
fn every_figure_and_signature_is_sacrebleus() {
    for (name, system) in fixture().systems {
        let compared = |s: &Segment| Compared {
            id: name.clone(),
            translation: s.hypothesis.clone(),
            references: s.references.clone(),
            ..Compared::default()
        };
        let compared: Vec<Compared> = system.segments.iter().map(compared).collect();
        for (tokenizer, expected) in [
            (BleuTokenizer::V13a, &system.bleu),
            (BleuTokenizer::Char, &system.bleu_char),
            (BleuTokenizer::None, &system.bleu_none),
        ] {
            let scores = score(&compared, Bleu { tokenizer }).unwrap();
            let what = format!("{name}, {}", scores.bleu.signature);
            assert_eq!(scores.bleu.signature, expected.signature);
            assert_eq!(scores.words, expected.words, "{what}");
            close(scores.bleu.score, expected.score, &what);
            close(scores.bleu_parts.brevity_penalty, expected.brevity_penalty, &what);
            for (found, precision) in scores.bleu_parts.precisions.iter().zip(expected.precisions) {
                close(*found, precision, &what);
            }
        }
        let scores = score(&compared, Bleu::default()).unwrap();
        check_family(&scores.chrf, &system.chrf, &system.segments, Chrf::CHRF, &name);
        check_family(
            &scores.chrf_plus_plus,
            &system.chrf_plus_plus,
            &system.segments,
            Chrf::PLUS_PLUS,
            &name,
        );
        for (found, expected) in scores.segments.iter().zip(&system.chrf_plus_plus.sentences) {
            close(*found, *expected, &name);
        }
    }
}

fn check_family(found: &Figure, expected: &Family, segments: &[Segment], metric: Chrf, name: &str) {
    assert_eq!((&found.name, &found.signature), (&expected.name, &expected.signature));
    close(found.score, expected.score, name);
    for (segment, sentence) in segments.iter().zip(&expected.sentences) {
        let references: Vec<&str> = segment.references.iter().map(String::as_str).collect();
        close(metric.count(&segment.hypothesis, &references).score(), *sentence, &segment.hypothesis);
    }
}
