//! A data set that is cut into several files is named by a pattern.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// Whether a path stands for several files: its last part has a `*`, and no file has just that name.
pub fn is_pattern(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().contains(&b'*') && !path.exists()
}

/// The files that a path stands for, in the order of their names: itself, or for a pattern (`train-*.parquet`) all of that
/// folder that match.
///
/// # Errors
/// No file matches, or the folder cannot be read.
pub fn data_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !is_pattern(path) {
        return Ok(vec![path.to_path_buf()]);
    }
    let no_match = || Error::NoMatch { pattern: path.display().to_string() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_match)?;
    let name = glob::Pattern::new(name).map_err(|_| no_match())?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let open = |source| Error::Open { file: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(open)? {
        let entry = entry.map_err(open)?;
        // A link to a file, as the Hub's cache has them, is one.
        if entry.file_name().to_str().is_some_and(|file| name.matches(file)) && entry.path().is_file() {
            files.push(path.with_file_name(entry.file_name()));
        }
    }
    files.sort();
    if files.is_empty() { Err(no_match()) } else { Ok(files) }
}
