//! The texts of the offline demo, made from the word lists and the grammar of this folder alone.
//!
//! ```text
//! kinds (wordings × tasks) ──rows──▶ training ──▶ instructions.en.jsonl (+ dirt), memory.en-ru.tmx
//!                                  ▶ validation, test ──▶ validation.{ru,en}.jsonl, test.{ru,en}.jsonl
//!                                  ▶ pretraining (English) + plain sentences (both) ──▶ the base model
//! training + plain + pretraining ──tokenizer──▶ tokenizer.json
//! ```
//!
//! The same seed gives the same bytes. What is held out from what is said in `assets/demo/README.md`
//! and proved by the tests in `held_out`.

mod dirt;
mod grammar;
#[cfg(test)]
mod held_out;
mod kinds;
mod memory;
mod parallel;
mod plain;
mod pretrain;
mod random;
mod rows;
mod speech;
mod stories;
mod summary;
mod tokenizer;
mod wording;
mod words;
mod write;

pub use pretrain::{Pretraining, pretrain};
pub use random::SEED;
pub use summary::summarise;
pub use tokenizer::TokenizerFiles;
pub use write::{write_pretraining, write_texts};

use anyhow::{Context, Result};
use random::Stream;
use rows::{Row, example};
use tolmach_corpus::{Body, Example};
use tolmach_tokenize::PromptTemplate;
use wording::Bilingual;

/// The template of the base model's pretraining, and of English examples.
pub const ENGLISH_TEMPLATE: &str = "alpaca-en-short";
/// The template of Russian examples.
pub const RUSSIAN_TEMPLATE: &str = "alpaca-ru-short";

const PLAIN_ENGLISH: usize = 1_500;
const PLAIN_RUSSIAN: usize = 6_000;
/// Sentences in one language, then in the other.
const PARALLEL: usize = 2_500;
/// How often each line of the dictionary comes.
const DICTIONARY_COPIES: usize = 2;

/// All texts of the demo.
pub struct Texts {
    /// The English instruction set as it is before cleaning.
    pub instructions: Vec<Example>,
    /// Its rows without dirt, in both languages.
    pub training: Vec<Row>,
    pub memory: Vec<Bilingual>,
    pub validation: Vec<Row>,
    pub test: Vec<Row>,
    /// One epoch of the base model's pretraining: English instructions (alpaca), and plain sentences in
    /// both languages (text). Train on whole texts, prompts included.
    pub pretraining: Vec<Example>,
}

/// Make all texts under `seed`.
///
/// # Errors
/// The word lists contradict each other; the message names the row.
pub fn texts(seed: u64) -> Result<Texts> {
    let mut split = rows::split(&kinds::all(seed), seed)?;
    let stories = stories::rows();
    split.training.extend(stories.iter().cloned());
    let memory = memory::build(&split.training)?;

    let mut stream = Stream::named(seed, "order of the instructions");
    let mut instructions: Vec<Example> =
        split.training.iter().map(Row::english).chain(dirt::rows()).collect();
    stream.shuffle(&mut instructions);
    dirt::add_duplicates(&mut instructions, &stories, &mut stream);

    Ok(Texts {
        instructions,
        memory,
        pretraining: pretraining(&split.pretraining, seed),
        training: split.training,
        validation: split.validation,
        test: split.test,
    })
}

fn pretraining(rows: &[Row], seed: u64) -> Vec<Example> {
    let english = plain::sentences(PLAIN_ENGLISH, &mut Stream::named(seed, "plain English"));
    let russian = plain::sentences(PLAIN_RUSSIAN, &mut Stream::named(seed, "plain Russian"));
    let mut parallel = Stream::named(seed, "parallel sentences");
    let pairs = plain::sentences(PARALLEL, &mut parallel);
    let pairs: Vec<String> = pairs.iter().map(|pair| parallel::line(pair, &mut parallel)).collect();
    let dictionary = std::iter::repeat_n(parallel::dictionary(), DICTIONARY_COPIES).flatten();
    let plain = english.into_iter().map(|s| s.en).chain(russian.into_iter().map(|s| s.ru));
    let plain = plain.chain(pairs).chain(dictionary);
    let mut all: Vec<Example> = rows.iter().map(Row::english).collect();
    all.extend(
        plain.enumerate().map(|(n, text)| example(&format!("plain-{n:04}"), "plain", Body::Text { text })),
    );
    Stream::named(seed, "order of the pretraining").shuffle(&mut all);
    // A row of a small kind comes several times; ids stay unique.
    for (n, example) in all.iter_mut().enumerate() {
        example.id = format!("{n:05}-{}", example.id);
    }
    all
}

/// The tokenizer for these texts: trained on the pretraining and on the training rows in Russian, both
/// in their templates; validation and test are unknown to it.
///
/// # Errors
/// A template is unknown, or the trainer fails.
pub fn tokenizer(texts: &Texts) -> Result<TokenizerFiles> {
    let english = PromptTemplate::named(ENGLISH_TEMPLATE)?;
    let russian = PromptTemplate::named(RUSSIAN_TEMPLATE)?;
    let render = |template: &PromptTemplate, example: &Example| -> Result<String> {
        let rendered =
            template.render(example).with_context(|| format!("{} cannot be rendered", example.id))?;
        Ok(rendered.text)
    };
    let pretraining = texts.pretraining.iter().map(|example| render(&english, example));
    let training = texts.training.iter().map(|row| render(&russian, &row.russian()));
    tokenizer::train(&pretraining.chain(training).collect::<Result<Vec<_>>>()?)
}
