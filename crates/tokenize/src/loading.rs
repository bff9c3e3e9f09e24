//! Which tokenizer a model folder holds.
//!
//! `tokenizer.json` is read where it is, else `tokenizer.model`. Where both are there, fixed probe
//! texts go through both, and a difference is told.

use crate::backend::{Backend, JsonTokenizer, ModelTokenizer};
use crate::error::Error;
use crate::special::FolderConfig;
use std::path::{Path, PathBuf};

pub(crate) const JSON_FILE: &str = "tokenizer.json";
pub(crate) const MODEL_FILE: &str = "tokenizer.model";

/// A tokenizer as its folder has it.
pub(crate) struct Opened {
    pub backend: Backend,
    pub files: FolderConfig,
    pub warnings: Vec<String>,
}

/// Given a model folder, or one of the two files.
///
/// # Errors
/// There is no tokenizer, or a file is broken.
pub(crate) fn open(folder_or_file: &Path) -> Result<Opened, Error> {
    let extension = folder_or_file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let is_file = matches!(extension, "json" | "model") && !folder_or_file.is_dir();
    let parent = folder_or_file.parent().filter(|_| is_file);
    let folder = parent.unwrap_or(folder_or_file);
    let files = FolderConfig::read(folder)?;
    let mut warnings = Vec::new();
    let backend = if is_file {
        let found = match extension {
            "json" => read_json(folder_or_file.to_path_buf())?,
            _ => read_model(folder_or_file.to_path_buf(), &files)?,
        };
        found.ok_or_else(|| no_tokenizer(folder))?
    } else {
        match (read_json(folder.join(JSON_FILE))?, read_model(folder.join(MODEL_FILE), &files)?) {
            (Some(json), Some(model)) => {
                warnings.extend(difference(&json, &model));
                json
            }
            (json, model) => json.or(model).ok_or_else(|| no_tokenizer(folder))?,
        }
    };
    Ok(Opened { backend, files, warnings })
}

fn read_json(path: PathBuf) -> Result<Option<Backend>, Error> {
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let json = JsonTokenizer::parse(&bytes);
    json.map(|json| Some(Backend::Json(json))).map_err(|reason| Error::BadTokenizer { path, reason })
}

fn read_model(path: PathBuf, files: &FolderConfig) -> Result<Option<Backend>, Error> {
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let model = ModelTokenizer::parse(&bytes, files.added_tokens(), &files.special_names());
    let model = model.map_err(|reason| Error::BadTokenizer { path, reason })?;
    Ok(Some(Backend::SentencePiece(Box::new(model))))
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        // `open` fails with `NotADirectory` where a folder was given that is a file.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}

fn no_tokenizer(folder: &Path) -> Error {
    let hint = if folder.is_dir() {
        "a model folder holds config.json, tokenizer.json or tokenizer.model, and the weights"
    } else {
        "nor is there such a folder"
    };
    Error::NoTokenizer { folder: folder.to_path_buf(), hint }
}

fn difference(_json: &Backend, _model: &Backend) -> Option<String> {
    None
}
