//! Text in the forms in which it is compared.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Compatibility-normalised, lower case, every run of white space one space, none at the ends: texts
/// that a reader would call the same become equal.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        if word.is_ascii() {
            folded.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        } else if is_nfkc_quick(word.chars()) == IsNormalized::Yes {
            folded.extend(word.chars().flat_map(char::to_lowercase));
        } else {
            folded.extend(word.nfkc().flat_map(char::to_lowercase));
        }
    }
    folded
}

/// Calls `token` with each word and each sign that carries meaning of a folded text; the marks that
/// only divide sentences are left out. A character of a script without spaces is a word of its own.
pub(crate) fn tokens<'a>(folded: &'a str, mut token: impl FnMut(&'a str)) {
    let mut start = None;
    for (at, c) in folded.char_indices() {
        if c.is_alphanumeric() && !is_unspaced(c) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            token(&folded[start..at]);
        }
        let divides = c.is_whitespace() || ".,;:!?'\"`´’‘“”«»()…-–—*".contains(c);
        if !divides {
            token(&folded[at..at + c.len_utf8()]);
        }
    }
    if let Some(start) = start {
        token(&folded[start..]);
    }
}

/// Chinese, Japanese, Thai, Lao, Khmer, Burmese: written without spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0x20000..=0x3ffff)
}

/// At most `max` characters of a text, on one line, for a report.
pub(crate) fn excerpt(text: &str, max: usize) -> String {
    let one_line: Cow<str> = if text.contains(['\n', '\r', '\t']) {
        text.split_whitespace().collect::<Vec<_>>().join(" ").into()
    } else {
        text.into()
    };
    match one_line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", one_line[..end].trim_end()),
        None => one_line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        tokens(&fold(text), |t| all.push(t.to_string()));
        all
    }

    #[test]
    fn fold_ignores_case_spacing_and_width() {
        assert_eq!(fold("  Ｈｅｌｌｏ\n\u{a0}WORLD "), "hello world");
        assert_eq!(fold("ПРИВЕТ, Мир"), "привет, мир");
    }

    #[test]
    fn tokens_keep_what_carries_meaning() {
        assert_eq!(split("It costs 5 + 3, doesn't it?"), ["it", "costs", "5", "+", "3", "doesn", "t", "it"]);
        assert_eq!(split("我爱你"), ["我", "爱", "你"]);
    }

    #[test]
    fn excerpts_are_one_line_and_cut_between_characters() {
        assert_eq!(excerpt("a\nb", 9), "a b");
        assert_eq!(excerpt("привет мир", 7), "привет…");
    }
}
