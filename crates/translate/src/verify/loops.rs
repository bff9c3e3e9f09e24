//! Loops: a model that says the same thing over and over.

use super::Finding;

/// Longest period looked for, in words or characters.
const LONGEST: usize = 16;

/// What repeats in the target, if it repeats more often than anything does in the source.
pub(super) fn find(source: &str, target: &str) -> Option<Finding> {
    let (repeated, times) = worst(target)?;
    let usual = worst(source).map_or(1, |(_, times)| times);
    (times > usual).then_some(Finding::Loop { repeated, times })
}

/// What repeats most often in a row, if that is often enough to be a loop.
fn worst(text: &str) -> Option<(String, usize)> {
    // Lower case and without punctuation: `Да, да, да. Да` is a loop as well.
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let by_words = longest_run(&words).filter(|&(_, period, times)| times >= if period == 1 { 4 } else { 3 });
    if let Some((at, period, times)) = by_words {
        return Some((words[at..at + period].join(" "), times));
    }
    // Without spaces between words, or inside of one.
    let letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
    let (at, period, times) = longest_run(&letters)?;
    (times >= 5 && times * period >= 12 && period > 1 || times >= 12)
        .then(|| (letters[at..at + period].iter().collect(), times))
}

/// The start, the period and the number of repetitions of what repeats most often in a row.
fn longest_run<T: PartialEq>(items: &[T]) -> Option<(usize, usize, usize)> {
    let mut best: Option<(usize, usize, usize)> = None;
    for period in 1..=LONGEST.min(items.len() / 3) {
        let mut run = 0;
        for i in period..items.len() {
            run = if items[i] == items[i - period] { run + 1 } else { 0 };
            let times = run / period + 1;
            if times >= 3 && best.is_none_or(|(_, _, most)| times > most) {
                best = Some((i + 1 - run - period, period, times));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(target: &str) -> Option<usize> {
        match find("An ordinary sentence.", target) {
            Some(Finding::Loop { times, .. }) => Some(times),
            _ => None,
        }
    }

    /// EasyNMT#38: "I'm sorry I'm sorry I'm sorry…".
    #[test]
    fn easynmt_38_loops_are_found() {
        assert_eq!(times("Простите, простите, простите, простите"), Some(4));
        assert_eq!(times("Мне жаль. Мне жаль. Мне жаль."), Some(3));
        assert_eq!(times("это было так давно это было так давно это было так давно"), Some(3));
        assert_eq!(times("ааааааааааааааааа"), Some(17));
        assert_eq!(times("那是那是那是那是那是那是"), Some(6));
    }

    #[test]
    fn repetition_that_language_has_is_none() {
        for text in [
            "очень, очень большой",
            "да, да, да",
            "Да! Нет! Да! Нет!",
            "ха-ха-ха",
            "1 2 3 1 2 3",
            "длинношеее",
        ] {
            assert_eq!(times(text), None, "{text}");
        }
        assert_eq!(find("ho ho ho ho", "хо хо хо хо"), None, "the source repeats as often");
        assert!(find("ho ho ho ho", "хо хо хо хо хо").is_some());
    }
}
