//! How BLEU cuts a segment into words: the tokenizers of sacreBLEU, token for token.

use serde::{Deserialize, Serialize};

/// The words that BLEU counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BleuTokenizer {
    /// mteval-v13a, the one of WMT: signs apart, numbers whole.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Every character a word: for languages that write no spaces.
    Char,
    /// The segment is tokenized already: only white space divides.
    None,
}

impl BleuTokenizer {
    /// Its name in a signature.
    pub fn name(self) -> &'static str {
        match self {
            BleuTokenizer::V13a => "13a",
            BleuTokenizer::Char => "char",
            BleuTokenizer::None => "none",
        }
    }

    /// The words of a segment, each followed by the next after one space.
    pub fn tokenize(self, segment: &str) -> String {
        let segment = segment.trim_end_matches(is_space);
        match self {
            BleuTokenizer::V13a => v13a(segment),
            BleuTokenizer::Char => {
                let characters = segment.chars().filter(|c| !is_space(*c));
                join(characters.map(String::from))
            }
            BleuTokenizer::None => join(words(segment).map(str::to_string)),
        }
    }
}

/// What Python's `str.isspace` holds for white space: Rust's, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The parts between white space, as Python's `str.split`.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// mteval-v13a as sacreBLEU applies it: entities, then signs, then full stops, commas and dashes beside
/// digits. Its rules are replacements one after another, so each is a pass of its own here too.
fn v13a(segment: &str) -> String {
    let mut line = segment.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if line.contains('&') {
        for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            line = line.replace(entity, character);
        }
    }
    let mut apart: Vec<char> = vec![' '];
    for c in line.chars() {
        if is_sign(c) { apart.extend([' ', c, ' ']) } else { apart.push(c) }
    }
    apart.push(' ');
    let is_digit = |c: char| c.is_ascii_digit();
    let is_point = |c: char| c == '.' || c == ',';
    let line = replace_pairs(&apart, |a, b| !is_digit(a) && is_point(b), |a, b| [a, ' ', b, ' ']);
    let line = replace_pairs(&line, |a, b| is_point(a) && !is_digit(b), |a, b| [' ', a, ' ', b]);
    let line = replace_pairs(&line, |a, b| is_digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    let line: String = line.into_iter().collect();
    join(words(&line).map(str::to_string))
}

/// The signs of ASCII that always stand alone: all but `'`, `,`, `-` and `.`.
fn is_sign(c: char) -> bool {
    matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

/// Replace from left to right every pair of neighbours that `is_match`, each character at most once.
fn replace_pairs(
    line: &[char],
    is_match: impl Fn(char, char) -> bool,
    replacement: impl Fn(char, char) -> [char; 4],
) -> Vec<char> {
    let mut out = Vec::with_capacity(line.len() + line.len() / 4);
    let mut i = 0;
    while i < line.len() {
        match line.get(i + 1) {
            Some(&next) if is_match(line[i], next) => {
                out.extend(replacement(line[i], next));
                i += 2;
            }
            _ => {
                out.push(line[i]);
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_whole_and_signs_stand_alone() {
        let tokens = |s: &str| BleuTokenizer::V13a.tokenize(s);
        assert_eq!(tokens("It costs $1,234.56, or 5-6%."), "It costs $ 1,234.56 , or 5 - 6 % .");
        assert_eq!(tokens("&quot;A &amp; B&quot; isn't well-known…"), "\" A & B \" isn't well-known…");
        assert_eq!(tokens("wait... what?!"), "wait . . . what ? !");
        assert_eq!(tokens(" \u{1f}\n"), "");
    }

    #[test]
    fn characters_are_words_where_no_spaces_are_written() {
        assert_eq!(BleuTokenizer::Char.tokenize("我 爱你。\n"), "我 爱 你 。");
        assert_eq!(BleuTokenizer::None.tokenize("a,b  c\u{a0}d "), "a,b c d");
    }
}
