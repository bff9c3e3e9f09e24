//! What lies in the folders that the operator named: runs, report cards, review files.
//!
//! A folder is looked at itself, and its sub-folders one level down; each may be a run of `tolmach teach`,
//! whose stages lie in folders of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The stages' folders of a run of `tolmach teach`.
const TRANSLATED: &str = "02-translate/examples.jsonl";
const ADAPTER: &str = "03-adapter";
const CARD: &str = "04-card";

/// What is added to a data set's name for its review file.
const REVIEW_SUFFIX: &str = ".review.jsonl";

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// For people; not unique.
    pub name: String,
    /// For requests: tells nothing of where it lies.
    pub id: String,
    /// The run's or card's folder; the data set's file.
    pub path: PathBuf,
}

/// Trainings: folders with metrics or the record of a training.
pub fn trainings(roots: &[PathBuf]) -> Vec<Found> {
    let is_run =
        |path: &Path| ["training.json", "metrics.jsonl"].iter().any(|file| path.join(file).is_file());
    look(roots, ADAPTER, is_run)
}

/// Report cards: folders with `card.json`.
pub fn cards(roots: &[PathBuf]) -> Vec<Found> {
    look(roots, CARD, |path| path.join("card.json").is_file())
}

/// Translated data sets with what was set aside of them: those that were named, and those of the runs.
pub fn translations(reviews: &[PathBuf], roots: &[PathBuf]) -> Vec<Found> {
    let there = |path: &Path| path.is_file() || review_file(path).is_file();
    let named = reviews.iter().map(|path| data_set(path)).filter(|path| there(path));
    let named: Vec<Found> = named.map(|path| found(file_name(&path), &path)).collect();
    merge(named.into_iter().chain(look(roots, TRANSLATED, there)))
}

/// The review file beside a data set.
pub fn review_file(data_set: &Path) -> PathBuf {
    let mut name = data_set.as_os_str().to_owned();
    name.push(REVIEW_SUFFIX);
    name.into()
}

/// The data set of a review file; any other file is one itself.
fn data_set(path: &Path) -> PathBuf {
    let stem = path.to_str().and_then(|name| name.strip_suffix(REVIEW_SUFFIX));
    stem.map_or_else(|| path.to_path_buf(), PathBuf::from)
}

/// Every place that `is_it`: a root, its stage, a sub-folder, that one's stage.
fn look(roots: &[PathBuf], stage: &str, is_it: impl Fn(&Path) -> bool) -> Vec<Found> {
    let below = |root: &PathBuf| {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        [vec![root.clone()], folders].concat()
    };
    let places = roots.iter().flat_map(below).flat_map(|folder| [folder.join(stage), folder]);
    merge(places.filter(|path| is_it(path)).map(|path| found(name(&path, stage), &path)))
}

/// The folder's own name, or for a stage that of its run.
fn name(path: &Path, stage: &str) -> String {
    let folder = match path.ends_with(stage) {
        true => path.ancestors().nth(Path::new(stage).components().count()).unwrap_or(path),
        false => path,
    };
    // A run given as `.` or `..` has a name all the same.
    file_name(&folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn found(name: String, path: &Path) -> Found {
    // A data set may be away while its review file is there: its folder is, in any case.
    let whole = path.canonicalize().or_else(|_| {
        let folder = path.parent().unwrap_or(path).canonicalize();
        folder.map(|folder| folder.join(path.file_name().unwrap_or_default()))
    });
    let path = whole.unwrap_or_else(|_| path.to_path_buf());
    let id = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()[..12].to_string();
    Found { name, id, path }
}

/// In order of names, each thing once.
fn merge(all: impl Iterator<Item = Found>) -> Vec<Found> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<Found> = all.filter(|found| seen.insert(found.id.clone())).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[Found]) -> Vec<&str> {
        all.iter().map(|found| found.name.as_str()).collect()
    }

    #[test]
    fn runs_are_found_under_their_own_names_and_once() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "runs/alpaca/03-adapter/metrics.jsonl",
            "runs/alpaca/04-card/card.json",
            "runs/alpaca/02-translate/examples.jsonl",
            "runs/plain/training.json",
            "runs/other/notes.txt",
            "single.jsonl.review.jsonl",
        ] {
            tolmach_durable::write(&dir.path().join(file), "").unwrap();
        }
        let roots = [dir.path().join("runs"), dir.path().join("runs/alpaca"), dir.path().join("runs/plain")];
        assert_eq!(names(&trainings(&roots)), ["alpaca", "plain"]);
        assert_eq!(names(&cards(&roots)), ["alpaca"]);
        let reviews = [dir.path().join("single.jsonl.review.jsonl"), dir.path().join("not-there.jsonl")];
        let all = translations(&reviews, &roots);
        assert_eq!(names(&all), ["alpaca", "single.jsonl"]);
        assert!(review_file(&all[1].path).is_file());
        assert!(all[0].id.len() == 12 && all[0].id != all[1].id);
    }
}
