//! Where a sentence ends. The rules are the same for source and target, so that their counts can be compared.

use super::protect::hard_parts;

/// Words that end in a full stop without ending a sentence, in lower case and without the stop.
const ABBREVIATIONS: [&str; 66] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "cf", "al", "fig", "no", "vol", "inc",
    "ltd", "co", "corp", "approx", "dept", "est", "gen", "sen", "rep", "gov", "capt", "sgt", "col", "lt",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sept", "sep", "oct", "nov", "dec", "rev", "hon", "mt",
    "г", "гг", "стр", "рис", "им", "ул", "см", "др", "напр", "дж", "тыс", "млн", "млрд", "долл", "руб",
    "коп", "чел", "проф", "акад", "св", "пр",
];

/// The sentences of one line. Each keeps the white space behind it; their concatenation is `text`.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    if !text.contains(is_terminator) {
        return if text.is_empty() { out } else { vec![text] };
    }
    let hard = hard_parts(text);
    let (mut start, mut at) = (0, 0);
    while let Some(found) = text[at..].find(is_terminator) {
        let end = at + found;
        let run = text[end..].len() - text[end..].trim_start_matches(is_terminator).len();
        at = end + run;
        if let Some(next) = sentence_end(text, start, end, at)
            && !hard.iter().any(|part| part.at.start < next && at < part.at.end)
        {
            out.push(&text[start..next]);
            (start, at) = (next, next);
        }
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// Pieces of `text` of up to `longest` characters, as far as its words allow that: cut behind a comma or its
/// like where there is one in the second half of a piece, else between words. Their concatenation is `text`.
pub(crate) fn cut_to_fit(text: &str, longest: usize) -> Vec<&str> {
    let hard = hard_parts(text);
    let (mut out, mut start) = (Vec::new(), 0);
    let (mut words, mut clause) = (None, None);
    let (mut length, mut space_before) = (0usize, false);
    for (at, c) in text.char_indices() {
        // A piece may end where a word begins outside of everything protected.
        if space_before
            && !c.is_whitespace()
            && !hard.iter().any(|part| part.at.start < at && at < part.at.end)
        {
            words = Some((at, length));
            let ends_clause = text[start..at].trim_end().ends_with([',', ';', ':', ')', '—', '–']);
            if ends_clause && length * 2 > longest {
                clause = words;
            }
        }
        if length >= longest
            && let Some((end, taken)) = clause.or(words)
        {
            out.push(&text[start..end]);
            start = end;
            length -= taken;
            (words, clause) = (None, None);
        }
        length += 1;
        space_before = c.is_whitespace();
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// How many sentences `text` has.
pub fn count(text: &str) -> usize {
    sentences(text).len()
}

/// How often `text` looks like a new sentence, abbreviations included.
pub(crate) fn stops(text: &str) -> usize {
    let (mut stops, mut at) = (0, 0);
    while let Some(found) = text[at..].find(is_terminator) {
        let end = at + found;
        at = text.len() - text[end..].trim_start_matches(is_terminator).len();
        stops += usize::from(next_sentence(text, end, at).is_some());
    }
    stops
}

/// Whether the terminators at `end..after` end the sentence that begins at `start`; where the next begins.
fn sentence_end(text: &str, start: usize, end: usize, after: usize) -> Option<usize> {
    let next = next_sentence(text, end, after)?;
    (&text[end..after] != "." || !is_abbreviation(&text[start..end])).then_some(next)
}

/// Where the sentence behind the terminators at `end..after` begins, if what follows looks like one.
fn next_sentence(text: &str, end: usize, after: usize) -> Option<usize> {
    let terminators = &text[end..after];
    let closed =
        text[after..].trim_start_matches(['"', '\'', '”', '’', '»', ')', ']', '*', '_', '」', '』', '）']);
    let rest = closed.trim_start();
    let next = text.len() - rest.len();
    let full_width = terminators.contains(['。', '！', '？', '।']);
    let spaced = rest.len() < closed.len();
    if rest.is_empty() || !(spaced || full_width) {
        return None;
    }
    let first = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && !c.is_whitespace() && c != '⟦');
    // No case, no capital: a letter of such a script begins a sentence as well.
    let begins = |c: char| !c.is_lowercase();
    if !first.chars().next().is_none_or(begins) {
        return None;
    }
    Some(next)
}

/// Whether the full stop behind `text` belongs to its last word: `Dr`, `e.g`, `J`, `1`.
fn is_abbreviation(text: &str) -> bool {
    let word =
        text.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '«' | '“')).next().unwrap_or(text);
    let mut letters = word.chars();
    let first = letters.next();
    // `J.`, `т. д.`; but `So do I.` ends a sentence.
    let initial =
        first.is_some_and(|c| c.is_alphabetic() && !matches!(c, 'I' | 'я' | 'Я')) && letters.next().is_none();
    let is_number = word.len() <= 2 && word.len() == text.len() && word.bytes().all(|b| b.is_ascii_digit());
    // `U.N`, `p.m`, `т.е`: letters and stops by turns.
    let dotted = word.contains('.') && word.split('.').all(|part| part.chars().count() == 1);
    initial || dotted || is_number || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

pub(crate) fn is_terminator(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '؟' | '।' | '۔')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_cut_where_they_end_and_nothing_is_lost() {
        for (text, expected) in [
            ("One. Two! Three?", &["One. ", "Two! ", "Three?"][..]),
            ("He said \"Stop!\" Then he left.", &["He said \"Stop!\" ", "Then he left."]),
            ("Wait... what? Yes.", &["Wait... what? ", "Yes."]),
            (
                "Dr. J. K. Smith, e.g. Anna, paid 3.5 at 5 p.m. sharp.",
                &["Dr. J. K. Smith, e.g. Anna, paid 3.5 at 5 p.m. sharp."],
            ),
            ("См. рис. 5 и т. д. Конец. Да.", &["См. рис. 5 и т. д. Конец. ", "Да."]),
            ("これは本です。あれはペンです。", &["これは本です。", "あれはペンです。"]),
            ("Run `a. B` now. Go to x.com. Bye", &["Run `a. B` now. ", "Go to x.com. ", "Bye"]),
            ("no end", &["no end"]),
            ("", &[]),
        ] {
            assert_eq!(sentences(text), expected);
            assert_eq!(sentences(text).concat(), text);
        }
        assert_eq!(count("Раз. Два! Три?"), count("One. Two! Three?"));
    }

    #[test]
    fn what_is_too_long_is_cut_between_words() {
        assert_eq!(cut_to_fit("one, two three four five", 12), ["one, two ", "three four ", "five"]);
        assert_eq!(cut_to_fit("one two, three four", 12), ["one two, ", "three four"]);
        assert_eq!(cut_to_fit("short", 12), ["short"]);
        assert_eq!(cut_to_fit("unbreakable", 4), ["unbreakable"]);
        assert_eq!(cut_to_fit("say `a b c d e f` now", 10), ["say ", "`a b c d e f` ", "now"]);
        let long = "слово, и ещё одно слово без конца ".repeat(40);
        let pieces = cut_to_fit(&long, 100);
        assert_eq!(pieces.concat(), long);
        assert!(pieces.iter().all(|piece| piece.trim_end().chars().count() <= 100));
    }
}
