//! What was made, in figures: rows of each kind, and lengths in tokens of the tokenizer just written.

use super::rows::Row;
use super::{ENGLISH_TEMPLATE, RUSSIAN_TEMPLATE, Texts};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use tolmach_corpus::Example;
use tolmach_tokenize::{ExampleEncoder, MaskConfig, OverLong, PromptTemplate, Tokenizer};

/// Longer than any example of the demo.
const MAX_SEQ_LENGTH: usize = 256;

pub struct Summary {
    /// Rows of training, validation and test by kind.
    kinds: BTreeMap<&'static str, [usize; 3]>,
    instructions: usize,
    segments: usize,
    lengths: Vec<(&'static str, Lengths)>,
}

/// Of one set: tokens in all, tokens that are trained, the longest example.
#[derive(Default)]
struct Lengths {
    examples: usize,
    tokens: usize,
    trained: usize,
    longest: usize,
}

/// Count, with the tokenizer in `model`.
///
/// # Errors
/// The tokenizer does not load, or an example does not fit.
pub fn summarise(texts: &Texts, model: &Path) -> Result<Summary> {
    let mut kinds: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (at, rows) in [&texts.training, &texts.validation, &texts.test].into_iter().enumerate() {
        rows.iter().for_each(|row| kinds.entry(row.kind).or_default()[at] += 1);
    }
    let tokenizer = Tokenizer::load(model)?;
    let russian: Vec<Example> = texts.training.iter().map(Row::russian).collect();
    let english: Vec<Example> = texts.training.iter().map(Row::english).collect();
    let lengths = vec![
        ("training in English", lengths(&tokenizer, ENGLISH_TEMPLATE, &english)?),
        ("training in Russian", lengths(&tokenizer, RUSSIAN_TEMPLATE, &russian)?),
        ("pretraining, one epoch", lengths(&tokenizer, ENGLISH_TEMPLATE, &texts.pretraining)?),
    ];
    Ok(Summary { kinds, instructions: texts.instructions.len(), segments: texts.memory.len(), lengths })
}

fn lengths(tokenizer: &Tokenizer, template: &str, examples: &[Example]) -> Result<Lengths> {
    let template = PromptTemplate::named(template)?;
    let mask = MaskConfig::default();
    let encoder = ExampleEncoder::new(tokenizer, &template, mask, MAX_SEQ_LENGTH, OverLong::Drop)?;
    let encoded = encoder.encode_all(examples);
    ensure!(encoded.dropped.is_empty(), "{:?} does not fit", encoded.dropped[0]);
    Ok(encoded.examples.iter().fold(Lengths::default(), |sum, example| Lengths {
        examples: sum.examples + 1,
        tokens: sum.tokens + example.len(),
        trained: sum.trained + example.trained_tokens(),
        longest: sum.longest.max(example.len()),
    }))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>10} {:>10} {:>10}", "rows", "training", "validation", "test")?;
        for (kind, [training, validation, test]) in &self.kinds {
            writeln!(f, "{kind:<24} {training:>10} {validation:>10} {test:>10}")?;
        }
        writeln!(
            f,
            "{} instructions with dirt, {} segments in the memory",
            self.instructions, self.segments
        )?;
        writeln!(f, "{:<24} {:>10} {:>10} {:>10} {:>10}", "tokens", "examples", "all", "trained", "longest")?;
        for (name, l) in &self.lengths {
            writeln!(
                f,
                "{name:<24} {:>10} {:>10} {:>10} {:>10}",
                l.examples, l.tokens, l.trained, l.longest
            )?;
        }
        Ok(())
    }
}
