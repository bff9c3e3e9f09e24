//! The tokenizer in a GGUF file, to be used as that of a model folder.

use super::encode::byte_level;
use super::vocabulary::{TokenKind, Vocabulary, VocabularyModel};
use crate::error::{Error, Result};
use std::path::Path;
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel;
use tolmach_tokenize::{
    ModelProto, ModelType, NormalizerSpec, Piece, PieceKind, Pieces, Tokenizer, TokenizerParts, TrainerSpec,
};

type Reason = String;

/// Control tokens that end a turn, where a file does not name one: llama.cpp knows them by these names.
const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

impl Vocabulary {
    /// The tokenizer that this vocabulary makes; `path` is the file that it comes from.
    ///
    /// # Errors
    /// It makes none: a broken list of pieces, a pattern that is not known here.
    pub fn tokenizer(&self, path: &Path) -> Result<Tokenizer> {
        let bad = |reason| Error::Gguf { path: path.to_path_buf(), reason };
        self.check_lengths().map_err(bad)?;
        let pieces = match &self.model {
            VocabularyModel::Llama { scores, add_space_prefix } => {
                Pieces::SentencePiece(self.sentencepiece(scores, *add_space_prefix))
            }
            VocabularyModel::Gpt2 { merges, pre } => Pieces::Json(self.json(merges, pre).map_err(bad)?),
        };
        let parts = TokenizerParts {
            pieces,
            bos: self.bos,
            eos: self.eos,
            pad: self.pad,
            unk: self.unk,
            adds_bos: self.add_bos && self.bos.is_some(),
            stops: self.stops(),
        };
        Ok(Tokenizer::from_parts(path, parts)?)
    }

    fn check_lengths(&self) -> Result<(), Reason> {
        let tokens = self.tokens.len();
        let scores = match &self.model {
            VocabularyModel::Llama { scores, .. } => scores.len(),
            VocabularyModel::Gpt2 { .. } => tokens,
        };
        match [("scores", scores), ("token types", self.kinds.len())].into_iter().find(|(_, n)| *n != tokens)
        {
            Some((name, found)) => Err(format!("{found} {name} for {tokens} tokens")),
            None => Ok(()),
        }
    }

    fn stops(&self) -> Vec<u32> {
        let tokens = (0u32..).zip(self.tokens.iter().zip(&self.kinds));
        let ends = tokens
            .filter(|(_, (text, kind))| **kind == TokenKind::Control && TURN_ENDS.contains(&text.as_str()));
        ends.map(|(id, _)| id).collect()
    }

    fn sentencepiece(&self, scores: &[f32], add_dummy_prefix: bool) -> ModelProto {
        let piece = |((text, kind), score): ((&String, &TokenKind), &f32)| Piece {
            text: text.clone(),
            score: *score,
            kind: match kind {
                TokenKind::Normal => PieceKind::Normal,
                TokenKind::Unknown => PieceKind::Unknown,
                TokenKind::Control => PieceKind::Control,
                TokenKind::UserDefined => PieceKind::UserDefined,
                TokenKind::Unused => PieceKind::Unused,
                TokenKind::Byte => PieceKind::Byte,
            },
        };
        ModelProto {
            pieces: self.tokens.iter().zip(&self.kinds).zip(scores).map(piece).collect(),
            trainer: TrainerSpec {
                model_type: ModelType::Bpe,
                byte_fallback: self.kinds.contains(&TokenKind::Byte),
                ..TrainerSpec::default()
            },
            normalizer: NormalizerSpec {
                add_dummy_prefix,
                remove_extra_whitespaces: self.remove_extra_whitespaces,
                ..NormalizerSpec::default()
            },
            denormalizer: None,
        }
    }

    /// As `tokenizer.json`.
    fn json(&self, merges: &[String], pre: &str) -> Result<Vec<u8>, Reason> {
        let ids = self.tokens.iter().cloned().zip(0u32..);
        let mut tokenizer = byte_level(ids, merges, pre)?;
        tokenizer.with_decoder(Some(ByteLevel::default()));
        let of_kind = |kind: TokenKind, special: bool| {
            let tokens = self.tokens.iter().zip(&self.kinds).filter(move |(_, k)| **k == kind);
            tokens.map(move |(text, _)| AddedToken::from(text.clone(), special).normalized(false))
        };
        tokenizer.add_special_tokens(of_kind(TokenKind::Control, true)).map_err(|e| e.to_string())?;
        tokenizer.add_tokens(of_kind(TokenKind::UserDefined, false)).map_err(|e| e.to_string())?;
        tokenizer.to_string(false).map(String::into_bytes).map_err(|e| e.to_string())
    }
}
