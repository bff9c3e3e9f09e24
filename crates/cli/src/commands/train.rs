//! `tolmach train`: its flags, and the way from them to the stage.

use crate::hub;
use crate::loading::named_template;
use crate::report::{Failure, Outcome};
use crate::stages::train::{
    Quantize, Replay, TrainOptions, TrainSummary, Tuning, plan_training, run_training,
};
use crate::ui::Ui;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use std::path::PathBuf;
use std::time::Duration;
use tolmach_model::{InitLora, LoraConfig};
use tolmach_tokenize::{MaskConfig, OverLong, PromptTemplate};
use tolmach_train::{MemoryLimit, Schedule, TrainConfig};

const EXAMPLES: &str = "\
Examples:
  An adapter from a Russian data set, evaluated on held-out examples as it goes:
    tolmach train --base models/open_llama_3b --data train.jsonl --validation val.jsonl \\
        --template alpaca-ru -o adapters/ru
  See what it would do, and how much memory that takes:
    tolmach train --base models/open_llama_3b --data train.jsonl -o adapters/ru --dry-run
  Go on after Ctrl-C, a crash or a power cut, to the same bytes:
    tolmach train --base models/open_llama_3b --data train.jsonl -o adapters/ru --resume
  Keep English alive with one untranslated example for every ten:
    tolmach train --base models/open_llama_3b --data ru.jsonl --template alpaca-ru \\
        --replay en.jsonl --replay-share 0.1 --replay-template alpaca-en -o adapters/ru
  Over a base in 4 bits, within 3.5 GiB:
    tolmach train --base models/open_llama_3b --data train.jsonl --quantize nf4 --memory 3.5GiB -o adapters/ru
  Train an adapter further on other data:
    tolmach train --base models/open_llama_3b --data more.jsonl --adapter adapters/ru -o adapters/ru2

DATA holds examples of any format that `tolmach clean` reads, or token ids, one
{\"input_ids\": [...], \"labels\": [...]} a line. The output folder gets the adapter in PEFT's format, metrics.jsonl,
README.md, template.json and training-state.safetensors; with --full a model folder.";

/// Train an adapter (or the whole model) on a data set
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Base model: a folder in the Hugging Face layout, or org/name[@revision] of one at the Hub
    #[arg(long, value_name = "MODEL")]
    base: PathBuf,
    /// What to train on: JSON, JSONL or Parquet, also .gz or .zst; a `*` in the name stands for several files of text;
    /// or org/name[@revision] at the Hub
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder for the result
    #[arg(short, long, value_name = "ADAPTER")]
    output: PathBuf,
    /// Go on from the training state in the output folder
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Overwrite the output folder's adapter and training state
    #[arg(long)]
    force: bool,
    /// Print the plan, train nothing
    #[arg(long)]
    dry_run: bool,
    /// Tell at the end where the time went, and what share of the rate of matrix products was reached
    #[arg(long)]
    profile: bool,
    // Last: their headings would go on over what follows.
    #[command(flatten)]
    how: HowArgs,
}

/// How to train, whatever on: what `train` and `plan` have in common.
#[derive(clap::Args)]
pub struct HowArgs {
    /// Held-out examples: the loss on them is shown and recorded
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// Prompt template
    #[arg(long, value_name = "NAME", default_value = "alpaca-en", value_parser = named_template)]
    template: PromptTemplate,
    /// Train the prompts too, not the answers alone
    #[arg(long)]
    train_on_prompt: bool,
    /// Untranslated examples to mix in, so that their language is not forgotten
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// How many of these for each example of DATA
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, requires = "replay")]
    replay_share: f64,
    /// Their prompt template
    #[arg(
        long, value_name = "NAME", default_value = "alpaca-en", value_parser = named_template,
        requires = "replay"
    )]
    replay_template: PromptTemplate,

    /// Of the order, the first adapter weights, the dropout, the choice of replay examples [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads [default: one per core]; the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

/// What is trained.
#[derive(clap::Args)]
#[command(next_help_heading = "Adapter")]
struct LoraArgs {
    /// Rank of the LoRA matrices [default: 16]
    #[arg(long, value_name = "R")]
    lora_rank: Option<usize>,
    /// The update is scaled by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    lora_alpha: Option<f64>,
    /// Share of the inputs that the LoRA branch drops in training [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    lora_dropout: Option<f32>,
    /// Layers with LoRA, by name: q_proj,v_proj… [default: all-linear]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    target_modules: Vec<String>,
    /// Layers without LoRA all the same, by name
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exclude_modules: Vec<String>,
    /// Only in these blocks, counted from 0 [default: all]
    #[arg(long, value_name = "BLOCKS", value_delimiter = ',')]
    layers_to_transform: Vec<usize>,
    /// How the matrix A begins: kaiming or gaussian [default: kaiming]
    #[arg(long, value_name = "NAME", value_parser = init_lora_weights)]
    init_lora_weights: Option<InitLora>,
    /// Trained in full beside it: embed_tokens, lm_head
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    modules_to_save: Vec<String>,
    /// Another rank for some layers: q_proj=4,layers.0.mlp.up_proj=32
    #[arg(long, value_name = "NAME=R", value_delimiter = ',', value_parser = pair::<usize>)]
    rank_pattern: Vec<(String, usize)>,
    /// Another alpha for some layers
    #[arg(long, value_name = "NAME=ALPHA", value_delimiter = ',', value_parser = pair::<f64>)]
    alpha_pattern: Vec<(String, f64)>,
    /// Scale by alpha / √rank instead
    #[arg(long)]
    rslora: bool,
    /// DoRA: train the length of each row of a weight apart from its direction; slower, more memory
    #[arg(long)]
    dora: bool,
    /// Train over the base in fewer bits; merge the adapter with the original
    #[arg(long, value_name = "FORMAT", conflicts_with = "full")]
    quantize: Option<Quantize>,
    /// Go on with the adapter in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = FRESH)]
    adapter: Option<PathBuf>,
    /// Train every weight of the model, without an adapter
    #[arg(long, conflicts_with_all = FRESH, conflicts_with = "adapter")]
    full: bool,
}

/// The flags that describe a fresh adapter.
const FRESH: [&str; 12] = [
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "init_lora_weights",
    "modules_to_save",
    "rslora",
    "dora",
    "rank_pattern",
    "alpha_pattern",
];

/// How much of the data, how fast.
#[derive(clap::Args)]
#[command(next_help_heading = "Schedule")]
struct ScheduleArgs {
    /// Passes over the data [default: 3]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Optimizer steps in all, whatever the epochs
    #[arg(long, value_name = "N")]
    max_steps: Option<usize>,
    /// Tokens of one optimizer step [default: 2048]
    #[arg(long, value_name = "N", conflicts_with = "step_examples")]
    step_tokens: Option<usize>,
    /// Examples of one optimizer step, instead
    #[arg(long, value_name = "N")]
    step_examples: Option<usize>,
    /// Tokens that go through the model together: less needs less memory [default: what --max-seq-length is, or up
    /// to twice that where it costs at most 160 MiB]
    #[arg(long, value_name = "N")]
    micro_batch_tokens: Option<usize>,
    /// What the run may take at its peak, as 8GiB: micro-batches hold --max-seq-length and no more, blocks are
    /// computed again, micro-batches get smaller still, as far as that needs it
    #[arg(long, value_name = "BYTES")]
    memory: Option<MemoryLimit>,
    /// Compute the beginning that examples have in common once per example, not once per micro-batch
    #[arg(long)]
    no_shared_prefix: bool,
    /// Longest example in tokens [default: 512, or the model's limit]
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// What happens to longer ones
    #[arg(long, value_name = "WHAT", value_parser = ["drop", "truncate"], default_value = "drop")]
    over_long: String,
    /// Peak learning rate [default: 0.0002]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// Its course after the warm-up [default: cosine]
    #[arg(long, value_name = "NAME", value_parser = ["constant", "linear", "cosine"])]
    schedule: Option<String>,
    /// Steps of linear warm-up from 0
    #[arg(long, value_name = "N", conflicts_with = "warmup_ratio")]
    warmup_steps: Option<usize>,
    /// The same as a share of all steps [default: 0.03]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    warmup_ratio: Option<f64>,
    /// Decoupled weight decay [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// LoRA+: B learns so many times faster than A [default: 1]
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    loraplus_lr_ratio: Option<f64>,
    /// NEFTune: strength of the noise on the embeddings [default: none]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    neftune_noise_alpha: Option<f64>,
    /// Longest gradient; 0 does not clip [default: 1]
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    max_grad_norm: Option<f64>,
    /// Keep the order of the file in every epoch
    #[arg(long)]
    no_shuffle: bool,
}

/// What is shown and saved meanwhile.
#[derive(clap::Args)]
#[command(next_help_heading = "While it trains")]
struct WatchArgs {
    /// Steps between evaluations [default: at the end of each epoch]
    #[arg(long, value_name = "N", requires = "validation")]
    eval_every: Option<usize>,
    /// Validation examples used; 0 for all [default: 100]
    #[arg(long, value_name = "N", requires = "validation")]
    eval_examples: Option<usize>,
    /// Stop after so many evaluations in a row without a lower loss, and keep the best weights
    #[arg(long, value_name = "N", requires = "validation")]
    early_stop: Option<usize>,
    /// Keep the weights with the lowest validation loss, not the last ones
    #[arg(long, requires = "validation")]
    keep_best: bool,
    /// Show what the model replies to this (may be given several times)
    #[arg(long, value_name = "TEXT")]
    sample_prompt: Vec<String>,
    /// Steps between such replies [default: with each evaluation]
    #[arg(long, value_name = "N", requires = "sample_prompt")]
    sample_every: Option<usize>,
    /// Steps between saved training states [default: once a minute]
    #[arg(long, value_name = "N")]
    save_every: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let Args { base, data, output, resume, force, dry_run, profile, how } = args;
    let options = TrainOptions { resume, force, profile, ..how.options(base, data, output)? };
    let options = fetch(options, ui)?;
    if dry_run {
        return Ok(Some(serde_json::to_value(plan_training(&options, ui)?)?));
    }
    let summary = run_training(&options, ui)?;
    say(&summary, ui);
    Ok(Some(serde_json::to_value(summary)?))
}

fn say(summary: &TrainSummary, ui: &Ui) {
    let loss = summary.final_loss.map_or("none".to_string(), |loss| format!("{loss:.4}"));
    ui.say(format!(
        "{} steps, {} tokens in {}: {:.0} tokens/s; last loss {loss}; peak memory {}",
        summary.steps,
        HumanCount(summary.tokens),
        HumanDuration(Duration::from_secs_f64(summary.seconds)),
        summary.tokens_per_second,
        summary.peak_rss_bytes.map_or("unknown".into(), |bytes| HumanBytes(bytes).to_string()),
    ));
    let why = if summary.stopped_early { ", stopped early" } else { "" };
    if let Some(profile) = &summary.profile {
        profile.say(ui);
    }
    ui.say(format!("{} ({}{why})", summary.adapter.display(), HumanBytes(summary.adapter_bytes)));
}

/// With what is named at the Hub on this machine.
///
/// # Errors
/// It is neither here nor there.
pub fn fetch(mut options: TrainOptions, ui: &Ui) -> Result<TrainOptions, Failure> {
    options.base = hub::model(&options.base, ui)?;
    options.data = hub::data(&options.data, ui)?;
    options.validation = hub::optional(options.validation.as_deref(), hub::data, ui)?;
    if let Some(replay) = &mut options.replay {
        replay.data = hub::data(&replay.data, ui)?;
    }
    if let Tuning::Continue(adapter) = &mut options.tuning {
        *adapter = hub::adapter(adapter, ui)?;
    }
    Ok(options)
}

impl HowArgs {
    pub fn memory(&self) -> Option<MemoryLimit> {
        self.schedule.memory
    }

    pub fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// From flags to what is meant. What the flags leave out is [`TrainConfig`]'s default.
    pub fn options(self, base: PathBuf, data: PathBuf, output: PathBuf) -> Result<TrainOptions, Failure> {
        let HowArgs { lora, schedule, watch, .. } = self;
        let default = TrainConfig::default();
        let train = TrainConfig {
            epochs: schedule.epochs.unwrap_or(default.epochs),
            max_steps: schedule.max_steps,
            step_tokens: schedule.step_tokens,
            step_examples: schedule.step_examples,
            micro_batch_tokens: schedule.micro_batch_tokens,
            memory: schedule.memory,
            shared_prefix: !schedule.no_shared_prefix,
            max_seq_length: schedule.max_seq_length,
            over_long: if schedule.over_long == "truncate" { OverLong::Truncate } else { OverLong::Drop },
            learning_rate: schedule.learning_rate.unwrap_or(default.learning_rate),
            schedule: match schedule.schedule.as_deref() {
                Some("constant") => Schedule::Constant,
                Some("linear") => Schedule::Linear,
                _ => Schedule::Cosine,
            },
            warmup_steps: schedule.warmup_steps,
            warmup_ratio: schedule.warmup_ratio,
            weight_decay: schedule.weight_decay.unwrap_or(default.weight_decay),
            loraplus_lr_ratio: schedule.loraplus_lr_ratio,
            neftune_noise_alpha: schedule.neftune_noise_alpha,
            max_grad_norm: schedule.max_grad_norm.unwrap_or(default.max_grad_norm),
            shuffle: !schedule.no_shuffle,
            seed: self.seed.unwrap_or(default.seed),
            eval_every: watch.eval_every,
            eval_examples: watch.eval_examples.unwrap_or(default.eval_examples),
            sample_every: watch.sample_every,
            save_every: watch.save_every,
            early_stop: watch.early_stop,
            keep_best: watch.keep_best,
            ..default
        };
        let (replay_share, replay_template) = (self.replay_share, self.replay_template);
        Ok(TrainOptions {
            base,
            data,
            validation: self.validation,
            output,
            quantize: lora.quantize,
            tuning: tuning(lora)?,
            train,
            template: self.template,
            mask: MaskConfig { train_on_prompt: self.train_on_prompt },
            replay: self.replay.map(|data| Replay { data, share: replay_share, template: replay_template }),
            sample_prompts: watch.sample_prompt,
            threads: self.threads.map(usize::from),
            resume: false,
            force: false,
            profile: false,
        })
    }
}

/// PEFT's ways to begin that leave the base as it is.
fn init_lora_weights(name: &str) -> Result<InitLora, String> {
    match name {
        "kaiming" | "true" => Ok(InitLora::Kaiming),
        "gaussian" => Ok(InitLora::Gaussian),
        other => {
            Err(format!("`{other}` is not computed here: expected kaiming (peft's default) or gaussian"))
        }
    }
}

/// `name=value`.
fn pair<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let pair = text.split_once('=').and_then(|(name, value)| Some((name.to_string(), value.parse().ok()?)));
    pair.ok_or_else(|| "expected NAME=NUMBER".to_string())
}

fn tuning(args: LoraArgs) -> Result<Tuning, Failure> {
    if args.full {
        return Ok(Tuning::Full);
    }
    if let Some(folder) = args.adapter {
        return Ok(Tuning::Continue(folder));
    }
    let default = args.lora_rank.map_or_else(LoraConfig::default, LoraConfig::of_rank);
    let all = args.target_modules.is_empty();
    let lora = LoraConfig {
        alpha: args.lora_alpha.unwrap_or(default.alpha),
        dropout: args.lora_dropout.unwrap_or(default.dropout),
        rslora: args.rslora,
        dora: args.dora,
        rank_pattern: args.rank_pattern.into_iter().collect(),
        alpha_pattern: args.alpha_pattern.into_iter().collect(),
        target_modules: if all { default.target_modules } else { args.target_modules },
        exclude_modules: args.exclude_modules,
        layers_to_transform: args.layers_to_transform,
        init_lora_weights: args.init_lora_weights.unwrap_or_default(),
        modules_to_save: args.modules_to_save,
        ..default
    };
    lora.check().map_err(Failure::usage)?;
    Ok(Tuning::Lora(lora))
}
