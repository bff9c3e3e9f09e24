//! A training watched from outside: the files it leaves while it goes on, on the demo's base.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo").join(name)
}

/// Training of the demo's base on its Russian validation set.
fn train(output: &Path, steps: usize, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
    command.arg("train").arg("--base").arg(demo("model")).arg("--data").arg(demo("data/validation.ru.jsonl"));
    command.arg("--validation").arg(demo("data/test.ru.jsonl")).arg("-o").arg(output);
    command.args(["--template", "alpaca-ru", "--max-steps", &steps.to_string(), "--step-tokens", "512"]);
    command.args(["--eval-examples", "4", "--sample-prompt", "Сколько будет 2 + 2?"]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn record(folder: &Path) -> Value {
    fs::read(folder.join("training.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Look again and again until something is there.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_training_can_be_looked_at_while_it_goes_on_and_comes_out_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (watched, alone) = (dir.path().join("watched"), dir.path().join("alone"));
    let mut child = train(&watched, 12, &["--eval-every", "5"]).spawn().unwrap();
    wait_for("a step", || rows(&watched.join("metrics.jsonl")).into_iter().find(|row| row["step"] == 1));
    assert_eq!(record(&watched)["standing"], "running");
    assert_eq!(record(&watched)["plan"]["steps"], 12);
    fs::write(watched.join("live.request"), "").unwrap();
    wait_for("the adapter as it is", || {
        let here =
            watched.join("live/adapter_model.safetensors").exists() && !watched.join("live.request").exists();
        here.then_some(())
    });
    assert!(child.wait().unwrap().success());
    let end = record(&watched);
    assert_eq!(end["standing"], "finished");
    assert_eq!(end["sample_prompts"][0], "Сколько будет 2 + 2?");
    assert!(end["plan"]["memory"]["total"].as_u64() > Some(1_000_000));
    assert!(!watched.join("live").exists() && !watched.join("live.request").exists());

    let samples: Vec<(u64, String)> = rows(&watched.join("samples.jsonl"))
        .iter()
        .map(|row| (row["step"].as_u64().unwrap(), row["side"].as_str().unwrap().to_string()))
        .collect();
    let tuned = |step| (step, "tuned".to_string());
    assert_eq!(samples, [(0, "base".to_string()), tuned(0), tuned(5), tuned(10), tuned(12)]);
    let step = rows(&watched.join("metrics.jsonl")).into_iter().find(|row| row["step"] == 7).unwrap();
    assert!(step["seconds"].as_f64() > Some(0.0) && !step["resident_bytes"].is_null(), "{step}");

    assert!(train(&alone, 12, &["--eval-every", "5"]).status().unwrap().success());
    let adapter = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(adapter(&watched) == adapter(&alone), "being watched changed the adapter");
}
