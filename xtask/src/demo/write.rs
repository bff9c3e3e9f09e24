//! Where the texts lie in the folder of assets.

use super::memory::to_tmx;
use super::rows::Row;
use super::{Texts, TokenizerFiles};
use anyhow::Result;
use std::path::Path;
use tolmach_corpus::{Example, write_examples};

/// Write everything but the model's weights into `folder`.
///
/// # Errors
/// A file cannot be written; the message names it.
pub fn write_texts(texts: &Texts, tokenizer: &TokenizerFiles, folder: &Path) -> Result<()> {
    let data = folder.join("data");
    write_examples(&data.join("instructions.en.jsonl"), &texts.instructions)?;
    tolmach_durable::write(&data.join("memory.en-ru.tmx"), to_tmx(&texts.memory))?;
    for (name, rows) in [("validation", &texts.validation), ("test", &texts.test)] {
        let write = |language: &str, examples: Vec<Example>| {
            write_examples(&data.join(format!("{name}.{language}.jsonl")), &examples)
        };
        write("en", rows.iter().map(Row::english).collect())?;
        write("ru", rows.iter().map(Row::russian).collect())?;
    }
    let model = folder.join("model");
    tolmach_durable::write(&model.join("tokenizer.json"), &tokenizer.tokenizer)?;
    tolmach_durable::write(&model.join("tokenizer_config.json"), &tokenizer.config)?;
    Ok(())
}

/// Write one epoch of the base model's pretraining as JSONL, for a look or for another trainer.
///
/// # Errors
/// The file cannot be written.
pub fn write_pretraining(texts: &Texts, file: &Path) -> Result<()> {
    Ok(write_examples(file, &texts.pretraining)?)
}
