//! Between texts and the ids of a MarianMT model: SentencePiece on both sides, ids from `vocab.json`.

use super::config::Settings;
use super::error::MarianError;
use crate::LanguagePair;
use std::collections::HashMap;
use std::path::Path;
use tolmach_tokenize::PieceModel;

/// The vocabularies of one model and pair of languages.
pub struct Vocabulary {
    source: PieceModel,
    target: PieceModel,
    ids: HashMap<String, u32>,
    /// By id; empty for ids without a piece.
    target_pieces: Vec<String>,
    eos: u32,
    unk: u32,
    /// What a model of several target languages is told first: `>>rus<<`.
    target_code: Option<u32>,
}

const EOS: &str = "</s>";
const UNK: &str = "<unk>";
const PAD: &str = "<pad>";

impl Vocabulary {
    /// The vocabularies in `folder`, for a model that reads `read` tokens and writes `written`.
    ///
    /// # Errors
    /// A file is missing or broken, has more ids than the model, or the model is for other languages.
    pub fn open(
        folder: &Path,
        pair: &LanguagePair,
        read: usize,
        written: usize,
    ) -> Result<Self, MarianError> {
        let path = folder.join("vocab.json");
        let ids = read_ids(&path, read)?;
        let target_path = folder.join("target_vocab.json");
        let target_ids = if target_path.is_file() { &read_ids(&target_path, written)? } else { &ids };
        let mut target_pieces = vec![String::new(); written];
        for (piece, &id) in target_ids {
            let special = [EOS, UNK, PAD].contains(&piece.as_str());
            if let Some(place) = target_pieces.get_mut(id as usize).filter(|_| !special) {
                place.clone_from(piece);
            }
        }
        let needed = |piece: &str| {
            let reason = || format!("there is no piece {piece}");
            ids.get(piece)
                .copied()
                .ok_or_else(|| MarianError::Vocabulary { path: path.clone(), reason: reason() })
        };
        let target_code = check_languages(folder, pair, &ids)?.map(|code| ids[&code]);
        Ok(Vocabulary {
            source: PieceModel::open(&folder.join("source.spm"))?,
            target: PieceModel::open(&folder.join("target.spm"))?,
            eos: needed(EOS)?,
            unk: needed(UNK)?,
            ids,
            target_pieces,
            target_code,
        })
    }

    /// Ids of a sentence, EOS at the end. A `</s>` or `>>rus<<` in the text is text.
    ///
    /// # Errors
    /// The text is 4 GiB or longer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, MarianError> {
        let pieces = self.source.encode(text)?;
        let known = |piece: &String| match piece.as_str() {
            EOS | PAD => self.unk,
            piece => self.ids.get(piece).copied().unwrap_or(self.unk),
        };
        let mut ids: Vec<u32> = self.target_code.into_iter().collect();
        ids.extend(pieces.iter().map(known));
        ids.push(self.eos);
        Ok(ids)
    }

    /// The text of an answer; EOS, unknown tokens and padding leave no trace.
    pub fn decode(&self, ids: &[u32]) -> String {
        let piece = |id: &u32| self.target_pieces.get(*id as usize).map(String::as_str);
        let pieces: Vec<&str> = ids.iter().filter_map(piece).filter(|piece| !piece.is_empty()).collect();
        self.target.decode(&pieces)
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

/// The code of the target language, for a model of several.
fn check_languages(
    folder: &Path,
    pair: &LanguagePair,
    ids: &HashMap<String, u32>,
) -> Result<Option<String>, MarianError> {
    let mut codes: Vec<&String> = ids.keys().filter(|piece| is_code(piece)).collect();
    codes.sort();
    let other = |found: String| {
        Err(MarianError::Languages { found, wanted: format!("{} to {}", pair.from, pair.to) })
    };
    let config = folder.join("tokenizer_config.json");
    if config.is_file() {
        let config = Settings::read(&config)?;
        let names = [("source_lang", &pair.from), ("target_lang", &pair.to)];
        // Groups of languages (`zle`, `ROMANCE`) say nothing about one of them.
        let differs = |(key, wanted): &(&str, &String)| {
            let named = config.text(key).filter(|name| is_language(name));
            named.is_some_and(|name| !same_language(name, wanted))
        };
        if names.iter().take(if codes.is_empty() { 2 } else { 1 }).any(differs) {
            let name = |key| config.text(key).unwrap_or("something").to_string();
            return other(format!("{} to {}", name("source_lang"), name("target_lang")));
        }
    }
    if codes.is_empty() {
        return Ok(None);
    }
    let language = |code: &str| code.trim_start_matches(">>").trim_end_matches("<<").replace('_', "-");
    match codes.iter().find(|code| same_language(&language(code), &pair.to)) {
        Some(code) => Ok(Some((*code).clone())),
        None => {
            let all: Vec<String> = codes.iter().map(|code| language(code)).collect();
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

/// Whether a model's code for a language (`ru`, `rus`, `srp-Cyrl`) serves who asked for `wanted`.
fn same_language(code: &str, wanted: &str) -> bool {
    let (primary, rest) = code.split_at(code.find('-').unwrap_or(code.len()));
    let two = THREE_LETTERS.iter().find(|(three, _)| *three == primary).map_or(primary, |(_, two)| two);
    crate::language::affinity(wanted, &format!("{two}{rest}")).is_some()
}

/// ISO 639-3 to 639-1, for languages that OPUS-MT models of several targets write.
const THREE_LETTERS: [(&str, &str); 62] = [
    ("afr", "af"),
    ("ara", "ar"),
    ("arb", "ar"),
    ("aze", "az"),
    ("bel", "be"),
    ("ben", "bn"),
    ("bos", "bs"),
    ("bul", "bg"),
    ("cat", "ca"),
    ("ces", "cs"),
    ("cmn", "zh"),
    ("cym", "cy"),
    ("dan", "da"),
    ("deu", "de"),
    ("ell", "el"),
    ("eng", "en"),
    ("epo", "eo"),
    ("est", "et"),
    ("eus", "eu"),
    ("fas", "fa"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("gle", "ga"),
    ("glg", "gl"),
    ("guj", "gu"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("hye", "hy"),
    ("ind", "id"),
    ("isl", "is"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kat", "ka"),
    ("kaz", "kk"),
    ("kor", "ko"),
    ("lat", "la"),
    ("lav", "lv"),
    ("lit", "lt"),
    ("mar", "mr"),
    ("mkd", "mk"),
    ("nld", "nl"),
    ("nob", "nb"),
    ("nno", "nn"),
    ("pol", "pl"),
    ("por", "pt"),
    ("ron", "ro"),
    ("rus", "ru"),
    ("slk", "sk"),
    ("slv", "sl"),
    ("spa", "es"),
    ("sqi", "sq"),
    ("srp", "sr"),
    ("swe", "sv"),
    ("tam", "ta"),
    ("tur", "tr"),
    ("ukr", "uk"),
    ("urd", "ur"),
    ("uzb", "uz"),
    ("vie", "vi"),
    ("zho", "zh"),
]; // fmt: skip

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_two_and_three_letters_are_languages() {
        for (code, wanted, same) in [
            ("ru", "ru", true),
            ("rus", "ru", true),
            ("ukr", "ru", false),
            ("srp-Cyrl", "sr-Cyrl", true),
            ("srp-Latn", "sr-Cyrl", false),
            ("por", "pt-BR", true),
            ("xyz", "xy", false),
        ]
        /* fmt: skip */
        {
            assert_eq!(same_language(code, wanted), same, "{code} for {wanted}");
        }
    }
}
