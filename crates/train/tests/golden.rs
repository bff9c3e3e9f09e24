//! Twenty AdamW steps against torch, transformers and peft: losses, gradient norms, final weights.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tolmach_engine::{Backend, CpuBackend, ReferenceBackend};
use tolmach_model::{Checkpoint, Decoder};
use tolmach_tokenize::TokenExample;
use tolmach_train::{Event, Run, State, TrainConfig, TrainPlan, train};

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(model)
}

fn cases(model: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder(model).join("cases.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn examples(cases: &Value) -> Vec<TokenExample> {
    let read = |example: &Value| TokenExample {
        id: None,
        input_ids: numbers(&example["input_ids"]).iter().map(|&id| id as u32).collect(),
        labels: numbers(&example["labels"]).iter().map(|&label| label as i32).collect(),
    };
    cases["examples"].as_array().unwrap().iter().map(read).collect()
}

/// Largest difference over largest magnitude.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let max = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = max(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    f64::from(difference / max(&mut expected.iter().copied()))
}

/// Train as the fixture did. `section` is that of `cases.json`, `micro_batch_tokens` decides whether
/// the three examples of a step go through together.
fn check<B: Backend>(backend: B, name: &str, section: &str, micro_batch_tokens: usize, tolerance: f64) {
    let cases = cases(name);
    let case = &cases[section];
    let is_full = section == "base";
    let golden = &case[if is_full { "full_training" } else { "training" }];
    let rates = numbers(&golden["learning_rates"]);
    let mut model = Decoder::load(Arc::new(backend), &folder(name)).unwrap();
    if is_full {
        model.train_all();
    } else {
        model.load_adapter(&folder(name).join(case["adapter"].as_str().unwrap())).unwrap();
    }
    let config = TrainConfig {
        max_steps: Some(rates.len()),
        step_examples: Some(3),
        micro_batch_tokens: Some(micro_batch_tokens),
        learning_rate: 0.01,
        warmup_steps: Some(4),
        weight_decay: golden["weight_decay"].as_f64().unwrap(),
        max_grad_norm: golden["max_grad_norm"].as_f64().unwrap(),
        loraplus_lr_ratio: golden["loraplus_lr_ratio"].as_f64(),
        shuffle: false,
        ..Default::default()
    };
    let data = examples(&cases);
    let plan = TrainPlan::new(&config, 512, &data, 0).unwrap();
    let mut state = State::new(&mut model).unwrap();
    let run =
        Run { plan: &plan, train: &data, validation: &[], files: None, cancel: &AtomicBool::new(false) };
    let mut reports = Vec::new();
    train(&mut model, &mut state, &run, |event| {
        if let Event::Step(report) = event {
            reports.push(*report);
        }
    })
    .unwrap();

    let close = |what: &str, step: usize, found: f64, expected: f64| {
        let off = (found - expected).abs() / expected.abs().max(1e-9);
        assert!(off < tolerance, "{name} {section} {what} of step {step}: {found}, torch has {expected}");
    };
    let (losses, norms) = (numbers(&golden["losses"]), numbers(&golden["grad_norms"]));
    assert_eq!(reports.len(), losses.len());
    for (i, report) in reports.iter().enumerate() {
        assert!((report.learning_rate - rates[i]).abs() < 1e-12, "rate of step {i}");
        close("loss", i, report.loss, losses[i]);
        close("gradient norm", i, report.grad_norm, norms[i]);
    }
    let tensors = Checkpoint::open_file(&folder(name).join(case["tensors"].as_str().unwrap())).unwrap();
    let backend = Arc::clone(&model.backend);
    // The fixture has no final weights of full training.
    for parameter in model.parameters_mut().into_iter().filter(|_| !is_full) {
        let golden = format!("final.{}", parameter.name);
        let shape = tensors.shape(&golden).unwrap().to_vec();
        let off = distance(&parameter.to_f32(&backend), &tensors.values(&golden, &shape).unwrap());
        assert!(off < tolerance, "{name} {section} {}: off by {off:e}", parameter.name);
    }
}

const TOGETHER: usize = 512;
/// Every example its own micro-batch.
const APART: usize = 1;

#[test]
fn lora_on_the_cpu() {
    check(CpuBackend::new(), "gqa-tied", "lora", TOGETHER, 1e-4);
    check(CpuBackend::new(), "mha-untied", "lora", TOGETHER, 1e-4);
}

#[test]
fn lora_in_the_reference() {
    check(ReferenceBackend, "gqa-tied", "lora", TOGETHER, 2e-5);
    check(ReferenceBackend, "mha-untied", "lora", TOGETHER, 2e-5);
}

#[test]
fn transformers_34191_accumulation_is_normalised_per_token() {
    // The examples have 4, 7 and 10 labels: a mean of their means would be another loss.
    check(CpuBackend::new(), "gqa-tied", "lora", APART, 1e-4);
    check(ReferenceBackend, "mha-untied", "lora", APART, 2e-5);
}

#[test]
fn modules_to_save_beside_lora() {
    for name in ["gqa-tied", "mha-untied"] {
        check(CpuBackend::new(), name, "saved", TOGETHER, 1e-4);
        check(ReferenceBackend, name, "saved", TOGETHER, 2e-5);
    }
    check(CpuBackend::new(), "gqa-tied", "saved_tied", TOGETHER, 1e-4);
}

#[test]
fn ranks_of_their_own_with_lora_plus() {
    for name in ["gqa-tied", "mha-untied"] {
        check(CpuBackend::new(), name, "patterns", TOGETHER, 1e-4);
        check(ReferenceBackend, name, "patterns", TOGETHER, 2e-5);
    }
}

#[test]
fn dora_and_dora_with_lora_plus() {
    for name in ["gqa-tied", "mha-untied"] {
        for section in ["dora", "dora_patterns"] {
            check(CpuBackend::new(), name, section, TOGETHER, 1e-4);
            check(ReferenceBackend, name, section, APART, 2e-5);
        }
    }
}

#[test]
fn full_training() {
    for name in ["gqa-tied", "mha-untied"] {
        check(CpuBackend::new(), name, "base", TOGETHER, 1e-4);
        check(ReferenceBackend, name, "base", APART, 2e-5);
    }
}
