//! `tolmach plan`: memory, time and cost of a training run, before anything starts.

use super::train::{HowArgs, fetch};
use crate::hub;
use crate::recipe::{self, RunPlan};
use crate::report::{Failure, Outcome};
use crate::stages::train::{Base, TrainOptions, plan_with_time};
use crate::teach::{default_run, training_options};
use crate::ui::Ui;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  What a recipe's training takes, with the price of the machine:
    tolmach plan recipes/alpaca-ru.toml --price-per-hour 0.35
  The same flags as `tolmach train`:
    tolmach plan --base models/open_llama_3b --data train.jsonl --lora-rank 32
  Within 8 GiB: which blocks are computed again, how small the micro-batches get, what that costs:
    tolmach plan --base models/open_llama_3b --data train.jsonl --memory 8GiB
  A model that is not here yet, by its config.json (the data as token ids, or a tokenizer beside it):
    tolmach plan --config open_llama_7b/config.json --data tokens.jsonl

The memory is the most that the system will count as resident, mapped weights and saving included; they alone
give way when memory is short. Of a model named at the Hub configuration and tokenizer are fetched, its weights are not. The time is
foretold from about two seconds of this machine's own arithmetic on the model's own blocks and data. Nothing else is
written.";

/// Memory, time and cost of a training run before it starts
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A recipe, instead of flags
    #[arg(value_name = "RECIPE.toml", conflicts_with_all = ["base", "data"])]
    recipe: Option<PathBuf>,
    /// Folder of the base model (Hugging Face layout)
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["recipe", "config"])]
    base: Option<PathBuf>,
    /// What to train on
    #[arg(long, value_name = "FILE", required_unless_present = "recipe")]
    data: Option<PathBuf>,
    /// The base model's config.json, where its weights are not here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What an hour of this machine costs
    #[arg(long, value_name = "PRICE")]
    price_per_hour: Option<f64>,
    /// Change a setting of the recipe: section.key=value
    #[arg(long, value_name = "KEY=VALUE", requires = "recipe")]
    set: Vec<String>,
    /// The run's folder, with what is translated already [default: runs/NAME of NAME.toml]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    // Last: its headings would go on over what follows.
    #[command(flatten)]
    how: HowArgs,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    if let Some(price) = args.price_per_hour.filter(|price| !(price.is_finite() && *price >= 0.0)) {
        return Err(Failure::usage(format!("--price-per-hour {price}: expected a price from 0")));
    }
    let (price, config) = (args.price_per_hour, args.config.clone());
    let options = options(args, ui)?;
    let (options, base) = match &config {
        Some(file) => (options, Base::of_config(file)?),
        None => named(options, ui)?,
    };
    plan_with_time(&options, &base, price, ui).map(Some)
}

/// The base that is named, without its weights where the Hub has them and this machine has not.
fn named(mut options: TrainOptions, ui: &Ui) -> Result<(TrainOptions, Base), Failure> {
    let hint = "--config FILE plans from a model's config.json alone";
    let is_here = options.base.exists();
    let explained = |f: Failure| if is_here { f } else { f.hint(hint) };
    let remote = hub::config(&options.base, ui).map_err(explained)?;
    if let Some((folder, _)) = &remote {
        options.base.clone_from(folder);
    }
    let options = fetch(options, ui).map_err(explained)?;
    let base = match remote {
        Some((folder, weights)) => Base::open(&folder).or_else(|_| Base::of_remote(&folder, weights))?,
        None => Base::open(&options.base)?,
    };
    Ok((options, base))
}

fn options(args: Args, ui: &Ui) -> Result<TrainOptions, Failure> {
    let Args { recipe, base, data, config, mut set, output, how, .. } = args;
    let beside = config.map(|file| file.parent().map(PathBuf::from).unwrap_or_default());
    let Some(file) = recipe else {
        let base = base.or(beside).ok_or_else(|| Failure::usage("no base model is named"))?;
        let data = data.ok_or_else(|| Failure::usage("no data are named"))?;
        return how.options(base, data, output.unwrap_or_else(|| PathBuf::from(".")));
    };
    if let Some(folder) = beside {
        let folder = std::path::absolute(&folder)?;
        set.push(format!("base.model={}", toml::Value::from(folder.display().to_string())));
    }
    let (memory, threads) = (how.memory(), how.threads());
    let (recipe, source) = recipe::read(&file, &set)?;
    let plan = RunPlan::new(recipe, &source)?;
    let run = output.unwrap_or_else(|| default_run(&file));
    let (mut options, translated) = training_options(&plan, &run, threads)?;
    options.train.memory = memory.or(options.train.memory);
    if !translated {
        ui.warn(format!(
            "nothing is translated yet: counted are the untranslated examples of {}",
            plan.data.display()
        ));
    }
    Ok(options)
}
