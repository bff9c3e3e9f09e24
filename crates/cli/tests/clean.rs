//! `tolmach clean` as a user runs it: the real binary, real files.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const DATA: &str = r#"[
  {"instruction": "Name a bee.", "input": "", "output": "Maya."},
  {"id": "cat", "instruction": "Name a cat.", "input": "", "output": "Tom.", "topic": "pets"},
  {"instruction": "Draw a cat.", "input": "<noinput", "output": "Meow."},
  {"instruction": "Which word rhymes with cat?", "input": "", "output": "Hat."},
  {"instruction": "name a bee.", "input": "", "output": "Maya."}
]"#;

fn tolmach(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("tolmach").unwrap();
    command.current_dir(folder).env("NO_COLOR", "1").arg("clean").args(arguments);
    command
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    fs::write(path.join("data.json"), DATA).unwrap();
    (folder, path)
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs, expects the exit code, and returns stderr.
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = tolmach(folder, arguments).assert().failure().code(code).get_output().clone();
    assert!(output.stdout.is_empty(), "a failure leaves stdout alone");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn kept_dropped_and_report_are_written_and_told() {
    let (_guard, folder) = folder();
    let run = tolmach(&folder, &["data.json", "-o", "out/clean.jsonl", "--report", "out/report.json"])
        .assert()
        .success();
    let table = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(table.contains("about_language") && table.contains("20.00 %"), "{table}");
    let kept = rows(&fs::read_to_string(folder.join("out/clean.jsonl")).unwrap());
    assert_eq!(kept.len(), 2);
    assert_eq!((&kept[1]["id"], &kept[1]["topic"]), (&Value::from("cat"), &Value::from("pets")));
    let dropped = rows(&fs::read_to_string(folder.join("out/clean.dropped.jsonl")).unwrap());
    let rules: Vec<_> = dropped.iter().map(|row| row["dropped"]["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["markers", "about_language", "duplicates"]);
    let report: Value = serde_json::from_slice(&fs::read(folder.join("out/report.json")).unwrap()).unwrap();
    assert_eq!((&report["total"], &report["kept"], &report["dropped"]), (&5.into(), &2.into(), &3.into()));
}

#[test]
fn outputs_are_not_overwritten_without_force() {
    let (_guard, folder) = folder();
    fs::write(folder.join("clean.dropped.jsonl"), "mine").unwrap();
    let error = fails(&folder, &["data.json", "-o", "clean.jsonl"], 2);
    assert!(error.contains("clean.dropped.jsonl exists") && error.contains("--force"), "{error}");
    assert!(!folder.join("clean.jsonl").exists());
    tolmach(&folder, &["data.json", "-o", "clean.jsonl", "--force"]).assert().success();
    assert_ne!(fs::read_to_string(folder.join("clean.dropped.jsonl")).unwrap(), "mine");
    let error = fails(&folder, &["data.json", "-o", "a.jsonl", "--dropped", "a.jsonl"], 2);
    assert!(error.contains("named for two outputs"), "{error}");
}

#[test]
fn standard_input_to_standard_output() {
    let (_guard, folder) = folder();
    let run = tolmach(&folder, &["-", "-o", "-", "--only", "duplicates", "--quiet"])
        .write_stdin(DATA)
        .assert()
        .success();
    assert_eq!(rows(std::str::from_utf8(&run.get_output().stdout).unwrap()).len(), 4);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no file beside the input");
    let error = fails(&folder, &["data.json", "-o", "-", "--json"], 2);
    assert!(error.contains("both want standard output"), "{error}");
}

#[test]
fn json_is_one_object() {
    let (_guard, folder) = folder();
    let run = tolmach(&folder, &["data.json", "-o", "c.jsonl.gz", "--json"]).assert().success();
    let report: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!((&report["kept"], &report["dropped_file"]), (&2.into(), &"c.dropped.jsonl".into()));
    assert_eq!(fs::read(folder.join("c.jsonl.gz")).unwrap()[..2], [0x1f, 0x8b]);
}

#[test]
fn rules_are_switched_and_tuned_by_flags_and_recipe() {
    let (_guard, folder) = folder();
    let kept = |arguments: &[&str]| {
        let all = [&["data.json", "-o", "k.jsonl", "--json", "--force"], arguments].concat();
        let run = tolmach(&folder, &all).assert().success();
        serde_json::from_slice::<Value>(&run.get_output().stdout).unwrap()["kept"].clone()
    };
    assert_eq!(kept(&["--without", "markers,about-language"]), 4);
    assert_eq!(kept(&["--only", "markers"]), 4);
    assert_eq!(kept(&["--max-field-chars", "11", "--only", "too_long"]), 4);
    assert_eq!(kept(&["--set", "too_long.max_field_chars=11", "--only", "too_long"]), 4);
    assert_eq!(kept(&["--set", "about_language={phrases=[\"bee\"]}"]), 1);
    fs::write(folder.join("recipe.toml"), "[base]\nmodel = \"x\"\n[clean]\nmarkers = false\n").unwrap();
    assert_eq!(kept(&["--config", "recipe.toml"]), 3);
    assert_eq!(kept(&["--config", "recipe.toml", "--set", "markers=true"]), 2, "flags win over the file");
}

#[test]
fn wrong_settings_are_usage_errors() {
    let (_guard, folder) = folder();
    let error =
        |arguments: &[&str]| fails(&folder, &[&["data.json", "-o", "k.jsonl"], arguments].concat(), 2);
    assert!(error(&["--without", "about_langage"]).contains("did you mean about_language?"));
    assert!(error(&["--similarity", "2"]).contains("near_duplicates.similarity = 2"));
    assert!(error(&["--set", "code.min_scor=1"]).contains("unknown field `min_scor`"));
    assert!(error(&["--set", "code"]).contains("expected KEY=VALUE"));
    fs::write(folder.join("recipe.toml"), "[base]\n").unwrap();
    assert!(error(&["--config", "recipe.toml"]).contains("has no section [clean]"));
}

#[test]
fn bad_input_is_named() {
    let (_guard, folder) = folder();
    let error = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap();
        let message = fails(&folder, &[name, "-o", "out.jsonl"], 3);
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(fails(&folder, &["missing.json", "-o", "out.jsonl"], 3).contains("cannot open missing.json"));
    assert!(error("empty.json", b"").contains("no examples"));
    assert!(error("cut.json", &DATA.as_bytes()[..100]).contains("line 3"));
    assert!(
        error("names.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}")
            .contains("rename `prompt` to `instruction`")
    );
    assert!(error("latin1.jsonl", b"{\"text\": \"caf\xe9\"}").contains("not UTF-8"));
    assert!(!folder.join("out.jsonl").exists());
}

#[test]
fn an_empty_result_names_the_rules() {
    let (_guard, folder) = folder();
    let error = fails(&folder, &["data.json", "-o", "out.jsonl", "--max-field-chars", "3"], 3);
    assert!(error.contains("nothing is left of the 5 examples"), "{error}");
    assert!(error.contains("too_long 4, markers 1") && error.contains("--without too_long"), "{error}");
    assert!(!folder.join("out.jsonl").exists());
}

#[test]
fn rules_are_listed_without_input() {
    let (_guard, folder) = folder();
    let run = tolmach(&folder, &["--list-rules"]).assert().success();
    let list = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(list.contains("too_long = { max_field_chars = 2000, max_total_chars = 3000 }"), "{list}");
    assert_eq!(list.lines().filter(|line| !line.starts_with(' ')).count(), 12);
}
