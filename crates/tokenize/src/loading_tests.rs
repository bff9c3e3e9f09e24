use crate::{Error, Tokenizer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sentencepiece").join(name)
}

/// `tokenizer.json` as converters write it: each way to make a piece is a merge, in the order of the
/// pieces. `normalizer` decides how spaces are treated.
fn converted(model: &Path, normalizer: &Value) -> Value {
    let tokenizer = Tokenizer::load(model).unwrap();
    let texts: Vec<String> =
        (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_text(id).unwrap()).collect();
    let vocabulary: serde_json::Map<String, Value> =
        texts.iter().zip(0..).map(|(text, id)| (text.clone(), json!(id))).collect();
    let special = |text: &String| text.starts_with('<') && text.len() > 1;
    let merges: Vec<Value> = texts
        .iter()
        .filter(|text| !special(text))
        .flat_map(|text| text.char_indices().skip(1).map(|(border, _)| text.split_at(border)))
        .filter(|(left, right)| vocabulary.contains_key(*left) && vocabulary.contains_key(*right))
        .map(|(left, right)| json!([left, right]))
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges},
    })
}

fn normalizer(squeeze: bool) -> Value {
    let replace =
        |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let mut steps = vec![];
    if squeeze {
        steps.push(replace(json!({"Regex": "^ +| +$"}), ""));
        steps.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    steps.push(json!({"type": "Prepend", "prepend": "▁"}));
    steps.push(replace(json!({"String": " "}), "▁"));
    json!({"type": "Sequence", "normalizers": steps})
}

fn load(tokenizer_json: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("open-llama.model"), folder.path().join("tokenizer.model")).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer_json.to_string()).unwrap();
    Tokenizer::load(folder.path()).unwrap()
}

/// The tokens of `a  b`, to tell which of the two is in use.
fn two_spaces(tokenizer: &Tokenizer) -> Vec<String> {
    let ids = tokenizer.encode("a  b", false).unwrap().ids;
    ids.into_iter().map(|id| tokenizer.token_text(id).unwrap()).collect()
}

#[test]
fn a_right_conversion_is_used_without_a_word() {
    let tokenizer = load(&converted(&fixture("open-llama.model"), &normalizer(true)));
    assert_eq!(tokenizer.warnings(), [] as [&str; 0]);
    assert_eq!(two_spaces(&tokenizer), ["▁a", "▁b"]);
}

#[test]
fn open_llama_40_a_conversion_that_keeps_runs_of_spaces_is_told() {
    let tokenizer = load(&converted(&fixture("open-llama.model"), &normalizer(false)));
    let [warning] = tokenizer.warnings() else { panic!("{:?}", tokenizer.warnings()) };
    assert!(warning.contains("treat spaces differently") && warning.contains("\" the first\""), "{warning}");
    assert_eq!(two_spaces(&tokenizer), ["▁a", "▁", "▁b"], "tokenizer.json is used");
}

#[test]
fn transformers_24233_a_conversion_with_wrong_ids_is_not_used() {
    let mut wrong = converted(&fixture("open-llama.model"), &normalizer(false));
    wrong["model"]["merges"].as_array_mut().unwrap().reverse();
    let tokenizer = load(&wrong);
    let [warning] = tokenizer.warnings() else { panic!("{:?}", tokenizer.warnings()) };
    assert!(warning.contains("wrong conversion") && warning.contains("tokenizer.model is used"), "{warning}");
    assert_eq!(two_spaces(&tokenizer), ["▁a", "▁b"]);
}

#[test]
fn the_model_of_another_vocabulary_is_not_used() {
    let tokenizer = load(&converted(&fixture("llama.model"), &normalizer(false)));
    let [warning] = tokenizer.warnings() else { panic!("{:?}", tokenizer.warnings()) };
    assert!(warning.contains("different vocabularies"), "{warning}");
    assert!(two_spaces(&tokenizer).contains(&"▁▁".to_string()), "a piece that only tokenizer.json has");
}

#[test]
fn a_broken_model_beside_a_good_json_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let json = converted(&fixture("open-llama.model"), &normalizer(true));
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    // What git leaves where its large files were not fetched.
    std::fs::write(folder.path().join("tokenizer.model"), "version https://git-lfs.github.com/spec/v1\n")
        .unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let [warning] = tokenizer.warnings() else { panic!("{:?}", tokenizer.warnings()) };
    assert!(warning.contains("tokenizer.model: not a tokenizer"), "{warning}");
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(matches!(Tokenizer::load(folder.path()), Err(Error::BadTokenizer { .. })));
}

#[test]
fn special_tokens_come_from_the_model_and_the_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::copy(fixture("llama.model"), path.join("tokenizer.model")).unwrap();
    let bare = Tokenizer::load(path).unwrap();
    assert_eq!((bare.unk(), bare.bos(), bare.eos(), bare.pad()), (Some(0), Some(1), Some(2), None));
    assert!(bare.adds_bos() && bare.is_special(2) && bare.warnings().is_empty());
    let ids = bare.encode("the </s> cat", true).unwrap().ids;
    assert_eq!(ids[0], 1);
    assert!(!ids[1..].iter().any(|&id| bare.is_special(id)), "a text cannot spell them");
    assert!(bare.spells_out_special("the </s> cat") && !bare.spells_out_special("the cat"));
    assert_eq!(bare.decode(&[1, 2, ids[1]], false), "<s></s> the");

    let pieces = bare.vocab_size() as u32;
    let config = json!({"eos_token": "<|im_start|>", "pad_token": "[PAD]", "add_bos_token": false});
    std::fs::write(path.join("tokenizer_config.json"), config.to_string()).unwrap();
    let added = json!({"[PAD]": pieces + 1, "новое слово": pieces});
    std::fs::write(path.join("added_tokens.json"), added.to_string()).unwrap();
    let tokenizer = Tokenizer::load(path).unwrap();
    assert_eq!(tokenizer.vocab_size(), pieces as usize + 2);
    assert_eq!((tokenizer.pad(), tokenizer.adds_bos()), (Some(pieces + 1), false));
    assert_eq!(tokenizer.token_text(tokenizer.eos().unwrap()).as_deref(), Some("<|im_start|>"));
    let text = "a новое слово b [PAD] <|im_start|>";
    let tokens = tokenizer.encode(text, true).unwrap();
    let at = tokens.ids.iter().position(|&id| id == pieces).expect("an added token is one token");
    assert_eq!(tokens.offsets[at], (2, 2 + "новое слово".len()));
    assert!(
        !tokens.ids.iter().any(|&id| tokenizer.is_special(id)),
        "not even a user-defined piece named EOS"
    );
    assert_eq!(tokenizer.decode(&tokens.ids, true), text);
}

#[test]
fn tokens_near_the_largest_number_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("llama.model"), folder.path().join("tokenizer.model")).unwrap();
    std::fs::write(folder.path().join("added_tokens.json"), json!({"x": u32::MAX}).to_string()).unwrap();
    assert_eq!(Tokenizer::load(folder.path()).unwrap().vocab_size(), 640);
}
