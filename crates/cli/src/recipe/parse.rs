//! From the text of a recipe to what the user typed, with errors that name the line.

use super::Recipe;
use crate::report::Failure;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A recipe's text and where it is from: for errors, and for paths relative to it.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: PathBuf,
    pub text: String,
}

/// Read a recipe, with `--set section.key=value` applied in order.
///
/// # Errors
/// The file cannot be read (exit 3); it is no TOML, or has a section or setting that there is not, or a
/// value of the wrong kind (exit 2), with the line.
pub fn read(file: &Path, sets: &[String]) -> Result<(Recipe, Source), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::input(format!("cannot read the recipe {}: {e}", file.display())))?;
    let source = Source { file: file.to_path_buf(), text };
    Ok((source.parse(sets)?, source))
}

impl Source {
    /// # Errors
    /// As [`read`], but for the file.
    pub fn parse(&self, sets: &[String]) -> Result<Recipe, Failure> {
        let mut recipe: Recipe = toml::from_str(&self.text).map_err(|e| self.failure(&e))?;
        // The text is valid, so is its table; what fails from here on is the setting's fault.
        let mut table: toml::Table = toml::from_str(&self.text).map_err(|e| self.failure(&e))?;
        for setting in sets {
            let one = parse_setting(setting)?;
            merge(&mut table, one);
            recipe = Recipe::deserialize(table.clone()).map_err(|e| {
                let (message, hint) = plainly(e.message());
                Failure::usage(format!("--set {setting}: {message}")).maybe_hint(hint)
            })?;
        }
        Ok(recipe)
    }

    /// Put `FILE:LINE:` before the message of a setting that cannot be, where it begins with `[section] key`
    /// and the file has that key.
    pub fn locate(&self, mut failure: Failure) -> Failure {
        let message = failure.error.to_string();
        let file = self.file.display();
        let line = named_key(&message).and_then(|(section, key)| self.line_of_key(section, key));
        let place = line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        failure.error = anyhow::anyhow!("{place}: {message}");
        failure
    }

    fn failure(&self, error: &toml::de::Error) -> Failure {
        let file = self.file.display();
        let (message, hint) = plainly(error.message());
        let Some(span) = error.span() else {
            return Failure::usage(format!("{file}: {message}")).maybe_hint(hint);
        };
        let line = self.line_at(span.start);
        let section = self.section_at(line).map(|s| format!("[{s}] ")).unwrap_or_default();
        Failure::usage(format!("{file}:{line}: {section}{message}")).maybe_hint(hint)
    }

    /// Counted from 1.
    fn line_at(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|&&b| b == b'\n').count()
    }

    /// The header above a line; none where the line is a header itself.
    fn section_at(&self, line: usize) -> Option<&str> {
        let mut above = self.text.lines().take(line).collect::<Vec<_>>();
        if above.last()?.trim_start().starts_with('[') {
            return None;
        }
        above.reverse();
        let header = above.into_iter().find_map(|l| l.trim_start().strip_prefix('['))?;
        Some(header.split(']').next().unwrap_or(header).trim())
    }

    fn line_of_key(&self, section: &str, key: &str) -> Option<usize> {
        let table = DeTable::parse(&self.text).ok()?;
        let section = table.get_ref().iter().find(|(name, _)| name.get_ref() == section)?;
        let DeValue::Table(keys) = section.1.get_ref() else { return None };
        let (name, _) = keys.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.line_at(name.span().start))
    }
}

/// `[train] step_tokens = 0: …` → (`train`, `step_tokens`).
fn named_key(message: &str) -> Option<(&str, &str)> {
    let (section, rest) = message.strip_prefix('[')?.split_once("] ")?;
    let key = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    Some((section, key))
}

/// `section.key=value`; a value that is no TOML is taken for text, so that a shell needs no second quotes.
fn parse_setting(setting: &str) -> Result<toml::Table, Failure> {
    let wrong = || {
        Failure::usage(format!("--set {setting}: expected SECTION.KEY=VALUE"))
            .hint("for example --set train.epochs=2, --set train.schedule=linear")
    };
    let (key, value) = setting.split_once('=').ok_or_else(wrong)?;
    if !key.contains('.') {
        return Err(wrong());
    }
    let quoted = format!("{key}={}", toml::Value::from(value.trim()));
    setting.parse().or_else(|_| quoted.parse()).map_err(|_: toml::de::Error| wrong())
}

fn merge(table: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// serde's message in fewer words, and what was probably meant.
fn plainly(message: &str) -> (String, Option<String>) {
    let message = message.trim();
    let kinds = [("unknown field ", "there is no setting"), ("unknown variant ", "there is no choice")];
    let Some((rest, what)) =
        kinds.iter().find_map(|(prefix, what)| Some((message.strip_prefix(prefix)?, what)))
    else {
        return (message.to_string(), None);
    };
    // unknown field `a`, expected one of `b`, `c`
    let mut words = rest.split('`').skip(1).step_by(2);
    let Some(found) = words.next() else { return (message.to_string(), None) };
    let known: Vec<&str> = words.collect();
    let what = if known.contains(&"translate") { "there is no section" } else { what };
    let likeness = |word: &str| strsim::jaro_winkler(word, found);
    let closest = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match closest {
        Some(word) if likeness(word) > 0.8 => format!("did you mean `{word}`?"),
        _ => format!("there are {}", known.join(", ")),
    };
    (format!("{what} `{found}`"), (!known.is_empty()).then_some(hint))
}
