//! Protected parts behind marks while a text is away, and back in their places afterwards.
//!
//! A mark is `⟦1⟧`: brackets that no text has, around a number. Engines bend marks too, so they are read
//! with tolerance; but each has to come back exactly once, or the answer is refused.

use super::numbers::digit_value;
use super::protect::{Part, hard_parts, parts};
use std::borrow::Cow;

/// Which parts hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hide {
    Nothing,
    /// Everything protected but numbers.
    Hard,
    /// Numbers too.
    All,
}

/// How a mark is written. An engine that cannot copy one kind may copy the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `⟦1⟧`
    Digits,
    /// `⟦A⟧`
    Letters,
}

/// The letters of marks, each with what it becomes when an engine writes it in Cyrillic: letters whose
/// transliterations differ from each other.
const LETTERS: [(char, char); 14] = [
    ('A', 'А'),
    ('B', 'Б'),
    ('D', 'Д'),
    ('F', 'Ф'),
    ('G', 'Г'),
    ('K', 'К'),
    ('L', 'Л'),
    ('M', 'М'),
    ('N', 'Н'),
    ('O', 'О'),
    ('R', 'Р'),
    ('T', 'Т'),
    ('U', 'У'),
    ('Z', 'З'),
];

/// A text with marks, and what is behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked<'a> {
    pub text: Cow<'a, str>,
    hidden: Vec<&'a str>,
    style: Style,
}

/// Why an answer cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    /// The part whose mark did not come back exactly once.
    pub part: &'a str,
    pub times: usize,
}

impl<'a> Marked<'a> {
    /// `text` with marks for its protected parts. A text that holds brackets of marks itself hides nothing:
    /// its answer is checked like any other.
    pub fn new(text: &'a str, hide: Hide, style: Style) -> Self {
        let parts = match hide {
            Hide::Nothing => Vec::new(),
            Hide::Hard => hard_parts(text),
            Hide::All => parts(text),
        };
        let ambiguous = text.contains(['⟦', '⟧', '〚', '〛', '【', '】']);
        let runs = if ambiguous { Vec::new() } else { touching(&parts) };
        if runs.is_empty() {
            return Marked { text: Cow::Borrowed(text), hidden: Vec::new(), style };
        }
        let (mut out, mut hidden, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
        for run in runs {
            out.push_str(&text[at..run.start]);
            hidden.push(&text[run.clone()]);
            out.push('⟦');
            push_name(&mut out, hidden.len(), style);
            out.push('⟧');
            at = run.end;
        }
        out.push_str(&text[at..]);
        Marked { text: Cow::Owned(out), hidden, style }
    }

    /// The answer with every mark replaced by what it stands for.
    ///
    /// # Errors
    /// A mark is missing, or there more than once.
    pub fn restore(&self, answer: &str) -> Result<String, Lost<'a>> {
        if self.hidden.is_empty() {
            return Ok(answer.to_string());
        }
        let mut out = String::with_capacity(answer.len() + 32);
        let mut seen = vec![0usize; self.hidden.len()];
        let mut at = 0;
        while let Some(found) = answer[at..].find(is_open) {
            let start = at + found;
            out.push_str(&answer[at..start]);
            match self.mark_at(&answer[start..]) {
                Some((index, length)) => {
                    seen[index] += 1;
                    out.push_str(self.hidden[index]);
                    at = start + length;
                }
                None => {
                    let open = answer[start..].chars().next().map_or(1, char::len_utf8);
                    out.push_str(&answer[start..start + open]);
                    at = start + open;
                }
            }
        }
        out.push_str(&answer[at..]);
        match seen.iter().position(|&times| times != 1) {
            None => Ok(out),
            Some(index) => Err(Lost { part: self.hidden[index], times: seen[index] }),
        }
    }

    /// The mark that `text` starts with: which part it stands for, and its length in bytes.
    fn mark_at(&self, text: &str) -> Option<(usize, usize)> {
        let open = text.chars().next()?;
        let inside = text.trim_start_matches(open);
        let end = inside.find(is_close)?;
        let name = inside[..end].trim();
        // Brackets that were doubled on the way there are doubled on the way back.
        let opened = text[..text.len() - inside.len()].chars().count();
        let closed = inside[end..].chars().take(opened).take_while(|&c| is_close(c));
        let length = text.len() - inside.len() + end + closed.map(char::len_utf8).sum::<usize>();
        let number = match self.style {
            Style::Digits => {
                let digits: Option<Vec<u32>> = name.chars().map(digit_value).collect();
                let digits = digits.filter(|digits| (1..=4).contains(&digits.len()))?;
                digits.iter().fold(0usize, |sum, &digit| sum * 10 + digit as usize)
            }
            Style::Letters => read_letters(name)?,
        };
        (1..=self.hidden.len()).contains(&number).then_some((number - 1, length))
    }
}

/// Runs of parts with nothing between them: one mark for each.
fn touching(parts: &[Part]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some(last) if last.end == part.at.start => last.end = part.at.end,
            _ => runs.push(part.at.clone()),
        }
    }
    runs
}

fn push_name(out: &mut String, number: usize, style: Style) {
    match style {
        Style::Digits => out.push_str(&number.to_string()),
        Style::Letters => {
            let (mut left, mut name) = (number, Vec::new());
            while left > 0 {
                name.push(LETTERS[(left - 1) % LETTERS.len()].0);
                left = (left - 1) / LETTERS.len();
            }
            out.extend(name.iter().rev());
        }
    }
}

fn read_letters(name: &str) -> Option<usize> {
    if name.is_empty() || name.chars().count() > 3 {
        return None;
    }
    name.chars().flat_map(char::to_uppercase).try_fold(0usize, |sum, c| {
        let letter = LETTERS.iter().position(|&(latin, cyrillic)| c == latin || c == cyrillic)?;
        Some(sum * LETTERS.len() + letter + 1)
    })
}

fn is_open(c: char) -> bool {
    matches!(c, '⟦' | '〚' | '【' | '[' | '［' | '{')
}

fn is_close(c: char) -> bool {
    matches!(c, '⟧' | '〛' | '】' | ']' | '］' | '}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Dear [name], run `x` on https://a.example at 10:30!";

    #[test]
    fn marks_hide_and_restore() {
        let marked = Marked::new(TEXT, Hide::Hard, Style::Digits);
        assert_eq!(marked.text, "Dear ⟦1⟧, run ⟦2⟧ on ⟦3⟧ at 10:30!");
        assert_eq!(marked.restore(&marked.text).unwrap(), TEXT);
        assert_eq!(
            marked.restore("В 10:30 на ⟦3⟧ [ 2 ] и 【１】").unwrap(),
            "В 10:30 на https://a.example `x` и [name]"
        );
        let marked = Marked::new(TEXT, Hide::All, Style::Letters);
        assert_eq!(marked.text, "Dear ⟦A⟧, run ⟦B⟧ on ⟦D⟧ at ⟦F⟧!");
        assert_eq!(marked.restore(&marked.text).unwrap(), TEXT);
        assert_eq!(marked.restore("⟦ф⟧ [[Д]] ⟦Б⟧ ⟦А⟧").unwrap(), "10:30 https://a.example `x` [name]");
    }

    #[test]
    fn a_mark_has_to_come_back_exactly_once() {
        let marked = Marked::new("See [a] and [b]", Hide::Hard, Style::Digits);
        assert_eq!(marked.restore("⟦1⟧ ⟦7⟧"), Err(Lost { part: "[b]", times: 0 }));
        assert_eq!(marked.restore("⟦1⟧ ⟦1⟧ ⟦2⟧"), Err(Lost { part: "[a]", times: 2 }));
        assert_eq!(marked.restore("⟦1⟧ ⟦2⟧ [x] {").unwrap(), "[a] [b] [x] {");
    }

    #[test]
    fn touching_parts_share_a_mark_and_foreign_marks_are_left_alone() {
        assert_eq!(Marked::new("a {x}{y} b", Hide::Hard, Style::Digits).text, "a ⟦1⟧ b");
        let odd = "a ⟦1⟧ and {x}";
        assert_eq!(Marked::new(odd, Hide::All, Style::Digits).text, odd);
    }

    #[test]
    fn names_of_letters_are_unique() {
        let mut names: Vec<String> = Vec::new();
        for number in 1..=300 {
            let mut name = String::new();
            push_name(&mut name, number, Style::Letters);
            assert_eq!(read_letters(&name), Some(number));
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 300);
    }

    proptest::proptest! {
        #[test]
        fn restoring_what_was_marked_is_the_identity(
            text in "([a-zA-Zа-я0-9 .,:$%`{}<>\\[\\]\\\\/@&;⟦⟧|_-]|\\[name\\]|https://a\\.b|\\{x\\}|%s|<b>){0,60}",
            all: bool,
            letters: bool,
        ) {
            let hide = if all { Hide::All } else { Hide::Hard };
            let style = if letters { Style::Letters } else { Style::Digits };
            let marked = Marked::new(&text, hide, style);
            proptest::prop_assert_eq!(marked.restore(&marked.text), Ok(text.clone()));
        }
    }
}
