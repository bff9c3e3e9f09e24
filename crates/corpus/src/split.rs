//! Training, validation and test, apart by source text.

use crate::example::{Body, Example};
use crate::text::fold;

/// Divide examples into (train, validation), each in the order of the input.
///
/// The side is decided by a hash of `seed` and the prompt *before translation* (the whole text where
/// there is no prompt), letter case and spacing aside. So the same source never lands on both sides, be
/// it as a second answer, a translation or an untranslated copy; and a row's side never changes when
/// other rows come or go. `validation_share` (0 to 1) is therefore met on average, not exactly.
pub fn split(
    examples: impl IntoIterator<Item = Example>,
    validation_share: f64,
    seed: u64,
) -> (Vec<Example>, Vec<Example>) {
    examples.into_iter().partition(|example| position(example.source_body(), seed) >= validation_share)
}

/// Which part of the examples each side gets, 0 to 1; the training side has the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    pub validation: f64,
    pub test: f64,
}

/// The three sides, each in the order of the input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub train: Vec<Example>,
    pub validation: Vec<Example>,
    pub test: Vec<Example>,
}

/// As [`split`], with a test side as well. Its share is taken from the training side: which examples are
/// for validation depends on their own share alone.
pub fn split_in_three(examples: impl IntoIterator<Item = Example>, shares: Shares, seed: u64) -> Split {
    let mut split = Split::default();
    for example in examples {
        let at = position(example.source_body(), seed);
        let side = match at {
            _ if at < shares.validation => &mut split.validation,
            _ if at >= 1.0 - shares.test => &mut split.test,
            _ => &mut split.train,
        };
        side.push(example);
    }
    split
}

/// A number in [0, 1), the same for the same source text and seed.
fn position(source: &Body, seed: u64) -> f64 {
    let prompt = source.prompt_text();
    let text = if prompt.is_empty() { source.answer().unwrap_or_default() } else { &prompt };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(fold(text).as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // 53 bits, as many as f64 holds: the result cannot round up to 1.
    (u64::from_le_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example(instruction: &str, output: &str) -> Example {
        let (instruction, output) = (instruction.to_string(), output.to_string());
        Example::new(Body::Alpaca { instruction, input: String::new(), output })
    }

    fn many(n: usize) -> Vec<Example> {
        (0..n).map(|i| example(&format!("question {i}"), "answer")).collect()
    }

    #[test]
    fn the_share_is_met_on_average() {
        let (train, validation) = split(many(10_000), 0.1, 7);
        assert_eq!(train.len() + validation.len(), 10_000);
        assert!((850..1150).contains(&validation.len()), "{}", validation.len());
        assert!(split(many(100), 0.0, 7).1.is_empty());
        assert!(split(many(100), 1.0, 7).0.is_empty());
    }

    #[test]
    fn another_seed_gives_another_split() {
        assert_ne!(split(many(100), 0.5, 1).0, split(many(100), 0.5, 2).0);
    }

    #[test]
    fn a_translation_and_its_source_stay_together() {
        for i in 0..200 {
            let plain = example(&format!("Question {i}"), "one answer");
            let mut translated = example("Вопрос", "ответ");
            translated.source = Some(example(&format!("question  {i}\n"), "another answer").body);
            let (train, validation) = split([plain, translated], 0.5, 3);
            assert!(train.is_empty() || validation.is_empty(), "{train:?} {validation:?}");
        }
    }

    #[test]
    fn the_test_side_leaves_the_validation_side_alone() {
        let shares = Shares { validation: 0.1, test: 0.2 };
        let three = split_in_three(many(10_000), shares, 7);
        assert_eq!(three.validation, split(many(10_000), 0.1, 7).1);
        assert!((1800..2200).contains(&three.test.len()), "{}", three.test.len());
        assert_eq!(three.train.len() + three.validation.len() + three.test.len(), 10_000);
        let none = split_in_three(many(100), Shares::default(), 7);
        assert_eq!(none.train, many(100));
    }

    proptest! {
        #[test]
        fn sides_do_not_change_when_rows_are_added(n in 1..200usize, more in 1..200usize, seed: u64) {
            let (before, _) = split(many(n), 0.3, seed);
            let (after, _) = split(many(n + more), 0.3, seed);
            prop_assert_eq!(&after[..before.len()], &before[..]);
        }
    }
}
