//! A field as lines: the skeleton that no engine ever sees, and the segments between.
//!
//! A field is cut at its line breaks. Of each line, the indentation, the list markers and the white
//! space at the end stay outside; what is left is the *segment*, if something in it can be translated.
//! Fenced code and displayed formulas of several lines are skeleton as a whole.

use super::protect::has_translatable;

/// One line of a field; `before + segment + after` is the line with its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Indentation and list markers; the whole line where there is nothing to translate.
    pub before: &'a str,
    /// What is translated; empty where the line holds no letter outside its protected parts.
    pub segment: &'a str,
    /// White space at the end and the line break.
    pub after: &'a str,
}

/// The lines of `field`, in order; their concatenation is `field`.
pub fn lines(field: &str) -> impl Iterator<Item = Line<'_>> {
    let mut block = None;
    let mut rest = field;
    std::iter::from_fn(move || {
        let text = rest.split_inclusive(is_line_break).next()?;
        rest = &rest[text.len()..];
        let content = text.trim_matches(is_edge);
        let was_inside = block.is_some();
        block = match block.take() {
            None => Block::opened_by(content, rest),
            Some(open) if Block::is_closed_by(&open, content) => None,
            open => open,
        };
        let verbatim = was_inside || block.is_some();
        Some(if verbatim { Line { before: text, segment: "", after: "" } } else { line(text) })
    })
}

/// The segments of `field`, in order.
pub fn segments(field: &str) -> impl Iterator<Item = &str> {
    lines(field).map(|line| line.segment).filter(|segment| !segment.is_empty())
}

/// `field` with each segment replaced by its target.
///
/// # Errors
/// The first error of `target`.
pub fn rebuild<'a, 't, E>(
    field: &'a str,
    mut target: impl FnMut(&'a str) -> Result<&'t str, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(field.len() * 2);
    for line in lines(field) {
        out.push_str(line.before);
        if !line.segment.is_empty() {
            out.push_str(target(line.segment)?);
        }
        out.push_str(line.after);
    }
    Ok(out)
}

/// How many line breaks `text` holds; equal for a field and its translation.
pub fn line_breaks(text: &str) -> usize {
    text.chars().filter(|&c| is_line_break(c)).count()
}

/// Everything that some program takes for the end of a line (Python's `splitlines` knows these).
pub fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space at the edge of a segment: engines trim it, so it stays outside.
pub(crate) fn is_edge(c: char) -> bool {
    c.is_whitespace() || is_line_break(c)
}

/// Several lines that are left as they are.
enum Block<'a> {
    /// A fence of so many characters (CommonMark: at least three); runs to the end if never closed.
    Fence(char, usize),
    /// `$$`, `\[` or `\begin{x}` alone on its line, and what ends it.
    Math(&'static str),
    Environment(&'a str),
}

impl<'a> Block<'a> {
    /// The block that a line of this content opens; a formula only if its end is in `rest`.
    fn opened_by(content: &'a str, rest: &str) -> Option<Self> {
        for mark in ['`', '~'] {
            let length = content.len() - content.trim_start_matches(mark).len();
            // The info string of a backtick fence holds no backtick: ```x``` is a span.
            if length >= 3 && (mark == '~' || !content[length..].contains('`')) {
                return Some(Block::Fence(mark, length));
            }
        }
        let block = match content {
            "$$" => Block::Math("$$"),
            "\\[" => Block::Math("\\]"),
            _ => {
                let name = content.strip_prefix("\\begin{")?.split('}').next()?;
                Block::Environment(name)
            }
        };
        let same_line = content.len() > 2 && block.is_closed_by(content);
        (!same_line && rest.split(is_line_break).any(|line| block.is_closed_by(line.trim_matches(is_edge))))
            .then_some(block)
    }

    fn is_closed_by(&self, content: &str) -> bool {
        match self {
            Block::Fence(mark, length) => {
                content.len() >= *length && content.trim_start_matches(*mark).is_empty()
            }
            Block::Math(end) => content.ends_with(end),
            Block::Environment(name) => content
                .rsplit_once("\\end{")
                .is_some_and(|(_, end)| end.strip_suffix('}').is_some_and(|end| end == *name)),
        }
    }
}

fn line(text: &str) -> Line<'_> {
    let whole = Line { before: text, segment: "", after: "" };
    if !text.contains(char::is_alphabetic) {
        return whole;
    }
    let content_end = text.trim_end_matches(is_edge).len();
    let (content, after) = text.split_at(content_end);
    let (before, segment) = content.split_at(markers_length(content));
    // The only letter may have been in a marker (`a) 42`) or in something protected.
    if has_translatable(segment) { Line { before, segment, after } } else { whole }
}

/// The length in bytes of indentation and list markers at the start of `line`.
pub(crate) fn markers_length(line: &str) -> usize {
    let after_space = |at: usize| at + line[at..].len() - line[at..].trim_start_matches(is_edge).len();
    let mut at = after_space(0);
    while let Some(length) = marker_length(&line[at..]) {
        at = after_space(at + length);
    }
    at
}

/// The length of the one list marker that `text` starts with:
/// `-` `•` `#` `>` `[x]` and their like, `1.` `12)` `(3)` `a)` `(b)`.
fn marker_length(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let length = match first {
        '-' | '*' | '+' | '>' | '•' | '◦' | '‣' | '▪' | '●' | '○' | '–' | '—' | '·' => {
            first.len_utf8()
        }
        '#' => text.len() - text.trim_start_matches('#').len(),
        '[' => ["[ ]", "[x]", "[X]"].iter().find(|m| text.starts_with(**m))?.len(),
        '(' => {
            let inside = text[1..].split(')').next()?;
            (is_number(inside) || is_one_letter(inside)).then_some(inside.len() + 2)?
        }
        '0'..='9' => {
            let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let closed = is_number(&text[..digits]) && text[digits..].starts_with(['.', ')']);
            // `1.Eat` is a marker too; `1.5 kg` is not.
            let next = text.get(digits + 1..)?.chars().next()?;
            return (closed && (is_edge(next) || next.is_alphabetic())).then_some(digits + 1);
        }
        _ if first.is_alphabetic() && text[first.len_utf8()..].starts_with(')') => first.len_utf8() + 1,
        _ => return None,
    };
    text.get(length..)?.starts_with(is_edge).then_some(length)
}

/// Up to three digits: a longer number is a year or an amount.
fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_one_letter(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn cut(text: &str) -> (&str, &str, &str) {
        let line = line(text);
        (line.before, line.segment, line.after)
    }

    #[test]
    fn indentation_markers_and_end_space_stay_outside() {
        assert_eq!(cut("  - First point. \r\n"), ("  - ", "First point.", " \r\n"));
        assert_eq!(cut("1.Eat well"), ("1.", "Eat well", ""));
        assert_eq!(cut("12) Sleep\n"), ("12) ", "Sleep", "\n"));
        assert_eq!(cut("\t(b) Run"), ("\t(b) ", "Run", ""));
        assert_eq!(cut("> - [ ] ## Call home"), ("> - [ ] ## ", "Call home", ""));
        assert_eq!(cut("• Привет"), ("• ", "Привет", ""));
    }

    #[test]
    fn what_only_looks_like_a_marker_is_text() {
        for text in [
            "1.5 kg of flour",
            "1984. A novel",
            "E. coli is a bacterium",
            "-able is a suffix",
            "**bold** text",
            "#hashtag",
            "(see below) it works",
            "I) first".trim_start_matches("I) "),
        ] {
            assert_eq!(cut(text), ("", text, ""));
        }
    }

    #[test]
    fn a_line_without_a_letter_is_never_sent() {
        for text in ["42", "", "\n", " 3 + 4 = 7 \n", "---", "1. 2. 3.", "a) 42", "…"] {
            assert_eq!(cut(text), (text, "", ""));
        }
    }

    #[test]
    fn code_and_formulas_of_several_lines_are_skeleton() {
        let field = "Use this:\n```python\nprint('hello world')\n\n# a comment\n```\nDone.\n$$\na + b\n$$\n\
                     \\begin{align}\nx &= y\n\\end{align}\n~~~\nnever closed, so code to the end";
        assert_eq!(segments(field).collect::<Vec<_>>(), ["Use this:", "Done."]);
        assert_eq!(rebuild(field, Ok::<_, Infallible>).unwrap(), field);
        let prices = "$$\nis how prices are shown\n\\[ and \\begin{nothing}";
        assert!(segments(prices).any(|s| s == "is how prices are shown"), "no end, no formula");
        let span = "```code``` in a line\nand text after it";
        assert_eq!(segments(span).count(), 2);
    }

    #[test]
    fn a_line_of_protected_parts_alone_is_never_sent() {
        for text in ["https://example.com/a?b=c", "`let x = 1;`", "- [name], {x}\n", "a@b.example", "$x^2$"] {
            assert_eq!(cut(text), (text, "", ""));
        }
    }

    /// text-generation-webui#4538: newlines were lost in translation.
    #[test]
    fn text_generation_webui_4538_newlines_survive_translation() {
        let field = "\n\n1. One\r\n   - Two\t\n\n\n\u{2028}Three\rFour\u{b}Five  \n";
        let same = rebuild(field, Ok::<_, Infallible>).unwrap();
        assert_eq!(same, field);
        let other = rebuild(field, |_| Ok::<_, Infallible>("да")).unwrap();
        assert_eq!(other, "\n\n1. да\r\n   - да\t\n\n\n\u{2028}да\rда\u{b}да  \n");
        assert_eq!(line_breaks(&other), line_breaks(field));
        assert!(segments(field).all(|segment| !segment.contains(is_line_break)));
    }
}
