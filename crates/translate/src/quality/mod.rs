//! How good a translation is, in numbers that others can compare with: chrF, chrF++ and BLEU by
//! sacreBLEU's definitions (to the last digit, see `tests`), against references or by way of a round
//! trip through a second engine, and a one-page report with the worst segments side by side.
//!
//! | to change | file |
//! |---|---|
//! | chrF, chrF++ | `chrf.rs` |
//! | BLEU, its words | `bleu.rs`, `tokenizer.rs` |
//! | what is compared with what | `compare.rs` |
//! | which examples are sampled | `sample.rs` |
//! | the page | `page.rs` |

mod bleu;
mod chrf;
mod compare;
mod ngrams;
mod page;
mod sample;
mod tokenizer;
mod words;

pub use bleu::{Bleu, BleuCounts, BleuScore};
pub use chrf::{Chrf, ChrfCounts};
pub use compare::{Compared, Figure, QualityError, Scores, compare_examples, compare_lines, score};
pub use page::{Page, escape};
pub use sample::{back_translations, sample, to_translate_back};
pub use tokenizer::BleuTokenizer;

/// The version of sacreBLEU whose definitions these are; a part of every signature.
const SACREBLEU: &str = "2.6.0";

#[cfg(test)]
mod golden_tests;
