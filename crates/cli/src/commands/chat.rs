//! `tolmach chat`: talk to a model in the terminal, with and without its adapter.

mod repl;
mod session;
mod stop;

use crate::base::Base;
use crate::hub;
use crate::loading::{self, model_failure};
use crate::report::{Failure, Outcome};
use crate::ui::Ui;
use repl::Repl;
use session::Session;
use std::path::PathBuf;
use tolmach_engine::Activations;
use tolmach_model::SamplingConfig;
use tolmach_tokenize::PromptTemplate;

const EXAMPLES: &str = "\
Examples:
  tolmach chat --base models/llama --adapter adapter
  Before and after, one question, greedy:
    tolmach chat --base models/llama --adapter adapter --compare --prompt 'Почему небо голубое?'
  Livelier:
    tolmach chat --base models/llama --adapter adapter --temperature 0.7 --top-p 0.9 --seed 1
  A model of the Hugging Face Hub, at a branch, tag or commit:
    tolmach chat --base org/name@main --prompt 'Привет!'
  Continue a text, without any template:
    tolmach chat --base models/stories --template none --prompt 'Once upon a time'
  What was exported for llama.cpp, in 4.5 bits a weight, which it keeps in memory too:
    tolmach chat --base llama-ru.gguf --prompt 'Почему небо голубое?'
  One question per line, from a file:
    tolmach chat --base models/llama --adapter adapter < questions.txt

In the chat, /help lists the commands. Ctrl-C stops a reply; while nothing is said, it ends the
chat, as Ctrl-D does.";

/// Talk to a model in the terminal, with and without its adapter
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Base model: a folder, a GGUF file, or org/name[@revision] at the Hub
    #[arg(long, value_name = "MODEL")]
    base: PathBuf,
    /// Adapter folder; absent: the base alone
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<PathBuf>,
    /// Prompt template, or `none` to have the prompt continued as it is [default: the adapter's, a GGUF
    /// file's own if it is one of ours, else alpaca-en]
    #[arg(long, value_name = "NAME", value_parser = loading::named_template)]
    template: Option<PromptTemplate>,
    /// Ask this, print the reply and stop
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Let the base and the tuned model reply, one after the other
    #[arg(long, requires = "adapter")]
    compare: bool,
    /// Remember what was said before; otherwise each prompt stands alone, as in training on alpaca
    #[arg(long)]
    conversation: bool,
    /// What to say before everything else
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Longest reply
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = positive)]
    max_new_tokens: usize,
    /// Randomness of the choice; 0 takes the likeliest token
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        value_parser = |t: &str| number(t, 0.0, f32::MAX)
    )]
    temperature: f32,
    /// Choose among the likeliest tokens that have this probability together
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = |t: &str| number(t, 1e-6, 1.0))]
    top_p: f32,
    /// Choose among so many likeliest tokens; 0 is all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Above 1 makes words that were already said less likely
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = |t: &str| number(t, 0.01, 100.0))]
    repetition_penalty: f32,
    /// The same seed gives the same replies
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What weights in Q8_0, Q6_K or Q4_0 are multiplied with: int8, the faster, as llama.cpp does it (but f32 in
    /// prompts of 32 tokens and more where the processor has no instruction for int8); or f32, as in training and eval.
    /// Other weights always meet f32
    #[arg(long, value_name = "TYPE", default_value = "int8", value_parser = activations)]
    activations: Activations,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: &Args, ui: &Ui) -> Outcome {
    stop::install();
    let pool = loading::pool(args.threads)?;
    pool.install(|| {
        let session = load(args, ui)?;
        let mut repl = Repl::new(&session, ui, args.compare, args.conversation, args.system.as_deref());
        match &args.prompt {
            Some(prompt) if prompt.trim().is_empty() => return Err(Failure::usage("--prompt is empty")),
            Some(prompt) => repl.answer(prompt)?,
            None => repl.run()?,
        }
        Ok(Some(repl.json()))
    })
}

fn load(args: &Args, ui: &Ui) -> Result<Session, Failure> {
    let base = hub::model(&args.base, ui)?;
    let adapter = hub::optional(args.adapter.as_deref(), hub::adapter, ui)?;
    let Base { mut model, tokenizer, template: own_template } = Base::load(&base, args.activations, ui)?;
    let template = match (&args.template, &adapter, own_template) {
        (Some(template), _, _) => template.clone(),
        (None, None, Some(own)) => own,
        (None, adapter, _) => loading::adapter_template(Some(adapter.as_ref().unwrap_or(&base)))?,
    };
    if let Some(adapter) = &adapter {
        model.load_adapter(adapter).map_err(model_failure)?;
    }
    let sampling = SamplingConfig {
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    };
    Ok(Session {
        model,
        tokenizer,
        template,
        sampling,
        max_new_tokens: args.max_new_tokens,
        base_name: hub::shown(&base),
        adapter_name: adapter.as_deref().map(hub::shown),
    })
}

fn activations(text: &str) -> Result<Activations, String> {
    match text {
        "int8" => Ok(Activations::Int8),
        "f32" => Ok(Activations::F32),
        _ => Err("expected int8 or f32".to_string()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".to_string())
}

fn number(text: &str, low: f32, high: f32) -> Result<f32, String> {
    let value = text.parse().ok().filter(|v| (low..=high).contains(v));
    value.ok_or_else(|| match high {
        f32::MAX => format!("expected a number of at least {low}"),
        _ => format!("expected a number from {low} to {high}"),
    })
}
