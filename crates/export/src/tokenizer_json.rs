//! `tokenizer.json` of a model that only has SentencePiece's `tokenizer.model`, where that can be had exactly.
//!
//! Programs without SentencePiece convert `tokenizer.model` on loading, and not faithfully: open_llama's
//! spaces and the first word come out otherwise (open_llama#40, transformers#24233). So the right conversion
//! goes along: the same pieces, merges in the order of their scores, SentencePiece's treatment of spaces. It
//! is made for what open_llama and Llama 1 and 2 are: BPE with byte fallback, no rules of normalisation, no
//! unused or user-defined pieces.

use crate::prompts::{SPACED, TEXTS};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tolmach_tokenize::{ModelProto, ModelType, PieceKind, Pieces, Tokenizer, TokenizerParts};

const SPACE: &str = "▁";

/// The text of `tokenizer.json`; `None` for another kind of model, or where it would give other ids than
/// `own`, the tokenizer that the model was read as, on the fixed texts.
pub fn tokenizer_json(model: &[u8], own: &Tokenizer) -> Option<String> {
    let proto = ModelProto::parse(model).ok()?;
    let json = converted(&proto, own.bos().filter(|_| own.adds_bos()))?;
    let text = format!("{json:#}\n");
    let parts = TokenizerParts {
        pieces: Pieces::Json(text.clone().into_bytes()),
        bos: own.bos(),
        eos: own.eos(),
        pad: own.pad(),
        unk: own.unk(),
        adds_bos: own.adds_bos(),
        stops: Vec::new(),
    };
    let made = Tokenizer::from_parts(Path::new("tokenizer.json"), parts).ok()?;
    let ids = |tokenizer: &Tokenizer, text: &str| tokenizer.encode(text, true).ok().map(|tokens| tokens.ids);
    let same = |text: &str| ids(own, text) == ids(&made, text);
    TEXTS.into_iter().chain(SPACED).all(same).then_some(text)
}

fn converted(proto: &ModelProto, opening: Option<u32>) -> Option<Value> {
    let (trainer, spec) = (&proto.trainer, &proto.normalizer);
    let plain =
        |kind| matches!(kind, PieceKind::Normal | PieceKind::Unknown | PieceKind::Control | PieceKind::Byte);
    let supported = trainer.model_type == ModelType::Bpe
        && trainer.byte_fallback
        && !trainer.treat_whitespace_as_suffix
        && spec.precompiled_charsmap.is_empty()
        && spec.escape_whitespaces
        && proto.denormalizer.is_none()
        && proto.pieces.iter().all(|piece| plain(piece.kind));
    if !supported {
        return None;
    }
    let ids: HashMap<&str, usize> =
        proto.pieces.iter().zip(0..).map(|(piece, id)| (piece.text.as_str(), id)).collect();
    let unknown = proto.pieces.iter().find(|piece| piece.kind == PieceKind::Unknown)?;
    let post_processor = match opening {
        None => Value::Null,
        Some(id) => opens_with(&proto.pieces.get(id as usize)?.text, id),
    };
    Some(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(proto),
        "normalizer": {"type": "Sequence", "normalizers": normalizers(proto)},
        "pre_tokenizer": null,
        "post_processor": post_processor,
        "decoder": decoder(proto),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown.text,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": ids,
            "merges": merges(proto),
        },
    }))
}

/// Tokens that no text may spell.
fn added_tokens(proto: &ModelProto) -> Vec<Value> {
    let special = |kind| matches!(kind, PieceKind::Unknown | PieceKind::Control);
    let pieces = proto.pieces.iter().zip(0u32..).filter(|(piece, _)| special(piece.kind));
    pieces
        .map(|(piece, id)| {
            json!({
                "id": id, "content": piece.text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect()
}

/// What SentencePiece does to spaces. `^` and `$` would also match at line ends.
fn normalizers(proto: &ModelProto) -> Vec<Value> {
    let regex = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let mut steps = Vec::new();
    if proto.normalizer.remove_extra_whitespaces {
        steps.push(regex(r"\A +|[ ▁]+\z", ""));
        steps.push(regex(" {2,}", " "));
    }
    if proto.normalizer.add_dummy_prefix {
        steps.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
    steps
}

fn decoder(proto: &ModelProto) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    // Spaces before the first word are not the text's own.
    let start = match (proto.normalizer.remove_extra_whitespaces, proto.normalizer.add_dummy_prefix) {
        (true, _) => u32::MAX,
        (false, true) => 1,
        (false, false) => 0,
    };
    steps.push(json!({"type": "Strip", "content": " ", "start": start, "stop": 0}));
    json!({"type": "Sequence", "decoders": steps})
}

/// All pairs of pieces that make a piece, in the order in which SentencePiece joins: by the score of what
/// they make.
fn merges(proto: &ModelProto) -> Vec<String> {
    let normal = |piece: &&tolmach_tokenize::Piece| piece.kind == PieceKind::Normal;
    let known: HashMap<&str, f32> =
        proto.pieces.iter().filter(normal).map(|piece| (piece.text.as_str(), piece.score)).collect();
    let mut made: Vec<&tolmach_tokenize::Piece> = proto.pieces.iter().filter(normal).collect();
    made.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: of equal scores the lower id first
    let mut merges = Vec::new();
    for piece in made {
        for (cut, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(cut);
            if known.contains_key(left) && known.contains_key(right) {
                merges.push(format!("{left} {right}"));
            }
        }
    }
    merges
}

/// BOS before every text, as transformers adds it.
fn opens_with(bos: &str, id: u32) -> Value {
    let special = |type_id: u32| json!({"SpecialToken": {"id": bos, "type_id": type_id}});
    let sequence = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let mut tokens = serde_json::Map::new();
    tokens.insert(bos.to_string(), json!({"id": bos, "ids": [id], "tokens": [bos]}));
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one of the golden models, and the package's ids of its lines.
    fn golden(name: &str) -> (tempfile::TempDir, Vec<(String, Vec<u32>)>) {
        let dir = tempfile::tempdir().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sentencepiece");
        std::fs::copy(path.join(format!("{name}.model")), dir.path().join("tokenizer.model")).unwrap();
        let json: Value =
            serde_json::from_slice(&std::fs::read(path.join(format!("{name}.json"))).unwrap()).unwrap();
        let lines = json["lines"].as_array().unwrap().iter().map(|line| {
            let ids = line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
            (line["text"].as_str().unwrap().to_string(), ids.collect())
        });
        (dir, lines.collect())
    }

    #[test]
    fn open_llama_40_and_transformers_24233_the_conversion_has_the_ids_of_sentencepiece() {
        let (dir, lines) = golden("open-llama");
        let own = Tokenizer::load(dir.path()).unwrap();
        let model = std::fs::read(dir.path().join("tokenizer.model")).unwrap();
        let text = tokenizer_json(&model, &own).unwrap();
        std::fs::remove_file(dir.path().join("tokenizer.model")).unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), text).unwrap();
        let config = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let made = Tokenizer::load(dir.path()).unwrap();
        assert!(lines.len() > 150);
        for (text, ids) in lines {
            assert_eq!(made.encode(&text, false).unwrap().ids, ids, "{text:?}");
            assert_eq!(made.decode(&ids, true), own.decode(&ids, true), "{text:?}");
        }
        let special = |t: &Tokenizer| (t.bos(), t.eos(), t.unk(), t.adds_bos(), t.vocab_size());
        assert_eq!(special(&made), special(&own));
    }

    #[test]
    fn what_cannot_be_had_exactly_is_not_made() {
        for name in ["unused", "llama", "across-words", "nmt-nfkc", "suffix"] {
            let (dir, _) = golden(name);
            let own = Tokenizer::load(dir.path()).unwrap();
            let model = std::fs::read(dir.path().join("tokenizer.model")).unwrap();
            assert!(tokenizer_json(&model, &own).is_none(), "{name}");
        }
    }
}
