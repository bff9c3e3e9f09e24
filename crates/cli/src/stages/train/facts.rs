//! What is known before the first step: printed first, and all that `--dry-run` prints.

use super::data::Data;
use super::{TrainOptions, Tuning};
use crate::ui::Ui;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use tolmach_model::{AdapterInfo, Shape};
use tolmach_tokenize::StepSize;
use tolmach_train::{Fitted, MemoryPlan, TrainPlan};

/// The derived facts of a run.
#[derive(Clone, Debug, Serialize)]
pub struct PlanFacts {
    pub base: String,
    pub base_parameters: usize,
    pub trained_parameters: usize,
    /// What is trained, in words.
    pub tuning: String,
    pub examples: usize,
    pub replayed: usize,
    pub left_out: usize,
    pub left_out_reasons: Vec<(String, usize)>,
    pub truncated: usize,
    pub validation: usize,
    pub max_seq_length: usize,
    pub steps: usize,
    pub epochs: f64,
    /// Of the whole run.
    pub tokens: usize,
    pub trained_tokens: usize,
    pub step_size: String,
    pub micro_batch_tokens: usize,
    /// Share of the tokens that need not be computed, since they repeat a prefix that examples share.
    pub shared_share: f64,
    /// Why nothing is shared, if nothing is.
    pub not_shared: Option<&'static str>,
    pub schedule: String,
    /// Blocks of the model.
    pub blocks: usize,
    /// Of these, from the lowest trained one on, so many share their buffers; all but the topmost of them
    /// are computed again in the backward.
    pub recompute: usize,
    pub memory: Memory,
    /// Bytes that the output folder needs at most.
    pub disk: u64,
}

/// Bytes at the peak, as the operating system counts them: mapped weights are among them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Frozen weights: mapped, and in memory of their own.
    pub base: u64,
    pub base_mapped: u64,
    /// Trained tensors, gradients, AdamW's moments, the best weights so far.
    pub trained: u64,
    pub gradients: u64,
    pub moments: u64,
    pub best: u64,
    /// Kept for the backward.
    pub activations: u64,
    pub scratch: u64,
    pub head: u64,
    pub packing: u64,
    pub saving: u64,
    pub program: u64,
    pub total: u64,
}

impl From<MemoryPlan> for Memory {
    fn from(plan: MemoryPlan) -> Self {
        Self {
            base: plan.mapped + plan.owned,
            base_mapped: plan.mapped,
            trained: plan.trained,
            gradients: plan.gradients,
            moments: plan.moments,
            best: plan.best,
            activations: plan.activations,
            scratch: plan.scratch,
            head: plan.head,
            packing: plan.packing,
            saving: plan.saving,
            program: plan.program,
            total: plan.total(),
        }
    }
}

fn not_shared(options: &TrainOptions, dropout: bool, plan: &TrainPlan) -> Option<&'static str> {
    if options.train.neftune_noise_alpha.is_some() {
        Some("with NEFTune every example has a noise of its own")
    } else if !options.train.shared_prefix {
        Some("switched off")
    } else if dropout {
        Some("with LoRA dropout every example has masks of its own")
    } else if plan.rows == plan.tokens {
        Some("no two examples of a micro-batch begin alike")
    } else {
        None
    }
}

impl PlanFacts {
    pub(super) fn new(
        options: &TrainOptions,
        shape: &Shape,
        adapter: Option<&AdapterInfo>,
        fitted: &Fitted,
        data: &Data,
        max_seq_length: usize,
        disk: u64,
    ) -> Self {
        let Fitted { plan, recompute, memory } = fitted;
        let step_size = match plan.step_size {
            StepSize::Tokens(tokens) => format!("up to {} tokens", HumanCount(tokens as u64)),
            StepSize::Examples(examples) => format!("{examples} examples"),
        };
        Self {
            base: crate::hub::shown(&options.base),
            base_parameters: shape.config.parameters(),
            trained_parameters: shape.trained_tensors().iter().sum(),
            tuning: tuning(options, adapter),
            examples: data.train.len(),
            replayed: data.replayed,
            left_out: data.left_out,
            left_out_reasons: data.left_out_reasons.clone(),
            truncated: data.truncated,
            validation: plan.eval_examples,
            max_seq_length,
            steps: plan.steps,
            epochs: plan.epochs_done(plan.steps),
            tokens: plan.tokens,
            trained_tokens: plan.trained_tokens,
            step_size,
            micro_batch_tokens: plan.micro_batch_tokens,
            shared_share: 1.0 - plan.rows as f64 / plan.tokens.max(1) as f64,
            not_shared: not_shared(options, shape.has_dropout(), plan),
            schedule: schedule(plan),
            blocks: shape.config.num_hidden_layers,
            recompute: *recompute,
            memory: (*memory).into(),
            disk,
        }
    }

    /// As a table of lines.
    pub fn say(&self, ui: &Ui) {
        let line = |name: &str, text: String| ui.say(format!("{name:>12}  {text}"));
        let count = |n: usize| HumanCount(n as u64).to_string();
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        line("base", format!("{}, {} parameters", self.base, count(self.base_parameters)));
        line(
            "trained",
            format!(
                "{}: {} parameters ({:.2} % of the base)",
                self.tuning,
                count(self.trained_parameters),
                share(self.trained_parameters, self.base_parameters)
            ),
        );
        line("examples", self.examples_line());
        line(
            "tokens",
            format!(
                "{} in {:.2} epochs, {:.0} % of them trained",
                count(self.tokens),
                self.epochs,
                share(self.trained_tokens, self.tokens)
            ),
        );
        line(
            "steps",
            format!(
                "{} of {}, micro-batches of up to {} tokens",
                count(self.steps),
                self.step_size,
                count(self.micro_batch_tokens)
            ),
        );
        line(
            "prefix",
            match self.not_shared {
                Some(reason) => format!("not shared: {reason}"),
                None => format!("shared: {:.0} % of the tokens are computed once", 100.0 * self.shared_share),
            },
        );
        line("rate", self.schedule.clone());
        line("keeps", self.keeps_line());
        line("memory", self.memory_line());
        line("disk", format!("{} while the training state is replaced", HumanBytes(self.disk)));
    }

    fn keeps_line(&self) -> String {
        // Of the blocks that share their buffers the topmost is not computed again.
        match self.recompute.saturating_sub(1) {
            0 => "every block's activations".into(),
            again => format!("{} blocks' activations; {again} are computed again", self.blocks - again),
        }
    }

    fn memory_line(&self) -> String {
        let m = &self.memory;
        let shown = |bytes: u64| HumanBytes(bytes).to_string();
        format!(
            "{} at the peak: base {}{}, trained {} with gradients and moments, activations {}, the rest {}",
            shown(m.total),
            shown(m.base),
            if m.base_mapped == m.base && m.base > 0 { " (mapped)" } else { "" },
            shown(m.trained + m.gradients + m.moments + m.best),
            shown(m.activations),
            shown(m.scratch + m.head + m.packing + m.saving + m.program),
        )
    }

    fn examples_line(&self) -> String {
        let mut text = HumanCount(self.examples as u64).to_string();
        if self.replayed > 0 {
            text += &format!(", {} of them replayed", HumanCount(self.replayed as u64));
        }
        if self.truncated > 0 {
            text += &format!(", {} cut to {} tokens", HumanCount(self.truncated as u64), self.max_seq_length);
        }
        if self.left_out > 0 {
            let reasons: Vec<_> = self.left_out_reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
            text += &format!("; left out: {}", reasons.join(", "));
        }
        if self.validation > 0 {
            text += &format!("; evaluated on {}", HumanCount(self.validation as u64));
        }
        text
    }
}

fn tuning(options: &TrainOptions, adapter: Option<&AdapterInfo>) -> String {
    let Some(AdapterInfo { lora, .. }) = adapter else { return "every weight".into() };
    let kind = if lora.dora { "DoRA" } else { "LoRA" };
    let targets = lora.target_modules.join(", ");
    let mut text = format!("{kind} of rank {}, alpha {}, on {targets}", lora.rank, lora.alpha);
    if !lora.modules_to_save.is_empty() {
        text += &format!(", and {} in full", lora.modules_to_save.join(", "));
    }
    if let Some(quantize) = options.quantize {
        text += &format!(", over the base in {}", quantize.block());
    }
    if let Tuning::Continue(folder) = &options.tuning {
        text += &format!(", from {}", folder.display());
    }
    text
}

fn schedule(plan: &TrainPlan) -> String {
    let shape = format!("{:?}", plan.schedule).to_lowercase();
    let decay =
        if plan.weight_decay > 0.0 { format!(", weight decay {}", plan.weight_decay) } else { String::new() };
    format!("{}, {shape}, {} steps of warm-up{decay}", plan.learning_rate, plan.warmup_steps)
}
