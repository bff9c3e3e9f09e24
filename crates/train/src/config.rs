//! What the user writes in `[train]` of a recipe, or as flags. [`crate::TrainPlan`] makes it valid.

use crate::error::Error;
use crate::limit::MemoryLimit;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use tolmach_tokenize::OverLong;

/// How to train. The defaults suit a LoRA adapter on some thousand instruction examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the data. Three teach a style; above five the model begins to recite.
    pub epochs: usize,
    /// Stop (and plan the schedule) at this many optimizer steps instead, whatever `epochs` says;
    /// the data is gone through again where they do not suffice.
    pub max_steps: Option<usize>,
    /// Tokens of one optimizer step. Without it and `step_examples`: 2048, about a dozen alpaca
    /// examples. Larger steps are steadier but fewer; a small data set wants small ones.
    pub step_tokens: Option<usize>,
    /// Examples of one optimizer step, instead of tokens.
    pub step_examples: Option<usize>,
    /// Tokens that go through the model together; bounds the memory and changes nothing else.
    /// Without it: `max_seq_length`, or up to twice that where it costs little ([`crate::fit`]). Lower it when memory
    /// is short.
    pub micro_batch_tokens: Option<usize>,
    /// What the run may take at its peak, as `8GiB`. Where that is not enough, micro-batches hold `max_seq_length`, then
    /// blocks are computed again in the backward instead of kept (the same bits, up to a third slower), then
    /// micro-batches get smaller still.
    pub memory: Option<MemoryLimit>,
    /// Longest example in tokens. Without it: 512, or the model's own limit where that is lower.
    pub max_seq_length: Option<usize>,
    /// Compute what examples begin with in common (the template's preamble) once per micro-batch: the
    /// same gradient from fewer tokens. Where LoRA drops inputs the masks would differ from those of
    /// separate examples, so it is off there.
    pub shared_prefix: bool,
    /// What happens to longer ones: `drop` or `truncate`.
    pub over_long: OverLong,
    /// Peak learning rate. 2e-4 is safe for LoRA; 1e-3 suits tiny models; full training wants a
    /// tenth of that or less.
    pub learning_rate: f64,
    /// `constant`, `linear` or `cosine` after the warm-up.
    pub schedule: Schedule,
    /// Steps of linear warm-up from 0.
    pub warmup_steps: Option<usize>,
    /// The same as a share of all steps. Without either: 0.03.
    pub warmup_ratio: Option<f64>,
    /// Decoupled weight decay. As in Hugging Face's Trainer it spares norms, and nothing else.
    /// LoRA seldom needs any.
    pub weight_decay: f64,
    /// LoRA+ (Hayou et al. 2024): B learns so many times faster than A. Without it: 1. Try 4 to 16, with a lower
    /// learning rate.
    pub loraplus_lr_ratio: Option<f64>,
    /// NEFTune (Jain et al. 2023): uniform noise of this strength on the embeddings in training, 5 to 15. It
    /// makes answers longer; where it is on, prefixes are not shared.
    pub neftune_noise_alpha: Option<f64>,
    /// Longer gradients are scaled down to this norm; 0 leaves all as they are. With NaN or rising
    /// losses lower the learning rate first.
    pub max_grad_norm: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Another order in every epoch. Off, the file's own.
    pub shuffle: bool,
    /// Of the order, the first adapter weights, the dropout, the choice of replay examples.
    pub seed: u64,
    /// Steps between evaluations on the validation set. Without it: at the end of each epoch. The
    /// first is always before the first step, the last after the last one.
    pub eval_every: Option<usize>,
    /// Validation examples used, evenly spread over the file; 0 for all.
    pub eval_examples: usize,
    /// Steps between replies to the sample prompts. Without it: with each evaluation.
    pub sample_every: Option<usize>,
    /// Steps between saved training states. Without it: once a minute.
    pub save_every: Option<usize>,
    /// Stop after this many evaluations in a row without a lower loss, and keep the best weights.
    pub early_stop: Option<usize>,
    /// Keep the weights with the lowest validation loss rather than the last ones.
    pub keep_best: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: None,
            step_tokens: None,
            step_examples: None,
            micro_batch_tokens: None,
            memory: None,
            max_seq_length: None,
            shared_prefix: true,
            over_long: OverLong::Drop,
            learning_rate: 2e-4,
            schedule: Schedule::Cosine,
            warmup_steps: None,
            warmup_ratio: None,
            weight_decay: 0.0,
            loraplus_lr_ratio: None,
            neftune_noise_alpha: None,
            max_grad_norm: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            shuffle: true,
            seed: 42,
            eval_every: None,
            eval_examples: 100,
            sample_every: None,
            save_every: None,
            early_stop: None,
            keep_best: false,
        }
    }
}

/// Without `step_tokens` and `step_examples`.
pub const DEFAULT_STEP_TOKENS: usize = 2048;
/// Without `max_seq_length`.
const DEFAULT_MAX_SEQ_LENGTH: usize = 512;
/// Without `warmup_steps` and `warmup_ratio`.
pub const DEFAULT_WARMUP_RATIO: f64 = 0.03;

impl TrainConfig {
    /// The longest example in tokens, for a model that knows so many positions.
    ///
    /// # Errors
    /// More than that was asked for, or too little to hold an example.
    pub fn resolved_max_seq_length(&self, model_positions: usize) -> Result<usize, Error> {
        let asked = self.max_seq_length.unwrap_or(DEFAULT_MAX_SEQ_LENGTH.min(model_positions));
        if asked > model_positions {
            return Err(config(
                "max_seq_length",
                format!("at most {model_positions}, the positions that the base model knows"),
                &asked,
            ));
        }
        if asked < 2 {
            return Err(config("max_seq_length", "at least 2 tokens", &asked));
        }
        Ok(asked)
    }

    /// What is wrong whatever the data.
    ///
    /// # Errors
    /// The key, what it may be and what it is.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [
            ("epochs", Some(self.epochs)),
            ("max_steps", self.max_steps),
            ("step_tokens", self.step_tokens),
            ("step_examples", self.step_examples),
            ("micro_batch_tokens", self.micro_batch_tokens),
            ("eval_every", self.eval_every),
            ("sample_every", self.sample_every),
            ("save_every", self.save_every),
            ("early_stop", self.early_stop),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(config(key, "at least 1", &0));
        }
        if self.step_tokens.is_some() && self.step_examples.is_some() {
            return Err(Error::Both { one: "step_tokens", other: "step_examples" });
        }
        if self.warmup_steps.is_some() && self.warmup_ratio.is_some() {
            return Err(Error::Both { one: "warmup_steps", other: "warmup_ratio" });
        }
        let number = |key, value: f64, valid: bool, expected: &str| {
            if valid && value.is_finite() { Ok(()) } else { Err(config(key, expected, &value)) }
        };
        number("learning_rate", self.learning_rate, self.learning_rate > 0.0, "a number above 0")?;
        number("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "a number from 0")?;
        number("max_grad_norm", self.max_grad_norm, self.max_grad_norm >= 0.0, "a number from 0 (0 is off)")?;
        number("eps", self.eps, self.eps > 0.0, "a number above 0")?;
        for (key, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            number(key, beta, (0.0..1.0).contains(&beta), "at least 0 and below 1")?;
        }
        for (key, value) in
            [("loraplus_lr_ratio", self.loraplus_lr_ratio), ("neftune_noise_alpha", self.neftune_noise_alpha)]
        {
            number(key, value.unwrap_or(1.0), value.is_none_or(|v| v > 0.0), "a number above 0")?;
        }
        let ratio = self.warmup_ratio.unwrap_or(0.0);
        number("warmup_ratio", ratio, (0.0..=1.0).contains(&ratio), "a share from 0 to 1")
    }
}

pub(crate) fn config(key: &'static str, expected: impl Into<String>, found: &impl ToString) -> Error {
    Error::Config { key, expected: expected.into(), found: found.to_string() }
}
