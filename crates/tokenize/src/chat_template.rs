//! A model's own chat template, in Jinja, as `transformers` renders it.
//!
//! Special tokens come from the template only: where a message spells one out (`</s>` is HTML's end of a
//! strike-through), it is encoded as ordinary text, so nobody can end a turn or open another from inside one.

use crate::backend::END;
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use tolmach_corpus::{Message, Role};

/// Breaks up the special tokens that messages spell out, until the template's own are known. A noncharacter.
const GUARD: char = '\u{FDD1}';
/// Steps of a template's execution: far more than a long conversation takes, and an end to endless loops.
const FUEL: u64 = 10_000_000;

/// The template in a model's folder: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
}

/// A special token as a chat template spells it.
#[derive(Clone, Debug)]
pub(crate) struct SpecialText {
    pub text: String,
    pub id: u32,
    /// White space before and after it is its own, as `tokenizer.json` may say.
    pub lstrip: bool,
    pub rstrip: bool,
}

impl ChatTemplate {
    /// The template of a folder; `None` where it has none.
    ///
    /// # Errors
    /// A file cannot be read; the template is not Jinja.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("chat_template.jinja");
        match std::fs::read_to_string(&path) {
            Ok(source) => return Self::parse(&source).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
        let path = folder.join("tokenizer_config.json");
        let config: serde_json::Value = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let named = |list: &Vec<serde_json::Value>| {
            let default = list.iter().find(|t| t["name"] == "default")?;
            default["template"].as_str().map(str::to_string)
        };
        let template = &config["chat_template"];
        let source = template.as_str().map(str::to_string).or_else(|| template.as_array().and_then(named));
        source.map(|source| Self::parse(&source)).transpose()
    }

    /// # Errors
    /// It is not Jinja.
    pub fn parse(source: &str) -> Result<Self, Error> {
        let source = without_generation_tags(source);
        environment()
            .template_from_str(&source)
            .map_err(|e| Error::ChatTemplate { reason: e.to_string() })?;
        Ok(Self { source })
    }

    /// The text of a conversation, opened for the assistant's reply. `bos` and `eos` are the tokenizer's.
    ///
    /// # Errors
    /// The template refuses the conversation, or fails.
    pub fn render(&self, messages: &[Message], bos: &str, eos: &str) -> Result<String, Error> {
        let turn = |message: &Message| {
            let (role, content) = (role(message.role), message.content.as_str());
            Value::from_pairs([("role", Value::from(role)), ("content", Value::from(content))])
        };
        let turns: Vec<Value> = messages.iter().map(turn).collect();
        let variables = context! {
            messages => turns,
            add_generation_prompt => true,
            bos_token => bos,
            eos_token => eos,
        };
        environment().render_str(&self.source, variables).map_err(|error| {
            // What a template itself says (`raise_exception`) is the reason; the rest is Jinja's.
            let reason = error.detail().map_or_else(|| error.to_string(), str::to_string);
            Error::ChatTemplate { reason }
        })
    }
}

impl Tokenizer {
    /// The tokens of a conversation by its model's template, opened for the assistant's reply. Nothing is
    /// added to what the template says, as in `apply_chat_template`.
    ///
    /// # Errors
    /// The template refuses the conversation; a message holds U+FDD0 or U+FDD1; the model has no token for
    /// one of its characters.
    pub fn encode_chat(&self, template: &ChatTemplate, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let specials = self.special_texts();
        let mut guarded = messages.to_vec();
        for message in &mut guarded {
            if let Some(mark) = [END, GUARD].into_iter().find(|&mark| message.content.contains(mark)) {
                let text = message.content.chars().take(40).collect();
                let reason = format!("it holds the noncharacter U+{:04X}; remove that", u32::from(mark));
                return Err(Error::Encode { text, reason });
            }
            message.content = guard(&message.content, &specials);
        }
        let name = |id: Option<u32>| id.and_then(|id| self.token_text(id)).unwrap_or_default();
        let text = template.render(&guarded, &name(self.bos()), &name(self.eos()))?;
        let (marked, ids) = mark(&text, &specials);
        self.encode_with_marks(&marked, &ids)
    }
}

/// `text` with a [`GUARD`] after the first character of each special token that it spells out.
fn guard(text: &str, specials: &[SpecialText]) -> String {
    let mut guarded = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        guarded.push(c);
        if longest_at(&text[at..], specials).is_some() {
            guarded.push(GUARD);
        }
    }
    guarded
}

/// Special tokens become [`END`] marks, with their ids in order; guards are taken out.
fn mark(text: &str, specials: &[SpecialText]) -> (String, Vec<u32>) {
    let (mut marked, mut ids) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(special) = longest_at(rest, specials) {
            rest = &rest[special.text.len()..];
            if special.lstrip {
                marked.truncate(marked.trim_end().len());
            }
            if special.rstrip {
                rest = rest.trim_start();
            }
            marked.push(END);
            ids.push(special.id);
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c != GUARD {
            marked.push(c);
        }
    }
    (marked, ids)
}

fn longest_at<'a>(text: &str, specials: &'a [SpecialText]) -> Option<&'a SpecialText> {
    let here = specials.iter().filter(|special| text.starts_with(&special.text));
    here.max_by_key(|special| special.text.len())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// As `transformers` sets Jinja up in `chat_template_utils.py`.
fn environment() -> Environment<'static> {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    let syntax = syntax.build().expect("Jinja's own delimiters do not clash");
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", tojson);
    environment
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`, which `transformers` puts in the place of
/// Jinja's own filter: that one is meant for HTML and escapes its characters.
#[allow(clippy::needless_pass_by_value, reason = "a filter takes its keyword arguments so")]
fn tojson(value: &Value, options: minijinja::value::Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut json = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(MAX_INDENT));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, OneLine)),
    };
    written.map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    String::from_utf8(json).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// Spaces an indentation may have: what a template asks for is not to be believed without bounds.
const MAX_INDENT: usize = 16;

/// Python's separators: `, ` and `: `.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// `{% generation %}` marks what is trained; for a reply it has no meaning.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(end) = rest[at..].find("%}").map(|end| at + end + 2) else { break };
        let word = rest[at + 2..end - 2].trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        out += &rest[..at];
        out += &match word {
            "generation" => rest[at..end].replace("generation", "if true"),
            "endgeneration" => rest[at..end].replace("endgeneration", "endif"),
            _ => rest[at..end].to_string(),
        };
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
#[path = "chat_template_tests.rs"]
mod tests;
