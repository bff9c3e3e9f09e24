use super::*;
use crate::testing::{byte_level, byte_level_json, sentencepiece, sentencepiece_json, write_folder};
use proptest::prelude::*;
use serde_json::{Value, json};

fn load(tokenizer: &Value, files: &[(&str, Value)]) -> Result<Tokenizer, Error> {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), tokenizer, files);
    Tokenizer::load(folder.path())
}

/// `tokenizer.json` with a post-processor that puts `<s>` first (and `</s>` last, as some do).
fn with_template_processor(mut json: Value) -> Value {
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let id = |token: &str| json["model"]["vocab"][token].as_u64().unwrap() as u32;
    let (bos, eos) = (id("<s>"), id("</s>"));
    let sequence =
        |type_id: u32| json!({"Sequence": {"id": if type_id == 0 {"A"} else {"B"}, "type_id": type_id}});
    let token = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [token("<s>"), sequence(0), token("</s>")],
        "pair": [token("<s>"), sequence(0), sequence(1)],
        "special_tokens": {"<s>": special("<s>", bos), "</s>": special("</s>", eos)}});
    json
}

proptest! {
    #[test]
    fn encoding_then_decoding_gives_the_text_back(text in "\\PC{0,40}") {
        for tokenizer in [byte_level(), sentencepiece()] {
            let tokens = tokenizer.encode(&text, true).unwrap();
            let decoded = tokenizer.decode(&tokens.ids, true);
            // In SentencePiece's manner `▁` is a space, and the decoder takes the first one away.
            let spaced = text.replace('▁', " ");
            let lossy = tokenizer.inner_id("▁").is_some()
                && (decoded == spaced || Some(decoded.as_str()) == spaced.strip_prefix(' '));
            prop_assert!(lossy || decoded == text, "{:?} became {:?}", text, decoded);
        }
    }

    #[test]
    fn offsets_cover_the_text_in_order(text in "[a-zа-я .\n漢🦙Щ]{1,40}") {
        for tokenizer in [byte_level(), sentencepiece()] {
            let tokens = tokenizer.encode(&text, true).unwrap();
            let mut covered = 0;
            for &(start, end) in &tokens.offsets[1..] {
                prop_assert!(start <= covered && end >= covered, "{:?} of {:?}", tokens.offsets, text);
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
                covered = end;
            }
            prop_assert_eq!(covered, text.len());
        }
    }
}

#[test]
fn bos_comes_once_whoever_adds_it() {
    let named = ("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}}));
    let count = |tokenizer: &Tokenizer| {
        let ids = tokenizer.encode("the cat", true).unwrap().ids;
        assert!(!ids.contains(&tokenizer.eos().unwrap()), "EOS is never added by encode");
        ids.iter().filter(|&&id| Some(id) == tokenizer.bos()).count()
    };
    let processed = with_template_processor(sentencepiece_json());
    let by_processor = load(&processed, std::slice::from_ref(&named)).unwrap();
    assert_eq!((by_processor.adds_bos(), count(&by_processor)), (true, 1));
    // No post-processor: added because the model has one.
    let by_default = load(&sentencepiece_json(), std::slice::from_ref(&named)).unwrap();
    assert_eq!((by_default.adds_bos(), count(&by_default)), (true, 1));
    // A post-processor that does not add it (as GPT-2's) decides against it.
    let by_byte_level = load(&byte_level_json(), &[named]).unwrap();
    assert_eq!((by_byte_level.adds_bos(), count(&by_byte_level)), (false, 0));
    // An explicit setting beats both.
    for (json, explicit) in [(&processed, false), (&byte_level_json(), true)] {
        let config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": explicit});
        let tokenizer = load(json, &[("tokenizer_config.json", config)]).unwrap();
        assert_eq!((tokenizer.adds_bos(), count(&tokenizer)), (explicit, usize::from(explicit)));
    }
    assert!(by_processor.encode("", false).unwrap().ids.is_empty());
}

#[test]
fn special_tokens_come_from_whichever_file_names_them() {
    let tokenizer = byte_level_json();
    let eos_of = |files: &[(&str, Value)]| load(&tokenizer, files).unwrap().eos_ids().to_vec();
    assert!(eos_of(&[]).is_empty());
    assert_eq!(eos_of(&[("special_tokens_map.json", json!({"eos_token": "</s>"}))]), [1]);
    assert_eq!(eos_of(&[("tokenizer_config.json", json!({"tokenizer_class": "LlamaTokenizerFast"}))]), [1]);
    assert_eq!(eos_of(&[("config.json", json!({"eos_token_id": 1}))]), [1]);
    assert_eq!(eos_of(&[("config.json", json!({"eos_token_id": [1, 7, 99999]}))]), [1, 7]);
    let both = [
        ("config.json", json!({"eos_token_id": 0})),
        ("generation_config.json", json!({"eos_token_id": [7, 1]})),
        ("tokenizer_config.json", json!({"eos_token": "</s>"})),
    ];
    assert_eq!(eos_of(&both), [1, 7]);
}

#[test]
fn eos_that_the_model_does_not_stop_at_is_warned_of() {
    let files = |stop: u32| {
        [
            ("tokenizer_config.json", json!({"eos_token": "</s>"})),
            ("generation_config.json", json!({"eos_token_id": stop})),
        ]
    };
    assert_eq!(load(&byte_level_json(), &files(1)).unwrap().warnings(), [] as [&str; 0]);
    let warned = load(&byte_level_json(), &files(7)).unwrap();
    assert!(warned.warnings()[0].contains("stops at token [7]"), "{:?}", warned.warnings());
}

#[test]
fn unsloth_416_a_tokenizer_without_eos_is_refused_for_training() {
    let tokenizer = load(&byte_level_json(), &[]).unwrap();
    assert!(tokenizer.require_eos().unwrap_err().to_string().contains("would never stop"));
}

#[test]
fn broken_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| Tokenizer::load(path).err().expect("must fail").to_string();
    assert!(error(&folder.path().join("absent")).contains("nor is there such a folder"));
    assert!(error(folder.path()).contains("a model folder holds"));
    std::fs::write(folder.path().join("tokenizer.model"), "").unwrap();
    let sentencepiece_only = error(folder.path());
    assert!(sentencepiece_only.contains("tokenizer.model: not a tokenizer"));
    std::fs::write(folder.path().join("tokenizer.json"), "{\"version\": ").unwrap();
    assert!(error(folder.path()).contains("tokenizer.json: not a tokenizer"));

    write_folder(
        folder.path(),
        &byte_level_json(),
        &[("tokenizer_config.json", json!({"eos_token": "<end>"}))],
    );
    assert!(error(folder.path()).contains("eos_token is \"<end>\", which is not in the vocabulary"));
    std::fs::write(folder.path().join("tokenizer_config.json"), "{").unwrap();
    assert!(error(folder.path()).contains("tokenizer_config.json: not valid JSON"));
    write_folder(
        folder.path(),
        &byte_level_json(),
        &[("tokenizer_config.json", json!({"add_bos_token": true}))],
    );
    assert!(error(folder.path()).contains("no bos_token is named"));
}

#[test]
fn the_file_itself_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"eos_token": "</s>", "bos_token": "<s>"});
    write_folder(folder.path(), &byte_level_json(), &[("tokenizer_config.json", config)]);
    let tokenizer = Tokenizer::load(&folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer.eos(), Some(1));
}

#[test]
fn saved_truncation_and_padding_are_ignored() {
    let mut json = byte_level_json();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"});
    let tokenizer = load(&json, &[]).unwrap();
    assert_eq!(
        tokenizer.encode("the cat sat", true).unwrap(),
        byte_level().encode("the cat sat", false).unwrap()
    );
}

#[test]
fn special_tokens_spelled_out_in_a_text_stay_text() {
    for tokenizer in [byte_level(), sentencepiece()] {
        let ids = tokenizer.encode("a <s>struck</s> word", false).unwrap().ids;
        assert!(!ids.iter().any(|&id| tokenizer.is_special(id)), "{ids:?}");
        assert_eq!(tokenizer.decode(&ids, true), "a <s>struck</s> word");
    }
}

#[test]
fn the_mark_that_stands_for_eos_is_refused_in_a_text_and_no_part_of_the_vocabulary() {
    let tokenizer = byte_level();
    let error = tokenizer.encode("a\u{FDD0}b", true).unwrap_err().to_string();
    assert!(error.contains("U+FDD0"), "{error}");
    assert_eq!(tokenizer.token_text(tokenizer.vocab_size() as u32), None);
    assert_eq!(tokenizer.vocab_size(), byte_level_json()["model"]["vocab"].as_object().unwrap().len());
    assert!(tokenizer.check_vocab_size(tokenizer.vocab_size()).is_ok());
    let error = tokenizer.check_vocab_size(100).unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
}

#[test]
fn eos_follows_each_answer_and_offsets_are_those_of_the_text() {
    for tokenizer in [byte_level(), sentencepiece()] {
        let rendered =
            Rendered { text: "q: yes\n\nq: да, no".into(), trained: vec![3..6, 11..19], preamble: 0 };
        let tokens = tokenizer.encode_rendered(&rendered).unwrap();
        let eos = tokenizer.eos().unwrap();
        let ends: Vec<_> =
            tokens.ids.iter().zip(&tokens.offsets).filter(|(id, _)| **id == eos).map(|(_, at)| *at).collect();
        assert_eq!(ends, [(6, 6), (19, 19)]);
        assert_eq!(tokens.ids.last(), Some(&eos));
        let covered: usize = tokens.offsets[1..].windows(2).map(|w| w[1].1 - w[0].1).sum();
        assert_eq!(covered + tokens.offsets[1].1, rendered.text.len());
    }
}

#[test]
fn a_batch_is_encoded_as_its_texts_are() {
    let texts = ["the cat", "", "кот сидел"];
    let batch = byte_level().encode_batch(&texts, true).unwrap();
    for (text, tokens) in texts.iter().zip(batch) {
        assert_eq!(tokens, byte_level().encode(text, true).unwrap());
    }
    assert!(byte_level().encode_batch(&["ok", "\u{FDD0}"], true).is_err());
}
