use super::{Path, Result, SPLITS, TokenKind, Vocabulary, VocabularyModel};
use crate::gguf::Encoder;
use crate::prompts::{SPACED, TEXTS};
use crate::testing::{write_byte_level_json, write_sentencepiece_json};
use serde_json::{Value, json};
use tolmach_tokenize::Tokenizer;

const ROWS: usize = 700;

fn read(folder: &Path) -> Result<(Tokenizer, Vocabulary)> {
    let tokenizer = Tokenizer::load(folder)?;
    let vocabulary = Vocabulary::read(folder, &tokenizer, ROWS)?;
    Ok((tokenizer, vocabulary))
}

/// Our tokenizer and llama.cpp's way with the vocabulary cut the texts alike.
fn cut_alike(tokenizer: &Tokenizer, vocabulary: &Vocabulary, texts: &[&str]) {
    let encoder = Encoder::new(vocabulary).unwrap();
    for text in texts {
        assert_eq!(encoder.encode(text).unwrap(), tokenizer.encode(text, true).unwrap().ids, "{text:?}");
    }
}

/// The tokenizer made of the vocabulary again is the one that it was made of: ids, text, special tokens.
fn comes_back(tokenizer: &Tokenizer, vocabulary: &Vocabulary) {
    let again = vocabulary.tokenizer(Path::new("model.gguf")).unwrap();
    for text in all_texts() {
        let ids = tokenizer.encode(text, true).unwrap().ids;
        assert_eq!(again.encode(text, true).unwrap().ids, ids, "{text:?}");
        let squeezed = vocabulary.remove_extra_whitespaces;
        let expected = if squeezed { tokenizer.decode(&ids, true) } else { text.to_string() };
        assert_eq!(again.decode(&ids, true), expected);
    }
    let special = |t: &Tokenizer| (t.bos(), t.eos_ids().to_vec(), t.unk(), t.adds_bos());
    assert_eq!(special(&again), special(tokenizer));
    for id in (0..tokenizer.vocab_size() as u32).filter(|id| Some(*id) != tokenizer.unk()) {
        assert_eq!(again.token_text(id), tokenizer.token_text(id));
        assert_eq!(again.is_special(id), tokenizer.is_special(id), "{:?}", again.token_text(id));
    }
}

fn all_texts() -> Vec<&'static str> {
    TEXTS.into_iter().chain(SPACED).collect()
}

#[test]
fn sentencepiece_in_tokenizer_json_becomes_llama() {
    let dir = tempfile::tempdir().unwrap();
    write_sentencepiece_json(dir.path());
    let (tokenizer, vocabulary) = read(dir.path()).unwrap();
    let VocabularyModel::Llama { scores, add_space_prefix: true } = &vocabulary.model else {
        panic!("{:?}", vocabulary.model)
    };
    let id = |text: &str| vocabulary.tokens.iter().position(|t| t == text).unwrap();
    // Merged in the order of the list; the rank is the score.
    assert_eq!((scores[id("▁t")], scores[id("▁the")]), (0.0, -2.0));
    let kind = |text: &str| vocabulary.kinds[id(text)];
    assert_eq!(kind("<unk>"), TokenKind::Unknown);
    assert_eq!((kind("<s>"), kind("</s>")), (TokenKind::Control, TokenKind::Control));
    assert_eq!((kind("<0x0A>"), kind("▁the")), (TokenKind::Byte, TokenKind::Normal));
    // Rows of the embedding that the tokenizer has no token for.
    assert_eq!((vocabulary.tokens.len(), scores.len()), (ROWS, ROWS));
    assert_eq!((vocabulary.tokens[699].as_str(), vocabulary.kinds[699]), ("[PAD699]", TokenKind::Unused));
    assert_eq!((vocabulary.bos, vocabulary.eos, vocabulary.add_bos), (Some(1), Some(2), true));
    cut_alike(&tokenizer, &vocabulary, &all_texts());
    comes_back(&tokenizer, &vocabulary);
}

#[test]
fn byte_level_patterns_have_llama_cpps_names() {
    let bytes = |own: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let split = |pattern: &str| {
        let pattern = json!({"Regex": pattern});
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
    };
    let sequence = |first: Value, own| json!({"type": "Sequence", "pretokenizers": [first, bytes(own)]});
    let cases = [
        (bytes(true), "gpt-2"),
        (sequence(digits, true), "smollm"),
        (sequence(split(SPLITS[0].1), false), "llama-bpe"),
        (sequence(split(SPLITS[1].1), false), "qwen2"),
    ];
    for (pre_tokenizer, name) in cases {
        let dir = tempfile::tempdir().unwrap();
        write_byte_level_json(dir.path(), &pre_tokenizer);
        let (tokenizer, vocabulary) = read(dir.path()).unwrap();
        let VocabularyModel::Gpt2 { merges, pre } = &vocabulary.model else { panic!("{name}") };
        assert_eq!((pre.as_str(), merges[2].as_str()), (name, "Ġt he"));
        cut_alike(&tokenizer, &vocabulary, &all_texts());
        comes_back(&tokenizer, &vocabulary);
    }
    for (unknown, said) in [
        (sequence(split(r"\s+"), false), "no name in llama.cpp"),
        (sequence(json!({"type": "Whitespace"}), true), "no name in llama.cpp"),
        (
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            "add_prefix_space",
        ),
        (json!({"type": "Whitespace"}), "neither byte-level nor"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_byte_level_json(dir.path(), &unknown);
        let message = read(dir.path()).err().unwrap().to_string();
        assert!(message.contains("tokenizer.json") && message.contains(said), "{message}");
    }
}

fn sentencepiece(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sentencepiece");
    std::fs::copy(path.join(format!("{name}.model")), dir.path().join("tokenizer.model")).unwrap();
    dir
}

#[test]
fn a_tokenizer_model_becomes_llama() {
    let dir = sentencepiece("llama");
    let (tokenizer, vocabulary) = read(dir.path()).unwrap();
    assert!(matches!(vocabulary.model, VocabularyModel::Llama { add_space_prefix: true, .. }));
    cut_alike(&tokenizer, &vocabulary, &all_texts());
    comes_back(&tokenizer, &vocabulary);
}

/// open_llama#40: its tokenizer squeezes runs of spaces, llama.cpp's keeps them. All else must be equal.
#[test]
fn open_llama_40_differs_in_runs_of_spaces_only() {
    let dir = sentencepiece("open-llama");
    let (tokenizer, vocabulary) = read(dir.path()).unwrap();
    let words = TEXTS.into_iter().filter(|text| !text.contains(['\n', '\t'])).collect::<Vec<_>>();
    assert!(words.len() > 55);
    cut_alike(&tokenizer, &vocabulary, &words);
    let encoder = Encoder::new(&vocabulary).unwrap();
    let same = |text: &str| encoder.encode(text).ok() == tokenizer.encode(text, true).ok().map(|t| t.ids);
    assert!(!SPACED.into_iter().all(same));
    comes_back(&tokenizer, &vocabulary);
}

#[test]
fn a_unigram_model_is_refused() {
    let dir = sentencepiece("nmt-nfkc");
    let message = read(dir.path()).err().unwrap().to_string();
    assert!(message.contains("tokenizer.model") && message.contains("unigram"), "{message}");
}

#[test]
fn more_tokens_than_rows_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_sentencepiece_json(dir.path());
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let message = Vocabulary::read(dir.path(), &tokenizer, 100).err().unwrap().to_string();
    assert!(message.contains("100"), "{message}");
}

#[test]
fn metadata_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    write_sentencepiece_json(dir.path());
    let (_, mut vocabulary) = read(dir.path()).unwrap();
    vocabulary.chat_template = Some("{{ messages }}".into());
    let pairs = vocabulary.metadata();
    let get = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    assert_eq!(Vocabulary::of_metadata(get).unwrap(), vocabulary);
    let error = Vocabulary::of_metadata(|key| get(key).filter(|_| !key.ends_with("tokens"))).unwrap_err();
    assert_eq!(error, "no `tokenizer.ggml.tokens` in its metadata");
}
