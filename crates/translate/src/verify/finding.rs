//! What a check finds, in words for people and as data for a page that speaks another language.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Finding {
    Empty,
    LineBreak,
    /// A protected part of the source that is not there as often as it should.
    Protected {
        part: String,
        expected: usize,
        found: usize,
    },
    Digits {
        missing: Vec<String>,
        added: Vec<String>,
    },
    /// The source came back.
    Untranslated,
    /// A good part of the source came back.
    PartlyUntranslated {
        kept: usize,
        words: usize,
    },
    /// Letters that the target language does not have, or a word of a language that is neither.
    Foreign {
        word: String,
    },
    /// Its English name, and its code.
    WrongLanguage {
        found: String,
        code: String,
    },
    Length {
        source: usize,
        target: usize,
    },
    Sentences {
        source: usize,
        target: usize,
    },
    /// It begins in the middle of a sentence, or ends there.
    Torn,
    Loop {
        repeated: String,
        times: usize,
    },
    /// A mark or separator of ours that is still there.
    Mark {
        mark: char,
    },
    /// The source once more, in brackets.
    Gloss {
        text: String,
    },
    /// Its words are those of another segment.
    Unrelated,
    /// The lines of a whole field, with what stands around their text, are not those of its source.
    Skeleton {
        field: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Empty => f.write_str("the translation is empty"),
            Finding::LineBreak => f.write_str("there is a line break inside"),
            Finding::Protected { part, expected, found } => {
                write!(f, "`{part}` is there {found} times instead of {expected}")
            }
            Finding::Digits { missing, added } => {
                let list =
                    |digits: &[String]| if digits.is_empty() { "none".into() } else { digits.join(", ") };
                write!(f, "the digits differ: missing {}, added {}", list(missing), list(added))
            }
            Finding::Untranslated => f.write_str("it came back untranslated"),
            Finding::PartlyUntranslated { kept, words } => {
                write!(f, "{kept} of {words} words came back untranslated")
            }
            Finding::Foreign { word } => write!(f, "`{word}` is of neither language"),
            Finding::WrongLanguage { found, .. } => write!(f, "it looks like {found}"),
            Finding::Length { source, target } => {
                write!(
                    f,
                    "{target} characters for {source} are too {}",
                    if target < source { "few" } else { "many" }
                )
            }
            Finding::Sentences { source, target } => write!(f, "{target} sentences for {source}"),
            Finding::Torn => f.write_str("it begins or ends in the middle of a sentence"),
            Finding::Loop { repeated, times } => write!(f, "`{repeated}` repeats {times} times"),
            Finding::Mark { mark } => write!(f, "`{mark}` is there, which the source does not have"),
            Finding::Gloss { text } => write!(f, "`({text})` repeats the source"),
            Finding::Unrelated => f.write_str("it seems to translate another text"),
            Finding::Skeleton { field } => {
                write!(f, "the skeleton of `{field}` is not that of its source")
            }
        }
    }
}
