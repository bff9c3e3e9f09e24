//! From a configuration and the data to a valid plan, and the facts that follow from it.

use crate::config::{DEFAULT_STEP_TOKENS, DEFAULT_WARMUP_RATIO, TrainConfig, config};
use crate::error::Error;
use crate::schedule::Schedule;
use std::collections::HashSet;
use tolmach_model::BatchSize;
use tolmach_tokenize::{IGNORED, SharedPrefixes, StepPlan, StepSize, TokenExample, epoch_order, plan_steps};

/// A valid training run: flat, every default resolved, every number derived.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    pub step_size: StepSize,
    pub micro_batch_tokens: usize,
    /// What each example shares with others.
    pub prefixes: SharedPrefixes,
    /// Peak learning rate.
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub warmup_steps: usize,
    pub weight_decay: f64,
    /// Times the learning rate, of LoRA's B.
    pub loraplus_lr_ratio: f64,
    /// Strength of the noise on the embeddings; `None`: none.
    pub neftune_noise_alpha: Option<f64>,
    /// `None`: gradients are not clipped.
    pub max_grad_norm: Option<f64>,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub shuffle: bool,
    pub seed: u64,
    /// `None`: at the end of each epoch.
    pub eval_every: Option<usize>,
    /// Validation examples used.
    pub eval_examples: usize,
    /// `None`: with each evaluation.
    pub sample_every: Option<usize>,
    /// `None`: by the clock.
    pub save_every: Option<usize>,
    pub early_stop: Option<usize>,
    pub keep_best: bool,

    /// Optimizer steps of the whole run.
    pub steps: usize,
    /// Where each epoch begins and how many steps a whole one has; the last may be cut short.
    pub epochs: Vec<EpochSpan>,
    /// Examples in the data.
    pub examples: usize,
    /// Tokens and labelled tokens of the whole run, every epoch counted.
    pub tokens: usize,
    pub trained_tokens: usize,
    /// Rows that go through the model in the whole run: `tokens` less what is shared.
    pub rows: usize,
    /// The most rows, rows that ask in the last block and labelled ones of a micro-batch (not always the same).
    pub largest_micro_batch: BatchSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSpan {
    /// The first step of the epoch, from 0.
    pub start: usize,
    pub steps: usize,
}

impl TrainPlan {
    /// `max_seq_length` is [`TrainConfig::resolved_max_seq_length`], `examples` are encoded with it,
    /// `validation` is the number of validation examples.
    ///
    /// # Errors
    /// A configuration that says nothing sensible, or the same thing twice; no examples; an example
    /// of which nothing is trained.
    pub fn new(
        config: &TrainConfig,
        max_seq_length: usize,
        examples: &[TokenExample],
        validation: usize,
    ) -> Result<Self, Error> {
        config.check()?;
        check_examples(examples)?;
        check_validation(config, validation)?;
        let step_size = match (config.step_examples, config.step_tokens) {
            (Some(examples), _) => StepSize::Examples(examples),
            (None, tokens) => StepSize::Tokens(tokens.unwrap_or(DEFAULT_STEP_TOKENS)),
        };
        let micro_batch_tokens = config.micro_batch_tokens.unwrap_or(max_seq_length);
        // Every example has a noise of its own.
        let prefixes = if config.shared_prefix && config.neftune_noise_alpha.is_none() {
            SharedPrefixes::find(examples, step_size, micro_batch_tokens)
        } else {
            SharedPrefixes::none(examples.len())
        };
        let eval_examples = if config.eval_examples == 0 { validation } else { config.eval_examples };
        let mut plan = Self {
            step_size,
            micro_batch_tokens,
            prefixes,
            learning_rate: config.learning_rate,
            schedule: config.schedule,
            warmup_steps: 0,
            weight_decay: config.weight_decay,
            loraplus_lr_ratio: config.loraplus_lr_ratio.unwrap_or(1.0),
            neftune_noise_alpha: config.neftune_noise_alpha,
            max_grad_norm: (config.max_grad_norm > 0.0).then_some(config.max_grad_norm),
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            shuffle: config.shuffle,
            seed: config.seed,
            eval_every: config.eval_every,
            eval_examples: eval_examples.min(validation),
            sample_every: config.sample_every,
            save_every: config.save_every,
            early_stop: config.early_stop,
            keep_best: config.keep_best || config.early_stop.is_some(),
            steps: 0,
            epochs: Vec::new(),
            examples: examples.len(),
            tokens: 0,
            trained_tokens: 0,
            rows: 0,
            largest_micro_batch: BatchSize::default(),
        };
        plan.lay_out_epochs(config, examples);
        plan.warmup_steps = match (config.warmup_steps, config.warmup_ratio) {
            (Some(steps), _) => steps,
            // Rounded up, as in Hugging Face's Trainer.
            (None, ratio) => (ratio.unwrap_or(DEFAULT_WARMUP_RATIO) * plan.steps as f64).ceil() as usize,
        };
        match plan.warmup_steps > plan.steps {
            true => Err(crate::config::config(
                "warmup_steps",
                format!("at most the {} steps of the whole run", plan.steps),
                &plan.warmup_steps,
            )),
            false => Ok(plan),
        }
    }

    /// Go through the epochs once, as the loop will, and count.
    fn lay_out_epochs(&mut self, config: &TrainConfig, examples: &[TokenExample]) {
        let lengths: Vec<usize> = examples.iter().map(TokenExample::len).collect();
        let trained: Vec<usize> = examples.iter().map(TokenExample::trained_tokens).collect();
        let queries: Vec<usize> = examples.iter().map(asking_rows).collect();
        let more = |plan: &Self| match config.max_steps {
            Some(max) => plan.steps < max,
            None => plan.epochs.len() < config.epochs,
        };
        while more(self) {
            let steps = self.epoch(self.epochs.len(), &lengths);
            self.epochs.push(EpochSpan { start: self.steps, steps: steps.len() });
            let left = config.max_steps.map_or(usize::MAX, |max| max - self.steps);
            for step in steps.iter().take(left) {
                for batch in &step.micro_batches {
                    let sum = |of: &[usize]| batch.iter().map(|&i| of[i]).sum::<usize>();
                    let labelled = sum(&trained);
                    let rows = self.rows_of(batch, &lengths);
                    self.tokens += sum(&lengths);
                    self.rows += rows;
                    self.trained_tokens += labelled;
                    let size = BatchSize { rows, queries: sum(&queries), labelled };
                    self.largest_micro_batch = self.largest_micro_batch.max(size);
                }
                self.steps += 1;
            }
        }
    }

    /// Rows of a micro-batch once what its examples share is laid down once.
    fn rows_of(&self, batch: &[usize], lengths: &[usize]) -> usize {
        let mut groups = HashSet::new();
        let shared = |i: usize| self.prefixes.of(i);
        batch.iter().map(|&i| lengths[i] - if groups.insert(shared(i)) { 0 } else { shared(i).len }).sum()
    }

    /// The steps of epoch `epoch` (from 0), for examples of these lengths.
    pub fn epoch(&self, epoch: usize, lengths: &[usize]) -> Vec<StepPlan> {
        let order = epoch_order(lengths.len(), self.seed, epoch as u64, self.shuffle);
        plan_steps(lengths, &self.prefixes, &order, self.step_size, self.micro_batch_tokens)
    }

    /// Tokens of a micro-batch of an evaluation: no longer than training's, as one workspace serves both.
    pub fn eval_micro_batch_tokens(&self) -> usize {
        self.micro_batch_tokens.min(self.largest_micro_batch.rows)
    }

    /// In which epoch step `step` (from 0) lies, and its place there.
    pub fn place(&self, step: usize) -> (usize, usize) {
        let epoch = self.epochs.partition_point(|e| e.start <= step).saturating_sub(1);
        (epoch, step - self.epochs.get(epoch).map_or(0, |e| e.start))
    }

    /// Epochs done after `step` updates.
    pub fn epochs_done(&self, step: usize) -> f64 {
        let (epoch, within) = self.place(step.saturating_sub(1));
        let span = self.epochs.get(epoch).map_or(1, |e| e.steps.max(1));
        if step == 0 { 0.0 } else { epoch as f64 + (within + 1) as f64 / span as f64 }
    }

    /// The learning rate of update `step` (from 0).
    pub fn learning_rate(&self, step: usize) -> f64 {
        self.learning_rate * self.schedule.multiplier(step, self.warmup_steps, self.steps)
    }

    /// Whether to evaluate after `step` updates.
    pub fn eval_due(&self, step: usize) -> bool {
        let ends_epoch = || self.epochs.iter().any(|e| e.start + e.steps == step);
        step == 0 || step == self.steps || self.eval_every.map_or_else(ends_epoch, |n| step.is_multiple_of(n))
    }

    /// Whether to reply to the sample prompts after `step` updates.
    pub fn sample_due(&self, step: usize) -> bool {
        match self.sample_every {
            Some(n) => step == self.steps || step.is_multiple_of(n),
            None => self.eval_due(step),
        }
    }

    /// Share of the tokens that are trained.
    pub fn trained_share(&self) -> f64 {
        self.trained_tokens as f64 / self.tokens.max(1) as f64
    }
}

/// Rows of an example from the first one on whose next token is trained.
pub(crate) fn asking_rows(example: &TokenExample) -> usize {
    let first = example.labels.iter().skip(1).position(|&label| label != IGNORED);
    first.map_or(0, |row| example.len() - row)
}

fn check_examples(examples: &[TokenExample]) -> Result<(), Error> {
    if examples.is_empty() {
        return Err(Error::NoExamples);
    }
    match examples.iter().enumerate().find(|(_, e)| e.trained_tokens() == 0) {
        Some((i, e)) => Err(Error::NothingTrained { id: name(e, i), tokens: e.len() }),
        None => Ok(()),
    }
}

fn check_validation(given: &TrainConfig, validation: usize) -> Result<(), Error> {
    let missing = |key, found: String| Err(config(key, "a validation set to go by (validation)", &found));
    match given.early_stop {
        Some(patience) if validation == 0 => missing("early_stop", patience.to_string()),
        _ if given.keep_best && validation == 0 => missing("keep_best", "true".into()),
        _ => Ok(()),
    }
}

/// What messages call an example: its id, or its place in the data from 1.
pub(crate) fn name(example: &TokenExample, index: usize) -> String {
    example.id.clone().unwrap_or_else(|| format!("number {}", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the given lengths, all but the first two tokens trained.
    fn examples(lengths: &[usize]) -> Vec<TokenExample> {
        let labels = |n: usize| (0..n).map(|t| if t < 2 { -100 } else { 7 }).collect();
        lengths.iter().map(|&n| TokenExample { id: None, input_ids: vec![7; n], labels: labels(n) }).collect()
    }

    fn plan(config: &TrainConfig) -> Result<TrainPlan, Error> {
        TrainPlan::new(config, 64, &examples(&[10; 20]), 5)
    }

    /// All examples here begin alike; without sharing, rows are tokens.
    fn in_steps_of(examples: usize) -> TrainConfig {
        TrainConfig { step_examples: Some(examples), shared_prefix: false, ..Default::default() }
    }

    #[test]
    fn derived_numbers_count_every_epoch() {
        let plan = plan(&in_steps_of(8)).unwrap();
        assert_eq!((plan.steps, plan.epochs.len()), (9, 3)); // 8 + 8 + 4 examples, three times
        assert_eq!((plan.tokens, plan.trained_tokens), (600, 480));
        assert_eq!(plan.largest_micro_batch, BatchSize { rows: 60, queries: 54, labelled: 48 }); // six of ten tokens fit in 64
        assert_eq!(plan.warmup_steps, 1); // 3 % of 9, rounded up
        assert_eq!((plan.place(0), plan.place(3), plan.place(8)), ((0, 0), (1, 0), (2, 2)));
        assert_eq!([0, 3, 9].map(|s| plan.epochs_done(s)), [0.0, 1.0, 3.0]);
        assert_eq!((0..=9).filter(|&s| plan.eval_due(s)).collect::<Vec<_>>(), [0, 3, 6, 9]);
    }

    #[test]
    fn a_shared_prefix_leaves_fewer_rows_of_the_same_tokens() {
        let plan = plan(&TrainConfig { shared_prefix: true, ..in_steps_of(8) }).unwrap();
        assert_eq!((plan.tokens, plan.trained_tokens), (600, 480));
        // One of ten tokens is shared. Of eight examples seven fill a micro-batch (10 + 6 · 9 rows) and save
        // six tokens; the steps of 8, 8 and 4 examples save 6, 6 and 3.
        assert_eq!(plan.rows, 600 - 3 * (6 + 6 + 3));
        assert_eq!(plan.largest_micro_batch, BatchSize { rows: 64, queries: 63, labelled: 56 });
    }

    #[test]
    fn max_steps_cuts_short_and_goes_round_again() {
        let with = |max| plan(&TrainConfig { max_steps: Some(max), ..in_steps_of(8) }).unwrap();
        assert_eq!((with(2).steps, with(2).epochs.len(), with(2).tokens), (2, 1, 160));
        assert_eq!((with(20).steps, with(20).epochs.len()), (20, 7));
        assert_eq!(with(20).tokens, 6 * 200 + 160);
    }

    #[test]
    fn the_rate_follows_the_schedule_over_all_steps() {
        let config = TrainConfig {
            schedule: Schedule::Linear,
            warmup_steps: Some(3),
            learning_rate: 0.1,
            ..in_steps_of(8)
        };
        let plan = plan(&config).unwrap();
        assert_eq!([0, 3, 6].map(|s| plan.learning_rate(s)), [0.0, 0.1, 0.05]);
    }

    #[test]
    fn what_says_nothing_sensible_is_refused_by_name() {
        let cases: Vec<(TrainConfig, &str)> = vec![
            (TrainConfig { epochs: 0, ..Default::default() }, "epochs = 0"),
            (TrainConfig { step_tokens: Some(9), ..in_steps_of(2) }, "step_tokens and step_examples"),
            (TrainConfig { warmup_steps: Some(1), warmup_ratio: Some(0.1), ..Default::default() }, "warmup"),
            (TrainConfig { learning_rate: f64::NAN, ..Default::default() }, "learning_rate = NaN"),
            (TrainConfig { learning_rate: -1.0, ..Default::default() }, "a number above 0"),
            (TrainConfig { beta2: 1.0, ..Default::default() }, "beta2 = 1"),
            (TrainConfig { warmup_steps: Some(10), ..in_steps_of(8) }, "at most the 9 steps"),
            (TrainConfig { warmup_ratio: Some(1.5), ..Default::default() }, "warmup_ratio"),
        ];
        for (config, says) in cases {
            let message = plan(&config).unwrap_err().to_string();
            assert!(message.contains(says), "{says}: {message}");
        }
        let config = TrainConfig { early_stop: Some(2), ..Default::default() };
        let message = TrainPlan::new(&config, 64, &examples(&[9]), 0).unwrap_err().to_string();
        assert!(message.contains("early_stop") && message.contains("validation"), "{message}");
    }

    #[test]
    fn data_without_anything_to_train_are_refused() {
        let config = TrainConfig::default();
        let none = TrainPlan::new(&config, 64, &[], 0).unwrap_err();
        assert!(matches!(none, Error::NoExamples));
        let message = TrainPlan::new(&config, 64, &examples(&[9, 2]), 0).unwrap_err().to_string();
        assert!(message.contains("example number 2"), "{message}");
    }

    #[test]
    fn the_models_positions_bound_the_examples() {
        let with = |asked| TrainConfig { max_seq_length: asked, ..Default::default() };
        assert_eq!(with(None).resolved_max_seq_length(2048).unwrap(), 512);
        assert_eq!(with(None).resolved_max_seq_length(256).unwrap(), 256);
        assert!(with(Some(300)).resolved_max_seq_length(256).unwrap_err().to_string().contains("256"));
    }
}
