//! A template's string with its placeholders found.

use crate::error::Error;

/// A string with its placeholders found, so that a `{input}` inside an instruction is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Instruction,
    Input,
}

impl Pattern {
    /// `wants_input`: `{input}` must be there; else it must not.
    pub fn parse(field: &'static str, text: &str, wants_input: bool) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadTemplate { field, reason };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(length) = rest[open..].find('}') else { break };
            let name = &rest[open + 1..open + length];
            let piece = match name {
                "instruction" => Piece::Instruction,
                "input" => Piece::Input,
                // Braces around anything else than a word are text (JSON, LaTeX).
                _ if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                    push_literal(&mut pieces, &rest[..=open]);
                    rest = &rest[open + 1..];
                    continue;
                }
                _ => {
                    return Err(bad(format!(
                        "unknown placeholder {{{name}}}; there are {{instruction}} and {{input}}"
                    )));
                }
            };
            push_literal(&mut pieces, &rest[..open]);
            pieces.push(piece);
            rest = &rest[open + length + 1..];
        }
        push_literal(&mut pieces, rest);

        let count = |piece: &Piece| pieces.iter().filter(|p| *p == piece).count();
        match (count(&Piece::Instruction), count(&Piece::Input)) {
            (1, inputs) if inputs == usize::from(wants_input) => Ok(Pattern(pieces)),
            (1, _) if wants_input => Err(bad("must hold {input} once".into())),
            (1, _) => Err(bad("must not hold {input}: it is used where there is none".into())),
            _ => Err(bad("must hold {instruction} once".into())),
        }
    }

    pub fn with_input_after_instruction(&self) -> Self {
        let mut pieces = self.0.clone();
        if let Some(at) = pieces.iter().position(|p| *p == Piece::Instruction) {
            pieces.splice(at + 1..at + 1, [Piece::Literal("\n\n".into()), Piece::Input]);
        }
        Pattern(pieces)
    }

    pub fn after_empty_line(&self) -> Self {
        let mut pieces = vec![Piece::Literal("\n\n".into())];
        pieces.extend(self.0.iter().cloned());
        Pattern(pieces)
    }

    pub fn write(&self, out: &mut String, instruction: &str, input: &str) {
        for piece in &self.0 {
            out.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Instruction => instruction,
                Piece::Input => input,
            });
        }
    }

    /// Bytes before the first field.
    pub fn preamble(&self) -> usize {
        match self.0.first() {
            Some(Piece::Literal(text)) => text.len(),
            _ => 0,
        }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Literal(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Literal(text.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, wants_input: bool) -> String {
        let mut out = String::new();
        Pattern::parse("f", text, wants_input).unwrap().write(&mut out, "I {input}", "N {instruction}");
        out
    }

    #[test]
    fn fields_are_filled_and_braces_in_them_left_alone() {
        assert_eq!(filled("a {instruction} b", false), "a I {input} b");
        assert_eq!(filled("{instruction}|{input}|", true), "I {input}|N {instruction}|");
        assert_eq!(filled("{\"k\": {}} {instruction} {", false), "{\"k\": {}} I {input} {");
    }

    #[test]
    fn wrong_placeholders_are_named() {
        let error = |text, wants| Pattern::parse("f", text, wants).unwrap_err().to_string();
        assert!(error("{instruction} {outptu}", false).contains("unknown placeholder {outptu}"));
        assert!(error("no field", false).contains("must hold {instruction} once"));
        assert!(error("{instruction}{instruction}", false).contains("{instruction} once"));
        assert!(error("{instruction}", true).contains("must hold {input} once"));
        assert!(error("{instruction}{input}", false).contains("must not hold {input}"));
    }
}
