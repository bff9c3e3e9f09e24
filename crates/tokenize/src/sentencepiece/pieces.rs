//! Texts as pieces rather than ids: for models whose vocabulary is a file of its own (Marian's
//! `vocab.json`), which may know a piece that this SentencePiece model calls unknown.

use super::{FastMap, ModelProto, Reason, Segmenter, SentencePiece};
use crate::Error;
use std::path::Path;

/// A SentencePiece model (`source.spm`, `target.spm`) without ids.
pub struct PieceModel(SentencePiece);

impl PieceModel {
    /// # Errors
    /// The file cannot be read or is no SentencePiece model.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let model = ModelProto::parse(&bytes).and_then(|model| SentencePiece::new(model, &[], &[]));
        model.map(PieceModel).map_err(|reason| Error::BadTokenizer { path: path.to_path_buf(), reason })
    }

    /// All pieces, in the order of the file.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        self.0.pieces.iter().map(|piece| piece.text.as_str())
    }

    /// The pieces of a text, `▁` for spaces. A run of characters that the model cannot spell is one
    /// piece, or its bytes (`<0xD0>`) where the model has byte pieces.
    ///
    /// # Errors
    /// The text is 4 GiB or longer.
    pub fn encode(&self, text: &str) -> Result<Vec<String>, Error> {
        let pieces = self.0.pieces(text);
        pieces.map_err(|reason| Error::Encode { text: text.chars().take(40).collect(), reason })
    }

    /// The text of pieces, which need not be this model's.
    pub fn decode(&self, pieces: &[&str]) -> String {
        let known = self.0.pieces.len();
        let mut foreign = FastMap::default();
        let mut ids = Vec::with_capacity(pieces.len());
        for (i, piece) in pieces.iter().enumerate() {
            let id = self.0.id(piece).unwrap_or((known + i) as u32);
            if id as usize >= known {
                foreign.insert(id, *piece);
            }
            ids.push(id);
        }
        let text = self.0.decode(&ids, |id| foreign.get(&id).copied());
        text.replace(super::SPACE_SYMBOL, " ").trim().to_string()
    }
}

impl SentencePiece {
    fn pieces(&self, text: &str) -> Result<Vec<String>, Reason> {
        if u32::try_from(text.len()).is_err() {
            return Err("it is longer than 4 GiB".into());
        }
        let normal = self.normalizer.normalize(text).text;
        let mut cuts = Vec::with_capacity(normal.len() / 3 + 1);
        match &self.segmenter {
            Segmenter::Bpe(bpe) => bpe.segment(&normal, &mut cuts),
            Segmenter::Unigram(unigram) => unigram.segment(&normal, &mut cuts),
        }
        let mut pieces: Vec<String> = Vec::with_capacity(cuts.len());
        let (mut at, mut after_unknown) = (0, false);
        for (length, id) in cuts {
            let piece = &normal[at..at + length];
            at += length;
            let unknown = id == self.unk;
            match (&self.bytes, pieces.last_mut()) {
                (Some(_), _) if unknown => pieces.extend(piece.bytes().map(|byte| format!("<0x{byte:02X}>"))),
                (None, Some(last)) if unknown && after_unknown => last.push_str(piece),
                _ => pieces.push(piece.to_string()),
            }
            after_unknown = unknown;
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> PieceModel {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sentencepiece");
        PieceModel::open(&folder.join(name)).unwrap()
    }

    #[test]
    fn pieces_are_those_of_the_ids_and_what_has_none_stays_readable() {
        let model = model("nmt-nfkc.model");
        let pieces = model.encode("The cat 漢字 sat").unwrap();
        assert!(pieces.contains(&"漢字".to_string()), "{pieces:?}");
        let refs: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(model.decode(&refs), "The cat 漢字 sat");
    }

    #[test]
    fn bytes_become_characters_again() {
        let model = model("llama.model");
        let pieces = model.encode("漢").unwrap();
        assert!(pieces.ends_with(&["<0xE6>".into(), "<0xBC>".into(), "<0xA2>".into()]), "{pieces:?}");
        let refs: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(model.decode(&refs), "漢");
    }

    #[test]
    fn foreign_pieces_are_spelt_as_they_are() {
        assert_eq!(model("nmt-nfkc.model").decode(&["▁zzzqqq", "xyz", "▁123456"]), "zzzqqqxyz 123456");
    }
}
