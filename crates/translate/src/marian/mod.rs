//! The engine `marian`: OPUS-MT models in the Hugging Face layout (`MarianMTModel`), and M2M100 and NLLB
//! (`M2M100ForConditionalGeneration`), on our own kernels. No service, no key, no price.
//!
//! Reading order: [`Marian`] (the engine) → `vocabulary` (text and ids) → `search` (greedy, beams) →
//! `layers` (encoder, decoder) → `head` (the next tokens) → `model` (weights) → `config`.
//!
//! Invariants: with weights in f32 the answers are those of transformers' `generate`; a sentence's
//! answer does not depend on the sentences around it, nor on the number of threads.

mod config;
mod error;
#[cfg(test)]
mod golden_tests;
mod head;
mod languages;
mod layers;
mod model;
mod search;
mod vocabulary;

use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Limits, Manner, Miss};
use config::{Generation, Settings, Shape};
pub use error::MarianError;
use model::Model;
use search::{SearchWorkspace, search};
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
pub use tolmach_engine::cpu::infer::Precision;
use vocabulary::Vocabulary;

/// How a model is run. What is `None` is as the model's own `generation_config.json` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarianOptions {
    pub precision: Precision,
    /// Beams; 1 is greedy search.
    pub num_beams: Option<usize>,
    /// Tokens of an answer at most.
    pub max_new_tokens: Option<usize>,
}

impl Default for MarianOptions {
    fn default() -> Self {
        MarianOptions { precision: Precision::F32, num_beams: None, max_new_tokens: None }
    }
}

/// A loaded model for one pair of languages.
pub struct Marian {
    model: Model,
    vocabulary: Vocabulary,
    generation: Generation,
    identity: String,
    max_source: usize,
}

/// Hypotheses of a batch: enough that weights are read once for many rows, few enough that the rows
/// stay in the second-level cache.
const BATCH_ROWS: usize = 64;
/// Segments of a request for each thread: several batches of sentences of about one length.
const SEGMENTS: usize = 256;

impl Marian {
    /// Load the model in `folder`.
    ///
    /// # Errors
    /// A file is missing, broken or of another kind of model; the model is for other languages.
    pub fn open(folder: &Path, pair: &LanguagePair, options: MarianOptions) -> Result<Self, MarianError> {
        let shape = Shape::read(&Settings::read(&folder.join("config.json"))?)?;
        let mut generation = Generation::read(folder, &shape)?;
        if let Some(beams) = options.num_beams {
            generation.num_beams = beams.max(1);
        }
        if let Some(count) = options.max_new_tokens {
            generation.max_length = count.saturating_add(1).clamp(2, shape.max_positions + 1);
        }
        let vocabulary = Vocabulary::open(folder, pair, &shape)?;
        generation.forced_bos = vocabulary.first().or(generation.forced_bos);
        let max_source = shape.max_positions;
        let model = Model::load(folder, shape, options.precision)?;
        let content = tolmach_model::Checkpoint::open_folder(folder)?.fingerprint();
        let identity = format!("marian:{content}:{:?}:{generation:?}", options.precision);
        let identity = format!("marian:{}", &blake3::hash(identity.as_bytes()).to_hex()[..16]);
        Ok(Marian { model, vocabulary, generation, identity, max_source })
    }

    /// The answers to sentences of token ids (EOS included): tokens with EOS, in order, on all threads of
    /// the current rayon pool.
    pub fn translate_ids(&self, sentences: &[&[u32]]) -> Vec<Vec<u32>> {
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by_key(|&i| Reverse(sentences[i].len()));
        let per_batch = (BATCH_ROWS / self.generation.num_beams).max(1);
        // Every thread gets work, the longest sentences first.
        let per_batch = per_batch.min(sentences.len().div_ceil(rayon::current_num_threads())).max(1);
        let batches: Vec<&[usize]> = order.chunks(per_batch).collect();
        let answers = Mutex::new(vec![Vec::new(); sentences.len()]);
        let next = AtomicUsize::new(0);
        rayon::broadcast(|_| {
            let mut work = SearchWorkspace::default();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let ids: Vec<&[u32]> = batch.iter().map(|&i| sentences[i]).collect();
                let found = search(&self.model, &self.generation, &ids, &mut work);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                for (&i, answer) in batch.iter().zip(found) {
                    answers[i] = answer;
                }
            }
        });
        answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of a sentence as the model reads it.
    ///
    /// # Errors
    /// The text is 4 GiB or longer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, MarianError> {
        self.vocabulary.encode(text)
    }

    /// The text of an answer.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.vocabulary.decode(ids)
    }

    fn readable(&self, segment: &str) -> Result<Vec<u32>, Miss> {
        let ids = self.encode(segment).map_err(|e| Miss::Refused(e.to_string()))?;
        if ids.len() > self.max_source {
            let (tokens, most) = (ids.len(), self.max_source);
            return Err(Miss::Refused(format!("it is {tokens} tokens long, the model reads {most} at most")));
        }
        Ok(ids)
    }
}

impl Engine for Marian {
    fn name(&self) -> &str {
        self.vocabulary.name()
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        Limits { segments: SEGMENTS * rayon::current_num_threads(), ..Limits::UNLIMITED }
    }

    /// These models are trained on single sentences, and drop what follows the first.
    fn manner(&self) -> Manner {
        Manner::Sentences
    }

    fn translate(&self, segments: &[&str], _pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let ids: Vec<Result<Vec<u32>, Miss>> =
            segments.iter().map(|segment| self.readable(segment)).collect();
        let sentences: Vec<&[u32]> = ids.iter().flatten().map(Vec::as_slice).collect();
        let mut answers = self.translate_ids(&sentences).into_iter();
        let answer = |ids: Result<Vec<u32>, Miss>| {
            ids?;
            let text = self.decode(&answers.next().unwrap_or_default());
            if text.is_empty() { Err(Miss::Empty) } else { Ok(text) }
        };
        Ok(ids.into_iter().map(answer).collect())
    }
}
