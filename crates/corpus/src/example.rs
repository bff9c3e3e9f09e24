//! One example of an instruction data set, whatever file format it came from.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// One example. Serialises to one JSONL line that every later stage reads.
///
/// Invariant: `extra` never holds a key that another field of the line uses, so a line has no key twice
/// (see [`crate::row`] for what happens to a foreign field of the same name).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Stable id: the file's own `id`, or a hash of the content.
    pub id: String,
    #[serde(flatten)]
    pub body: Body,
    /// The text before translation; absent while untranslated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Body>,
    /// Language of `body` (ISO 639-1), once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Which engine translated it, and what was repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translation: Option<Translation>,
    /// Fields of the input file that are not ours: carried along.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Example {
    /// An untranslated example whose id is the hash of its content.
    pub fn new(body: Body) -> Self {
        let id = body.content_id();
        Self { id, body, source: None, language: None, translation: None, extra: serde_json::Map::new() }
    }

    /// The text as it was before translation, or as it is while untranslated.
    pub fn source_body(&self) -> &Body {
        self.source.as_ref().unwrap_or(&self.body)
    }
}

/// Reads a row of any supported format, like [`crate::read_examples`] does.
impl<'de> Deserialize<'de> for Example {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        crate::row::example_from_row(value).map_err(serde::de::Error::custom)
    }
}

/// Provenance of a translated example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Translation {
    pub engine: String,
    /// The names of the checks that the translation passed, with spaces between them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checked: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
}

/// The text of an example, in the shape it was written in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    Alpaca {
        instruction: String,
        #[serde(default)]
        input: String,
        output: String,
    },
    /// Also ShareGPT (`conversations[].from/value`), which is read into this.
    Messages {
        messages: Vec<Message>,
    },
    Text {
        text: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// Names one text field of a [`Body`]. Displays as its path in the file: `output`, `messages[2].content`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldName {
    Instruction,
    Input,
    Output,
    /// A message by its index.
    Message(usize, Role),
    Text,
}

impl FieldName {
    /// Whether the model learns to write this field; the others are what it is asked.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Output | Self::Text | Self::Message(_, Role::Assistant))
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction => f.write_str("instruction"),
            Self::Input => f.write_str("input"),
            Self::Output => f.write_str("output"),
            Self::Message(index, _) => write!(f, "messages[{index}].content"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// The fields of a body that is no conversation.
type Fixed<T> = [Option<(FieldName, T)>; 3];

impl Body {
    /// Every text field with its name, in reading order; empty ones too.
    pub fn fields(&self) -> impl Iterator<Item = (FieldName, &str)> {
        let (fixed, messages): (Fixed<&str>, &[Message]) = match self {
            Self::Alpaca { instruction, input, output } => (
                [
                    Some((FieldName::Instruction, instruction)),
                    Some((FieldName::Input, input)),
                    Some((FieldName::Output, output)),
                ],
                &[],
            ),
            Self::Messages { messages } => ([None, None, None], messages),
            Self::Text { text } => ([Some((FieldName::Text, text)), None, None], &[]),
        };
        let messages = messages.iter().enumerate();
        let messages = messages.map(|(i, m)| (FieldName::Message(i, m.role), m.content.as_str()));
        fixed.into_iter().flatten().chain(messages)
    }

    /// Every text field with its name, in reading order, to be changed in place.
    pub fn fields_mut(&mut self) -> impl Iterator<Item = (FieldName, &mut String)> {
        let (fixed, messages): (Fixed<&mut String>, &mut [Message]) = match self {
            Self::Alpaca { instruction, input, output } => (
                [
                    Some((FieldName::Instruction, instruction)),
                    Some((FieldName::Input, input)),
                    Some((FieldName::Output, output)),
                ],
                &mut [],
            ),
            Self::Messages { messages } => ([None, None, None], messages),
            Self::Text { text } => ([Some((FieldName::Text, text)), None, None], &mut []),
        };
        let messages = messages.iter_mut().enumerate();
        let messages = messages.map(|(i, m)| (FieldName::Message(i, m.role), &mut m.content));
        fixed.into_iter().flatten().chain(messages)
    }

    /// What the model is asked: the instruction with its input, or every system and user message.
    /// Empty for plain text.
    pub fn prompt_text(&self) -> String {
        let asked = self.fields().filter(|(name, text)| !name.is_answer() && !text.is_empty());
        asked.map(|(_, text)| text).collect::<Vec<_>>().join("\n\n")
    }

    /// What the model should say: the output, the last message of the assistant, or the plain text.
    /// `None` where a conversation has no message of the assistant.
    pub fn answer(&self) -> Option<&str> {
        self.fields().filter(|(name, _)| name.is_answer()).last().map(|(_, text)| text)
    }

    /// Length of all fields together, in characters (Unicode scalar values).
    pub fn chars(&self) -> usize {
        self.fields().map(|(_, text)| text.chars().count()).sum()
    }

    /// 16 hexadecimal digits of the BLAKE3 hash of all fields with their names.
    pub fn content_id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, text) in self.fields() {
            // The length keeps ("ab", "c") and ("a", "bc") apart, the role two orders of a conversation.
            let role: &[u8] = match name {
                FieldName::Message(_, Role::System) => b"s",
                FieldName::Message(_, Role::User) => b"u",
                FieldName::Message(_, Role::Assistant) => b"a",
                FieldName::Text => b"t",
                _ => b"i",
            };
            hasher.update(role).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Body {
        let message = |role, content: &str| Message { role, content: content.into() };
        Body::Messages {
            messages: vec![
                message(Role::System, "Be kind."),
                message(Role::User, "Hi"),
                message(Role::Assistant, "Hello!"),
                message(Role::User, "Bye"),
                message(Role::Assistant, "See you."),
            ],
        }
    }

    #[test]
    fn fields_are_named_by_their_path() {
        let names: Vec<_> = talk().fields().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names[3], "messages[3].content");
        let alpaca = Body::Alpaca { instruction: "a".into(), input: String::new(), output: "c".into() };
        let fields: Vec<_> = alpaca.fields().map(|(n, t)| format!("{n}={t}")).collect();
        assert_eq!(fields, ["instruction=a", "input=", "output=c"]);
    }

    #[test]
    fn prompt_and_answer_of_every_shape() {
        assert_eq!(talk().prompt_text(), "Be kind.\n\nHi\n\nBye");
        assert_eq!(talk().answer(), Some("See you."));
        let alpaca = Body::Alpaca { instruction: "a".into(), input: "b".into(), output: "c".into() };
        assert_eq!((alpaca.prompt_text().as_str(), alpaca.answer()), ("a\n\nb", Some("c")));
        let text = Body::Text { text: "t".into() };
        assert_eq!((text.prompt_text().as_str(), text.answer()), ("", Some("t")));
    }

    #[test]
    fn fields_mut_reaches_every_field() {
        let mut body = talk();
        for (_, text) in body.fields_mut() {
            text.push('+');
        }
        assert!(body.fields().all(|(_, text)| text.ends_with('+')));
        assert_eq!(body.chars(), talk().chars() + 5);
    }

    #[test]
    fn content_ids_tell_field_borders_apart() {
        let id = |a: &str, b: &str| {
            Body::Alpaca { instruction: a.into(), input: b.into(), output: "x".into() }.content_id()
        };
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_eq!(id("ab", "c").len(), 16);
    }
}
