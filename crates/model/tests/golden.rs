//! Our arithmetic and our files against torch + transformers + peft: `fixtures/golden/`.
//!
//! Everything runs on both backends: `reference` (f64) must agree as closely as torch's own f32 noise
//! allows, `cpu` (f32) within 1e-4.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_engine::{Backend, CpuBackend, ReferenceBackend};
use tolmach_model::{
    AdapterInfo, Batch, Checkpoint, Decoder, KvCache, Noises, Sampler, SamplingConfig, Side, generate,
    generate_all,
};

const MODELS: [&str; 2] = ["gqa-tied", "mha-untied"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn cases(model: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(model).join("cases.json")).unwrap()).unwrap()
}

/// The three examples as one packed micro-batch.
struct Packed {
    input_ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Range<usize>>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Packed {
    /// By hand from unshifted labels, so that the packing of `tolmach-tokenize` is not its own judge.
    fn new(cases: &Value, which: Range<usize>) -> Self {
        let mut p =
            Packed { input_ids: vec![], positions: vec![], segments: vec![], rows: vec![], targets: vec![] };
        for example in &cases["examples"].as_array().unwrap()[which] {
            let ids: Vec<u32> = serde_json::from_value(example["input_ids"].clone()).unwrap();
            let labels: Vec<i64> = serde_json::from_value(example["labels"].clone()).unwrap();
            let start = p.input_ids.len();
            for t in 1..ids.len() {
                if labels[t] != -100 {
                    p.rows.push(start + t - 1);
                    p.targets.push(labels[t] as u32);
                }
            }
            p.positions.extend(0..ids.len() as u32);
            p.segments.push(start..start + ids.len());
            p.input_ids.extend(ids);
        }
        p
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            input_ids: &self.input_ids,
            positions: &self.positions,
            segments: &self.segments,
            prefixes: &[],
            rows: &self.rows,
            targets: &self.targets,
        }
    }

    fn all_rows(&self) -> Vec<usize> {
        (0..self.input_ids.len()).collect()
    }
}

/// Largest difference over the largest magnitude.
fn distance(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let diff = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    let size = theirs.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
    assert!(ours.iter().all(|x| x.is_finite()));
    diff / size
}

fn expected(file: &Checkpoint, name: &str) -> Vec<f32> {
    let shape = file.shape(name).unwrap().to_vec();
    file.values(name, &shape).unwrap()
}

fn load<B: Backend>(backend: B, model: &str) -> Decoder<B> {
    Decoder::load(Arc::new(backend), &fixture(model)).unwrap()
}

/// Logits of every example from one packed pass, loss and gradients of the step, by name.
fn check_section<B: Backend>(
    mut model: Decoder<B>,
    folder: &str,
    cases: &Value,
    section: &str,
    tolerance: f64,
) {
    let what = |x: &str| format!("{folder} {section} {x}");
    let file =
        Checkpoint::open_file(&fixture(folder).join(cases[section]["tensors"].as_str().unwrap())).unwrap();
    let packed = Packed::new(cases, 0..3);
    let (mut ws, vocab) = (None, model.config.vocab_size);
    let rows = packed.all_rows();
    let all = Batch { rows: &rows, targets: &[], ..packed.batch() };
    let logits = model.logits(&mut ws, all, Side::Tuned).unwrap();
    for (i, segment) in packed.segments.iter().enumerate() {
        let d = distance(
            &logits[segment.start * vocab..segment.end * vocab],
            &expected(&file, &format!("logits.{i}")),
        );
        assert!(d < tolerance, "{}: {d:e}", what(&format!("logits of example {i}")));
    }
    let labelled = packed.rows.len() as f64;
    let mean = |losses: Vec<f64>| losses.iter().sum::<f64>() / labelled;
    let loss = cases[section]["loss"].as_f64().unwrap();
    let forward = mean(model.losses(&mut ws, packed.batch(), Side::Tuned).unwrap());
    assert!((forward - loss).abs() < tolerance * loss, "{}: {forward} {loss}", what("loss"));
    if !file.names().any(|n| n.starts_with("grad.")) {
        return;
    }
    model.clear_gradients();
    let trained =
        mean(model.losses_backward(&mut None, packed.batch(), Noises::default(), 1.0 / labelled).unwrap());
    assert!((trained - loss).abs() < tolerance * loss, "{}: {trained} {loss}", what("trained loss"));
    let backend = Arc::clone(&model.backend);
    let mut seen = 0;
    for p in model.parameters_mut() {
        let mut grad = vec![0.0; p.len()];
        backend.download(&p.grad, &mut grad);
        let d = distance(&grad, &expected(&file, &format!("grad.{}", p.name)));
        assert!(d < tolerance, "{}: {d:e}", what(&p.name));
        seen += 1;
    }
    let named = file.names().filter(|n| n.starts_with("grad.")).count();
    // A tied, trained pair of ends is one parameter under two names.
    let twice = usize::from(section == "saved_tied" && file.contains("grad.base_model.model.lm_head.weight"));
    assert_eq!(seen + twice, named, "{}", what("every gradient has its parameter"));
}

fn check_model<B: Backend>(backend: impl Fn() -> B, tolerance: f64) {
    for folder in MODELS {
        let cases = cases(folder);
        let mut full = load(backend(), folder);
        full.train_all();
        check_section(full, folder, &cases, "base", tolerance);
        for section in ["lora", "rslora", "patterns", "dora", "dora_patterns", "saved", "saved_tied"] {
            if cases[section].is_null() {
                continue;
            }
            let mut model = load(backend(), folder);
            let adapter = fixture(folder).join(cases[section]["adapter"].as_str().unwrap());
            model.load_adapter(&adapter).unwrap();
            check_section(model, folder, &cases, section, tolerance);
        }
    }
}

#[test]
fn logits_losses_and_every_gradient_equal_torch_on_reference() {
    check_model(|| ReferenceBackend, 1e-5);
}

#[test]
fn logits_losses_and_every_gradient_equal_torch_on_cpu() {
    check_model(CpuBackend::new, 1e-4);
}

#[test]
fn half_precision_bases_equal_torch() {
    for folder in ["gqa-tied-bf16", "gqa-tied-f16"] {
        let cases = cases(folder);
        check_section(load(ReferenceBackend, folder), folder, &cases, "base", 1e-5);
        check_section(load(CpuBackend::new(), folder), folder, &cases, "base", 1e-4);
    }
}

/// The base's side of a model with an adapter is the base without it, bit for bit; so is a fresh
/// adapter, whose B is zero (unsloth#4503: a "base" side that is the tuned model).
#[test]
fn unsloth_4503_the_base_side_is_the_untouched_base_bit_for_bit() {
    for folder in MODELS {
        let cases = cases(folder);
        let packed = Packed::new(&cases, 0..3);
        let rows = packed.all_rows();
        let all = Batch { rows: &rows, targets: &[], ..packed.batch() };
        let plain = load(CpuBackend::new(), folder).logits(&mut None, all, Side::Tuned).unwrap();
        let mut tuned = load(CpuBackend::new(), folder);
        let adapter = fixture(folder).join("peft-adapter-saved");
        tuned.load_adapter(&adapter).unwrap();
        assert_ne!(plain, tuned.logits(&mut None, all, Side::Tuned).unwrap());
        assert_eq!(plain, tuned.logits(&mut None, all, Side::Base).unwrap());
        let mut fresh = load(CpuBackend::new(), folder);
        fresh.add_lora(&AdapterInfo::read(&adapter).unwrap().lora, 1).unwrap();
        assert_eq!(plain, fresh.logits(&mut None, all, Side::Tuned).unwrap());
    }
}

/// What peft wrote, read and written again by us, is the same adapter.
#[test]
fn adapters_go_through_us_unchanged() {
    for folder in MODELS {
        for name in [
            "peft-adapter",
            "peft-adapter-rslora",
            "peft-adapter-patterns",
            "peft-adapter-dora",
            "peft-adapter-dora-patterns",
            "peft-adapter-saved",
            "peft-adapter-saved-tied",
        ] {
            let theirs = fixture(folder).join(name);
            if !theirs.exists() {
                continue;
            }
            let mut model = load(CpuBackend::new(), folder);
            let info = model.load_adapter(&theirs).unwrap();
            let dir = tempfile::tempdir().unwrap();
            model.save_adapter(dir.path(), &info).unwrap();
            let again = AdapterInfo::read(dir.path()).unwrap();
            assert_eq!(again.lora, info.lora);
            let (a, b) = (
                Checkpoint::open_file(&theirs.join("adapter_model.safetensors")).unwrap(),
                Checkpoint::open_file(&dir.path().join("adapter_model.safetensors")).unwrap(),
            );
            assert_eq!(a.names().collect::<Vec<_>>(), b.names().collect::<Vec<_>>());
            for tensor in a.names() {
                assert_eq!(expected(&a, tensor), expected(&b, tensor), "{folder} {name} {tensor}");
            }
        }
    }
}

fn greedy<B: Backend>(model: &Decoder<B>, cases: &Value, section: &str, key: &str) {
    let prompt: Vec<u32> = serde_json::from_value(cases["prompt"].clone()).unwrap();
    let want = &cases[section][key];
    let tokens: Vec<u32> = serde_json::from_value(want["tokens"].clone()).unwrap();
    let sampling = SamplingConfig {
        repetition_penalty: want["repetition_penalty"].as_f64().unwrap_or(1.0) as f32,
        ..Default::default()
    };
    let mut cache = KvCache::new(model, Side::Tuned, 1, prompt.len() + tokens.len());
    let mut sampler = Sampler::new(sampling);
    let reply = generate(model, &mut cache, 0, &prompt, &mut sampler, &[], tokens.len(), |_| {
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(reply.unwrap().tokens, tokens, "{section} {key}");
}

#[test]
fn greedy_decoding_with_a_kv_cache_gives_transformers_tokens() {
    for folder in MODELS {
        let cases = cases(folder);
        let mut model = load(CpuBackend::new(), folder);
        greedy(&model, &cases, "base", "greedy");
        model.load_adapter(&fixture(folder).join("peft-adapter")).unwrap();
        greedy(&model, &cases, "lora", "greedy");
        greedy(&model, &cases, "lora", "greedy_repetition_penalty");
    }
}

/// Decoded together or alone, a sequence gets the same logits as in a packed pass.
#[test]
fn sequences_decoded_together_are_the_sequences_decoded_alone() {
    let cases = cases("gqa-tied");
    let model = load(CpuBackend::new(), "gqa-tied");
    let prompts: Vec<Vec<u32>> = cases["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| serde_json::from_value(e["input_ids"].clone()).unwrap())
        .collect();
    let sampling = SamplingConfig::default();
    let alone = generate_all(&model, Side::Tuned, &prompts, &sampling, &[], 12, 1, |_| ()).unwrap();
    for batch in [2, 3] {
        let together =
            generate_all(&model, Side::Tuned, &prompts, &sampling, &[], 12, batch, |_| ()).unwrap();
        for (a, b) in alone.iter().zip(&together) {
            assert_eq!(a.tokens, b.tokens, "batch {batch}");
        }
    }
}

#[test]
fn rope_frequencies_equal_transformers() {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(fixture("rope.json")).unwrap()).unwrap();
    let all = json.as_array().unwrap();
    assert!(all.len() >= 3);
    for case in all {
        let mut config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8,
        });
        for key in ["rope_theta", "head_dim", "rope_scaling"] {
            config[key] = case[key].clone();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let config = tolmach_model::Config::read(&path).unwrap();
        let theirs: Vec<f64> = serde_json::from_value(case["inv_freq"].clone()).unwrap();
        let ours = config.rope.inv_freq(config.head_dim);
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-6 * b.abs(), "{case}: {a} {b}");
        }
    }
}

#[test]
fn probabilities_equal_transformers_logits_processors() {
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("sampling.json")).unwrap()).unwrap();
    let logits: Vec<f32> = serde_json::from_value(json["logits"].clone()).unwrap();
    let history: Vec<u32> = serde_json::from_value(json["history"].clone()).unwrap();
    for case in json["cases"].as_array().unwrap() {
        let real = |key: &str, default: f64| case[key].as_f64().unwrap_or(default) as f32;
        let sampler = Sampler::new(SamplingConfig {
            temperature: real("temperature", 1.0),
            top_p: real("top_p", 1.0),
            top_k: case["top_k"].as_u64().unwrap_or(0) as usize,
            repetition_penalty: real("repetition_penalty", 1.0),
            seed: 0,
        });
        let mut ours = vec![0.0; logits.len()];
        for (token, p) in sampler.probabilities(&logits, &history) {
            ours[token as usize] = p;
        }
        let theirs: Vec<f64> = serde_json::from_value(case["probabilities"].clone()).unwrap();
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-6, "{case}: {a} {b}");
        }
    }
}
