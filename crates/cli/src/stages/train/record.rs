//! `training.json`: the facts of a run and how it stands, for whoever watches it from outside.

use super::{PlanFacts, TrainOptions};
use crate::report::Failure;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tolmach_train::Outcome;

/// How a run stands. One that was killed says `running` for ever: its other files have grown old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Running,
    Finished,
    /// The validation loss stopped falling.
    StoppedEarly,
    /// By Ctrl-C, with the state saved.
    Interrupted,
    /// By an error; what it was is not for every reader.
    Failed,
}

impl Standing {
    /// How a run ended.
    pub fn of<E>(outcome: &Result<Outcome, E>) -> Self {
        match outcome {
            Ok(Outcome::Finished) => Self::Finished,
            Ok(Outcome::StoppedEarly) => Self::StoppedEarly,
            Ok(Outcome::Interrupted) => Self::Interrupted,
            Err(_) => Self::Failed,
        }
    }
}

/// The file, written anew whenever the run stands otherwise.
pub struct TrainingRecord {
    path: PathBuf,
    content: Content,
}

#[derive(Serialize)]
struct Content {
    tolmach: &'static str,
    standing: Standing,
    /// Of this sitting, in seconds since 1970.
    started: u64,
    /// When it came to stand so, likewise.
    changed: u64,
    /// The step that this sitting began after.
    resumed_at: usize,
    /// The whole path, so that it is found from anywhere on this machine.
    base: PathBuf,
    template: String,
    sample_prompts: Vec<String>,
    /// Whether the adapter can be looked at while it trains.
    live: bool,
    plan: PlanFacts,
}

impl TrainingRecord {
    /// Say that a run goes on from `step` now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn start(
        path: PathBuf,
        options: &TrainOptions,
        facts: &PlanFacts,
        step: usize,
        live: bool,
    ) -> Result<Self, Failure> {
        let content = Content {
            tolmach: env!("CARGO_PKG_VERSION"),
            standing: Standing::Running,
            started: now(),
            changed: now(),
            resumed_at: step,
            base: options.base.canonicalize()?,
            template: options.template.name().to_string(),
            sample_prompts: options.sample_prompts.clone(),
            live,
            plan: facts.clone(),
        };
        let record = Self { path, content };
        record.write()?;
        Ok(record)
    }

    /// Say how it ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(mut self, standing: Standing) -> Result<(), Failure> {
        (self.content.standing, self.content.changed) = (standing, now());
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.content)? + "\n";
        Ok(tolmach_durable::write(&self.path, text)?)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
