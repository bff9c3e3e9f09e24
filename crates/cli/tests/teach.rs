//! `tolmach teach` as a user runs it: the real binary, a tiny random model, a few dozen examples.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod tiny;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tiny::{stderr, stdout, tolmach};

const EXAMPLES: usize = 40;
const STAGES: [&str; 4] = ["01-clean", "02-translate", "03-adapter", "04-card"];
const ADAPTER: &str = "run/03-adapter/adapter_model.safetensors";

const RECIPE: &str = r#"
[data]
path = "data.jsonl"
to = "ru"
validation_share = 0.2
replay_share = 0.25

[translate]
engine = "memory"
memory = "memory.jsonl"

[base]
model = "base"
template = "alpaca-ru-short"
source_template = "alpaca-en-short"

[lora]
rank = 2
alpha = 4

[train]
epochs = 2
step_examples = 8
learning_rate = 1e-2
save_every = 1

[eval]
limit = 3
max_new_tokens = 4
"#;

/// `r.toml` and everything that it names. One more example is garbage, one has no translation.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_models(dir.path());
    let fruits = ["apple", "pear", "plum", "cherry", "melon", "grape", "fig", "lemon"];
    let question =
        |i: usize| format!("Where does the {} of farm {} grow?", fruits[i % fruits.len()], 100 + i);
    let answer = |i: usize| format!("It grows behind house {}.", 200 + i);
    let line = |value: Value| value.to_string() + "\n";
    let row = |i: usize| {
        line(json!({"id": format!("r{i}"), "instruction": question(i), "input": "", "output": answer(i)}))
    };
    let mut data: String = (0..EXAMPLES).map(row).collect();
    data +=
        &line(json!({"id": "dirt", "instruction": "Say what is written here.", "input": "", "output": ""}));
    data += &line(
        json!({"id": "unknown", "instruction": "Name one city in the north.", "output": "Oslo is one."}),
    );
    let pair = |source: String, target: String| line(json!({"source": source, "target": target}));
    let memory: String = (0..EXAMPLES)
        .map(|i| {
            // Digits are the source's: the translation is checked.
            pair(question(i), format!("Где растёт плод с фермы {}?", 100 + i))
                + &pair(answer(i), format!("Он растёт за домом {}.", 200 + i))
        })
        .collect();
    for (name, text) in [("r.toml", RECIPE), ("data.jsonl", &data), ("memory.jsonl", &memory)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn teach(folder: &Path, args: &[&str]) -> Output {
    tolmach(folder, &[&["teach", "r.toml", "-o", "run"], args].concat(), "")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)))
}

/// The stages that a run did: each is announced with its reason.
fn stages_done(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", stderr(output));
    let stages = ["1 clean: ", "2 translate: ", "3 train: ", "4 eval: "];
    let done = |stage: &&str| stderr(output).lines().any(|line| line.starts_with(stage));
    stages.iter().filter(|stage| done(stage)).map(|stage| stage[2..].replace(": ", "")).collect()
}

fn fails(output: &Output, code: i32, says: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for text in says {
        assert!(message.contains(text), "no {text:?} in: {message}");
    }
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn rows(folder: &Path, name: &str) -> Vec<Value> {
    let text = String::from_utf8(read(folder, name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every file of a run with its content.
fn contents(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = STAGES.iter().map(|stage| run.join(stage)).chain([run.to_path_buf()]);
    let files =
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn all_stages_run_and_a_second_run_does_nothing() {
    let dir = folder();
    let output = teach(dir.path(), &[]);
    let shown = stdout(&output);
    assert!(shown.contains("exact match, %") && shown.contains("the tuned model replies"), "{shown}");
    let said = stderr(&output);
    assert!(said.contains("run/03-adapter") && said.contains("run/04-card/card.md"), "{said}");
    assert_eq!(stages_done(&output), ["clean", "translate", "train", "eval"]);

    let record: Value = serde_json::from_slice(&read(dir.path(), "run/run.json")).unwrap();
    assert_eq!(record["seeds"]["train"], 42);
    assert_eq!(
        record["stages"]["clean"]["summary"],
        format!("{} of {} examples kept", EXAMPLES + 1, EXAMPLES + 2)
    );
    assert!(record["inputs"]["data.jsonl"].is_string(), "{record}");
    let resolved = String::from_utf8(read(dir.path(), "run/recipe.resolved.toml")).unwrap();
    assert!(resolved.contains("step_examples = 8") && resolved.contains("weight_decay"), "{resolved}");

    let before = contents(&dir.path().join("run"));
    let again = teach(dir.path(), &["--json"]);
    assert!(stages_done(&again).is_empty(), "{}", stderr(&again));
    assert_eq!(contents(&dir.path().join("run")), before);
    let value = json_of(&again);
    for side in ["base", "tuned"] {
        assert!(value[side]["bits_per_byte"].is_number() && value[side]["source_bits_per_byte"].is_number());
    }
    assert_eq!(value["adapter"], "run/03-adapter");

    // The resolved recipe is the same run.
    let args = ["teach", "run/recipe.resolved.toml", "-o", "run", "--dry-run", "--json"];
    let plan = json_of(&tolmach(dir.path(), &args, ""));
    assert!(plan["stages"].as_array().unwrap().iter().all(|stage| stage["state"] == "done"), "{plan}");
}

#[test]
fn what_is_held_out_is_held_out_in_both_languages() {
    let dir = folder();
    stdout(&teach(dir.path(), &[]));
    let ids = |name: &str| -> BTreeSet<String> {
        rows(dir.path(), name).iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
    };
    let validation = ids("run/02-translate/validation.jsonl");
    assert!(!validation.is_empty());
    assert!(ids("run/02-translate/train.jsonl").is_disjoint(&validation));
    assert!(ids("run/02-translate/replay.jsonl").is_disjoint(&validation));
    assert_eq!(ids("run/02-translate/validation.source.jsonl"), validation);
    let replay = &rows(dir.path(), "run/02-translate/replay.jsonl")[0];
    assert!(replay["instruction"].as_str().unwrap().is_ascii(), "replayed in the source language: {replay}");
    let train = &rows(dir.path(), "run/02-translate/train.jsonl")[0];
    assert!(train["instruction"].as_str().unwrap().starts_with("Где"), "{train}");
    assert_eq!(rows(dir.path(), "run/02-translate/examples.jsonl.review.jsonl")[0]["id"], "unknown");
}

#[test]
fn a_changed_recipe_is_run_again_from_the_right_stage() {
    let dir = folder();
    stdout(&teach(dir.path(), &[]));
    let done = |args: &[&str], reason: &str| {
        let output = teach(dir.path(), args);
        let done = stages_done(&output);
        assert!(stderr(&output).contains(reason), "no {reason:?} in: {}", stderr(&output));
        done
    };
    let eval = "--set=eval.max_new_tokens=3";
    assert_eq!(done(&[eval], "[eval] max_new_tokens: 4 then, 3 now"), ["eval"]);
    let train = "--set=train.epochs=1";
    assert_eq!(done(&[eval, train], "[train] epochs: 2 then, 1 now"), ["train", "eval"]);
    // What changes no result repeats nothing.
    let idle = ["--set=train.save_every=2", "--set=clean.report_examples=1", "--threads=1"];
    assert!(done(&[&[eval, train], &idle[..]].concat(), "done").is_empty());
    // A rule that drops nothing more brings the same examples: nothing after it is done again.
    let clean = "--set=clean.too_long.max_total_chars=900";
    assert_eq!(done(&[eval, train, clean], "[clean] too_long.max_total_chars"), ["clean"]);
    let split = "--set=data.split_seed=1";
    assert_eq!(done(&[eval, train, clean, split], "[data] split_seed: 0 then, 1 now")[0], "translate");
    // Content counts, not names or times.
    let memory = String::from_utf8(read(dir.path(), "memory.jsonl")).unwrap();
    std::fs::write(dir.path().join("memory.jsonl"), &memory).unwrap();
    assert!(done(&[eval, train, clean, split], "done").is_empty());
    std::fs::write(dir.path().join("memory.jsonl"), memory.replace("за домом", "у дома")).unwrap();
    let again = done(&[eval, train, clean, split], "the translation memory changed");
    assert_eq!(again, ["translate", "train", "eval"]);
    // A result that was tampered with is made again.
    std::fs::write(dir.path().join(ADAPTER), "").unwrap();
    let again = done(&[eval, train, clean, split], "adapter_model.safetensors is missing or was changed");
    assert_eq!(again[0], "train");
    assert_eq!(done(&[eval, train, clean, split, "--from", "train"], "--from"), ["train", "eval"]);
}

/// Start a run, kill it as soon as `file` is there, and say whether it was killed in time.
fn kill_at(folder: &Path, file: &str) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder)
        .args(["teach", "r.toml", "-o", "run", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !folder.join(file).exists() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{file} never came");
        std::hint::spin_loop();
    }
    let in_time = child.try_wait().unwrap().is_none();
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    in_time
}

#[test]
fn killed_in_any_stage_and_run_again_it_gives_the_same_bytes() {
    let whole = folder();
    stdout(&teach(whole.path(), &[]));
    let (mut killed, mut resumed) = (0, 0);
    let moments = STAGES.map(|stage| format!("run/{stage}/begun.json")).to_vec();
    let more = ["run/01-clean/examples.jsonl", "run/03-adapter/training-state.safetensors", ADAPTER];
    for moment in moments.into_iter().chain(more.map(String::from)) {
        let dir = folder();
        killed += usize::from(kill_at(dir.path(), &moment));
        let output = teach(dir.path(), &["--json"]);
        assert!(output.status.success(), "{moment}: {}", stderr(&output));
        resumed += usize::from(stderr(&output).contains("going on after step"));
        assert_eq!(read(dir.path(), ADAPTER), read(whole.path(), ADAPTER), "killed at {moment}");
        let mut value = json_of(&output);
        let mut card: Value = serde_json::from_slice(&read(whole.path(), "run/04-card/card.json")).unwrap();
        assert_eq!(value["tuned"].take(), card["tuned"].take(), "killed at {moment}");
    }
    assert!(killed >= 4 && resumed >= 1, "{killed} killed in time, {resumed} resumed");
}

#[test]
fn ctrl_c_saves_and_the_same_command_goes_on() {
    let whole = folder();
    stdout(&teach(whole.path(), &["--set", "train.epochs=20"]));
    let dir = folder();
    let args = ["teach", "r.toml", "-o", "run", "--threads", "1", "--set", "train.epochs=20"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
    command.current_dir(dir.path()).args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    while !dir.path().join("run/03-adapter/training-state.safetensors").exists() {
        std::hint::spin_loop();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let stopped = child.wait_with_output().unwrap();
    fails(&stopped, 130, &["the training state is saved", "run the same command again"]);
    let output = teach(dir.path(), &["--set", "train.epochs=20"]);
    assert!(stderr(&output).contains("going on after step"), "{}", stderr(&output));
    assert_eq!(read(dir.path(), ADAPTER), read(whole.path(), ADAPTER));
}

#[test]
fn a_training_cut_off_under_other_settings_is_not_gone_on_with() {
    let dir = folder();
    let state = "run/03-adapter/training-state.safetensors";
    // A finished run leaves its state; the next one, with other settings, is killed before its own first.
    stdout(&teach(dir.path(), &[]));
    let first = read(dir.path(), ADAPTER);
    let recipe = RECIPE.replace("learning_rate = 1e-2", "learning_rate = 2e-2");
    std::fs::write(dir.path().join("r.toml"), recipe).unwrap();
    kill_at(dir.path(), "run/03-adapter/begun.json");
    let output = teach(dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_ne!(read(dir.path(), ADAPTER), first);
    assert!(dir.path().join(state).exists());
}

#[test]
fn nothing_left_after_cleaning_names_the_rules() {
    let dir = folder();
    let dirt = "{\"instruction\": \"Say it.\", \"output\": \"\"}\n{\"instruction\": \"Go.\", \"output\": \"<noinput>\"}\n";
    std::fs::write(dir.path().join("data.jsonl"), dirt).unwrap();
    let output = teach(dir.path(), &[]);
    fails(&output, 3, &["nothing is left of the 2 examples", "empty", "markers"]);
    assert!(dir.path().join("run/01-clean/dropped.jsonl").exists(), "they can be looked at");
}

#[test]
fn bad_input_is_named() {
    let dir = folder();
    fails(
        &teach(dir.path(), &["--set", "train.epoch=2"]),
        2,
        &["no setting `epoch`", "did you mean `epochs`?"],
    );
    fails(&teach(dir.path(), &["--set", "base.model=nowhere"]), 3, &["[base] model", "nowhere"]);
    fails(&teach(dir.path(), &["--set", "data.path=nowhere.jsonl"]), 3, &["[data] path", "nowhere.jsonl"]);
    fails(&tolmach(dir.path(), &["teach", "nowhere.toml"], ""), 3, &["nowhere.toml"]);
    std::fs::write(dir.path().join("r.toml"), RECIPE.replace("rank = 2", "rnak = 2")).unwrap();
    fails(&teach(dir.path(), &[]), 2, &["r.toml:18: [lora] there is no setting `rnak`", "`rank`"]);
    assert!(!dir.path().join("run").exists(), "nothing is begun before the recipe is valid");
    std::fs::write(dir.path().join("r.toml"), RECIPE).unwrap();
    let long = teach(dir.path(), &["--set", "train.max_seq_length=8"]);
    fails(&long, 3, &["longer than the maximum of 8 tokens", "max_seq_length in [train]"]);
    let few = teach(dir.path(), &["--set", "data.validation_share=0.000001"]);
    fails(&few, 3, &["validation_share", "held-out side"]);
}

#[test]
fn a_folder_in_use_or_of_something_else_is_left_alone() {
    let dir = folder();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::write(dir.path().join("run/mine"), "").unwrap();
    fails(&teach(dir.path(), &[]), 2, &["no run of tolmach", "--force"]);
    stdout(&teach(dir.path(), &["--force"]));
    let lock = std::fs::File::open(dir.path().join("run/.lock")).unwrap();
    lock.lock().unwrap();
    fails(&teach(dir.path(), &[]), 2, &["another tolmach is working in run"]);
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let dir = folder();
    let plan = json_of(&teach(dir.path(), &["--dry-run", "--json"]));
    assert!(!dir.path().join("run").exists());
    assert_eq!(plan["stages"][0]["what"], format!("{} examples of data.jsonl", EXAMPLES + 2));
    stdout(&teach(dir.path(), &[]));
    let before = contents(&dir.path().join("run"));
    let plan = json_of(&teach(dir.path(), &["--dry-run", "--json", "--set", "train.epochs=1"]));
    let states: Vec<_> =
        plan["stages"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "done", "to do", "to do"]);
    assert!(plan["training"]["steps"].as_u64().unwrap() > 0, "{plan}");
    assert_eq!(contents(&dir.path().join("run")), before);
}

#[test]
fn bounds_that_are_not_met_exit_with_1_and_the_figures() {
    let dir = folder();
    let output = teach(dir.path(), &["--json", "--set", "eval.minimum.exact_match=1.0"]);
    fails(&output, 1, &["exact_match is 0.0000, below the minimum of 1"]);
    assert_eq!(json_of(&output)["failures"].as_array().unwrap().len(), 1);
    // The figures are the same, only the bound is another: nothing is done again.
    let output = teach(dir.path(), &["--json"]);
    assert!(stages_done(&output).is_empty());
}

#[test]
fn texts_in_the_language_need_no_translation() {
    let dir = folder();
    let text =
        |i: usize| format!("{}\n", json!({"text": format!("Однажды {i} котов сидели на ковре и смотрели.")}));
    std::fs::write(dir.path().join("data.jsonl"), (100..120).map(text).collect::<String>()).unwrap();
    std::fs::write(dir.path().join("held-out.jsonl"), (120..124).map(text).collect::<String>()).unwrap();
    let recipe = "data = { path = 'data.jsonl', from = 'ru', to = 'ru', validation = 'held-out.jsonl' }\n\
        base = { model = 'base' }\nlora = { rank = 2, alpha = 4 }\ntrain = { epochs = 2, learning_rate = 1e-2 }\n\
        clean = { near_duplicates = false }\n";
    std::fs::write(dir.path().join("r.toml"), recipe).unwrap();
    let value = json_of(&teach(dir.path(), &["--json"]));
    let bits = |side: &str| value[side]["bits_per_byte"].as_f64().unwrap();
    assert!(bits("tuned") < bits("base"), "{value}");
    assert!(value["base"]["source_bits_per_byte"].is_null(), "there is no source language: {value}");
}
