//! The cache that is shared with `huggingface_hub`:
//!
//! ```text
//! models--org--name/
//!   blobs/<etag>                         the content, once
//!   blobs/<etag>.incomplete              what has arrived of it
//!   refs/main                            the commit that the branch was
//!   snapshots/<commit>/config.json    -> ../../blobs/<etag>
//!   .no_exist/<commit>/merges.txt        the commit has no such file
//!   trees/<commit>.json                  all files that it has
//! .locks/models--org--name/<etag>.lock   one download at a time
//! ```

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repo::{Repo, is_commit};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                   # This file is a cache directory tag created by tolmach.\n\
                   # For information about cache directory tags, see https://bford.info/cachedir/\n";

/// One repository's part of the cache.
#[derive(Clone, Debug)]
pub struct RepoCache {
    root: PathBuf,
    name: String,
}

impl RepoCache {
    pub fn new(root: &Path, repo: &Repo) -> Self {
        Self { root: root.to_path_buf(), name: repo.folder_name() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// What has arrived of a blob; only who holds its lock writes it.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(format!("{etag}.incomplete"))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    pub fn tree(&self, commit: &str) -> PathBuf {
        self.folder().join("trees").join(format!("{commit}.json"))
    }

    /// The commit that a branch or tag was when it was fetched last.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let text = fs::read_to_string(self.folder().join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Make the folders, and tell backup programs that they may skip them.
    pub fn prepare(&self) -> Result<()> {
        let blobs = self.folder().join("blobs");
        fs::create_dir_all(&blobs).map_err(Error::io(&blobs))?;
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            let _ = fs::write(tag, TAG); // a courtesy
        }
        Ok(())
    }

    /// Remember what a branch or tag is now. A cache that may only be read does without.
    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder().join("refs").join(revision);
        tolmach_durable::write(&path, commit).map_err(Error::io(path))
    }

    pub fn write_tree(&self, commit: &str, text: &str) -> Result<()> {
        let path = self.tree(commit);
        tolmach_durable::write(&path, text).map_err(Error::io(path))
    }

    /// Remember that a commit has no such file, for those who ask for each by name.
    pub fn set_absent(&self, commit: &str, path: &str) {
        let marker = self.folder().join(".no_exist").join(commit).join(path);
        if let Some(folder) = marker.parent().filter(|_| !marker.exists()) {
            // A courtesy to other programs: what it would save them is a question to the Hub.
            let _ = fs::create_dir_all(folder).and_then(|()| File::create(&marker));
        }
    }

    /// Make the blob appear under its path in the snapshot.
    pub fn link(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(path);
        let folder = pointer.parent().unwrap_or(&self.root).to_path_buf();
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        // From the pointer's folder up to the repository's.
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        match fs::read_link(&pointer) {
            Ok(old) if old == target => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            _ => fs::remove_file(&pointer).map_err(Error::io(&pointer))?,
        }
        match place(&target, &self.blob(etag), &pointer) {
            // Somebody else was quicker.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(Error::io(pointer)),
        }
    }

    /// Hold the right to write a blob, alone among all programs that share the cache.
    pub async fn lock(&self, etag: &str, what: &str, progress: &Arc<dyn Progress>) -> Result<Lock> {
        let path = self.root.join(".locks").join(&self.name).join(format!("{etag}.lock"));
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut said = false;
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(Error::io(&path))?;
            match file.try_lock() {
                // A lock on a file that its owner removed in the meantime locks nobody out.
                Ok(()) if is_same_file(&file, &path) => return Ok(Lock(file)),
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(Error::io(path)(e)),
            }
            if !said {
                progress.note(&format!("another program is fetching {what}: waiting for it"));
                said = true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Given back when dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "closing it gives the lock back")] File);

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |m: fs::Metadata| (m.dev(), m.ino());
    file.metadata().map(identity).ok() == fs::metadata(path).map(identity).ok()
}

#[cfg(not(unix))]
fn is_same_file(_: &File, _: &Path) -> bool {
    true
}

#[cfg(unix)]
fn place(target: &Path, _: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

/// Where links need a right of their own, the file has two names, or is copied.
#[cfg(not(unix))]
fn place(_: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::hard_link(blob, pointer).or_else(|_| fs::copy(blob, pointer).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::repo::Kind;

    fn cache(root: &Path) -> RepoCache {
        RepoCache::new(root, &Repo::parse("a/b", Kind::Model).unwrap().0)
    }

    #[test]
    fn a_pointer_leads_to_its_blob_from_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        cache.prepare().unwrap();
        fs::write(cache.blob("e1"), "one").unwrap();
        fs::write(cache.blob("e2"), "two").unwrap();
        let commit = "0".repeat(40);
        for path in ["config.json", "data/x/train.json"] {
            for (etag, text) in [("e1", "one"), ("e1", "one"), ("e2", "two")] {
                cache.link(&commit, path, etag).unwrap();
                assert_eq!(fs::read_to_string(cache.snapshot(&commit).join(path)).unwrap(), text);
            }
        }
        assert!(dir.path().join("CACHEDIR.TAG").exists());
    }

    #[test]
    fn a_ref_is_a_commit_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        assert_eq!(cache.commit_of("main"), None);
        cache.set_ref("refs/pr/1", &"a".repeat(40)).unwrap();
        assert_eq!(cache.commit_of("refs/pr/1"), Some("a".repeat(40)));
        fs::write(dir.path().join("models--a--b/refs/main"), "../../elsewhere").unwrap();
        assert_eq!(cache.commit_of("main"), None);
    }

    #[tokio::test]
    async fn the_second_waits_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        let first = cache.lock("e", "x", &progress).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(250), cache.lock("e", "x", &progress)).await;
        assert!(second.is_err(), "two hold one lock");
        drop(first);
        cache.lock("e", "x", &progress).await.unwrap();
    }
}
