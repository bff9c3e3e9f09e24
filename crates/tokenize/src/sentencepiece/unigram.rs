//! The unigram language model: of all ways to cut a text into pieces, the one whose scores (log
//! probabilities) add up to most, found by Viterbi's algorithm over byte positions.
//!
//! Sums are kept in f32, as the original program keeps them, and the first of equals wins: texts
//! with two ways of the same score (`1` + `11`, `11` + `1`) are not rare.

use super::proto::{Piece, PieceKind, Reason};
use super::trie::Trie;

/// How much worse an unknown character is than the rarest piece.
const UNKNOWN_PENALTY: f32 = 10.0;

pub struct Unigram {
    trie: Trie,
    /// By piece; NaN for those that may not be chosen.
    scores: Vec<f32>,
    user_defined: Vec<bool>,
    best_score: f32,
    unk: u32,
    unk_score: f32,
}

/// The best way to the end of a byte position.
#[derive(Clone, Copy)]
struct Way {
    score: f32,
    start: usize,
    id: u32,
}

impl Unigram {
    /// # Errors
    /// A score is not a number, or no piece can occur in a text.
    pub fn new(pieces: &[Piece], unk: u32) -> Result<Self, Reason> {
        if let Some(row) = pieces.iter().position(|piece| piece.score.is_nan()) {
            return Err(format!("piece {row}: its score is not a number"));
        }
        let in_text = pieces.iter().zip(0u32..).filter(|(piece, _)| piece.kind.is_in_text());
        let trie = Trie::new(in_text.map(|(piece, id)| (piece.text.as_str(), id)));
        let normal =
            || pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).map(|piece| piece.score);
        Ok(Unigram {
            trie,
            scores: pieces.iter().map(score_of).collect(),
            user_defined: pieces.iter().map(|piece| piece.kind == PieceKind::UserDefined).collect(),
            // The reference starts from the smallest positive float, so that user-defined pieces
            // come out at about -0.1 where all scores are negative.
            best_score: normal().fold(f32::MIN_POSITIVE, f32::max),
            unk,
            unk_score: normal().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY,
        })
    }

    /// Pieces of a normalised text in order, as (bytes, id); the unknown id for what is none.
    pub fn segment(&self, text: &str, out: &mut Vec<(usize, u32)>) {
        let mut ways: Vec<Option<Way>> = vec![None; text.len() + 1];
        for (start, c) in text.char_indices() {
            let so_far = ways[start].map_or(0.0, |way| way.score);
            let mut character_known = false;
            let mut node = Trie::ROOT;
            for (at, &byte) in text.as_bytes()[start..].iter().enumerate() {
                let Some(next) = self.trie.step(node, byte) else { break };
                node = next;
                let Some(id) = self.trie.value(node) else { continue };
                let Some(score) = self.score(id, at + 1) else { continue };
                improve(&mut ways[start + at + 1], score + so_far, start, id);
                character_known |= at + 1 == c.len_utf8();
            }
            if !character_known {
                improve(&mut ways[start + c.len_utf8()], self.unk_score + so_far, start, self.unk);
            }
        }
        let first = out.len();
        let mut end = text.len();
        while let Some(way) = ways[end].filter(|_| end > 0) {
            out.push((end - way.start, way.id));
            end = way.start;
        }
        out[first..].reverse();
    }

    /// `None` for an unused piece.
    fn score(&self, id: u32, length: usize) -> Option<f32> {
        if self.user_defined[id as usize] {
            return Some((f64::from(length as f32 * self.best_score) - 0.1) as f32);
        }
        Some(self.scores[id as usize]).filter(|score| !score.is_nan())
    }
}

fn score_of(piece: &Piece) -> f32 {
    if piece.kind == PieceKind::Unused { f32::NAN } else { piece.score }
}

fn improve(way: &mut Option<Way>, score: f32, start: usize, id: u32) {
    if way.is_none_or(|way| score > way.score) {
        *way = Some(Way { score, start, id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pieces: &[(&str, f32, PieceKind)]) -> Unigram {
        let piece = |&(text, score, kind): &(&str, f32, PieceKind)| Piece { text: text.into(), score, kind };
        Unigram::new(&pieces.iter().map(piece).collect::<Vec<_>>(), 0).unwrap()
    }

    fn ids(model: &Unigram, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        model.segment(text, &mut out);
        assert_eq!(out.iter().map(|(length, _)| length).sum::<usize>(), text.len());
        out.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn the_best_sum_wins_and_unknown_characters_come_last() {
        use PieceKind::{Normal, Unknown, Unused, UserDefined};
        let pieces = [
            ("<unk>", 0.0, Unknown),
            ("a", -2.0, Normal),
            ("b", -2.0, Normal),
            ("ab", -3.0, Normal),
            ("ba", -1.0, Normal),
            ("abab", -0.5, Unused),
            ("aя", -9.0, UserDefined),
        ];
        let model = model(&pieces);
        assert_eq!(ids(&model, "ab"), [3]);
        assert_eq!(ids(&model, "aba"), [1, 4], "-3 beats ab + a, -5");
        assert_eq!(ids(&model, "abab"), [1, 4, 2], "an unused piece is never chosen");
        assert_eq!(ids(&model, "яa"), [0, 1]);
        assert_eq!(ids(&model, "aяb"), [6, 2], "a user-defined piece nearly always is");
        assert_eq!(ids(&model, ""), [] as [u32; 0]);
    }
}
