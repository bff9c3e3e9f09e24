//! `tokenizer.model`: SentencePiece read directly, with the ids of the original program.
//!
//! Written from the documented algorithm and checked against the `sentencepiece` package
//! (`fixtures/golden/sentencepiece/`). Text goes through `normalizer` (rules of `charsmap`, spaces
//! as `▁`, the dummy prefix), then through `bpe` or `unigram`; what the vocabulary cannot spell
//! becomes bytes, or one unknown token.

mod bpe;
mod charsmap;
mod fast_hash;
mod normalizer;
mod pieces;
mod proto;
mod trie;
mod unigram;

use crate::tokenizer::TextTokens;
use bpe::Bpe;
use fast_hash::FastMap;
use normalizer::{Normalized, Normalizer, SPACE_SYMBOL, USER_DEFINED};
pub use pieces::PieceModel;
use proto::Reason;
pub use proto::{ModelProto, ModelType, NormalizerSpec, Piece, PieceKind, TrainerSpec};
use std::collections::HashSet;
use std::ops::Range;
use unigram::Unigram;

/// Where decoded bytes are no character.
const REPLACEMENT: &str = "\u{FFFD}";

/// A SentencePiece model.
pub(crate) struct SentencePiece {
    pieces: Vec<Piece>,
    /// Every piece's id; where a control piece and an ordinary one have one text, the control piece's.
    by_text: FastMap<String, u32>,
    trainer: TrainerSpec,
    normalizer: Normalizer,
    denormalizer: Option<Normalizer>,
    segmenter: Segmenter,
    unk: u32,
    /// The ids of the 256 byte pieces, with byte fallback.
    bytes: Option<Box<[u32; 256]>>,
    /// Spaces before the first word are not the text's own.
    strips_first_space: bool,
    strips_all_spaces: bool,
}

enum Segmenter {
    Bpe(Bpe),
    Unigram(Unigram),
}

impl SentencePiece {
    /// `marks`: texts that are no pieces, but one token each, with their ids; nothing is normalised
    /// in them or joined across them. `special`: user-defined pieces that no text may spell, because
    /// they are special tokens here.
    ///
    /// # Errors
    /// The model cannot be used.
    pub fn new(mut model: ModelProto, marks: &[(&str, u32)], special: &[String]) -> Result<Self, Reason> {
        for piece in &mut model.pieces {
            if piece.kind == PieceKind::UserDefined && special.contains(&piece.text) {
                piece.kind = PieceKind::Control;
            }
        }
        let ModelProto { pieces, trainer, normalizer: spec, denormalizer } = model;
        let unk = check_pieces(&pieces)?;
        let mut by_text = FastMap::default();
        for ordinary in [true, false] {
            let of_kind = pieces.iter().zip(0u32..).filter(|(piece, _)| piece.kind.is_in_text() == ordinary);
            by_text.extend(of_kind.map(|(piece, id)| (piece.text.clone(), id)));
        }
        let user_defined = pieces.iter().filter(|piece| piece.kind == PieceKind::UserDefined);
        let mut symbols: Vec<_> = user_defined.map(|piece| (piece.text.as_str(), USER_DEFINED)).collect();
        symbols.extend(marks);
        let segmenter = match trainer.model_type {
            ModelType::Bpe => Segmenter::Bpe(Bpe::new(&pieces, unk)?),
            ModelType::Unigram => Segmenter::Unigram(Unigram::new(&pieces, unk)?),
            ModelType::Other => return Err("its model type is neither BPE nor unigram".into()),
        };
        let has_rules = denormalizer.filter(|spec| !spec.precompiled_charsmap.is_empty());
        let denormalizer = has_rules.map(|spec| Normalizer::new(&spec, &[], false)).transpose()?;
        Ok(SentencePiece {
            normalizer: Normalizer::new(&spec, &symbols, trainer.treat_whitespace_as_suffix)?,
            bytes: if trainer.byte_fallback { Some(byte_pieces(&by_text)?) } else { None },
            strips_first_space: spec.add_dummy_prefix || spec.remove_extra_whitespaces,
            strips_all_spaces: spec.remove_extra_whitespaces,
            pieces,
            by_text,
            trainer,
            denormalizer,
            segmenter,
            unk,
        })
    }

    pub fn unk(&self) -> u32 {
        self.unk
    }

    /// The control piece that the model itself calls BOS, EOS or padding.
    pub fn bos(&self) -> Option<u32> {
        self.control(&self.trainer.bos_piece)
    }

    pub fn eos(&self) -> Option<u32> {
        self.control(&self.trainer.eos_piece)
    }

    pub fn pad(&self) -> Option<u32> {
        self.control(&self.trainer.pad_piece)
    }

    fn control(&self, text: &str) -> Option<u32> {
        self.id(text).filter(|&id| self.is_control(id))
    }

    pub fn id(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    pub fn text(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(|piece| piece.text.as_str())
    }

    pub fn is_control(&self, id: u32) -> bool {
        self.pieces.get(id as usize).is_some_and(|piece| piece.kind == PieceKind::Control)
    }

    /// The texts of the control pieces.
    pub fn controls(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter(|piece| piece.kind == PieceKind::Control).map(|piece| piece.text.as_str())
    }

    /// The tokens of a text with byte offsets.
    ///
    /// # Errors
    /// The text is 4 GiB or longer.
    pub fn encode(&self, text: &str) -> Result<TextTokens, Reason> {
        if u32::try_from(text.len()).is_err() {
            return Err("it is longer than 4 GiB".into());
        }
        let normal = self.normalizer.normalize(text);
        let mut tokens = TextTokens::default();
        let mut at = 0;
        for (mark, id) in &normal.marks {
            self.encode_stretch(&normal, at..mark.start, &mut tokens);
            tokens.ids.push(*id);
            tokens.offsets.push(normal.source(mark.clone()));
            at = mark.end;
        }
        self.encode_stretch(&normal, at..normal.text.len(), &mut tokens);
        Ok(tokens)
    }

    fn encode_stretch(&self, normal: &Normalized, stretch: Range<usize>, tokens: &mut TextTokens) {
        let text = &normal.text[stretch.clone()];
        let mut cuts = Vec::with_capacity(text.len() / 3 + 1);
        match &self.segmenter {
            Segmenter::Bpe(bpe) => bpe.segment(text, &mut cuts),
            Segmenter::Unigram(unigram) => unigram.segment(text, &mut cuts),
        }
        let mut at = stretch.start;
        let mut after_unknown = false;
        for (length, id) in cuts {
            let range = at..at + length;
            at = range.end;
            let source = normal.source(range.clone());
            match (&self.bytes, id == self.unk) {
                (Some(bytes), true) => {
                    for &byte in &normal.text.as_bytes()[range] {
                        tokens.ids.push(bytes[byte as usize]);
                        tokens.offsets.push(source);
                    }
                }
                (None, true) if after_unknown => {
                    if let Some(last) = tokens.offsets.last_mut() {
                        last.1 = source.1;
                    }
                }
                _ => {
                    tokens.ids.push(id);
                    tokens.offsets.push(source);
                }
            }
            after_unknown = id == self.unk;
        }
    }

    /// Ids to text. What `shown` returns for an id stands for it, whatever the piece; unknown ids
    /// leave no trace.
    pub fn decode<'a>(&'a self, ids: &[u32], shown: impl Fn(u32) -> Option<&'a str>) -> String {
        let mut text = String::new();
        let mut bytes = Vec::new();
        let mut at_start = true;
        let mut took_space = false;
        for &id in ids {
            let piece = self.pieces.get(id as usize);
            if let Some(byte) = piece.filter(|p| p.kind == PieceKind::Byte).and_then(|p| byte_of(&p.text)) {
                bytes.push(byte);
                continue;
            }
            push_bytes(&mut text, &mut bytes);
            at_start &= !took_space && text.is_empty();
            took_space = false;
            if let Some(shown) = shown(id) {
                text.push_str(shown);
                continue;
            }
            let Some(piece) = piece else { continue };
            match piece.kind {
                PieceKind::Control => {}
                PieceKind::Unknown => text.push_str(&self.trainer.unk_surface),
                _ => {
                    let stripped = piece.text.strip_prefix(SPACE_SYMBOL);
                    let stripped = stripped.filter(|_| at_start && self.strips_first_space);
                    took_space = stripped.is_some() && !self.strips_all_spaces;
                    let written = stripped.unwrap_or(&piece.text);
                    text.extend(written.chars().map(|c| if c == SPACE_SYMBOL { ' ' } else { c }));
                }
            }
        }
        push_bytes(&mut text, &mut bytes);
        match &self.denormalizer {
            Some(rules) => rules.normalize(&text).text,
            None => text,
        }
    }
}

/// The id of the unknown piece.
fn check_pieces(pieces: &[Piece]) -> Result<u32, Reason> {
    let mut seen = HashSet::new();
    let mut unk = None;
    for (piece, id) in pieces.iter().zip(0u32..) {
        let bad = |what: &str| Err(format!("piece {id}, {:?}, {what}", piece.text));
        if piece.text.is_empty() || piece.text.contains('\0') {
            return bad("is empty or holds a NUL");
        }
        if !seen.insert((piece.kind.is_in_text(), piece.text.as_str())) {
            return bad("occurs twice");
        }
        if piece.kind == PieceKind::Byte && byte_of(&piece.text).is_none() {
            return bad("is no byte (<0x0A>)");
        }
        if piece.kind == PieceKind::Unknown && unk.replace(id).is_some() {
            return bad("is a second unknown piece");
        }
    }
    unk.ok_or_else(|| format!("none of its {} pieces is the unknown one", pieces.len()))
}

fn byte_pieces(by_text: &FastMap<String, u32>) -> Result<Box<[u32; 256]>, Reason> {
    let mut ids = Box::new([0; 256]);
    for (byte, id) in ids.iter_mut().enumerate() {
        let text = format!("<0x{byte:02X}>");
        *id = *by_text
            .get(&text)
            .ok_or_else(|| format!("byte_fallback is on, but there is no piece {text}"))?;
    }
    Ok(ids)
}

fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper = digits.len() == 2 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    u8::from_str_radix(digits, 16).ok().filter(|_| upper)
}

/// Move collected bytes to the text; each that is part of no character becomes U+FFFD.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|_| text.push_str(REPLACEMENT));
    }
    bytes.clear();
}
