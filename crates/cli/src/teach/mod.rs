//! The whole line, top to bottom: clean → translate → train → eval, each in its own folder.
//!
//! | to change | file |
//! |---|---|
//! | what a stage does and what its result depends on | `stages.rs` |
//! | when a stage counts as done | `facts.rs` |
//! | the run's folder, what is recorded there | `folder.rs` |
//! | the plan and the table at the end | `show.rs` |
//!
//! A stage is done when its marker names the very facts (settings and content hashes) that it would
//! depend on now. So a run that was cut off goes on where it stopped, a changed recipe repeats what it
//! changes and no more, and the reason can be told.

mod facts;
mod folder;
mod show;
mod stages;

pub use folder::{RESOLVED_RECIPE, RUN_FILE};
pub use show::say_places;
pub use stages::training_options;

use crate::interrupt;
use crate::recipe::RunPlan;
use crate::report::{Exit, Failure};
use crate::ui::Ui;
use facts::{Marker, Status};
use folder::RunFolder;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tolmach_eval::ReportCard;

/// The stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Stage {
    Clean,
    Translate,
    Train,
    Eval,
}

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Clean, Stage::Translate, Stage::Train, Stage::Eval];

    /// The word for it, also its command.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Clean => "clean",
            Stage::Translate => "translate",
            Stage::Train => "train",
            Stage::Eval => "eval",
        }
    }

    pub fn folder(self) -> &'static str {
        match self {
            Stage::Clean => "01-clean",
            Stage::Translate => "02-translate",
            Stage::Train => "03-adapter",
            Stage::Eval => "04-card",
        }
    }
}

/// How to run the line.
pub struct TeachOptions {
    /// The run's folder.
    pub run: PathBuf,
    /// Do this stage and those after it, done or not.
    pub from: Option<Stage>,
    /// Start over, also in a folder with other files.
    pub force: bool,
    pub threads: Option<usize>,
}

/// What the user typed, for the record.
pub struct Started {
    pub recipe: PathBuf,
    pub sets: Vec<String>,
}

/// What came out.
pub struct Taught {
    pub run: PathBuf,
    pub card: ReportCard,
    /// By name: facts, hashes, seconds.
    pub stages: Value,
    /// Of this sitting.
    pub seconds: f64,
}

impl Taught {
    pub fn adapter(&self) -> PathBuf {
        self.run.join(Stage::Train.folder())
    }

    pub fn card_folder(&self) -> PathBuf {
        self.run.join(Stage::Eval.folder())
    }

    /// The object of `--json`.
    pub fn json(&self) -> Value {
        let stages = self.stages.as_object().into_iter().flatten();
        let stages: serde_json::Map<_, _> = stages
            .map(|(name, stage)| {
                let entry = json!({"folder": stage["folder"], "seconds": stage["seconds"], "summary": stage["summary"]});
                (name.clone(), entry)
            })
            .collect();
        json!({
            "seconds": self.seconds,
            "run": self.run,
            "adapter": self.adapter(),
            "card": self.card_folder(),
            "stages": stages,
            "base": self.card.base,
            "tuned": self.card.tuned,
            "control": self.card.control,
            "samples": self.card.samples,
        })
    }
}

/// Run what is not done yet of the line, and show what it has brought.
///
/// # Errors
/// Whatever stops a stage, with that stage's own exit code; what was done stays and is not done again.
pub fn teach(plan: &RunPlan, started: &Started, options: &TeachOptions, ui: &Ui) -> Result<Taught, Failure> {
    let begun_at = Instant::now();
    let run = RunFolder::open(&options.run, options.force)?;
    let from = if options.force { Some(Stage::Clean) } else { options.from };
    show::say_plan(plan, &run, from, ui)?;
    let mut record = run.record(plan, started)?;
    for stage in Stage::ALL {
        if interrupt::flag().load(Ordering::SeqCst) {
            return Err(Failure::new(
                Exit::Interrupted,
                format!("interrupted before the stage {}", stage.name()),
            )
            .hint("run the same command again to go on"));
        }
        let facts = stages::facts(stage, plan, &run)?;
        let status = match from.is_some_and(|from| stage >= from) {
            true => Status::ToDo(show::forced(options.force)),
            false => Status::of(&run.stage(stage), &facts),
        };
        let marker = match status {
            Status::Done(marker) => marker,
            Status::Begun => {
                ui.say(format!("\n{}: going on where it stopped", show::title(stage)));
                do_stage(stage, plan, &run, facts, true, options.threads, ui)?
            }
            Status::ToDo(reason) => {
                ui.say(format!("\n{}: {reason}", show::title(stage)));
                stages::clear(stage, &run)?;
                facts::begin(&run.stage(stage), &facts)?;
                do_stage(stage, plan, &run, facts, false, options.threads, ui)?
            }
        };
        record.add(stage, &marker)?;
    }
    Ok(Taught {
        card: stages::read_card(&run)?,
        run: run.path().to_path_buf(),
        stages: record.stages().clone(),
        seconds: begun_at.elapsed().as_secs_f64(),
    })
}

fn do_stage(
    stage: Stage,
    plan: &RunPlan,
    run: &RunFolder,
    facts: facts::Facts,
    go_on: bool,
    threads: Option<usize>,
    ui: &Ui,
) -> Result<Marker, Failure> {
    let begun_at = Instant::now();
    let done = stages::run(stage, plan, run, go_on, threads, ui)?;
    let folder = run.stage(stage);
    let marker = Marker {
        facts,
        outputs: facts::hash_files(&folder, &done.outputs)?,
        seconds: begun_at.elapsed().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        summary: done.summary,
    };
    facts::finish(&folder, &marker)?;
    Ok(marker)
}

/// Say what would be done, and stop.
///
/// # Errors
/// An input that is there cannot be read.
pub fn dry_run(plan: &RunPlan, options: &TeachOptions, ui: &Ui) -> Result<Value, Failure> {
    let run = RunFolder::look(&options.run);
    let from = if options.force { Some(Stage::Clean) } else { options.from };
    let mut value = show::say_plan(plan, &run, from, ui)?;
    let state = |stage: Stage| value["stages"][stage as usize]["state"] == "done";
    if state(Stage::Translate) && !state(Stage::Train) {
        ui.say("");
        value["training"] = stages::plan_train(plan, &run, options.threads, ui)?;
    }
    Ok(value)
}

/// The run's folder where none is named: `runs/NAME` for `NAME.toml`.
pub fn default_run(recipe: &Path) -> PathBuf {
    Path::new("runs").join(recipe.file_stem().unwrap_or_default())
}
