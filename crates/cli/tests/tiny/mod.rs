//! Tiny models, tokenizers and adapters on disk, for tests of the real binary.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::json;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{AdapterInfo, Config, Decoder, LoraConfig, Rope, RopeScaling};

/// Every byte, `<s>`, `</s>`, and a few Cyrillic pieces.
const VOCAB: usize = 300;
pub const CONTEXT: usize = 400;

/// Byte-level BPE: a random model makes it emit every broken piece of UTF-8 there is.
fn write_tokenizer(folder: &Path) {
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let special = ["<s>", "</s>"].map(|t| AddedToken::from(t, true)).to_vec();
    let trainer = BpeTrainer::builder().show_progress(false).vocab_size(VOCAB).special_tokens(special);
    let trainer = trainer.initial_alphabet(ByteLevel::alphabet().into_iter().collect()).build();
    let text = ["Ниже дано задание. Напишите ответ. кот кот кот сидел на ковре и смотрел на кота"];
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), text.iter()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string(false).unwrap()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

fn model() -> Decoder<CpuBackend> {
    let config = Config {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: VOCAB,
        max_position_embeddings: CONTEXT,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    };
    Decoder::random(Arc::new(CpuBackend::new()), config, 11).unwrap()
}

/// `base` and `adapter` (trained, with the Russian template) in a folder.
pub fn write_models(folder: &Path) {
    let base = folder.join("base");
    std::fs::create_dir(&base).unwrap();
    model().save(&base, Dtype::F32).unwrap();
    write_tokenizer(&base);

    let lora = LoraConfig {
        rank: 2,
        alpha: 8.0,
        dropout: 0.0,
        target_modules: vec!["all-linear".into()],
        modules_to_save: vec!["embed_tokens".into()],
        ..LoraConfig::of_rank(2)
    };
    let mut tuned = Decoder::load(Arc::new(CpuBackend::new()), &base).unwrap();
    tuned.add_lora(&lora, 1).unwrap();
    for parameter in tuned.parameters_mut() {
        for (i, x) in parameter.value.iter_mut().enumerate() {
            *x += 0.05 * ((i * 7919) % 13) as f32 - 0.3;
        }
    }
    let adapter = folder.join("adapter");
    tuned.save_adapter(&adapter, &AdapterInfo { lora, base_model_name_or_path: None }).unwrap();
    std::fs::write(adapter.join("template.json"), r#"{"template": "alpaca-ru"}"#).unwrap();
}

/// Run `tolmach ARGS` in a folder; standard input is `input`.
pub fn tolmach(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    // A program that ends before it has read everything is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Standard output of a run that must succeed.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("standard output is UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
