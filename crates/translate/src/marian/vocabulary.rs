//! Between texts and the ids of a model: SentencePiece on both sides, ids from `vocab.json` (OPUS-MT,
//! M2M100) or from the SentencePiece model itself (NLLB).

use super::config::{Family, Settings, Shape};
use super::error::MarianError;
use super::languages;
use crate::LanguagePair;
use std::collections::HashMap;
use std::path::Path;
use tolmach_tokenize::PieceModel;

/// The vocabularies of one model and pair of languages.
pub struct Vocabulary {
    /// The engine's name in what is emitted: who published such models, and so their licence.
    name: &'static str,
    source: PieceModel,
    /// Spells answers; without it, `source` does.
    target: Option<PieceModel>,
    ids: HashMap<String, u32>,
    /// By id; empty for ids without a piece.
    target_pieces: Vec<String>,
    unk: u32,
    /// What stands before and after the tokens of a text: EOS, and what tells the languages.
    before: Vec<u32>,
    after: Vec<u32>,
    /// The token that answers begin with.
    first: Option<u32>,
}

const BOS: &str = "<s>";
const EOS: &str = "</s>";
const UNK: &str = "<unk>";
const PAD: &str = "<pad>";

/// The first ids of NLLB, which take the place of the first three of its SentencePiece model.
const FAIRSEQ: [&str; 4] = [BOS, PAD, EOS, UNK];
const FIRST_PIECE: usize = 3;

impl Vocabulary {
    /// The vocabularies in `folder`.
    ///
    /// # Errors
    /// A file is missing or broken, has more ids than the model, or the model is for other languages.
    pub fn open(folder: &Path, pair: &LanguagePair, shape: &Shape) -> Result<Self, MarianError> {
        match shape.family {
            Family::Marian => Vocabulary::of_pair(folder, pair, shape),
            Family::M2m100 => Vocabulary::of_many(folder, pair, shape),
        }
    }

    /// OPUS-MT: a model for each side; one of several target languages is told which by `>>rus<<`.
    fn of_pair(folder: &Path, pair: &LanguagePair, shape: &Shape) -> Result<Self, MarianError> {
        let path = folder.join("vocab.json");
        let ids = read_ids(&path, shape.encoder.vocab)?;
        let target_path = folder.join("target_vocab.json");
        let target_ids =
            if target_path.is_file() { &read_ids(&target_path, shape.decoder.vocab)? } else { &ids };
        Ok(Vocabulary {
            name: "marian",
            source: PieceModel::open(&folder.join("source.spm"))?,
            target: Some(PieceModel::open(&folder.join("target.spm"))?),
            target_pieces: pieces_by_id(target_ids, shape.decoder.vocab),
            unk: needed(UNK, &ids, &path)?,
            before: target_code(folder, pair, &ids)?.into_iter().collect(),
            after: vec![needed(EOS, &ids, &path)?],
            first: None,
            ids,
        })
    }

    /// M2M100 and NLLB: one model for all languages; the text and the answer begin with theirs.
    fn of_many(folder: &Path, pair: &LanguagePair, shape: &Shape) -> Result<Self, MarianError> {
        let path = folder.join("vocab.json");
        let spm = folder.join("sentencepiece.bpe.model");
        let source = PieceModel::open(&spm)?;
        let config = Settings::read_if_there(&folder.join("tokenizer_config.json"))?;
        let (name, ids, usual) = if path.is_file() {
            let usual = match config.text("language_codes") {
                Some("wmt21") => languages::WMT21,
                _ => languages::M2M100,
            };
            ("m2m100", read_ids(&path, shape.encoder.vocab)?, usual)
        } else {
            ("nllb", nllb_ids(&source), languages::NLLB)
        };
        let path = if path.is_file() { path } else { spm };
        let codes = codes(folder, &config, usual, ids.len(), shape.encoder.vocab)?;
        let find = |tag: &str| {
            let best = languages::best(codes.iter().map(|(code, _)| code.as_str()), tag);
            best.and_then(|best| codes.iter().find(|(code, _)| code == best)).map(|(_, id)| *id)
        };
        let (Some(from), Some(to)) = (find(&pair.from), find(&pair.to)) else {
            let all: Vec<&str> = codes.iter().map(|(code, _)| code.as_str()).collect();
            let found = format!("between {} languages ({})", all.len(), all.join(" "));
            return Err(MarianError::Languages { found, wanted: format!("{} to {}", pair.from, pair.to) });
        };
        let eos = needed(EOS, &ids, &path)?;
        let behind = config.flag("legacy_behaviour", false)?;
        Ok(Vocabulary {
            name,
            target: None,
            target_pieces: pieces_by_id(&ids, shape.decoder.vocab),
            unk: needed(UNK, &ids, &path)?,
            before: if behind { vec![] } else { vec![from] },
            after: if behind { vec![eos, from] } else { vec![eos] },
            first: Some(to),
            source,
            ids,
        })
    }

    /// `marian`, `m2m100` or `nllb`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The token that answers begin with, for a model that is told its target language so.
    pub fn first(&self) -> Option<u32> {
        self.first
    }

    /// Ids of a sentence as the model reads it. A `</s>` or `>>rus<<` in the text is text.
    ///
    /// # Errors
    /// The text is 4 GiB or longer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, MarianError> {
        let pieces = self.source.encode(text)?;
        let known = |piece: &String| match piece.as_str() {
            BOS | EOS | PAD => self.unk,
            piece => self.ids.get(piece).copied().unwrap_or(self.unk),
        };
        let mut ids = self.before.clone();
        ids.extend(pieces.iter().map(known));
        ids.extend(&self.after);
        Ok(ids)
    }

    /// The text of an answer; EOS, unknown tokens, languages and padding leave no trace.
    pub fn decode(&self, ids: &[u32]) -> String {
        let piece = |id: &u32| self.target_pieces.get(*id as usize).map(String::as_str);
        let pieces: Vec<&str> = ids.iter().filter_map(piece).filter(|piece| !piece.is_empty()).collect();
        self.target.as_ref().unwrap_or(&self.source).decode(&pieces)
    }
}

fn read_ids(path: &Path, vocab: usize) -> Result<HashMap<String, u32>, MarianError> {
    let text =
        std::fs::read(path).map_err(|source| MarianError::Read { path: path.to_path_buf(), source })?;
    let ids: HashMap<String, u32> = serde_json::from_slice(&text)
        .map_err(|source| MarianError::Json { path: path.to_path_buf(), source })?;
    match ids.iter().find(|(_, id)| **id as usize >= vocab) {
        Some((piece, id)) => {
            let reason = format!("the id of {piece:?} is {id}, the model has {vocab} tokens");
            Err(MarianError::Vocabulary { path: path.to_path_buf(), reason })
        }
        None => Ok(ids),
    }
}

fn nllb_ids(spm: &PieceModel) -> HashMap<String, u32> {
    let pieces = FAIRSEQ.into_iter().chain(spm.pieces().skip(FIRST_PIECE));
    let mut ids = HashMap::new();
    for (piece, id) in pieces.zip(0..) {
        ids.entry(piece.to_string()).or_insert(id);
    }
    ids
}

fn needed(piece: &str, ids: &HashMap<String, u32>, path: &Path) -> Result<u32, MarianError> {
    let reason = || format!("there is no piece {piece}");
    let missing = || MarianError::Vocabulary { path: path.to_path_buf(), reason: reason() };
    ids.get(piece).copied().ok_or_else(missing)
}

fn pieces_by_id(ids: &HashMap<String, u32>, count: usize) -> Vec<String> {
    let mut pieces = vec![String::new(); count];
    for (piece, &id) in ids {
        let special = FAIRSEQ.contains(&piece.as_str());
        if let Some(place) = pieces.get_mut(id as usize).filter(|_| !special) {
            place.clone_from(piece);
        }
    }
    pieces
}

/// The languages of a multilingual model with their tokens: the `usual` ones, which follow the pieces,
/// and what the folder's own files say, where somebody has added some.
fn codes(
    folder: &Path,
    config: &Settings,
    usual: &str,
    pieces: usize,
    vocab: usize,
) -> Result<Vec<(String, u32)>, MarianError> {
    let mut codes: Vec<(String, u32)> =
        usual.split(' ').map(str::to_string).zip(u32::try_from(pieces).unwrap_or(u32::MAX)..).collect();
    let more = Settings::read_if_there(&folder.join("added_tokens.json"))?;
    for (token, id) in config.added_tokens().chain(more.ids()) {
        let code = token.trim_matches('_');
        match codes.iter_mut().find(|(known, _)| known == code) {
            Some(known) => known.1 = id,
            None if is_added_code(token) => codes.push((code.to_string(), id)),
            None => {}
        }
    }
    codes.retain(|(_, id)| (*id as usize) < vocab);
    Ok(codes)
}

/// `tyv_Cyrl`, `__tyv__`
fn is_added_code(token: &str) -> bool {
    let letters = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic())
    };
    match token.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) {
        Some(code) => letters(code, &[2, 3]),
        None => {
            token.split_once('_').is_some_and(|(name, script)| letters(name, &[3]) && letters(script, &[4]))
        }
    }
}

/// The code of the target language, for an OPUS-MT model of several.
fn target_code(
    folder: &Path,
    pair: &LanguagePair,
    ids: &HashMap<String, u32>,
) -> Result<Option<u32>, MarianError> {
    let mut codes: Vec<&str> = ids.keys().map(String::as_str).filter(|piece| is_code(piece)).collect();
    codes.sort_unstable();
    let other = |found: String| {
        Err(MarianError::Languages { found, wanted: format!("{} to {}", pair.from, pair.to) })
    };
    let config = Settings::read_if_there(&folder.join("tokenizer_config.json"))?;
    let names = [("source_lang", &pair.from), ("target_lang", &pair.to)];
    // Groups of languages (`zle`, `ROMANCE`) say nothing about one of them.
    let differs = |(key, wanted): &(&str, &String)| {
        let named = config.text(key).filter(|name| is_language(name));
        named.is_some_and(|name| languages::best([name], wanted).is_none())
    };
    if names.iter().take(if codes.is_empty() { 2 } else { 1 }).any(differs) {
        let name = |key| config.text(key).unwrap_or("something").to_string();
        return other(format!("{} to {}", name("source_lang"), name("target_lang")));
    }
    if codes.is_empty() {
        return Ok(None);
    }
    match languages::best(codes.iter().copied(), &pair.to) {
        Some(code) => Ok(ids.get(code).copied()),
        None => {
            let all: Vec<&str> = codes.iter().map(|code| code.trim_matches(['>', '<'])).collect();
            other(format!("into {}", all.join(", ")))
        }
    }
}

fn is_code(piece: &str) -> bool {
    piece.len() > 4 && piece.starts_with(">>") && piece.ends_with("<<")
}

/// A two-letter code; those of three letters may be of a group.
fn is_language(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_languages_look_like_codes() {
        for (token, is) in [
            ("tyv_Cyrl", true),
            ("__tyv__", true),
            ("__ru__", true),
            ("<mask>", false),
            ("</s>", false),
            ("a_b", false),
        ] {
            assert_eq!(is_added_code(token), is, "{token}");
        }
    }
}
