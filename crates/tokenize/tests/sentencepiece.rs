//! `tokenizer.model` against the `sentencepiece` package: ids, byte offsets and decoded texts of
//! nasty lines, with the tiny models of `fixtures/golden/sentencepiece`.

#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tolmach_tokenize::{DecodeStream, Tokenizer};

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
