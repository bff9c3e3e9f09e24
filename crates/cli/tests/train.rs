//! `tolmach train` as a user runs it: the real binary on a tiny random model.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{Checkpoint, Config, Decoder, Rope, RopeScaling};

const VOCAB: usize = 128;
const LAYERS: usize = 2;

/// A folder with a base model, its tokenizer and data; commands run in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        write_base(&place.path("base"), 1);
        fs::write(place.path("tokens.jsonl"), token_rows(40)).unwrap();
        fs::write(place.path("held.jsonl"), token_rows(48).lines().skip(40).collect::<Vec<_>>().join("\n"))
            .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        command.current_dir(self.0.path()).arg("train").args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The JSON that a run prints which must succeed.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Code and messages of a run that must fail.
    fn failure(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} should fail");
        (output.status.code().unwrap(), stderr(&output))
    }

    fn adapter(&self, folder: &str) -> Vec<u8> {
        fs::read(self.path(folder).join("adapter_model.safetensors")).unwrap()
    }

    fn rows(&self, folder: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(folder).join("metrics.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_base(folder: &Path, seed: u64) {
    let config = Config {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: LAYERS,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: VOCAB,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    };
    let model = Decoder::random(Arc::new(CpuBackend::new()), config, seed).unwrap();
    model.save(folder, Dtype::F32).unwrap();
    write_tokenizer(folder);
}

/// One token per ASCII character, `<s>` 1 and `</s>` 2, everything else unknown.
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
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// Examples of 20 to 59 tokens that count upwards; the first 5 tokens are not trained.
fn token_rows(count: usize) -> String {
    let row = |i: usize| {
        let len = 20 + i * 7 % 40;
        let ids: Vec<usize> = (0..len).map(|t| (i * 31 + t) % VOCAB).collect();
        let labels: Vec<i64> =
            ids.iter().enumerate().map(|(t, &id)| if t < 5 { -100 } else { id as i64 }).collect();
        json!({"id": format!("e{i}"), "input_ids": ids, "labels": labels}).to_string()
    };
    (0..count).map(|i| row(i) + "\n").collect()
}

/// Text examples with ids `t0`, `t1`….
fn text_rows(count: usize) -> String {
    let row =
        |i| json!({"id": format!("t{i}"), "instruction": format!("Say {i}."), "output": format!("{i}!")});
    (0..count).map(|i| format!("{}\n", row(i))).collect()
}

const BASIC: [&str; 12] = [
    "--base",
    "base",
    "--data",
    "tokens.jsonl",
    "--max-steps",
    "6",
    "--step-tokens",
    "200",
    "--micro-batch-tokens",
    "120",
    "--learning-rate",
    "0.01",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BASIC[..], more].concat()
}

#[test]
fn alpaca_lora_293_the_adapter_is_never_empty() {
    let place = Place::new();
    let result = place.json(&with(&["-o", "out", "--validation", "held.jsonl", "--eval-every", "3"]));
    for key in ["seconds", "tokens_per_second", "peak_rss_bytes", "final_loss"] {
        assert!(result[key].as_f64().unwrap() > 0.0, "{key}: {result}");
    }
    assert_eq!((&result["steps"], &result["adapter"]), (&json!(6), &json!("out")));
    let losses = result["losses"].as_array().unwrap();
    assert_eq!((losses.len(), losses.last()), (6, Some(&result["final_loss"])));
    assert!(losses[5].as_f64() < losses[0].as_f64(), "it learns: {losses:?}");

    // Two matrices of rank 16 on seven layers of each block, and B no longer zero.
    let weights = Checkpoint::open_file(&place.path("out/adapter_model.safetensors")).unwrap();
    assert_eq!(weights.names().count(), 2 * 7 * LAYERS);
    for name in weights.names() {
        let values = weights.values(name, weights.shape(name).unwrap()).unwrap();
        assert!(values.iter().any(|&v| v != 0.0), "{name} is all zero");
    }
    assert_eq!(place.adapter("out").len() as u64, result["adapter_bytes"].as_u64().unwrap());
    assert!(place.adapter("out").len() > 4 * result["trained_parameters"].as_u64().unwrap() as usize);
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), &place.path("base")).unwrap();
    model.load_adapter(&place.path("out")).unwrap();

    let rows = place.rows("out");
    let steps: Vec<_> = rows.iter().filter(|r| r.get("train/loss").is_some()).collect();
    assert_eq!(steps.len(), 6);
    for key in ["step", "epoch", "lr", "grad_norm", "tokens", "tokens_per_second"] {
        assert!(steps.iter().all(|row| row[key].is_number()), "{key}: {steps:?}");
    }
    let evaluated: Vec<_> =
        rows.iter().filter(|r| r.get("eval/loss").is_some()).map(|r| &r["step"]).collect();
    assert_eq!(evaluated, [0, 3, 6]);
    let tokens = steps.last().unwrap()["tokens"].clone();
    assert_eq!(result["tokens"], tokens);
    let card = fs::read_to_string(place.path("out/README.md")).unwrap();
    assert!(card.contains("base_model: \"base\"") && card.contains("rank 16, alpha 32"), "{card}");
}

/// Kill (SIGKILL) a run a moment after its metrics show so many steps; false if it ended before.
fn kill_after(place: &Place, mut child: Child, folder: &str, steps: usize, pause: Duration) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        let done = place.rows(folder).iter().filter(|r| r.get("train/loss").is_some()).count();
        if done >= steps || Instant::now() > deadline {
            std::thread::sleep(pause);
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Numbers from a seed that is printed, so that a failure can be had again: `TOLMACH_TEST_SEED`.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let given = std::env::var("TOLMACH_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| now() as u64);
        println!("TOLMACH_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (tolmach_engine::random::mix(self.0) % end as u64) as usize
    }

    /// So many different numbers of `1..end`, ascending.
    fn steps(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut steps: Vec<usize> = (1..end).collect();
        while steps.len() > count {
            steps.remove(self.below(steps.len()));
        }
        steps
    }
}

/// Everything that a resume could lose: shuffling over epochs, dropout, moments, the best weights.
#[rustfmt::skip]
fn long_run<'a>(folder: &'a str, threads: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "--base", "base", "--data", "tokens.jsonl", "--max-steps", "60", "--step-tokens", "400",
        "--learning-rate", "0.01", "--lora-dropout", "0.1", "--weight-decay", "0.01", "--save-every", "2",
        "--validation", "held.jsonl", "--eval-every", "7", "--keep-best", "-o", folder, "--threads", threads,
    ];
    [&args[..], more].concat()
}

/// Kill the run that `args` describe at these steps, resume it each time, and compare with one that ran through.
fn check_killed_at(
    place: &Place,
    (folder, args): (&str, &[&str]),
    steps: &[usize],
    chance: &mut Chance,
    whole: &Value,
) {
    let again = [args, &["--resume"]].concat();
    let mut kills = 0;
    for &step in steps {
        let child = place.command(&again).spawn().unwrap();
        let pause = Duration::from_micros(chance.below(3000) as u64); // in the step, or in its save
        kills += usize::from(kill_after(place, child, folder, step, pause));
    }
    assert!(2 * kills > steps.len(), "{folder}: only {kills} kills at {steps:?} hit a running program");
    let resumed = place.json(&again);
    let name = whole["adapter"].as_str().unwrap();
    assert!(place.adapter(name) == place.adapter(folder), "{folder}: other bytes after kills at {steps:?}");
    assert_eq!((&whole["losses"], &whole["evaluations"]), (&resumed["losses"], &resumed["evaluations"]));
    let rows = place.rows(folder);
    let trained = rows.iter().filter(|r| r.get("train/loss").is_some());
    let mut found: Vec<u64> = trained.map(|r| r["step"].as_u64().unwrap()).collect();
    found.dedup();
    assert_eq!(found, (1..=60).collect::<Vec<_>>());
    let mut files: Vec<_> =
        fs::read_dir(place.path(folder)).unwrap().map(|f| f.unwrap().file_name()).collect();
    files.sort();
    let expected = ["README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl"];
    assert_eq!(files[..4], expected, "nothing half written is left");
    assert_eq!(files[4..], ["template.json", "training-state.safetensors", "training.json"]);
}

#[test]
fn alpaca_lora_72_fastchat_1280_killed_at_ten_random_steps_and_resumed_gives_the_same_bytes() {
    let (place, mut chance) = (Place::new(), Chance::new());
    let whole = place.json(&long_run("whole", "2", &[]));
    for (folder, threads) in [("one", "1"), ("two", "2")] {
        let steps = chance.steps(10, 60);
        check_killed_at(&place, (folder, &long_run(folder, threads, &[])), &steps, &mut chance, &whole);
    }
}

#[test]
fn a_killed_run_of_dora_gives_the_same_bytes_too() {
    let (place, mut chance) = (Place::new(), Chance::new());
    let whole = place.json(&long_run("whole", "1", &["--dora"]));
    let steps = chance.steps(4, 60);
    check_killed_at(&place, ("two", &long_run("two", "2", &["--dora"])), &steps, &mut chance, &whole);
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_exits_with_130() {
    let place = Place::new();
    // Far too many steps to end by themselves.
    let args = with(&["-o", "out", "--resume"]);
    let args: Vec<&str> = args.into_iter().map(|a| if a == "6" { "100000" } else { a }).collect();
    let mut child = place.command(&args).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.rows("out").len() < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let message = stderr(&output);
    assert!(message.contains("state is saved") && message.contains("--resume"), "{message}");
    assert!(place.path("out/training-state.safetensors").exists());
    assert!(!place.path("out/adapter_model.safetensors").exists());

    let (code, message) = place.failure(&with(&["-o", "out"]));
    assert_eq!(code, 2);
    assert!(message.contains("unfinished training") && message.contains("--resume"), "{message}");
}

#[test]
fn one_thread_and_two_give_the_same_bytes() {
    let place = Place::new();
    place.json(&with(&["-o", "one", "--threads", "1", "--lora-dropout", "0.1"]));
    place.json(&with(&["-o", "two", "--threads", "2", "--lora-dropout", "0.1"]));
    assert!(place.adapter("one") == place.adapter("two"));
}

#[test]
fn a_profile_tells_where_all_the_time_went_and_changes_no_byte() {
    let place = Place::new();
    assert!(place.json(&with(&["-o", "plain"])).get("profile").is_none(), "not asked for");
    let output = place.run(&with(&["-o", "told", "--profile", "--json"]));
    let told = stderr(&output);
    assert!(told.contains("GFLOP/s of useful arithmetic"), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let profile = &summary["profile"];
    let parts = profile["parts"].as_array().unwrap();
    let sum: f64 = parts.iter().map(|part| part["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "all shares make {sum}");
    for part in &parts[..parts.len() - 1] {
        assert!(part["milliseconds"].as_f64().unwrap() > 0.0, "{part}");
    }
    assert!(profile["share_of_product_rate"].as_f64().unwrap() > 0.0);
    assert_eq!(place.adapter("plain"), place.adapter("told"));
}

#[test]
fn a_finished_adapter_is_not_overwritten_unasked() {
    let place = Place::new();
    let first = place.json(&with(&["-o", "out"]));
    let bytes = place.adapter("out");
    let (code, message) = place.failure(&with(&["-o", "out"]));
    assert_eq!(code, 2);
    assert!(message.contains("holds an adapter already") && message.contains("--force"), "{message}");
    // Resumed: nothing is left to do, and nothing changes.
    let resumed = place.json(&with(&["-o", "out", "--resume"]));
    assert_eq!(first["losses"], resumed["losses"]);
    assert!(bytes == place.adapter("out"));
    // Forced: from the beginning.
    place.json(&with(&["-o", "out", "--force", "--seed", "7"]));
    assert!(bytes != place.adapter("out"));
    let (code, message) = place.failure(&with(&["-o", "base"]));
    assert_eq!(code, 2);
    assert!(message.contains("base model's own folder"), "{message}");
}

#[test]
fn a_resume_with_other_settings_names_them() {
    let place = Place::new();
    place.json(&with(&["-o", "out"]));
    let (code, message) = place.failure(&with(&["-o", "out", "--resume", "--seed", "7", "--lora-rank", "4"]));
    assert_eq!(code, 2);
    assert!(message.contains("seed: 42 then, 7 now") && message.contains("lora:"), "{message}");
    fs::write(place.path("tokens.jsonl"), token_rows(39)).unwrap();
    let (_, message) = place.failure(&with(&["-o", "out", "--resume"]));
    assert!(message.contains("training data:"), "{message}");
    fs::write(place.path("tokens.jsonl"), token_rows(40)).unwrap();
    write_base(&place.path("base"), 2);
    let (_, message) = place.failure(&with(&["-o", "out", "--resume"]));
    assert!(message.contains("base model:"), "{message}");
}

#[test]
fn axolotl_2568_an_adapter_is_continued_not_adapted_again() {
    let place = Place::new();
    place.json(&with(&["-o", "first", "--lora-rank", "4"]));
    let again = place.json(&with(&["-o", "second", "--adapter", "first"]));
    let names = |folder: &str| -> Vec<String> {
        let file = Checkpoint::open_file(&place.path(folder).join("adapter_model.safetensors")).unwrap();
        file.names().map(|n| format!("{n} {:?}", file.shape(n).unwrap())).collect()
    };
    assert_eq!(names("first"), names("second"));
    let last = place.rows("first").last().unwrap()["train/loss"].as_f64().unwrap();
    assert!(again["losses"][0].as_f64().unwrap() < 1.05 * last, "it goes on where the first ended");

    write_base(&place.path("other"), 3);
    let args = ["--base", "other", "--data", "tokens.jsonl", "--adapter", "first", "-o", "third"];
    let (code, message) = place.failure(&args);
    assert_eq!(code, 3);
    assert!(message.contains("another base model") && message.contains("hint"), "{message}");
    let (code, message) = place.failure(&with(&["-o", "third", "--adapter", "first", "--lora-rank", "8"]));
    assert_eq!(code, 2);
    assert!(message.contains("--lora-rank"), "{message}");
}

#[test]
fn full_training_writes_a_model() {
    let place = Place::new();
    let result = place.json(&with(&["-o", "tuned", "--full"]));
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), &place.path("tuned")).unwrap();
    assert_eq!(result["trained_parameters"].as_u64().unwrap() as usize, model.config.parameters());
    assert!(place.path("tuned/tokenizer.json").exists() && !place.path("tuned/adapter_config.json").exists());
    model.train_all();
    // It can be trained on from there.
    let last = result["final_loss"].as_f64().unwrap();
    let args = with(&["-o", "more", "--full"]);
    let args: Vec<&str> = args.into_iter().map(|a| if a == "base" { "tuned" } else { a }).collect();
    assert!(place.json(&args)["losses"][0].as_f64().unwrap() < 1.05 * last);
}

#[test]
fn text_goes_through_the_template_and_replies_are_shown() {
    let place = Place::new();
    fs::write(place.path("ru.jsonl"), text_rows(20)).unwrap();
    fs::write(place.path("en.jsonl"), text_rows(30)).unwrap();
    let args = [
        "--base",
        "base",
        "--data",
        "ru.jsonl",
        "--template",
        "alpaca-en-short",
        "--replay",
        "en.jsonl",
        "--replay-share",
        "0.25",
        "--replay-template",
        "alpaca-en",
        "--epochs",
        "1",
        "--sample-prompt",
        "Say 1.",
        "-o",
        "out",
    ];
    let output = place.run(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["examples"], 25, "20 and a quarter of 20");
    assert_eq!(result["samples"][0]["prompt"], "Say 1.");
    assert!(stderr(&output).contains("after step 0: Say 1."), "{}", stderr(&output));
    let template = fs::read_to_string(place.path("out/template.json")).unwrap();
    assert!(template.contains("alpaca-en-short"), "{template}");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let place = Place::new();
    let facts = place.json(&with(&["-o", "out", "--dry-run"]));
    assert_eq!((&facts["steps"], &facts["examples"]), (&json!(6), &json!(40)));
    assert!(facts["memory"]["total"].as_u64().unwrap() > 100_000, "{facts}");
    assert!(!place.path("out").exists());
}

#[test]
fn alpaca_lora_170_a_loss_that_is_not_a_number_stops() {
    let place = Place::new();
    let args = with(&["-o", "out", "--warmup-steps", "0", "--max-grad-norm", "0", "--save-every", "1"]);
    let args: Vec<&str> = args.into_iter().map(|a| if a == "0.01" { "1e30" } else { a }).collect();
    let (code, message) = place.failure(&args);
    assert_eq!(code, 1);
    assert!(message.contains("step ") && message.contains("lower the learning rate"), "{message}");
    assert!(!place.path("out/adapter_model.safetensors").exists());
}

#[test]
fn bad_input_is_named_with_exit_code_3() {
    let place = Place::new();
    let check = |args: &[&str], says: &[&str]| {
        let (code, message) = place.failure(&[args, &["-o", "out"]].concat());
        assert_eq!(code, 3, "{args:?}: {message}");
        for word in says {
            assert!(message.contains(word), "{args:?} should say {word}: {message}");
        }
    };
    let file = |name: &str, text: &str| fs::write(place.path(name), text).unwrap();
    check(&["--base", "absent", "--data", "tokens.jsonl"], &["absent", "no such folder"]);
    check(&["--base", "base", "--data", "absent.jsonl"], &["absent.jsonl"]);
    file("empty.jsonl", "");
    check(&["--base", "base", "--data", "empty.jsonl"], &["empty.jsonl"]);
    file("fields.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n");
    check(&["--base", "base", "--data", "fields.jsonl"], &["fields.jsonl", "row 1", "question"]);
    file("unanswered.jsonl", "{\"instruction\": \"a\", \"output\": \"\"}\n");
    check(&["--base", "base", "--data", "unanswered.jsonl"], &["unanswered.jsonl", "none of its 1 examples"]);
    file("script.jsonl", "{\"instruction\": \"Say yes\", \"output\": \"да, конечно\"}\n");
    check(
        &["--base", "base", "--data", "script.jsonl"],
        &["script.jsonl", "does not know 9 of the 12 tokens", "whose tokenizer can write this language"],
    );
    file("vocabulary.jsonl", "{\"input_ids\": [1, 128], \"labels\": [-100, 2]}\n");
    check(&["--base", "base", "--data", "vocabulary.jsonl"], &["vocabulary.jsonl:1", "128"]);
    check(
        &["--base", "base", "--data", "tokens.jsonl", "--max-seq-length", "10"],
        &["tokens.jsonl", "all 40 examples", "maximum of 10", "the shortest has 20", "--max-seq-length"],
    );
    file("untrained.jsonl", "{\"id\": \"first\", \"input_ids\": [1, 2], \"labels\": [1, -100]}\n");
    check(
        &["--base", "base", "--data", "untrained.jsonl"],
        &["untrained.jsonl", "none of its 1 examples", "example first", "none of its labels is trained"],
    );
    file("cut.jsonl", "{\"input_ids\": [1, 2], \"labels\"");
    check(&["--base", "base", "--data", "cut.jsonl"], &["cut.jsonl"]);

    fs::create_dir(place.path("cut")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(place.path("base").join(name), place.path("cut").join(name)).unwrap();
    }
    let weights = fs::read(place.path("cut/model.safetensors")).unwrap();
    fs::write(place.path("cut/model.safetensors"), &weights[..weights.len() - 1]).unwrap();
    check(&["--base", "cut", "--data", "tokens.jsonl"], &["model.safetensors", "truncated"]);
    fs::write(place.path("cut/config.json"), "{\"hidden_size\": 32").unwrap();
    check(&["--base", "cut", "--data", "tokens.jsonl"], &["config.json", "JSON"]);

    place.json(&with(&["-o", "out"]));
    let state = fs::read(place.path("out/training-state.safetensors")).unwrap();
    fs::write(place.path("out/training-state.safetensors"), &state[..state.len() / 2]).unwrap();
    check(&with(&["--resume"]), &["training-state.safetensors", "damaged", "--force"]);
    // An output folder that cannot be made.
    file("file", "");
    let (code, message) = place.failure(&with(&["-o", "file/out"]));
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("file/out"), "{message}");
}

#[test]
fn a_token_row_without_a_trained_label_is_left_out_and_told() {
    let place = Place::new();
    let untrained = "{\"input_ids\": [1, 2, 3], \"labels\": [-100, -100, -100]}\n";
    fs::write(place.path("tokens.jsonl"), format!("{untrained}{}{untrained}", token_rows(40))).unwrap();
    let output = place.run(&with(&["-o", "out", "--json"]));
    let trained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&trained["examples"], &trained["left_out"]), (&json!(40), &json!(2)), "{trained}");
    let told = stderr(&output);
    assert!(told.contains("2 without a trained label"), "{told}");
}

#[test]
fn impossible_settings_are_usage_errors() {
    let place = Place::new();
    let cases: [(&[&str], &str); 8] = [
        (&["--max-seq-length", "1000"], "at most 256"),
        (&["--learning-rate", "-1"], "learning_rate = -1"),
        (&["--target-modules", "query"], "query"),
        (&["--lora-rank", "0"], "rank"),
        (&["--template", "alpaka"], "alpaka"),
        (&["--early-stop", "2"], "--validation"),
        (&["--replay-share", "0.5"], "--replay"),
        (&["--step-examples", "4", "--step-tokens", "100"], "--step-tokens"),
    ];
    for (args, says) in cases {
        let basic = ["--base", "base", "--data", "tokens.jsonl", "-o", "out"];
        let (code, message) = place.failure(&[&basic, args].concat());
        assert_eq!(code, 2, "{args:?}: {message}");
        assert!(message.contains(says), "{args:?}: {message}");
        assert!(!place.path("out").exists());
    }
}
