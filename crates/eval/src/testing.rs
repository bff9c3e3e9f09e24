//! Tiny models, tokenizers and cards for tests.

use crate::card::{ReplyPair, ReportCard, SideCard, Skipped};
use crate::control::Control;
use crate::share::Share;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{AdapterInfo, Config, Decoder, LoraConfig, Rope, RopeScaling, Weight};
use tolmach_tokenize::Tokenizer;

const SENTENCES: [&str; 3] = [
    "Ниже дано задание. Напишите ответ, который полностью его выполняет.\n\n### Задание:\n\n### Ответ:\n",
    "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\n\n### Response:\n",
    "кот кот кот сидел на ковре the cat sat on the mat",
];

pub const VOCAB: usize = 340;

/// Byte-level BPE with `<s>` = 0, `</s>` = 1.
pub fn write_tokenizer(folder: &Path, add_bos: bool) {
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let special = ["<s>", "</s>"].map(|t| AddedToken::from(t, true)).to_vec();
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainer::builder().show_progress(false).vocab_size(VOCAB).special_tokens(special);
    let mut trainer = TrainerWrapper::BpeTrainer(trainer.initial_alphabet(alphabet).build());
    tokenizer.train(&mut trainer, SENTENCES.iter()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string(false).unwrap()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": add_bos});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

fn load(add_bos: bool) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path(), add_bos);
    Tokenizer::load(folder.path()).unwrap()
}

pub fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| load(true));
    &TOKENIZER
}

pub fn tokenizer_without_bos() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| load(false));
    &TOKENIZER
}

fn config() -> Config {
    Config {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: VOCAB,
        max_position_embeddings: 400,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

pub fn model(seed: u64) -> Decoder<CpuBackend> {
    Decoder::random(Arc::new(CpuBackend::new()), config(), seed).unwrap()
}

/// A model folder: config, weights, tokenizer.
pub fn write_model(folder: &Path, seed: u64) {
    model(seed).save(folder, Dtype::F32).unwrap();
    write_tokenizer(folder, true);
}

/// An adapter of [`model`]; `trained`: with values that change the logits.
pub fn write_adapter(folder: &Path, seed: u64, modules_to_save: &[&str], trained: bool) {
    let lora = LoraConfig {
        rank: 2,
        alpha: 8.0,
        dropout: 0.1,
        target_modules: vec!["q_proj".into(), "down_proj".into()],
        modules_to_save: modules_to_save.iter().map(|m| (*m).to_string()).collect(),
        ..LoraConfig::of_rank(2)
    };
    let mut model = model(seed);
    model.add_lora(&lora, 1).unwrap();
    if trained {
        for parameter in model.parameters_mut() {
            for (i, x) in parameter.value.iter_mut().enumerate() {
                *x += 0.05 * ((i * 7919) % 13) as f32 - 0.3;
            }
        }
    }
    let info = AdapterInfo { lora, base_model_name_or_path: None };
    model.save_adapter(folder, &info).unwrap();
}

/// Make `token` the likeliest next one, whatever the prompt: all logits but its own are zero, and its
/// own is made positive by a head row along the last norm's constant direction.
pub fn always_say(model: &mut Decoder<CpuBackend>, token: u32) {
    let c = model.config.hidden_size;
    model.train_all();
    let weight = match &mut model.head {
        tolmach_model::Head::Own(weight) => weight,
        tolmach_model::Head::Tied => &mut model.embed_tokens,
    };
    if let Weight::Trained { parameter, .. } = weight {
        parameter.value.fill(0.0);
        parameter.value[token as usize * c..][..c].fill(1.0);
    }
    // A residual stream of positive numbers only: every embedding 1, no block adds anything.
    for parameter in model.parameters_mut() {
        if parameter.name.contains("o_proj") || parameter.name.contains("down_proj") {
            parameter.value.fill(0.0);
        }
        if parameter.name.contains("embed_tokens") {
            parameter.value.fill(1.0);
        }
    }
}

/// A card of 16 replies.
pub fn card() -> ReportCard {
    let side = |hits: usize, bits: f64| {
        let exact = Share { count: hits, of: 16 };
        let mut side = SideCard { examples: 16, exact_match: exact.value(), ..SideCard::default() };
        side.bits_per_byte = Some(bits);
        side.intervals.insert("exact_match".into(), exact.interval().unwrap());
        side
    };
    ReportCard {
        version: "0".into(),
        base_model: "base".into(),
        adapter: Some("adapter".into()),
        base: side(0, 4.0),
        tuned: Some(side(12, 1.25)),
        control: Control {
            prompts: 4,
            logits: 1000,
            zero_adapter_equals_base: true,
            base_side_equals_base: Some(true),
            tuned_differs_from_base: Some(true),
        },
        language: Some("ru".into()),
        source_language: None,
        template: "alpaca-ru".into(),
        source_template: None,
        decoding: "greedy".into(),
        max_new_tokens: 128,
        skipped: Skipped::default(),
        samples: vec![ReplyPair {
            set: "target".into(),
            id: "1".into(),
            prompt: "Столица Франции?".into(),
            reference: Some("Париж".into()),
            base: "The capital".into(),
            tuned: Some("Париж".into()),
        }],
        seconds: 1.5,
    }
}
