//! Prompt templates in the alpaca style: from an example to one text and its trained ranges.

use crate::error::Error;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use tolmach_corpus::example::{Body, Message, Role};

/// The strings of a template. `{instruction}` and `{input}` stand for an example's fields; the
/// answer follows right after the last character. In a recipe:
///
/// ```toml
/// [train.template]
/// without_input = "Завдання: {instruction}\nВідповідь: "
/// with_input = "Завдання: {instruction}\nДано: {input}\nВідповідь: "
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateStrings {
    /// The prompt of an example whose `input` is empty.
    pub without_input: String,
    /// The prompt of an example with an input; absent: the input is added to the instruction,
    /// after an empty line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_input: Option<String>,
    /// A later turn of a conversation, which follows the EOS of the answer before it; absent: an
    /// empty line and `without_input` once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
}

/// A built-in template: name, what it is, and its strings.
pub struct BuiltIn {
    pub name: &'static str,
    pub about: &'static str,
    without_input: &'static str,
    with_input: &'static str,
    turn: &'static str,
}

pub const BUILT_IN_TEMPLATES: &[BuiltIn] = &[
    BuiltIn {
        name: "alpaca",
        about: "Stanford Alpaca's own, the answer right after the colon",
        without_input: "Below is an instruction that describes a task. Write a response that appropriately \
                        completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:",
        with_input: "Below is an instruction that describes a task, paired with an input that provides further \
                     context. Write a response that appropriately completes the request.\n\n### Instruction:\n\
                     {instruction}\n\n### Input:\n{input}\n\n### Response:",
        turn: "\n\n### Instruction:\n{instruction}\n\n### Response:",
    },
    BuiltIn {
        name: "alpaca-lora",
        about: "the same text, the answer on a line of its own",
        without_input: "Below is an instruction that describes a task. Write a response that appropriately \
                        completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n",
        with_input: "Below is an instruction that describes a task, paired with an input that provides further \
                     context. Write a response that appropriately completes the request.\n\n### Instruction:\n\
                     {instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        turn: "\n\n### Instruction:\n{instruction}\n\n### Response:\n",
    },
    BuiltIn {
        name: "alpaca-short",
        about: "the headings alone, without the constant first sentences",
        without_input: "### Instruction:\n{instruction}\n\n### Response:\n",
        with_input: "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        turn: "\n\n### Instruction:\n{instruction}\n\n### Response:\n",
    },
    BuiltIn {
        name: "alpaca-ru",
        about: "the alpaca template in Russian, the answer on a line of its own",
        without_input: "Ниже дана инструкция, которая описывает задачу. Напишите ответ, который правильно выполняет \
                        просьбу.\n\n### Инструкция:\n{instruction}\n\n### Ответ:\n",
        with_input: "Ниже дана инструкция, которая описывает задачу, и входные данные к ней. Напишите ответ, который \
                     правильно выполняет просьбу.\n\n### Инструкция:\n{instruction}\n\n### Входные данные:\n\
                     {input}\n\n### Ответ:\n",
        turn: "\n\n### Инструкция:\n{instruction}\n\n### Ответ:\n",
    },
    BuiltIn {
        name: "alpaca-ru-short",
        about: "the Russian headings alone",
        without_input: "### Инструкция:\n{instruction}\n\n### Ответ:\n",
        with_input: "### Инструкция:\n{instruction}\n\n### Входные данные:\n{input}\n\n### Ответ:\n",
        turn: "\n\n### Инструкция:\n{instruction}\n\n### Ответ:\n",
    },
];

/// A valid template. In a recipe either a built-in's name (`template = "alpaca-ru"`) or a table
/// with one's own strings ([`TemplateStrings`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTemplate {
    written: Written,
    without_input: Pattern,
    with_input: Pattern,
    turn: Pattern,
}

/// What the user wrote, kept for saving the resolved recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Name(&'static str),
    Strings(TemplateStrings),
}

/// A rendered example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Prompt and answer, EOS written out as text after each answer. No BOS.
    pub text: String,
    /// Byte ranges that are trained: every answer with the EOS after it, in order.
    pub trained: Vec<Range<usize>>,
    /// The first so many bytes are the template's own: the same in all examples of this shape.
    pub preamble: usize,
}

/// Why an example cannot be rendered. Such an example is dropped and counted, not fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum RenderError {
    #[error("its answer is empty")]
    NoAnswer,
    #[error("its conversation begins with the assistant")]
    StartsWithAssistant,
    #[error("its conversation has a system message after the first place")]
    LateSystem,
}

impl PromptTemplate {
    /// A built-in template.
    pub fn named(name: &str) -> Result<Self, Error> {
        let built_in = BUILT_IN_TEMPLATES.iter().find(|t| t.name == name).ok_or_else(|| {
            let known: Vec<&str> = BUILT_IN_TEMPLATES.iter().map(|t| t.name).collect();
            Error::UnknownTemplate { name: name.to_string(), known: known.join(", ") }
        })?;
        Ok(PromptTemplate {
            written: Written::Name(built_in.name),
            without_input: Pattern::parse("without_input", built_in.without_input, false)?,
            with_input: Pattern::parse("with_input", built_in.with_input, true)?,
            turn: Pattern::parse("turn", built_in.turn, false)?,
        })
    }

    /// One's own strings.
    pub fn own(strings: TemplateStrings) -> Result<Self, Error> {
        let without_input = Pattern::parse("without_input", &strings.without_input, false)?;
        let with_input = match &strings.with_input {
            Some(text) => Pattern::parse("with_input", text, true)?,
            None => without_input.with_input_after_instruction(),
        };
        let turn = match &strings.turn {
            Some(text) => Pattern::parse("turn", text, false)?,
            None => without_input.after_empty_line(),
        };
        Ok(PromptTemplate { written: Written::Strings(strings), without_input, with_input, turn })
    }

    /// The built-in's name, or "own".
    pub fn name(&self) -> &str {
        match &self.written {
            Written::Name(name) => name,
            Written::Strings(_) => "own",
        }
    }

    /// The prompt alone, for generation: ends where the answer begins.
    pub fn prompt_only(&self, instruction: &str, input: &str) -> String {
        let mut text = String::new();
        self.first(input).write(&mut text, instruction, input);
        text
    }

    /// The prompt of a conversation whose last message is the user's; answers before it are
    /// followed by `eos` (as text), just as in training.
    pub fn chat_prompt(&self, messages: &[Message], eos: &str) -> Result<String, RenderError> {
        let mut rendered = Rendered::default();
        self.write_messages(&mut rendered, messages, eos)?;
        Ok(rendered.text)
    }

    /// An example as text. `eos` is the EOS token as text ([`crate::Tokenizer::require_eos`]).
    ///
    /// - alpaca: the prompt with or without input, then the output: trained.
    /// - messages: the system message and an empty line before everything else; each user message in
    ///   the prompt, each assistant message trained. Messages of one role in a row are joined by an
    ///   empty line; user messages after the last answer are left out.
    /// - text: as it is, all of it trained.
    ///
    /// An answer that already ends in `eos` gets no second one.
    pub fn render(&self, body: &Body, eos: &str) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered::default();
        match body {
            Body::Alpaca { instruction, input, output } => {
                let first = self.first(input);
                first.write(&mut rendered.text, instruction, input);
                rendered.preamble = first.preamble();
                rendered.answer(output, eos)?;
            }
            Body::Text { text } => rendered.answer(text, eos)?,
            Body::Messages { messages } => {
                let last_answer = messages.iter().rposition(|m| m.role == Role::Assistant);
                let end = last_answer.ok_or(RenderError::NoAnswer)? + 1;
                self.write_messages(&mut rendered, &messages[..end], eos)?;
            }
        }
        Ok(rendered)
    }

    fn first(&self, input: &str) -> &Pattern {
        if input.trim().is_empty() { &self.without_input } else { &self.with_input }
    }

    fn write_messages(&self, rendered: &mut Rendered, messages: &[Message], eos: &str) -> Result<(), RenderError> {
        let mut turns = messages;
        if let Some((system, rest)) = messages.split_first().filter(|(m, _)| m.role == Role::System) {
            rendered.text.push_str(&system.content);
            rendered.text.push_str("\n\n");
            turns = rest;
        } else {
            rendered.preamble = self.without_input.preamble();
        }
        let mut is_first = true;
        for run in turns.chunk_by(|a, b| a.role == b.role) {
            let contents: Vec<&str> = run.iter().map(|m| m.content.as_str()).collect();
            let content = contents.join("\n\n");
            match run[0].role {
                Role::System => return Err(RenderError::LateSystem),
                Role::Assistant if is_first => return Err(RenderError::StartsWithAssistant),
                Role::Assistant => rendered.answer(&content, eos)?,
                Role::User if is_first => self.without_input.write(&mut rendered.text, &content, ""),
                Role::User => self.turn.write(&mut rendered.text, &content, ""),
            }
            is_first = false;
        }
        Ok(())
    }
}

impl Rendered {
    fn answer(&mut self, answer: &str, eos: &str) -> Result<(), RenderError> {
        let answer = answer.strip_suffix(eos).unwrap_or(answer);
        if answer.trim().is_empty() {
            return Err(RenderError::NoAnswer);
        }
        let start = self.text.len();
        self.text.push_str(answer);
        self.text.push_str(eos);
        self.trained.push(start..self.text.len());
        Ok(())
    }
}

/// A string with its placeholders found, so that a `{input}` inside an instruction is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Instruction,
    Input,
}

impl Pattern {
    /// `wants_input`: `{input}` must be there; else it must not.
    fn parse(field: &'static str, text: &str, wants_input: bool) -> Result<Self, Error> {
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
                _ => return Err(bad(format!("unknown placeholder {{{name}}}; there are {{instruction}} and {{input}}"))),
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

    fn with_input_after_instruction(&self) -> Self {
        let mut pieces = self.0.clone();
        if let Some(at) = pieces.iter().position(|p| *p == Piece::Instruction) {
            pieces.splice(at + 1..at + 1, [Piece::Literal("\n\n".into()), Piece::Input]);
        }
        Pattern(pieces)
    }

    fn after_empty_line(&self) -> Self {
        let mut pieces = vec![Piece::Literal("\n\n".into())];
        pieces.extend(self.0.iter().cloned());
        Pattern(pieces)
    }

    fn write(&self, out: &mut String, instruction: &str, input: &str) {
        for piece in &self.0 {
            out.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Instruction => instruction,
                Piece::Input => input,
            });
        }
    }

    /// Bytes before the first field.
    fn preamble(&self) -> usize {
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

impl Serialize for PromptTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.written {
            Written::Name(name) => serializer.serialize_str(name),
            Written::Strings(strings) => strings.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PromptTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TemplateVisitor)
    }
}

/// By hand, not `#[serde(untagged)]`: that would hide which key was wrong.
struct TemplateVisitor;

impl<'de> Visitor<'de> for TemplateVisitor {
    type Value = PromptTemplate;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a template's name, or a table with without_input (and with_input, turn)")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<PromptTemplate, E> {
        PromptTemplate::named(name).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PromptTemplate, A::Error> {
        let strings = TemplateStrings::deserialize(de::value::MapAccessDeserializer::new(map))?;
        PromptTemplate::own(strings).map_err(de::Error::custom)
    }
}
