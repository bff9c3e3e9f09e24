//! `tolmach plan` as a user runs it: what it foretells is what the run then takes.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{Config, Decoder, Rope, RopeScaling};

/// A folder with a base model of eight blocks and examples as token ids.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let config = Config {
            hidden_size: 128,
            intermediate_size: 384,
            num_hidden_layers: 8,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 32,
            vocab_size: 2000,
            max_position_embeddings: 512,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        };
        let model = Decoder::random(Arc::new(CpuBackend::new()), config, 1).unwrap();
        model.save(&place.path("base"), Dtype::F32).unwrap();
        let rows: Vec<String> = (0..40usize).map(row).collect();
        std::fs::write(place.path("tokens.jsonl"), rows.join("\n")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        process.current_dir(self.0.path()).args([command, "--data", "tokens.jsonl"]).args(more);
        process.args(["--max-seq-length", "512", "--max-steps", "2", "--step-tokens", "2048"]);
        process.env("HF_HUB_OFFLINE", "1");
        process.args(["--threads", "2"]).output().unwrap()
    }

    fn plan(&self, more: &[&str]) -> Value {
        answer(&self.run("plan", &[&["--base", "base", "--json"], more].concat()))
    }

    fn train(&self, folder: &str, more: &[&str]) -> Value {
        answer(&self.run("train", &[&["--base", "base", "-o", folder, "--json"], more].concat()))
    }

    fn adapter(&self, folder: &str) -> Vec<u8> {
        std::fs::read(self.path(folder).join("adapter_model.safetensors")).unwrap()
    }
}

/// 200 to 500 tokens, the second half of them trained.
fn row(i: usize) -> String {
    let len = 200 + i * 37 % 300;
    let ids: Vec<usize> = (0..len).map(|t| (t * 131 + i * 17) % 2000).collect();
    let labels: Vec<i64> = (0..len).map(|t| if t < len / 2 { -100 } else { ids[t] as i64 }).collect();
    json!({"input_ids": ids, "labels": labels}).to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Planned over measured memory.
fn ratio(plan: &Value, run: &Value) -> f64 {
    plan["memory"]["total"].as_f64().unwrap() / run["peak_rss_bytes"].as_f64().unwrap()
}

#[test]
fn the_memory_is_as_planned() {
    let place = Place::new();
    let cases: [&[&str]; 6] = [
        &[],
        // A step is less than a micro-batch may be: the evaluation's are no longer.
        &["--micro-batch-tokens", "4096", "--validation", "tokens.jsonl"],
        &["--micro-batch-tokens", "1024", "--lora-rank", "64"],
        &["--modules-to-save", "embed_tokens,lm_head"],
        &["--quantize", "nf4"],
        &["--dora"],
    ];
    for (i, flags) in cases.into_iter().enumerate() {
        let (plan, run) = (place.plan(flags), place.train(&format!("out{i}"), flags));
        let ratio = ratio(&plan, &run);
        assert!(
            (0.95..=1.05).contains(&ratio),
            "{flags:?}: {ratio:.3} of {}; {}",
            run["peak_rss_bytes"],
            plan["memory"]
        );
    }
}

#[test]
fn a_limit_is_kept_to_by_computing_blocks_again_and_changes_no_byte() {
    let place = Place::new();
    let cutoff = ["--micro-batch-tokens", "512"];
    let free = place.plan(&cutoff);
    assert_eq!(free["recompute"], 0);
    let total = free["memory"]["total"].as_u64().unwrap();
    let limit = (total - free["memory"]["activations"].as_u64().unwrap() / 2).to_string();
    let limited = [&cutoff[..], &["--memory", &limit]].concat();
    let bound = place.plan(&limited);
    assert!(bound["recompute"].as_u64().unwrap() > 1, "{bound}");
    assert_eq!(bound["micro_batch_tokens"], free["micro_batch_tokens"]);
    place.train("free", &cutoff);
    let run = place.train("bound", &limited);
    assert!(run["peak_rss_bytes"].as_u64().unwrap() < total, "{run}");
    assert_eq!(place.adapter("free"), place.adapter("bound"));
}

#[test]
fn micro_batches_are_longer_than_the_cutoff_where_that_costs_little() {
    let place = Place::new();
    let (free, cutoff) = (place.plan(&[]), place.plan(&["--micro-batch-tokens", "512"]));
    let total = |plan: &Value| plan["memory"]["total"].as_u64().unwrap();
    assert_eq!(free["micro_batch_tokens"], 1024, "a small model: twice the cutoff");
    assert!(total(&free) > total(&cutoff) && total(&free) < total(&cutoff) + (160 << 20));
    // What it costs is the first that a limit takes back: no block is computed again for it.
    // (Half of it: the program's own share of the total is measured, a few pages more or less in each process.)
    let limit = (total(&free) + total(&cutoff)) / 2;
    let bound = place.plan(&["--memory", &limit.to_string()]);
    assert_eq!((&bound["micro_batch_tokens"], &bound["recompute"]), (&Value::from(512), &Value::from(0)));
    assert_eq!(bound["memory"]["activations"], cutoff["memory"]["activations"]);
}

#[test]
fn micro_batches_get_smaller_before_a_run_is_refused() {
    let place = Place::new();
    let wide = ["--micro-batch-tokens", "2048"];
    let total = place.plan(&wide)["memory"]["total"].as_u64().unwrap();
    let small = place.plan(&[])["memory"]["total"].as_u64().unwrap();
    assert!(small < total);
    let at_least = {
        let output = place.run("plan", &["--base", "base", "--memory", "1MiB"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(at_least.contains("needs at least") && at_least.contains("1.00 MiB"), "{at_least}");
    let refused = place.run("train", &["--base", "base", "-o", "none", "--memory", "1MiB"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(!place.path("none").exists());
    let activations = place.plan(&[])["memory"]["activations"].as_u64().unwrap();
    let limit = (small - activations / 2).to_string();
    let plan = place.plan(&[&wide[..], &["--memory", &limit]].concat());
    assert!(plan["micro_batch_tokens"].as_u64().unwrap() < 2048, "{plan}");
    assert!(plan["memory"]["total"].as_u64().unwrap() <= limit.parse().unwrap(), "{plan}");
}

#[test]
fn time_and_cost_are_foretold_and_a_config_alone_will_do() {
    let place = Place::new();
    let plan = place.plan(&["--price-per-hour", "3600"]);
    let time = &plan["time"];
    let (total, cost) = (time["total_seconds"].as_f64().unwrap(), time["cost"].as_f64().unwrap());
    assert!(total > 0.0 && (cost / total - 1.0).abs() < 1e-9, "{time}");
    let alone = place.path("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(place.path("base/config.json"), alone.join("config.json")).unwrap();
    let config = alone.join("config.json");
    let output = place.run("plan", &["--config", &config.to_string_lossy(), "--json"]);
    let by_config = answer(&output);
    let total = |plan: &Value| plan["memory"]["total"].as_f64().unwrap();
    assert!((total(&by_config) / total(&plan) - 1.0).abs() < 0.05, "{by_config}");
    let absent = place.run("plan", &["--base", "org/name"]);
    assert!(!absent.status.success());
    assert!(stderr(&absent).contains("--config"), "{}", stderr(&absent));
    assert_eq!(files(place.0.path()), ["alone", "base", "tokens.jsonl"], "a plan writes nothing");
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
