//! Tiny tokenizers for tests, made in code and loaded from a folder as any other.

use crate::Tokenizer;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Model, PreTokenizerWrapper};

const SENTENCES: &[&str] = &[
    "the cat sat on the mat and the dog sat on the log",
    "Below is an instruction that describes a task. Write a response that completes the request.",
    "### Instruction:\nName the capital of France.\n\n### Response:\nParis is the capital of France.",
    "\n\nfirst\n\nsecond\n\nthird\n\nanswers begin with newlines\n\n",
    "кот сидел на ковре, а собака сидела на бревне",
    "Ниже дано задание. Напишите ответ, который полностью его выполняет.",
    "### Задание:\nНазови столицу Франции.\n\n### Ответ:\nПариж — столица Франции.",
];

/// Byte-level BPE as of GPT-2, Llama 3, Qwen: `<s>`, `</s>` named by tokenizer_config.json, BOS added.
pub fn byte_level() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        load(&byte_level_json(), json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true}))
    });
    &TOKENIZER
}

/// BPE in SentencePiece's manner as of Llama 1 and 2: `▁`, byte fallback, a decoder that strips the
/// first space. No Cyrillic capital letter `Щ` and no CJK in the vocabulary.
pub fn sentencepiece() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> =
        LazyLock::new(|| load(&sentencepiece_json(), json!({"tokenizer_class": "LlamaTokenizer"})));
    &TOKENIZER
}

/// Write `tokenizer.json` and the named files beside it.
pub fn write_folder(folder: &Path, tokenizer: &Value, files: &[(&str, Value)]) {
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, value) in files {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }
}

fn load(tokenizer: &Value, config: Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), tokenizer, &[("tokenizer_config.json", config)]);
    Tokenizer::load(folder.path()).unwrap()
}

pub fn byte_level_json() -> Value {
    static JSON: LazyLock<Value> = LazyLock::new(|| {
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
        // As in GPT-2's file: it trims the spaces from offsets, which must not reach the mask.
        tokenizer.with_post_processor(Some(ByteLevel::default().trim_offsets(true)));
        let special = ["<s>", "</s>"].map(|t| AddedToken::from(t, true)).to_vec();
        let alphabet = ByteLevel::alphabet().into_iter().collect();
        let trainer = BpeTrainer::builder().show_progress(false).vocab_size(380).special_tokens(special);
        train(&mut tokenizer, trainer.initial_alphabet(alphabet).build());
        to_json(&tokenizer)
    });
    JSON.clone()
}

pub fn sentencepiece_json() -> Value {
    static JSON: LazyLock<Value> = LazyLock::new(|| {
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        let metaspace = Metaspace::new('▁', PrependScheme::First, false);
        tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Metaspace(Metaspace::new(
            '▁',
            PrependScheme::First,
            true,
        ))));
        let bytes = (0..=255u8).map(|b| format!("<0x{b:02X}>"));
        let special = ["<unk>", "<s>", "</s>"].map(String::from).into_iter().chain(bytes);
        let special = special.map(|t| AddedToken::from(t, true)).collect();
        let trainer = BpeTrainer::builder().show_progress(false).vocab_size(480).special_tokens(special);
        train(&mut tokenizer, trainer.build());
        tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Metaspace(metaspace)));

        let mut json = to_json(&tokenizer);
        json["model"]["byte_fallback"] = json!(true);
        json["model"]["fuse_unk"] = json!(true);
        json["model"]["unk_token"] = json!("<unk>");
        json["added_tokens"].as_array_mut().unwrap().truncate(3);
        json["decoder"] = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        // The newline is a byte there, not a piece.
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        assert!(vocab.remove("\n").is_some());
        vocab.retain(|piece, _| !piece.contains('\n'));
        json["model"]["merges"].as_array_mut().unwrap().retain(|merge| !merge.to_string().contains("\\n"));
        json
    });
    JSON.clone()
}

fn train(tokenizer: &mut tokenizers::Tokenizer, trainer: BpeTrainer) {
    let mut trainer = TrainerWrapper::BpeTrainer(trainer);
    tokenizer.train(&mut trainer, SENTENCES.iter()).unwrap();
    assert!(tokenizer.get_model().get_vocab_size() > 300);
}

fn to_json(tokenizer: &tokenizers::Tokenizer) -> Value {
    serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap()
}
