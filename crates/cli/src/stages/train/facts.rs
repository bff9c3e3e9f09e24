//! What is known before the first step: printed first, and all that `--dry-run` prints.

use super::data::Data;
use super::{TrainOptions, Tuning};
use crate::report::Failure;
use crate::ui::Ui;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use std::path::Path;
use tolmach_engine::CpuBackend;
use tolmach_model::{AdapterInfo, Decoder};
use tolmach_tokenize::StepSize;
use tolmach_train::{MemoryEstimate, TrainPlan};

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
    pub memory: Memory,
}

/// Estimated bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    pub base: u64,
    pub trained: u64,
    pub activations: u64,
    pub total: u64,
}

fn not_shared(options: &TrainOptions, model: &Decoder<CpuBackend>, plan: &TrainPlan) -> Option<&'static str> {
    if !options.train.shared_prefix {
        Some("switched off")
    } else if model.has_dropout() {
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
        model: &mut Decoder<CpuBackend>,
        adapter: Option<&AdapterInfo>,
        plan: &TrainPlan,
        data: &Data,
        max_seq_length: usize,
    ) -> Result<Self, Failure> {
        let estimate = MemoryEstimate::new(model, plan, weights_on_disk(&options.base)?);
        let step_size = match plan.step_size {
            StepSize::Tokens(tokens) => format!("up to {} tokens", HumanCount(tokens as u64)),
            StepSize::Examples(examples) => format!("{examples} examples"),
        };
        Ok(Self {
            base: crate::hub::shown(&options.base),
            base_parameters: model.config.parameters(),
            trained_parameters: model.parameters_mut().iter().map(|p| p.len()).sum(),
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
            not_shared: not_shared(options, model, plan),
            schedule: schedule(plan),
            memory: Memory {
                base: estimate.base,
                trained: estimate.trained,
                activations: estimate.activations,
                total: estimate.total(),
            },
        })
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
        let Memory { base, trained, activations, total } = self.memory;
        let [base, trained, activations, total] = [base, trained, activations, total].map(HumanBytes);
        line("memory", format!("about {total}: base {base}, trained {trained}, activations {activations}"));
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
    let mut text =
        format!("LoRA of rank {}, alpha {}, on {}", lora.rank, lora.alpha, lora.target_modules.join(", "));
    if !lora.modules_to_save.is_empty() {
        text += &format!(", and {} in full", lora.modules_to_save.join(", "));
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

/// Bytes of the safetensors files of a model folder.
fn weights_on_disk(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == "safetensors") {
            bytes += std::fs::metadata(entry.path())?.len(); // follows links
        }
    }
    Ok(bytes)
}
