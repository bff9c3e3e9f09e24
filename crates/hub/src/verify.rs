//! What the cache holds, and whether it still is what was fetched.

use crate::Hub;
use crate::digest::{Digest, digest_of};
use crate::error::{Error, Result};
use crate::progress::Progress;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What lies in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    pub repositories: usize,
    pub blobs: usize,
    pub bytes: u64,
    /// Bytes of downloads that were cut off.
    pub incomplete_bytes: u64,
}

/// A blob whose content is not what its name promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBlob {
    pub path: PathBuf,
    /// The folder of its repository in the cache.
    pub repository: String,
}

impl Hub {
    /// Count what lies in the cache.
    pub fn cache_figures(&self) -> CacheFigures {
        let mut figures = CacheFigures::default();
        for (_, folder) in repositories(&self.settings.cache) {
            figures.repositories += 1;
            for (path, bytes) in files(&folder.join("blobs")) {
                if path.extension().is_some_and(|e| e == "incomplete") {
                    figures.incomplete_bytes += bytes;
                } else {
                    figures.blobs += 1;
                    figures.bytes += bytes;
                }
            }
        }
        figures
    }

    /// Hash every blob, and name those that are not what they should be.
    ///
    /// # Errors
    /// A blob cannot be read.
    pub fn verify_cache(&self, progress: &dyn Progress) -> Result<Vec<BadBlob>> {
        let figures = self.cache_figures();
        progress.begin(figures.blobs, figures.bytes, 0);
        let mut bad = Vec::new();
        for (repository, folder) in repositories(&self.settings.cache) {
            for (path, bytes) in files(&folder.join("blobs")) {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if let Some(digest) = Digest::of_etag(&name) {
                    let file = File::open(&path).map_err(Error::io(&path))?;
                    if digest_of(file, digest, bytes).map_err(Error::io(&path))? != name {
                        bad.push(BadBlob { path, repository: repository.clone() });
                    }
                    progress.advance(bytes.cast_signed());
                }
            }
        }
        progress.end();
        Ok(bad)
    }
}

fn repositories(cache: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut repositories: Vec<_> =
        named.filter(|(name, _)| name.starts_with("models--") || name.starts_with("datasets--")).collect();
    repositories.sort();
    repositories
}

fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = fs::metadata(entry.path()).ok().filter(|m| m.is_file())?;
        Some((entry.path(), metadata.len()))
    });
    sizes.collect()
}

/// Bytes that may still be written where `path` is, or will be; `None` where the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|ancestor| ancestor.exists());
    free_on(there.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn free_on(folder: &Path) -> Option<u64> {
    let figures = rustix::fs::statvfs(folder).ok()?;
    Some(figures.f_bavail.saturating_mul(figures.f_frsize))
}

#[cfg(not(unix))]
fn free_on(_: &Path) -> Option<u64> {
    None
}
