//! A training watched from outside: the files it leaves while it goes on, on the demo's base.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// A server of the real binary, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args).env_remove("TOLMACH_API_KEY");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = lines.find_map(|line| line.split("http://").nth(1).map(str::to_string)).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: listening.split_whitespace().next().unwrap().to_string() }
    }

    /// The answer's JSON; a request that fails is a failed test.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (address, body) = (&self.address, body.to_string());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let length = body.len();
        let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }

    /// What a model says to a question: tokens, their log-probabilities and those of the likeliest, greedily.
    fn says(&self, model: &str, question: &str) -> Value {
        let ask = json!({
            "model": model, "temperature": 0, "max_tokens": 16, "ignore_eos": true, "logprobs": true,
            "top_logprobs": 5, "messages": [{"role": "user", "content": question}],
        });
        self.ask("POST", "/v1/chat/completions", &ask)["choices"].take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a training with the test.
struct Training(Child);

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// unsloth#4503: a compare view whose "base" side is the tuned model.
#[test]
fn unsloth_4503_the_base_side_is_the_untouched_base_to_the_bit_while_an_adapter_trains() {
    const QUESTIONS: [&str; 3] = ["Сколько будет 2 + 2?", "What is a cat?", "Назови три цвета радуги."];
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let more = ["--eval-every", "5", "--learning-rate", "0.01"];
    let _training = Training(train(&run, 100_000, &more).spawn().unwrap());
    wait_for("a step", || rows(&run.join("metrics.jsonl")).into_iter().find(|row| row["step"] == 1));

    let model = format!("base={}", demo("model").display());
    let untouched = Server::start(&["--model", &model, "--template", "alpaca-ru"]);
    let watching = Server::start(&["--runs", &run.display().to_string()]);
    let id = watching.ask("GET", "/ui/runs", &Value::Null)["runs"][0]["id"].as_str().unwrap().to_string();
    let (mut versions, mut tuned_differs) = (BTreeSet::new(), false);
    for round in 0..4 {
        let live = watching.ask("POST", &format!("/ui/runs/{id}/live"), &json!({}));
        let (base, tuned) = (live["base"].as_str().unwrap(), live["tuned"].as_str().unwrap());
        versions.insert(live["version"].to_string());
        for question in QUESTIONS {
            let expected = untouched.says("base", question);
            assert_eq!(watching.says(base, question), expected, "round {round}, {question}");
            tuned_differs |= watching.says(tuned, question) != expected;
        }
        assert_eq!(record(&run)["standing"], "running", "round {round}");
    }
    assert!(versions.len() > 1 && tuned_differs, "the adapter went on meanwhile: {versions:?}");
}
