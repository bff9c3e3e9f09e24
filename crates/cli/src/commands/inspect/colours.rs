//! Tokens in colour, or with marks where there is no colour.

use anstream::ColorChoice;
use tolmach_tokenize::{DecodeStream, IGNORED, TokenExample, Tokenizer};

/// A token as shown.
pub struct Token {
    pub text: String,
    pub trained: bool,
    pub special: bool,
}

/// Stands for a token that has only a part of a character; the last one of them shows it.
const PART: &str = "·";

/// The tokens of an example, in order.
pub fn tokens(tokenizer: &Tokenizer, example: &TokenExample) -> Vec<Token> {
    let mut stream = DecodeStream::new(tokenizer);
    let mut shown: Vec<Token> = Vec::with_capacity(example.len());
    for (&id, &label) in example.input_ids.iter().zip(&example.labels) {
        let special = tokenizer.is_special(id);
        let text = if special { tokenizer.token_text(id) } else { stream.push(id) };
        let text = text.unwrap_or_else(|| PART.to_string());
        shown.push(Token { text, trained: label != IGNORED, special });
    }
    if let (Some(rest), Some(last)) = (stream.finish(), shown.iter_mut().rfind(|token| !token.special)) {
        last.text = rest;
    }
    shown
}

/// How tokens are told apart.
pub enum Marks {
    Colour,
    Plain,
}

impl Marks {
    /// Colour where standard output is a terminal that has it and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        match anstream::AutoStream::choice(&std::io::stdout()) {
            ColorChoice::Never => Marks::Plain,
            _ => Marks::Colour,
        }
    }
}

const RESET: &str = "\x1b[0m";
/// Prompt tokens, dark on the terminal's own ground, and trained ones, black on green or cyan.
const PROMPT: [&str; 2] = ["\x1b[90m", "\x1b[2;37m"];
const TRAINED: [&str; 2] = ["\x1b[30;42m", "\x1b[30;46m"];
const TRAINED_SPECIAL: &str = "\x1b[1;30;43m";

/// All tokens as one text.
pub fn paint(tokens: &[Token], marks: &Marks) -> String {
    match marks {
        Marks::Colour => in_colour(tokens),
        Marks::Plain => with_marks(tokens),
    }
}

fn in_colour(tokens: &[Token]) -> String {
    let mut out = String::new();
    for (t, token) in tokens.iter().enumerate() {
        let colour = match (token.trained, token.special) {
            (true, true) => TRAINED_SPECIAL,
            (true, false) => TRAINED[t % 2],
            (false, _) => PROMPT[t % 2],
        };
        // A coloured line break would colour the rest of the terminal's line.
        let text = visible(&token.text).replace('\n', &format!("{RESET}\n{colour}"));
        out.push_str(&format!("{colour}{text}{RESET}"));
    }
    out
}

/// `Say| yes|:⟦ yes|</s>⟧`
fn with_marks(tokens: &[Token]) -> String {
    let mut out = String::new();
    for run in tokens.chunk_by(|a, b| a.trained == b.trained) {
        let texts: Vec<String> = run.iter().map(|token| visible(&token.text)).collect();
        let text = texts.join("|");
        out.push_str(&if run[0].trained { format!("⟦{text}⟧") } else { text });
    }
    out
}

/// Line breaks keep breaking the line, but show; other control characters only show, so that data
/// cannot command the terminal.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("⏎\n"),
            '\t' => out.push('⇥'),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, trained: bool, special: bool) -> Token {
        Token { text: text.into(), trained, special }
    }

    #[test]
    fn without_colour_marks_tell_what_is_trained() {
        let tokens = [
            token("Say", false, false),
            token(":\n", false, false),
            token("yes", true, false),
            token("</s>", true, true),
        ];
        assert_eq!(paint(&tokens, &Marks::Plain), "Say|:⏎\n⟦yes|</s>⟧");
    }

    #[test]
    fn neighbours_differ_in_colour_and_line_breaks_are_not_coloured() {
        let tokens = [token("a\n", true, false), token("b", true, false)];
        let painted = paint(&tokens, &Marks::Colour);
        assert_eq!(painted, format!("{0}a⏎{RESET}\n{0}{RESET}{1}b{RESET}", TRAINED[0], TRAINED[1]));
    }

    #[test]
    fn data_cannot_command_the_terminal() {
        let tokens = [token("\x1b[2J\r\u{9b}", false, false)];
        for marks in [Marks::Plain, Marks::Colour] {
            let painted = paint(&tokens, &marks);
            assert!(!painted.contains("\x1b[2J") && !painted.contains(['\r', '\u{9b}']), "{painted:?}");
        }
    }
}
