//! A tiny model with its tokenizer and an adapter, on disk.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{
    AdapterInfo, Config, Decoder, LoraConfig, NamedTensor, Rope, RopeScaling, write_tensors,
};
use tolmach_tokenize::Tokenizer;

pub const BYTES: usize = 256;

/// A model folder and an adapter folder that live as long as this.
pub struct Folders {
    pub dir: tempfile::TempDir,
    pub base: PathBuf,
    pub adapter: PathBuf,
    pub tokenizer: Tokenizer,
}

/// A base with a tied head and a SentencePiece-like tokenizer, and an adapter that also trained `saved`.
pub fn folders(saved: &[&str]) -> Folders {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = (dir.path().join("base"), dir.path().join("adapter"));
    write_model(&base, &config(), 1.0);
    write_sentencepiece_json(&base);
    write_adapter(&base, &adapter, saved);
    let tokenizer = Tokenizer::load(&base).unwrap();
    Folders { dir, base, adapter, tokenizer }
}

pub fn config() -> Config {
    Config {
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        vocab_size: 330,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

/// Numbers in a bell shape, from a small generator.
fn numbers(count: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| spread * 2.0 * (0..3).map(|_| uniform()).sum::<f32>()).collect()
}

/// Random weights. Every 32nd number of a matrix is `outlier` times as large: 4 bits cannot hold both.
pub fn write_model(folder: &Path, config: &Config, outlier: f32) {
    std::fs::create_dir_all(folder).unwrap();
    let tensors: Vec<NamedTensor> = crate::source::tensors(config)
        .into_iter()
        .zip(1..)
        .map(|(tensor, seed)| {
            let spread = if tensor.is_matrix() { 0.07 } else { 0.2 };
            let mut values = numbers(tensor.len(), seed, spread);
            if tensor.is_matrix() {
                values.iter_mut().step_by(32).for_each(|v| *v *= outlier);
            } else {
                values.iter_mut().for_each(|v| *v += 1.0);
            }
            NamedTensor { name: tensor.name, shape: tensor.shape, values }
        })
        .collect();
    write_tensors(&folder.join("model.safetensors"), &tensors, Dtype::F32, HashMap::new()).unwrap();
    write_json(&folder.join("config.json"), &config.to_json());
}

pub fn write_adapter(base: &Path, folder: &Path, saved: &[&str]) {
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        target_modules: vec!["all-linear".into()],
        modules_to_save: saved.iter().map(|s| s.to_string()).collect(),
        ..LoraConfig::of_rank(4)
    };
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), base).unwrap();
    model.add_lora(&lora, 1).unwrap();
    for (seed, parameter) in (100..).zip(model.parameters_mut()) {
        let more = numbers(parameter.len(), seed, 0.05);
        parameter.value.iter_mut().zip(more).for_each(|(v, more)| *v += more);
    }
    model.save_adapter(folder, &AdapterInfo { lora, base_model_name_or_path: None }).unwrap();
    std::fs::write(folder.join("template.json"), r#"{"template": "alpaca-ru"}"#).unwrap();
}

fn write_json(path: &Path, json: &Value) {
    std::fs::write(path, format!("{json:#}")).unwrap();
}

fn write_token_names(folder: &Path) {
    let names = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": true});
    write_json(&folder.join("tokenizer_config.json"), &names);
}

const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];

fn tokenizer_json(model: &Value, rest: &Value) -> Value {
    let added: Vec<Value> = (0..)
        .zip(SPECIAL)
        .map(|(id, content): (u32, _)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model
    });
    for (key, value) in rest.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

fn ids(tokens: impl IntoIterator<Item = String>) -> Value {
    Value::Object(tokens.into_iter().zip(0..).map(|(token, id): (_, u32)| (token, id.into())).collect())
}

/// What a SentencePiece BPE model becomes in `tokenizer.json`: bytes, letters, and pieces merged from them.
pub fn write_sentencepiece_json(folder: &Path) {
    let merges =
        [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "a"), ("i", "n"), ("с", "т"), ("▁", "с"), ("о", "ст")];
    let bytes = (0..BYTES).map(|byte| format!("<0x{byte:02X}>"));
    let letters = "▁abcdefghijklmnopqrstuvwxyzабвгдежзиклмнопрстуя".chars().map(String::from);
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let tokens = SPECIAL.map(String::from).into_iter().chain(bytes).chain(letters).chain(merged);
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": ids(tokens), "merges": merges.map(|(a, b)| json!([a, b]))
    });
    let normalizer = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    ]});
    let json = tokenizer_json(&model, &json!({"normalizer": normalizer}));
    write_json(&folder.join("tokenizer.json"), &json);
    write_token_names(folder);
}

/// The characters that stand for the 256 bytes in a byte-level vocabulary.
fn byte_characters() -> Vec<char> {
    let plain = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    (0..256u32)
        .map(|byte| {
            let code = if plain(byte) { byte } else { next };
            next += u32::from(!plain(byte));
            char::from_u32(code).unwrap()
        })
        .collect()
}

/// Byte-level BPE with a few merges.
pub fn write_byte_level_json(folder: &Path, pre_tokenizer: &Value) {
    let merges = ["Ġ t", "h e", "Ġt he", "Ð °", "1 2"];
    let merged = merges.iter().map(|merge| merge.replace(' ', ""));
    let bytes = byte_characters().into_iter().map(String::from);
    let tokens = SPECIAL.map(String::from).into_iter().chain(bytes).chain(merged);
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": ids(tokens), "merges": merges
    });
    let json = tokenizer_json(&model, &json!({"pre_tokenizer": pre_tokenizer}));
    write_json(&folder.join("tokenizer.json"), &json);
    write_token_names(folder);
}
