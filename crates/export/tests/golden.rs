//! Merged weights against peft's, GGUF bytes against the gguf package's: `fixtures/golden/`.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_engine::CpuBackend;
use tolmach_export::gguf::quantize::{decode, encode};
use tolmach_export::gguf::{Gguf, GgufWriter, Kind, TensorHeader, TensorType, Value};
use tolmach_export::{Source, TunedModel, logits, tensors};
use tolmach_model::{Batch, Checkpoint};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

/// Largest difference over the largest magnitude.
fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    off / theirs.iter().map(|b| b.abs()).fold(0.0, f32::max)
}

#[test]
fn merged_weights_are_pefts() {
    for model in ["gqa-tied", "mha-untied"] {
        let folder = fixture(model);
        let ours = TunedModel::open(&folder, Some(&folder.join("peft-adapter"))).unwrap();
        let theirs = Checkpoint::open_file(&folder.join("merged.safetensors")).unwrap();
        let mut values = Vec::new();
        let mut changed = 0;
        for tensor in tensors(ours.config()) {
            ours.read(&tensor, &mut values).unwrap();
            let expected = theirs.values(&tensor.name, &tensor.shape).unwrap();
            let off = distance(&values, &expected);
            assert!(off < 1e-6, "{model}, {}: {off}", tensor.name);
            let base = Checkpoint::open_folder(&folder).unwrap().values(&tensor.name, &tensor.shape).unwrap();
            changed += usize::from(base != values);
        }
        assert_eq!(changed, 7 * ours.config().num_hidden_layers, "{model}");
    }
}

#[test]
fn merged_dora_weights_are_pefts() {
    for model in ["gqa-tied", "mha-untied"] {
        let folder = fixture(model);
        let ours = TunedModel::open(&folder, Some(&folder.join("peft-adapter-dora"))).unwrap();
        let theirs = Checkpoint::open_file(&folder.join("merged-dora.safetensors")).unwrap();
        let mut values = Vec::new();
        let layers: Vec<_> =
            tensors(ours.config()).into_iter().filter(|t| t.name.contains("_proj.")).collect();
        assert_eq!(layers.len(), theirs.names().count());
        for tensor in layers {
            ours.read(&tensor, &mut values).unwrap();
            let off = distance(&values, &theirs.values(&tensor.name, &tensor.shape).unwrap());
            assert!(off < 1e-6, "{model}, {}: {off}", tensor.name);
        }
    }
}

/// What peft computes with the adapter beside the base, the merged model computes: plain LoRA, rsLoRA, trained
/// modules, a tied head that comes apart and one that does not.
#[test]
fn merged_logits_are_pefts() {
    let cases = [
        ("gqa-tied", "peft-adapter", "lora", true),
        ("gqa-tied", "peft-adapter-rslora", "lora-rslora", true),
        ("gqa-tied", "peft-adapter-saved", "lora-saved", false),
        ("gqa-tied", "peft-adapter-saved-tied", "lora-saved-tied", true),
        ("gqa-tied", "peft-adapter-patterns", "lora-patterns", true),
        ("gqa-tied", "peft-adapter-dora", "lora-dora", true),
        ("gqa-tied", "peft-adapter-dora-patterns", "lora-dora-patterns", true),
        ("mha-untied", "peft-adapter-dora", "lora-dora", false),
        ("mha-untied", "peft-adapter", "lora", false),
        ("mha-untied", "peft-adapter-patterns", "lora-patterns", false),
        ("mha-untied", "peft-adapter-rslora", "lora-rslora", false),
        ("mha-untied", "peft-adapter-saved", "lora-saved", false),
    ];
    for (model, adapter, file, tied) in cases {
        let folder = fixture(model);
        let merged = TunedModel::open(&folder, Some(&folder.join(adapter))).unwrap();
        assert_eq!(merged.config().tie_word_embeddings, tied, "{model}, {adapter}");
        let text = std::fs::read_to_string(folder.join("cases.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
        let theirs = Checkpoint::open_file(&folder.join(format!("{file}.safetensors"))).unwrap();
        for (number, example) in cases["examples"].as_array().unwrap().iter().enumerate() {
            let ids: Vec<u32> = serde_json::from_value(example["input_ids"].clone()).unwrap();
            let positions: Vec<u32> = (0..ids.len() as u32).collect();
            let rows: Vec<usize> = (0..ids.len()).collect();
            let segment = 0..ids.len();
            let batch = Batch {
                input_ids: &ids,
                positions: &positions,
                segments: std::slice::from_ref(&segment),
                prefixes: &[],
                rows: &rows,
                targets: &[],
            };
            let ours = logits(&merged, Arc::new(CpuBackend::new()), batch).unwrap();
            let shape = [ids.len(), merged.config().vocab_size];
            let expected = theirs.values(&format!("logits.{number}"), &shape).unwrap();
            let off = distance(&ours, &expected);
            assert!(off < 1e-4, "{model}, {adapter}, example {number}: {off}");
        }
    }
}

const BLOCKS: [(&str, TensorType); 4] = [
    ("f16", TensorType::F16),
    ("bf16", TensorType::Bf16),
    ("q8_0", TensorType::Q8_0),
    ("q4_0", TensorType::Q4_0),
];

fn blocks() -> Gguf {
    Gguf::open(&fixture("gguf/blocks.gguf")).unwrap()
}

#[test]
fn blocks_are_the_gguf_packages_bit_for_bit() {
    let file = blocks();
    let mut values = Vec::new();
    file.values("values", &[6, 512], &mut values).unwrap();
    for (name, tensor_type) in BLOCKS {
        let stored = file.tensor(name).unwrap();
        assert_eq!((stored.tensor_type, stored.shape), (tensor_type, &[6, 512][..]));
        let ours = encode(tensor_type, &values);
        let wrong = ours.iter().zip(stored.bytes).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "{name}: byte {wrong:?} of {}", ours.len());
        assert_eq!(ours.len(), stored.bytes.len());
    }
}

#[test]
fn q4_k_is_read_as_the_gguf_package_reads_it() {
    let file = blocks();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    file.values("q4_k", &[2, 512], &mut ours).unwrap();
    file.values("q4_k.values", &[2, 512], &mut theirs).unwrap();
    assert_eq!(ours, theirs);
}

/// The package only reads Q4_K; what we write in it, read back, must be close. `q4_0` has as many bits.
#[test]
fn q4_k_is_closer_than_q4_0() {
    let mut values = Vec::new();
    blocks().values("values", &[6, 512], &mut values).unwrap();
    for (row, x) in values.chunks(512).enumerate() {
        let error = |tensor_type| {
            let mut back = vec![0.0; x.len()];
            decode(tensor_type, &encode(tensor_type, x), &mut back);
            let off: f32 = x.iter().zip(&back).map(|(a, b)| (a - b).powi(2)).sum();
            (off / x.iter().map(|v| v * v).sum::<f32>()).sqrt()
        };
        let (q4_k, q4_0) = (error(TensorType::Q4K), error(TensorType::Q4_0));
        // The one huge number of row 0 is all of its size: both types are as good as exact.
        assert!(q4_k < 0.1 && (q4_k < q4_0 || row == 0), "row {row}: {q4_k} against {q4_0}");
    }
}

#[test]
fn metadata_is_read_as_it_was_written() {
    let file = blocks();
    for (key, value) in metadata() {
        assert_eq!(file.metadata(&key), Some(&value), "{key}");
    }
}

/// The file once more, by our writer.
#[test]
fn files_are_the_gguf_packages_byte_for_byte() {
    let theirs = blocks();
    let names = ["values", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q4_k.values", "short"];
    let headers = names.map(|name| {
        let stored = theirs.tensor(name).unwrap();
        TensorHeader { name: name.into(), shape: stored.shape.to_vec(), tensor_type: stored.tensor_type }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blocks.gguf");
    let mut writer = GgufWriter::create(&path, &metadata(), &headers).unwrap();
    for name in names {
        writer.push(theirs.tensor(name).unwrap().bytes).unwrap();
    }
    writer.commit().unwrap();
    assert!(std::fs::read(path).unwrap() == std::fs::read(fixture("gguf/blocks.gguf")).unwrap());
}

fn metadata() -> Vec<(String, Value)> {
    let pairs = [
        ("general.architecture", Value::text("llama")),
        ("general.name", Value::text("Blocks, блоки")),
        ("kind.uint8", Value::U8(200)),
        ("kind.int8", Value::I8(-100)),
        ("kind.uint16", Value::U16(60_000)),
        ("kind.int16", Value::I16(-30_000)),
        ("kind.uint32", Value::U32(4_000_000_000)),
        ("kind.int32", Value::I32(-2_000_000_000)),
        ("kind.float32", Value::F32(1e-5)),
        ("kind.uint64", Value::U64(1 << 40)),
        ("kind.int64", Value::I64(-(1 << 40))),
        ("kind.float64", Value::F64(0.1)),
        ("kind.bool", Value::Bool(true)),
        ("kind.string", Value::text("толмач")),
        ("kind.array.int", Value::Array(Kind::I32, vec![Value::I32(1), Value::I32(-2), Value::I32(3)])),
        ("kind.array.string", Value::texts(["a".into(), "я".into(), String::new()])),
    ];
    pairs.map(|(key, value)| (key.to_string(), value)).to_vec()
}
