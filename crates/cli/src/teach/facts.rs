//! What a stage's result depends on, and the marker that says for which facts a stage is done.

use crate::report::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use tolmach_model::Checkpoint;

/// Everything that a stage's result depends on, by name, as text: settings, and hashes of what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    pub fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.0.insert(name.to_string(), value.to_string());
        self
    }

    /// The content of a file that is read.
    pub fn with_file(self, name: &str, path: &Path) -> Result<Self, Failure> {
        Ok(self.with(name, &hash_file(path)?))
    }

    /// The settings of a recipe's section, but for those that change nothing in the result.
    pub fn with_section(
        mut self,
        name: &str,
        section: &impl Serialize,
        without: &[&str],
    ) -> Result<Self, Failure> {
        let mut value = serde_json::to_value(section)?;
        if let Value::Object(settings) = &mut value {
            settings.retain(|key, _| !without.contains(&key.as_str()));
        }
        self.add_leaves(&format!("[{name}]"), ' ', &value);
        Ok(self)
    }

    fn add_leaves(&mut self, name: &str, joint: char, value: &Value) {
        match value {
            Value::Object(map) => {
                map.iter()
                    .for_each(|(key, value)| self.add_leaves(&format!("{name}{joint}{key}"), '.', value));
            }
            // As if it had not been asked about.
            Value::Null => {}
            Value::String(text) => drop(self.0.insert(name.to_string(), text.clone())),
            other => drop(self.0.insert(name.to_string(), other.to_string())),
        }
    }

    /// What differs from the facts of an earlier run, for the user: `[train] epochs: 2 then, 3 now`.
    pub fn differences(&self, then: &Facts) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(then.0.keys()).collect();
        let changed = names.into_iter().filter(|name| self.0.get(*name) != then.0.get(*name));
        changed
            .map(|name| {
                let value = |of: &Facts| of.0.get(name).map_or("unset".to_string(), |value| shown(value));
                match name.starts_with('[') {
                    true => format!("{name}: {} then, {} now", value(then), value(self)),
                    false => format!("{name} changed"),
                }
            })
            .collect()
    }
}

/// A value on one short line.
fn shown(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None if value.contains(['\n', ' ']) => format!("{value:?}"),
        None => value.to_string(),
    }
}

/// `done.json` of a stage's folder: the stage is done for these facts, with these files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Marker {
    pub facts: Facts,
    /// Hashes of what the stage wrote and what later stages read, by name in its folder.
    pub outputs: BTreeMap<String, String>,
    pub seconds: f64,
    /// The program that did it.
    pub version: String,
    /// A line for the user.
    pub summary: String,
}

/// The marker of a stage that is done.
const DONE: &str = "done.json";
/// The facts of a stage that was begun.
const BEGUN: &str = "begun.json";

/// How far a stage is, given what it would depend on now.
#[derive(Debug)]
pub enum Status {
    Done(Marker),
    /// Begun for these very facts and cut off: what it has left behind is good to go on from.
    Begun,
    /// Not done, or done for something else: with the reason.
    ToDo(String),
}

impl Status {
    pub fn of(folder: &Path, facts: &Facts) -> Self {
        let marker: Marker = match read_json(&folder.join(DONE)) {
            Some(marker) => marker,
            None => {
                return match read_json::<Facts>(&folder.join(BEGUN)) {
                    Some(begun) if begun == *facts => Status::Begun,
                    Some(begun) => Status::ToDo(listed(&facts.differences(&begun))),
                    None => Status::ToDo("not done yet".to_string()),
                };
            }
        };
        let differences = facts.differences(&marker.facts);
        if !differences.is_empty() {
            return Status::ToDo(listed(&differences));
        }
        let damaged = |(name, hash): &(&String, &String)| {
            hash_file(&folder.join(name)).map_or(true, |now| now != **hash)
        };
        match marker.outputs.iter().find(damaged) {
            Some((name, _)) => Status::ToDo(format!("its {name} is missing or was changed")),
            None => Status::Done(marker),
        }
    }
}

fn listed(differences: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match differences.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Say that a stage begins for these facts: until it is done it is not. What an earlier run said must be
/// forgotten by then.
pub fn begin(folder: &Path, facts: &Facts) -> Result<(), Failure> {
    Ok(tolmach_durable::write(&folder.join(BEGUN), serde_json::to_string_pretty(facts)? + "\n")?)
}

/// Say that a stage is done.
pub fn finish(folder: &Path, marker: &Marker) -> Result<(), Failure> {
    tolmach_durable::write(&folder.join(DONE), serde_json::to_string_pretty(marker)? + "\n")?;
    remove(&folder.join(BEGUN))
}

/// Whatever a stage's folder holds, it is not done.
pub fn forget(folder: &Path) -> Result<(), Failure> {
    remove(&folder.join(DONE))?;
    remove(&folder.join(BEGUN))
}

/// Remove a file that may be missing.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::input(format!("cannot remove {}: {e}", path.display())))
        }
        _ => Ok(()),
    }
}

/// A file of ours that may be missing; one that is damaged counts as missing.
fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// 16 hexadecimal digits of a file's BLAKE3.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> Result<String, Failure> {
    let files = tolmach_corpus::data_files(path)?;
    let read = || -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for file in &files {
            hasher.update_reader(File::open(file)?)?;
        }
        Ok(hasher.finalize())
    };
    let hash = read().map_err(|e| Failure::input(format!("cannot read {}: {e}", path.display())))?;
    Ok(hash.to_hex()[..16].to_string())
}

/// Hashes of files in a folder, by name.
///
/// # Errors
/// One cannot be read.
pub fn hash_files(folder: &Path, names: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    names.iter().map(|name| Ok((name.to_string(), hash_file(&folder.join(name))?))).collect()
}

/// A name for the content of a model folder: weights, configuration and tokenizer.
///
/// # Errors
/// The weights cannot be opened.
pub fn fingerprint(model: &Path) -> Result<String, Failure> {
    let weights = Checkpoint::open_folder(model).map_err(crate::loading::model_failure)?.fingerprint();
    let mut hasher = blake3::Hasher::new();
    hasher.update(weights.as_bytes());
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model"] {
        let path: PathBuf = model.join(name);
        if path.exists() {
            hasher.update(format!("{name} {}", hash_file(&path)?).as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_corpus::CleanConfig;

    fn marker(folder: &Path, facts: &Facts) -> Marker {
        std::fs::write(folder.join("out"), "text").unwrap();
        let outputs = hash_files(folder, &["out"]).unwrap();
        Marker { facts: facts.clone(), outputs, seconds: 1.0, version: "0".into(), summary: "s".into() }
    }

    fn reason(folder: &Path, facts: &Facts) -> String {
        match Status::of(folder, facts) {
            Status::ToDo(reason) => reason,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_stage_is_done_for_its_facts_only() {
        let dir = tempfile::tempdir().unwrap();
        let facts = Facts::default().with("the examples", &"abc").with("[train] epochs", &2);
        assert_eq!(reason(dir.path(), &facts), "not done yet");
        begin(dir.path(), &facts).unwrap();
        assert!(matches!(Status::of(dir.path(), &facts), Status::Begun));
        let other = facts.clone().with("[train] epochs", &3).with("the examples", &"abd");
        assert_eq!(reason(dir.path(), &other), "[train] epochs: 2 then, 3 now; the examples changed");
        finish(dir.path(), &marker(dir.path(), &facts)).unwrap();
        assert!(matches!(Status::of(dir.path(), &facts), Status::Done(_)));
        assert_eq!(reason(dir.path(), &other), "[train] epochs: 2 then, 3 now; the examples changed");
        std::fs::write(dir.path().join("out"), "tex").unwrap();
        assert_eq!(reason(dir.path(), &facts), "its out is missing or was changed");
        forget(dir.path()).unwrap();
        assert_eq!(reason(dir.path(), &facts), "not done yet");
    }

    #[test]
    fn a_marker_that_was_cut_off_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let facts = Facts::default().with("a", &1);
        finish(dir.path(), &marker(dir.path(), &facts)).unwrap();
        let text = std::fs::read(dir.path().join(DONE)).unwrap();
        std::fs::write(dir.path().join(DONE), &text[..text.len() / 2]).unwrap();
        assert_eq!(reason(dir.path(), &facts), "not done yet");
    }

    #[test]
    fn sections_are_compared_setting_by_setting() {
        let facts = |config: &CleanConfig| {
            Facts::default().with_section("clean", config, &["report_examples"]).unwrap()
        };
        let mut config = CleanConfig::default();
        let before = facts(&config);
        config.report_examples += 1;
        assert_eq!(facts(&config), before);
        config.too_long.options_mut().max_field_chars = 77;
        config.code = tolmach_corpus::Switch::Off;
        let differences = facts(&config).differences(&before);
        assert!(
            differences
                .iter()
                .any(|d| d.ends_with("too_long.max_field_chars: 2000 then, 77 now") || d.contains("77 now")),
            "{differences:?}"
        );
        assert!(
            differences.iter().any(|d| d.starts_with("[clean] code: unset then, false now")),
            "{differences:?}"
        );
    }
}
