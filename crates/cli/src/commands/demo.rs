//! `tolmach demo`: the whole line on data and a model that lie in this binary, offline.

use crate::recipe::{self, RunPlan};
use crate::report::{Exit, Failure, Outcome};
use crate::teach::{Stage, Started, Taught, TeachOptions, say_places, teach};
use crate::ui::Ui;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tolmach_eval::ReportCard;

const EXAMPLES: &str = "\
Examples:
  Watch a tiny model learn to follow Russian instructions (about two minutes on two cores):
    tolmach demo
  The figures for a script; the exit code is 1 if the model has not learnt what it should:
    tolmach demo --json --seed 7

Everything is in the binary: a base model of a million weights that follows English instructions, an
instruction set in English with dirt in it, its translation memory, and held-out instructions in Russian.
The demo always starts anew in its folder.";

/// Every file of `assets/demo`: name and content.
const ASSETS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/demo_assets.rs"));
const ASSETS_FOLDER: &str = "assets";
const RECIPE: &str = "recipe.toml";

/// Teach a tiny model Russian, offline: the whole line in about two minutes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where everything goes
    #[arg(short, long, value_name = "FOLDER", default_value = "runs/demo")]
    output: PathBuf,
    /// Seed of the training
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Use the folder also if it holds something else
    #[arg(long)]
    force: bool,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let begun_at = Instant::now();
    let folder = args.output;
    make_room(&folder, args.force, ui)?;
    write_assets(&folder.join(ASSETS_FOLDER))?;
    let recipe = folder.join(ASSETS_FOLDER).join(RECIPE);
    let sets: Vec<String> = args.seed.map(|seed| format!("train.seed={seed}")).into_iter().collect();
    let (written, source) = recipe::read(&recipe, &sets)?;
    let plan = RunPlan::new(written, &source)?;
    let options = TeachOptions { run: folder, from: None, force: true, threads: args.threads };
    let mut taught = teach(&plan, &Started { recipe, sets }, &options, ui)?;
    taught.seconds = begun_at.elapsed().as_secs_f64();

    let failures = failures(&taught.card);
    if ui.json {
        let mut value = taught.json();
        value["failures"] = failures.clone().into();
        // Printed here: a demo that fails its own checks still has its figures.
        ui.stdout_line(&value.to_string());
    } else {
        ui.stdout_line(&taught.table());
    }
    say_places(&taught, ui);
    if !failures.is_empty() {
        let message = format!("the model has not learnt what it should: {}", failures.join("; "));
        return Err(Failure::new(Exit::CheckFailed, message));
    }
    say_next(&taught, &plan, ui);
    Ok(None)
}

/// Remove what an earlier demo left, and nothing else.
fn make_room(folder: &Path, force: bool, ui: &Ui) -> Result<(), Failure> {
    let name = folder.display();
    let cannot = |e: std::io::Error| Failure::input(format!("cannot use the folder {name}: {e}"));
    let is_demo = folder.join(ASSETS_FOLDER).join(RECIPE).is_file();
    let is_empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(cannot(e)),
    };
    if !is_demo && !is_empty && !force {
        return Err(Failure::usage(format!("{name} holds files that are not of an earlier demo"))
            .hint("name another folder with -o, or use this one with --force"));
    }
    if is_demo {
        ui.say(format!("starting anew in {name}"));
    }
    for old in Stage::ALL.map(Stage::folder).into_iter().chain([ASSETS_FOLDER]) {
        match std::fs::remove_dir_all(folder.join(old)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(cannot(e)),
            _ => {}
        }
    }
    Ok(())
}

fn write_assets(folder: &Path) -> Result<(), Failure> {
    if !ASSETS.iter().any(|(name, _)| *name == "model/model.safetensors") {
        return Err(Failure::input("this program was built without the demo's base model")
            .hint("in the repository: cargo xtask demo-assets, then build again"));
    }
    for (name, content) in ASSETS {
        tolmach_durable::write(&folder.join(name), content)?;
    }
    Ok(())
}

/// What the demo promises, and does not keep here.
fn failures(card: &ReportCard) -> Vec<String> {
    let bounds = BTreeMap::from([("exact_match".to_string(), 0.8), ("target_language".to_string(), 0.98)]);
    let mut failures = card.failures(&bounds, &BTreeMap::new());
    let base_exact = card.base.exact_match.unwrap_or(1.0);
    if base_exact > 0.05 {
        failures.push(format!("the base's exact_match is {base_exact:.4} already, above 0.05"));
    }
    let kept = card.tuned.as_ref().and_then(|tuned| tuned.source_exact_match).unwrap_or(0.0);
    let before = card.base.source_exact_match.unwrap_or(0.0);
    if before == 0.0 || kept < 0.8 * before {
        failures.push(format!("source_exact_match fell from {before:.4} to {kept:.4}, below 0.8 of it"));
    }
    failures
}

fn say_next(taught: &Taught, plan: &RunPlan, ui: &Ui) {
    let adapter = taught.adapter();
    ui.say(format!(
        "\n{:.0} s. Next:\n  chat with both sides     tolmach chat --base {} --adapter {} --compare\n  \
         what was dropped         {}\n  \
         your own data and model  copy recipes/alpaca-ru.toml, then: tolmach teach YOURS.toml",
        taught.seconds,
        plan.base.display(),
        adapter.display(),
        taught.run.join(Stage::Clean.folder()).join("dropped.jsonl").display(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assets_are_whole_and_their_recipe_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in ASSETS {
            tolmach_durable::write(&dir.path().join(name), content).unwrap();
        }
        let (written, source) = recipe::read(&dir.path().join(RECIPE), &[]).unwrap();
        let plan = RunPlan::new(written, &source).unwrap();
        assert_eq!(plan.resolved().data.to.as_deref(), Some("ru"));
        let size: usize = ASSETS.iter().map(|(_, content)| content.len()).sum();
        assert!(size < 12 << 20, "{size} bytes");
    }

    #[test]
    fn a_foreign_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("01-clean")).unwrap();
        std::fs::write(dir.path().join("01-clean/mine"), "").unwrap();
        let ui = Ui { json: false, quiet: true, verbose: 0 };
        assert_eq!(make_room(dir.path(), false, &ui).unwrap_err().exit, Exit::Usage);
        assert!(dir.path().join("01-clean/mine").exists());
        tolmach_durable::write(&dir.path().join("assets/recipe.toml"), "").unwrap();
        std::fs::write(dir.path().join("mine"), "").unwrap();
        make_room(dir.path(), false, &ui).unwrap();
        assert!(!dir.path().join("01-clean").exists() && dir.path().join("mine").exists());
    }

    #[test]
    fn every_promise_is_checked() {
        let side = |exact, source| tolmach_eval::SideCard {
            exact_match: Some(exact),
            target_language: Some(1.0),
            source_exact_match: Some(source),
            ..Default::default()
        };
        let card = |base, tuned| {
            let mut card: ReportCard = serde_json::from_value(serde_json::json!({
                "version": "0", "base_model": "b", "adapter": "a",
                "base": tolmach_eval::SideCard::default(), "tuned": null,
                "control": {"zero_adapter_equals_base": true, "base_side_equals_base": true,
                    "tuned_differs_from_base": true, "prompts": 1, "logits": 1},
                "language": "ru", "source_language": "en", "template": "t", "source_template": "s",
                "decoding": "greedy", "max_new_tokens": 1,
                "skipped": {"too_long_prompts": 0, "unusable": 0, "cut_texts": 0},
                "samples": [], "seconds": 0.0
            }))
            .unwrap();
            (card.base, card.tuned) = (base, Some(tuned));
            card
        };
        assert!(failures(&card(side(0.0, 1.0), side(0.9, 0.9))).is_empty());
        assert!(failures(&card(side(0.0, 1.0), side(0.7, 0.9)))[0].contains("exact_match is 0.7000"));
        assert!(failures(&card(side(0.1, 1.0), side(0.9, 0.9)))[0].contains("base's exact_match"));
        assert!(failures(&card(side(0.0, 1.0), side(0.9, 0.7)))[0].contains("source_exact_match fell"));
        let mut silent = side(0.9, 0.9);
        silent.target_language = None;
        assert!(failures(&card(side(0.0, 1.0), silent))[0].contains("target_language"));
    }
}
