//! Training: plan, loop, optimizer, schedule, training state, metrics.
//!
//! Reading order: [`TrainConfig`] (what the user wrote) → [`TrainPlan`] (what is valid, with what
//! follows from it) → [`fn@train`] (the loop, top to bottom in one function) → [`State`] (what a killed
//! run needs to go on) → [`MetricsFile`].
//!
//! Invariants: the same data, plan and seed give the same weights bit for bit, on any number of
//! threads, however often the run was killed and resumed, whatever was saved, evaluated or printed
//! meanwhile. The loss is the mean over the labelled tokens of a whole step. There is no trainer
//! object and no callback registry: the loop reports through one closure. This crate knows neither
//! text nor the command line.

mod calibrate;
mod config;
mod error;
mod evaluate;
mod identity;
mod limit;
mod live;
mod memory;
mod metrics;
mod plan;
mod schedule;
mod state;
mod train;

pub use calibrate::{Calibration, Prediction, calibrate};
pub use config::TrainConfig;
pub use error::Error;
pub use evaluate::{mean_loss, spread};
pub use identity::Identity;
pub use limit::MemoryLimit;
pub use live::Live;
pub use memory::{BaseWeights, Data, Fitted, Footprint, MemoryPlan, Resources, Stored, fit};
pub use metrics::MetricsFile;
pub use plan::TrainPlan;
pub use schedule::Schedule;
pub use state::{Evaluation, Progress, State};
pub use train::{Event, Outcome, Run, RunFiles, StepReport, train};
