//! Parts of a text that no translation may change: where they are.
//!
//! *Hard* parts (code, formulas, addresses, placeholders, tags) are never shown to an engine that
//! translates. Numbers are shown at first, because grammar depends on them (`3 книги`, `5 книг`), are put
//! back byte for byte in the answer, and hide as well when an engine got them wrong.

use std::ops::Range;

/// What a protected part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `` `code` ``
    Code,
    /// `$x^2$`, `\(x\)`, `\frac{1}{2}`
    Math,
    /// `https://example.com/a`, `www.example.com`, `example.com`
    Url,
    /// `a@example.com`
    Email,
    /// `[name]`, `{x}`, `${x}`, `%s`
    Placeholder,
    /// `<tag>`, `</tag>`, `&nbsp;`
    Tag,
    /// `1,000.50`, `10:30`, `H2O`
    Number,
}

/// A protected part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub at: Range<usize>,
    pub kind: Kind,
}

impl Part {
    pub fn is_hard(&self) -> bool {
        self.kind != Kind::Number
    }
}

/// The protected parts of `text`, in order, without overlaps.
pub fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    let mut before = None;
    // Where words and numbers begin; what begins elsewhere is recognised by its first character.
    while let Some(c) = text[at..].chars().next() {
        let word_start = !before.is_some_and(|b: char| b.is_alphanumeric() || b == '_');
        let found = part_at(&text[at..], c, before, word_start);
        let length = found.map_or(c.len_utf8(), |(_, length)| length);
        if let Some((kind, _)) = found {
            parts.push(Part { at: at..at + length, kind });
        }
        before = text[at..at + length].chars().next_back();
        at += length;
    }
    parts
}

/// The hard parts of `text`, in order.
pub fn hard_parts(text: &str) -> Vec<Part> {
    // Most texts hold none of the characters that a hard part has.
    if !text.contains(['`', '$', '\\', '[', '{', '%', '<', '&', '@', '.', '/']) {
        return Vec::new();
    }
    let mut parts = parts(text);
    parts.retain(Part::is_hard);
    parts
}

/// Whether `text` holds a letter outside its hard parts.
pub fn has_translatable(text: &str) -> bool {
    let mut at = 0;
    hard_parts(text).into_iter().any(|part| {
        let gap = &text[at..part.at.start];
        at = part.at.end;
        gap.contains(char::is_alphabetic)
    }) || text[at..].contains(char::is_alphabetic)
}

/// The protected part that `text` starts with, and its length in bytes.
fn part_at(text: &str, first: char, before: Option<char>, word_start: bool) -> Option<(Kind, usize)> {
    let of = |kind, length: Option<usize>| length.map(|length| (kind, length));
    match first {
        '`' => of(Kind::Code, code(text)),
        '$' if text[1..].starts_with('{') => of(Kind::Placeholder, braces(&text[1..]).map(|n| n + 1)),
        '$' => of(Kind::Math, dollars(text)),
        '\\' => of(Kind::Math, latex(text)),
        '[' => of(Kind::Placeholder, brackets(text)),
        '{' => of(Kind::Placeholder, braces(text)),
        '%' if !before.is_some_and(char::is_alphanumeric) => of(Kind::Placeholder, printf(text)),
        '<' => of(Kind::Tag, tag(text)),
        '&' => of(Kind::Tag, entity(text)),
        _ if first.is_ascii_alphanumeric() && word_start => {
            let address = of(Kind::Url, url(text)).or_else(|| of(Kind::Email, email(text)));
            address.or_else(|| of(Kind::Number, number(text, first)))
        }
        _ if first.is_ascii_digit() => of(Kind::Number, number(text, first)),
        _ => None,
    }
}

/// A code span (CommonMark): as many backticks at its end as at its start.
fn code(text: &str) -> Option<usize> {
    let marks = text.len() - text.trim_start_matches('`').len();
    let mut at = marks;
    loop {
        at += text[at..].find('`')?;
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        at += run;
        if run == marks {
            return Some(at);
        }
    }
}

/// `$$…$$`, or `$…$` by pandoc's rule, which lets prices be prices: no space inside at the edges, no digit
/// after the end.
fn dollars(text: &str) -> Option<usize> {
    const LONGEST: usize = 400;
    if let Some(inside) = text.strip_prefix("$$") {
        let end = inside.find("$$").filter(|&end| (1..LONGEST).contains(&end))?;
        return Some(end + 4);
    }
    let inside = &text[1..];
    let end = inside.find('$').filter(|&end| (1..LONGEST).contains(&end))?;
    let content = &inside[..end];
    let tight = !content.starts_with(char::is_whitespace) && !content.ends_with(char::is_whitespace);
    let closed = !inside[end + 1..].starts_with(|c: char| c.is_ascii_digit());
    (tight && closed).then_some(end + 2)
}

/// `\(…\)`, `\[…\]`, `\begin{x}…\end{x}`, or a command with its arguments.
fn latex(text: &str) -> Option<usize> {
    for (open, close) in [("\\(", "\\)"), ("\\[", "\\]")] {
        if text.starts_with(open) {
            return text.find(close).map(|end| end + 2);
        }
    }
    if let Some(name) = text.strip_prefix("\\begin{").and_then(|rest| rest.split_once('}')) {
        let end = format!("\\end{{{}}}", name.0);
        return text.find(&end).map(|at| at + end.len());
    }
    let letters = text[1..].len() - text[1..].trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
    let mut at = 1 + letters;
    if letters == 0 {
        return None;
    }
    while text[at..].starts_with('{') {
        at += balanced(&text[at..])?;
    }
    Some(at)
}

/// The length of a group in balanced braces.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `[name]`, `[Your Name]`, `[1]`, also doubled; not the text of a link, not a list.
fn brackets(text: &str) -> Option<usize> {
    if let Some(inside) = text.strip_prefix("[[") {
        let end = inside.find("]]").filter(|&end| is_name(&inside[..end]))?;
        return Some(end + 4);
    }
    let end = text[1..].find(']').filter(|&end| is_name(&text[1..=end]))?;
    (!text[end + 2..].starts_with('(')).then_some(end + 2)
}

/// `{x}`, `{{ user.name }}`, `{0:.2f}`.
fn braces(text: &str) -> Option<usize> {
    if let Some(inside) = text.strip_prefix("{{") {
        let end = inside.find("}}").filter(|&end| is_name(&inside[..end]))?;
        return Some(end + 4);
    }
    let end = text[1..].find('}').filter(|&end| is_name(&text[1..=end]))?;
    Some(end + 2)
}

/// What stands in a placeholder: up to four words without punctuation between them.
fn is_name(inside: &str) -> bool {
    const LONGEST: usize = 40;
    let allowed =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '|' | '/' | '\'' | ' ');
    inside.len() <= LONGEST
        && inside.chars().all(allowed)
        && (1..=4).contains(&inside.split_whitespace().count())
}

/// `%s`, `%d`, `%1$s`, `%-5.2f`, `%(name)s`; a percent sign after a number is none.
fn printf(text: &str) -> Option<usize> {
    let mut at = 1;
    if text[at..].starts_with('(') {
        at += text[at..].find(')').filter(|&end| is_name(&text[at + 1..at + end]))? + 1;
    }
    let is_flag = |c: char| c.is_ascii_digit() || matches!(c, '$' | '-' | '+' | '.' | '#');
    at += text[at..].len() - text[at..].trim_start_matches(is_flag).len();
    let mut rest = text[at..].chars();
    let conversion =
        rest.next().filter(|c| matches!(c, 's' | 'd' | 'i' | 'f' | 'g' | 'x' | 'X' | 'c' | 'u' | '@'))?;
    let ended = !rest.next().is_some_and(char::is_alphanumeric);
    ended.then_some(at + conversion.len_utf8())
}

/// `<tag>`, `</tag>`, `<tag attribute="…">`, `<br/>`, `<!-- … -->`, `<your name>`; not `a < b`.
fn tag(text: &str) -> Option<usize> {
    const LONGEST: usize = 300;
    if text.starts_with("<!--") {
        return text.find("-->").map(|end| end + 3);
    }
    let name = text[1..].strip_prefix(['/', '!']).unwrap_or(&text[1..]);
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '|' || c == '_') {
        return None;
    }
    let end = text[1..].find(['>', '<']).map(|end| end + 1).filter(|&end| text[end..].starts_with('>'))?;
    let inside = &text[1..end];
    let plausible = inside.len() <= 40 || inside.contains('=');
    (plausible && end < LONGEST).then_some(end + 1)
}

/// `&nbsp;`, `&#39;`.
fn entity(text: &str) -> Option<usize> {
    let end = text.find(';').filter(|&end| (3..=9).contains(&end))?;
    let inside = &text[1..end];
    let inside = inside.strip_prefix('#').unwrap_or(inside);
    inside.bytes().all(|b| b.is_ascii_alphanumeric()).then_some(end + 1)
}

/// Top-level domains that make a bare `name.tld` an address.
const TOP_LEVEL: [&str; 12] =
    ["com", "org", "net", "edu", "gov", "io", "ai", "info", "biz", "ru", "de", "uk"];

/// An address with a scheme, one that starts with `www.`, or a bare domain.
fn url(text: &str) -> Option<usize> {
    let is_end = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '<' | '>' | '"' | '`' | '|' | '\\' | '^' | '{' | '}')
            || matches!(c, '«' | '»' | '“' | '”' | '’' | '，' | '。')
    };
    let whole = &text[..text.find(is_end).unwrap_or(text.len())];
    let scheme = whole.find("://").filter(|&at| (2..=10).contains(&at));
    let scheme = scheme.filter(|&at| whole[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+'));
    let host_at = scheme.map_or(0, |at| at + 3);
    let host_length = whole[host_at..].find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-'));
    let host = &whole[host_at..][..host_length.unwrap_or(whole.len() - host_at)];
    let known = scheme.is_some() && !host.is_empty() || host.starts_with("www.") && host.len() > 6;
    if !known && !is_bare_domain(host.trim_end_matches(['.', '-'])) {
        return None;
    }
    // Punctuation at the end belongs to the sentence; a closing bracket only if it was not opened inside.
    let mut end = whole.len();
    while let Some(last) = whole[..end].chars().next_back() {
        let opened = |open: char, close: char| {
            whole[..end].matches(open).count() >= whole[..end].matches(close).count()
        };
        let belongs = match last {
            ')' => opened('(', ')'),
            ']' => opened('[', ']'),
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '…' => false,
            _ => true,
        };
        if belongs {
            break;
        }
        end -= last.len_utf8();
    }
    // `Name@example.com` is no domain with something behind it.
    (end > host_at && !whole[..end].contains('@') || scheme.is_some()).then_some(end)
}

fn is_bare_domain(host: &str) -> bool {
    let Some((name, end)) = host.rsplit_once('.') else { return false };
    name.len() >= 2
        && TOP_LEVEL.contains(&end)
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
}

fn email(text: &str) -> Option<usize> {
    let is_local = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
    let at = text.find(|c| !is_local(c)).filter(|&at| text[at..].starts_with('@'))?;
    let domain = &text[at + 1..];
    let is_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let domain =
        domain[..domain.find(|c| !is_domain(c)).unwrap_or(domain.len())].trim_end_matches(['.', '-']);
    domain.contains('.').then_some(at + 1 + domain.len())
}

/// A number with what holds its digits together, or a word of letters and digits (`mp3`, `H2O`).
fn number(text: &str, first: char) -> Option<usize> {
    if !first.is_ascii_digit() {
        let word = &text[..text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len())];
        // `Label1` is a word with a number behind it.
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let numbered = stem.chars().count() > 3 && stem.chars().all(char::is_alphabetic);
        return (!numbered && word.contains(|c: char| c.is_ascii_digit())).then_some(word.len());
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let joins = matches!(bytes[at], b'.' | b',' | b':' | b'/' | b'-' | b'\'')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !bytes[at].is_ascii_digit() && !joins {
            break;
        }
        at += 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        parts(text).into_iter().map(|part| &text[part.at]).collect()
    }

    #[test]
    fn every_kind_is_found_whole() {
        for (text, expected) in [
            ("Run `ls -l` or ``a`b``.", &["`ls -l`", "``a`b``"][..]),
            ("Solve $x^2 + 1$ and \\(y\\), \\frac{a}{b}.", &["$x^2 + 1$", "\\(y\\)", "\\frac{a}{b}"]),
            (
                "See https://a.example/b?c=d&e=(f), or www.b.example.",
                &["https://a.example/b?c=d&e=(f)", "www.b.example"],
            ),
            ("(see http://a.example/b)", &["http://a.example/b"]),
            ("Buy at Amazon.com, write to a.b+c@d.example.", &["Amazon.com", "a.b+c@d.example"]),
            ("Dear [Your Name], {x} and ${y} and {{ a.b }}", &["[Your Name]", "{x}", "${y}", "{{ a.b }}"]),
            ("%s of %(all)d, %1$s %.2f", &["%s", "%(all)d", "%1$s", "%.2f"]),
            (
                "<b>bold</b><br/> <noinput> <a href=\"x y z\">",
                &["<b>", "</b>", "<br/>", "<noinput>", "<a href=\"x y z\">"],
            ),
            ("a&nbsp;b &#39;", &["&nbsp;", "&#39;"]),
            ("1,000.50 at 10:30, 2020-01-02 or 1/2", &["1,000.50", "10:30", "2020-01-02", "1/2"]),
            ("H2O, mp3 and the 1st of Label2.", &["H2O", "mp3", "1", "2"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_protected_is_text() {
        for text in [
            "it costs $ and $ more",
            "a < b and c > d",
            "a [link](to something)",
            "[one, two, three] and {one, two}",
            "a lone ` backtick",
            "end of one.Start of another",
            "e.g. this & that; more",
            "\\ and \\",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        assert_eq!(found("50% discount, 5% of it"), ["50", "5"]);
        assert_eq!(found("from $5 to $10"), ["5", "10"]);
    }

    #[test]
    fn only_what_is_outside_counts_as_translatable() {
        assert!(has_translatable("Say [name]"));
        assert!(!has_translatable("`code` [name] https://a.example 42"));
        assert!(has_translatable("mp3"), "a word with a digit is a word");
    }
}
