//! Which tokenizer a model folder holds.
//!
//! `tokenizer.json` is read where it is, else `tokenizer.model`. Where both are there, fixed probe
//! texts go through both, and a difference is told, with one of three outcomes:
//!
//! | they differ in | used | because |
//! |---|---|---|
//! | the vocabulary | `tokenizer.json` | `tokenizer.model` is another model's, left behind |
//! | ordinary sentences | `tokenizer.model` | `tokenizer.json` is a wrong conversion (transformers#24233): the base was trained with other ids |
//! | spaces only | `tokenizer.json` | transformers and vLLM read it, so a model is used with the ids it was taught with |
//!
//! The last row was measured: what transformers 5.23 makes of Llama 2's and of an open_llama-like
//! `tokenizer.model` differs from the `sentencepiece` package on texts that begin or end with a space
//! or hold a run of spaces (open_llama's own tokenizer collapses those: open_llama#40), and on no
//! other of 24,000 texts in English, Russian, code and nonsense.

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
        let json = read_json(folder.join(JSON_FILE))?;
        let model = match read_model(folder.join(MODEL_FILE), &files) {
            Err(unreadable) if json.is_some() => {
                warnings.push(format!("{unreadable}; tokenizer.json is used"));
                None
            }
            model => model?,
        };
        match (json, model) {
            (Some(json), Some(model)) => choose(json, model, &mut warnings),
            (json, model) => json.or(model).ok_or_else(|| no_tokenizer(folder))?,
        }
    };
    Ok(Opened { backend, files, warnings })
}

fn read_json(path: PathBuf) -> Result<Option<Backend>, Error> {
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let json = JsonTokenizer::parse(&bytes);
    json.map(|json| Some(Backend::Json(Box::new(json))))
        .map_err(|reason| Error::BadTokenizer { path, reason })
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
    } else if folder.extension().is_some_and(|extension| extension == "gguf") {
        "a GGUF file can be talked to (chat) and inspected; training, merging and exports begin with the folder \
         that it was made of"
    } else {
        "nor is there such a folder"
    };
    Error::NoTokenizer { folder: folder.to_path_buf(), hint }
}

/// Texts that every right conversion encodes alike.
const SENTENCES: &[&str] = &[
    "Below is an instruction that describes a task. Write a response that completes the request.",
    "The quick brown fox jumps over the lazy dog; isn't it 12,345.67 % quicker?",
    "Ниже дано задание. Напишите ответ, который полностью его выполняет.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю — №1 (2024 г.).",
    "Tschüß, señor: voilà l'été! naïve café",
    "def add(first, second): return first + second # {[<>]}",
    "https://example.org/a?b=c&d=%20",
    "漢字 かな 한국어 🦙",
];

/// Texts with spaces where conversions are known to differ.
const SPACED: &[&str] = &[" the first", "two  spaces", "x:\n    return x\n", "a\tb", "the last ", "a\n\nb"];

/// Of both tokenizers of one folder, the one to use.
fn choose(json: Backend, model: Backend, warnings: &mut Vec<String>) -> Backend {
    if !same_vocabulary(&json, &model) {
        warnings.push(
            "tokenizer.json and tokenizer.model have different vocabularies; tokenizer.json is used".into(),
        );
        return json;
    }
    if let Some(difference) = difference(&json, &model, SENTENCES) {
        warnings.push(format!(
            "tokenizer.json is a wrong conversion of tokenizer.model: {difference}. tokenizer.model is used; \
             remove tokenizer.json, which other programs prefer"
        ));
        return model;
    }
    if let Some(difference) = difference(&json, &model, SPACED) {
        warnings.push(format!(
            "tokenizer.json and tokenizer.model treat spaces differently: {difference}. tokenizer.json is \
             used, as by other programs; remove it for the ids of tokenizer.model"
        ));
    }
    json
}

/// All but a few pieces have the same id (a fine-tune may have renamed reserved ones).
fn same_vocabulary(json: &Backend, model: &Backend) -> bool {
    let pieces = model.vocab_size() as u32;
    let same = (0..pieces).filter(|&id| json.token_text(id) == model.token_text(id)).count();
    same * 100 >= pieces as usize * 99
}

/// The first text that the two encode differently, with both results.
fn difference(json: &Backend, model: &Backend, texts: &[&str]) -> Option<String> {
    let shown = |backend: &Backend, ids: &[u32]| {
        let texts: Vec<String> = ids.iter().filter_map(|&id| backend.token_text(id)).collect();
        texts.join("|")
    };
    texts.iter().find_map(|text| {
        // A text that one of them cannot encode at all counts as no tokens.
        let ids = |backend: &Backend| backend.encode(text).unwrap_or_default().ids;
        let (by_json, by_model) = (ids(json), ids(model));
        let (json, model) = (shown(json, &by_json), shown(model, &by_model));
        (by_json != by_model).then(|| format!("{text:?} is {json} by the first, {model} by the second"))
    })
}

#[cfg(test)]
#[path = "loading_tests.rs"]
mod tests;
