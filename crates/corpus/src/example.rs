//! One example of an instruction data set, whatever file format it came from.

use serde::{Deserialize, Serialize};

/// One example. Serialises to one JSONL line that every later stage reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Stable id: the file's own `id`, or a hash of the content.
    pub id: String,
    #[serde(flatten)]
    pub body: Body,
    /// The text before translation; absent while untranslated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Body>,
    /// Language of `body` (ISO 639-1), once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Which engine translated it, and what was repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<Translation>,
    /// Fields of the input file that are not ours: carried along.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Provenance of a translated example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Translation {
    pub engine: String,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}
