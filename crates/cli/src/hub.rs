//! `org/name[@revision]` wherever a path is taken. What is there on this machine wins; else the Hub is asked.

use crate::report::{Exit, Failure};
use crate::ui::Ui;
use indicatif::{HumanBytes, ProgressBar};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tolmach_hub::{Error, Fetched, Hub, Kind, Progress, Repo, Settings, Wanted};

/// What says that a name is the Hub's, whatever lies here.
const SCHEME: &str = "hf://";

/// The folder of a model: as named, or fetched.
///
/// # Errors
/// It is not here, and the Hub does not give it.
pub fn model(path: &Path, ui: &Ui) -> Result<PathBuf, Failure> {
    locate(path, Kind::Model, Wanted::Model, ui)
}

/// What is known of a model without its weights: a folder with configuration and tokenizer, and how many bytes the
/// weights take at the Hub. `None`: it is named as a path.
///
/// # Errors
/// As [`model`].
pub fn config(path: &Path, ui: &Ui) -> Result<Option<(PathBuf, Option<u64>)>, Failure> {
    let found = ask(path, Kind::Model, Wanted::Config, ui)?;
    Ok(found.map(|fetched| (fetched.path, fetched.weights)))
}

/// The folder of an adapter.
///
/// # Errors
/// As [`model`].
pub fn adapter(path: &Path, ui: &Ui) -> Result<PathBuf, Failure> {
    locate(path, Kind::Model, Wanted::Adapter, ui)
}

/// The folder of a tokenizer; weights stay where they are.
///
/// # Errors
/// As [`model`].
pub fn tokenizer(path: &Path, ui: &Ui) -> Result<PathBuf, Failure> {
    locate(path, Kind::Model, Wanted::Tokenizer, ui)
}

/// The file of a data set, or the pattern of its parts: `org/name`, or a file of it by `org/name/path`.
///
/// # Errors
/// As [`model`]; the data set has several files that are no parts of one, and none is named.
pub fn data(path: &Path, ui: &Ui) -> Result<PathBuf, Failure> {
    locate(path, Kind::DataSet, Wanted::DataFile, ui)
}

/// For paths that may be absent: nothing stays nothing.
///
/// # Errors
/// Those of `find`.
pub fn optional(
    path: Option<&Path>,
    find: fn(&Path, &Ui) -> Result<PathBuf, Failure>,
    ui: &Ui,
) -> Result<Option<PathBuf>, Failure> {
    path.map(|path| find(path, ui)).transpose()
}

/// Whether a path that a recipe names is to be looked for at the Hub, not beside the recipe.
pub fn is_remote(path: &Path, kind: Kind) -> bool {
    name_in(path, kind).is_some()
}

/// How people call what lies in the cache: `org/name`; anything else is its own name.
pub fn shown(path: &Path) -> String {
    match Repo::of_cached(path) {
        Some((repo, None)) => repo.id,
        Some((repo, Some(file))) => format!("{}/{file}", repo.id),
        None => path.display().to_string(),
    }
}

/// The same with the commit, so that it means the same tomorrow; `None`: it is not from the Hub.
pub fn pinned(path: &Path) -> Option<PathBuf> {
    let (repo, file) = Repo::of_cached(path)?;
    let file = file.map(|file| format!("/{file}")).unwrap_or_default();
    Some(format!("{repo}{file}").into())
}

fn locate(path: &Path, kind: Kind, wanted: Wanted, ui: &Ui) -> Result<PathBuf, Failure> {
    Ok(ask(path, kind, wanted, ui)?.map_or_else(|| path.to_path_buf(), |fetched| fetched.path))
}

/// What the Hub gives; `None`: the path is none of its names.
fn ask(path: &Path, kind: Kind, wanted: Wanted, ui: &Ui) -> Result<Option<Fetched>, Failure> {
    let Some(name) = name_in(path, kind) else { return Ok(None) };
    let also_local = (!is_explicit(path)).then(|| path.display().to_string());
    let (repo, file) = Repo::parse(&name, kind).map_err(failure)?;
    let wanted = file.map_or(wanted, Wanted::File);
    let progress: Arc<dyn Progress> = Arc::new(Bar::new(&repo, "fetch", ui));
    let fetched = Hub::new(Settings::from_env()).and_then(|hub| hub.fetch(&repo, &wanted, &progress));
    let fetched = fetched.map_err(|error| {
        let failure = failure(error);
        let hint = failure.hint.clone().unwrap_or_default();
        match also_local {
            Some(path) => {
                let read = format!("`{path}` is no file or folder here, so it was read as a name at the Hub");
                failure.hint(if hint.is_empty() { read } else { format!("{read}; {hint}") })
            }
            None => failure,
        }
    })?;
    if fetched.bytes > 0 {
        ui.say(format!("{repo}: {} fetched, commit {}", HumanBytes(fetched.bytes), &fetched.commit[..8]));
    }
    Ok(Some(fetched))
}

fn is_explicit(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

/// The name at the Hub that a path is meant as, if it is.
fn name_in(path: &Path, kind: Kind) -> Option<String> {
    let text = path.to_str()?;
    if let Some(name) = text.strip_prefix(SCHEME) {
        // As other tools write it: hf://datasets/org/name.
        let prefix = format!("{}/", kind.plural());
        return Some(name.strip_prefix(&prefix).unwrap_or(name).to_string());
    }
    if path.exists() || !Repo::looks_like(text) {
        return None;
    }
    let parts: Vec<&str> = text.split('/').collect();
    // A mistyped file name is no reason to ask the network.
    let is_local = match parts[..] {
        [_, name] => kind == Kind::DataSet && has_data_ending(name),
        _ => Path::new(parts[0]).is_dir(),
    };
    (!is_local).then(|| text.to_string())
}

fn has_data_ending(name: &str) -> bool {
    let endings = [".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst", ".txt", ".csv"];
    endings.iter().any(|end| name.ends_with(end))
}

/// An error of the Hub with its hint and exit code.
pub fn failure(error: Error) -> Failure {
    let exit = match &error {
        Error::Name { .. } | Error::NoToken | Error::Setup { .. } | Error::SeveralDataFiles { .. } => {
            Exit::Usage
        }
        error if error.is_network() => Exit::Network,
        _ => Exit::Input,
    };
    let hint = error.hint();
    Failure::from(error).exit(exit).maybe_hint(hint)
}

/// One bar over all bytes.
pub struct Bar {
    what: String,
    /// What is done with the bytes.
    verb: &'static str,
    ui: Ui,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    pub fn new(repo: &Repo, verb: &'static str, ui: &Ui) -> Self {
        Self { what: repo.id.clone(), verb, ui: ui.clone(), bar: Mutex::new(None) }
    }

    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        // A bar that a panic elsewhere left half drawn is still a bar.
        act(&mut self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, files: usize, bytes: u64, present: u64) {
        self.with(|bar| match bar {
            Some(bar) => bar.inc_length(bytes),
            None => {
                let more =
                    if present > 0 { format!(", {} of it here", HumanBytes(present)) } else { String::new() };
                let files = if files == 1 { "1 file".into() } else { format!("{files} files") };
                self.ui.say(format!("{}: {files}, {}{more}", self.what, HumanBytes(bytes)));
                *bar = Some(self.ui.bytes_bar(bytes, self.verb));
            }
        });
    }

    fn advance(&self, bytes: i64) {
        self.with(|bar| {
            if let Some(bar) = bar {
                bar.set_position(bar.position().saturating_add_signed(bytes));
            }
        });
    }

    fn note(&self, message: &str) {
        self.with(|bar| match bar {
            Some(bar) => bar.suspend(|| self.ui.say(message)),
            None => self.ui.say(message),
        });
    }

    fn end(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, kind: Kind) -> Option<String> {
        name_in(Path::new(path), kind)
    }

    #[test]
    fn a_path_is_a_name_only_where_it_can_be_none_of_this_machine() {
        let yes = |path: &str| Some(path.to_string());
        assert_eq!(name("no-such-org/model", Kind::Model), yes("no-such-org/model"));
        assert_eq!(name("no-such-org/model@v1/x.gguf", Kind::Model), yes("no-such-org/model@v1/x.gguf"));
        assert_eq!(name("no-such-org/data", Kind::DataSet), yes("no-such-org/data"));
        assert_eq!(name("hf://datasets/a/b", Kind::DataSet), yes("a/b"));
        assert_eq!(name("hf://a/b@v1", Kind::Model), yes("a/b@v1"));
        // Here: the folder of this crate.
        assert_eq!(name("src/main.rs", Kind::DataSet), None);
        assert_eq!(name("src/no/such.jsonl", Kind::DataSet), None);
        assert_eq!(name("no-such-folder/train.jsonl", Kind::DataSet), None);
        for path in ["-", "model", "./a/b", "/a/b", "../a/b"] {
            assert_eq!(name(path, Kind::Model), None, "{path}");
        }
    }

    #[test]
    fn what_lies_in_the_cache_has_its_name() {
        let commit = "0a".repeat(20);
        let folder = format!("/c/hub/models--org--name/snapshots/{commit}");
        assert_eq!(shown(Path::new(&folder)), "org/name");
        assert_eq!(pinned(Path::new(&folder)).unwrap(), Path::new(&format!("org/name@{commit}")));
        let file = format!("/c/hub/datasets--org--name/snapshots/{commit}/data/train.jsonl");
        assert_eq!(shown(Path::new(&file)), "org/name/data/train.jsonl");
        assert_eq!(shown(Path::new("models/llama")), "models/llama");
        assert_eq!(pinned(Path::new("models/llama")), None);
    }
}
