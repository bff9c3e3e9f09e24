//! `tolmach chat` as a user runs it: the real binary on a tiny random model.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod tiny;

use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{stderr, stdout, tolmach};
use tolmach_tokenize::Tokenizer;

const ADAPTER: [&str; 5] = ["chat", "--base", "base", "--adapter", "adapter"];

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    folder
}

fn chat(folder: &Path, args: &[&str], input: &str) -> std::process::Output {
    tolmach(folder, &[&ADAPTER, args].concat(), input)
}

fn replies(output: &std::process::Output) -> Vec<Value> {
    let value: Value = serde_json::from_str(&stdout(output)).expect("one JSON object");
    value["replies"].as_array().unwrap().clone()
}

/// The reply of one question, by whatever side `args` name.
fn reply(folder: &Path, args: &[&str]) -> String {
    let output = tolmach(folder, &[args, &["--prompt", "Кот?", "--max-new-tokens", "40"]].concat(), "");
    stdout(&output).strip_suffix('\n').unwrap().to_string()
}

#[test]
fn text_generation_webui_1603_the_stream_is_the_whole_decode() {
    let folder = folder();
    let mut tokens = 0;
    for seed in ["1", "2", "3", "4"] {
        // A random model at temperature 1: mostly halves of characters.
        let args = ["--prompt", "Кот?", "--temperature", "1", "--seed", seed, "--max-new-tokens", "120"];
        let streamed = stdout(&chat(folder.path(), &args, ""));
        let whole = &replies(&chat(folder.path(), &[&args[..], &["--json"]].concat(), ""))[0];
        tokens += whole["tokens"].as_u64().unwrap();
        assert_eq!(streamed.trim_end_matches('\n'), whole["reply"].as_str().unwrap().trim_end_matches('\n'));
    }
    assert!(tokens > 200, "{tokens}");
    // And of a text that is whole, no character is broken: what the tokenizer takes apart comes back.
    let tokenizer = Tokenizer::load(&folder.path().join("base")).unwrap();
    let ids = tokenizer.encode("Щука ест 漢字.", false).unwrap().ids;
    let mut stream = tolmach_tokenize::DecodeStream::new(&tokenizer);
    let mut text: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
    text.extend(stream.finish());
    assert_eq!(text, "Щука ест 漢字.");
}

#[test]
fn unsloth_4503_compare_labels_what_really_ran() {
    let folder = folder();
    let base = reply(folder.path(), &["chat", "--base", "base", "--template", "alpaca-ru"]);
    let tuned = reply(folder.path(), &ADAPTER);
    assert_ne!(base, tuned);
    let both = reply(folder.path(), &[&ADAPTER[..], &["--compare"]].concat());
    assert_eq!(both, format!("base (base):\n{base}\n\ntuned (adapter):\n{tuned}\n"));

    let args = ["--compare", "--json", "--prompt", "Кот?", "--max-new-tokens", "40"];
    let told = replies(&chat(folder.path(), &args, ""));
    let sides: Vec<_> =
        told.iter().map(|r| (r["side"].as_str().unwrap(), r["reply"].as_str().unwrap())).collect();
    assert_eq!(sides, [("base", base.as_str()), ("tuned", tuned.as_str())]);
}

#[test]
fn questions_come_from_standard_input_one_per_line() {
    let folder = folder();
    let input = "Кот?\n\n/base\nКот?\n/tuned\nКот?\n/exit\nне спрошено\n";
    let output = chat(folder.path(), &["--max-new-tokens", "10", "--json"], input);
    let told = replies(&output);
    let sides: Vec<_> = told.iter().map(|r| r["side"].as_str().unwrap()).collect();
    assert_eq!(sides, ["tuned", "base", "tuned"]);
    assert_eq!(told[0]["reply"], told[2]["reply"], "each question stands alone");
    assert_ne!(told[0]["reply"], told[1]["reply"]);
    assert!(!stderr(&output).contains("> "), "no prompt for a pipe");
}

#[test]
fn a_conversation_is_remembered_and_forgotten() {
    let folder = folder();
    let input = "Кот?\nДа?\n/reset\nДа?\n";
    let told = replies(&chat(folder.path(), &["--conversation", "--max-new-tokens", "5", "--json"], input));
    let tokens: Vec<_> = told.iter().map(|r| r["prompt_tokens"].as_u64().unwrap()).collect();
    assert!(tokens[1] > tokens[0] + 5 && tokens[2] < tokens[1], "{tokens:?}");
    let alone = replies(&chat(folder.path(), &["--max-new-tokens", "5", "--json"], "Да?\n"));
    assert_eq!(told[2]["reply"], alone[0]["reply"]);
    assert_eq!(told[2]["prompt_tokens"], alone[0]["prompt_tokens"]);
}

#[test]
fn save_writes_what_was_said_and_overwrites_nothing() {
    let folder = folder();
    let args = ["--max-new-tokens", "5", "--compare"];
    stdout(&chat(folder.path(), &args, "Кот?\nДа?\n/save said.jsonl\n"));
    let saved = tolmach_corpus::read_examples(&folder.path().join("said.jsonl")).unwrap();
    let asked: Vec<_> =
        saved.iter().map(|e| (e.extra["side"].as_str().unwrap(), e.body.prompt_text())).collect();
    let expected = [("base", "Кот?"), ("base", "Да?"), ("tuned", "Кот?"), ("tuned", "Да?")];
    assert_eq!(asked, expected.map(|(side, q)| (side, q.to_string())));
    let again = chat(folder.path(), &args, "Кот?\n/save said.jsonl\n");
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("said.jsonl exists"));
}

#[test]
fn statistics_and_templates() {
    let folder = folder();
    let verbose = chat(folder.path(), &["--prompt", "Кот?", "--max-new-tokens", "7", "-v"], "");
    let told = stderr(&verbose);
    assert!(told.contains("tuned: 7 tokens") && told.contains("tokens/s, first token after"), "{told}");

    let tokens = |args: &[&str]| {
        let args = [args, &["--prompt", "Кот?", "--json", "--max-new-tokens", "1"]].concat();
        replies(&chat(folder.path(), &args, ""))[0]["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(&[]), tokens(&["--template", "alpaca-ru"]), "the adapter's own template");
    assert_ne!(tokens(&[]), tokens(&["--template", "alpaca-en"]));
    assert!(tokens(&["--template", "none"]) < 10);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_silent_chat() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder.path())
        .args(["chat", "--base", "base", "--max-new-tokens", "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"a\n").unwrap();
    // The reply is over when its line is.
    let mut line = Vec::new();
    BufReader::new(child.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn bad_input_is_named() {
    let folder = folder();
    let run = |args: &[&str], input: &str| {
        let output = tolmach(folder.path(), args, input);
        (output.status.code().unwrap(), stderr(&output))
    };
    let long = "кот ".repeat(2 * tiny::CONTEXT);
    let base = ["chat", "--base", "base"];
    for (args, input, exit, says) in [
        (&[&base[..], &["--prompt", &long]].concat()[..], "", 3, "the model's context is 400"),
        (&[&base[..], &["--prompt", " "]].concat(), "", 2, "--prompt is empty"),
        (&base, "/tuned\n", 2, "there is no adapter"),
        (&base, "/nonsense\n", 2, "there is no command /nonsense"),
        (&["chat", "--base", "absent", "--prompt", "a"], "", 3, "absent"),
        (&["chat", "--base", "base", "--adapter", "absent", "--prompt", "a"], "", 3, "adapter_config.json"),
        (&["chat", "--base", "base", "--template", "alpaka"], "", 2, "alpaca-ru"),
        (&["chat", "--base", "base", "--temperature", "-1"], "", 2, "--temperature"),
    ] {
        let (code, told) = run(args, input);
        assert!(code == exit && told.contains(says), "{args:?}: exit {code}: {told}");
    }
    std::fs::write(folder.path().join("adapter/adapter_model.safetensors"), b"cut").unwrap();
    let (code, told) = run(&[&ADAPTER[..], &["--prompt", "a"]].concat(), "");
    assert!(code == 3 && told.contains("adapter_model.safetensors") && told.contains("hint:"), "{told}");
}
