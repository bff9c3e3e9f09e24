//! `tolmach inspect` as a user runs it: the real binary on a tiny tokenizer.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// A tokenizer with one token per ASCII character, `<s>` 1 and `</s>` 2, everything else unknown.
fn write_tokenizer(folder: &Path) {
    let special = ["<unk>", "<s>", "</s>"].map(String::from);
    let characters = ('\n'..='~').map(String::from);
    let vocab: Map<String, Value> =
        special.into_iter().chain(characters).zip((0..).map(|id| json!(id))).collect();
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": {"type": "Fuse"},
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}});
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// Run `tolmach inspect DATA --tokenizer . ARGS` in a folder with a tokenizer and this data.
fn inspect(data: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path());
    std::fs::write(folder.path().join("data.jsonl"), data).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder.path())
        .args(["inspect", "data.jsonl", "--tokenizer", "."])
        .args(args)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

const DATA: &str = r#"{"id": "first", "instruction": "Say yes.", "output": "yes"}
{"id": "second", "instruction": "Say no.", "output": "нет"}
"#;

#[test]
fn without_colour_marks_show_what_is_trained() {
    let shown = stdout(&inspect(DATA, &["--template", "alpaca-en-short", "--rows", "1"]));
    assert!(shown.contains("example first: 46 tokens, 4 of them trained"), "{shown}");
    assert!(shown.contains("s|e|:|⏎\n⟦y|e|s|</s>⟧"), "{shown}");
    assert!(shown.contains("1 example: characters that the tokenizer does not know"), "{shown}");
    assert!(!shown.contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn json_is_one_object_with_the_same_figures() {
    let shown =
        stdout(&inspect(DATA, &["--json", "--template", "alpaca-en-short", "--max-seq-length", "45"]));
    let value: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&value["examples"], &value["encoded"]), (&json!(2), &json!(2)));
    assert_eq!((&value["tokens"], &value["trained_tokens"]), (&json!(46 + 45), &json!(8)));
    let lints: Vec<&str> =
        value["lints"].as_array().unwrap().iter().map(|l| l["lint"].as_str().unwrap()).collect();
    assert_eq!(lints, ["over_long", "unknown_tokens"]);
    assert_eq!(value["rows"][0]["tokens"][45], "</s>");
    assert_eq!(value["rows"][0]["trained"][41], false);
    assert_eq!(value["rows"][0]["trained"][42], true);
}

#[test]
fn pre_tokenised_data_is_shown_too() {
    let shown = stdout(&inspect("{\"input_ids\": [1, 60, 61, 2], \"labels\": [-100, -100, 61, 2]}\n", &[]));
    assert!(shown.contains("<s>|C⟦D|</s>⟧"), "{shown}");
    assert!(shown.contains("nothing odd found") && !shown.contains("preamble"), "{shown}");
    let untrained = stdout(&inspect("{\"input_ids\": [1, 60, 2], \"labels\": [-100, -100, -100]}\n", &[]));
    assert!(untrained.contains("none of its labels is trained; left out of training"), "{untrained}");
}

#[test]
fn wrong_input_is_named_and_exits_with_3() {
    let fails = |data: &str, args: &[&str], code: i32, says: &str| {
        let output = inspect(data, args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(says) && output.stdout.is_empty(), "{message}");
    };
    fails(DATA, &["--example", "third"], 3, "no example with the id \"third\"");
    fails(DATA, &["--template", "alpaca-fr"], 2, "alpaca-ru");
    fails("{\"input_ids\": [1, 999], \"labels\": [-100, 999]}", &[], 3, "data.jsonl:1: input_ids[1] is 999");
    fails("{\"instruction\": \"a\"}", &[], 3, "data.jsonl");
    fails("", &[], 3, "data.jsonl");
    let empty = "{\"id\": \"e\", \"instruction\": \"a\", \"output\": \"\"}";
    fails(empty, &["--example", "e"], 3, "its answer is empty");
}
