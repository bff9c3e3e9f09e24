//! `tolmach merge` and `tolmach export`, through the real binary.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod tiny;

use serde_json::Value;
use std::path::Path;
use tiny::{stderr, stdout, tolmach, write_models};

fn models() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_models(dir.path());
    dir
}

/// `base` and `adapter` as the input of a command.
fn with_adapter<'a>(command: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [command, &["--base", "base", "--adapter", "adapter"], rest].concat()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_merged_model_replies_as_base_and_adapter_do() {
    let dir = models();
    let output = tolmach(dir.path(), &with_adapter(&["merge"], &["-o", "merged", "--json"]), "");
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["certificate"]["failures"], serde_json::json!([]));
    assert_eq!(json["certificate"]["base"], "base");
    assert!(stderr(&output).contains("proven on 64 texts"), "{}", stderr(&output));
    let reply = |model: &[&str]| {
        let prompt = ["--prompt", "Назови кота", "--max-new-tokens", "24"];
        stdout(&tolmach(dir.path(), &[&["chat"], model, &prompt].concat(), ""))
    };
    // Greedy, with the template that the adapter was trained with: it went along.
    assert_eq!(reply(&["--base", "merged"]), reply(&["--base", "base", "--adapter", "adapter"]));
    assert_ne!(reply(&["--base", "merged"]), reply(&["--base", "base"]));
}

#[test]
fn an_exported_gguf_file_replies_as_base_and_adapter_do() {
    let dir = models();
    let export = ["-o", "model.gguf", "--type", "f32"];
    stdout(&tolmach(dir.path(), &with_adapter(&["export", "gguf"], &export), ""));
    let reply = |model: &[&str]| -> Value {
        let prompt = ["--prompt", "Назови кота", "--max-new-tokens", "24", "--json"];
        serde_json::from_str(&stdout(&tolmach(dir.path(), &[&["chat"], model, &prompt].concat(), "")))
            .unwrap()
    };
    let (ours, file) = (reply(&["--base", "base", "--adapter", "adapter"]), reply(&["--base", "model.gguf"]));
    assert_eq!(file["replies"][0]["reply"], ours["replies"][0]["reply"]);
    // The file holds the template that the adapter was trained with.
    assert_eq!((&file["template"], &ours["template"]), (&"alpaca-ru".into(), &"alpaca-ru".into()));

    let whole = std::fs::read(dir.path().join("model.gguf")).unwrap();
    std::fs::write(dir.path().join("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    for (args, said) in [
        (vec!["chat", "--base", "cut.gguf", "--prompt", "x"], "truncated: copy or download it again"),
        (vec!["chat", "--base", "none.gguf", "--prompt", "x"], "none.gguf"),
        (vec!["merge", "--base", "model.gguf", "-o", "x"], "begin with the folder"),
        (vec!["train", "--base", "model.gguf", "--data", "x", "-o", "y"], "all else begins with the folder"),
    ] {
        let output = tolmach(dir.path(), &args, "");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn what_is_there_stays_unless_forced() {
    let dir = models();
    let gguf =
        |rest: &[&str]| tolmach(dir.path(), &with_adapter(&["export", "gguf", "-o", "model.gguf"], rest), "");
    stdout(&gguf(&["--type", "q8_0"]));
    let first = std::fs::read(dir.path().join("model.gguf")).unwrap();
    let refused = gguf(&["--type", "f16"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    assert!(std::fs::read(dir.path().join("model.gguf")).unwrap() == first);
    stdout(&gguf(&["--type", "f16", "--force"]));
    assert!(std::fs::read(dir.path().join("model.gguf")).unwrap() != first);
    assert_eq!(names(dir.path()), ["adapter", "base", "model.gguf", "model.gguf.certificate.json"]);
}

#[test]
fn wrong_input_and_usage_are_named() {
    let dir = models();
    for (args, code, said) in [
        (with_adapter(&["merge"], &["-o", "base"]), 2, "base model's own folder"),
        (with_adapter(&["merge"], &["-o", "."]), 2, "not a model folder"),
        (with_adapter(&["merge"], &["-o", "x", "--dtype", "q8_0"]), 2, "export gguf"),
        (with_adapter(&["export", "gguf"], &["-o", "x.gguf", "--type", "q2"]), 2, "q4_k"),
        (with_adapter(&["export", "gguf-lora"], &["-o", "x.gguf"]), 2, "embed_tokens"),
        (vec!["merge", "--base", "base", "--adapter", "none", "-o", "x"], 3, "adapter_config.json"),
        (vec!["merge", "--base", "none", "-o", "x"], 3, "none"),
        (vec!["export", "gguf-lora", "--base", "base", "-o", "x.gguf"], 2, "--adapter"),
    ] {
        let output = tolmach(dir.path(), &args, "");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
        assert_eq!(names(dir.path()), ["adapter", "base"], "{args:?}");
    }
}

#[test]
fn a_truncated_adapter_leaves_nothing() {
    let dir = models();
    let path = dir.path().join("adapter/adapter_model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let output = tolmach(dir.path(), &with_adapter(&["export", "hf"], &["-o", "merged"]), "");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("adapter_model.safetensors"), "{}", stderr(&output));
    assert_eq!(names(dir.path()), ["adapter", "base"]);
}
