//! Safe repairs of what a reader cannot see. They change no word, so they drop nothing.

use crate::example::Body;
use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// How many fields each repair changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// CRLF, CR, U+2028 and U+2029 became LF.
    pub line_ends: usize,
    /// Byte order marks, zero-width spaces and soft hyphens were removed.
    pub invisible: usize,
    /// No-break and other odd spaces became plain ones.
    pub spaces: usize,
    /// White space at the beginning and end of the field was removed.
    pub trimmed: usize,
    /// Letters written in pieces were composed (Unicode NFC).
    pub composed: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.line_ends += other.line_ends;
        self.invisible += other.invisible;
        self.spaces += other.spaces;
        self.trimmed += other.trimmed;
        self.composed += other.composed;
    }

    /// The kinds that occurred, with a name to print.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let all = [
            ("line ends", self.line_ends),
            ("invisible characters", self.invisible),
            ("odd spaces", self.spaces),
            ("outer white space", self.trimmed),
            ("letters in pieces", self.composed),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

pub(crate) fn repair(body: &mut Body) -> Counts {
    let mut counts = Counts::default();
    for (_, text) in body.fields_mut() {
        repair_field(text, &mut counts);
    }
    counts
}

fn repair_field(text: &mut String, counts: &mut Counts) {
    if text.contains(['\r', '\u{2028}', '\u{2029}']) {
        *text = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
        counts.line_ends += 1;
    }
    if !text.is_ascii() {
        if text.contains(is_invisible) {
            text.retain(|c| !is_invisible(c));
            counts.invisible += 1;
        }
        if text.contains(is_odd_space) {
            *text = text.replace(is_odd_space, " ");
            counts.spaces += 1;
        }
        if !is_nfc(text) {
            *text = text.nfc().collect();
            counts.composed += 1;
        }
    }
    let trimmed = text.trim();
    if trimmed.len() < text.len() {
        *text = trimmed.to_string();
        counts.trimmed += 1;
    }
}

/// Not the joiners (U+200C, U+200D), which shape Persian, Hindi and emoji, nor the direction marks.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}' | '\u{ad}')
}

/// Not the ideographic space (U+3000), which Chinese and Japanese mean.
fn is_odd_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> (String, Counts) {
        let mut body = Body::Text { text: text.into() };
        let counts = repair(&mut body);
        (body.answer().unwrap().to_string(), counts)
    }

    #[test]
    fn each_repair_is_counted() {
        let (text, counts) = repaired("\u{feff}a\r\nb\rc\u{a0}d co\u{ad}op e\u{301} \n");
        assert_eq!(text, "a\nb\nc d coop é");
        assert_eq!(counts, Counts { line_ends: 1, invisible: 1, spaces: 1, trimmed: 1, composed: 1 });
    }

    #[test]
    fn good_text_is_left_alone() {
        for text in ["", "a\n\n  b\tc", "Ёж — это ёж.", "می‌خواهم", "👩‍👩‍👧", "全角　空白"]
        {
            assert_eq!(repaired(text), (text.to_string(), Counts::default()));
        }
    }
}
