//! What can go wrong in training, each with the thing named and what to do next.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("[train] {key} = {found}: expected {expected}")]
    Config { key: &'static str, expected: String, found: String },

    #[error("[train] {one} and {other} are both set; they say the same thing twice: remove one")]
    Both { one: &'static str, other: &'static str },

    #[error("no examples to train on")]
    NoExamples,

    #[error("example {id}: none of its {tokens} tokens is trained")]
    NothingTrained { id: String, tokens: usize },

    #[error(
        "this training needs at least {least}, but may take {limit}: weights {weights}, what is trained {trained}, \
         and the longest example with every block computed again"
    )]
    Memory { limit: String, least: String, weights: String, trained: String },

    #[error("the model has no trained tensor")]
    NothingToTrain,

    #[error(
        "step {step}: the loss is not a finite number, because of {}; nothing of this step was applied",
        listed(examples)
    )]
    LossNotFinite { step: usize, examples: Vec<String> },

    #[error(
        "step {step}: the losses are finite, but the gradient is not (norm {norm}); its examples: {}; \
         nothing of this step was applied",
        listed(examples)
    )]
    GradientNotFinite { step: usize, norm: f64, examples: Vec<String> },

    #[error("after step {step} tensor {tensor} holds a value that is not finite; the state was not saved")]
    WeightNotFinite { step: usize, tensor: String },

    #[error("{}: this training state is damaged: {reason}", path.display())]
    CorruptState { path: PathBuf, reason: String },

    #[error(
        "{}: this training was begun with other settings:\n{}", path.display(), differences.join("\n")
    )]
    OtherRun { path: PathBuf, differences: Vec<String> },

    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },

    /// The message of `tolmach-durable` names the file already.
    #[error("{source}")]
    Write { source: std::io::Error },

    #[error(transparent)]
    Model(#[from] tolmach_model::Error),
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::LossNotFinite { .. } | Error::GradientNotFinite { .. } | Error::WeightNotFinite { .. } => {
                Some(
                    "lower the learning rate, or look at these examples; the last saved state is kept, and \
                     --force starts over",
                )
            }
            Error::Memory { .. } => Some(
                "a lower max_seq_length, a lower rank, fewer target or saved modules need less; so do base weights \
                 of 16 bits",
            ),
            Error::CorruptState { .. } => {
                Some("--force starts over; a copy of the file from a backup would do too")
            }
            Error::OtherRun { .. } => Some("give the settings as they were, or start over with --force"),
            Error::Model(error) => error.hint(),
            _ => None,
        }
    }
}

/// A few ids, and how many more.
fn listed(examples: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = examples.iter().take(SHOWN).map(|id| format!("example {id}")).collect::<Vec<_>>().join(", ");
    match examples.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
