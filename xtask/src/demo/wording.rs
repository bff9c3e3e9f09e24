//! How a task becomes an instruction: wordings with slots, in both languages at once.

use anyhow::{Result, bail};

/// The same thing in English and in Russian.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bilingual {
    pub en: String,
    pub ru: String,
}

/// A [`Bilingual`] from anything that can become text.
pub fn both(en: impl Into<String>, ru: impl Into<String>) -> Bilingual {
    Bilingual { en: en.into(), ru: ru.into() }
}

/// What a wording, or a reserved task, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// May occur in the instruction set that is cleaned, translated and trained on.
    Training,
    /// Only in the validation set.
    Validation,
    /// Only in the test set.
    Test,
}

/// One way of putting the question, in both languages. `{x}` is replaced by the task's slot `x`,
/// `{X}` by the same with a capital letter.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    pub role: Role,
    pub en: Pattern,
    pub ru: Pattern,
}

/// The fields before the answer, with slots.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    pub instruction: &'static str,
    /// Empty where the instruction says everything.
    pub input: &'static str,
}

const fn pattern(instruction: &'static str) -> Pattern {
    Pattern { instruction, input: "" }
}

pub const fn training(en: &'static str, ru: &'static str) -> Wording {
    Wording { role: Role::Training, en: pattern(en), ru: pattern(ru) }
}

pub const fn validation(en: &'static str, ru: &'static str) -> Wording {
    Wording { role: Role::Validation, en: pattern(en), ru: pattern(ru) }
}

pub const fn test(en: &'static str, ru: &'static str) -> Wording {
    Wording { role: Role::Test, en: pattern(en), ru: pattern(ru) }
}

impl Wording {
    /// The same wording with its subject in the input field.
    pub const fn with_input(mut self, en: &'static str, ru: &'static str) -> Self {
        self.en.input = en;
        self.ru.input = ru;
        self
    }
}

/// What fills a wording's slots in one language: name and text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<(&'static str, String)>);

impl Slots {
    pub fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.0.push((name, text.into()));
        self
    }

    #[cfg(test)]
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, text)| text.as_str())
    }

    /// `pattern` with every slot filled.
    ///
    /// # Errors
    /// A slot that this task does not have, or a brace without its partner.
    pub fn fill(&self, pattern: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                bail!("a brace is not closed in {pattern:?}");
            };
            let lower = name.to_ascii_lowercase();
            let Some((_, text)) = self.0.iter().find(|(n, _)| *n == lower) else {
                bail!("{pattern:?} wants {{{name}}}; the task has {:?}", self.0);
            };
            filled.push_str(&if lower == name { text.clone() } else { capitalised(text) });
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The text with its first letter large.
pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_and_a_capital_name_gives_a_capital_letter() {
        let slots = Slots::default().with("x", "ёж").with("y", "a cat");
        assert_eq!(slots.fill("{X} и {x}: {y}.").unwrap(), "Ёж и ёж: a cat.");
    }

    #[test]
    fn an_unknown_slot_is_named() {
        let error = Slots::default().with("x", "a").fill("Is it {z}?").unwrap_err().to_string();
        assert!(error.contains("{z}") && error.contains("Is it"), "{error}");
    }
}
