//! chrF (Popović 2015) and chrF++ (Popović 2017) as sacreBLEU computes them.
//!
//! For each order the precision P = matches / n-grams of the hypothesis and the recall R = matches /
//! n-grams of the reference, over the whole corpus; both averaged over the orders that occur on both
//! sides ("effective order"); then F_β = (1 + β²)·P·R / (β²·P + R), in percent.

use super::SACREBLEU;
use super::ngrams::{CHARACTER_BITS, WORD_BITS, matches, sorted_ngrams};
use super::tokenizer::{is_space, words};
use super::words::WordIds;
use std::ops::AddAssign;

const CHARACTER_ORDER: usize = 6;
const MOST_ORDERS: usize = CHARACTER_ORDER + 2;
/// β²: recall counts twice as much as precision, squared.
const FACTOR: f64 = 4.0;

/// Which of the family: n-grams of up to six characters, and of up to `word_order` words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chrf {
    word_order: usize,
}

/// Matches of hypotheses with their references: add up segments, then ask for the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChrfCounts {
    /// By order, characters first: n-grams of the hypothesis, of the reference, and in both.
    orders: [[u64; 3]; MOST_ORDERS],
}

impl Chrf {
    /// chrF2: characters alone.
    pub const CHRF: Chrf = Chrf { word_order: 0 };
    /// chrF2++: characters, words and pairs of words.
    pub const PLUS_PLUS: Chrf = Chrf { word_order: 2 };

    /// Its name in reports, as sacreBLEU's: `chrF2`, `chrF2++`.
    pub fn name(self) -> String {
        format!("chrF2{}", "+".repeat(self.word_order))
    }

    /// What the figure means, as sacreBLEU writes it.
    pub fn signature(self, references: &str) -> String {
        format!(
            "nrefs:{references}|case:mixed|eff:yes|nc:{CHARACTER_ORDER}|nw:{}|space:no|version:{SACREBLEU}",
            self.word_order
        )
    }

    /// Count a segment against the best of its references.
    pub fn count(self, hypothesis: &str, references: &[&str]) -> ChrfCounts {
        let mut ids = WordIds::default();
        let hypothesis = Ngrams::of(hypothesis, self.word_order, &mut ids);
        let mut best: Option<(f64, ChrfCounts)> = None;
        for reference in references {
            let counts = hypothesis.matched(&Ngrams::of(reference, self.word_order, &mut ids));
            let score = counts.score();
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, counts));
            }
        }
        best.map(|(_, counts)| counts).unwrap_or_default()
    }
}

impl ChrfCounts {
    /// From 0 (nothing in common) to 100 (equal).
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut effective) = (0.0, 0.0, 0.0);
        for [in_hypothesis, in_reference, matched] in self.orders {
            if in_hypothesis > 0 && in_reference > 0 {
                precision += matched as f64 / in_hypothesis as f64;
                recall += matched as f64 / in_reference as f64;
                effective += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / effective, recall / effective);
        100.0 * (1.0 + FACTOR) * precision * recall / (FACTOR * precision + recall)
    }
}

impl AddAssign for ChrfCounts {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in self.orders.iter_mut().flatten().zip(other.orders.iter().flatten()) {
            *sum += more;
        }
    }
}

/// The n-grams of a segment, order by order.
struct Ngrams {
    orders: Vec<Vec<u128>>,
}

impl Ngrams {
    fn of<'a>(segment: &'a str, word_order: usize, ids: &mut WordIds<'a>) -> Self {
        let characters: Vec<u32> = segment.chars().filter(|c| !is_space(*c)).map(u32::from).collect();
        let mut orders: Vec<_> =
            (1..=CHARACTER_ORDER).map(|n| sorted_ngrams(&characters, n, CHARACTER_BITS)).collect();
        if word_order > 0 {
            let words: Vec<u32> = words_and_marks(segment).map(|word| ids.id(word)).collect();
            orders.extend((1..=word_order).map(|n| sorted_ngrams(&words, n, WORD_BITS)));
        }
        Self { orders }
    }

    fn matched(&self, reference: &Ngrams) -> ChrfCounts {
        let mut counts = ChrfCounts::default();
        for (order, (own, other)) in counts.orders.iter_mut().zip(self.orders.iter().zip(&reference.orders)) {
            // An order that the reference lacks must not cost precision.
            let in_hypothesis = if other.is_empty() { 0 } else { own.len() as u64 };
            *order = [in_hypothesis, other.len() as u64, matches(own, other)];
        }
        counts
    }
}

/// Words by white space, one ASCII punctuation mark split off: the last character, else the first.
fn words_and_marks(segment: &str) -> impl Iterator<Item = &str> {
    let parts = words(segment).map(|word| {
        let (mut ends, is_mark) = (word.char_indices(), |c: char| c.is_ascii_punctuation());
        match (ends.next(), ends.next_back()) {
            (Some(_), Some((at, last))) if is_mark(last) => [&word[..at], &word[at..]],
            (Some((_, first)), Some(_)) if is_mark(first) => {
                let at = first.len_utf8();
                [&word[..at], &word[at..]]
            }
            _ => [word, ""],
        }
    });
    parts.flatten().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_split_off_once() {
        let split = |s| words_and_marks(s).collect::<Vec<_>>();
        let parts = ["(hi", ")", "-", "\"so", ",", "\"", "so", "it's", "«так».", "\""];
        assert_eq!(split("(hi) - \"so, \"so it's «так».\""), parts);
        assert_eq!(split("(a b) ё! !"), ["(", "a", "b", ")", "ё", "!", "!"]);
    }

    #[test]
    fn equal_is_a_hundred_and_foreign_is_nothing() {
        for metric in [Chrf::CHRF, Chrf::PLUS_PLUS] {
            assert_eq!(metric.count("Привет, мир!", &["Привет, мир!"]).score(), 100.0);
            assert_eq!(metric.count("abc", &["где"]).score(), 0.0);
            assert_eq!(metric.count("", &["где"]).score(), 0.0);
            assert_eq!(metric.count("abc", &[]).score(), 0.0);
        }
    }
}
