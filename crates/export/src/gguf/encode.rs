//! A vocabulary put to work as llama.cpp does it: what users of the file will get.

use super::vocabulary::{SPLITS, Vocabulary, VocabularyModel};
use std::collections::HashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

type Reason = String;

/// A tokenizer made from the metadata of a GGUF file and nothing else.
pub struct Encoder {
    bos: Option<u32>,
    inner: Inner,
}

enum Inner {
    Llama { ids: HashMap<String, u32>, scores: Vec<f32>, add_space_prefix: bool },
    Gpt2(Box<Tokenizer>),
}

impl Encoder {
    /// # Errors
    /// The vocabulary makes no tokenizer: a merge of unknown tokens, an unknown pattern.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, Reason> {
        let ids = vocabulary.tokens.iter().cloned().zip(0u32..);
        let inner = match &vocabulary.model {
            VocabularyModel::Llama { scores, add_space_prefix } => Inner::Llama {
                ids: ids.collect(),
                scores: scores.clone(),
                add_space_prefix: *add_space_prefix,
            },
            VocabularyModel::Gpt2 { merges, pre } => Inner::Gpt2(Box::new(byte_level(ids, merges, pre)?)),
        };
        Ok(Self { bos: vocabulary.bos.filter(|_| vocabulary.add_bos), inner })
    }

    /// The tokens of a text, BOS before them if the file says so.
    ///
    /// # Errors
    /// The vocabulary cannot spell the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Reason> {
        let mut tokens: Vec<u32> = self.bos.into_iter().collect();
        match &self.inner {
            Inner::Gpt2(tokenizer) => {
                tokens.extend(tokenizer.encode(text, false).map_err(|e| e.to_string())?.get_ids());
            }
            Inner::Llama { ids, scores, add_space_prefix } => {
                let prefix = if *add_space_prefix && !text.is_empty() { "▁" } else { "" };
                let text = format!("{prefix}{}", text.replace(' ', "▁"));
                merge(&text, ids, scores, &mut tokens)?;
            }
        }
        Ok(tokens)
    }
}

/// Byte-level BPE that joins by `merges` what the pattern `pre` cut.
pub(super) fn byte_level(
    ids: impl Iterator<Item = (String, u32)>,
    merges: &[String],
    pre: &str,
) -> Result<Tokenizer, Reason> {
    let pairs = merges.iter().filter_map(|merge| merge.split_once(' '));
    let pairs = pairs.map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(ids.collect::<tokenizers::models::bpe::Vocab>(), pairs)
        .ignore_merges(pre == "llama-bpe")
        .build();
    let mut tokenizer = Tokenizer::new(bpe.map_err(|e| e.to_string())?);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(pre)?));
    Ok(tokenizer)
}

fn pre_tokenizer(pre: &str) -> Result<PreTokenizerWrapper, Reason> {
    let bytes = |own_pattern| PreTokenizerWrapper::from(ByteLevel::new(false, false, own_pattern));
    Ok(match pre {
        "gpt-2" => bytes(true),
        "smollm" => Sequence::new(vec![Digits::new(true).into(), bytes(true)]).into(),
        _ => {
            let (_, pattern) = SPLITS
                .iter()
                .find(|(name, _)| *name == pre)
                .ok_or_else(|| format!("texts are cut by `{pre}`; expected {}", known_patterns()))?;
            let pattern = SplitPattern::Regex((*pattern).into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            let split = split.map_err(|e| e.to_string())?;
            Sequence::new(vec![split.into(), bytes(false)]).into()
        }
    })
}

fn known_patterns() -> String {
    let names: Vec<&str> =
        ["gpt-2", "smollm"].into_iter().chain(SPLITS.iter().map(|(name, _)| *name)).collect();
    names.join(", ")
}

/// SentencePiece's BPE: of all neighbours that make a piece, join those of the highest score, the leftmost
/// first, until none is left; what is no piece then is spelled in bytes. Quadratic: texts are short.
fn merge(
    text: &str,
    ids: &HashMap<String, u32>,
    scores: &[f32],
    tokens: &mut Vec<u32>,
) -> Result<(), Reason> {
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    cuts.push(text.len());
    loop {
        let mut best: Option<(f32, usize)> = None;
        for i in 1..cuts.len().saturating_sub(1) {
            if let Some(&id) = ids.get(&text[cuts[i - 1]..cuts[i + 1]]) {
                let score = scores[id as usize];
                if best.is_none_or(|(highest, _)| score > highest) {
                    best = Some((score, i));
                }
            }
        }
        match best {
            Some((_, i)) => cuts.remove(i),
            None => break,
        };
    }
    for piece in cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]) {
        if let Some(&id) = ids.get(piece) {
            tokens.push(id);
            continue;
        }
        for byte in piece.bytes() {
            let id = ids.get(&format!("<0x{byte:02X}>"));
            tokens.push(*id.ok_or_else(|| format!("no token for {piece:?} and none for its bytes"))?);
        }
    }
    Ok(())
}
