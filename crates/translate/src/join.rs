//! Many segments in one request, for services that take one text: joined by a separator that occurs in none
//! of them, and cut again where the service left of the separator what can still be recognised.
//!
//! Translators treat separators as text: `||` comes back as `|/`, `| |`, `/|`, in full width, without its
//! spaces or with more of them. An answer is cut in the strictest way that gives as many pieces as were
//! joined; where no way does, nothing is guessed and the caller asks again.

use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Miss};

/// A separator and what it may come back as.
pub(crate) struct Separator {
    text: &'static str,
    /// What a mangled one consists of. One of `core` at least must be in it, `others` may be.
    pub core: &'static [char],
    others: &'static [char],
}

/// In order of preference: short, no word, no sentence end, rare in texts.
pub(crate) const SEPARATORS: [Separator; 5] = [
    Separator {
        text: "||", core: &['|', '｜', '¦', '│', '∣', '‖', '∥'], others: &['/', '\\', '／']
    },
    Separator { text: "##", core: &['#', '＃', '♯'], others: &[] },
    Separator { text: "@@", core: &['@', '＠'], others: &[] },
    Separator { text: "^^", core: &['^', '＾', 'ˆ'], others: &[] },
    Separator { text: "~~", core: &['~', '～', '∼', '˜'], others: &[] },
];

/// Characters that joining adds per segment, at most.
pub(crate) const OVERHEAD: usize = 4;

/// How the answer to one of many joined segments was come by; empty where nothing went wrong.
pub(crate) const CUT_TOLERANTLY: &str = "cut at a mangled separator";

/// Ask an engine that takes one text for many, with the separator `choice` (from 0) of those that occur in
/// none of `texts`.
///
/// # Errors
/// As [`Engine::translate`]; [`EngineError::Miscount`] where the answer cannot be cut, or nothing can join.
pub(crate) fn ask(
    engine: &dyn Engine,
    texts: &[&str],
    pair: &LanguagePair,
    choice: usize,
) -> Result<Vec<(Answer, &'static str)>, EngineError> {
    let plain = |answers: Vec<Answer>| answers.into_iter().map(|answer| (answer, "")).collect();
    if texts.len() == 1 {
        return engine.translate(texts, pair).map(plain);
    }
    let miscount = |found| EngineError::Miscount { expected: texts.len(), found };
    let separator = usable(texts, choice).ok_or_else(|| miscount(0))?;
    let joined = texts.join(&format!(" {} ", separator.text));
    let mut answers = engine.translate(&[&joined], pair)?.into_iter();
    let answer = match (answers.next(), answers.next()) {
        (Some(Ok(answer)), None) => answer,
        (Some(Err(miss)), None) => return Err(EngineError::Fault(miss.to_string())),
        _ => return Err(miscount(0)),
    };
    let (pieces, note) = split(&answer, texts.len(), separator).map_err(miscount)?;
    let answer = |piece: &str| if piece.is_empty() { Err(Miss::Empty) } else { Ok(piece.to_string()) };
    Ok(pieces.into_iter().map(|piece| (answer(piece), note)).collect())
}

/// The separator `choice` of those that cannot be confused with anything in `texts`.
fn usable(texts: &[&str], choice: usize) -> Option<&'static Separator> {
    let free = |s: &&Separator| !texts.iter().any(|text| text.contains(s.core));
    SEPARATORS.iter().filter(free).nth(choice)
}

/// The pieces of an answer, without white space at their edges; else how many were found at best.
fn split<'a>(
    answer: &'a str,
    expected: usize,
    separator: &Separator,
) -> Result<(Vec<&'a str>, &'static str), usize> {
    let strict = trimmed(answer.split(separator.text));
    // `|||` holds `||` and more: the rest would become part of a piece.
    let clean = |pieces: &[&str]| !pieces.iter().any(|piece| piece.contains(separator.core));
    if strict.len() == expected && clean(&strict) {
        return Ok((strict, ""));
    }
    let tolerant = split_tolerantly(answer, separator);
    for pieces in [tolerant.clone(), without_empty_ends(&tolerant)] {
        if pieces.len() == expected {
            return Ok((pieces, CUT_TOLERANTLY));
        }
    }
    Err(tolerant.len())
}

fn trimmed<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    pieces.map(str::trim).collect()
}

/// A separator at the very start or end separates nothing.
fn without_empty_ends<'a>(pieces: &[&'a str]) -> Vec<&'a str> {
    let start = pieces.iter().take_while(|piece| piece.is_empty()).count();
    let end = pieces.len() - pieces[start..].iter().rev().take_while(|piece| piece.is_empty()).count();
    pieces[start..end].to_vec()
}

/// Cut at every run of the separator's characters and white space with one of its core in it. A `/` counts
/// only beside a core character: elsewhere it is text.
fn split_tolerantly<'a>(answer: &'a str, separator: &Separator) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut rest = answer;
    while let Some(found) = rest.find(separator.core) {
        let core = answer.len() - rest.len() + found;
        let before = &answer[start..core];
        let piece_end = start + strip_end(before, separator).len();
        let after = answer[core..].trim_start_matches(|c: char| {
            separator.core.contains(&c) || separator.others.contains(&c) || c.is_whitespace()
        });
        pieces.push(answer[start..piece_end].trim());
        start = answer.len() - after.len();
        rest = after;
    }
    pieces.push(answer[start..].trim());
    pieces
}

/// `text` without what belongs to the separator that follows it: white space, and one other character
/// of it (`/|`), unless that belongs to the word before.
fn strip_end<'a>(text: &'a str, separator: &Separator) -> &'a str {
    let trimmed = text.trim_end();
    let without = trimmed.strip_suffix(separator.others).unwrap_or(trimmed);
    // `and/or/ ||` keeps its slash: the separator was whole, the slash stands at a word.
    let at_word = !without.ends_with(char::is_whitespace) && trimmed.len() < text.len();
    if at_word { trimmed } else { without.trim_end() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(answer: &str, expected: usize) -> Result<(Vec<&str>, &'static str), usize> {
        split(answer, expected, &SEPARATORS[0])
    }

    #[test]
    fn a_whole_separator_is_cut_without_a_note() {
        assert_eq!(cut("раз || два || три", 3), Ok((vec!["раз", "два", "три"], "")));
        assert_eq!(cut("раз||два ||три", 3), Ok((vec!["раз", "два", "три"], "")));
        assert_eq!(cut("и/или/ || да", 2), Ok((vec!["и/или/", "да"], "")));
    }

    #[test]
    fn a_mangled_separator_is_recognised() {
        for mangled in
            [" |/ ", " | | ", " /| ", "｜｜", " ｜ ｜ ", "|", " ||| ", " |\\ ", "¦¦", " ‖ ", "| /", " / | "]
        {
            let answer = format!("один{mangled}два || три");
            assert_eq!(cut(&answer, 3), Ok((vec!["один", "два", "три"], CUT_TOLERANTLY)), "{mangled:?}");
        }
        assert_eq!(cut("|| один || два ||", 2), Ok((vec!["один", "два"], CUT_TOLERANTLY)));
    }

    #[test]
    fn what_cannot_be_cut_is_counted_not_guessed() {
        assert_eq!(cut("один два || три", 3), Err(2));
        assert_eq!(cut("один || два || три || четыре", 3), Err(4));
        assert_eq!(cut("один || || три", 3), Ok((vec!["один", "", "три"], "")));
    }

    #[test]
    fn the_separator_occurs_in_no_segment() {
        let name = |texts: &[&str], choice| usable(texts, choice).map(|s| s.text);
        assert_eq!(name(&["a", "b"], 0), Some("||"));
        assert_eq!(name(&["a", "b"], 1), Some("##"));
        assert_eq!(name(&["a | b", "c"], 0), Some("##"));
        assert_eq!(name(&["a | b", "C#"], 0), Some("@@"));
        assert_eq!(name(&["| # @ ^ ~"], 0), None);
        assert!(SEPARATORS.iter().all(|s| s.text.chars().count() + 2 <= OVERHEAD));
    }
}
