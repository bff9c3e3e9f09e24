//! BLEU (Papineni et al. 2002) as sacreBLEU computes it, smoothing `exp`.
//!
//! BLEU = BP · exp(¼ Σ ln pₙ), in percent: pₙ the share of the hypotheses' n-grams of n = 1…4 words that
//! occur in the references, over the whole corpus; BP = exp(1 − r/c) for hypotheses shorter (c words)
//! than the references (r). An order without any match counts as ½, ¼, … of a match.

use super::SACREBLEU;
use super::ngrams::{WORD_BITS, matches, sorted_ngrams, union};
use super::tokenizer::{BleuTokenizer, words};
use super::words::WordIds;
use std::ops::AddAssign;

const ORDER: usize = 4;

/// BLEU over the words of a tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bleu {
    pub tokenizer: BleuTokenizer,
}

/// Matches of hypotheses with their references: add up segments, then ask for the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuCounts {
    /// Words of the hypotheses.
    pub hypothesis_words: u64,
    /// Words of the references: of several, the one nearest in length.
    pub reference_words: u64,
    /// By order: n-grams of the hypotheses, and those of them that are in a reference.
    orders: [[u64; 2]; ORDER],
}

/// The figure and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BleuScore {
    /// From 0 to 100.
    pub score: f64,
    /// pₙ in percent, n = 1…4.
    pub precisions: [f64; ORDER],
    pub brevity_penalty: f64,
}

impl Bleu {
    /// What the figure means, as sacreBLEU writes it.
    pub fn signature(self, references: &str) -> String {
        let tokenizer = self.tokenizer.name();
        format!("nrefs:{references}|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:{SACREBLEU}")
    }

    /// Count a segment against its references together.
    pub fn count(self, hypothesis: &str, references: &[&str]) -> BleuCounts {
        let tokenized: Vec<String> = references.iter().map(|r| self.tokenizer.tokenize(r)).collect();
        let hypothesis = self.tokenizer.tokenize(hypothesis);
        let mut ids = WordIds::default();
        let references: Vec<Vec<u32>> =
            tokenized.iter().map(|r| words(r).map(|word| ids.id(word)).collect()).collect();
        let hypothesis: Vec<u32> = words(&hypothesis).map(|word| ids.id(word)).collect();

        let mut counts = BleuCounts { hypothesis_words: hypothesis.len() as u64, ..BleuCounts::default() };
        let lengths = references.iter().map(|r| r.len() as u64);
        counts.reference_words =
            lengths.min_by_key(|&n| (n.abs_diff(counts.hypothesis_words), n)).unwrap_or(0);
        for (order, [total, matched]) in (1..).zip(&mut counts.orders) {
            let own = sorted_ngrams(&hypothesis, order, WORD_BITS);
            let others = references.iter().map(|r| sorted_ngrams(r, order, WORD_BITS));
            let others = others.reduce(|a, b| union(&a, &b)).unwrap_or_default();
            (*total, *matched) = (own.len() as u64, matches(&own, &others));
        }
        counts
    }
}

impl BleuCounts {
    pub fn score(&self) -> BleuScore {
        let (own, other) = (self.hypothesis_words as f64, self.reference_words as f64);
        let brevity_penalty = match own {
            0.0 => f64::from(u8::from(other == 0.0)),
            _ => (1.0 - other / own).exp().min(1.0),
        };
        let mut precisions = [0.0; ORDER];
        let no_match = self.orders.iter().all(|[_, matched]| *matched == 0);
        if no_match {
            return BleuScore { score: 0.0, precisions, brevity_penalty };
        }
        let mut half = 1.0;
        for (precision, [total, matched]) in precisions.iter_mut().zip(self.orders) {
            if total == 0 {
                break;
            }
            let matched = match matched {
                0 => {
                    half /= 2.0;
                    half
                }
                _ => matched as f64,
            };
            *precision = 100.0 * matched / total as f64;
        }
        let score = match precisions.contains(&0.0) {
            true => 0.0, // not one n-gram of some order: the logarithm is -∞
            false => brevity_penalty * (precisions.iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64).exp(),
        };
        BleuScore { score, precisions, brevity_penalty }
    }
}

impl AddAssign for BleuCounts {
    fn add_assign(&mut self, other: Self) {
        self.hypothesis_words += other.hypothesis_words;
        self.reference_words += other.reference_words;
        for (sum, more) in self.orders.iter_mut().flatten().zip(other.orders.iter().flatten()) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_a_hundred_and_too_short_is_punished() {
        let bleu = Bleu::default();
        let equal = bleu.count("The cat sat on the mat.", &["The cat sat on the mat."]).score();
        assert!((equal.score - 100.0).abs() < 1e-9 && equal.brevity_penalty == 1.0);
        let short = bleu.count("The cat sat on", &["The cat sat on the mat."]).score();
        assert_eq!(short.precisions, [100.0; 4]);
        assert!((short.score - 100.0 * (-0.75f64).exp()).abs() < 1e-9, "{short:?}");
    }

    #[test]
    fn segments_without_any_word_or_match_are_zero() {
        let bleu = Bleu::default();
        for (hypothesis, references) in [("", &["a b"][..]), ("a b c d", &["e"]), ("a", &["a"]), ("", &[])] {
            assert_eq!(bleu.count(hypothesis, references).score().score, 0.0, "{hypothesis:?}");
        }
    }
}
