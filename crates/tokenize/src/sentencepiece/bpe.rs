//! Byte-pair encoding as SentencePiece does it: of all neighbours that together are a piece, the
//! pair with the best score is joined first, the leftmost of equals; until none is left.
//!
//! The pairs wait in a heap, so a text of n characters takes O(n log n).

use super::fast_hash::FastMap;
use super::normalizer::SPACE_SYMBOL;
use super::proto::{Piece, PieceKind, Reason};
use super::trie::Trie;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

/// The symbol of a character that occurs in no piece.
const ALIEN: u32 = u32::MAX;
const NOBODY: u32 = u32::MAX;

/// A symbol is a piece's id, or, from the number of pieces on, a character that only longer pieces
/// hold.
pub struct Bpe {
    vocabulary: u32,
    unk: u32,
    characters: FastMap<char, u32>,
    /// The piece that two symbols make, by [`pair`].
    merges: FastMap<u64, u32>,
    /// By piece.
    scores: Vec<f32>,
    /// In bytes, by symbol.
    lengths: Vec<u32>,
    /// By piece; absent if there is none.
    unused: Option<Vec<bool>>,
    user_defined: Option<Trie>,
    /// No piece reaches from one word into the next, so words can be encoded each for itself.
    by_word: bool,
}

impl Bpe {
    /// # Errors
    /// A score is not a number.
    pub fn new(pieces: &[Piece], unk: u32) -> Result<Self, Reason> {
        if let Some(row) = pieces.iter().position(|piece| piece.score.is_nan()) {
            return Err(format!("piece {row}: its score is not a number"));
        }
        let in_text = || pieces.iter().zip(0u32..).filter(|(piece, _)| piece.kind.is_in_text());
        let has = |kind| pieces.iter().any(|piece| piece.kind == kind);
        let unused = has(PieceKind::Unused)
            .then(|| pieces.iter().map(|piece| piece.kind == PieceKind::Unused).collect::<Vec<_>>());
        let user_defined = has(PieceKind::UserDefined).then(|| {
            let pieces = in_text().filter(|(piece, _)| piece.kind == PieceKind::UserDefined);
            Trie::new(pieces.map(|(piece, id)| (piece.text.as_str(), id)))
        });
        // What an unused piece is taken apart into may depend on the rest of the text.
        let by_word = unused.is_none() && !in_text().any(|(piece, _)| reaches_next_word(&piece.text));
        let mut bpe = Bpe {
            vocabulary: pieces.len() as u32,
            unk,
            characters: FastMap::default(),
            merges: FastMap::default(),
            // Adding zero makes the two zeros the same.
            scores: pieces.iter().map(|piece| piece.score + 0.0).collect(),
            lengths: pieces.iter().map(|piece| piece.text.len() as u32).collect(),
            unused,
            user_defined,
            by_word,
        };
        let by_text: FastMap<&str, u32> = in_text().map(|(piece, id)| (piece.text.as_str(), id)).collect();
        for (piece, _) in in_text() {
            bpe.add_characters(&piece.text, &by_text);
        }
        for (piece, id) in in_text() {
            bpe.add_merges(&piece.text, id, &by_text);
        }
        Ok(bpe)
    }

    fn add_characters(&mut self, piece: &str, by_text: &FastMap<&str, u32>) {
        for c in piece.chars() {
            if let Entry::Vacant(slot) = self.characters.entry(c) {
                let known = by_text.get(&*c.encode_utf8(&mut [0; 4])).copied();
                slot.insert(known.unwrap_or(self.lengths.len() as u32));
                if known.is_none() {
                    self.lengths.push(c.len_utf8() as u32);
                }
            }
        }
    }

    /// Every way to make the piece of two symbols.
    fn add_merges(&mut self, piece: &str, id: u32, by_text: &FastMap<&str, u32>) {
        let symbol = |part: &str, characters: &FastMap<char, u32>| {
            by_text.get(part).copied().or_else(|| {
                let mut chars = part.chars();
                let first = chars.next().filter(|_| chars.next().is_none())?;
                characters.get(&first).copied()
            })
        };
        for (border, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(border);
            let Some(left) = symbol(left, &self.characters) else { continue };
            let Some(right) = symbol(right, &self.characters) else { continue };
            self.merges.insert(pair(left, right), id);
        }
    }

    /// Pieces of a normalised text in order, as (bytes, id); the unknown id for what is none.
    pub fn segment(&self, text: &str, out: &mut Vec<(usize, u32)>) {
        let mut work = Work::default();
        let mut at = 0;
        let mut in_word = false;
        while let Some(c) = text[at..].chars().next() {
            if self.by_word && in_word && c == SPACE_SYMBOL {
                self.finish(&mut work, out);
            }
            in_word = c != SPACE_SYMBOL;
            let fixed = self.user_defined.as_ref().and_then(|u| u.longest_prefix(&text.as_bytes()[at..]));
            let character = || (c.len_utf8(), self.characters.get(&c).copied().unwrap_or(ALIEN));
            let (length, symbol) = fixed.unwrap_or_else(character);
            work.append(symbol, length as u32, fixed.is_some());
            at += length;
        }
        self.finish(&mut work, out);
    }

    /// Join what can be joined, write the result, and clear the work for the next word.
    fn finish(&self, work: &mut Work, out: &mut Vec<(usize, u32)>) {
        for right in 1..work.parts.len() as u32 {
            self.offer(work, right - 1, right);
        }
        while let Some(best) = work.candidates.pop() {
            let (left, right) = (work.parts[best.left as usize], work.parts[best.right as usize]);
            if left.length == 0 || right.length == 0 || left.length + right.length != best.length {
                continue;
            }
            work.parts[best.right as usize].length = 0;
            let joined = &mut work.parts[best.left as usize];
            joined.symbol = best.symbol;
            joined.length = best.length;
            joined.after = right.after;
            if right.after != NOBODY {
                work.parts[right.after as usize].before = best.left;
            }
            self.offer(work, left.before, best.left);
            self.offer(work, best.left, right.after);
        }
        let mut next = if work.parts.is_empty() { NOBODY } else { 0 };
        while let Some(part) = work.parts.get(next as usize) {
            self.write(part, &work.made_of, out);
            next = part.after;
        }
        work.parts.clear();
        work.made_of.clear();
    }

    /// Let two neighbours wait for being joined, if they make a piece.
    fn offer(&self, work: &mut Work, left: u32, right: u32) {
        let (Some(l), Some(r)) = (work.parts.get(left as usize), work.parts.get(right as usize)) else {
            return; // one of them is nobody
        };
        if l.fixed || r.fixed || l.symbol == ALIEN || r.symbol == ALIEN {
            return;
        }
        let Some(&symbol) = self.merges.get(&pair(l.symbol, r.symbol)) else { return };
        if self.is_unused(symbol) {
            work.made_of.insert(symbol, (l.symbol, r.symbol));
        }
        let (score, length) = (self.scores[symbol as usize], l.length + r.length);
        work.candidates.push(Candidate { score, left, right, length, symbol });
    }

    /// A part's pieces: itself, or, where it is unused, what it was made of, and so on.
    fn write(&self, part: &Part, made_of: &FastMap<u32, (u32, u32)>, out: &mut Vec<(usize, u32)>) {
        if !self.is_unused(part.symbol) {
            return out.push((part.length as usize, self.id(part.symbol)));
        }
        let mut waiting = vec![part.symbol];
        while let Some(symbol) = waiting.pop() {
            match made_of.get(&symbol).filter(|_| self.is_unused(symbol)) {
                Some(&(left, right)) => waiting.extend([right, left]),
                None => out.push((self.lengths[symbol as usize] as usize, self.id(symbol))),
            }
        }
    }

    /// The piece that a symbol is; one that is unused and made of nothing is unknown.
    fn id(&self, symbol: u32) -> u32 {
        if symbol < self.vocabulary && !self.is_unused(symbol) { symbol } else { self.unk }
    }

    fn is_unused(&self, symbol: u32) -> bool {
        self.unused.as_ref().is_some_and(|unused| unused.get(symbol as usize) == Some(&true))
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// A space symbol follows another character.
fn reaches_next_word(piece: &str) -> bool {
    piece.trim_start_matches(SPACE_SYMBOL).contains(SPACE_SYMBOL)
}

/// One word (or text) while its parts are being joined.
#[derive(Default)]
struct Work {
    parts: Vec<Part>,
    candidates: BinaryHeap<Candidate>,
    /// The last pair seen that makes an unused piece.
    made_of: FastMap<u32, (u32, u32)>,
}

/// A stretch of the text that is one symbol by now; of length 0 once its left neighbour took it.
#[derive(Clone, Copy)]
struct Part {
    symbol: u32,
    length: u32,
    before: u32,
    after: u32,
    /// A user-defined piece: never joined.
    fixed: bool,
}

/// Two neighbours that can be joined. One that is out of date is known by its length.
struct Candidate {
    score: f32,
    left: u32,
    right: u32,
    length: u32,
    symbol: u32,
}

impl Work {
    fn append(&mut self, symbol: u32, length: u32, fixed: bool) {
        let at = self.parts.len() as u32;
        if let Some(last) = self.parts.last_mut() {
            last.after = at;
        }
        let before = at.checked_sub(1).unwrap_or(NOBODY);
        self.parts.push(Part { symbol, length, before, after: NOBODY, fixed });
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}
