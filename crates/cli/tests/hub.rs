//! Names of the Hub instead of paths, with the real binary against a hub on this machine.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

#[path = "../../hub/tests/server/mod.rs"]
mod server;
#[allow(dead_code, reason = "not every test needs every helper")]
mod tiny;

use serde_json::Value;
use server::{FakeHub, TOKEN};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tiny::{stderr, stdout};

struct Place {
    hub: FakeHub,
    dir: TempDir,
}

impl Place {
    /// A hub and, in the working folder, `base` and `adapter`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_models(dir.path());
        Self { hub: FakeHub::start(), dir }
    }

    /// With the base model as `org/tiny` on the hub, and nothing of it here.
    fn with_remote_base() -> Self {
        let place = Self::new();
        place.put("models/org/tiny", &place.dir.path().join("base"));
        fs::rename(place.dir.path().join("base"), place.dir.path().join("kept")).unwrap();
        place
    }

    fn put(&self, key: &str, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            self.hub.commit(key, "main", &[(&name, &fs::read(path).unwrap())]);
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.dir.path().join("hf"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn offline(&self, args: &[&str]) -> Output {
        self.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap()
    }
}

const PROMPT: [&str; 4] = ["--prompt", "Кот?", "--max-new-tokens", "12"];

#[test]
fn chat_fetches_its_model_once_and_then_needs_no_network() {
    let place = Place::with_remote_base();
    let local = stdout(&place.run(&[&["chat", "--base", "kept"], &PROMPT[..]].concat()));
    let args = [&["chat", "--base", "org/tiny@main"], &PROMPT[..]].concat();
    let first = place.run(&args);
    assert_eq!(stdout(&first), local);
    assert!(stderr(&first).contains("org/tiny") && stderr(&first).contains("fetched"), "{}", stderr(&first));
    place.hub.forget_requests();
    assert_eq!(stdout(&place.offline(&args)), local);
    assert!(place.hub.hub_paths().is_empty());
    // The adapter too, from the hub, over the base from the hub.
    let tuned =
        stdout(&place.run(&[&["chat", "--base", "kept", "--adapter", "adapter"], &PROMPT[..]].concat()));
    place.put("models/org/adapter", &place.dir.path().join("adapter"));
    let both = [&["chat", "--base", "org/tiny", "--adapter", "org/adapter"], &PROMPT[..]].concat();
    assert_eq!(stdout(&place.run(&both)), tuned);
}

/// What a plan needs is a few kilobytes; the gigabytes of weights stay where they are.
#[test]
fn a_plan_fetches_no_weights_and_is_that_of_the_model_itself() {
    let place = Place::with_remote_base();
    let row = "{\"input_ids\": [5, 6, 7, 8], \"labels\": [-100, 6, 7, 8]}\n";
    fs::write(place.dir.path().join("tokens.jsonl"), row.repeat(8)).unwrap();
    let plan = |base: &str| -> Value {
        let output = place.run(&["plan", "--base", base, "--data", "tokens.jsonl", "--dora", "--json"]);
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let (local, remote) = (plan("kept"), plan("org/tiny"));
    for part in ["mapped", "trained", "activations", "scratch", "head", "saving"] {
        assert_eq!(local["memory"][part], remote["memory"][part], "{part}");
    }
    let paths = place.hub.hub_paths();
    assert!(paths.iter().any(|path| path.ends_with("/config.json")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.ends_with(".safetensors")), "{paths:?}");
}

#[test]
fn a_download_that_was_killed_goes_on_where_it_was() {
    let place = Place::with_remote_base();
    let size = fs::metadata(place.dir.path().join("kept/model.safetensors")).unwrap().len();
    place.hub.state().throttle = Some((size as usize / 40, Duration::from_millis(100)));
    let args = [&["chat", "--base", "org/tiny"], &PROMPT[..]].concat();
    let mut child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let blobs = place.dir.path().join("hf/hub/models--org--tiny/blobs");
    let arrived = || {
        let entries = fs::read_dir(&blobs).into_iter().flatten().flatten();
        let parts = entries.filter(|e| e.file_name().to_string_lossy().ends_with(".incomplete"));
        parts.filter_map(|e| Some(e.metadata().ok()?.len())).max().unwrap_or(0)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while arrived() < size / 8 {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let had = arrived();
    assert!(had < size, "it was too quick to be killed");
    {
        let mut state = place.hub.state();
        state.throttle = None;
        state.seen.clear();
    }
    stdout(&place.run(&args));
    let ranges: Vec<_> =
        place.hub.storage_requests().iter().filter_map(|s| s.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [format!("bytes={had}-")]);
    let left: Vec<_> = fs::read_dir(&blobs).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("incomplete")), "{left:?}");
}

#[test]
fn what_is_here_wins_and_what_is_nowhere_names_both_readings() {
    let place = Place::with_remote_base();
    fs::create_dir(place.dir.path().join("org")).unwrap();
    fs::rename(place.dir.path().join("kept"), place.dir.path().join("org/tiny")).unwrap();
    stdout(&place.run(&[&["chat", "--base", "org/tiny"], &PROMPT[..]].concat()));
    assert!(place.hub.hub_paths().is_empty(), "the hub was asked for what is here");
    stdout(&place.run(&[&["chat", "--base", "hf://org/tiny"], &PROMPT[..]].concat()));
    assert!(!place.hub.hub_paths().is_empty());
    let output = place.run(&[&["chat", "--base", "org/tony"], &PROMPT[..]].concat());
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.contains("no model org/tony") && said.contains("no file or folder here"), "{said}");
    let output = place.offline(&[&["chat", "--base", "org/tony"], &PROMPT[..]].concat());
    assert!(stderr(&output).contains("HF_HUB_OFFLINE"), "{}", stderr(&output));
    let mut down = place.command(&[&["chat", "--base", "org/tony"], &PROMPT[..]].concat());
    let output = down.env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn a_data_set_is_cleaned_by_its_name() {
    let place = Place::new();
    let row =
        r#"{"instruction": "Name a fruit that is red.", "input": "", "output": "An apple is a red fruit."}"#;
    let files: [(&str, &[u8]); 2] = [("README.md", b"---\n---\n"), ("alpaca.json", row.as_bytes())];
    place.hub.commit("datasets/org/data", "main", &files);
    let output = place.run(&["clean", "org/data", "-o", "clean.jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_to_string(place.dir.path().join("clean.jsonl")).unwrap().contains("red fruit"));
    let named = place.run(&["clean", "org/data/alpaca.json", "-o", "same.jsonl"]);
    assert!(named.status.success(), "{}", stderr(&named));
    let missing = place.run(&["clean", "org/data/other.json", "-o", "x.jsonl"]);
    assert!(stderr(&missing).contains("no file `other.json`"), "{}", stderr(&missing));
}

#[test]
fn an_adapter_remembers_the_hub_s_name_of_its_base() {
    let place = Place::with_remote_base();
    let rows: String = (0..8)
        .map(|i| format!("{{\"instruction\": \"Кот {i}?\", \"input\": \"\", \"output\": \"Кот.\"}}\n"))
        .collect();
    place.hub.commit("datasets/org/data", "main", &[("train.jsonl", rows.as_bytes())]);
    let args =
        ["train", "--base", "org/tiny", "--data", "org/data", "-o", "out", "--max-steps", "2", "--json"];
    let output = place.run(&[&args[..], &["--template", "alpaca-ru"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let config: Value =
        serde_json::from_slice(&fs::read(place.dir.path().join("out/adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], "org/tiny");
    let card = fs::read_to_string(place.dir.path().join("out/README.md")).unwrap();
    assert!(card.contains("base_model: \"org/tiny\"") && card.contains("`org/data/train.jsonl`"), "{card}");
    assert!(!card.contains("snapshots"), "{card}");
}

#[test]
fn a_gated_model_says_where_to_ask_and_tells_no_token() {
    let place = Place::with_remote_base();
    place.hub.state().repos.get_mut("models/org/tiny").unwrap().gated = true;
    let args = [&["chat", "--base", "org/tiny"], &PROMPT[..]].concat();
    let output = place.command(&args).env("HF_TOKEN", TOKEN).output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("asked for") && said.contains("/org/tiny") && !said.contains(TOKEN), "{said}");
    place.hub.state().accepted.insert("models/org/tiny".into());
    stdout(&place.command(&args).env("HF_TOKEN", TOKEN).output().unwrap());
}

/// Push a folder with the test's token.
fn push(place: &Place, args: &[&str]) -> Output {
    place.command(&[&["push"], args].concat()).env("HF_TOKEN", TOKEN).output().unwrap()
}

#[test]
fn a_pushed_model_is_chatted_with_by_its_name() {
    let place = Place::new();
    let tuned =
        stdout(&place.run(&[&["chat", "--base", "base", "--adapter", "adapter"], &PROMPT[..]].concat()));
    let merged =
        place.run(&["merge", "--base", "base", "--adapter", "adapter", "-o", "merged", "--dtype", "f32"]);
    assert!(merged.status.success(), "{}", stderr(&merged));
    let output = push(&place, &["merged", "org/ru@v1", "--license", "apache-2.0", "--private", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["kind"], "model");
    assert!(report["commit"].as_str().unwrap().len() == 40 && report["created"] == true);
    let card = String::from_utf8(place.hub.file("models/org/ru", "v1", "README.md").unwrap()).unwrap();
    for part in ["license: apache-2.0", "base_model: base", "## Certificate", "| `model.safetensors` |", "KL"]
    {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert!(!card.contains(place.dir.path().to_str().unwrap()), "{card}");

    let args = [&["chat", "--base", "org/ru@v1"], &PROMPT[..]].concat();
    let refused = place.run(&args); // private: without the token there is no such thing
    assert!(stderr(&refused).contains("HF_TOKEN"), "{}", stderr(&refused));
    let reply = place.command(&args).env("HF_TOKEN", TOKEN).output().unwrap();
    assert_eq!(stdout(&reply), tuned);
    assert_eq!(stdout(&place.offline(&args)), tuned);
    let again = push(&place, &["merged", "org/ru@v1", "--license", "apache-2.0", "--json"]);
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&report["commit"], report["sent"].as_array().unwrap().len()), (&Value::Null, 0));
}

#[test]
fn an_adapter_goes_up_with_its_report_card_and_without_its_training_state() {
    let place = Place::new();
    let adapter = place.dir.path().join("adapter");
    fs::write(adapter.join("training-state.safetensors"), "state").unwrap();
    fs::write(adapter.join("metrics.jsonl"), "{}").unwrap();
    let rows = "{\"instruction\": \"Кот?\", \"input\": \"\", \"output\": \"Кот.\", \"language\": \"ru\"}\n";
    fs::write(place.dir.path().join("test.jsonl"), rows).unwrap();
    let eval = ["eval", "--base", "base", "--adapter", "adapter", "--data", "test.jsonl", "-o", "card"];
    let evaluated = place.run(&[&eval[..], &["--max-new-tokens", "8"]].concat());
    assert!(evaluated.status.success(), "{}", stderr(&evaluated));
    let args = ["adapter", "org/adapter", "--base-model", "org/tiny", "--report-card", "card"];
    let dry = push(&place, &[&args[..], &["--dry-run"]].concat());
    assert!(
        stdout(&dry).contains("## Report card") && stderr(&dry).contains("training-state"),
        "{}",
        stderr(&dry)
    );
    assert!(place.hub.state().repos.is_empty(), "a dry run sent something");
    let output = push(&place, &args);
    assert!(output.status.success() && stderr(&output).contains("licence"), "{}", stderr(&output));
    let state = place.hub.state();
    let repo = &state.repos["models/org/adapter"];
    let files = &repo.commits[&repo.branches["main"]];
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["README.md", "adapter_config.json", "adapter_model.safetensors", "template.json"]);
    let config: Value = serde_json::from_slice(&files["adapter_config.json"]).unwrap();
    assert_eq!(config["base_model_name_or_path"], "org/tiny");
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    check_model_index(&card);
    for part in [
        "base_model: org/tiny",
        "base_model_relation: adapter",
        "| measure | base | tuned |",
        "language: [ru]",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
}

/// The Hub's own parser reads the card's evaluation results.
fn check_model_index(card: &str) {
    assert!(card.contains("\nmodel-index:\n- name: \"adapter\"\n  results:\n  - task:\n"), "{card}");
    let script = "import sys, json\nfrom huggingface_hub import ModelCard\n\
        data = ModelCard(sys.stdin.read()).data\n\
        rows = [[r.task_type, r.dataset_name, r.metric_type, r.metric_value] for r in data.eval_results]\n\
        print(json.dumps([data.model_name, rows]))";
    let named = std::env::var("TOLMACH_PYTHON").ok();
    let has_package = |python: &String| {
        let import = Command::new(python).args(["-c", "import huggingface_hub"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let Some(python) = named.into_iter().chain(["python3".to_string()]).find(has_package) else {
        eprintln!("skipped: no python3 (or TOLMACH_PYTHON) with the package huggingface_hub");
        return;
    };
    let mut command = Command::new(python);
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), card.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found[0], "adapter");
    let rows = found[1].as_array().unwrap();
    let row = rows.iter().find(|row| row[2] == "exact_match").unwrap();
    assert_eq!((&row[0], &row[1]), (&"text-generation".into(), &"1 held-out examples, ru".into()));
    assert!(row[3].is_number() && rows.iter().any(|row| row[2] == "bits_per_byte"), "{rows:?}");
}

#[test]
fn a_data_set_goes_up_with_its_card_and_comes_back() {
    let place = Place::new();
    let rows: String = (0..60)
        .map(|i| format!("{{\"instruction\": \"Кот {i}?\", \"input\": \"\", \"output\": \"Кот {i}.\"}}\n"))
        .collect();
    fs::write(place.dir.path().join("ru.jsonl"), rows).unwrap();
    let made = place.run(&["dataset", "ru.jsonl", "-o", "set", "--name", "Cats", "--license", "cc-by-4.0"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let output = push(&place, &["set", "org/cats"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let card = place.hub.file("datasets/org/cats", "main", "README.md").unwrap();
    assert!(String::from_utf8(card).unwrap().contains("license: cc-by-4.0"));
    let clean = place.run(&["clean", "org/cats", "-o", "back.jsonl", "--json"]);
    assert!(clean.status.success(), "{}", stderr(&clean));
}

#[test]
fn push_refuses_what_it_must() {
    let place = Place::new();
    let without = place.run(&["push", "adapter", "org/adapter"]);
    assert_eq!(without.status.code(), Some(2));
    assert!(stderr(&without).contains("HF_TOKEN"), "{}", stderr(&without));
    fs::write(place.dir.path().join("adapter/README.md"), format!("my token is {TOKEN}")).unwrap();
    let secret = push(&place, &["adapter", "org/adapter"]);
    assert_eq!(secret.status.code(), Some(3));
    assert!(stderr(&secret).contains("README.md holds an access token"), "{}", stderr(&secret));
    assert!(place.hub.state().repos.is_empty());
    fs::create_dir(place.dir.path().join("empty")).unwrap();
    let empty = push(&place, &["empty", "org/x"]);
    assert!(stderr(&empty).contains("no data set, adapter or model"), "{}", stderr(&empty));
    let file = push(&place, &["adapter", "org/x/y.json"]);
    assert_eq!(file.status.code(), Some(2), "{}", stderr(&file));
}

#[test]
fn the_doctor_shows_settings_without_the_token_and_finds_damage() {
    let place = Place::with_remote_base();
    stdout(&place.run(&[&["chat", "--base", "org/tiny"], &PROMPT[..]].concat()));
    let output = place.command(&["doctor", "--online", "--json"]).env("HF_TOKEN", TOKEN).output().unwrap();
    let text = stdout(&output);
    assert!(!text.contains(TOKEN), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["hub"]["online"]["user"], "tester");
    assert_eq!(report["hub"]["token_from"], "HF_TOKEN");
    assert_eq!(report["cache"]["repositories"], 1);
    assert!(report["machine"]["threads"].as_u64().unwrap() > 0);
    place.hub.forget_requests();
    assert!(stdout(&place.run(&["doctor", "--verify-cache"])).contains("every file is what was fetched"));
    assert!(place.hub.hub_paths().is_empty(), "it asked the network without --online");
    let blobs = place.dir.path().join("hf/hub/models--org--tiny/blobs");
    let largest =
        fs::read_dir(blobs).unwrap().map(|e| e.unwrap().path()).max_by_key(|p| p.metadata().unwrap().len());
    let largest = largest.unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let output = place.run(&["doctor", "--verify-cache"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(largest.file_name().unwrap().to_str().unwrap()), "{}", stderr(&output));
}

#[test]
fn a_recipe_names_the_hub_and_its_record_names_the_commit() {
    let place = Place::with_remote_base();
    let row = |i| {
        format!("{{\"instruction\": \"Сколько будет {i}?\", \"input\": \"\", \"output\": \"Будет {i}.\"}}\n")
    };
    // In two files, as large sets are.
    let parts: [String; 2] = [(0..20).map(row).collect(), (20..30).map(row).collect()];
    let files = [
        ("data/train-00000-of-00002.jsonl", parts[0].as_bytes()),
        ("data/train-00001-of-00002.jsonl", parts[1].as_bytes()),
    ];
    place.hub.commit("datasets/org/data", "main", &files);
    let recipe = "[data]\npath = \"org/data\"\nfrom = \"ru\"\nto = \"ru\"\nvalidation_share = 0.2\n[clean]\n\
        about_language = false\nwrong_language = false\n[base]\nmodel = \"org/tiny\"\n[train]\nmax_steps = 1\n[eval]\nlimit = 2\nmax_new_tokens = 4\n";
    fs::write(place.dir.path().join("r.toml"), recipe).unwrap();
    let output = place.run(&["teach", "r.toml", "-o", "run", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let resolved = fs::read_to_string(place.dir.path().join("run/recipe.resolved.toml")).unwrap();
    let commit = fs::read_to_string(place.dir.path().join("hf/hub/models--org--tiny/refs/main")).unwrap();
    assert!(resolved.contains(&format!("model = \"org/tiny@{commit}\"")), "{resolved}");
    assert!(resolved.contains("path = \"org/data@"), "{resolved}");
    assert!(resolved.contains("/data/train-*-of-00002*.jsonl\""), "{resolved}");
    let cleaned = fs::read_to_string(place.dir.path().join("run/01-clean/report.json")).unwrap();
    assert!(cleaned.contains("\"total\": 30"), "{cleaned}");
    // The record alone brings the run back, here without a network.
    let args = ["teach", "run/recipe.resolved.toml", "-o", "run", "--dry-run", "--json"];
    let again = place.offline(&args);
    assert!(again.status.success(), "{}", stderr(&again));
}
