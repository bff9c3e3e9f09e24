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
use tolmach_corpus::Example;

/// What happens to examples longer than `max_seq_length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverLong {
    /// Left out and counted.
    #[default]
    Drop,
    /// Cut after `max_seq_length` tokens. The text did not end there, so no EOS is put there
    /// either: the model must not learn to stop in mid-sentence.
    Truncate,
}

/// Which tokens are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// Also the prompt (all but BOS), not the answers alone.
    pub train_on_prompt: bool,
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
    /// Of an example that came as tokens; labels\[0\] has nothing before it.
    #[error("none of its labels is trained")]
    NothingTrained,
    #[error(transparent)]
    NotRendered(#[from] RenderError),
    #[error("{0}")]
    NotEncoded(String),
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
    mask: MaskConfig,
    max_seq_length: usize,
    over_long: OverLong,
}

impl<'a> ExampleEncoder<'a> {
    /// `max_seq_length` is in tokens, BOS and EOS included; `usize::MAX` for no limit.
    ///
    /// # Errors
    /// The tokenizer has no EOS: a model trained without it would never stop (unsloth#416).
    pub fn new(
        tokenizer: &'a Tokenizer,
        template: &'a PromptTemplate,
        mask: MaskConfig,
        max_seq_length: usize,
        over_long: OverLong,
    ) -> Result<Self, Error> {
        tokenizer.require_eos()?;
        Ok(ExampleEncoder { tokenizer, template, mask, max_seq_length, over_long })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        self.tokenizer
    }

    pub fn max_seq_length(&self) -> usize {
        self.max_seq_length
    }

    /// All examples, in parallel; the result does not depend on the number of threads.
    pub fn encode_all(&self, examples: &[Example]) -> EncodedExamples {
        let outcomes: Vec<_> = examples.par_iter().map(|e| self.encode_or_cut(e)).collect();
        let mut all = EncodedExamples::default();
        for (source, outcome) in examples.iter().zip(outcomes) {
            match outcome {
                Ok((example, cut)) => {
                    all.truncated += usize::from(cut);
                    all.examples.push(example);
                }
                Err(reason) => all.dropped.push(Dropped { id: source.id.clone(), reason }),
            }
        }
        all
    }

    /// One example.
    ///
    /// # Errors
    /// Why it must be left out.
    pub fn encode(&self, example: &Example) -> Result<TokenExample, DropReason> {
        self.encode_or_cut(example).map(|(example, _)| example)
    }

    /// One example at its full length, whatever the maximum, with what it was made from: for looking at.
    ///
    /// # Errors
    /// It cannot be rendered or encoded.
    pub fn encode_whole(
        &self,
        example: &Example,
    ) -> Result<(Rendered, TextTokens, TokenExample), DropReason> {
        let rendered = self.template.render(example)?;
        let tokens = self.tokenizer.encode_rendered(&rendered);
        let tokens = tokens.map_err(|e| DropReason::NotEncoded(e.to_string()))?;
        let labels = self.labels(&tokens, &rendered);
        let whole = TokenExample { id: Some(example.id.clone()), input_ids: tokens.ids.clone(), labels };
        Ok((rendered, tokens, whole))
    }

    /// The example, and whether it was cut.
    fn encode_or_cut(&self, example: &Example) -> Result<(TokenExample, bool), DropReason> {
        let (_, _, mut encoded) = self.encode_whole(example)?;
        let (tokens, max_seq_length) = (encoded.len(), self.max_seq_length);
        let cut = tokens > max_seq_length;
        if cut {
            if self.over_long == OverLong::Drop {
                return Err(DropReason::TooLong { tokens, max_seq_length });
            }
            encoded.input_ids.truncate(max_seq_length);
            encoded.labels.truncate(max_seq_length);
        }
        if encoded.trained_tokens() == 0 {
            return Err(DropReason::AnswerCutOff { max_seq_length });
        }
        Ok((encoded, cut))
    }

    /// [T]: the id where it is trained, [`IGNORED`] elsewhere.
    fn labels(&self, tokens: &TextTokens, rendered: &Rendered) -> Vec<i32> {
        let is_trained = |t: usize, offsets: &(usize, usize)| {
            let is_bos = t == 0 && self.tokenizer.adds_bos(); // opens a text; nothing predicts it
            !is_bos && (self.mask.train_on_prompt || overlaps_any(*offsets, &rendered.trained))
        };
        tokens
            .ids
            .iter()
            .zip(&tokens.offsets)
            .enumerate()
            .map(|(t, (&id, offsets))| if is_trained(t, offsets) { id as i32 } else { IGNORED })
            .collect()
    }
}

/// A token is trained if any byte of it lies in a trained range. One that straddles the border
/// between prompt and answer is therefore trained: it is the first token of the answer, and masking
/// it would teach the model everything but how to begin. A token without bytes of its own is
/// trained where it stands inside an answer or (EOS) right after it.
fn overlaps_any((start, end): (usize, usize), trained: &[Range<usize>]) -> bool {
    trained.iter().any(|range| {
        if start < end {
            start < range.end && end > range.start
        } else {
            range.start <= start && start <= range.end
        }
    })
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
