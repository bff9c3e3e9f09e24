//! `tolmach export`: a tuned model in the formats of other programs, each proven before it appears.

use crate::commands::merge;
use crate::hub;
use crate::loading::{self, TEMPLATE_FILE};
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tolmach_export::gguf::TensorType;
use tolmach_export::{Certificate, Export, Progress};
use tolmach_tokenize::PromptTemplate;

const EXAMPLES: &str = "\
Examples:
  One file for llama.cpp, in 4.5 bits a weight:
    tolmach export gguf --base models/llama --adapter adapter -o llama-ru.gguf --type q4_k
  The adapter alone, to be put over the base's own GGUF file:
    tolmach export gguf-lora --base models/llama --adapter adapter -o adapter.gguf
  A model folder for transformers and vLLM (the same as `tolmach merge`):
    tolmach export hf --base models/llama --adapter adapter -o llama-ru

What was written is read back from disk and compared with the tuned model on 64 texts before
it gets its name; the figures go into a certificate beside it. The exit code is 1 when they
differ.";

/// Export a tuned model for other programs: GGUF, a GGUF adapter, a Hugging Face folder
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Subcommand)]
enum Format {
    Gguf(GgufArgs),
    GgufLora(GgufLoraArgs),
    Hf(merge::Args),
}

/// Write the model with its adapter merged in as one GGUF file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct GgufArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// How weights are stored: f32, f16, bf16, q8_0, q6_k, q4_0 or q4_k
    #[arg(long = "type", value_name = "TYPE", default_value_t = TensorType::F16)]
    tensor_type: TensorType,
}

/// Write the adapter alone as a GGUF file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct GgufLoraArgs {
    #[command(flatten)]
    model: ModelArgs,
}

/// What every export takes.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// Base model, unquantised: a folder, or org/name[@revision] at the Hub
    #[arg(long, value_name = "MODEL")]
    base: PathBuf,
    /// Adapter folder; absent: the base as it is
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<PathBuf>,
    /// Prompt template that the chat template is made of, or `none` [default: the adapter's, else the
    /// base's own chat template stays]
    #[arg(long, value_name = "NAME", value_parser = loading::named_template)]
    template: Option<PromptTemplate>,
    /// Where the result goes
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    match args.format {
        Format::Gguf(GgufArgs { model, tensor_type }) => {
            model.run(ui, &|export, progress| export.gguf(tensor_type, progress))
        }
        Format::GgufLora(GgufLoraArgs { model }) => {
            let adapter = hub::optional(model.adapter.as_deref(), hub::adapter, ui)?;
            let adapter =
                adapter.ok_or_else(|| Failure::usage("there is no adapter: name it with --adapter"))?;
            model.run(ui, &|export, progress| export.gguf_lora(&adapter, progress))
        }
        Format::Hf(args) => merge::run(args, ui),
    }
}

type Run<'a> = dyn Fn(&Export, &mut dyn FnMut(Progress)) -> tolmach_export::Result<Certificate> + Sync + 'a;

impl ModelArgs {
    /// Run one export, with its progress, and report its certificate.
    pub fn run(&self, ui: &Ui, export: &Run) -> Outcome {
        let started = Instant::now();
        let base = hub::model(&self.base, ui)?;
        let adapter = hub::optional(self.adapter.as_deref(), hub::adapter, ui)?;
        let tokenizer = loading::tokenizer(&base, ui)?;
        let template = self.template(adapter.as_ref().unwrap_or(&base))?;
        let job = Export {
            base: &base,
            adapter: adapter.as_deref(),
            tokenizer: &tokenizer,
            template: template.as_ref(),
            target: &self.output,
            force: self.force,
        };
        let mut bars = Bars { ui, bar: None };
        let made = loading::pool(self.threads)?.install(|| export(&job, &mut |progress| bars.show(progress)));
        bars.finish();
        let certificate = made.map_err(|error| failure(error, ui))?;
        for warning in &certificate.warnings {
            ui.warn(warning);
        }
        ui.say(summary(&certificate));
        ui.say(format!("written: {}", self.output.display()));
        let bytes: u64 = certificate.files.iter().map(|file| file.bytes).sum();
        Ok(Some(json!({
            "output": self.output,
            "bytes": bytes,
            "seconds": started.elapsed().as_secs_f64(),
            "peak_rss_bytes": crate::peak_memory::peak_rss_bytes(),
            "certificate": certificate,
        })))
    }

    /// What the user names, else what the adapter (or a model that was trained in full) was trained with.
    fn template(&self, folder: &Path) -> Result<Option<PromptTemplate>, Failure> {
        match &self.template {
            Some(template) => Ok(Some(template.clone())),
            None if folder.join(TEMPLATE_FILE).exists() => loading::adapter_template(Some(folder)).map(Some),
            None => Ok(None),
        }
    }
}

/// One line that says how equal the two are.
fn summary(certificate: &Certificate) -> String {
    let Some(figures) = &certificate.logits else { return "proven".into() };
    format!(
        "proven on {} texts: logits within {:.1e} of the largest, KL {:.1e} nats, the same first token in {:.1} % of {} places",
        certificate.prompts,
        figures.max_abs_relative,
        figures.kl_mean,
        100.0 * figures.top1_agreement,
        figures.rows
    )
}

/// One bar for each part of the work.
struct Bars<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
}

impl Bars<'_> {
    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Live => self.start(0, "reading"),
            Progress::Proving => self.start(0, "proving"),
            Progress::Writing { done, of } => {
                if self.bar.as_ref().is_none_or(|bar| bar.length() != Some(of)) {
                    self.start(of, "writing");
                }
                if let Some(bar) = &self.bar {
                    bar.set_position(done);
                }
            }
        }
    }

    fn start(&mut self, length: u64, what: &str) {
        self.finish();
        self.bar = Some(self.ui.bar(length, what));
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn failure(error: tolmach_export::Error, ui: &Ui) -> Failure {
    use tolmach_export::Error;
    let exit = match &error {
        Error::NotEqual(certificate) => {
            if ui.json {
                ui.stdout_json(&json!({ "certificate": certificate }));
            }
            Exit::CheckFailed
        }
        Error::Exists { .. }
        | Error::NotOurs { .. }
        | Error::OwnInput { .. }
        | Error::SavedModules { .. }
        | Error::Magnitudes => Exit::Usage,
        _ => Exit::Input,
    };
    let hint = error.hint();
    Failure::from(error).exit(exit).maybe_hint(hint)
}
