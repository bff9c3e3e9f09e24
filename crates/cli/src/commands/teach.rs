//! `tolmach teach`: the whole line as a recipe describes it.

use super::eval::verdict;
use crate::recipe::{self, RunPlan};
use crate::report::{Failure, Outcome};
use crate::teach::{Stage, Started, Taught, TeachOptions, default_run, dry_run, say_places, teach};
use crate::ui::Ui;
use std::path::PathBuf;
use tolmach_eval::EvalConfig;

const EXAMPLES: &str = "\
Examples:
  Everything that is not done yet; stopped, the same command goes on:
    tolmach teach recipes/alpaca-ru.toml
  What would be done, and why:
    tolmach teach recipes/alpaca-ru.toml --dry-run
  The same recipe with other settings, in a folder of its own:
    tolmach teach recipes/alpaca-ru.toml -o runs/rank-32 --set lora.rank=32 --set train.epochs=2
  Train and measure again, whatever is done:
    tolmach teach recipes/alpaca-ru.toml --from train

The run's folder gets 01-clean, 02-translate, 03-adapter and 04-card, each readable by the command of the
next stage, and run.json with versions, seeds and content hashes. A stage is done again when something
that it depends on has changed; the reason is said. What a recipe may hold is explained in recipes/.";

/// Run all stages of a recipe: clean, translate, train, eval; go on where a run stopped
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// The run's folder [default: runs/NAME of NAME.toml]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Do this stage and those after it again
    #[arg(long, value_enum, value_name = "STAGE")]
    from: Option<Stage>,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Start over, whatever the folder holds
    #[arg(long, conflicts_with = "from")]
    force: bool,
    /// Change a setting of the recipe: section.key=value
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of the training, as --set train.seed=N
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let mut sets = args.set;
    sets.extend(args.seed.map(|seed| format!("train.seed={seed}")));
    let (recipe, source) = recipe::read(&args.recipe, &sets)?;
    let mut plan = RunPlan::new(recipe, &source)?;
    plan.fetch(ui)?;
    let run = args.output.unwrap_or_else(|| default_run(&args.recipe));
    let options = TeachOptions { run, from: args.from, force: args.force, threads: args.threads };
    if args.dry_run {
        return dry_run(&plan, &options, ui).map(Some);
    }
    let started = Started { recipe: args.recipe, sets };
    let taught = teach(&plan, &started, &options, ui)?;
    let verdict = verdict(&taught.card, &plan.eval);
    show(&taught, &plan.eval, ui)?;
    verdict.map(|()| None)
}

/// The result on stdout, where everything lies on stderr. A card that fails its bounds is a result too.
fn show(taught: &Taught, config: &EvalConfig, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        let mut value = taught.json();
        value["failures"] = taught.card.failures(&config.minimum, &config.maximum).into();
        ui.stdout_line(&value.to_string());
    } else {
        ui.stdout_line(&taught.table());
    }
    say_places(taught, ui);
    Ok(())
}
