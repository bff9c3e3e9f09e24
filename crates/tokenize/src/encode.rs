//! From examples to tokens with a label mask.
//!
//! The whole text is encoded once and the mask is read off the token offsets: encoding the prompt
//! apart would put token borders where the whole text has none, and mask the first token of the
//! answer or train the last one of the prompt (alpaca-lora#306).

use crate::error::Error;
use crate::template::{PromptTemplate, RenderError, Rendered};
use crate::token_example::{IGNORED, TokenExample};
use crate::tokenizer::{TextTokens, Tokenizer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tolmach_corpus::example::Example;

/// What happens to examples longer than `max_seq_length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverLong {
    /// Left out and counted.
    #[default]
    Drop,
    /// Cut after `max_seq_length` tokens. The cut text did not end there, so no EOS is put there
    /// either: the model must not learn to stop in mid-sentence.
    Truncate,
}

/// How examples become tokens; a section of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// In tokens, BOS and EOS included; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seq_length: Option<usize>,
    pub over_long: OverLong,
}

/// An example that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub id: String,
    pub reason: DropReason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    #[error("{tokens} tokens, more than the maximum of {max_seq_length}")]
    TooLong { tokens: usize, max_seq_length: usize },
    #[error("nothing of its answer is left within {max_seq_length} tokens")]
    AnswerCutOff { max_seq_length: usize },
    #[error("{0}")]
    NotRendered(#[from] RenderError),
}

/// A whole data set as tokens, in its own order.
#[derive(Clone, Debug, Default)]
pub struct EncodedExamples {
    pub examples: Vec<TokenExample>,
    pub dropped: Vec<Dropped>,
    /// How many of `examples` were cut to the maximum.
    pub truncated: usize,
}

/// Encodes examples with one tokenizer, one template and one maximum.
pub struct ExampleEncoder<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a PromptTemplate,
    config: MaskConfig,
    eos: u32,
    eos_text: &'a str,
}

/// One example, encoded. Boxed reasons would gain nothing: the common case is the large one.
pub(crate) enum Outcome {
    Kept { example: TokenExample, truncated: bool },
    Dropped(DropReason),
}

impl<'a> ExampleEncoder<'a> {
    /// Fails without EOS: a model trained without it would never stop (unsloth#416).
    pub fn new(tokenizer: &'a Tokenizer, template: &'a PromptTemplate, config: MaskConfig) -> Result<Self, Error> {
        let (eos, eos_text) = tokenizer.require_eos()?;
        Ok(ExampleEncoder { tokenizer, template, config, eos, eos_text })
    }

    /// All examples, in parallel; the result does not depend on the number of threads.
    pub fn encode_all(&self, examples: &[Example]) -> Result<EncodedExamples, Error> {
        let outcomes: Vec<Outcome> = examples.par_iter().map(|e| self.encode_one(e)).collect::<Result<_, _>>()?;
        let mut all = EncodedExamples::default();
        for (source, outcome) in examples.iter().zip(outcomes) {
            match outcome {
                Outcome::Kept { example, truncated } => {
                    all.truncated += usize::from(truncated);
                    all.examples.push(example);
                }
                Outcome::Dropped(reason) => all.dropped.push(Dropped { id: source.id.clone(), reason }),
            }
        }
        Ok(all)
    }

    /// One example; the inner `Err` says why it is left out.
    pub fn encode(&self, example: &Example) -> Result<Result<TokenExample, DropReason>, Error> {
        Ok(match self.encode_one(example)? {
            Outcome::Kept { example, .. } => Ok(example),
            Outcome::Dropped(reason) => Err(reason),
        })
    }

    /// A rendered text as tokens and labels, at its full length.
    pub fn encode_rendered(&self, id: &str, rendered: &Rendered) -> Result<(TextTokens, Vec<i32>), Error> {
        let failed = |reason: String| Error::Encode { id: id.to_string(), reason };
        let tokens = self.tokenizer.encode(&rendered.text).map_err(|e| failed(e.to_string()))?;
        if tokens.ids.last() != Some(&self.eos) {
            return Err(failed(format!(
                "{:?} at the end of its text did not become the end-of-sequence token {}; see added_tokens in tokenizer.json",
                self.eos_text, self.eos
            )));
        }
        let mut labels = labels(&tokens, &rendered.trained);
        // BOS opens a text; nothing predicts it. Where BOS and EOS are one token, only the first is BOS.
        for (t, (label, &id)) in labels.iter_mut().zip(&tokens.ids).enumerate() {
            if Some(id) == self.tokenizer.bos_id() && (t == 0 || id != self.eos) {
                *label = IGNORED;
            }
        }
        Ok((tokens, labels))
    }

    fn encode_one(&self, example: &Example) -> Result<Outcome, Error> {
        let rendered = match self.template.render(&example.body, self.eos_text) {
            Ok(rendered) => rendered,
            Err(reason) => return Ok(Outcome::Dropped(reason.into())),
        };
        let (tokens, mut labels) = self.encode_rendered(&example.id, &rendered)?;
        let mut input_ids = tokens.ids;
        let max_seq_length = self.config.max_seq_length.unwrap_or(usize::MAX);
        let truncated = input_ids.len() > max_seq_length;
        if truncated {
            if self.config.over_long == OverLong::Drop {
                let tokens = input_ids.len();
                return Ok(Outcome::Dropped(DropReason::TooLong { tokens, max_seq_length }));
            }
            input_ids.truncate(max_seq_length);
            labels.truncate(max_seq_length);
        }
        let example = TokenExample { id: example.id.clone(), input_ids, labels };
        if example.trained_tokens() == 0 {
            return Ok(Outcome::Dropped(DropReason::AnswerCutOff { max_seq_length }));
        }
        Ok(Outcome::Kept { example, truncated })
    }
}

/// A token is trained if any byte of it lies in a trained range. One that straddles the border
/// between prompt and answer is therefore trained: it is the first token of the answer, and masking
/// it would teach the model everything but how to begin. A token without bytes of its own counts
/// as lying where its empty range lies.
fn labels(tokens: &TextTokens, trained: &[Range<usize>]) -> Vec<i32> {
    let is_trained = |&(start, end): &(usize, usize)| {
        trained.iter().any(|range| {
            if start < end { start < range.end && end > range.start } else { range.contains(&start) }
        })
    };
    tokens.ids.iter().zip(&tokens.offsets).map(|(&id, at)| if is_trained(at) { id as i32 } else { IGNORED }).collect()
}
