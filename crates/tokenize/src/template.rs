//! Prompt templates in the alpaca style: from an example to one text and its trained ranges.

use crate::error::Error;
use crate::pattern::Pattern;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use tolmach_corpus::{Body, Example, Message, Role};

/// The strings of a template. `{instruction}` and `{input}` stand for an example's fields; the
/// answer follows right after the last character, and EOS right after the answer. In a recipe:
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
#[derive(Debug)]
pub struct BuiltIn {
    pub name: &'static str,
    pub about: &'static str,
    without_input: &'static str,
    with_input: &'static str,
    turn: &'static str,
}

/// The English strings are those of Stanford Alpaca (with the line break that alpaca-lora puts
/// before the answer), so that a model tuned elsewhere is met with the prompt it knows.
pub const BUILT_IN_TEMPLATES: &[BuiltIn] = &[
    BuiltIn {
        name: "alpaca-en",
        about: "the alpaca prompt in English",
        without_input: "Below is an instruction that describes a task. Write a response that appropriately \
                        completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n",
        with_input: "Below is an instruction that describes a task, paired with an input that provides further \
                     context. Write a response that appropriately completes the request.\n\n### Instruction:\n\
                     {instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        turn: "\n\n### Instruction:\n{instruction}\n\n### Response:\n",
    },
    BuiltIn {
        name: "alpaca-ru",
        about: "the alpaca prompt in Russian",
        without_input: "Ниже дано задание. Напишите ответ, который полностью его выполняет.\n\n\
                        ### Задание:\n{instruction}\n\n### Ответ:\n",
        with_input: "Ниже дано задание и входные данные к нему. Напишите ответ, который полностью его \
                     выполняет.\n\n### Задание:\n{instruction}\n\n### Входные данные:\n{input}\n\n### Ответ:\n",
        turn: "\n\n### Задание:\n{instruction}\n\n### Ответ:\n",
    },
    BuiltIn {
        name: "alpaca-en-short",
        about: "the English headings alone, without the constant first sentences",
        without_input: "### Instruction:\n{instruction}\n\n### Response:\n",
        with_input: "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        turn: "\n\n### Instruction:\n{instruction}\n\n### Response:\n",
    },
    BuiltIn {
        name: "alpaca-ru-short",
        about: "the Russian headings alone, without the constant first sentences",
        without_input: "### Задание:\n{instruction}\n\n### Ответ:\n",
        with_input: "### Задание:\n{instruction}\n\n### Входные данные:\n{input}\n\n### Ответ:\n",
        turn: "\n\n### Задание:\n{instruction}\n\n### Ответ:\n",
    },
];

/// A valid template. In a recipe either a built-in's name (`template = "alpaca-ru"`) or a table
/// with one's own strings ([`TemplateStrings`]). The default is `alpaca-en`.
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

/// A rendered example. [`crate::Tokenizer::encode_rendered`] puts EOS after each trained range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Prompt and answer, without BOS and EOS.
    pub text: String,
    /// Byte ranges of the answers, in order. The EOS after each is trained too.
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
    ///
    /// # Errors
    /// There is none of this name; the message lists those there are.
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
    ///
    /// # Errors
    /// A placeholder is missing, unknown or in the wrong string.
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
    pub fn render_prompt(&self, instruction: &str, input: &str) -> String {
        let mut text = String::new();
        self.first(input).write(&mut text, instruction, input);
        text
    }

    /// The prompt of a conversation that ends with the user's message, for generation. The answers
    /// before it are `trained` ranges, so [`crate::Tokenizer::encode_rendered`] puts EOS after each,
    /// just as in training.
    ///
    /// # Errors
    /// The roles are in an order that [`Self::render`] would refuse too.
    pub fn render_conversation(&self, messages: &[Message]) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered::default();
        self.write_messages(&mut rendered, messages)?;
        Ok(rendered)
    }

    /// An example as text.
    ///
    /// - alpaca: the prompt with or without input, then the output: trained.
    /// - messages: the system message and an empty line before everything else; each user message in
    ///   the prompt, each assistant message trained. Messages of one role in a row are joined by an
    ///   empty line; user messages after the last answer are left out.
    /// - text: as it is, all of it trained.
    ///
    /// # Errors
    /// An answer is missing or empty, or the roles are in an impossible order.
    pub fn render(&self, example: &Example) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered::default();
        match &example.body {
            Body::Alpaca { instruction, input, output } => {
                let first = self.first(input);
                first.write(&mut rendered.text, instruction, input);
                rendered.preamble = first.preamble();
                rendered.answer(output)?;
            }
            Body::Text { text } => rendered.answer(text)?,
            Body::Messages { messages } => {
                let last_answer = messages.iter().rposition(|m| m.role == Role::Assistant);
                let end = last_answer.ok_or(RenderError::NoAnswer)? + 1;
                self.write_messages(&mut rendered, &messages[..end])?;
            }
        }
        Ok(rendered)
    }

    fn first(&self, input: &str) -> &Pattern {
        if input.trim().is_empty() { &self.without_input } else { &self.with_input }
    }

    fn write_messages(&self, rendered: &mut Rendered, messages: &[Message]) -> Result<(), RenderError> {
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
                Role::Assistant => rendered.answer(&content)?,
                Role::User if is_first => self.without_input.write(&mut rendered.text, &content, ""),
                Role::User => self.turn.write(&mut rendered.text, &content, ""),
            }
            is_first = false;
        }
        Ok(())
    }
}

impl Default for PromptTemplate {
    fn default() -> Self {
        Self::named("alpaca-en").expect("a built-in template")
    }
}

impl Rendered {
    fn answer(&mut self, answer: &str) -> Result<(), RenderError> {
        if answer.trim().is_empty() {
            return Err(RenderError::NoAnswer);
        }
        let start = self.text.len();
        self.text.push_str(answer);
        self.trained.push(start..self.text.len());
        Ok(())
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

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
