//! What `org/name[@revision][/path]` names.

use crate::error::{Error, Result};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// What a repository holds; the Hub keeps the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Model,
    DataSet,
}

impl Kind {
    /// As in `/api/models/…` and `models--org--name`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::DataSet => "datasets",
        }
    }

    /// As the Hub's requests spell it.
    pub fn api_name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::DataSet => "dataset",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::DataSet => "data set",
        }
    }
}

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repo {
    pub kind: Kind,
    /// `org/name`.
    pub id: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

pub const DEFAULT_REVISION: &str = "main";

impl Repo {
    /// `org/name`, `org/name@revision`; after it, with a slash, the path of one file.
    ///
    /// # Errors
    /// The text is no such name; the message says what is wrong with it.
    pub fn parse(text: &str, kind: Kind) -> Result<(Self, Option<String>)> {
        let bad = |reason: &str| Error::Name { name: text.to_string(), reason: reason.to_string() };
        let (org, rest) = text.split_once('/').ok_or_else(|| bad("expected org/name"))?;
        let end = rest.find(['/', '@']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        for part in [org, name] {
            check_part(part).map_err(bad)?;
        }
        let (revision, path) = match rest.strip_prefix('@') {
            // A revision may hold slashes (`refs/pr/1`): after it, a file is told apart by its ending.
            Some(rest) => split_revision(rest),
            None => (DEFAULT_REVISION, rest.strip_prefix('/')),
        };
        check_revision(revision).map_err(bad)?;
        let path = path.filter(|path| !path.is_empty());
        if let Some(path) = path {
            check_path(path).map_err(|reason| bad(&reason))?;
        }
        let repo = Self { kind, id: format!("{org}/{name}"), revision: revision.to_string() };
        Ok((repo, path.map(str::to_string)))
    }

    /// What a path in the cache is of, at its commit; after it the file's path, if it is a file's.
    pub fn of_cached(path: &Path) -> Option<(Self, Option<String>)> {
        let parts: Vec<&str> = path.iter().map(OsStr::to_str).collect::<Option<_>>()?;
        let at = parts.iter().rposition(|part| *part == "snapshots").filter(|at| *at > 0)?;
        let (folder, commit) = (parts[at - 1], parts.get(at + 1).filter(|commit| is_commit(commit))?);
        let (kind, name) = folder.split_once("--")?;
        let kind = [Kind::Model, Kind::DataSet].into_iter().find(|known| known.plural() == kind)?;
        let (org, name) = name.split_once("--")?;
        let file = Some(parts[at + 2..].join("/")).filter(|file| !file.is_empty());
        Some((Self { kind, id: format!("{org}/{name}"), revision: commit.to_string() }, file))
    }

    /// Whether a text can be such a name at all, so that it is worth asking the Hub.
    pub fn looks_like(text: &str) -> bool {
        Self::parse(text, Kind::Model).is_ok()
    }

    /// The folder in the cache.
    pub fn folder_name(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id.replace('/', "--"))
    }

    /// A revision that can never move.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if self.revision != DEFAULT_REVISION {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// A full commit hash.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `rev/path/file.json` → (`rev`, `path/file.json`); `refs/pr/1` stays whole.
fn split_revision(text: &str) -> (&str, Option<&str>) {
    let parts = if text.starts_with("refs/") { 3 } else { 1 };
    match text.match_indices('/').nth(parts - 1) {
        Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The Hub's rules for the two parts of a name.
fn check_part(part: &str) -> Result<(), &'static str> {
    if part.is_empty() || part.len() > 96 {
        return Err("each part of org/name has 1 to 96 characters");
    }
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("org/name consists of Latin letters, digits, `-`, `_` and `.`");
    }
    if part.starts_with(['-', '.'])
        || part.ends_with(['-', '.'])
        || part.contains("--")
        || part.contains("..")
    {
        return Err("a part of org/name has `-` or `.` at its ends, or twice in a row");
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), &'static str> {
    if revision.is_empty() {
        return Err("nothing follows the `@`");
    }
    // It becomes a path in the cache.
    let bad = |part: &str| part.is_empty() || part.starts_with('.');
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if revision.split('/').any(bad) || revision.contains(odd) {
        return Err("the revision is no branch, tag or commit");
    }
    Ok(())
}

/// A path within a repository is a path below a folder of ours: nothing in it may lead out.
///
/// # Errors
/// Why it may.
pub fn check_path(path: &str) -> Result<(), String> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.len() < 4096 && !path.contains(['\\', '\0', ':']) && path.split('/').all(plain) {
        Ok(())
    } else {
        Err(format!("`{}` is no path within a repository", path.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, Option<String>) {
        let (repo, path) = Repo::parse(text, Kind::Model).unwrap();
        (repo.id, repo.revision, path)
    }

    #[test]
    fn a_name_has_a_revision_and_a_path() {
        let expected = |id: &str, revision: &str, path: Option<&str>| {
            (id.to_string(), revision.to_string(), path.map(str::to_string))
        };
        assert_eq!(parsed("a/b"), expected("a/b", "main", None));
        assert_eq!(parsed("a/b@v1.0"), expected("a/b", "v1.0", None));
        assert_eq!(parsed("a/b.c/data/x.json"), expected("a/b.c", "main", Some("data/x.json")));
        assert_eq!(parsed("a/b@v1/x.gguf"), expected("a/b", "v1", Some("x.gguf")));
        assert_eq!(parsed("a/b@refs/pr/12"), expected("a/b", "refs/pr/12", None));
        assert_eq!(parsed("a/b@refs/pr/12/x.json"), expected("a/b", "refs/pr/12", Some("x.json")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "a",
            "/a/b",
            "./a",
            "../a/b",
            "a/",
            "~/a",
            "a b/c",
            "a/b@",
            "a--b/c",
            "a/..",
            "a/.b",
            "ы/б",
            "a/b@../../x",
            "a/b@x y",
            "a/b/../../etc/passwd",
            "a/b//x",
            "a/b@v1/../x",
            "C:\\a/b",
            "a/b@.hidden",
        ] {
            assert!(!Repo::looks_like(text), "{text}");
        }
    }

    #[test]
    fn names_of_folders() {
        let (repo, _) = Repo::parse("yahma/alpaca-cleaned", Kind::DataSet).unwrap();
        assert_eq!(repo.folder_name(), "datasets--yahma--alpaca-cleaned");
        assert!(!repo.is_pinned() && is_commit(&"0a".repeat(20)) && !is_commit(&"0A".repeat(20)));
    }
}
