//! Replies that go round in circles.

use std::collections::HashSet;

/// A loop fills at least so many characters: "да, да, да" is emphasis.
const MIN_LOOP: usize = 24;
/// A loop's unit comes at least so many times in a row.
const MIN_TIMES: usize = 3;
/// Longest unit looked for, in characters: a sentence or two.
const MAX_UNIT: usize = 200;

/// Whether a reply loops: somewhere in it a unit of 1 to 200 characters, with a letter or digit in it,
/// comes at least three times in a row and fills at least 24 characters so ("I'm sorry I'm sorry I'm
/// sorry", EasyNMT#38). Letter case and the length of white space do not count. Works on characters,
/// so that it needs no words (Chinese, `ааааа…`) and no model's tokens.
pub fn loops(reply: &str) -> bool {
    let words: Vec<&str> = reply.split_whitespace().collect();
    // A space at the end closes the last unit as it closed those before.
    let text: Vec<char> = words.join(" ").to_lowercase().chars().chain([' ']).collect();
    (1..=MAX_UNIT.min(text.len() / MIN_TIMES)).any(|unit| repeats(&text, unit))
}

/// A stretch of period `unit`: each character in it is that of `unit` places before.
fn repeats(text: &[char], unit: usize) -> bool {
    let enough = MIN_LOOP.max(MIN_TIMES * unit);
    let mut same = 0;
    for i in unit..text.len() {
        same = if text[i] == text[i - unit] { same + 1 } else { 0 };
        if same + unit >= enough && text[i + 1 - unit..=i].iter().any(|c| c.is_alphanumeric()) {
            return true;
        }
    }
    false
}

/// Share of repeated 4-grams of a reply's tokens, 1 − distinct / all: "seq-rep-4" of Welleck et al.
/// (2020). `None` for a reply of fewer than four tokens.
pub fn rep_4(tokens: &[u32]) -> Option<f64> {
    let all = tokens.windows(4);
    let count = all.len();
    let distinct: HashSet<&[u32]> = all.collect();
    (count > 0).then(|| 1.0 - distinct.len() as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn easynmt_38_loops_are_seen() {
        for text in [
            "I'm sorry I'm sorry I'm sorry I'm sorry",
            "Столица Франции — Париж. Столица Франции — Париж. Столица Франции — Париж.",
            "Ответ: аааааааааааааааааааааааааа",
            "1, 1, 1, 1, 1, 1, 1, 1, 1",
            "我不知道。我不知道。我不知道。我不知道。我不知道。",
            "кот и кот и Кот и  кот и кот и кот",
        ] {
            assert!(loops(text), "{text}");
        }
    }

    #[test]
    fn good_replies_do_not_loop() {
        for text in [
            "",
            "Да, да, да!",
            "Очень, очень, очень хорошо.",
            "| имя | возраст |\n| --- | --- | --- | --- | --- |",
            "Имя: ______________________________",
            "1. Ешьте овощи.\n2. Ешьте фрукты.\n3. Ешьте рыбу.\n4. Ешьте крупы.",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "Кот сидит на ковре. Кот сидит на ковре.", // twice only
        ] {
            assert!(!loops(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_unit_many_times_is_a_loop(before in "[а-я ]{0,20}", unit in "[а-яa-z0-9]{1,40}") {
            let text = before + &unit.repeat(25);
            prop_assert!(loops(&text));
        }
    }

    #[test]
    fn rep_4_by_hand() {
        assert_eq!(rep_4(&[1, 2, 3]), None);
        assert_eq!(rep_4(&[1, 2, 3, 4]), Some(0.0));
        // 1212 2121 1212 2121 1212: two distinct of five
        assert_eq!(rep_4(&[1, 2, 1, 2, 1, 2, 1, 2]), Some(0.6));
    }
}
