//! The stage that trains: from a base and a data set to an adapter folder, or to a model trained in full.

mod card;
mod data;
mod facts;
mod output;
mod prepare;
mod profile;
mod progress;
mod record;
mod samples;
mod time;

pub use data::holds_tokens;
pub use facts::PlanFacts;
pub use output::STATE as TRAINING_STATE;
pub use prepare::Base;
pub use profile::ProfileReport;
pub use time::plan_with_time;

use crate::interrupt;
use crate::loading::{model_failure, pool, tokenizer};
use crate::report::{Exit, Failure};
use crate::ui::Ui;
use data::Data;
use output::Output;
use prepare::Planned;
use progress::TrainingProgress;
use record::{Standing, TrainingRecord};
use samples::SamplesFile;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tolmach_engine::{BlockType, CpuBackend};
use tolmach_model::{AdapterInfo, Config, Decoder, LoraConfig};
use tolmach_tokenize::{MaskConfig, PromptTemplate, Tokenizer};
use tolmach_train::{Evaluation, Identity, Outcome, Run, RunFiles, State, TrainConfig, TrainPlan, train};

/// What to train, on what, and where it goes.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Folder of the base model.
    pub base: PathBuf,
    /// Examples of any format, or token ids (`{"input_ids": […], "labels": […]}`).
    pub data: PathBuf,
    /// Examples that are only evaluated on.
    pub validation: Option<PathBuf>,
    pub output: PathBuf,
    pub tuning: Tuning,
    /// Keep the base's linear layers in fewer bits while an adapter is trained over them.
    pub quantize: Option<Quantize>,
    pub train: TrainConfig,
    pub template: PromptTemplate,
    pub mask: MaskConfig,
    pub replay: Option<Replay>,
    /// Replied to now and then while training, greedily.
    pub sample_prompts: Vec<String>,
    /// Absent: one per core.
    pub threads: Option<usize>,
    /// Go on from the training state in `output`; start where there is none.
    pub resume: bool,
    /// Start over, whatever is in `output`.
    pub force: bool,
    /// Tell at the end where the time went.
    pub profile: bool,
}

/// What is trained.
#[derive(Clone, Debug)]
pub enum Tuning {
    /// A fresh adapter.
    Lora(LoraConfig),
    /// An adapter that exists: the same matrices go on.
    Continue(PathBuf),
    /// Every weight of the model.
    Full,
}

/// How a base is quantised as it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Quantize {
    /// 4 bits by QLoRA's table, double-quantised as bitsandbytes does
    Nf4,
    /// 8 bits, 32 numbers a scale
    #[serde(rename = "q8_0")]
    #[value(name = "q8_0")]
    Q8_0,
}

impl Quantize {
    pub fn block(self) -> BlockType {
        match self {
            Quantize::Nf4 => BlockType::Nf4,
            Quantize::Q8_0 => BlockType::Q8_0,
        }
    }
}

/// Untranslated examples mixed into training, so that the source language is not forgotten.
#[derive(Clone, Debug)]
pub struct Replay {
    pub data: PathBuf,
    /// Replay examples per translated example.
    pub share: f64,
    /// Of the source language.
    pub template: PromptTemplate,
}

/// What `train --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct TrainSummary {
    pub steps: usize,
    /// Gone through, without any padding.
    pub tokens: u64,
    /// Of these, with a label.
    pub trained_tokens: u64,
    /// In optimizer steps; loading, evaluation and saving left out.
    pub seconds: f64,
    pub tokens_per_second: f64,
    pub peak_rss_bytes: Option<u64>,
    /// Nats per labelled token, before the last update.
    pub final_loss: Option<f64>,
    /// Of each step.
    pub losses: Vec<f64>,
    pub evaluations: Vec<Loss>,
    pub stopped_early: bool,
    /// After which step the saved weights are from, if not the last.
    pub best_step: Option<usize>,
    pub trained_parameters: usize,
    pub examples: usize,
    pub left_out: usize,
    /// The output folder: of the adapter, or of the model trained in full.
    pub adapter: PathBuf,
    pub adapter_bytes: u64,
    pub samples: Vec<Sample>,
    /// With `--profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileReport>,
}

/// A validation loss.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Loss {
    pub step: usize,
    /// Nats per labelled token.
    pub loss: f64,
}

/// A reply to a sample prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub prompt: String,
    pub reply: String,
}

/// Everything that is known before the first step.
struct Prepared {
    model: Decoder<CpuBackend>,
    /// What the adapter folder will say; `None` in full training.
    adapter: Option<AdapterInfo>,
    tokenizer: Option<Tokenizer>,
    data: Data,
    plan: TrainPlan,
    identity: Identity,
    facts: PlanFacts,
}

/// Train, with progress, and write the output folder.
///
/// # Errors
/// Missing or invalid input (exit 3), impossible settings (2), a loss that is not a number (1),
/// Ctrl-C with the state saved (130).
pub fn run_training(options: &TrainOptions, ui: &Ui) -> Result<TrainSummary, Failure> {
    let output = Output::check(options)?;
    let cancel = interrupt::flag(); // from here on Ctrl-C stops in good order
    pool(options.threads)?.install(|| {
        let Prepared { mut model, adapter, tokenizer, data, plan, identity, facts } = prepare(options, ui)?;
        facts.say(ui);
        prepare::check_disk(output.folder(), &facts)?;
        let live = output.live(options, adapter.as_ref())?;
        let is_live = live.is_some();
        let (state, metrics) = (output.state(), output.metrics());
        let resident_bytes = crate::peak_memory::resident_bytes;
        let files = RunFiles { state, metrics, identity, live, resident_bytes };
        let mut state = output.start(options, &mut model, &files.identity, ui)?;
        let begun_at = state.progress.step;
        let record = TrainingRecord::start(output.record(), options, &facts, begun_at, is_live)?;
        let run = Run {
            plan: &plan,
            train: &data.train,
            validation: &data.validation,
            files: Some(&files),
            cancel,
        };
        let samples = match options.sample_prompts.is_empty() {
            true => None,
            false => Some(SamplesFile::open(&output.samples(), begun_at)?),
        };
        let mut progress =
            TrainingProgress::new(ui, &plan, &state.progress, options, tokenizer.as_ref(), samples)?;
        let begun = Instant::now();
        let outcome = train(&mut model, &mut state, &run, |event| progress.on(&event));
        let took = begun.elapsed().as_secs_f64();
        let samples = progress.finish();
        let written = match outcome {
            Ok(Outcome::Finished | Outcome::StoppedEarly) => {
                output.write_result(options, &mut model, adapter.as_ref())
            }
            _ => Ok(()),
        };
        output.forget_live();
        let recorded = record.end(if written.is_ok() { Standing::of(&outcome) } else { Standing::Failed });
        let outcome = outcome.map_err(train_failure)?;
        if outcome == Outcome::Interrupted {
            return Err(interrupted(state.progress.step, plan.steps));
        }
        written.and(recorded)?;
        let mut summary =
            summary(&state, &plan, &data, &output, outcome, facts.trained_parameters, samples?)?;
        summary.profile = model.backend.spendings().map(|spendings| ProfileReport::new(&spendings, took));
        card::write(options, adapter.as_ref(), &plan, &facts, &summary)?;
        Ok(summary)
    })
}

/// What training would do, without doing it.
///
/// # Errors
/// As [`run_training`], as far as it can be known beforehand.
pub fn plan_training(options: &TrainOptions, ui: &Ui) -> Result<PlanFacts, Failure> {
    let output = Output::check(options)?;
    let facts = pool(options.threads)?.install(|| prepare(options, ui).map(|prepared| prepared.facts))?;
    facts.say(ui);
    prepare::check_disk(output.folder(), &facts)?;
    Ok(facts)
}

fn prepare(options: &TrainOptions, ui: &Ui) -> Result<Prepared, Failure> {
    let planned = Planned::new(options, &Base::open(&options.base)?, ui)?;
    let Planned { tokenizer, data, adapter, fitted, facts } = planned;
    let plan = fitted.plan;
    let quantize = options.quantize.map(Quantize::block);
    let backend = Arc::new(if options.profile { CpuBackend::profiled() } else { CpuBackend::new() });
    let mut model = Decoder::load_as(backend, &options.base, quantize).map_err(model_failure)?;
    attach(&mut model, options)?;
    model.recompute = fitted.recompute;
    let identity = identity(options, &model, adapter.as_ref(), &plan, &data)?;
    Ok(Prepared { model, adapter, tokenizer, data, plan, identity, facts })
}

/// Token ids need no tokenizer, unless replies are to be shown.
fn needed_tokenizer(options: &TrainOptions, config: &Config, ui: &Ui) -> Result<Option<Tokenizer>, Failure> {
    if options.sample_prompts.is_empty() && data::is_pretokenized(options)? {
        return Ok(None);
    }
    let tokenizer = tokenizer(&options.base, ui)?;
    tokenizer.check_vocab_size(config.vocab_size)?;
    Ok(Some(tokenizer))
}

/// Make the model train what the options say.
fn attach(model: &mut Decoder<CpuBackend>, options: &TrainOptions) -> Result<(), Failure> {
    match &options.tuning {
        Tuning::Lora(lora) => {
            model.add_lora(lora, options.train.seed).map_err(|e| model_failure(e).exit(Exit::Usage))
        }
        Tuning::Continue(folder) => model.load_adapter(folder).map(|_| ()).map_err(model_failure),
        Tuning::Full => {
            model.train_all();
            Ok(())
        }
    }
}

/// What a training state must agree with to be gone on with.
fn identity(
    options: &TrainOptions,
    model: &Decoder<CpuBackend>,
    adapter: Option<&AdapterInfo>,
    plan: &TrainPlan,
    data: &Data,
) -> Result<Identity, Failure> {
    let identity = Identity::new(plan, &data.train, &data.validation)
        .with("base model", &model.fingerprint.as_deref().unwrap_or("unknown"));
    let identity = match adapter {
        Some(info) => identity.with("lora", &serde_json::to_string(&info.lora)?),
        None => identity.with("lora", &"none: full training"),
    };
    let identity = match options.quantize {
        Some(quantize) => identity.with("base quantised to", &quantize.block()),
        None => identity,
    };
    Ok(match &options.tuning {
        Tuning::Continue(folder) => {
            let bytes = std::fs::read(folder.join(tolmach_model::ADAPTER_WEIGHTS))?;
            identity.with("first adapter", &&blake3::hash(&bytes).to_hex()[..16])
        }
        _ => identity,
    })
}

fn summary(
    state: &State<CpuBackend>,
    plan: &TrainPlan,
    data: &Data,
    output: &Output,
    outcome: Outcome,
    trained_parameters: usize,
    samples: Vec<Sample>,
) -> Result<TrainSummary, Failure> {
    let progress = &state.progress;
    let evaluations = progress.evaluations.iter().map(|&Evaluation { step, loss }| Loss { step, loss });
    Ok(TrainSummary {
        steps: progress.step,
        tokens: progress.tokens,
        trained_tokens: progress.trained_tokens,
        seconds: progress.seconds,
        tokens_per_second: progress.tokens as f64 / progress.seconds.max(1e-9),
        peak_rss_bytes: crate::peak_memory::peak_rss_bytes(),
        final_loss: progress.losses.last().copied(),
        losses: progress.losses.clone(),
        evaluations: evaluations.collect(),
        stopped_early: outcome == Outcome::StoppedEarly,
        best_step: progress.best().filter(|_| plan.keep_best).map(|best| best.step),
        trained_parameters,
        examples: data.train.len(),
        left_out: data.left_out,
        adapter: output.folder().to_path_buf(),
        adapter_bytes: output.result_bytes()?,
        samples,
        profile: None,
    })
}

fn interrupted(step: usize, steps: usize) -> Failure {
    let message = format!("interrupted after step {step} of {steps}; the training state is saved");
    Failure::new(Exit::Interrupted, message).hint("the same command with --resume goes on from there")
}

/// An error of the training with its hint and exit code.
pub fn train_failure(error: tolmach_train::Error) -> Failure {
    use tolmach_train::Error;
    let exit = match &error {
        Error::Config { .. } | Error::Both { .. } | Error::OtherRun { .. } | Error::Memory { .. } => {
            Exit::Usage
        }
        Error::LossNotFinite { .. } | Error::GradientNotFinite { .. } | Error::WeightNotFinite { .. } => {
            Exit::CheckFailed
        }
        _ => Exit::Input,
    };
    let hint = error.hint();
    Failure::from(error).exit(exit).maybe_hint(hint)
}
