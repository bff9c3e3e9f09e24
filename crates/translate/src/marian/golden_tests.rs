//! Tiny random models against what transformers computed with them: `fixtures/golden/marian/`, `m2m100/`.
//!
//! `MARIAN_GOLDEN` may name a folder with other, larger fixtures in the place of the committed ones: see
//! `fixtures/golden/README.md`.

use super::head::HeadWorkspace;
use super::layers::{Decoding, Query, Workspace};
use super::*;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;
use tolmach_model::Checkpoint;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden")
}

const MODELS: [&str; 4] = ["marian/opus", "marian/separate", "m2m100/m2m100", "m2m100/nllb"];

/// A whole model folder: the fixture does not repeat the SentencePiece model that it shares.
fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = std::env::var_os("MARIAN_GOLDEN").map_or_else(fixtures, PathBuf::from);
    for entry in std::fs::read_dir(from.join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let shared: &[&str] = match name {
        "m2m100/m2m100" => &["sentencepiece.bpe.model"],
        "m2m100/nllb" => &[],
        _ => &["source.spm", "target.spm"],
    };
    for side in shared {
        let spm = fixtures().join("sentencepiece/nmt-nfkc.model");
        std::fs::copy(spm, folder.path().join(side)).unwrap();
    }
    folder
}

fn pair() -> LanguagePair {
    LanguagePair::new("en", "ru").unwrap()
}

fn cases(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The model with the settings of one search in its `generation_config.json`.
fn open_with(folder: &Path, settings: &Value, precision: Precision) -> Marian {
    let path = folder.join("generation_config.json");
    let original = std::fs::read(&path).unwrap();
    let mut config: Value = serde_json::from_slice(&original).unwrap();
    config["renormalize_logits"] = Value::Bool(false);
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(&path, config.to_string()).unwrap();
    let marian = Marian::open(folder, &pair(), MarianOptions { precision, ..MarianOptions::default() });
    std::fs::write(&path, original).unwrap();
    marian.unwrap()
}

#[test]
fn answers_of_every_search_are_those_of_transformers() {
    for name in MODELS {
        let folder = folder(name);
        let cases = cases(folder.path());
        let sentences = ids(&cases["sentences"]);
        let sentences: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
        for (search, case) in cases["searches"].as_object().unwrap() {
            let marian = open_with(folder.path(), &case["settings"], Precision::F32);
            let found = marian.translate_ids(&sentences);
            for (i, (found, expected)) in found.iter().zip(ids(&case["answers"])).enumerate() {
                assert_eq!(*found, expected, "{name}, {search}, sentence {i}");
            }
        }
    }
}

/// Logits of the decoder given what it writes.
fn logits(model: &Model, sentence: &[u32], written: &[u32]) -> Vec<f32> {
    let mut work = Workspace::default();
    let encoded = model.encode(&[sentence], &mut work);
    let mut decoding = Decoding::new(model, &encoded);
    let (mut head, mut all, mut seen) = (HeadWorkspace::default(), Vec::new(), Vec::new());
    for &token in written {
        seen.push(decoding.next_row());
        let hidden = decoding.step(&[Query { token, seen: &seen, sentence: 0 }], &mut work);
        model.for_each_block(hidden, &mut head, |_, _, logits| all.extend_from_slice(logits));
    }
    all
}

#[test]
fn logits_are_those_of_transformers() {
    for name in MODELS {
        let folder = folder(name);
        let cases = cases(folder.path());
        let (sentences, answers) = (ids(&cases["sentences"]), ids(&cases["searches"]["greedy"]["answers"]));
        let marian = Marian::open(folder.path(), &pair(), MarianOptions::default()).unwrap();
        let expected = Checkpoint::open_file(&folder.path().join("logits.safetensors")).unwrap();
        for (i, (sentence, answer)) in sentences.iter().zip(answers).take(4).enumerate() {
            let mut written = vec![marian.generation.decoder_start];
            written.extend(answer);
            let found = logits(&marian.model, sentence, &written);
            let shape = [written.len(), marian.model.shape.decoder.vocab];
            let expected = expected.values(&format!("logits.{i}"), &shape).unwrap();
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // transformers against itself in f64 is off by 4e-5: these models amplify rounding.
            assert!(off < 1e-4, "{name}, sentence {i}: logits differ by {off:e}");
        }
    }
}

#[test]
fn int8_weights_stay_near() {
    let folder = folder("marian/opus");
    let cases = cases(folder.path());
    let (sentences, answers) = (ids(&cases["sentences"]), ids(&cases["searches"]["greedy"]["answers"]));
    let options = MarianOptions { precision: Precision::Int8, ..MarianOptions::default() };
    let marian = Marian::open(folder.path(), &pair(), options).unwrap();
    let exact = Marian::open(folder.path(), &pair(), MarianOptions::default()).unwrap();
    assert_ne!(marian.identity(), exact.identity(), "answers of the two are not the same");
    let (mut difference, mut size) = (0.0, 0.0);
    for (sentence, answer) in sentences.iter().zip(answers) {
        let written = [&[marian.generation.decoder_start], &answer[..]].concat();
        let found = logits(&marian.model, sentence, &written);
        for (found, expected) in found.iter().zip(logits(&exact.model, sentence, &written)) {
            difference += f64::from(found - expected).powi(2);
            size += f64::from(expected).powi(2);
        }
    }
    // This model amplifies the rounding of inputs and weights, 0.4 % each, a lot; unrelated logits differ by 1.4.
    let share = (difference / size).sqrt();
    assert!(share < 0.3, "int8 logits are off by {share} of their size");
}

#[test]
fn an_answer_does_not_depend_on_its_neighbours_or_the_threads() {
    let folder = folder("marian/opus");
    let sentences = ids(&cases(folder.path())["sentences"]);
    let sentences: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
    for precision in [Precision::F32, Precision::Int8] {
        let options = MarianOptions { precision, ..MarianOptions::default() };
        let marian = Marian::open(folder.path(), &pair(), options).unwrap();
        let alone: Vec<Vec<u32>> =
            sentences.iter().map(|sentence| marian.translate_ids(&[sentence]).remove(0)).collect();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| marian.translate_ids(&sentences)), alone);
        }
    }
}

fn assert_texts(folder: &Path, key: &str) {
    let marian = Marian::open(folder, &pair(), MarianOptions::default()).unwrap();
    for case in cases(folder)[key].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(marian.encode(text).unwrap(), expected, "{text:?}");
        // Where an unknown piece is left out, the converted tokenizers keep the space after it.
        assert_eq!(marian.decode(&expected), case["decoded"].as_str().unwrap().trim(), "{text:?}");
    }
}

#[test]
fn texts_become_the_ids_of_transformers_and_back() {
    for name in ["marian/opus", "m2m100/m2m100", "m2m100/nllb"] {
        assert_texts(folder(name).path(), "texts");
    }
    let legacy = folder("m2m100/nllb");
    let config = r#"{"tokenizer_class": "NllbTokenizer", "legacy_behaviour": true}"#;
    std::fs::write(legacy.path().join("tokenizer_config.json"), config).unwrap();
    assert_texts(legacy.path(), "legacy_texts");
}

#[test]
fn a_language_that_was_added_to_nllb_is_found() {
    let folder = folder("m2m100/nllb");
    let open = |to| {
        let pair = LanguagePair::new("en", to).unwrap();
        Marian::open(folder.path(), &pair, MarianOptions::default())
    };
    let refused = open("tyv").err().unwrap();
    assert!(matches!(refused, MarianError::Languages { .. }), "{refused}");
    assert!(refused.to_string().ends_with("not en to tyv"), "{refused}");
    // It takes an id that nothing else has.
    std::fs::write(folder.path().join("added_tokens.json"), r#"{"tyv_Cyrl": 504}"#).unwrap();
    assert_eq!(open("tyv").unwrap().generation.forced_bos, Some(504));
    std::fs::write(folder.path().join("added_tokens.json"), r#"{"tyv_Cyrl": 506}"#).unwrap();
    assert!(open("tyv").is_err(), "the model has 506 tokens");
}

#[test]
fn one_model_translates_into_many_languages() {
    let folder = folder("m2m100/m2m100");
    let sentences = ids(&cases(folder.path())["sentences"]);
    let mut identities = Vec::new();
    for to in ["ru", "de", "zh-TW"] {
        let pair = LanguagePair::new("en", to).unwrap();
        let marian = Marian::open(folder.path(), &pair, MarianOptions::default()).unwrap();
        let answers = marian.translate_ids(&[&sentences[0]]);
        assert_eq!(answers[0].first(), marian.generation.forced_bos.as_ref(), "{to}");
        identities.push(marian.identity());
    }
    identities.dedup();
    assert_eq!(identities.len(), 3, "answers in other languages are not the same");
}
