//! `tolmach eval` as a user runs it: the real binary on a tiny random model.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod tiny;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use tiny::{stderr, stdout, tolmach};

const PAIR: [&str; 9] =
    ["eval", "--base", "base", "--adapter", "adapter", "--data", "ru.jsonl", "--max-new-tokens", "12"];

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    let rows = |all: &[(&str, &str)]| {
        all.iter().map(|(i, o)| format!("{}\n", json!({"instruction": i, "output": o}))).collect::<String>()
    };
    let ru = rows(&[("Назови столицу Франции.", "Париж"), ("Кот?", "Да."), ("Сколько?", "3")]);
    let en = rows(&[("Name the capital of France.", "Paris"), ("A cat?", "Yes.")]);
    std::fs::write(folder.path().join("ru.jsonl"), ru).unwrap();
    std::fs::write(folder.path().join("en.jsonl"), en).unwrap();
    std::fs::write(folder.path().join("text.jsonl"), "{\"text\": \"Кот сидел на ковре.\"}\n").unwrap();
    folder
}

fn eval(folder: &Path, args: &[&str]) -> Output {
    tolmach(folder, &[&PAIR, args].concat(), "")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
}

#[test]
fn the_card_has_both_sides_the_control_and_the_files() {
    let folder = folder();
    let args =
        ["--source-data", "en.jsonl", "--language", "ru", "--text", "text.jsonl", "-o", "card", "--json"];
    let output = eval(folder.path(), &args);
    stdout(&output);
    let card = json(&output);
    for side in ["base", "tuned"] {
        let side = &card[side];
        assert_eq!((&side["examples"], &side["source_examples"]), (&json!(3), &json!(2)));
        for measure in [
            "exact_match",
            "bits_per_byte",
            "source_exact_match",
            "source_bits_per_byte",
            "text_bits_per_byte",
            "stop_rate",
            "repetition_rate",
        ] {
            assert!(side[measure].is_number(), "{measure}: {side}");
        }
        assert!(side["intervals"]["exact_match"][1].as_f64().unwrap() > 0.3, "3 replies prove little");
    }
    let control = &card["control"];
    assert_eq!(control["zero_adapter_equals_base"], true);
    assert_eq!(control["base_side_equals_base"], true);
    assert_eq!(control["tuned_differs_from_base"], true);
    assert_eq!((&card["template"], &card["source_template"]), (&json!("alpaca-ru"), &json!("alpaca-en")));
    assert!(card["seconds"].is_number());

    let saved: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("card/card.json")).unwrap()).unwrap();
    assert_eq!(saved["tuned"], card["tuned"]);
    let markdown = std::fs::read_to_string(folder.path().join("card/card.md")).unwrap();
    assert!(markdown.contains("| measure | base | tuned |") && markdown.contains("Назови столицу"));
    let replies = std::fs::read_to_string(folder.path().join("card/replies.jsonl")).unwrap();
    assert_eq!(replies.lines().count(), 5);

    let again = eval(folder.path(), &["-o", "card"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert!(eval(folder.path(), &["-o", "card", "--force"]).status.success());
}

#[test]
fn unsloth_4503_the_base_side_is_what_the_base_alone_scores() {
    let folder = folder();
    let beside = json(&eval(folder.path(), &["--json"]));
    let alone = [
        "eval",
        "--base",
        "base",
        "--data",
        "ru.jsonl",
        "--max-new-tokens",
        "12",
        "--template",
        "alpaca-ru",
        "--json",
    ];
    let alone = json(&tolmach(folder.path(), &alone, ""));
    assert_eq!(alone["base"], beside["base"]);
    assert_eq!(alone["tuned"], Value::Null);
    assert_ne!(beside["tuned"]["bits_per_byte"], beside["base"]["bits_per_byte"]);
}

#[test]
fn figures_do_not_depend_on_the_number_of_threads() {
    let folder = folder();
    let run = |threads| {
        let mut card =
            json(&eval(folder.path(), &["--threads", threads, "--json", "--source-data", "en.jsonl"]));
        card["seconds"] = Value::Null;
        card
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn a_bound_that_is_not_met_fails_after_the_card_is_printed() {
    let folder = folder();
    let failed = eval(folder.path(), &["--minimum", "exact_match=0.5", "-o", "card", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        stderr(&failed).contains("exact_match is 0.0000, below the minimum of 0.5"),
        "{}",
        stderr(&failed)
    );
    assert_eq!(json(&failed)["failures"].as_array().unwrap().len(), 1);
    assert!(folder.path().join("card/card.md").exists());
    let met = eval(folder.path(), &["--minimum", "exact_match=0", "--maximum", "bits_per_byte=99"]);
    assert!(stdout(&met).contains("exact match, %"));
    let unknown = eval(folder.path(), &["--minimum", "exactness=0.5"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("exact_match"));
}

#[test]
fn bad_input_is_named() {
    let folder = folder();
    let run = |args: &[&str]| {
        let output = tolmach(folder.path(), args, "");
        (output.status.code().unwrap(), stderr(&output))
    };
    std::fs::write(folder.path().join("bad.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    let base = ["eval", "--base", "base", "--data", "ru.jsonl"];
    for (args, exit, says) in [
        (&["eval", "--base", "base", "--data", "absent.jsonl"][..], 3, "absent.jsonl"),
        (&["eval", "--base", "base", "--data", "bad.jsonl"], 3, "row 1"),
        (&["eval", "--base", "absent", "--data", "ru.jsonl"], 3, "absent"),
        (&[&base[..], &["--language", "xx"]].concat(), 2, "ISO 639-1"),
        (
            &[&base[..], &["--max-new-tokens", "400"]].concat(),
            2,
            &format!("context has {} tokens", tiny::CONTEXT),
        ),
        (&[&base[..], &["--max-new-tokens", "399"]].concat(), 0, "3 prompts were left out"),
        (&[&base[..], &["--limit", "0"]].concat(), 2, "limit = 0"),
        (&[&base[..], &["--minimum", "exact_match"]].concat(), 2, "NAME=VALUE"),
    ] {
        let (code, told) = run(args);
        assert!(code == exit && told.contains(says), "{args:?}: exit {code}: {told}");
    }
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let folder = folder();
    // Another base of the same shape: one weight of it is different.
    let path = folder.path().join("base/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = eval(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("another base model"), "{}", stderr(&output));
}
