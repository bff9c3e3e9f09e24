//! Output under a temporary name until it is proven.

use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder being made beside its final name. Dropped before [`Staged::publish`], it is removed.
pub(crate) struct Staged {
    target: PathBuf,
    staged: PathBuf,
    published: bool,
}

impl Staged {
    /// A folder, empty. One that is there already must be a model's to be replaced, and `force` must say so.
    ///
    /// # Errors
    /// The target may not be replaced; the folder cannot be made.
    pub fn folder(target: &Path, force: bool) -> Result<Self> {
        let is_taken = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some());
        if target.is_file() || (is_taken && !is_model(target)) {
            return Err(Error::NotOurs { path: target.to_path_buf() });
        }
        if is_taken && !force {
            return Err(Error::Exists { path: target.to_path_buf() });
        }
        let staged = Self::named(target);
        fs::create_dir_all(&staged.staged)
            .map_err(|source| Error::Write { path: staged.staged.clone(), source })?;
        Ok(staged)
    }

    /// A file.
    ///
    /// # Errors
    /// It is there already and `force` is not set.
    pub fn file(target: &Path, force: bool) -> Result<Self> {
        if target.is_dir() || (target.exists() && !force) {
            return Err(Error::Exists { path: target.to_path_buf() });
        }
        Ok(Self::named(target))
    }

    fn named(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let staged = target.with_file_name(format!(".{name}.unproven"));
        remove(&staged); // of a run that was killed
        Self { target: target.to_path_buf(), staged, published: false }
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        &self.staged
    }

    /// Put it under its final name.
    ///
    /// # Errors
    /// It cannot be renamed; what was there before stays.
    pub fn publish(mut self) -> Result<()> {
        let failed = |source| Error::Write { path: self.target.clone(), source };
        if self.target.is_dir() {
            // A folder cannot be renamed over another that holds something.
            let name = self.target.file_name().unwrap_or_default().to_string_lossy();
            let old = self.target.with_file_name(format!(".{name}.replaced"));
            remove(&old);
            fs::rename(&self.target, &old).map_err(failed)?;
            fs::rename(&self.staged, &self.target).map_err(|source| {
                let _ = fs::rename(&old, &self.target);
                Error::Write { path: self.target.clone(), source }
            })?;
            remove(&old);
        } else {
            fs::rename(&self.staged, &self.target).map_err(failed)?;
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            remove(&self.staged);
        }
    }
}

/// A file or folder of our own making.
fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
        && ["model.safetensors", "model.safetensors.index.json"]
            .iter()
            .any(|name| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("merged");
        let staged = Staged::folder(&target, false).unwrap();
        fs::write(staged.path().join("config.json"), "{}").unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for text in ["first", "second"] {
            let staged = Staged::folder(&target, true).unwrap();
            for name in ["config.json", "model.safetensors"] {
                fs::write(staged.path().join(name), text).unwrap();
            }
            staged.publish().unwrap();
            assert_eq!(fs::read_to_string(target.join("config.json")).unwrap(), text);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        assert!(matches!(Staged::folder(&target, false), Err(Error::Exists { .. })));
    }

    #[test]
    fn what_is_no_model_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letters.txt"), "dear").unwrap();
        assert!(matches!(Staged::folder(dir.path(), true), Err(Error::NotOurs { .. })));
        assert!(matches!(Staged::file(&dir.path().join("letters.txt"), false), Err(Error::Exists { .. })));
        assert!(matches!(Staged::file(dir.path(), true), Err(Error::Exists { .. })));
    }
}
