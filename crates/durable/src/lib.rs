//! Outputs that are whole or absent: written to a temporary name beside the target, synced, renamed.
//!
//! Whoever reads a file that this crate wrote reads all of it, even after `kill -9` or a power cut in
//! the middle of the write: the rename is the only moment at which the target changes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file that appears under its name only when [`AtomicFile::commit`] succeeds.
/// Dropped without a commit, it removes its temporary file and leaves the target as it was.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Open a temporary file beside `target`, making its folder if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or the temporary file cannot be opened; the message names the path.
    pub fn create(target: &Path) -> io::Result<Self> {
        let folder = folder_of(target);
        fs::create_dir_all(folder).map_err(|e| named(&e, "cannot make the folder", folder))?;
        let name = target.file_name().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", target.display()))
        })?;
        // The process id and the number keep two programs, and two threads of one, that write the same target
        // from sharing a temporary file.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary =
            folder.join(format!(".{}.{}-{number}.tmp", name.to_string_lossy(), std::process::id()));
        let file = File::create(&temporary).map_err(|e| named(&e, "cannot create", &temporary))?;
        Ok(Self {
            target: target.to_path_buf(),
            temporary,
            file: Some(BufWriter::with_capacity(1 << 18, file)),
        })
    }

    /// Flush, sync, rename to the target, sync the folder.
    ///
    /// # Errors
    /// Any of these fails (a full disk shows here); the target is then unchanged.
    pub fn commit(mut self) -> io::Result<()> {
        let Some(writer) = self.file.take() else { return Ok(()) };
        let finish = || -> io::Result<()> {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.temporary, &self.target)?;
            // The rename itself is durable only once the folder is; not every file system can sync one.
            if let Ok(folder) = File::open(folder_of(&self.target)) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        finish().map_err(|e| {
            let _ = fs::remove_file(&self.temporary);
            named(&e, "cannot write", &self.target)
        })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let target = &self.target;
        match &mut self.file {
            Some(file) => file.write(bytes).map_err(|e| named(&e, "cannot write", target)),
            None => Err(io::Error::other("written after commit")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Write `bytes` to `target`, whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write(target: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes.as_ref())?;
    file.commit()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

fn named(e: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_changes_only_at_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/er/file.txt");
        write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn two_writers_of_one_target_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file.txt");
        let (mut one, mut two) = (AtomicFile::create(&target).unwrap(), AtomicFile::create(&target).unwrap());
        one.write_all(b"one").unwrap();
        two.write_all(b"two and more").unwrap();
        one.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        two.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two and more");
    }

    #[test]
    fn dropped_without_commit_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file.txt");
        AtomicFile::create(&target).unwrap().write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_names_the_file_and_keeps_the_old_one() {
        // /dev/full takes no byte: a link to it stands in for a full disk.
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file.txt");
        write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.file = Some(BufWriter::new(File::options().write(true).open("/dev/full").unwrap()));
        file.write_all(b"new").unwrap(); // buffered: the failure comes at the flush
        let error = file.commit().unwrap_err();
        assert!(error.to_string().contains("file.txt"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file may stay");
    }
}
