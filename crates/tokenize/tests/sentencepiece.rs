//! `tokenizer.model` against the `sentencepiece` package: ids, byte offsets and decoded texts of
//! nasty lines, with the tiny models of `fixtures/golden/sentencepiece`.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tolmach_tokenize::{DecodeStream, Rendered, Tokenizer};

#[derive(Deserialize)]
struct Golden {
    lines: Vec<Line>,
    decodes: Vec<Decode>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    decoded: String,
}

#[derive(Deserialize)]
struct Decode {
    ids: Vec<u32>,
    decoded: String,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sentencepiece").join(name)
}

/// `shared`: rules or symbols make several tokens of one stretch of the text.
fn check(name: &str, shared: bool) {
    let golden = std::fs::read_to_string(fixture(&format!("{name}.json"))).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let tokenizer = Tokenizer::load(&fixture(&format!("{name}.model"))).unwrap();
    assert!(golden.lines.len() > 150 && golden.decodes.len() > 50);
    for line in &golden.lines {
        let tokens = tokenizer.encode(&line.text, false).unwrap();
        assert_eq!(tokens.ids, line.ids, "{name}: ids of {:?}", line.text);
        assert_eq!(tokenizer.decode(&tokens.ids, true), line.decoded, "{name}: {:?} decoded", line.text);
        for (&(start, end), &(their_start, their_end)) in tokens.offsets.iter().zip(&line.offsets) {
            let context = format!("{name}: offsets of {:?}: {:?}", line.text, tokens.offsets);
            assert_eq!(start, their_start, "{context}");
            // Theirs give a character to the last of its tokens, ours to all.
            let same = end == their_end || their_start == their_end || shared;
            assert!(end >= their_end && same, "{context}, theirs {:?}", line.offsets);
            assert!(line.text.is_char_boundary(start) && line.text.is_char_boundary(end), "{context}");
        }
    }
    for case in &golden.decodes {
        assert_eq!(tokenizer.decode(&case.ids, true), case.decoded, "{name}: {:?} decoded", case.ids);
    }
}

/// What the stream shows is what is decoded at once.
fn check_stream(name: &str) {
    let golden = std::fs::read_to_string(fixture(&format!("{name}.json"))).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let tokenizer = Tokenizer::load(&fixture(&format!("{name}.model"))).unwrap();
    let lines = golden.lines.into_iter().map(|line| (line.ids, line.decoded));
    for (ids, decoded) in lines.chain(golden.decodes.into_iter().map(|case| (case.ids, case.decoded))) {
        let mut stream = DecodeStream::new(&tokenizer);
        let mut shown: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        shown.extend(stream.finish());
        assert_eq!(shown, decoded, "{name}: {ids:?} streamed");
    }
}

#[test]
fn open_llama_40_bpe_that_squeezes_spaces_as_published() {
    check("open-llama", false);
    check_stream("open-llama");
}

#[test]
fn bpe_with_user_defined_symbols_and_pieces_of_spaces() {
    check("llama", true);
    check_stream("llama");
}

#[test]
fn bpe_across_words_without_byte_fallback() {
    check("across-words", false);
    check_stream("across-words");
}

#[test]
fn unused_pieces_are_taken_apart() {
    check("unused", false);
}

#[test]
fn unigram_with_the_nmt_nfkc_rules() {
    check("nmt-nfkc", true);
    check_stream("nmt-nfkc");
}

#[test]
fn unigram_with_spaces_at_the_end_of_words_and_rules_of_its_own() {
    check("suffix", true);
}

proptest! {
    #[test]
    fn eos_ends_each_answer_and_every_character_has_its_tokens(
        texts in prop::collection::vec("[a-dя \n.ё▁漢ﬁ]{0,8}", 1..6), name in 0usize..3,
    ) {
        let name = ["open-llama", "llama", "suffix"][name];
        let tokenizer = Tokenizer::load(&fixture(&format!("{name}.model"))).unwrap();
        // Prompt and answer take turns.
        let mut rendered = Rendered { text: String::new(), trained: Vec::new(), preamble: 0 };
        for (i, text) in texts.iter().enumerate() {
            let start = rendered.text.len();
            rendered.text.push_str(text);
            if i % 2 == 1 {
                rendered.trained.push(start..rendered.text.len());
            }
        }
        let tokens = tokenizer.encode_rendered(&rendered).unwrap();
        let eos = tokenizer.eos().unwrap();
        let ends: Vec<_> =
            tokens.ids.iter().zip(&tokens.offsets).filter(|(id, _)| **id == eos).map(|(_, at)| *at).collect();
        let expected: Vec<_> = rendered.trained.iter().map(|range| (range.end, range.end)).collect();
        prop_assert_eq!(ends, expected);
        let starts: Vec<_> = tokens.offsets.iter().map(|(start, _)| start).collect();
        prop_assert!(starts.is_sorted(), "{:?}", tokens.offsets);
        for (at, c) in rendered.text.char_indices().filter(|(_, c)| !matches!(c, ' ' | '▁')) {
            let covered = tokens.offsets.iter().any(|&(start, end)| start <= at && at + c.len_utf8() <= end);
            prop_assert!(covered, "{c:?} at {at} of {:?}: {:?}", rendered.text, tokens.offsets);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..9000) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.model");
        let mut model = std::fs::read(fixture("llama.model")).unwrap();
        let at = at % model.len();
        let end = (at + bytes.len()).min(model.len());
        model.splice(at..end, bytes);
        std::fs::write(&path, model).unwrap();
        if let Ok(tokenizer) = Tokenizer::load(&path) {
            let ids = tokenizer.encode("the  cat sat\non ёжик 漢", true).unwrap().ids;
            tokenizer.decode(&ids, true);
        }
    }
}

/// A line of a million characters is no trouble: the pairs wait in a heap.
#[test]
fn a_text_without_words_is_encoded_quickly() {
    for name in ["across-words", "llama", "nmt-nfkc"] {
        let tokenizer = Tokenizer::load(&fixture(&format!("{name}.model"))).unwrap();
        let started = std::time::Instant::now();
        assert!(tokenizer.encode(&"thecat".repeat(150_000), false).unwrap().ids.len() > 100_000);
        assert!(started.elapsed().as_secs_f64() < 20.0, "{name}: {:?}", started.elapsed());
    }
}
